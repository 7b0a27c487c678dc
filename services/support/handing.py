"""From the assistant to people, and back."""

import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.errors import ServiceError
from chassis.outbox import publish
from contracts.support import ConversationHandedOver
from services.support import actions, clocks, store, words
from services.support.domain import SYSTEM, queue_of, topic_of
from services.support.hours import Promises
from services.support.summary import summary_of

SUMMED = 50
"""Messages that a summary is made from, the latest."""


def hand_over(session: Session, row: Row[Any], promises: Promises, author: str, reason: str, topic: str = "") -> None:
    """Have somebody of the desk asked for, with a summary of what was; the desk's clocks begin here. The row is held,
    and as it is now."""
    at, queue = now(session), queue_of(row.language, topic if topic and topic != "other" else topic_of(row.queue))
    messages, offered = store.messages(session, row.id, SUMMED), actions.of_conversation(session, row.id)
    store.move(
        session,
        row,
        "waiting",
        author,
        queue=queue,
        summary=summary_of(row.language, reason, messages, offered),
        solved_at=None,
        assigned_to=None,
        claimed_until=None,
        sequence=row.sequence + 1,
    )
    clocks.begin(session, row, promises)
    publish(
        session,
        ConversationHandedOver(
            event_id=uuid.uuid4().hex,
            occurred_at=at,
            aggregate_id=row.id,
            sequence=row.sequence + 1,
            customer_id=row.customer_id,
            queue=queue,
            reason=reason,
        ),
    )


def wake(session: Session, row: Row[Any], promises: Promises, author: str) -> Row[Any]:
    """A customer writes: the desk's turn again if it waited for them, and a solved conversation is gone on with, by
    whom it was with. Answers the row as it is then; the desk's clocks go on here."""
    if row.status == "pending":
        store.move(session, row, "open", author)
        clocks.resume(session, row, promises)
    elif row.status == "solved" and row.handed_over_at is not None:
        hand_over(session, row, promises, author, "")
    elif row.status == "solved":
        store.move(session, row, "bot", author, solved_at=None)
    return store.held(session, row.id)


def require_writable(session: Session, row: Row[Any], reopen_s: int) -> None:
    """Refuse a word in a conversation that is closed, or was solved long ago."""
    ended_at = row.solved_at or row.updated_at
    if row.status == "closed" or (row.status == "solved" and now(session) >= ended_at + timedelta(seconds=reopen_s)):
        raise ServiceError("support.closed", "This conversation is over: begin another one.")


def say(session: Session, row: Row[Any], what: str, **values: Any) -> str:
    """Tell something of the house's own in a held conversation, in its language."""
    text = words.said(what, row.language, **values)
    return store.tell(session, row.id, "message", SYSTEM, sender="system", text=text)


def close_all(session: Session, customer_id: str) -> None:
    """Withdraw what is offered to a customer, and close their conversations."""
    for row in store.hold_unclosed(session, customer_id):
        for action in actions.of_conversation(session, row.id):
            actions.withdraw(session, action)
        store.move(session, row, "closed", SYSTEM, assigned_to=None, claimed_until=None)


def end(session: Session, row: Row[Any], before: str, after: str, since_s: int, promises: Promises) -> None:
    """Move on a held conversation in which nothing happened for so long. A customer who was waited for is told."""
    if row.status != before or row.updated_at >= now(session) - timedelta(seconds=since_s):
        return
    if before == "pending":
        clocks.resume(session, row, promises)
        say(session, row, "not_heard_of")
    nobodys = dict(solved_at=now(session), assigned_to=None, claimed_until=None)
    store.move(session, row, after, SYSTEM, **(nobodys if after == "solved" else {}))
