"""Asking several services the same, and making one page of their answers."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from chassis.errors import ServiceError, Unavailable
from chassis.gathering import gathered
from chassis.rpc import Pending

A = TypeVar("A")
T = TypeVar("T")


def ask_all(asks: Mapping[str, Callable[[], Pending[T]]]) -> tuple[dict[str, T], list[str]]:
    """Ask all at once: their answers, and the names of those that gave none.

    Raises ServiceError if one refuses, and what the last one failed with if nobody answered.
    """
    answers, refusals, silent = gathered(asks)
    if refusals:
        raise next(iter(refusals.values()))
    if silent and not answers:
        raise silent[min(silent)]
    return answers, sorted(silent)


def ask_owner(services: Iterable[A], ask: Callable[[A], T], not_here: str) -> T:
    """The answer of the one service that knows it: the others refuse with the code `not_here`.

    One that certainly was not asked is passed over; if nobody else knows it, Unavailable says who was missing.
    """
    absent: Unavailable | None = None
    refusal: ServiceError | None = None
    for service in services:
        try:
            return ask(service)
        except Unavailable as exc:
            absent = exc
        except ServiceError as exc:
            if exc.code != not_here:
                raise
            refusal = exc
    raise absent or refusal or LookupError("there is no service to ask")
