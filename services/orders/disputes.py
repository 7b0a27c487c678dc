"""Disputes of an order's payments, as payments tells of them: a copy for the customer to see, and a letter."""

from typing import Any

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from chassis.db import run, table_of
from chassis.outbox import publish
from contracts.orders import OrderDisputed
from contracts.payments import DisputeMoved
from services.orders import store
from services.orders.flows import about
from services.orders.models import Order

_orders = table_of(Order)
_HOLD = select(_orders).where(_orders.c.id == bindparam("of")).with_for_update()


def follow(session: Session, moved: DisputeMoved) -> None:
    """Have the order show it, unless it knows later news; the customer is told of each. Nothing for a deposit's."""
    order = run(session, _HOLD, of=moved.order_id).one_or_none()
    if order is None:
        return
    kept = {each["id"]: each for each in order.disputes or ()}
    if kept.get(moved.dispute_id, {}).get("sequence", 0) < moved.sequence:
        kept[moved.dispute_id] = _copy(moved)
        store.change(session, order.id, disputes=list(kept.values()))
    publish(
        session,
        OrderDisputed(**about(session, order), dispute_id=moved.dispute_id, amount=moved.amount, status=moved.status),
    )


def _copy(moved: DisputeMoved) -> dict[str, Any]:
    amount = msgspec.to_builtins(moved.amount)
    return dict(id=moved.dispute_id, status=moved.status, amount=amount, sequence=moved.sequence)
