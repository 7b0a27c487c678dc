"""The rows of sagas: created, claimed, changed under guard, read.

Whoever changes a saga's row holds its `ver` and raises it by one: a guarded update that finds another `ver` has lost
to another instance, and stops without a further effect.
"""

import dataclasses
import functools
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Executable, Row, bindparam, case, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from chassis.context import current_call
from chassis.db import affected, insert_new, now, run
from chassis.saga import COMPENSATING, ENDED, RUNNING, Saga, StepState
from chassis.tables import saga, saga_definition, saga_log, saga_signal

_CREATE, _LOG = insert(saga), insert(saga_log)
_GET = select(saga).where(saga.c.id == bindparam("of"))
_GOING = saga.c.status.in_((RUNNING, COMPENSATING))
_LOGS = (
    select(saga_log)
    .where(saga_log.c.saga_id.in_(bindparam("of", expanding=True)))
    .order_by(saga_log.c.saga_id, saga_log.c.seq)
)


_AUDITED = ("id", "name", "version", "key", "status", "stage", "deadline", "attention")
NOBODY_KNOWS_IT = "no running instance knows this version of it"


@dataclass
class Held:
    """A saga's row as the instance that holds `ver` knows it; `at` is the database's time of the last commit."""

    id: str
    name: str
    version: int
    key: str
    status: str
    stage: int
    data: Any
    trace_id: str
    steps: dict[str, StepState]
    cause: dict[str, str] | None
    cancel_reason: str | None
    deadline: datetime
    attention: str | None
    parent_id: str | None
    ver: int
    at: datetime

    def state(self, step: str) -> StepState:
        return self.steps.setdefault(step, StepState())

    def results(self) -> dict[str, Any]:
        return {name: state.result for name, state in self.steps.items() if state.outcome == "ok"}


@dataclass(frozen=True)
class Entry:
    """A line of the saga's log, before it has its number and time."""

    step: str
    operation: str
    outcome: str
    attempt: int = 1
    ms: int = 0
    service: str | None = None
    detail: str | None = None
    author: str | None = None


@dataclass
class Change:
    """What a guarded update sets, besides `ver`; `wake_in` moves the time at which others may take over.

    `decision`: the point of no return is entered, which wants the deadline not passed and no cancel at that very
    moment. `data`: what the saga has learned.
    """

    wake_in: timedelta
    values: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    decision: bool = False
    data: Any = None


def create(
    session: Session,
    definition: Saga[Any],
    key: str,
    data: Any,
    owner: str,
    lease: timedelta,
    parent: Held | None = None,
    parent_step: str | None = None,
) -> Held:
    """A new saga at stage 0, held by its creator. Raises IntegrityError for a key that this saga's name had before."""
    at = now(session)
    call = current_call()
    held = Held(
        id=uuid.uuid4().hex,
        name=definition.name,
        version=definition.version,
        key=key,
        status=RUNNING,
        stage=0,
        data=data,
        trace_id=parent.trace_id if parent else call.trace_id if call else uuid.uuid4().hex,
        steps={},
        cause=None,
        cancel_reason=None,
        deadline=at + timedelta(seconds=definition.deadline_s),
        attention=None,
        parent_id=parent.id if parent else None,
        ver=1,
        at=at,
    )
    run(
        session,
        _CREATE,
        id=held.id,
        name=held.name,
        version=held.version,
        key=key,
        status=held.status,
        stage=0,
        context=_as_json(data),
        trace_id=held.trace_id,
        steps={},
        deadline=held.deadline,
        wake_at=at + lease,
        owner=owner,
        ver=1,
        parent_id=held.parent_id,
        parent_step=parent_step,
        created_at=at,
        updated_at=at,
    )
    return held


