"""Actions in the database. Whoever changes one holds its conversation's row, and tells in the conversation."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import affected, now, table_of
from chassis.errors import ServiceError
from services.support import store
from services.support.domain import ACTION_ENDS, ASSISTANT, SYSTEM, UNDER_WAY, back_off_s
from services.support.models import Action
from services.support.turns import Proposal

_actions = table_of(Action)


# --- looking


def get(session: Session, action_id: str) -> Row[Any] | None:
    return session.connection().execute(select(_actions).where(_actions.c.id == action_id)).one_or_none()


def of(session: Session, conversation_id: str, action_id: str) -> Row[Any]:
    """An action of this conversation."""
    row = get(session, action_id)
    if row is None or row.conversation_id != conversation_id:
        raise ServiceError("support.action_not_found", f"There is no action {action_id!r} in this conversation.")
    return row


def of_conversation(session: Session, conversation_id: str) -> Sequence[Row[Any]]:
    """All of a conversation, the oldest first."""
    query = select(_actions).where(_actions.c.conversation_id == conversation_id)
    return session.connection().execute(query.order_by(_actions.c.created_at, _actions.c.id)).all()


def open_in(session: Session, conversation_id: str) -> list[Row[Any]]:
    """Those that wait for a yes or no."""
    at = now(session)
    rows = of_conversation(session, conversation_id)
    return [row for row in rows if row.status == "offered" and row.expires_at > at]


def under_way(session: Session, order_id: str, *kinds: str) -> Sequence[Row[Any]]:
    """Those of an order that somebody said yes to, and of which no end is known; those that began first."""
    mine = (_actions.c.order_id == order_id, _actions.c.kind.in_(kinds), _actions.c.status.in_(UNDER_WAY))
    query = select(_actions).where(*mine).order_by(_actions.c.status.desc(), _actions.c.conversation_id, _actions.c.id)
    return session.connection().execute(query).all()


def due(session: Session, limit: int) -> list[str]:
    """Confirmed ones that are to be done now, those that have waited longest first."""
    late = (_actions.c.status == "confirmed", _actions.c.next_at <= now(session))
    return list(session.scalars(select(_actions.c.id).where(*late).order_by(_actions.c.next_at).limit(limit)))


def outdated(session: Session, limit: int) -> Sequence[Row[Any]]:
    """Offers whose time is over."""
    over = (_actions.c.status == "offered", _actions.c.expires_at <= now(session))
    return session.connection().execute(select(_actions).where(*over).limit(limit)).all()


# --- changing


def offer(
    session: Session,
    conversation: Row[Any],
    message_id: str,
    proposal: Proposal,
    valid_s: float,
    by: str | None = None,
) -> str:
    """Offer something in a message of a held conversation of a customer's; answers the action's id. `by`: who of staff
    does."""
    at = now(session)
    row = dict(
        id=uuid.uuid4().hex,
        conversation_id=conversation.id,
        message_id=message_id,
        customer_id=conversation.customer_id,
        kind=proposal.kind,
        status="offered",
        order_id=proposal.order_id,
        wish=proposal.wish,
        summary=proposal.summary,
        changes=msgspec.to_builtins(proposal.changes),
        amount=proposal.amount.amount if proposal.amount else 0,
        currency=proposal.amount.currency if proposal.amount else None,
        by=by,
        expires_at=at + timedelta(seconds=valid_s),
        attempts=0,
        created_at=at,
        updated_at=at,
    )
    session.execute(insert(_actions).values(**row))
    store.change(session, conversation.id)
    store.tell(session, conversation.id, "action", by or ASSISTANT, status="offered", action_id=row["id"])
    return str(row["id"])


def move(session: Session, action: Row[Any], before: Sequence[str], status: str, author: str, **values: Any) -> bool:
    """Change the state of an action of a held conversation, and tell; False if it is in none of these any more."""
    if status in ACTION_ENDS:
        values = dict(values, next_at=None)
    here = update(_actions).where(_actions.c.id == action.id, _actions.c.status.in_(before))
    if affected(session, here.values(status=status, updated_at=now(session), **values)) != 1:
        return False
    store.change(session, action.conversation_id)
    store.tell(session, action.conversation_id, "action", author, status=status, action_id=action.id)
    return True


def confirm(
    session: Session, conversation: Row[Any], action_id: str, author: str, approved_by: str | None = None
) -> Row[Any]:
    """Have an offered action of a held conversation done, as soon as this is committed. One that was confirmed before
    stays as it is; one that was given up is tried again, under the same key."""
    action, at = of(session, conversation.id, action_id), now(session)
    if action.status == "confirmed" and action.next_at is None:
        _keep_confirmed(session, action, next_at=at, attempts=0)
        return of(session, conversation.id, action_id)
    if action.status in ("confirmed", "started", "done"):
        return action
    still = action.status == "offered" and action.expires_at > at
    if not still or not move(
        session, action, ("offered",), "confirmed", author, next_at=at, approved_by=approved_by, attempts=0
    ):
        raise _over(action)
    return of(session, conversation.id, action_id)


def second(session: Session, action: Row[Any], author: str) -> Row[Any]:
    """Somebody of staff takes on what the assistant offered in a held conversation: it is for a colleague to do, or
    still for the customer."""
    mine = (_actions.c.id == action.id, _actions.c.by.is_(None), _actions.c.status == "offered")
    if affected(session, update(_actions).where(*mine).values(by=author, updated_at=now(session))) != 1:
        raise _over(action)
    store.change(session, action.conversation_id)
    store.tell(session, action.conversation_id, "action", author, status="offered", action_id=action.id)
    return of(session, action.conversation_id, action.id)


def decline(session: Session, conversation: Row[Any], action_id: str, author: str) -> Row[Any]:
    """Leave an offered action undone."""
    action = of(session, conversation.id, action_id)
    if action.status != "declined" and not move(session, action, ("offered",), "declined", author):
        raise _over(action)
    return of(session, conversation.id, action_id)


def withdraw(session: Session, action: Row[Any]) -> bool:
    """An offer that nobody may accept any more."""
    return move(session, action, ("offered",), "expired", SYSTEM)


def take(session: Session, action_id: str, held_s: float) -> Row[Any] | None:
    """A confirmed action that is due, to be done by the caller alone for so long; None if somebody else has it."""
    at = now(session)
    mine = (_actions.c.id == action_id, _actions.c.status == "confirmed", _actions.c.next_at <= at)
    taken = (
        update(_actions).where(*mine).values(next_at=at + timedelta(seconds=held_s), attempts=_actions.c.attempts + 1)
    )
    return session.connection().execute(taken.returning(_actions)).one_or_none()


def put_off(session: Session, action: Row[Any]) -> None:
    """Nobody knows what became of it: again later, each time after a longer while."""
    later = now(session) + timedelta(seconds=back_off_s(action.attempts))
    _keep_confirmed(session, action, next_at=later)


def give_up(session: Session, action: Row[Any]) -> bool:
    """Try it no more; its end may still come."""
    return _keep_confirmed(session, action, next_at=None)


def _keep_confirmed(session: Session, action: Row[Any], **values: Any) -> bool:
    mine = (_actions.c.id == action.id, _actions.c.status == "confirmed", _actions.c.attempts == action.attempts)
    return affected(session, update(_actions).where(*mine).values(**values)) == 1


def _over(action: Row[Any]) -> ServiceError:
    state = "expired" if action.status == "offered" else action.status
    return ServiceError(
        "support.action_over", f"This action is {state}: ask for it again if you still want it.", {"state": state}
    )
