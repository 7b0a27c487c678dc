"""Amendments as tables: what is done, what undoes it, and what is said in the end."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.saga import Results, Run, Saga, Step, Sub
from chassis.types import Message, Money
from contracts.amendments import RefundTo
from contracts.common import Address, Line, PaymentMethod
from contracts.inventory import InventoryApi
from contracts.orders import (
    ExchangeSettled,
    OrderCancelled,
    OrderChanged,
    OrderConfirmed,
    OrderLine,
    ReturnSettled,
)
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from services.orders import amendments, store
from services.orders.domain import status_with
from services.orders.terms import (
    CancelTerms,
    ReturnTerms,
    SwapTerms,
    give_back,
    incoming_of,
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


# --- return


class Returned(Message):
    """What comes back; what becomes of it is known once it was decided on."""

    amendment_id: str
    order_id: str
    refund_to: RefundTo = "original"
    restock: list[Line] = []
    discard: list[Line] = []
    refund: Money | None = None


class Decided(Message):
    """The signal `decided`: what becomes of the units, and what is given back."""

    restock: list[Line]
    discard: list[Line]
    refund: Money | None = None


def learn_decision(returned: Returned, payload: Any) -> Returned:
    decided = msgspec.convert(payload, Decided)
    return msgspec.structs.replace(returned, restock=decided.restock, discard=decided.discard, refund=decided.refund)


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
    code = (run.cause or {}).get("code", "")
    amendments.close(session, run.data.amendment_id, "expired", reason_code=code, reason=reason_for(code))


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
    Saga("return_order", version=1, data=Returned, deadline_s=DEADLINE_S)
    .wait_for("decided", until_s=RETURN_S + RETURN_GRACE_S, otherwise="orders.return_expired", learn=learn_decision)
    .retriable(
        RESTOCK,
        DISCARD,
        Step(
            "refund_payment",
            PaymentsApi.refund,
            lambda r: dict(order_id=r.order_id, amount=r.refund, to=r.refund_to),
            when=lambda r, _: bool(r.refund and r.refund.amount),
        ),
    )
    .finish(return_settled, otherwise=return_expired)
)


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
    )


def challenged(data: Any, results: Results) -> bool:
    """Whether the bank wants the customer to approve the payment."""
    return bool(results.get("authorize_payment", {}).get("status") == "requires_action")


def heed_challenge(data: Any, payload: dict[str, Any]) -> Any:
    """Go on if the customer approved."""
    if not payload["authorized"]:
        raise ServiceError("orders.challenge_refused", f"The bank says: {payload.get('reason') or 'not approved'}.")
    return data


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
)


def swap_rejected(session: Session, run: Run[Swap]) -> None:
    code = (run.cause or {}).get("code", "")
    amendments.close(session, run.data.amendment_id, "rejected", reason_code=code, reason=reason_for(code))


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
            lines=terms.lines,
            total=terms.totals.total,
            shipping_address=terms.address,
            charged=terms.charge,
            refunded=terms.refund,
        ),
    )


CHANGE = (
    Saga("change_order", version=1, data=Swap, deadline_s=DEADLINE_S)
    .stage(RESERVE)
    .stage(AUTHORIZE)
    .wait_for(
        "challenge",
        until_s=CHALLENGE_S,
        otherwise="orders.challenge_expired",
        learn=heed_challenge,
        when=challenged,
    )
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
    .finish(order_changed, otherwise=swap_rejected)
)


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
    amendments.change(session, run.data.amendment_id, status="settled" if came else "expired")


def exchange_over(session: Session, run: Run[Swap]) -> None:
    amendments.close(session, run.data.amendment_id, amendments.require(session, run.data.amendment_id).status)


TAKE_BACK = (
    Saga("take_back", version=1, data=Returned, deadline_s=DEADLINE_S)
    .wait_for("decided", until_s=RETURN_S + RETURN_GRACE_S, learn=learn_decision)
    .retriable(RESTOCK, DISCARD)
    .finish(taken_back, otherwise=taken_back)
)

EXCHANGE = (
    Saga("exchange_order", version=1, data=Swap, deadline_s=DEADLINE_S)
    .stage(RESERVE)
    .stage(AUTHORIZE)
    .wait_for(
        "challenge",
        until_s=CHALLENGE_S,
        otherwise="orders.challenge_expired",
        learn=heed_challenge,
        when=challenged,
    )
    .pivot(CAPTURE)
    .retriable(
        COMMIT,
        Step(
            "book_shipment",
            ShippingApi.book,
            lambda s: dict(
                order_id=s.order_id, address=s.address, items=s.items, email=s.email, parcel_id=s.amendment_id
            ),
        ),
        REFUND,
    )
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