def change(session: Session, held: Held, what: Change) -> bool:
    """Apply a change under guard and log it. False if another instance has the saga now, or a guard did not hold."""
    held.at = now(session)
    values = what.values if what.data is None else {**what.values, "context": _as_json(what.data)}
    changed = run(
        session,
        _guarded(what.decision, *values),
        of=held.id,
        mine=held.ver,
        at=held.at,
        next_ver=held.ver + 1,
        next_steps=msgspec.to_builtins(held.steps),
        next_wake_at=held.at + what.wake_in,
        **{f"next_{name}": value for name, value in values.items()},
    )
    if changed.rowcount != 1:
        return False
    held.ver += 1
    for name, value in what.values.items():
        if hasattr(held, name):
            setattr(held, name, value)
    if what.data is not None:
        held.data = what.data
    if what.entries:
        # numbered within the version that writes them, so that numbers never meet
        rows = [
            dict(saga_id=held.id, seq=held.ver * 1000 + index, at=held.at, **vars(entry))
            for index, entry in enumerate(what.entries)
        ]
        session.connection().execute(_LOG, rows)
    return True


def hand_over(session: Session, held: Held) -> bool:
    """Let a saga go as its last commit left it: any instance may go on at once. False if it has another version.

    `held` stays as it is, so that whatever its holder commits later finds another version too.
    """
    at = now(session)
    mine = update(saga).where(saga.c.id == held.id, saga.c.ver == held.ver, _GOING)
    return affected(session, mine.values(ver=held.ver + 1, owner=None, wake_at=at, updated_at=at)) == 1


def _as_json(data: Any) -> str:
    return msgspec.json.encode(data).decode()


@functools.cache
def _guarded(decision: bool, *names: str) -> Executable:
    """The update of a held row that sets these columns."""
    values: dict[str, Any] = {name: bindparam(f"next_{name}") for name in ("ver", "steps", "wake_at", *names)}
    statement = update(saga).where(saga.c.id == bindparam("of"), saga.c.ver == bindparam("mine"))
    if decision:
        statement = statement.where(saga.c.deadline > bindparam("at"), saga.c.cancel_reason.is_(None))
    return statement.values(updated_at=bindparam("at"), **values)


def due(session: Session, known: Collection[tuple[str, int]], limit: int) -> list[Row[Any]]:
    """Sagas that nobody drives now, of definitions known here, the longest waiting first."""
    return list(
        session.execute(
            select(saga)
            .where(
                _GOING,
                saga.c.wake_at <= now(session),
                saga.c.paused_at.is_(None),
                tuple_(saga.c.name, saga.c.version).in_(list(known)),
            )
            .order_by(saga.c.wake_at)
            .limit(limit)
        )
    )


def claim(session: Session, row: Row[Any], data_type: type, owner: str, lease: timedelta) -> Held | None:
    """Take over a due saga, unless another instance was faster."""
    at = now(session)
    attention = None if row.attention == NOBODY_KNOWS_IT else row.attention
    taken = (
        update(saga)
        .where(
            saga.c.id == row.id,
            saga.c.ver == row.ver,
            saga.c.wake_at <= at,
            saga.c.paused_at.is_(None),
            _GOING,
        )
        .values(ver=row.ver + 1, owner=owner, wake_at=at + lease, attention=attention)
    )
    if affected(session, taken) != 1:
        return None
    data: Any = msgspec.json.decode(row.context, type=data_type)
    return dataclasses.replace(held_of(row, data, at), attention=attention, ver=row.ver + 1)


def held_of(row: Row[Any], data: Any, at: datetime) -> Held:
    """A row as whoever would change it has to know it."""
    return Held(
        id=row.id,
        name=row.name,
        version=row.version,
        key=row.key,
        status=row.status,
        stage=row.stage,
        data=data,
        trace_id=row.trace_id,
        steps=msgspec.convert(row.steps, dict[str, StepState]),
        cause=row.cause,
        cancel_reason=row.cancel_reason,
        deadline=row.deadline,
        attention=row.attention,
        parent_id=row.parent_id,
        ver=row.ver,
        at=at,
    )


