"""Disputes of deposits' payments, as payments tells of them: a copy for the customer to see, and a letter."""

import uuid
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from chassis.db import now, run, table_of
from chassis.outbox import publish
from contracts.payments import DisputeMoved
from contracts.transactions import TransactionDisputed
from services.transactions import store
from services.transactions.models import Transaction

_rows = table_of(Transaction)
_OF = _rows.c.id == bindparam("of")
_HOLD = select(_rows).where(_OF).with_for_update()
_KEEP = update(_rows).where(_OF).values(disputes=bindparam("kept"), updated_at=bindparam("at"))


def follow(session: Session, moved: DisputeMoved) -> None:
    """Have the deposit show it, unless it knows later news; the customer is told of each. Nothing for an order's."""
    row = run(session, _HOLD, of=moved.order_id).one_or_none()
    if row is None:
        return
    kept = {each["id"]: each for each in row.disputes or ()}
    if kept.get(moved.dispute_id, {}).get("sequence", 0) < moved.sequence:
        kept[moved.dispute_id] = _copy(moved)
        run(session, _KEEP, of=row.id, kept=list(kept.values()), at=now(session))
    publish(
        session,
        TransactionDisputed(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=row.id,
            sequence=store.next_sequence(session, row.id),
            customer_id=row.customer_id,
            email=row.email,
            name=row.name,
            kind=row.kind,
            dispute_id=moved.dispute_id,
            amount=moved.amount,
            status=moved.status,
        ),
    )


def _copy(moved: DisputeMoved) -> dict[str, Any]:
    amount = msgspec.to_builtins(moved.amount)
    return dict(id=moved.dispute_id, status=moved.status, amount=amount, sequence=moved.sequence)
