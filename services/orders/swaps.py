"""Changes and exchanges as tables: what is done, what undoes it, and what is said in the end."""

from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.outbox import publish
from chassis.saga import Results, Run, Saga, Step, Sub
from chassis.types import Message, Money
from contracts.common import Address, Line, PaymentMethod
from contracts.inventory import InventoryApi
from contracts.orders import ExchangeSettled, OrderChanged
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from services.orders import amendments, bookings, store
from services.orders.bookings import Booking
from services.orders.flows import (
    CHALLENGE,
    DEADLINE_S,
    DISCARD,
    NO_DEADLINE_S,
    RESTOCK,
    RETURN_GRACE_S,
    RETURN_S,
    Returned,
    about,
    before_the_ledger,
    booking,
    fail,
    learn_decision,
    learn_given,
    learn_taken,
    tell_failed,
)
from services.orders.terms import NOT_BACK, SwapTerms, incoming_of

# --- change


class Swap(Message):
    """What a change or an exchange is made from. `reroute`: the order's own parcel gets other goods, or goes elsewhere.

    `replaces`: the new payment stands in for the earlier ones, so that those are refunded and not it.
    """

    amendment_id: str
    order_id: str
    customer_id: str
    email: str
    address: Address
    items: int
    reserve: list[Line]
    restock: list[Line]
    charge: Money
    refund: Money
    method: PaymentMethod | None
    reroute: bool = False
    replaces: bool = False
    booking: Booking | None = None


def swap_of(order: Row[Any], terms: SwapTerms, method: PaymentMethod | None, items: int) -> Swap:
    """What the saga is made from, with an amendment's id of its own; `items` go into a parcel."""
    return Swap(
        amendment_id=amendments.new_id(),
        order_id=order.id,
        customer_id=order.customer_id,
        email=order.email,
        address=terms.address,
        items=items,
        reserve=[Line(sku=sku, quantity=count) for sku, count in incoming_of(terms.swaps).items()],
        restock=[],
        charge=terms.charge,
        refund=terms.refund,
        method=method,
        booking=bookings.difference(store.totals_of(order), terms.totals, order.booked) if order.booked else None,
    )


def _costs(swap: Swap, results: Results) -> bool:
    return swap.charge.amount > 0


RESERVE: Step[Swap] = Step(
    "reserve_stock",
    InventoryApi.reserve,
    lambda s: dict(order_id=s.amendment_id, lines=s.reserve),
    undo=InventoryApi.release,
    when=lambda s, _: bool(s.reserve),
)
AUTHORIZE: Step[Swap] = Step(
    "authorize_payment",
    PaymentsApi.authorize,
    lambda s: dict(
        order_id=s.order_id,
        amount=s.charge,
        method=s.method,
        customer_id=s.customer_id,
        payment_id=s.amendment_id,
    ),
    undo=PaymentsApi.void,
    when=_costs,
)
CAPTURE: Step[Swap] = Step(
    "capture_payment",
    PaymentsApi.capture,
    lambda s: dict(order_id=s.order_id, amount=s.charge, payment_id=s.amendment_id),
    when=_costs,
    learn=learn_taken,
)
COMMIT: Step[Swap] = Step(
    "commit_stock",
    InventoryApi.commit,
    lambda s: dict(order_id=s.amendment_id),
    when=lambda s, _: bool(s.reserve),
)
REFUND: Step[Swap] = Step(
    "refund_payment",
    PaymentsApi.refund,
    lambda s: dict(order_id=s.order_id, amount=s.refund, except_payment=s.amendment_id if s.replaces else None),
    when=lambda s, _: s.refund.amount > 0,
    learn=learn_given,
)


def swap_rejected(session: Session, run: Run[Swap]) -> None:
    fail(session, run.data.amendment_id, "rejected", (run.cause or {}).get("code", ""))


def _apply(session: Session, order: Row[Any], terms: SwapTerms) -> Row[Any]:
    """Make the order what the terms say; answers it as it is then."""
    sums, paid = terms.totals, order.paid_amount + terms.charge.amount
    store.change(
        session,
        order.id,
        lines=msgspec.to_builtins(terms.lines),
        address=msgspec.to_builtins(terms.address),
        items_amount=sums.items.amount,
        shipping_amount=sums.shipping.amount,
        tax_amount=sums.tax.amount,
        total_amount=sums.total.amount,
        paid_amount=paid,
        refunded_amount=order.refunded_amount + terms.refund.amount,
        payment_method=terms.method if terms.replaces and terms.method else order.payment_method,
    )
    return store.require(session, order.id)


