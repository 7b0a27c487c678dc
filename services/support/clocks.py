"""The desk's two promises, a first answer and a solution, in its own hours; they stand still while it waits for the
customer. All work on a held conversation."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, case, or_, select
from sqlalchemy.orm import Session

from chassis.db import now, table_of
from contracts.support import Clock, Priority
from services.support import store
from services.support.hours import Desk, Promises, due, worked
from services.support.models import Conversation

FORESEEN, MISSED = 1, 2
"""`escalated`: a promise is about to be missed; it was."""
HIGHER: dict[str, str] = {"low": "normal", "normal": "high", "high": "urgent", "urgent": "urgent"}

_conversations = table_of(Conversation)


def begin(session: Session, row: Row[Any], promises: Promises) -> None:
    """A person is asked for: both clocks start. Of one that was solved before the solution's runs anew, and the time
    in which it was solved is nobody's; one that was solved without a word begins from the beginning."""
    at, promise, desk = now(session), promises.support_promises[_known(row.priority)], promises.support_desk
    answered = row.first_answered_at is not None
    store.change(
        session,
        row.id,
        handed_over_at=row.handed_over_at if answered else at,
        paused_s=row.paused_s + worked(desk, row.solved_at or at, at) if answered else 0.0,
        first_due_at=row.first_due_at if answered else due(desk, at, promise.first_s),
        solve_due_at=due(desk, at, promise.solve_s),
        paused_at=None,
        escalated=0,
    )


def pause(session: Session, row: Row[Any]) -> None:
    """It is the customer's turn."""
    if row.paused_at is None:
        store.change(session, row.id, paused_at=now(session))


def resume(session: Session, row: Row[Any], promises: Promises) -> None:
    """The customer wrote: what was left of the time when the clock stopped is left still."""
    if row.paused_at is None:
        return
    at, desk = now(session), promises.support_desk
    store.change(
        session,
        row.id,
        paused_at=None,
        paused_s=row.paused_s + worked(desk, row.paused_at, at),
        solve_due_at=_moved(desk, row.solve_due_at, row.paused_at, at),
        first_due_at=_moved(desk, row.first_due_at, row.paused_at, at),
    )


def first_answered(session: Session, row: Row[Any]) -> None:
    if row.first_answered_at is None:
        store.change(session, row.id, first_answered_at=now(session))


def next_due() -> Any:
    """The moment that comes next of a conversation, as a query's expression."""
    return case(
        (_conversations.c.first_answered_at.is_(None), _conversations.c.first_due_at),
        else_=_conversations.c.solve_due_at,
    )


def in_danger(session: Session, promises: Promises, limit: int) -> list[Row[Any]]:
    """Conversations whose next promise is about to be missed, or was, and of which nobody was told."""
    at = now(session)
    soon = due(promises.support_desk, at, promises.support_foresee_s)
    running = and_(_conversations.c.status.in_(("waiting", "open")), _conversations.c.paused_at.is_(None))
    untold = or_(
        and_(_conversations.c.escalated < MISSED, next_due() <= at),
        and_(_conversations.c.escalated < FORESEEN, next_due() <= soon),
    )
    query = select(_conversations).where(running, untold).order_by(next_due()).limit(limit)
    return list(session.connection().execute(query))


def escalate(session: Session, row: Row[Any]) -> None:
    """Raise a conversation's priority, and tell the desk why."""
    due_at = row.first_due_at if row.first_answered_at is None else row.solve_due_at
    missed = due_at <= now(session)
    what = "first answer" if row.first_answered_at is None else "solution"
    text = f"The {what} was promised by {due_at:%Y-%m-%d %H:%M} UTC{': it is late' if missed else ''}."
    store.change(
        session, row.id, escalated=MISSED if missed else FORESEEN, priority=HIGHER.get(row.priority, row.priority)
    )
    store.tell(session, row.id, "message", "system", text=text, note=True)


def first_answer(row: Row[Any], at: datetime) -> Clock:
    """What was solved without a word, and in time, needed none."""
    return _clock(row, row.first_due_at, row.first_answered_at, row.solved_at or at)


def solution(row: Row[Any], at: datetime) -> Clock:
    return _clock(row, row.solve_due_at, row.solved_at, at)


def kept(due_at: Any, ended_at: Any) -> Any:
    """That a promise was kept, as a query's expression."""
    return ended_at <= due_at


def missed(due_at: Any, ended_at: Any, at: datetime) -> Any:
    """That it was not, at a moment."""
    solved_at, paused_at = _conversations.c.solved_at, _conversations.c.paused_at
    late = or_(solved_at > due_at, and_(solved_at.is_(None), paused_at.is_(None), due_at < at))
    return or_(ended_at > due_at, and_(ended_at.is_(None), late))


def _clock(row: Row[Any], due_at: datetime | None, ended: datetime | None, at: datetime) -> Clock:
    paused = row.paused_at is not None and ended is None
    met: bool | None = None
    if due_at is not None and ended is not None:
        met = ended <= due_at
    elif due_at is not None and not paused and at > due_at:
        met = False
    return Clock(due_at=due_at, met=met, paused=paused, escalated=row.escalated >= FORESEEN)


def _moved(desk: Desk, due_at: datetime | None, paused_at: datetime, at: datetime) -> datetime | None:
    if due_at is None or due_at <= paused_at:
        return due_at
    return due(desk, at, worked(desk, paused_at, due_at))


def _known(priority: str) -> Priority:
    return priority if priority in ("low", "normal", "high", "urgent") else "normal"  # type: ignore[return-value]