def get(session: Session, saga_id: str) -> Row[Any] | None:
    """One saga's row."""
    return run(session, _GET, of=saga_id).one_or_none()


def log_of(session: Session, saga_ids: Collection[str]) -> dict[str, list[Row[Any]]]:
    """The logs of some sagas, in their order: what people see as the timeline."""
    logs: dict[str, list[Row[Any]]] = {saga_id: [] for saga_id in saga_ids}
    if logs:
        for row in run(session, _LOGS, of=list(logs)):
            logs[row.saga_id].append(row)
    return logs


def add_signal(session: Session, saga_id: str, name: str, payload: Any) -> bool:
    """Keep a signal and wake its saga; False for one that is there already. It may come before the wait."""
    at = now(session)
    if not insert_new(session, saga_signal, dict(saga_id=saga_id, name=name, payload=payload, at=at)):
        return False
    wake(session, saga_id, at)
    return True


def wake(session: Session, saga_id: str, at: datetime) -> None:
    """Have a saga that nobody drives driven at once.

    The row is written in any case, and so locked: an instance that is about to let it go waits for this commit, and
    then sees what it was woken for.
    """
    session.execute(update(saga).where(saga.c.id == saga_id, _GOING).values(wake_at=_at_once(at)))
    session.info["sagas due"] = True


def _at_once(at: datetime) -> Any:
    return case((saga.c.owner.is_(None), at), else_=saga.c.wake_at)


def by_key(session: Session, name: str, key: str) -> Row[Any] | None:
    """The saga that was started with this key."""
    return session.execute(select(saga).where(saga.c.name == name, saga.c.key == key)).one_or_none()


def note_attention(session: Session, saga_id: str, why: str) -> None:
    """Have operators look at a saga, whoever drives it."""
    session.execute(update(saga).where(saga.c.id == saga_id, _GOING).values(attention=why[:1000]))


def signal_of(session: Session, saga_id: str, name: str) -> Row[Any] | None:
    query = select(saga_signal).where(saga_signal.c.saga_id == saga_id, saga_signal.c.name == name)
    return session.execute(query).one_or_none()


def ask_to_cancel(session: Session, saga_id: str, reason: str) -> bool:
    """Mark a running saga for cancelling: before the point of no return it turns round, afterwards its last hook sees
    it. False if it is not running any more; the first reason stays."""
    marked = (
        update(saga)
        .where(saga.c.id == saga_id, saga.c.status == RUNNING)
        .values(wake_at=_at_once(now(session)), cancel_reason=func.coalesce(saga.c.cancel_reason, reason))
    )
    session.info["sagas due"] = True
    return affected(session, marked) == 1


def note_unknown(session: Session, known: Collection[tuple[str, int]], overdue: timedelta) -> int:
    """Raise attention for sagas that have been due for so long because no instance knows their definition."""
    orphans = update(saga).where(
        _GOING,
        saga.c.wake_at <= now(session) - overdue,
        saga.c.paused_at.is_(None),
        saga.c.attention.is_(None),
        tuple_(saga.c.name, saga.c.version).not_in(list(known)),
    )
    return affected(session, orphans.values(attention=NOBODY_KNOWS_IT))


def keep_definition(session: Session, definition: Saga[Any]) -> str:
    """Note a definition's shape, the first time; answers the shape that is kept for this name and version."""
    row = dict(name=definition.name, version=definition.version, shape=definition.shape())
    insert_new(session, saga_definition, row)
    kept = select(saga_definition.c.shape).where(
        saga_definition.c.name == definition.name, saga_definition.c.version == definition.version
    )
    return str(session.scalar(kept))


def unended(session: Session) -> list[Row[Any]]:
    """Every saga that has not ended, as the audit looks at it, the oldest first; at most 10,000."""
    query = select(*(saga.c[name] for name in _AUDITED)).where(saga.c.status.not_in(ENDED))
    return list(session.execute(query.order_by(saga.c.created_at, saga.c.id).limit(10_000)))
