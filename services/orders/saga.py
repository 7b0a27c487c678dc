"""An order's way, as one table: what is done, what undoes it, and what is said in the end."""

from typing import Any

from sqlalchemy.orm import Session

from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.saga import Results, Run, Saga, Step
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.orders import OrderCancelled, OrderRejected
from contracts.payments import PaymentsApi
from contracts.risk import RiskApi
from contracts.shipping import ShippingApi
from services.orders import amendments, store
from services.orders.domain import Placed, reason_for, status_with, subject_of
from services.orders.flows import (
    CHALLENGE,
    about,
    announce,
    before_the_ledger,
    booking,
    cancel_instead,
    learn_taken,
)
from services.orders.terms import UNSERVED

REVIEW_S = 25 * 3600.0
"""How long an order waits for staff: longer than risk lets them take, so that it is risk who says that time is over."""


def mark_rejecting(session: Session, run: Run[Placed]) -> None:
    store.move(session, run.key, "rejecting")  # unless it is cancelling: then that is what it stays


def confirm_order(session: Session, run: Run[Placed]) -> None:
    if run.cancel_reason is not None:  # it came when there was no way back any more
        _cancel_paid(session, run, run.cancel_reason, None)
        return
    _note_booking(session, run)
    order = store.require(session, run.key)
    store.move(session, run.key, status_with(order.shipment_status), **_paid(run))
    announce(session, order)


def give_up_unserved(session: Session, run: Run[Placed]) -> None:
    """It is paid, and the carrier goes on refusing it: nobody stays charged and unserved."""
    _cancel_paid(session, run, run.cancel_reason or UNSERVED, (run.cause or {}).get("code"))


def _cancel_paid(session: Session, run: Run[Placed], reason: str, reason_code: str | None) -> None:
    _note_booking(session, run)
    store.change(session, run.key, **_paid(run))
    cancel_instead(session, run, reason, reason_code)


def _note_booking(session: Session, run: Run[Placed]) -> None:
    booked = run.results.get("book_shipment", {})
    if booked.get("tracking"):
        store.shipment_moved(session, run.key, "booked", booked["tracking"])


def _paid(run: Run[Placed]) -> dict[str, Any]:
    return dict(
        payment_status="captured",
        paid_amount=run.data.total.amount,
        review=in_review(run.data, run.results),
        booked=run.results.get("book_sale", {}).get("id"),
    )


def reject_order(session: Session, run: Run[Placed]) -> None:
    cause = run.cause or {}
    code = cause.get("code", "")
    declined = cause.get("step") == "authorize_payment" or code == "orders.challenge_refused"
    payment_status = "declined" if declined else "voided" if "authorize_payment" in run.results else "none"
    store.change(session, run.key, review=in_review(run.data, run.results))
    order = store.require(session, run.key)
    if order.status == "cancelling":
        _cancel_unpaid(session, run, order, payment_status)
        return
    reason = reason_for(code)
    store.move(session, run.key, "rejected", reason_code=code, reason=reason, payment_status=payment_status)
    publish(session, OrderRejected(**about(session, order), reason=code, message=reason))


def _cancel_unpaid(session: Session, run: Run[Placed], order: Any, payment_status: str) -> None:
    """The customer cancelled before anything was charged; whatever turned the saga round, that is what they hear."""
    reason = run.cancel_reason or reason_for("saga.cancelled")
    store.move(
        session, run.key, "cancelled", reason_code="saga.cancelled", reason=reason, payment_status=payment_status
    )
    asked = amendments.open_of(session, run.key)
    if asked is not None:
        amendments.close(session, asked.id, "settled")
    publish(session, OrderCancelled(**about(session, order), reason=reason, refunded=None))


def in_review(data: Placed, results: Results) -> bool:
    """Whether staff has to decide first."""
    return bool(results.get("assess_risk", {}).get("decision") == "review")


def heed_review(data: Placed, payload: dict[str, Any]) -> Placed:
    """Go on if staff approved. Their reason stays with the review: the customer reads what is said here."""
    if not payload["approved"]:
        raise ServiceError("orders.review_refused", "It was not approved.")
    return data


def without_risk(placed: Placed) -> str:
    """Risk does not answer: by the policy that the order was placed under it goes on, or is given up."""
    if not placed.without_risk:
        raise ServiceError("orders.not_screened", "Risk does not answer: closed for this amount.")
    return "Risk does not answer: open for this amount."


RESERVE: Step[Placed] = Step(
    "reserve_stock",
    InventoryApi.reserve,
    lambda o: dict(order_id=o.order_id, lines=o.lines),
    undo=InventoryApi.release,
)
AUTHORIZE: Step[Placed] = Step(
    "authorize_payment",
    PaymentsApi.authorize,
    lambda o: dict(order_id=o.order_id, amount=o.total, method=o.method, customer_id=o.customer_id),
    undo=PaymentsApi.void,
)
CAPTURE: Step[Placed] = Step(
    "capture_payment",
    PaymentsApi.capture,
    lambda o: dict(order_id=o.order_id, amount=o.total),
    learn=learn_taken,
)
SERVE: tuple[Step[Placed], ...] = (
    Step("commit_stock", InventoryApi.commit, lambda o: dict(order_id=o.order_id)),
    Step(
        "book_shipment",
        ShippingApi.book,
        lambda o: dict(order_id=o.order_id, address=o.address, items=o.items, email=o.email, customer_id=o.customer_id),
        makes_good=True,
    ),
    Step("clear_cart", CartsApi.remove_ordered, lambda o: dict(customer_id=o.customer_id, lines=o.lines)),
)

PLACE_ORDER = (
    Saga("place_order", version=3, data=Placed, deadline_s=900)
    .stage(
        RESERVE,
        Step(
            "assess_risk",
            RiskApi.screen,
            lambda o: dict(subject=subject_of(o)),
            undo=RiskApi.unscreen,
            unanswered=without_risk,
        ),
    )
    .wait_for(
        "review",
        until_s=REVIEW_S,
        otherwise="orders.review_expired",
        learn=heed_review,
        when=in_review,
    )
    .stage(AUTHORIZE)
    .wait_for(**CHALLENGE)
    .pivot(CAPTURE)
    .retriable(*SERVE, booking("book_sale", "sale"))  # beside what serves: goods do not wait for the ledger
    .finish(confirm_order, otherwise=reject_order, compensating=mark_rejecting, makes_good=give_up_unserved)
)

PLACE_ORDER_2 = before_the_ledger(PLACE_ORDER, version=2)

PLACE_ORDER_1 = (
    Saga("place_order", version=1, data=Placed, deadline_s=900)
    .stage(
        RESERVE,
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
    .stage(AUTHORIZE)
    .wait_for(**CHALLENGE)
    .pivot(CAPTURE)
    .retriable(*SERVE)
    .finish(confirm_order, otherwise=reject_order, compensating=mark_rejecting, makes_good=give_up_unserved)
)
"""For those that began before orders waited for a review."""
