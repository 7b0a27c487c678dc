"""Cancels and returns as tables, and what all sagas of orders share. Changes and exchanges are in swaps.py."""

import uuid
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.saga import Results, Run, Saga, Step
from chassis.types import Message, Money
from contracts.accounts import AccountsApi
from contracts.amendments import RefundTo
from contracts.common import Line, OrderLine
from contracts.inventory import InventoryApi
from contracts.orders import (
    AmendmentFailed,
    OrderCancelled,
    OrderConfirmed,
    ReturnSettled,
)
from contracts.payments import Payment, PaymentsApi, Refund
from contracts.shipping import ShippingApi
from services.orders import amendments, bookings, store
from services.orders.bookings import Booking
from services.orders.domain import status_with
from services.orders.terms import (
    NOT_BACK,
    CancelTerms,
    ReturnTerms,
    give_back,
    is_all_back,
    reason_for,
    wanted_of,
)

DEADLINE_S = 900.0
CHALLENGE_S = 900.0
"""How long a customer has to approve a payment at their bank."""
RETURN_S = 30 * 24 * 3600.0
"""How long goods may take to come back and be looked at. Nothing is decided on in the hour after it, in which the saga
goes on without a decision."""
RETURN_GRACE_S = 3600.0
NO_DEADLINE_S = 100 * 365 * 24 * 3600.0
"""For sagas of which nothing but their wait may be the end: what was decided in time counts, however late the saga is
driven."""

D = TypeVar("D", bound=Message)
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
    booking: Booking | None = None


def about(session: Session, order: Row[Any]) -> dict[str, Any]:
    """What every event of an order says that is mailed: whose it is, to whom it goes, and its number."""
    return dict(numbered(session, order), email=order.email, name=order.address["name"])


def numbered(session: Session, order: Row[Any]) -> dict[str, Any]:
    """What every event of an order says: whose it is, and its number."""
    return dict(
        event_id=uuid.uuid4().hex,
        occurred_at=now(session),
        aggregate_id=order.id,
        sequence=store.next_sequence(session, order.id),
        order_id=order.id,
        customer_id=order.customer_id,
    )


def money_of(order: Row[Any], amount: int) -> Money:
    return Money(amount=amount, currency=order.currency)


def kept_of(order: Row[Any]) -> Money:
    """What the shop has of the customer's money."""
    return money_of(order, order.paid_amount - order.refunded_amount)


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


# --- amendments that come to nothing


def fail(session: Session, amendment_id: str, status: str, code: str) -> None:
    """End an amendment as rejected or expired, and tell of it."""
    if amendments.close(session, amendment_id, status, reason_code=code, reason=reason_for(code)):
        tell_failed(session, amendment_id, code)


def tell_failed(session: Session, amendment_id: str, code: str) -> None:
    """Tell, in the transaction in which it ends, that an amendment came to nothing, and why."""
    row = amendments.require(session, amendment_id)
    publish(
        session,
        AmendmentFailed(
            **numbered(session, store.require(session, row.order_id)),
            amendment_id=row.id,
            key=row.key,
            kind=row.kind,
            reason_code=code,
            message=reason_for(code),
        ),
    )


# --- the bank asks its customer


def challenged(data: Any, results: Results) -> bool:
    """Whether the bank wants the customer to approve the payment."""
    return bool(results.get("authorize_payment", {}).get("status") == "requires_action")


def heed_challenge(data: Any, payload: dict[str, Any]) -> Any:
    """Go on if the customer approved."""
    if not payload["authorized"]:
        raise ServiceError("orders.challenge_refused", f"The bank says: {payload.get('reason') or 'not approved'}.")
    return data


CHALLENGE: dict[str, Any] = dict(
    signal="challenge",
    until_s=CHALLENGE_S,
    otherwise="orders.challenge_expired",
    learn=heed_challenge,
    when=challenged,
)
"""What each saga that takes money waits for, where the bank wants it."""


# --- the books


def learn_taken(data: Any, result: Any) -> Any:
    """By which ways money was taken; of an order that is booked."""
    if data.booking is None:
        return data
    payment = msgspec.convert(result, Payment)
    return msgspec.structs.replace(data, booking=bookings.took(data.booking, payment))


def learn_given(data: Any, result: Any) -> Any:
    """By which ways money was given back; of an order that is booked."""
    if data.booking is None:
        return data
    refund = msgspec.convert(result, Refund)
    return msgspec.structs.replace(data, booking=bookings.gave(data.booking, refund))


def booking(name: str, kind: str) -> Step[Any]:
    """Book what was moved, in a stage after the one that tells it. An amendment's id is noted with it."""
    return Step(
        name,
        AccountsApi.book,
        lambda d: dict(entry=bookings.entry_of(d.order_id, d.booking, kind, getattr(d, "amendment_id", ""))),
        when=lambda d, _: bookings.is_due(d.booking),
    )


