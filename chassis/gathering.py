"""Asking several at once: every question is sent before the first answer is waited for."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from chassis.errors import OutcomeUnknown, ServiceError
from chassis.rpc import Pending

T = TypeVar("T")


def gathered(
    asks: Mapping[str, Callable[[], Pending[T]]],
) -> tuple[dict[str, T], dict[str, ServiceError], dict[str, OutcomeUnknown]]:
    """By name: the answers, the refusals, and what those failed with of whom nothing is known."""
    pending: dict[str, Pending[T]] = {}
    answers: dict[str, T] = {}
    refusals: dict[str, ServiceError] = {}
    silent: dict[str, OutcomeUnknown] = {}
    for name, ask in asks.items():
        try:
            pending[name] = ask()
        except OutcomeUnknown as exc:
            silent[name] = exc
    for name, reply in pending.items():
        try:
            answers[name] = reply.result()
        except OutcomeUnknown as exc:
            silent[name] = exc
        except ServiceError as exc:
            refusals[name] = exc
    return answers, refusals, silent
