"""Disputes: what the acquirer took back of a card's payment. Its calls move one, each way once and never back.

A decision that is heard of before the opening opens it too: the opening was lost, or comes late and changes nothing.
"""

import uuid
from datetime import datetime
from logging import getLogger
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from chassis.cursors import encode_cursor, read_cursor
from chassis.db import insert_new, now, run, table_of
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.types import Money
from contracts import payments as contract
from services.payments.adapters import Disputed
from services.payments.books import Known
from services.payments.domain import CARD
from services.payments.models import Dispute, Part

_dispute, _part = table_of(Dispute), table_of(Part)
_OF = _dispute.c.id == bindparam("of")
_FIND = select(_dispute).where(_OF)
_CARD = select(_part).where(_part.c.authorize_key == bindparam("under"), _part.c.method == CARD)
_DECIDE = (
    update(_dispute)
    .where(_OF, _dispute.c.status == "opened")
    .values(status=bindparam("to"), sequence=_dispute.c.sequence + 1, updated_at=bindparam("at"))
)
_TAKEN = (
    select(_dispute.c.payment_id, func.sum(_dispute.c.amount).label("amount"))
    .where(_dispute.c.order_id == bindparam("order"), _dispute.c.status != "won")
    .group_by(_dispute.c.payment_id)
)

log = getLogger("rialto.payments")


def heard(session: Session, told: Disputed) -> None:
    """The dispute follows, and whoever keeps books of it is told."""
    card = run(session, _CARD, under=told.authorization_key).one_or_none()
    if card is None:
        log.warning("the acquirer tells of a dispute of what we did not ask for", extra={"dispute": told.id})
        return
    if insert_new(session, _dispute, _row(card, told, now(session))):
        _tell(session, told.id)
    if told.status != "opened" and run(session, _DECIDE, of=told.id, to=told.status, at=now(session)).rowcount:
        _tell(session, told.id)


def _row(card: Row[Any], told: Disputed, at: datetime) -> dict[str, Any]:
    return dict(
        id=told.id,
        order_id=card.order_id,
        payment_id=card.payment_id,
        customer_id=card.customer_id,
        amount=told.amount,
        currency=told.currency,
        status="opened",
        reason=told.reason[:200],
        sequence=1,
        opened_at=at,
        updated_at=at,
    )


def _tell(session: Session, dispute_id: str) -> None:
    row = run(session, _FIND, of=dispute_id).one()
    publish(
        session,
        contract.DisputeMoved(
            event_id=uuid.uuid4().hex,
            occurred_at=row.updated_at,
            aggregate_id=row.id,
            sequence=row.sequence,
            dispute_id=row.id,
            order_id=row.order_id,
            payment_id=row.payment_id,
            amount=Money(amount=row.amount, currency=row.currency),
            status=row.status,
            reason=row.reason,
            customer_id=row.customer_id,
        ),
    )


def taken(session: Session, order_id: str) -> dict[str, int]:
    """What disputes keep of each of an order's payments, in minor units: those that are open, and lost ones."""
    return {row.payment_id: int(row.amount) for row in run(session, _TAKEN, order=order_id)}


def get(session: Session, dispute_id: str) -> contract.Dispute:
    row = run(session, _FIND, of=dispute_id).one_or_none()
    if row is None:
        raise ServiceError("payments.not_found", f"There is no dispute {dispute_id!r}.")
    return _view(row)


def page(session: Session, status: str | None, limit: int, cursor: str | None) -> contract.DisputePage:
    """Newest first. Raises ServiceError `payments.bad_cursor`."""
    query = select(_dispute).order_by(_dispute.c.opened_at.desc(), _dispute.c.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(_dispute.c.status == status)
    before = read_cursor(cursor, tuple[datetime, str], "payments.bad_cursor")
    if before is not None:
        at, last = before
        query = query.where(
            or_(_dispute.c.opened_at < at, and_(_dispute.c.opened_at == at, _dispute.c.id < last)),
        )
    rows = session.connection().execute(query).all()
    more = encode_cursor((rows[limit - 1].opened_at, rows[limit - 1].id)) if len(rows) > limit else None
    return contract.DisputePage(items=[_view(row) for row in rows[:limit]], next_cursor=more)


def _view(row: Row[Any]) -> contract.Dispute:
    return contract.Dispute(
        id=row.id,
        order_id=row.order_id,
        payment_id=row.payment_id,
        amount=Money(amount=row.amount, currency=row.currency),
        status=row.status,
        reason=row.reason,
        opened_at=row.opened_at,
        updated_at=row.updated_at,
        customer_id=row.customer_id,
    )


def known(session: Session, limit: int) -> dict[tuple[str, str], Known]:
    """The first `limit` disputes, by kind and key as reconciliation names them."""
    rows = session.connection().execute(select(_dispute).order_by(_dispute.c.opened_at, _dispute.c.id).limit(limit))
    found: dict[tuple[str, str], Known] = {}
    for row in rows:
        found["dispute", row.id] = Known(row.amount, row.order_id, row.opened_at)
        if row.status != "opened":
            found[f"dispute_{row.status}", row.id] = Known(row.amount, row.order_id, row.updated_at)
    return found
