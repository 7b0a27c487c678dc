"""Sagas: a process across services as one list of steps beside their undo.

    PLACE_ORDER = (
        Saga("place_order", version=1, data=PlaceOrder, deadline_s=900)
        .stage(Step("reserve_stock", InventoryApi.reserve, ..., undo=InventoryApi.release))
        .pivot(Step("capture_payment", PaymentsApi.capture, ...))
        .retriable(Step("commit_stock", InventoryApi.commit, ...))
        .finish(confirm_order, otherwise=reject_order, compensating=mark_rejecting)
    )

The steps of a stage go out together. Until the pivot is entered, a refusal, the deadline or a cancel turns the saga
round and every step that may have happened is undone, the last stage first. Entering the pivot is the decision: from
then on only the pivot's own refusal turns it round. After the pivot it only goes forward. `chassis/saga_engine.py`
drives it; the rows are in `chassis/saga_store.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec
from sqlalchemy.orm import Session

from chassis.types import Message, service_of

D = TypeVar("D", bound=Message)

RUNNING, COMPENSATING, COMPLETED, COMPENSATED = "running", "compensating", "completed", "compensated"
ENDED = (COMPLETED, COMPENSATED)

Kind = Literal["undoable", "pivot", "retriable", "wait"]


@dataclass(frozen=True)
class Step(Generic[D]):
    """A call of a contract's method. `arguments` makes them from the saga's data; the key is added.

    `undo` gets the same arguments and the same key. `timeout_s` is for one attempt (default: saga_step_timeout_ms).
    """

    name: str
    action: Callable[..., Any]
    arguments: Callable[[D], dict[str, Any]]
    undo: Callable[..., Any] | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class Stage(Generic[D]):
    kind: Kind
    steps: tuple[Step[D], ...] = ()
    signal: str = ""
    until_s: float = 0.0


@dataclass(frozen=True)
class Run(Generic[D]):
    """A saga as its local hooks see it. `cause`: step, code and message of what turned it round."""

    id: str
    key: str
    data: D
    results: dict[str, Any]
    cause: dict[str, str] | None
    cancel_reason: str | None


Hook = Callable[[Session, Run[Any]], None]


def _nothing(session: Session, run: Run[Any]) -> None:
    return None


class Saga(Generic[D]):
    """A definition. `data` is what every step's arguments are made from; it is stored as JSON and never changes.

    A running saga finishes on the version it began with: to change the steps, add a definition with the next version.
    """

    def __init__(self, name: str, *, version: int, data: type[D], deadline_s: float) -> None:
        self.name, self.version, self.data, self.deadline_s = name, version, data, deadline_s
        self.stages: tuple[Stage[D], ...] = ()
        self.on_completed: Hook = _nothing
        self.on_compensated: Hook = _nothing
        self.on_compensating: Hook = _nothing

    def stage(self, *steps: Step[D]) -> "Saga[D]":
        """Steps that can be undone, before the pivot."""
        return self._add(Stage("undoable", steps))

    def wait(self, signal: str, until_s: float) -> "Saga[D]":
        """Wait for a signal, or so many seconds, whichever is first; its payload is the result named `signal`."""
        return self._add(Stage("wait", signal=signal, until_s=until_s))

    def pivot(self, step: Step[D]) -> "Saga[D]":
        """The one step after which there is no way back."""
        return self._add(Stage("pivot", (step,)))

    def retriable(self, *steps: Step[D]) -> "Saga[D]":
        """Steps after the pivot: repeated until they succeed."""
        return self._add(Stage("retriable", steps))

    def finish(self, completed: Hook, otherwise: Hook, compensating: Hook = _nothing) -> "Saga[D]":
        """Local effects, each in the same commit as the saga's own change: at its end, and where it turns round."""
        self.on_completed, self.on_compensated, self.on_compensating = completed, otherwise, compensating
        return self

    def _add(self, stage: Stage[D]) -> "Saga[D]":
        self.stages = (*self.stages, stage)
        names = [step.name for each in self.stages for step in each.steps]
        pivots = [index for index, each in enumerate(self.stages) if each.kind == "pivot"]
        late = [each.kind for each in self.stages[pivots[0] + 1 :]] if pivots else []
        if len(names) != len(set(names)) or len(pivots) > 1 or {"undoable", "pivot"} & set(late):
            raise ValueError(f"saga {self.name}: steps need names of their own, and one pivot with no undo after it")
        return self

    def shape(self) -> str:
        """What must not change under one version: kinds, names, actions and undos of the steps, in their order."""

        def path(method: Callable[..., Any] | None) -> str | None:
            return f"{service_of(method)}.{method.__name__}" if method else None

        stages = [
            [stage.kind, stage.signal, [[step.name, path(step.action), path(step.undo)] for step in stage.steps]]
            for stage in self.stages
        ]
        return msgspec.json.encode(stages).decode()

    def longest_step_s(self, default_s: float) -> float:
        return max((step.timeout_s or default_s for stage in self.stages for step in stage.steps), default=default_s)


class StepState(msgspec.Struct, omit_defaults=True):
    """What the saga knows of one step. `outcome` and `undo` are "" until something is known."""

    outcome: str = ""
    result: Any = None
    attempts: int = 0
    refused_since: float | None = None  # UTC epoch seconds
    undo: str = ""
    undo_attempts: int = 0
