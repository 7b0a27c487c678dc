"""The vocabulary contracts are written in: messages, money, events, and the marks on an Api.

msgspec alone, no I/O, so that a contract can be imported anywhere.
"""

from collections.abc import Callable
from datetime import datetime
from types import FunctionType
from typing import Annotated, Any, TypeVar, dataclass_transform

import msgspec

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


# Said again for mypy, which does not see that subclasses inherit this from msgspec's base.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A value that crosses the wire. Readers ignore fields they do not know; changes only add."""


class Money(Message):
    """Integer minor units of an ISO 4217 currency: 1999 EUR is 19.99 euro. Never a float."""

    amount: int
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class Event(Message):
    """A fact, in the past tense. `sequence` counts the events of one aggregate from 1, without gaps."""

    event_id: str
    occurred_at: datetime
    aggregate_id: str
    sequence: int


class Caller(Message):
    """On whose behalf a call is made. Neither customer nor service: an operator at the broker (`nameko shell`)."""

    customer_id: str | None = None
    roles: tuple[str, ...] = ()
    service: str | None = None
    saga_id: str | None = None
    session_id: str | None = None


CUSTOMER, STAFF, OPERATOR = "customer", "staff", "operator"
"""Roles. An operator may do what staff may."""

COMMON_REFUSALS = ("request.invalid", "auth.forbidden", "command.key_reused", "saga.fenced", "privacy.leaving")
"""Codes that any method may refuse with, besides those of its own contract."""


def api(name: str) -> Callable[[C], C]:
    """Declare a Protocol as the contract of service `name`; its methods then know where they are served.

    Those of the Protocols that it inherits are promised too: several services may share a part of their contracts.
    """

    def mark(cls: C) -> C:
        cls.name = name  # type: ignore[attr-defined]
        for base in cls.__mro__[1:]:
            for method_name, method in vars(base).items():
                if isinstance(method, FunctionType) and not method_name.startswith("_"):
                    setattr(cls, method_name, _copy_of(method, f"{cls.__qualname__}.{method_name}"))
        for method_name, method in vars(cls).items():
            if isinstance(method, FunctionType) and not method_name.startswith("_"):
                method.__service__ = name  # type: ignore[attr-defined]
                if not hasattr(method, "__refusals__"):
                    method.__refusals__ = ()  # type: ignore[attr-defined]
        return cls

    return mark


def _copy_of(method: FunctionType, qualname: str) -> FunctionType:
    """A function of its own, so that it can be marked with a service of its own."""
    copy = FunctionType(method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__)
    copy.__kwdefaults__, copy.__doc__, copy.__module__ = method.__kwdefaults__, method.__doc__, method.__module__
    copy.__annotations__, copy.__qualname__ = method.__annotations__, qualname
    copy.__dict__.update(method.__dict__)
    return copy


def refuses(*codes: str) -> Callable[[F], F]:
    """List the error codes with which a method may refuse. Any other failure is an unknown outcome to its callers."""

    def mark(method: F) -> F:
        method.__refusals__ = codes  # type: ignore[attr-defined]
        return method

    return mark


def event(source: str, name: str, subscribers: tuple[str, ...] = ()) -> Callable[[C], C]:
    """Name an event as `source` publishes it. `subscribers` are durable handlers, each `service.method`."""

    def mark(cls: C) -> C:
        cls.__source__ = source  # type: ignore[attr-defined]
        cls.__event__ = name  # type: ignore[attr-defined]
        cls.__subscribers__ = subscribers  # type: ignore[attr-defined]
        return cls

    return mark


def service_of(method: Callable[..., Any]) -> str:
    """The service that serves a contract's method. Raises AttributeError for a function that is in no Api."""
    name: str = method.__service__  # type: ignore[attr-defined]
    return name


def refusals_of(method: Callable[..., Any]) -> frozenset[str]:
    """Every code that a contract's method may refuse with, the common ones included."""
    return frozenset(getattr(method, "__refusals__", ())) | frozenset(COMMON_REFUSALS)
