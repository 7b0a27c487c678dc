"""orders' queries, and its rows as the contract's messages."""

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Executable, Row, and_, bindparam, desc, insert, or_, select, update
from sqlalchemy.orm import Session

from chassis import saga_store
from chassis.db import affected, now, run, table_of
from chassis.saga import COMPENSATING, Saga, StepState
from chassis.types import Money
from contracts import orders as contract
from contracts.amendments import Amendment as Amended
from contracts.common import Address, DisputeState, OrderLine, TimelineEntry, Totals
from services.orders import amendments
from services.orders.domain import MOVING, SHIPMENT_RANK, STATES, UNSETTLED
from services.orders.models import Amendment, Order

UNTOLD = ("unknown", "given_up")
"""Outcomes whose details speak of machines: they are for staff alone."""

Position = tuple[datetime, str]
Definitions = Mapping[tuple[str, int], Saga[Any]]


_orders = table_of(Order)
_OF = _orders.c.id == bindparam("of")
_ADD = insert(_orders)
_GET = select(_orders).where(_OF)
_UNSETTLED_FOR = select(_orders.c.id).where(_orders.c.cart_id == bindparam("cart"), _orders.c.status.in_(UNSETTLED))
_UNSETTLED_SAGA = select(_orders.c.saga_id).where(_OF, _orders.c.status.in_(UNSETTLED))
_NUMBER = update(_orders).where(_OF).values(sequence=_orders.c.sequence + 1).returning(_orders.c.sequence)


@functools.cache
def _move(to: str, *names: str) -> Executable:
    """The update to a state, from those that the table of states lets it come from, that sets these columns too."""
    before = [state for state, after in STATES.items() if to in after]
    values: dict[str, Any] = {name: bindparam(f"next_{name}") for name in (*names, "updated_at")}
    return update(_orders).where(_OF, _orders.c.status.in_(before)).values(status=to, **values)


@functools.cache
def _ship(status: str) -> Executable:
    """The update to how far a parcel is, from wherever is before that; it answers the order's state."""
    lower = [name for name, rank in SHIPMENT_RANK.items() if rank < SHIPMENT_RANK[status]]
    values: dict[str, Any] = dict(
        shipment_status=status, tracking=bindparam("number"), updated_at=bindparam("next_updated_at")
    )
    if status == "delivered":
        values["delivered_at"] = bindparam("next_updated_at")
    return update(_orders).where(_OF, _orders.c.shipment_status.in_(lower)).values(values).returning(_orders.c.status)


def add(session: Session, order: dict[str, Any]) -> None:
    """A new order; `order` has all columns without a default."""
    at = now(session)
    run(session, _ADD, **order, created_at=at, updated_at=at)


def saga_of(session: Session, order_id: str) -> str | None:
    """The saga that makes this order."""
    saga_id: str | None = session.scalar(select(_orders.c.saga_id).where(_orders.c.id == order_id))
    return saga_id


def unsettled_for(session: Session, cart_id: str) -> str | None:
    """The order that is being made of this cart, if there is one."""
    order_id: str | None = run(session, _UNSETTLED_FOR, cart=cart_id).scalar()
    return order_id


def unsettled_saga_of(session: Session, order_id: str) -> str | None:
    """The saga of an order that has not ended; None for any other, unknown ones too."""
    saga_id: str | None = run(session, _UNSETTLED_SAGA, of=order_id).scalar()
    return saga_id


def get(session: Session, order_id: str) -> Row[Any] | None:
    return run(session, _GET, of=order_id).one_or_none()


def require(session: Session, order_id: str) -> Row[Any]:
    """An order that there is."""
    order: Row[Any] = run(session, _GET, of=order_id).one()
    return order


def move(session: Session, order_id: str, to: str, **values: Any) -> bool:
    """Change an order's state, if the table of states lets it; False otherwise, and nothing is changed."""
    given = {f"next_{name}": value for name, value in values.items()}
    return run(session, _move(to, *values), of=order_id, next_updated_at=now(session), **given).rowcount == 1


def change(session: Session, order_id: str, **values: Any) -> None:
    """Set columns of an order, whatever state it is in."""
    affected(session, update(_orders).where(_orders.c.id == order_id).values(updated_at=now(session), **values))


def next_sequence(session: Session, order_id: str) -> int:
    """The number of the order's next event."""
    number: int = run(session, _NUMBER, of=order_id).scalar_one()
    return number


def shipment_moved(session: Session, order_id: str, status: str, tracking: str | None) -> str | None:
    """Note how far the parcel is, never back; answers the order's state, or None if this is old news."""
    state: str | None = run(session, _ship(status), of=order_id, number=tracking, next_updated_at=now(session)).scalar()
    return state


def find(
    session: Session, customer_id: str | None, status: str | None, limit: int, before: Position | None
) -> Sequence[Row[Any]]:
    query = select(_orders).order_by(desc(Order.created_at), desc(Order.id)).limit(limit)
    if customer_id is not None:
        query = query.where(Order.customer_id == customer_id)
    if status is not None:
        query = query.where(Order.status == status)
    if before is not None:
        at, order_id = before
        query = query.where(or_(Order.created_at < at, and_(Order.created_at == at, Order.id < order_id)))
    return session.connection().execute(query).all()


