"""Sagas: a process across services as one list of steps beside their undo.

    PLACE_ORDER = (
        Saga("place_order", version=1, data=PlaceOrder, deadline_s=900)
        .stage(Step("reserve_stock", InventoryApi.reserve, ..., undo=InventoryApi.release))
        .pivot(Step("capture_payment", PaymentsApi.capture, ...))
        .retriable(Step("commit_stock", InventoryApi.commit, ...))
        .finish(confirm_order, otherwise=reject_order, compensating=mark_rejecting)
    )

The steps of a stage go out together. Until the point of no return (the pivot, or where there is none the first
retriable stage) a refusal, the deadline or a cancel turns the saga round, and every step that may have happened is
undone, the last stage first. Entering it is the decision: from then on only the pivot's own refusal turns the saga
round, and after the pivot it only goes forward. `chassis/saga_engine.py` drives it; its rows are in
`chassis/saga_store.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec
from sqlalchemy.orm import Session

from chassis.types import Message, service_of

D = TypeVar("D", bound=Message)

RUNNING, COMPENSATING, COMPLETED, COMPENSATED = "running", "compensating", "completed", "compensated"
ENDED = (COMPLETED, COMPENSATED)

Kind = Literal["undoable", "pivot", "retriable", "wait", "sub"]
Results = Mapping[str, Any]
"""What is known of earlier steps and signals, by their names, as plain JSON values."""


@dataclass(frozen=True)
class Step(Generic[D]):
    """A call of a contract's method. `arguments` makes them from the saga's data alone; the key is added.

    `undo` gets the same arguments and the same key. `timeout_s` is for one attempt; after `attempts` without an
    answer the saga turns round, or needs attention where it cannot; between attempts it pauses `backoff_s`, twice as
    long each time up to `backoff_max_s`. What is not said comes from the config (saga_step_*, saga_backoff_*).

    A step is left out, and never undone, unless `when(data, results)`, which may look at earlier stages only.
    `unanswered(data)` (before the pivot): without an answer for long it says why the saga goes on without, or raises
    ServiceError, which turns the saga round. What was given up has no result, and is undone like the others.
    `makes_good` (retriable steps): refused for long, it may end the saga by its `makes_good` hook.
    `learn(data, result)` (from the point of no return on): what its result adds to the data, for the stages after its
    own. One that was skipped or resolved has no result, and tells nothing.
    """

    name: str
    action: Callable[..., Any]
    arguments: Callable[[D], dict[str, Any]]
    undo: Callable[..., Any] | None = None
    timeout_s: float | None = None
    attempts: int | None = None
    backoff_s: float | None = None
    backoff_max_s: float | None = None
    when: Callable[[D, Results], bool] | None = None
    unanswered: Callable[[D], str] | None = None
    makes_good: bool = False
    learn: Callable[[D, Any], D] | None = None


@dataclass(frozen=True)
class Wait(Generic[D]):
    """See `Saga.wait_for`. Its name is the signal's."""

    name: str
    until_s: float
    otherwise: str | None
    learn: Callable[[D, Any], D] | None
    when: Callable[[D, Results], bool] | None
    begun: "Hook | None" = None


@dataclass(frozen=True)
class Sub(Generic[D]):
    """A step that starts another saga of the same service, under `key(data)` and with `make(data)`, and waits for its
    end. `begun(session, run, sub_id)` runs in the commit that starts it."""

    name: str
    definition: "Saga[Any]"
    key: Callable[[D], str]
    make: Callable[[D], Message]
    when: Callable[[D, Results], bool] | None = None
    begun: "Callable[[Session, Run[D], str], None] | None" = None


@dataclass(frozen=True)
class Stage(Generic[D]):
    """Steps that go out together; or one wait, or one sub-saga."""

    kind: Kind
    steps: tuple[Step[D], ...] = ()
    wait: Wait[D] | None = None
    sub: Sub[D] | None = None

    def parts(self) -> tuple[Step[D] | Wait[D] | Sub[D], ...]:
        return (*self.steps, *((self.wait,) if self.wait else ()), *((self.sub,) if self.sub else ()))


@dataclass(frozen=True)
class Run(Generic[D]):
    """A saga as its local hooks see it. `cause`: step, code and message of what turned it round.

    `start(session, definition, key, data)` begins another saga in the hook's transaction and answers its id.
    """

    id: str
    key: str
    data: D
    results: dict[str, Any]
    cause: dict[str, str] | None
    cancel_reason: str | None
    start: Callable[[Session, "Saga[Any]", str, Any], str]


Hook = Callable[[Session, Run[Any]], None]


def _nothing(session: Session, run: Run[Any]) -> None:
    return None