def before_the_ledger(saga: Saga[D], version: int) -> Saga[D]:
    """The same without the step that books: for sagas that began when orders were not booked."""
    older = copy(saga)
    older.version = version
    kept = [replace(each, steps=tuple(s for s in each.steps if s.action != AccountsApi.book)) for each in saga.stages]
    older.stages = tuple(stage for stage in kept if stage.parts())
    return older


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
    refund = kept_of(order)
    booked = bookings.taken_back(refund, order.tax_amount, order.shipping_amount, order.booked)
    cancelled = Cancelled(
        amendment_id=amendment_id,
        order_id=order.id,
        reason=reason,
        reason_code=reason_code,
        refund=refund,
        restock=[Line(sku=line.sku, quantity=line.quantity) for line in lines_of(order)],
        announced=announced,
        booking=booked if order.booked else None,
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
    fail(session, asked.amendment_id, "rejected", code)
    if not asked.announced:
        announce(session, order)


CANCEL = (
    Saga("cancel_order", version=2, data=Cancelled, deadline_s=DEADLINE_S)
    .pivot(Step("cancel_shipment", ShippingApi.cancel, lambda c: dict(order_id=c.order_id)))
    .retriable(
        Step(
            "refund_payment",
            PaymentsApi.refund,
            lambda c: dict(order_id=c.order_id, amount=c.refund),
            learn=learn_given,
        ),
        Step("restock", InventoryApi.restock, lambda c: dict(lines=c.restock, reason=f"cancelled {c.order_id}")),
    )
    .retriable(booking("book_refund", "cancel"))
    .finish(order_cancelled, otherwise=came_too_late)
)
CANCEL_1 = before_the_ledger(CANCEL, version=1)


# --- return


class Returned(Message):
    """What comes back; what becomes of it is known once it was decided on."""

    amendment_id: str
    order_id: str
    refund_to: RefundTo = "original"
    restock: list[Line] = []
    discard: list[Line] = []
    refund: Money | None = None
    booking: Booking | None = None


class Decided(Message):
    """The signal `decided`: what becomes of the units, and what is given back."""

    restock: list[Line]
    discard: list[Line]
    refund: Money | None = None
    booking: Booking | None = None


def learn_decision(returned: Returned, payload: Any) -> Returned:
    decided = msgspec.convert(payload, Decided)
    return msgspec.structs.replace(
        returned,
        restock=decided.restock,
        discard=decided.discard,
        refund=decided.refund,
        booking=decided.booking,
    )


def return_settled(session: Session, run: Run[Returned]) -> None:
    row = amendments.require(session, run.data.amendment_id)
    order, terms = store.require(session, run.data.order_id), amendments.terms_of(row, ReturnTerms)
    assert terms.refund is not None  # it was decided on
    accepted = {decision.sku for decision in terms.decisions or () if decision.accept}
    lines, _ = give_back(lines_of(order), wanted_of(line for line in terms.lines if line.sku in accepted))
    refunded = order.refunded_amount + terms.refund.amount
    store.change(
        session,
        order.id,
        lines=msgspec.to_builtins(lines),
        refunded_amount=refunded,
        payment_status="refunded" if refunded == order.paid_amount else order.payment_status,
    )
    if is_all_back(lines):
        store.move(session, order.id, "returned")
    amendments.close(session, row.id, "settled")
    publish(
        session,
        ReturnSettled(
            **about(session, order),
            return_id=row.id,
            lines=amendments.return_view(row).lines,
            refund=terms.refund,
            refund_to=terms.refund_to,
        ),
    )


def return_expired(session: Session, run: Run[Returned]) -> None:
    fail(session, run.data.amendment_id, "expired", (run.cause or {}).get("code", ""))


RESTOCK: Step[Returned] = Step(
    "restock",
    InventoryApi.restock,
    lambda r: dict(lines=r.restock, reason=f"returned {r.amendment_id}"),
    when=lambda r, _: bool(r.restock),
)
DISCARD: Step[Returned] = Step(
    "discard",
    InventoryApi.discard,
    lambda r: dict(lines=r.discard, reason=f"returned {r.amendment_id}"),
    when=lambda r, _: bool(r.discard),
)

RETURN = (
    Saga("return_order", version=2, data=Returned, deadline_s=NO_DEADLINE_S)
    .wait_for("decided", until_s=RETURN_S + RETURN_GRACE_S, otherwise=NOT_BACK, learn=learn_decision)
    .retriable(
        RESTOCK,
        DISCARD,
        Step(
            "refund_payment",
            PaymentsApi.refund,
            lambda r: dict(order_id=r.order_id, amount=r.refund, to=r.refund_to),
            when=lambda r, _: bool(r.refund and r.refund.amount),
            learn=learn_given,
        ),
    )
    .retriable(booking("book_refund", "return"))
    .finish(return_settled, otherwise=return_expired)
)
RETURN_1 = before_the_ledger(RETURN, version=1)
