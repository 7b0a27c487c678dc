"""An order's way, as one table: what is done, what undoes it, and what is said in the end."""

import uuid

import msgspec
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.outbox import publish
from chassis.saga import Run, Saga, Step
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.orders import OrderConfirmed, OrderLine, OrderRejected
from contracts.payments import PaymentsApi
from contracts.risk import RiskApi
from contracts.shipping import ShippingApi
from services.orders import store
from services.orders.domain import Placed, reason_for, status_with


def mark_rejecting(session: Session, run: Run[Placed]) -> None:
    store.move(session, run.key, "rejecting")


def confirm_order(session: Session, run: Run[Placed]) -> None:
    tracking = run.results["book_shipment"].get("tracking")
    store.shipment_moved(session, run.key, "booked", tracking)
    order = store.get(session, run.key)
    assert order is not None
    review = run.results["assess_risk"].get("decision") == "review"
    store.move(
        session,
        run.key,
        status_with(order.shipment_status),
        payment_status="captured",
        paid_amount=run.data.total.amount,
        review=review,
    )
    publish(
        session,
        OrderConfirmed(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=run.key,
            sequence=store.next_sequence(session, run.key),
            order_id=run.key,
            customer_id=run.data.customer_id,
            email=run.data.email,
            name=run.data.name,
            total=run.data.total,
            lines=msgspec.convert(order.lines, list[OrderLine]),
            tracking=tracking,
        ),
    )


def reject_order(session: Session, run: Run[Placed]) -> None:
    cause = run.cause or {}
    code = cause.get("code", "")
    declined = cause.get("step") == "authorize_payment"
    payment_status = "declined" if declined else "voided" if "authorize_payment" in run.results else "none"
    reason = reason_for(code)
    store.move(session, run.key, "rejected", reason_code=code, reason=reason, payment_status=payment_status)
    publish(
        session,
        OrderRejected(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=run.key,
            sequence=store.next_sequence(session, run.key),
            order_id=run.key,
            customer_id=run.data.customer_id,
            email=run.data.email,
            name=run.data.name,
            reason=code,
            message=reason,
        ),
    )


PLACE_ORDER = (
    Saga("place_order", version=1, data=Placed, deadline_s=900)
    .stage(
        Step(
            "reserve_stock",
            InventoryApi.reserve,
            lambda o: dict(order_id=o.order_id, lines=o.lines),
            undo=InventoryApi.release,
        ),
        Step(
            "assess_risk",
            RiskApi.assess,
            lambda o: dict(
                order_id=o.order_id,
                customer_id=o.customer_id,
                email=o.email,
                amount=o.total,
                country=o.address.country,
            ),
            undo=RiskApi.forget,
        ),
    )
    .stage(
        Step(
            "authorize_payment",
            PaymentsApi.authorize,
            lambda o: dict(order_id=o.order_id, amount=o.total, method=o.method, customer_id=o.customer_id),
            undo=PaymentsApi.void,
        )
    )
    .pivot(Step("capture_payment", PaymentsApi.capture, lambda o: dict(order_id=o.order_id, amount=o.total)))
    .retriable(
        Step("commit_stock", InventoryApi.commit, lambda o: dict(order_id=o.order_id)),
        Step(
            "book_shipment",
            ShippingApi.book,
            lambda o: dict(order_id=o.order_id, address=o.address, items=o.items, email=o.email),
        ),
        Step("clear_cart", CartsApi.remove_ordered, lambda o: dict(customer_id=o.customer_id, lines=o.lines)),
    )
    .finish(confirm_order, otherwise=reject_order, compensating=mark_rejecting)
)

PIVOT_STAGE = next(index for index, stage in enumerate(PLACE_ORDER.stages) if stage.kind == "pivot")
