"""Limits of the HTTP server: typed, checked at start, and each with a default."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from nameko.exceptions import ConfigurationError

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `http` section of the configuration.

    timeout_ms       for answering a request, and the deadline of the calls that it makes
    max_wait_s       of `Prefer: wait=N`
    read_timeout_ms  for all bytes of a request
    keepalive_ms     between two requests of a connection
    max_at_work      requests being answered at a time; above: 503. Beyond the container's max_workers they queue
    drain_ms         for requests under way when the process is told to stop
    """

    timeout_ms: _Positive = 15_000
    max_wait_s: _Positive = 10
    max_body_bytes: _Positive = 1 << 20
    max_header_bytes: _Positive = 32 << 10
    read_timeout_ms: _Positive = 15_000
    keepalive_ms: _Positive = 60_000
    max_connections: _Positive = 512
    max_at_work: _Positive = 64
    drain_ms: _Positive = 10_000


def http_settings(config: Mapping[str, Any]) -> HttpSettings:
    """The settings, checked. Raises ConfigurationError with a sentence that names the key."""
    try:
        settings = msgspec.convert(dict(config.get("http") or {}), HttpSettings, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigurationError(f"The section `http` of the configuration is wrong: {exc}.") from None
    if settings.max_wait_s * 1000 >= settings.timeout_ms:
        raise ConfigurationError("http.max_wait_s must be shorter than http.timeout_ms.")
    return settings