class Saga(Generic[D]):
    """A definition. `data` is what every step's arguments are made from; it is stored as JSON.

    A running saga finishes on the version it began with: to change the steps, add a definition with the next version.
    """

    def __init__(self, name: str, *, version: int, data: type[D], deadline_s: float) -> None:
        self.name, self.version, self.data, self.deadline_s = name, version, data, deadline_s
        self.stages: tuple[Stage[D], ...] = ()
        self.on_completed: Hook = _nothing
        self.on_compensated: Hook = _nothing
        self.on_compensating: Hook = _nothing
        self.on_made_good: Hook | None = None

    def stage(self, *steps: Step[D]) -> "Saga[D]":
        """Steps that can be undone, before the point of no return."""
        return self._add(Stage("undoable", steps))

    def wait_for(
        self,
        signal: str,
        until_s: float,
        *,
        otherwise: str | None = None,
        learn: Callable[[D, Any], D] | None = None,
        when: Callable[[D, Results], bool] | None = None,
        begun: Hook | None = None,
    ) -> "Saga[D]":
        """Wait for a signal, at most so many seconds, by which the deadline moves as far as they are used.

        The payload is the result named `signal`, and `learn(data, payload)` may add what it tells to the data, or
        raise ServiceError, which turns the saga round. When the time is up the saga turns round with the code
        `otherwise`, or goes on where there is none. After the point of no return it always goes on. `begun` is a local
        effect, in the commit that begins to wait.
        """
        return self._add(Stage("wait", wait=Wait(signal, until_s, otherwise, learn, when, begun)))

    def sub(self, part: Sub[D]) -> "Saga[D]":
        """Start another saga and wait for its end; only after the point of no return, for it is never taken back."""
        return self._add(Stage("sub", sub=part))

    def pivot(self, step: Step[D]) -> "Saga[D]":
        """The one step after which there is no way back."""
        return self._add(Stage("pivot", (step,)))

    def retriable(self, *steps: Step[D]) -> "Saga[D]":
        """Steps after the point of no return: repeated until they succeed."""
        return self._add(Stage("retriable", steps))

    def finish(
        self, completed: Hook, otherwise: Hook, compensating: Hook = _nothing, makes_good: Hook | None = None
    ) -> "Saga[D]":
        """Local effects, each in the same commit as the saga's own change: at its end, and where it turns round.

        `makes_good` stands in for `completed` when a step that may (see Step) stays refused: it starts the saga that
        gives back what was taken.
        """
        self.on_completed, self.on_compensated, self.on_compensating = completed, otherwise, compensating
        self.on_made_good = makes_good
        return self

    @property
    def no_return(self) -> int:
        """The stage whose entering is the decision; one past the last where everything can be undone."""
        late = [index for index, stage in enumerate(self.stages) if stage.kind in ("pivot", "retriable")]
        return late[0] if late else len(self.stages)

    def _add(self, stage: Stage[D]) -> "Saga[D]":
        decided = self.no_return < len(self.stages)
        names = [part.name for each in (*self.stages, stage) for part in each.parts()]
        if len(names) != len(set(names)):
            raise ValueError(f"saga {self.name}: every step and signal needs a name of its own")
        if decided and stage.kind in ("undoable", "pivot"):
            raise ValueError(f"saga {self.name}: after the pivot, or a retriable step, comes nothing that can fail")
        if stage.kind != "undoable" and any(step.unanswered for step in stage.steps):
            raise ValueError(f"saga {self.name}: only what can be undone can be given up")
        if stage.kind == "undoable" and any(step.learn for step in stage.steps):
            raise ValueError(
                f"saga {self.name}: an undo gets its action's data, so nothing is learned before the pivot"
            )
        if not decided and stage.kind == "sub":
            raise ValueError(f"saga {self.name}: a sub-saga is never taken back, so it comes after the pivot")
        self.stages = (*self.stages, stage)
        return self

    def shape(self) -> str:
        """What must not change under one version: kinds, names, actions and undos of the steps, in their order."""

        def path(method: Callable[..., Any] | None) -> str | None:
            return f"{service_of(method)}.{method.__name__}" if method else None

        stages = [
            [
                stage.kind,
                [[step.name, path(step.action), path(step.undo)] for step in stage.steps],
                stage.wait.name if stage.wait else "",
                f"{stage.sub.name} {stage.sub.definition.name}" if stage.sub else "",
            ]
            for stage in self.stages
        ]
        return msgspec.json.encode(stages).decode()

    def longest_step_s(self, default_s: float) -> float:
        return max((step.timeout_s or default_s for stage in self.stages for step in stage.steps), default=default_s)


class StepState(msgspec.Struct, omit_defaults=True):
    """What the saga knows of one step. `outcome` and `undo` are "" until something is known; besides what came of a
    call they may be `skipped` and `resolved`, which an operator decided, and `given_up`, for want of an answer. Times
    are UTC epoch seconds. `before`: the data as they were until this wait learned something, which the undos of earlier
    steps go by."""

    outcome: str = ""
    result: Any = None
    attempts: int = 0
    refused_since: float | None = None
    unknown_since: float | None = None
    until: float | None = None
    before: Any = None
    undo: str = ""
    undo_attempts: int = 0

    @property
    def done(self) -> bool:
        return self.outcome in ("ok", "skipped", "resolved", "given_up")

    @property
    def undone(self) -> bool:
        return self.undo in ("ok", "resolved")
