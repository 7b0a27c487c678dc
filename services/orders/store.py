"""orders' queries, and its rows as the contract's messages."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, and_, desc, or_, select, update
from sqlalchemy.orm import Session

from chassis import saga_store
from chassis.db import affected, now
from chassis.saga import COMPENSATING, StepState
from chassis.types import Money
from contracts import orders as contract
from contracts.common import Address, TimelineEntry
from services.orders.domain import KEPT, SHIPMENT_RANK, STATES, UNSETTLED
from services.orders.models import Order

Position = tuple[datetime, str]


def add(session: Session, order: Order) -> None:
    order.created_at = order.updated_at = now(session)
    session.add(order)
    session.flush()


def unsettled_for(session: Session, cart_id: str) -> str | None:
    """The order that is being made of this cart, if there is one."""
    return session.scalar(select(Order.id).where(Order.cart_id == cart_id, Order.status.in_(UNSETTLED)))


def unsettled_saga_of(session: Session, order_id: str) -> str | None:
    """The saga of an order that has not ended; None for any other, unknown ones too."""
    return session.scalar(select(Order.saga_id).where(Order.id == order_id, Order.status.in_(UNSETTLED)))


def get(session: Session, order_id: str) -> Order | None:
    return session.get(Order, order_id, populate_existing=True)


def move(session: Session, order_id: str, to: str, **values: Any) -> bool:
    """Change an order's state, if the table of states lets it; False otherwise, and nothing is changed."""
    before = [state for state, after in STATES.items() if to in after]
    guarded = update(Order).where(Order.id == order_id, Order.status.in_(before))
    return affected(session, guarded.values(status=to, updated_at=now(session), **values)) == 1


def next_sequence(session: Session, order_id: str) -> int:
    """The number of the order's next event."""
    numbered = update(Order).where(Order.id == order_id).values(sequence=Order.sequence + 1)
    return session.scalar(numbered.returning(Order.sequence)) or 0


def shipment_moved(session: Session, order_id: str, status: str, tracking: str) -> str | None:
    """Note how far the parcel is, never back; answers the order's state, or None if this is old news."""
    lower = [name for name, rank in SHIPMENT_RANK.items() if rank < SHIPMENT_RANK[status]]
    guarded = update(Order).where(Order.id == order_id, Order.shipment_status.in_(lower))
    values = dict(shipment_status=status, tracking=tracking, updated_at=now(session))
    return session.scalar(guarded.values(**values).returning(Order.status))


def find(
    session: Session, customer_id: str | None, status: str | None, limit: int, before: Position | None
) -> Sequence[Order]:
    query = select(Order).order_by(desc(Order.created_at), desc(Order.id)).limit(limit)
    if customer_id is not None:
        query = query.where(Order.customer_id == customer_id)
    if status is not None:
        query = query.where(Order.status == status)
    if before is not None:
        at, order_id = before
        query = query.where(or_(Order.created_at < at, and_(Order.created_at == at, Order.id < order_id)))
    return session.scalars(query).all()


def money(session: Session, after: str | None, limit: int) -> list[contract.OrderMoney]:
    query = select(Order).order_by(Order.id).limit(limit)
    if after is not None:
        query = query.where(Order.id > after)
    return [
        contract.OrderMoney(
            order_id=order.id,
            status=order.status,
            due=order.total_amount if order.status in KEPT else 0,
            currency=order.currency,
            settled=order.status not in (*UNSETTLED, "cancelling"),
            updated_at=order.updated_at,
        )
        for order in session.scalars(query)
    ]


# --- views


def views(session: Session, orders: Sequence[Order], for_staff: bool) -> list[contract.Order]:
    """Orders with their timelines, and with what is known of the payment while the saga is running.

    Why an outcome is unknown is told to staff alone: it speaks of machines.
    """
    logs = saga_store.log_of(session, [order.saga_id for order in orders])
    return [_view(order, _steps_of(session, order), logs[order.saga_id], for_staff) for order in orders]


def _steps_of(session: Session, order: Order) -> Row[Any] | None:
    return saga_store.get(session, order.saga_id) if order.status in UNSETTLED else None


def _view(order: Order, running: Row[Any] | None, log: list[Row[Any]], for_staff: bool) -> contract.Order:
    def of(amount: int) -> Money:
        return Money(amount=amount, currency=order.currency)

    payment_status = payment_status_of(running.steps, running.status) if running else order.payment_status
    return contract.Order(
        id=order.id,
        customer_id=order.customer_id,
        status=order.status,
        reason=order.reason,
        reason_code=order.reason_code,
        lines=msgspec.convert(order.lines, list[contract.OrderLine]),
        totals=contract.Totals(
            items=of(order.items_amount),
            shipping=of(order.shipping_amount),
            tax=of(order.tax_amount),
            total=of(order.total_amount),
        ),
        shipping_address=msgspec.convert(order.address, Address),
        payment=contract.PaymentState(status=payment_status, method=order.payment_method),
        shipment=contract.ShipmentState(status=order.shipment_status, tracking=order.tracking),
        timeline=[_entry(line, for_staff) for line in log],
        created_at=order.created_at,
        review=order.review,
    )


def payment_status_of(steps: dict[str, Any], saga_status: str) -> str:
    """What a saga's steps tell of the payment."""
    known = msgspec.convert(steps, dict[str, StepState])
    authorize = known.get("authorize_payment", StepState())
    if known.get("capture_payment", StepState()).outcome == "ok":
        return "captured"
    if authorize.outcome == "refused":
        return "declined"
    if authorize.undo == "ok":
        return "voided" if authorize.outcome == "ok" else "none"
    return "authorized" if authorize.outcome == "ok" else "none"


def _entry(line: Row[Any], for_staff: bool = True) -> TimelineEntry:
    return TimelineEntry(
        at=line.at,
        step=line.step,
        outcome=line.outcome,
        attempt=line.attempt,
        ms=line.ms,
        service=line.service,
        detail=line.detail if for_staff or line.outcome != "unknown" else None,
    )


def saga_views(session: Session, rows: Sequence[Row[Any]]) -> list[contract.Saga]:
    """Sagas with their timelines."""
    logs = saga_store.log_of(session, [row.id for row in rows])
    return [
        contract.Saga(
            id=row.id,
            name=row.name,
            version=row.version,
            key=row.key,
            status=row.status,
            stage=row.stage,
            cause=f"{row.cause['step']}: {row.cause['code']}" if row.cause else None,
            deadline=row.deadline,
            wake_at=row.wake_at,
            attention=row.attention,
            created_at=row.created_at,
            updated_at=row.updated_at,
            timeline=[_entry(line) for line in logs[row.id]],
        )
        for row in rows
    ]


def saga_health(session: Session, pivot_stage: int) -> contract.SagaHealth:
    """Which sagas have not ended. Past its deadline is one that should have turned round before the pivot by now."""
    rows = saga_store.unended(session)
    at = now(session)
    overdue = [row.id for row in rows if row.deadline < at and row.status != COMPENSATING and row.stage < pivot_stage]
    return contract.SagaHealth(
        running=len(rows),
        overdue=overdue,
        running_keys=[row.key for row in rows],
        attention=[row.id for row in rows if row.attention],
    )


def new_id() -> str:
    return uuid.uuid4().hex
