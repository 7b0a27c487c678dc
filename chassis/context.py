"""What travels with a call, in nameko's context data: the caller, the trace, and the deadline.

A call without a caller is an operator's: whoever holds the broker's credentials is trusted.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog

from chassis.errors import ServiceError
from chassis.types import OPERATOR, STAFF, Caller, Message

TRACE_ID_LENGTH = 64


class Call(Message):
    """The call that is being served. `deadline` is UTC epoch seconds; None means that nobody set one."""

    trace_id: str
    caller: Caller | None = None
    deadline: float | None = None

    @property
    def saga_id(self) -> str | None:
        return self.caller.saga_id if self.caller else None

    def is_trusted(self) -> bool:
        """Another service, a saga, or an operator at the broker: not somebody who came in over HTTP."""
        return self.caller is None or self.caller.service is not None

    def is_staff(self) -> bool:
        return self.is_trusted() or bool({STAFF, OPERATOR} & set(self.caller.roles if self.caller else ()))

    def author(self) -> str:
        """Who is to be named for what this call does."""
        caller = self.caller
        return (caller and (caller.customer_id or caller.service)) or OPERATOR

    def require_staff(self) -> None:
        if not self.is_staff():
            raise ServiceError("auth.forbidden", "This needs the role staff.")

    def require_operator(self) -> None:
        if not (self.is_trusted() or (self.caller and OPERATOR in self.caller.roles)):
            raise ServiceError("auth.forbidden", "This needs the role operator.")

    def require_trusted(self) -> None:
        if not self.is_trusted():
            raise ServiceError("auth.forbidden", "Only another service may ask this.")

    def owns(self, customer_id: str | None) -> bool:
        """Whether the caller may act for this customer: it is they themselves, or a service, or an operator's shell."""
        if self.is_trusted():
            return True
        return customer_id is not None and self.caller is not None and self.caller.customer_id == customer_id


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """The call served by this green thread, or None outside of one."""
    return _current.get()


def bind(call: Call) -> None:
    """Make `call` the current one of this green thread, for its deadline and for its log lines."""
    _current.set(call)
    ids = {"trace_id": call.trace_id, "saga_id": call.saga_id}
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value})


@contextmanager
def bound(call: Call) -> Iterator[Call]:
    """Make `call` the current one for a block."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


def time_left(limit_s: float) -> float:
    """Seconds that a wait may take: `limit_s`, or what the current call's deadline leaves if that is less."""
    call = _current.get()
    if call is None or call.deadline is None:
        return limit_s
    return max(0.0, min(limit_s, call.deadline - time.time()))


def from_context_data(data: Mapping[str, Any]) -> Call:
    """Read a call out of nameko's context data. A caller who is malformed there is nobody, and may do nothing."""
    caller, trace_id, deadline = data.get("caller"), data.get("trace_id"), data.get("deadline")
    if caller is not None:
        try:
            caller = msgspec.convert(caller, Caller)
        except (msgspec.ValidationError, TypeError):
            caller = Caller()
    if not (isinstance(trace_id, str) and 0 < len(trace_id) <= TRACE_ID_LENGTH):
        trace_id = uuid.uuid4().hex
    return Call(trace_id=trace_id, caller=caller, deadline=deadline / 1000 if type(deadline) is int else None)


def to_context_data(call: Call) -> dict[str, Any]:
    """The reverse of `from_context_data`: values that an AMQP header can carry, no None among them."""
    data: dict[str, Any] = {"trace_id": call.trace_id}
    if call.caller is not None:
        data["caller"] = caller_data(call.caller)
    if call.deadline is not None:
        data["deadline"] = int(call.deadline * 1000)
    return data


def caller_data(caller: Caller) -> dict[str, Any]:
    """A caller as an AMQP header carries it: without the members that are None."""
    known = {name: value for name, value in msgspec.to_builtins(caller).items() if value}
    return {**known, "roles": list(caller.roles)}
