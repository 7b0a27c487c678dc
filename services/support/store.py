"""Conversations in the database. Whoever changes one holds its row first, so that changes come one after another."""

import hashlib
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, and_, desc, func, insert, or_, select, update
from sqlalchemy.orm import Session

from chassis.db import now, table_of
from chassis.errors import ServiceError
from contracts.support import Source
from services.support.domain import ENDED, OPEN_MOST, queue_of, require_move
from services.support.models import Conversation, Happening, Question, Reading

_conversations = table_of(Conversation)
_happenings = table_of(Happening)
_questions = table_of(Question)
_readings = table_of(Reading)

Position = tuple[datetime, str]
"""Of a conversation in the list of a customer's: when it began, and its id."""


def token_hash(token: str) -> str:
    """What is kept of a guest's token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def begin(
    session: Session,
    language: str,
    subject: str,
    *,
    customer_id: str | None = None,
    hashed: str | None = None,
    order_id: str | None = None,
) -> Row[Any]:
    """A new conversation, of a customer or of the guest whose token's hash this is."""
    at = now(session)
    row: dict[str, Any] = dict(
        id=uuid.uuid4().hex,
        customer_id=customer_id,
        token_hash=hashed,
        status="bot",
        language=language,
        subject=subject,
        order_id=order_id,
        memory={},
        queue=queue_of(language, "other"),
        priority="normal",
        tags=[],
        summary=[],
        paused_s=0.0,
        escalated=0,
        sequence=0,
        happened=0,
        ver=1,
        created_at=at,
        updated_at=at,
    )
    session.execute(insert(_conversations).values(**row))
    return held(session, str(row["id"]))


def get(session: Session, conversation_id: str) -> Row[Any] | None:
    return (
        session.connection().execute(select(_conversations).where(_conversations.c.id == conversation_id)).one_or_none()
    )


def of_guest(session: Session, token: str) -> Row[Any]:
    """The conversation of a guest's token."""
    query = select(_conversations).where(_conversations.c.token_hash == token_hash(token))
    row = session.connection().execute(query).one_or_none()
    if row is None:
        raise ServiceError("support.not_found", "There is no such conversation.")
    return row


def customer_of(session: Session, conversation_id: str) -> str | None:
    """Whose a conversation is; None of a guest's, and of one that there is not."""
    whose = select(_conversations.c.customer_id).where(_conversations.c.id == conversation_id)
    customer_id: str | None = session.scalar(whose)
    return customer_id


def held(session: Session, conversation_id: str) -> Row[Any]:
    """A conversation, nobody else's until the transaction ends."""
    query = select(_conversations).where(_conversations.c.id == conversation_id).with_for_update()
    row = session.connection().execute(query).one_or_none()
    if row is None:
        raise not_found(conversation_id)
    return row


def change(session: Session, conversation_id: str, **values: Any) -> None:
    """Change a held conversation."""
    mine = _conversations.c.id == conversation_id
    values = dict(values, ver=_conversations.c.ver + 1, updated_at=now(session))
    session.execute(update(_conversations).where(mine).values(**values))


def move(session: Session, row: Row[Any], status: str, author: str, **values: Any) -> None:
    """Change a held conversation's state, with what changes with it, and write down who did."""
    require_move(row.status, status)
    change(session, row.id, status=status, **values)
    tell(session, row.id, "state", author, status=status)


def tell(
    session: Session,
    conversation_id: str,
    kind: str,
    author: str,
    *,
    sender: str = "system",
    text: str = "",
    note: bool = False,
    sources: Sequence[Source] = (),
    **more: Any,
) -> str:
    """Write down what happened in a held conversation, under the next number; answers its id.

    `more`: intent, confidence, status, assigned_to, action_id.
    """
    numbered = (
        update(_conversations)
        .where(_conversations.c.id == conversation_id)
        .values(happened=_conversations.c.happened + 1)
        .returning(_conversations.c.happened)
    )
    row = dict(
        id=uuid.uuid4().hex,
        conversation_id=conversation_id,
        sequence=session.connection().execute(numbered).scalar_one(),
        at=now(session),
        kind=kind,
        sender=sender,
        author=author,
        text=text,
        note=note,
        sources=msgspec.to_builtins(list(sources)),
        **more,
    )
    session.execute(insert(_happenings).values(**row))
    return str(row["id"])


