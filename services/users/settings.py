"""users' settings, checked at start."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from nameko.exceptions import ConfigurationError

from contracts.users import Email, Password

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True):
    """
    login_free_failures  in a row at one address before it is throttled
    login_delay_s        of the first throttling; it doubles with each further failure, up to login_delay_max_s
    login_forget_s       without a failure, and those that were are forgotten
    privacy_export_kept_s  how long an export can be fetched; so long a refused erasure is told too
    operator_password    of the first operator; None: one is made up
    """

    operator_email: Email
    operator_password: Password | None = None
    access_token_s: _Positive = 900
    refresh_token_s: _Positive = 2_592_000
    login_free_failures: _Positive = 5
    login_delay_s: _Positive = 2
    login_delay_max_s: _Positive = 60
    login_forget_s: _Positive = 3600
    privacy_export_kept_s: _Positive = 604_800


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Raises ConfigurationError with a sentence that names the key."""
    given = {name: config[name] for name in Settings.__struct_fields__ if config.get(name) not in (None, "")}
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigurationError(f"The configuration of users is wrong: {exc}.") from None
    if settings.login_delay_max_s > settings.login_forget_s:
        raise ConfigurationError("login_delay_max_s must not be longer than login_forget_s.")
    return settings