def order_changed(session: Session, run: Run[Swap]) -> None:
    row = amendments.require(session, run.data.amendment_id)
    terms = amendments.terms_of(row, SwapTerms)
    order = _apply(session, store.require(session, row.order_id), terms)
    amendments.close(session, row.id, "settled")
    publish(
        session,
        OrderChanged(
            **about(session, order),
            amendment_id=row.id,
            key=row.key,
            lines=terms.lines,
            total=terms.totals.total,
            shipping_address=terms.address,
            charged=terms.charge,
            refunded=terms.refund,
        ),
    )


CHANGE = (
    Saga("change_order", version=2, data=Swap, deadline_s=DEADLINE_S)
    .stage(RESERVE)
    .stage(AUTHORIZE)
    .wait_for(**CHALLENGE)
    .stage(
        Step(
            "hold_shipment",
            ShippingApi.hold,
            lambda s: dict(order_id=s.order_id),
            undo=ShippingApi.unhold,
            when=lambda s, _: s.reroute,
        )
    )
    .pivot(CAPTURE)
    .retriable(
        COMMIT,
        Step(
            "restock",
            InventoryApi.restock,
            lambda s: dict(lines=s.restock, reason=f"changed {s.order_id}"),
            when=lambda s, _: bool(s.restock),
        ),
        Step(
            "amend_shipment",
            ShippingApi.amend,
            lambda s: dict(order_id=s.order_id, address=s.address, items=s.items),
            when=lambda s, _: s.reroute,
        ),
        REFUND,
    )
    .retriable(booking("book_change", "change"))
    .finish(order_changed, otherwise=swap_rejected)
)
CHANGE_1 = before_the_ledger(CHANGE, version=1)


# --- exchange


def exchanged(session: Session, run: Run[Swap], take_back_id: str) -> None:
    """The new goods are paid and on their way: that is what the order is from now on."""
    row = amendments.require(session, run.data.amendment_id)
    terms = amendments.terms_of(row, SwapTerms)
    order = _apply(session, store.require(session, row.order_id), terms)
    tracking = run.results.get("book_shipment", {}).get("tracking")
    amendments.parcel_moved(session, row.id, "booked", tracking)
    expires_at = now(session) + timedelta(seconds=RETURN_S)
    waiting = msgspec.structs.replace(terms, expires_at=expires_at)
    amendments.change(session, row.id, status="waiting", take_back_id=take_back_id, data=msgspec.to_builtins(waiting))
    publish(
        session,
        ExchangeSettled(
            **about(session, order),
            exchange_id=row.id,
            lines=terms.swaps,
            difference=terms.difference,
            tracking=tracking,
            expires_at=expires_at,
        ),
    )


def taken_back(session: Session, run: Run[Returned]) -> None:
    came = run.results.get("decided") is not None
    if amendments.change(session, run.data.amendment_id, status="settled" if came else "expired") and not came:
        tell_failed(session, run.data.amendment_id, NOT_BACK)


def exchange_over(session: Session, run: Run[Swap]) -> None:
    amendments.close(session, run.data.amendment_id, amendments.require(session, run.data.amendment_id).status)


TAKE_BACK = (
    Saga("take_back", version=1, data=Returned, deadline_s=NO_DEADLINE_S)
    .wait_for("decided", until_s=RETURN_S + RETURN_GRACE_S, learn=learn_decision)
    .retriable(RESTOCK, DISCARD)
    .finish(taken_back, otherwise=taken_back)
)

EXCHANGE = (
    Saga("exchange_order", version=2, data=Swap, deadline_s=DEADLINE_S)
    .stage(RESERVE)
    .stage(AUTHORIZE)
    .wait_for(**CHALLENGE)
    .pivot(CAPTURE)
    .retriable(
        COMMIT,
        Step(
            "book_shipment",
            ShippingApi.book,
            lambda s: dict(
                order_id=s.order_id,
                address=s.address,
                items=s.items,
                email=s.email,
                parcel_id=s.amendment_id,
                customer_id=s.customer_id,
            ),
        ),
        REFUND,
    )
    .retriable(booking("book_exchange", "exchange"))
    .sub(
        Sub(
            "take_back",
            TAKE_BACK,
            key=lambda s: s.amendment_id,
            make=lambda s: Returned(amendment_id=s.amendment_id, order_id=s.order_id),
            begun=exchanged,
        )
    )
    .finish(exchange_over, otherwise=swap_rejected)
)
EXCHANGE_1 = before_the_ledger(EXCHANGE, version=1)
