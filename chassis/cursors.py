"""Opaque cursors of pages: where the last row stood in the page's order, so that inserts neither skip nor repeat."""

import base64
import binascii
from typing import TypeVar

import msgspec

from chassis.errors import ServiceError
from chassis.operator_types import DeadLetter, SagaSummary

T = TypeVar("T")


def encode_cursor(position: tuple[object, ...]) -> str:
    """Put a row's position into a cursor that a client hands back unread."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str, kind: type[T]) -> T:
    """Read a cursor back as `kind`, a tuple type. Raises ValueError for one that we did not make."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (binascii.Error, msgspec.MsgspecError, UnicodeError) as exc:
        raise ValueError("not a cursor of ours") from exc


def read_cursor(cursor: str | None, kind: type[T], code: str) -> T | None:
    """A client's cursor as `kind`; None where there is none, and ServiceError with `code` for one that we did not
    make."""
    if cursor is None:
        return None
    try:
        return decode_cursor(cursor, kind)
    except ValueError:
        raise ServiceError(code, "This cursor is not one of ours: begin without one.") from None


def after_saga(saga: SagaSummary) -> str:
    """Where a page of sagas goes on after this one."""
    return encode_cursor((saga.created_at, saga.id))


def after_letter(letter: DeadLetter) -> str:
    """Where a page of dead letters goes on after this one."""
    return encode_cursor((letter.at, letter.service, letter.id))
