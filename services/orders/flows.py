"""Amendments as tables: what is done, what undoes it, and what is said in the end."""

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.outbox import publish
from chassis.saga import Run, Saga, Step
from chassis.types import Message, Money
from contracts.common import Line
from contracts.inventory import InventoryApi
from contracts.orders import OrderCancelled, OrderConfirmed, OrderLine
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from services.orders import amendments, store
from services.orders.domain import status_with
from services.orders.terms import CancelTerms, reason_for

DEADLINE_S = 900.0

Start = Callable[[Session, Saga[Any], str, Any], str]
"""Begins a saga in a transaction: (session, definition, key, data) -> its id."""


class Cancelled(Message):
    """`announced`: the customer was told before that the order is confirmed."""

    amendment_id: str
    order_id: str
    reason: str
    reason_code: str | None
    refund: Money
    restock: list[Line]
    announced: bool


def about(session: Session, order: Row[Any]) -> dict[str, Any]:
    """What every event of an order says: whose it is, and its number."""
    return dict(
        event_id=uuid.uuid4().hex,
        occurred_at=now(session),
        aggregate_id=order.id,
        sequence=store.next_sequence(session, order.id),
        order_id=order.id,
        customer_id=order.customer_id,
        email=order.email,
        name=order.address["name"],
    )


def money_of(order: Row[Any], amount: int) -> Money:
    return Money(amount=amount, currency=order.currency)


def lines_of(order: Row[Any]) -> list[OrderLine]:
    return msgspec.convert(order.lines, list[OrderLine])


def announce(session: Session, order: Row[Any]) -> None:
    """Tell the customer that the order is confirmed."""
    publish(
        session,
        OrderConfirmed(
            **about(session, order),
            total=money_of(order, order.total_amount),
            lines=lines_of(order),
            tracking=order.tracking,
        ),
    )


# --- cancel


def begin_cancel(
    session: Session,
    start: Start,
    order: Row[Any],
    reason: str,
    amendment_id: str,
    *,
    reason_code: str | None = None,
    announced: bool = True,
) -> str:
    """Start the saga that cancels a paid order, in this transaction; answers its id."""
    cancelled = Cancelled(
        amendment_id=amendment_id,
        order_id=order.id,
        reason=reason,
        reason_code=reason_code,
        refund=money_of(order, order.paid_amount - order.refunded_amount),
        restock=[Line(sku=line.sku, quantity=line.quantity) for line in lines_of(order)],
        announced=announced,
    )
    return start(session, CANCEL, amendment_id, cancelled)


def cancel_instead(session: Session, run: Run[Any], reason: str, reason_code: str | None) -> None:
    """Cancel an order that its saga has just paid for, instead of confirming it."""
    order = store.require(session, run.key)
    store.move(session, order.id, "cancelling")
    asked = amendments.open_of(session, order.id)
    amendment_id = asked.id if asked is not None else amendments.new_id()
    saga_id = begin_cancel(session, run.start, order, reason, amendment_id, reason_code=reason_code, announced=False)
    if asked is not None:
        amendments.change(session, amendment_id, saga_id=saga_id)
    else:
        amendments.add(session, amendment_id, order.id, "cancel", saga_id, CancelTerms(reason=reason))


def order_cancelled(session: Session, run: Run[Cancelled]) -> None:
    asked = run.data
    order = store.require(session, asked.order_id)
    store.move(
        session,
        order.id,
        "cancelled",
        reason=asked.reason,
        reason_code=asked.reason_code,
        payment_status="refunded",
        shipment_status="cancelled",
        refunded_amount=order.refunded_amount + asked.refund.amount,
    )
    amendments.close(session, asked.amendment_id, "settled")
    publish(session, OrderCancelled(**about(session, order), reason=asked.reason, refunded=asked.refund))


def came_too_late(session: Session, run: Run[Cancelled]) -> None:
    """The carrier has the parcel: the order is what it would be without the cancel."""
    asked, code = run.data, (run.cause or {}).get("code", "")
    order = store.require(session, asked.order_id)
    store.move(session, order.id, status_with(order.shipment_status))
    amendments.close(session, asked.amendment_id, "rejected", reason_code=code, reason=reason_for(code))
    if not asked.announced:
        announce(session, order)


CANCEL = (
    Saga("cancel_order", version=1, data=Cancelled, deadline_s=DEADLINE_S)
    .pivot(Step("cancel_shipment", ShippingApi.cancel, lambda c: dict(order_id=c.order_id)))
    .retriable(
        Step("refund_payment", PaymentsApi.refund, lambda c: dict(order_id=c.order_id, amount=c.refund)),
        Step("restock", InventoryApi.restock, lambda c: dict(lines=c.restock, reason=f"cancelled {c.order_id}")),
    )
    .finish(order_cancelled, otherwise=came_too_late)
)
