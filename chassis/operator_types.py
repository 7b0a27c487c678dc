"""What operators see of a service's sagas and dead letters: the messages of `chassis/operations.py`.

msgspec alone, no I/O, so that contracts can speak of them.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from chassis.types import Message

PageSize = Annotated[int, msgspec.Meta(ge=1, le=100)]
Age = Annotated[int, msgspec.Meta(ge=0, le=10 * 365 * 86_400)]
"""Seconds."""
Filter = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Reason = Annotated[str, msgspec.Meta(min_length=3, max_length=500)]
Version = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

SagaStatus = Literal["running", "compensating", "completed", "compensated"]
LetterState = Literal["dead", "replayed", "dropped"]
Action = Literal["retry", "pause", "resume", "skip-step", "force-compensate", "resolve"]


class Cause(Message):
    """What turned a saga round, or had it made good."""

    step: str
    code: str
    message: str


class SagaSummary(Message):
    """A saga's row. `stage` counts from 0. `ver` rises with each commit: it fences whoever changes the saga.

    `phase`: undecided (it can still turn round), in_doubt (its pivot may have happened), forward (past the point of no
    return), compensating, ended; or unknown, where this instance does not know its version.
    """

    service: str
    id: str
    name: str
    version: int
    key: str
    status: str
    phase: str
    stage: int
    ver: int
    cause: Cause | None
    attention: str | None
    paused_at: datetime | None
    deadline: datetime
    wake_at: datetime
    owner: str | None
    created_at: datetime
    updated_at: datetime


class SagaStep(Message):
    """One step, signal or sub-saga of the definition. `outcome` and `undo_outcome` are empty until one is known.

    `calls` and `undo` are methods `service.method`; `input` and `output` are masked (chassis/masking.py). No input has
    a step that is left out or not reached: it may hang on what others will answer.
    """

    name: str
    stage: int
    kind: str
    calls: str | None
    undo: str | None
    outcome: str
    attempts: int
    undo_outcome: str
    undo_attempts: int
    input: dict[str, Any] | None
    output: Any


class SagaLine(Message):
    """A line of the log. `operation`: action, undo, wait, sub, saga or operator; `author` is who, for an operator's."""

    at: datetime
    step: str
    operation: str
    outcome: str
    attempt: int
    ms: int
    service: str | None
    detail: str | None
    author: str | None


class SagaSignal(Message):
    name: str
    payload: Any
    at: datetime


class SagaRef(Message):
    id: str
    name: str
    status: str


class Saga(SagaSummary):
    """One saga with all that is known of it, secrets masked. `allowed`: what an operator may do to it now.

    `timeline` has its newest lines, in their order; `steps` is empty where this instance does not know its version.
    """

    trace_id: str
    cancel_reason: str | None
    parent_id: str | None
    children: list[SagaRef]
    data: Any
    steps: list[SagaStep]
    signals: list[SagaSignal]
    timeline: list[SagaLine]
    allowed: list[str]


class SagaPage(Message):
    """`missing`: services that did not answer, so that sagas of theirs are not among the items."""

    items: list[SagaSummary]
    next_cursor: str | None
    missing: list[str] = []


class DeadLetter(Message):
    """An event whose handler failed too often, masked. `state`: dead, or what an operator (`author`) made of it."""

    service: str
    id: int
    handler: str
    event_id: str
    payload: Any
    error: str
    attempts: int
    at: datetime
    state: str
    closed_at: datetime | None
    author: str | None
    reason: str | None


class DeadLetterPage(Message):
    """`missing`: services that did not answer, so that letters of theirs are not among the items."""

    items: list[DeadLetter]
    next_cursor: str | None
    missing: list[str] = []