def messages(session: Session, conversation_id: str, limit: int, with_notes: bool = False) -> Sequence[Row[Any]]:
    """The latest messages, the oldest first."""
    query = _told(conversation_id, with_notes).where(_happenings.c.kind == "message")
    latest = session.connection().execute(query.order_by(desc(_happenings.c.sequence)).limit(limit)).all()
    return latest[::-1]


def happenings(
    session: Session, conversation_id: str, after: int, limit: int, with_notes: bool = False
) -> Sequence[Row[Any]]:
    query = _told(conversation_id, with_notes).where(_happenings.c.sequence > after)
    return session.connection().execute(query.order_by(_happenings.c.sequence).limit(limit)).all()


def happening(session: Session, happening_id: str) -> Row[Any]:
    return session.connection().execute(select(_happenings).where(_happenings.c.id == happening_id)).one()


def message_count(session: Session, conversation_id: str) -> int:
    mine = (_happenings.c.conversation_id == conversation_id, _happenings.c.kind == "message")
    return int(session.scalar(select(func.count()).select_from(_happenings).where(*mine)) or 0)


def _told(conversation_id: str, with_notes: bool) -> Any:
    query = select(_happenings).where(_happenings.c.conversation_id == conversation_id)
    return query if with_notes else query.where(_happenings.c.note.is_(False))


def find(session: Session, customer_id: str, limit: int, before: Position | None) -> Sequence[Row[Any]]:
    """A customer's conversations, the newest first."""
    query = select(_conversations).where(_conversations.c.customer_id == customer_id)
    query = query.order_by(desc(_conversations.c.created_at), desc(_conversations.c.id)).limit(limit)
    if before is not None:
        (at, last), of = before, _conversations.c
        query = query.where(or_(of.created_at < at, and_(of.created_at == at, of.id < last)))
    return session.connection().execute(query).all()


def hold_unclosed(session: Session, customer_id: str) -> Sequence[Row[Any]]:
    """A customer's conversations that are not closed, held."""
    mine = (_conversations.c.customer_id == customer_id, _conversations.c.status != "closed")
    query = select(_conversations).where(*mine).order_by(_conversations.c.id).with_for_update()
    return session.connection().execute(query).all()


def hold_first(session: Session, customer_id: str) -> None:
    """Whoever begins a conversation for this customer comes after this transaction; none does where there is none."""
    mine = (_conversations.c.customer_id == customer_id, _conversations.c.status.not_in(ENDED))
    first = select(_conversations.c.id).where(*mine).order_by(_conversations.c.created_at, _conversations.c.id).limit(1)
    session.execute(first.with_for_update())


def require_few_open(session: Session, customer_id: str) -> None:
    """Refuse one more conversation of a customer who has many."""
    mine = (_conversations.c.customer_id == customer_id, _conversations.c.status.not_in(ENDED))
    if (session.scalar(select(func.count()).select_from(_conversations).where(*mine)) or 0) >= OPEN_MOST:
        raise ServiceError("support.too_many", f"You have {OPEN_MOST} open conversations: go on with one of them.")


def ask_editors(session: Session, conversation_id: str, language: str, text: str, nearest: str | None) -> None:
    """Keep a question that nobody could answer."""
    row = dict(id=uuid.uuid4().hex, conversation_id=conversation_id, language=language, text=text[:500])
    session.execute(insert(_questions).values(**row, nearest=nearest, at=now(session)))


def note_reading(session: Session, conversation_id: str, reader: str) -> None:
    """Write down that somebody of staff read a conversation."""
    row = dict(id=uuid.uuid4().hex, conversation_id=conversation_id, reader=reader, at=now(session))
    session.execute(insert(_readings).values(**row))


def read_lately(session: Session, conversation_id: str, reader: str, within: timedelta) -> bool:
    mine = (_readings.c.conversation_id == conversation_id, _readings.c.reader == reader)
    lately = select(_readings.c.id).where(*mine, _readings.c.at > now(session) - within).limit(1)
    return session.scalar(lately) is not None


def idle(session: Session, status: str, since: timedelta, limit: int) -> list[str]:
    """Conversations in this state in which nothing happened for so long."""
    quiet = (_conversations.c.status == status, _conversations.c.updated_at < now(session) - since)
    return list(session.scalars(select(_conversations.c.id).where(*quiet).limit(limit)))


def not_found(conversation_id: str) -> ServiceError:
    return ServiceError("support.not_found", f"There is no conversation {conversation_id!r}.")
