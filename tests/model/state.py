"""The state of the saga model: the saga's row, the instances that drive it, the network, the services and companies."""

from collections.abc import Iterator
from typing import Any, NamedTuple

RUNNING, COMPENSATING, COMPLETED, COMPENSATED = "running", "compensating", "completed", "compensated"
MADE_GOOD = "completed by making good"
ENDED = (COMPLETED, COMPENSATED, MADE_GOOD)


class Step(NamedTuple):
    """`outside`: its service calls another company, which has the effect. `makes_good`: see chassis/saga.py."""

    name: str
    kind: str  # undoable pivot retriable
    outside: bool = False
    makes_good: bool = False


Definition = tuple[tuple[Step, ...], ...]


class Row(NamedTuple):
    """The saga's row. Of each step: what is known of its action, and of its undo."""

    ver: int
    status: str
    stage: int
    outcomes: tuple[str, ...]  # ok refused skipped, or "" for nothing
    undone: tuple[str, ...]  # ok unknown resolved, or "" for not tried
    paused: bool = False


class Held(NamedTuple):
    """An instance that drives the saga: its copy of the row, and the steps it waits for (None: not asked yet).

    `turning`: it was refused the decision, and has yet to write that the saga turns round.
    """

    row: Row
    calls: tuple[int, ...] | None = None
    turning: bool = False


class Part(NamedTuple):
    """A step's service and company: the inbox row, the company's word, and how often it was done and undone."""

    inbox: str = ""  # started ok failed undoing undone fenced
    company: str = ""  # done refused
    forbidden: bool = False
    did: int = 0
    undid: int = 0


class State(NamedTuple):
    row: Row
    held: tuple[Held | None, ...]
    asked: frozenset[str]
    answered: frozenset[str]
    parts: tuple[Part, ...]
    deadline: str = ""  # passed "before" or "after" the decision
    cancel: str = ""
    seen: Row | None = None  # by an operator
    given_back: bool = False  # by the saga that makes good
    broken: str = ""


Transitions = Iterator[tuple[str, State]]


def holding(s: State, index: int, held: Held | None) -> State:
    return s._replace(held=replaced(s.held, index, held))


def serving(s: State, index: int, part: Part, answer: str | None = None, asked: str | None = None) -> State:
    """A service or company has moved on; it has answered, or asked its company."""
    answered = s.answered if answer is None or answer in s.answered else s.answered | {answer}
    all_asked = s.asked if asked is None or asked in s.asked else s.asked | {asked}
    return s._replace(parts=replaced(s.parts, index, part), answered=answered, asked=all_asked)


def replaced(values: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])


def all_replaced(values: tuple[Any, ...], at: tuple[int, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    found = dict(zip(at, new, strict=True))
    return tuple(found.get(index, value) for index, value in enumerate(values))
