"""Signed calls of other companies to us: believed once they are proven theirs, and taken once each."""

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider
from sqlalchemy.orm import Session

from chassis.db import insert_new, now
from chassis.errors import ServiceError
from chassis.outside import verify_signature
from chassis.tables import handled
from chassis.types import Message

T = TypeVar("T")


class Hook(Message):
    """What a company tells. `id` stays the same however often it is sent; `kind` (`type` on the wire) says what `data`
    are."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    kind: str = msgspec.field(name="type")
    data: msgspec.Raw

    def data_as(self, kind: type[T]) -> T:
        """Raises ServiceError `request.invalid` when the data are not a `kind`."""
        return _decoded(self.data, kind)


class HookReader:
    """Knows the secret that one company signs with, and how old a signature may be (seconds)."""

    def __init__(self, refusal: str, secret: str, tolerance_s: float) -> None:
        self.refusal, self.secret, self.tolerance_s = refusal, secret, tolerance_s

    def read(self, signature: str, body: str, at: datetime) -> Hook:
        """The hook in a body that the company signed lately, seen from `at`.

        Raises ServiceError: the reader's `refusal` for a bad signature, `request.invalid` for a body that is no hook.
        """
        raw = body.encode("utf-8", "surrogatepass")
        signed = signature.isascii() and verify_signature(self.secret, signature, raw, at.timestamp(), self.tolerance_s)
        if not signed:
            raise ServiceError(self.refusal, "The signature does not fit this body, or is too old.")
        return _decoded(raw, Hook)


def _decoded(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ServiceError("request.invalid", f"The signed body is not what was agreed on: {exc}") from None


def is_first(session: Session, handler: str, hook: Hook) -> bool:
    """Note in this transaction, which must be that of the effect, that a hook was taken; False if it was before."""
    return insert_new(session, handled, dict(handler=handler, event_id=hook.id, at=now(session)))


class SignedHooks(DependencyProvider):
    """Worker attribute: a HookReader. Config: <company>_hook_secret, hook_tolerance_s."""

    reader: HookReader

    def __init__(self, company: str) -> None:
        super().__init__()
        self.company = company

    def setup(self) -> None:
        config, key = self.container.config, f"{self.company}_hook_secret"
        secret, tolerance_s = config.get(key), config.get("hook_tolerance_s")
        if not isinstance(secret, str) or not secret:
            raise ConfigurationError(
                f"config.yaml needs {key}: the secret that the {self.company} signs its calls with."
            )
        if not isinstance(tolerance_s, int | float) or tolerance_s <= 0:
            raise ConfigurationError("config.yaml needs hook_tolerance_s: how many seconds old a signature may be.")
        self.reader = HookReader(f"{self.container.service_name}.bad_signature", secret, tolerance_s)

    def get_dependency(self, worker_ctx: Any) -> HookReader:
        return self.reader
