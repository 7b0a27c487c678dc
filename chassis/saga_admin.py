"""What operators find of sagas, and do to them.

An operator's action is one guarded update by `ver`, like any other commit of a saga: an instance that drives it
meanwhile finds another `ver` and stops without a further effect. What is forbidden stands in `chassis/saga_rules.py`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Text, and_, cast, desc, or_, select
from sqlalchemy.orm import Session

from chassis import saga_store as store
from chassis.db import now
from chassis.errors import ServiceError
from chassis.operator_types import Action
from chassis.saga import COMPENSATING, ENDED
from chassis.saga_engine import Sagas
from chassis.saga_rules import Case
from chassis.saga_store import Change, Entry
from chassis.tables import saga


def find(
    session: Session,
    where: list[ColumnElement[bool]],
    limit: int,
    before: tuple[datetime, str] | None,
) -> list[Row[Any]]:
    """Sagas, newest first; `before` is the creation time and id of the last one seen."""
    if before is not None:
        at, saga_id = before
        where = [*where, or_(saga.c.created_at < at, and_(saga.c.created_at == at, saga.c.id < saga_id))]
    query = select(saga).where(*where).order_by(desc(saga.c.created_at), desc(saga.c.id)).limit(limit)
    return list(session.execute(query))


def filters(
    at: datetime,
    overdue: timedelta,
    status: str | None = None,
    name: str | None = None,
    stuck: bool | None = None,
    attention: bool | None = None,
    older_than_s: int | None = None,
    text: str | None = None,
) -> list[ColumnElement[bool]]:
    """The conditions that an operator asked for. Stuck is what goes nowhere until somebody acts: it needs attention,
    is paused, or has been due for `overdue` and nobody drives it."""
    going = saga.c.status.not_in(ENDED)
    undriven = and_(saga.c.paused_at.is_(None), saga.c.wake_at < at - overdue)
    is_stuck = and_(going, or_(saga.c.attention.is_not(None), saga.c.paused_at.is_not(None), undriven))
    needs_attention = and_(going, saga.c.attention.is_not(None))
    found: list[ColumnElement[bool]] = []
    if status is not None:
        found.append(saga.c.status == status)
    if name is not None:
        found.append(saga.c.name == name)
    if stuck is not None:
        found.append(is_stuck if stuck else ~is_stuck)
    if attention is not None:
        found.append(needs_attention if attention else ~needs_attention)
    if older_than_s is not None:
        found.append(saga.c.created_at < at - timedelta(seconds=older_than_s))
    if text is not None:
        columns = (saga.c.id, saga.c.key, saga.c.trace_id, saga.c.context, saga.c.attention, cast(saga.c.cause, Text))
        found.append(or_(*(column.icontains(text, autoescape=True) for column in columns)))
    return found


def case_of(session: Session, engine: Sagas, row: Row[Any], step: str | None = None) -> Case:
    """A saga as it is now, with the definition that it began with, if this instance knows it."""
    definition = engine.definitions.get((row.name, row.version))
    data = msgspec.json.decode(row.context, type=definition.data) if definition else None
    held = store.held_of(row, data, now(session))
    return Case(row, held, definition, engine.limits, step)


# --- what is done


def operate(
    session: Session, engine: Sagas, saga_id: str, action: Action, ver: int, reason: str, step: str | None, author: str
) -> None:
    """Do an operator's action, in a write transaction, and log it. It is driven on at once after the commit.

    Raises ServiceError: sagas.not_found, sagas.stale (its version is not `ver`), sagas.not_allowed (a rule).
    """
    row = get(session, saga_id)
    if row.ver != ver:
        raise _stale(row.ver)
    case = case_of(session, engine, row, step)
    if sentence := case.why_not(action):
        details = {"action": action, "phase": case.phase, "allowed": case.allowed()}
        raise ServiceError("sagas.not_allowed", sentence, details)
    values = {"owner": None, **_EFFECTS[action](case, reason)}
    named = step or (", ".join(case.stuck()) if action == "resolve" else "operator")
    entry = Entry(named, "operator", action, detail=reason, author=author)
    if not store.change(session, case.held, Change(timedelta(), values, [entry])):
        raise _stale(None)
    if action == "force-compensate":
        assert case.definition is not None
        case.definition.on_compensating(session, engine.rounds.run_of(case.held))
    session.info["sagas due"] = True


def _stale(ver: int | None) -> ServiceError:
    found = f"it is at version {ver}" if ver else "somebody was faster"
    return ServiceError("sagas.stale", f"The saga has changed since you looked: {found}. Look again, then decide.")


def _turn_round(case: Case, reason: str) -> dict[str, Any]:
    cause = {"step": "operator", "code": "saga.operator", "message": reason}
    return {"status": COMPENSATING, "cause": cause, "attention": None}


def _skip(case: Case, reason: str) -> dict[str, Any]:
    assert case.step is not None
    case.held.state(case.step).outcome = "skipped"
    return {"attention": None}


def _resolve(case: Case, reason: str) -> dict[str, Any]:
    state = case.held.state(case.step or case.stuck()[0])
    if case.phase == "compensating":
        state.undo = "resolved"
    else:
        state.outcome = "resolved"
    return {"attention": None}


_EFFECTS: dict[Action, Callable[[Case, str], dict[str, Any]]] = {
    "retry": lambda case, reason: {},
    "pause": lambda case, reason: {"paused_at": case.held.at},
    "resume": lambda case, reason: {"paused_at": None},
    "skip-step": _skip,
    "force-compensate": _turn_round,
    "resolve": _resolve,
}
"""What each action sets in the row, besides `ver` and the time from which anybody may drive it: now."""


def get(session: Session, saga_id: str) -> Row[Any]:
    """One saga's row. Raises ServiceError sagas.not_found."""
    row = store.get(session, saga_id)
    if row is None:
        raise ServiceError("sagas.not_found", f"There is no saga {saga_id!r} here.")
    return row
