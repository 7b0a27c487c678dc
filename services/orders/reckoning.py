"""What a wish comes to: one reckoning for who only wants to know and for who has it done. Nothing is written here."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.context import Call
from chassis.db import WorkerDatabase, now
from chassis.errors import ServiceError
from chassis.rpc import rpc
from chassis.types import Money
from contracts.amendments import Decision, Preview, SwapLine, Wish
from contracts.common import Address, OrderLine, PaymentMethod
from contracts.payments import PaymentsApi
from contracts.products import Offer, ProductsApi
from contracts.shipping import ShippingApi
from contracts.users import UsersApi
from services.orders import amendments, store
from services.orders.flows import RETURN_S, kept_of, lines_of, money_of
from services.orders.paying import method_of, require_payable
from services.orders.terms import (
    CANCELLED,
    CHANGEABLE,
    ReturnTerms,
    SwapTerms,
    incoming_of,
    refuse_state,
    replacing,
    require_cancellable,
    require_in_order,
    require_in_window,
    require_said,
    require_swaps,
    require_variants,
    retaxed,
    settle_return,
    swap_terms,
    swapped,
    wanted_of,
)

AT_WORK_S, WAITING_S = 1, 3600
"""When to ask again about an order that has an open amendment: which the shop works on, or that waits for goods."""


class Told(NamedTuple):
    """What the other services say to a change or an exchange: how it can be paid, what the new skus are sold for now,
    and the postage to another address."""

    method: PaymentMethod | None
    offers: Mapping[str, Offer]
    postage: Money | None


class Reckoning:
    """For OrdersService, whose attributes these are."""

    call: Call
    config: dict[str, Any]
    db: WorkerDatabase
    users: UsersApi
    products: ProductsApi
    shipping: ShippingApi
    payments: PaymentsApi

    @rpc
    def preview(self, order_id: str, wish: Wish) -> Preview:
        order = self._order(order_id)
        require_said(wish)
        if wish.kind == "cancel":
            return self._preview_cancel(order, wish)
        with self.db.read() as session:
            self._require_none_open(session, order.id)
        return self._preview_return(order, wish) if wish.kind == "return" else self._preview_swap(order, wish)

    def _preview_cancel(self, order: Row[Any], wish: Wish) -> Preview:
        if order.status not in CANCELLED:
            with self.db.read() as session:
                self._require_none_open(session, order.id)
            require_cancellable(order.status)
        return _preview(order, wish, refund=kept_of(order))

    def _preview_return(self, order: Row[Any], wish: Wish) -> Preview:
        with self.db.read() as session:
            asked = self._return_terms(wish, order, now(session))
        accepted = [Decision(sku=line.sku, accept=True) for line in asked.lines]
        lines, terms = self._settled_return(asked, order, accepted)
        return _preview(
            order,
            wish,
            refund=terms.refund,
            lines=lines,
            refund_shipping=money_of(order, terms.shipping),
            expires_at=terms.expires_at,
        )

    def _preview_swap(self, order: Row[Any], wish: Wish) -> Preview:
        terms, _ = self._reckoned(wish, order)
        return _preview(
            order,
            wish,
            charge=terms.charge,
            refund=terms.refund,
            lines=terms.lines,
            totals=terms.totals,
            shipping_address=terms.address,
            replaces=terms.replaces,
        )

    # --- what comes back

    def _return_terms(self, wish: Wish, order: Row[Any], at: datetime) -> ReturnTerms:
        """The terms of a return of an order as it is, which nobody has decided on."""
        lines = wish.returns or []
        self._require_arrived("orders.not_returnable", order, at, "returned")
        require_in_order(lines_of(order), wanted_of(lines))
        return ReturnTerms(lines=lines, refund_to=wish.refund_to, expires_at=at + timedelta(seconds=RETURN_S))

    def _settled_return(
        self, terms: ReturnTerms, order: Row[Any], decisions: Sequence[Decision]
    ) -> tuple[list[OrderLine], ReturnTerms]:
        """The order's lines, and the terms, with these decisions."""
        shipping = order.shipping_amount if self.config["refund_shipping_when_all_returned"] else 0
        return settle_return(lines_of(order), terms, decisions, shipping, kept_of(order).amount)

    # --- changes and exchanges

    def _reckoned(self, wish: Wish, order: Row[Any]) -> tuple[SwapTerms, Told]:
        """The terms of a change or an exchange, and what the other services, who are asked here, said to it. A way to
        pay has to do, if one is named."""
        with self.db.read() as session:
            at = now(session)
        self._require_swappable(wish, order, at)
        told = self._ask(wish, order)
        terms = self._swap_terms(wish, told, order, at)
        if told.method is not None and terms.charge.amount:
            require_payable(self.payments, terms.charge, told.method, order.customer_id)
        return terms, told

    def _swap_terms(self, wish: Wish, told: Told, order: Row[Any], at: datetime) -> SwapTerms:
        """The terms of a change or an exchange of an order as it is."""
        self._require_swappable(wish, order, at)
        swaps, before = wish.lines or [], lines_of(order)
        rates, here = self.config["tax_rates_permille"], _address_of(order)
        there = wish.shipping_address or here
        if wish.kind == "exchange":
            require_variants(before, swaps, told.offers)
        lines = swapped(before, swaps, told.offers, there.country, rates)
        if there.country != here.country:
            lines = retaxed(lines, there.country, rates)
        postage = told.postage or money_of(order, order.shipping_amount)
        terms = swap_terms(swaps, lines, postage, there, order.total_amount, told.method.type if told.method else None)
        if wish.shipping_address is None and not swaps:
            return replacing(terms, kept_of(order).amount)
        return terms

    def _require_swappable(self, wish: Wish, order: Row[Any], at: datetime) -> None:
        if wish.kind == "change":
            _require_changeable(order)
            return
        self._require_arrived("orders.not_exchangeable", order, at, "exchanged")
        require_in_order(lines_of(order), wanted_of(wish.lines or []))

    def _ask(self, wish: Wish, order: Row[Any]) -> Told:
        postage = None
        if wish.shipping_address is not None:
            postage = self.shipping.quote(wish.shipping_address, sum(line.quantity for line in lines_of(order))).price
        offers = self._offers(wish.lines or [])
        return Told(method=self._method(order, wish.payment_method), offers=offers, postage=postage)

    def _offers(self, swaps: Sequence[SwapLine]) -> dict[str, Offer]:
        """What the new skus are sold for now."""
        require_swaps(swaps)
        wanted = list(incoming_of(swaps))
        offers = {offer.sku: offer for offer in self.products.offers(wanted)} if wanted else {}
        if gone := [sku for sku in wanted if sku not in offers]:
            raise ServiceError(
                "orders.not_sold_any_more",
                f"Not sold any more: {', '.join(gone)}. Choose another article.",
                {"field": "lines", "skus": gone},
            )
        return offers

    def _method(self, order: Row[Any], asked: PaymentMethod | None) -> PaymentMethod | None:
        return method_of(self.users.profile(order.customer_id), asked) if asked is not None else None

    # --- what all of them share

    def _order(self, order_id: str) -> Row[Any]:
        """An order of the caller's; staff see all."""
        with self.db.read() as session:
            order = store.get(session, order_id)
        if order is None or not (self.call.owns(order.customer_id) or self.call.is_staff()):
            raise ServiceError("orders.not_found", f"There is no order {order_id!r}.")
        return order

    def _require_none_open(self, session: Session, order_id: str) -> None:
        other = amendments.open_of(session, order_id)
        if other is not None:
            raise in_progress(other)

    def _require_arrived(self, code: str, order: Row[Any], at: datetime, verb: str) -> None:
        window = timedelta(days=self.config["return_window_days"])
        require_in_window(code, order.status, order.delivered_at, at, window, verb)


