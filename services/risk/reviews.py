"""The review queue: every change is a guarded update of an open review."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, and_, func, insert, or_, select, update
from sqlalchemy.orm import Session

from chassis.db import affected, now, table_of
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.types import Money
from contracts import risk as contract
from services.risk import store
from services.risk.models import Review

Position = tuple[datetime, str]
EXPIRED = "Nobody decided in time."

_reviews = table_of(Review)


def begin(
    session: Session, subject: contract.Subject, screening: contract.Screening, length: timedelta, needed: int
) -> None:
    """Queue a decision for staff."""
    at = now(session)
    row = dict(
        id=uuid.uuid4().hex,
        screening_id=screening.id,
        kind=subject.kind,
        subject_id=subject.id,
        customer_id=subject.customer_id,
        amount=subject.amount.amount,
        currency=subject.amount.currency,
        score=screening.score,
        reasons=msgspec.to_builtins(screening.reasons),
        state="open",
        needed=needed,
        approvals=[],
        opened_at=at,
        expires_at=at + length,
    )
    session.execute(insert(_reviews).values(**row))


def close_of(session: Session, screening_id: str) -> None:
    """What it is about was taken back: nobody has to decide any more, and nothing is told."""
    mine = and_(_reviews.c.screening_id == screening_id, _reviews.c.state == "open")
    session.execute(update(_reviews).where(mine).values(state="closed", claimed_by=None, decided_at=now(session)))


def find(session: Session, state: str, limit: int, after: Position | None) -> list[Row[Any]]:
    query = select(_reviews).where(_reviews.c.state == state).order_by(_reviews.c.opened_at, _reviews.c.id).limit(limit)
    if after is not None:
        at, review_id = after
        later = and_(_reviews.c.opened_at == at, _reviews.c.id > review_id)
        query = query.where(or_(_reviews.c.opened_at > at, later))
    return list(session.connection().execute(query))


def held(session: Session, review_id: str) -> Row[Any]:
    """An open review, nobody else's until the transaction ends."""
    row = (
        session.connection().execute(select(_reviews).where(_reviews.c.id == review_id).with_for_update()).one_or_none()
    )
    if row is None:
        raise ServiceError("risk.not_found", f"There is no review {review_id!r}.")
    if row.state != "open" or row.expires_at <= now(session):
        raise ServiceError("risk.review_closed", "This review is decided already, or its time is over.")
    return row


def claim(session: Session, review_id: str, author: str, length: timedelta) -> None:
    row, at = held(session, review_id), now(session)
    if author == row.customer_id or author in row.approvals:
        raise ServiceError("risk.four_eyes", "Somebody else has to look at this one.")
    if row.claimed_by not in (None, author) and row.claimed_until > at:
        raise ServiceError(
            "risk.claimed", "A colleague has claimed this one.", {"until": row.claimed_until.isoformat()}
        )
    _change(session, row, claimed_by=author, claimed_until=at + length)


def approve(session: Session, review_id: str, author: str, reason: str) -> None:
    row = _claimed(session, review_id, author)
    approvals = [*row.approvals, author]
    if len(approvals) < row.needed:
        _change(session, row, approvals=approvals, claimed_by=None, claimed_until=None)
    else:
        _decide(session, row, "approved", reason, approvals=approvals)


def refuse(session: Session, review_id: str, author: str, reason: str) -> None:
    row = _claimed(session, review_id, author)
    _decide(session, row, "refused", reason)


def expire(session: Session, limit: int) -> int:
    """End what nobody decided in time; answers how many."""
    over = and_(_reviews.c.state == "open", _reviews.c.expires_at <= now(session))
    due = select(_reviews).where(over).order_by(_reviews.c.expires_at).limit(limit).with_for_update()
    rows = session.connection().execute(due).all()
    for row in rows:
        _decide(session, row, "expired", EXPIRED)
    return len(rows)


def is_due(session: Session) -> bool:
    over = and_(_reviews.c.state == "open", _reviews.c.expires_at <= now(session))
    return session.execute(select(_reviews.c.id).where(over).limit(1)).scalar() is not None


def _claimed(session: Session, review_id: str, author: str) -> Row[Any]:
    row = held(session, review_id)
    if row.claimed_by != author or row.claimed_until <= now(session):
        raise ServiceError("risk.not_claimed", "Claim it first: it is not yours, or not any more.")
    return row


def _change(session: Session, row: Row[Any], **values: Any) -> None:
    mine = and_(_reviews.c.id == row.id, _reviews.c.state == "open")
    if not affected(session, update(_reviews).where(mine).values(**values)):
        raise ServiceError("risk.review_closed", "This review is decided already.")


def _decide(session: Session, row: Row[Any], state: str, reason: str, **values: Any) -> None:
    """The end of a review, and the event that tells of it, in one transaction."""
    at = now(session)
    numbers = select(func.coalesce(func.max(_reviews.c.sequence), 0) + 1).where(_reviews.c.subject_id == row.subject_id)
    sequence = int(session.execute(numbers).scalar_one())
    ended = dict(state=state, reason=reason, sequence=sequence, decided_at=at, claimed_by=None, claimed_until=None)
    _change(session, row, **ended, **values)
    if state != "approved":
        store.mark(session, row.screening_id, "failed")
    publish(
        session,
        contract.ReviewDecided(
            event_id=uuid.uuid4().hex,
            occurred_at=at,
            aggregate_id=row.subject_id,
            sequence=sequence,
            kind=row.kind,
            subject_id=row.subject_id,
            approved=state == "approved",
            reason=reason,
        ),
    )


def view(row: Row[Any]) -> contract.Review:
    return contract.Review(
        id=row.id,
        decision_id=row.screening_id,
        kind=row.kind,
        subject_id=row.subject_id,
        customer_id=row.customer_id,
        amount=Money(amount=row.amount, currency=row.currency),
        score=row.score,
        reasons=msgspec.convert(row.reasons, list[contract.Reason]),
        state=row.state,
        needed=row.needed,
        approvals=row.approvals,
        opened_at=row.opened_at,
        expires_at=row.expires_at,
        claimed_by=row.claimed_by,
        claimed_until=row.claimed_until,
        decided_at=row.decided_at,
        reason=row.reason,
    )


def shown(session: Session, review_id: str) -> contract.Review:
    return view(session.connection().execute(select(_reviews).where(_reviews.c.id == review_id)).one())