def money(session: Session, after: str | None, limit: int) -> list[contract.OrderMoney]:
    moving = select(Amendment.order_id).where(Amendment.closed_at.is_(None), Amendment.status.in_(amendments.AT_WORK))
    query = select(Order, Order.id.in_(moving).label("moves")).order_by(Order.id).limit(limit)
    if after is not None:
        query = query.where(Order.id > after)
    return [
        contract.OrderMoney(
            order_id=order.id,
            status=order.status,
            due=order.paid_amount - order.refunded_amount,
            booked=order.booked is not None,
            currency=order.currency,
            settled=order.status not in MOVING and not moves,
            updated_at=order.updated_at,
        )
        for order, moves in session.execute(query)
    ]


# --- views


def views(session: Session, orders: Sequence[Row[Any]], for_staff: bool) -> list[contract.Order]:
    """Orders with their amendments and timelines, and with what is known of the payment while a saga is running.

    Why an outcome is unknown is told to staff alone, for it speaks of machines; so is what operators did.
    """
    amended = amendments.of_orders(session, [order.id for order in orders if order.amended])
    sagas = {order.id: _sagas_of(order, amended.get(order.id, [])) for order in orders}
    logs = saga_store.log_of(session, [saga_id for each in sagas.values() for saga_id in each])
    return [
        _view(
            order,
            _steps_of(session, order),
            [amendments.view(session, row) for row in amended.get(order.id, [])],
            sorted((line for saga_id in sagas[order.id] for line in logs[saga_id]), key=lambda line: line.at),
            for_staff,
        )
        for order in orders
    ]


def _sagas_of(order: Row[Any], amended: list[Row[Any]]) -> list[str]:
    """The order's saga, and those of its amendments: each once, for a cancel may be a mark on the order's own."""
    return list(dict.fromkeys([order.saga_id, *(saga for row in amended for saga in amendments.sagas_of(row))]))


def _steps_of(session: Session, order: Row[Any]) -> Row[Any] | None:
    """The saga's row of an order that is not paid yet."""
    in_the_making = order.status in MOVING and not order.paid_amount
    return saga_store.get(session, order.saga_id) if in_the_making else None


def _view(
    order: Row[Any],
    running: Row[Any] | None,
    amended: list[Amended],
    log: list[Row[Any]],
    for_staff: bool,
) -> contract.Order:
    def of(amount: int) -> Money:
        return Money(amount=amount, currency=order.currency)

    return contract.Order(
        id=order.id,
        customer_id=order.customer_id,
        status=order.status,
        reason=order.reason,
        reason_code=order.reason_code,
        lines=msgspec.convert(order.lines, list[OrderLine]),
        totals=totals_of(order),
        shipping_address=msgspec.convert(order.address, Address),
        payment=contract.PaymentState(
            status=payment_status_of(running.steps) if running else order.payment_status,
            method=order.payment_method,
            paid=of(order.paid_amount),
            refunded=of(order.refunded_amount),
            action_url=amendments.challenge_url(running.steps) if running else None,
        ),
        shipment=contract.ShipmentState(status=order.shipment_status, tracking=order.tracking),
        timeline=[_entry(line, for_staff) for line in log if for_staff or line.operation != "operator"],
        created_at=order.created_at,
        review=order.review or (running is not None and is_in_review(running.steps)),
        amendments=amended,
        disputes=msgspec.convert(order.disputes or [], list[DisputeState]),
    )


def totals_of(order: Row[Any]) -> Totals:
    """What an order comes to now."""
    columns = dict(items="items_amount", shipping="shipping_amount", tax="tax_amount", total="total_amount")
    return Totals(
        **{name: Money(amount=getattr(order, column), currency=order.currency) for name, column in columns.items()}
    )


def is_in_review(steps: dict[str, Any]) -> bool:
    """Whether risk wanted a saga's order looked at by staff."""
    known = msgspec.convert(steps, dict[str, StepState])
    return bool((known.get("assess_risk", StepState()).result or {}).get("decision") == "review")


def payment_status_of(steps: dict[str, Any]) -> str:
    """What a saga's steps tell of the payment."""
    if amendments.challenge_url(steps):
        return "requires_action"
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
        detail=line.detail if for_staff or line.outcome not in UNTOLD else None,
    )


def saga_health(session: Session, definitions: Definitions) -> contract.SagaHealth:
    """Which sagas have not ended. Past its deadline is one that should have turned round before the pivot by now.

    One that waits for somebody is not counted as running: nothing is on its way. The keys are those of all, and the
    ids of the orders that are being amended.
    """
    rows, at = saga_store.unended(session), now(session)
    forward = [
        (row, definitions[row.name, row.version])
        for row in rows
        if row.status != COMPENSATING and (row.name, row.version) in definitions
    ]
    waiting = [row.id for row, saga in forward if saga.stages[row.stage].kind in ("wait", "sub")]
    return contract.SagaHealth(
        running=len(rows) - len(waiting),
        overdue=[row.id for row, saga in forward if row.deadline < at and row.stage < saga.no_return],
        running_keys=[*(row.key for row in rows), *amendments.open_orders(session)],
        attention=[row.id for row in rows if row.attention],
    )