def in_progress(other: Row[Any]) -> ServiceError:
    return ServiceError(
        "orders.in_progress",
        f"A {other.kind} of this order is under way: wait for its end.",
        {
            "amendment_id": other.id,
            "kind": other.kind,
            "retry_after_s": AT_WORK_S if other.status in amendments.AT_WORK else WAITING_S,
        },
    )


def _require_changeable(order: Row[Any]) -> None:
    if order.status == "pending":
        raise ServiceError(
            "orders.in_progress",
            "The order is in the making: change it when it is confirmed.",
            {"order_id": order.id, "retry_after_s": AT_WORK_S},
        )
    if order.status not in CHANGEABLE:
        refuse_state("orders.not_changeable", order.status, "changed")


def _address_of(order: Row[Any]) -> Address:
    return msgspec.convert(order.address, Address)


def _preview(order: Row[Any], wish: Wish, **would_be: Any) -> Preview:
    """The order as it is, but for what would be otherwise."""
    lines, sums, address, nothing = lines_of(order), store.totals_of(order), _address_of(order), money_of(order, 0)
    as_it_is: dict[str, Any] = dict(
        charge=nothing, refund=nothing, refund_shipping=nothing, lines=lines, totals=sums, shipping_address=address
    )
    return Preview(
        kind=wish.kind,
        order_id=order.id,
        status=order.status,
        lines_before=lines,
        totals_before=sums,
        shipping_address_before=address,
        refund_to=wish.refund_to,
        **(as_it_is | would_be),
    )
