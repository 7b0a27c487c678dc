"""Conversations as the desk has them: queues, claims, canned replies, and who read what."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, func, or_, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, table_of
from chassis.errors import ServiceError
from contracts import support as contract
from services.support import clocks, store
from services.support.domain import LISTED, SYSTEM, WITH_PEOPLE, begins
from services.support.models import Canned, Conversation

Position = tuple[datetime, str]

_conversations = table_of(Conversation)
_canned = table_of(Canned)


def find(
    session: Session, queue: str | None, status: str | None, whose: str | None, limit: int, after: Position | None
) -> list[tuple[Row[Any], datetime]]:
    """Conversations with the moment that they are in order of: what is due next."""
    due = func.coalesce(clocks.next_due(), _conversations.c.created_at).label("due")
    query = select(_conversations, due).order_by(due, _conversations.c.id).limit(limit)
    query = query.where(_conversations.c.status == status if status else _conversations.c.status.in_(WITH_PEOPLE))
    if queue is not None:
        query = query.where(_conversations.c.queue == queue)
    if whose is not None:
        query = query.where(_conversations.c.assigned_to == whose)
    if after is not None:
        at, last = after
        query = query.where(or_(due > at, and_(due == at, _conversations.c.id > last)))
    return [(row, row.due) for row in session.connection().execute(query)]


def of_customer(session: Session, customer_id: str, but: str, limit: int = 10) -> list[contract.Ticket]:
    """A customer's other conversations, the newest first."""
    query = (
        select(_conversations)
        .where(_conversations.c.customer_id == customer_id, _conversations.c.id != but)
        .order_by(_conversations.c.created_at.desc())
        .limit(limit)
    )
    return [view(session, row, listed=True) for row in session.connection().execute(query)]


def claim(session: Session, row: Row[Any], author: str, length: timedelta) -> None:
    """Take a held conversation: from its queue, or from a colleague whose time is over."""
    at = now(session)
    if row.status not in WITH_PEOPLE:
        raise ServiceError("support.not_claimable", f"A conversation that is {row.status} waits for nobody.")
    if row.assigned_to not in (None, author) and row.claimed_until > at:
        raise ServiceError("support.claimed", "A colleague has this one.", {"until": row.claimed_until.isoformat()})
    taken = dict(assigned_to=author, claimed_until=at + length)
    if row.status == "waiting":
        store.move(session, row, "open", author, **taken)
    else:
        store.change(session, row.id, **taken)
    if row.assigned_to != author:
        store.tell(session, row.id, "assignment", author, assigned_to=author)


def require_claimed(session: Session, row: Row[Any], author: str) -> None:
    if row.assigned_to != author or row.claimed_until is None or row.claimed_until <= now(session):
        raise ServiceError("support.not_claimed", "Claim it first: it is not yours, or not any more.")


def put_back(session: Session, row: Row[Any], author: str, queue: str | None = None) -> None:
    """Into its queue, or another one, for somebody else."""
    values: dict[str, Any] = dict(assigned_to=None, claimed_until=None)
    if queue is not None:
        values["queue"] = queue
    if row.status == "waiting":
        store.change(session, row.id, **values)
    else:
        store.move(session, row, "waiting", author, **values)
    store.tell(session, row.id, "assignment", author, assigned_to=None)


def lapsed(session: Session, limit: int) -> list[str]:
    """Open conversations whose claim is over."""
    over = and_(_conversations.c.status == "open", _conversations.c.claimed_until <= now(session))
    return list(session.scalars(select(_conversations.c.id).where(over).limit(limit)))


def put_back_lapsed(session: Session, row: Row[Any]) -> None:
    """A held conversation whose claim is over goes back into its queue, unless its owner wrote meanwhile."""
    if row.status == "open" and row.claimed_until is not None and row.claimed_until <= now(session):
        put_back(session, row, SYSTEM)


def view(session: Session, row: Row[Any], listed: bool = False) -> contract.Ticket:
    """`listed`: among others, where nobody has said yet that they read it."""
    at = now(session)
    return contract.Ticket(
        id=row.id,
        status=row.status,
        queue=row.queue,
        priority=row.priority,
        tags=row.tags,
        language=row.language,
        subject=begins(row.subject, LISTED) if listed else row.subject,
        created_at=row.created_at,
        updated_at=row.updated_at,
        first_answer=clocks.first_answer(row, at),
        solution=clocks.solution(row, at),
        customer_id=row.customer_id,
        assigned_to=row.assigned_to,
        claimed_until=row.claimed_until,
    )


def shown(session: Session, conversation_id: str) -> contract.Ticket:
    return view(session, store.held(session, conversation_id))


# --- replies to pick from


def canned(session: Session, language: str | None) -> list[contract.Canned]:
    query = select(_canned).order_by(_canned.c.language, _canned.c.title)
    if language is not None:
        query = query.where(_canned.c.language == language)
    return [_canned_view(row) for row in session.connection().execute(query)]


def write_canned(session: Session, language: str, title: str, text: str, author: str) -> contract.Canned:
    """Add a reply, or replace the one of this language and title."""
    of = and_(_canned.c.language == language, _canned.c.title == title)
    row = dict(id=uuid.uuid4().hex, language=language, title=title, text=text, author=author, at=now(session))
    if not insert_new(session, _canned, row):
        session.execute(update(_canned).where(of).values(text=text, author=author, at=now(session)))
    return _canned_view(session.connection().execute(select(_canned).where(of)).one())


def _canned_view(row: Row[Any]) -> contract.Canned:
    return contract.Canned(id=row.id, language=row.language, title=row.title, text=row.text)
