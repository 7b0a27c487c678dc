"""Problem documents (RFC 9457): the only shape that an error has over HTTP."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from chassis.errors import Failure, OutcomeUnknown, ServiceError, Unavailable

MEDIA_TYPE = "application/problem+json"
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
UNLISTED_STATUS = 409
COMMON_STATUS = {
    "request.invalid": 422,
    "auth.forbidden": 403,
    "command.key_reused": 422,
    "saga.fenced": 409,
    "privacy.leaving": 409,
}
"""Statuses of the codes that any method may refuse with; a service's own table goes before them."""


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with the input. `field` is a dotted path (`payment_method.token`), or `body` for all of it."""

    field: str
    detail: str


class Problem(Exception):
    """An answer that is an error. `detail` is shown to the client: never an exception's text.

    `members` are added to the document, `headers` to the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, code, detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers, self.members = tuple(errors), dict(headers or {}), dict(members or {})

    def document(self, trace_id: str) -> bytes:
        """The encoded document, as the client and its support see it."""
        document: dict[str, Any] = {
            "type": f"urn:rialto:problem:{self.code}",
            "title": self.code.rpartition(".")[2].replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "trace_id": trace_id,
        }
        if self.errors:
            document["errors"] = self.errors
        return msgspec.json.encode(document | self.members)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """Content that was understood and is not acceptable: 422, naming each field."""
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors)
    return Problem(422, "request.invalid", detail, errors=errors)


def broken() -> Problem:
    return Problem(500, "internal", "Something went wrong here. The trace_id will help whoever looks into it.")


def problem_of(failure: Failure, statuses: Mapping[str, int]) -> Problem:
    """What a client is told of a failed call. `statuses` maps error codes to HTTP statuses; an unlisted one is 409."""
    if isinstance(failure, ServiceError):
        return _refusal(failure, statuses)
    if isinstance(failure, Unavailable):
        detail = f"The service {failure.target} is not available; nothing was changed. Try again shortly."
        return Problem(
            503, "service.unavailable", detail, headers={"Retry-After": "1"}, members={"service": failure.target}
        )
    target = failure.target if isinstance(failure, OutcomeUnknown) else "A service"
    missing = failure.missing if isinstance(failure, OutcomeUnknown) else None
    if missing:
        detail = f"The service {missing} is not available. Try again shortly, with the same Idempotency-Key if any."
        return Problem(503, "service.unavailable", detail, headers={"Retry-After": "1"}, members={"service": missing})
    detail = f"{target} did not answer in time; whether it acted is not known. Repeat with the same Idempotency-Key."
    return Problem(504, "service.unknown_outcome", detail, members={"service": target})


def _refusal(failure: ServiceError, statuses: Mapping[str, int]) -> Problem:
    status = statuses.get(failure.code) or COMMON_STATUS.get(failure.code, UNLISTED_STATUS)
    headers = {}
    retry_after_s = failure.details.get("retry_after_s")
    if isinstance(retry_after_s, int | float):
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    field = failure.details.get("field")
    return Problem(
        status,
        failure.code,
        failure.message,
        errors=[FieldError(field, failure.message)] if isinstance(field, str) else (),
        headers=headers,
        members={"details": failure.details} if failure.details else {},
    )
