"""The doors through which an order is amended after it was placed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.commands import answer, claim, peek, store_result
from chassis.context import Call
from chassis.db import WorkerDatabase, now
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.rpc import rpc
from chassis.saga import Saga
from chassis.saga_engine import Sagas
from chassis.types import Message, Money
from contracts.amendments import (
    Decisions,
    Exchange,
    RefundTo,
    Return,
    ReturnLine,
    ReturnLines,
    SwapLine,
    SwapLines,
)
from contracts.common import Address, Line, PaymentMethod, Text
from contracts.orders import Order, ReturnRequested
from contracts.payments import PaymentsApi
from contracts.products import Offer, ProductsApi
from contracts.shipping import ShippingApi
from contracts.users import UsersApi
from services.orders import amendments, store
from services.orders.flows import RETURN, RETURN_S, Decided, Returned, about, begin_cancel, lines_of, money_of
from services.orders.paying import method_of, require_payable
from services.orders.swaps import CHANGE, EXCHANGE, Swap, swap_of
from services.orders.terms import (
    CANCELLABLE,
    CHANGEABLE,
    CancelTerms,
    ReturnTerms,
    SwapTerms,
    accepted_units,
    incoming_of,
    refuse_state,
    replacing,
    require_all_decided,
    require_in_order,
    require_in_window,
    require_method,
    require_one_line_each,
    require_same_decisions,
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

CANCELLED = ("cancelling", "cancelled")
"""States in which another cancel is a repeat."""
SENT_BACK: dict[str, type[ReturnTerms] | type[SwapTerms]] = {"return": ReturnTerms, "exchange": SwapTerms}
"""The kinds of which goods come back, and their terms."""

Begin = Callable[[Session, Row[Any]], str]
"""Begins an amendment of an order, in a transaction; answers the amendment's id."""


class Amending:
    """For OrdersService, whose attributes these are."""

    call: Call
    config: dict[str, Any]
    db: WorkerDatabase
    sagas: Sagas
    users: UsersApi
    products: ProductsApi
    shipping: ShippingApi
    payments: PaymentsApi

    @rpc
    def cancel(self, order_id: str, reason: Text, *, key: str) -> Order:
        order = self._order(order_id)
        if order.status not in CANCELLED:
            asked = dict(order_id=order_id, reason=reason)
            try:
                self._once("cancel", order, key, asked, lambda: partial(self._begin_cancel, reason))
            except ServiceError:
                if self._order(order_id).status not in CANCELLED:
                    raise
        return self._view(order_id)

    def _begin_cancel(self, reason: str, session: Session, order: Row[Any]) -> str:
        amendment_id, terms = amendments.new_id(), CancelTerms(reason=reason)
        if order.status == "pending":
            if self.sagas.cancel(session, order.saga_id, reason) and store.move(session, order.id, "cancelling"):
                amendments.add(session, amendment_id, order.id, "cancel", order.saga_id, terms)
                return amendment_id
            order = store.require(session, order.id)  # its saga ended at this very moment
        if order.status not in CANCELLABLE or not store.move(session, order.id, "cancelling"):
            refuse_state("orders.not_cancellable", order.status, "cancelled")
        saga_id = begin_cancel(session, self.sagas.start_saga, order, reason, amendment_id)
        amendments.add(session, amendment_id, order.id, "cancel", saga_id, terms)
        return amendment_id

    @rpc
    def change(
        self,
        order_id: str,
        shipping_address: Address | None = None,
        lines: SwapLines | None = None,
        payment_method: PaymentMethod | None = None,
        *,
        key: str,
    ) -> Order:
        order = self._order(order_id)
        asked = dict(order_id=order_id, shipping_address=shipping_address, lines=lines, payment_method=payment_method)
        if shipping_address is None and lines is None and payment_method is None:
            raise ServiceError(
                "request.invalid",
                "Say what is to change: shipping_address, lines or payment_method.",
                {"field": "shipping_address"},
            )

        def prepare() -> Begin:
            _require_changeable(order)
            items = sum(line.quantity for line in lines_of(order))
            quoted = self.shipping.quote(shipping_address, items).price if shipping_address else None
            terms_for = partial(self._change_terms, shipping_address, lines or [], quoted, self._offers(lines or []))
            method = self._method(order, payment_method)
            self._require_payable(terms_for(method, order), method, order)
            return partial(self._begin_change, partial(terms_for, method), method)

        self._once("change", order, key, asked, prepare)
        return self._view(order_id)

    def _change_terms(
        self,
        address: Address | None,
        swaps: SwapLines,
        quoted: Money | None,
        offers: Mapping[str, Offer],
        method: PaymentMethod | None,
        order: Row[Any],
    ) -> SwapTerms:
        """What the change comes to, for the order as it is."""
        rates, here = self.config["tax_rates_permille"], msgspec.convert(order.address, Address)
        there = address or here
        lines = swapped(lines_of(order), swaps, offers, there.country, rates)
        if there.country != here.country:
            lines = retaxed(lines, there.country, rates)
        postage = quoted or money_of(order, order.shipping_amount)
        how = method.type if method else None
        terms = swap_terms(swaps, lines, postage, there, order.total_amount, how)
        if address is None and not swaps:
            return replacing(terms, order.paid_amount - order.refunded_amount)
        return terms

    def _begin_change(
        self,
        terms_for: Callable[[Row[Any]], SwapTerms],
        method: PaymentMethod | None,
        session: Session,
        order: Row[Any],
    ) -> str:
        _require_changeable(order)
        terms = terms_for(order)
        outgoing = wanted_of(terms.swaps)
        swap = swap_of(order, terms, method, items=sum(line.quantity for line in terms.lines))
        swap = msgspec.structs.replace(
            swap,
            restock=[Line(sku=sku, quantity=count) for sku, count in outgoing.items()],
            reroute=not terms.replaces,
            replaces=terms.replaces,
        )
        return self._begin_swap(session, order, "change", CHANGE, terms, swap)

    @rpc
    def begin_return(self, order_id: str, lines: ReturnLines, refund_to: RefundTo = "original", *, key: str) -> Return:
        order = self._order(order_id)
        require_one_line_each(lines)
        asked = dict(order_id=order_id, lines=lines, refund_to=refund_to)

        def begin(session: Session, fresh: Row[Any]) -> str:
            self._require_returnable(session, "orders.not_returnable", fresh, "returned")
            require_in_order(lines_of(fresh), wanted_of(lines))
            amendment_id, expires_at = amendments.new_id(), now(session) + timedelta(seconds=RETURN_S)
            terms = ReturnTerms(lines=lines, refund_to=refund_to, expires_at=expires_at)
            returned = Returned(amendment_id=amendment_id, order_id=order_id, refund_to=refund_to)
            saga_id = self.sagas.start_saga(session, RETURN, amendment_id, returned)
            amendments.add(session, amendment_id, order_id, "return", saga_id, terms, status="waiting")
            publish(
                session,
                ReturnRequested(**about(session, fresh), return_id=amendment_id, lines=lines, expires_at=expires_at),
            )
            return amendment_id

        return_id = self._once("return", order, key, asked, lambda: begin)
        return self._return(order_id, return_id)

    @rpc
    def decide_return(self, return_id: str, decisions: Decisions, *, key: str) -> Return:
        self.call.require_staff()
        with self.db.write() as session:
            row = amendments.get(session, return_id)
            if row is None or row.kind not in SENT_BACK:
                raise ServiceError("orders.return_not_found", f"There is no return {return_id!r}.")
            self._decide(session, row, decisions)
        with self.db.read() as session:
            return amendments.return_view(amendments.require(session, return_id))

    def _decide(self, session: Session, row: Row[Any], decisions: Decisions) -> None:
        terms = amendments.terms_of(row, SENT_BACK[row.kind])
        lines: Sequence[ReturnLine | SwapLine] = terms.lines if isinstance(terms, ReturnTerms) else terms.swaps
        require_all_decided(wanted_of(lines), decisions)
        if terms.decisions is not None:
            require_same_decisions(terms.decisions, decisions)
            return
        if row.status == "pending":
            raise self._in_progress(row)
        if row.status != "waiting" or terms.expires_at is None or now(session) >= terms.expires_at:
            raise _expired()
        decided = Decided(
            restock=accepted_units(lines, decisions, restock=True),
            discard=accepted_units(lines, decisions, restock=False),
        )
        after: Message = msgspec.structs.replace(terms, decisions=decisions)
        if isinstance(terms, ReturnTerms):
            order = store.require(session, row.order_id)
            shipping = order.shipping_amount if self.config["refund_shipping_when_all_returned"] else 0
            kept = order.paid_amount - order.refunded_amount
            _, after = settle_return(lines_of(order), terms, decisions, shipping, kept)
            decided = msgspec.structs.replace(decided, refund=after.refund)
        # first the saga's row, then the amendment's: the order in which the saga itself takes them
        self.sagas.signal(session, row.take_back_id or row.saga_id, "decided", msgspec.to_builtins(decided))
        if not amendments.change(
            session, row.id, before=("waiting",), status="settling", data=msgspec.to_builtins(after)
        ):
            _require_decided_so(session, row, decisions)

    @rpc
    def begin_exchange(
        self, order_id: str, lines: SwapLines, payment_method: PaymentMethod | None = None, *, key: str
    ) -> Exchange:
        order = self._order(order_id)
        asked = dict(order_id=order_id, lines=lines, payment_method=payment_method)

        def prepare() -> Begin:
            with self.db.read() as session:
                self._require_returnable(session, "orders.not_exchangeable", order, "exchanged")
            require_in_order(lines_of(order), wanted_of(lines))
            terms_for = partial(self._exchange_terms, lines, self._offers(lines))
            method = self._method(order, payment_method)
            self._require_payable(terms_for(method, order), method, order)
            return partial(self._begin_exchange, partial(terms_for, method), method)

        exchange_id = self._once("exchange", order, key, asked, prepare)
        return self.get_exchange(order_id, exchange_id)

    def _exchange_terms(
        self, swaps: SwapLines, offers: Mapping[str, Offer], method: PaymentMethod | None, order: Row[Any]
    ) -> SwapTerms:
        address = msgspec.convert(order.address, Address)
        require_variants(lines_of(order), swaps, offers)
        lines = swapped(lines_of(order), swaps, offers, address.country, self.config["tax_rates_permille"])
        postage, how = money_of(order, order.shipping_amount), method.type if method else None
        return swap_terms(swaps, lines, postage, address, order.total_amount, how)

    def _begin_exchange(
        self,
        terms_for: Callable[[Row[Any]], SwapTerms],
        method: PaymentMethod | None,
        session: Session,
        order: Row[Any],
    ) -> str:
        self._require_returnable(session, "orders.not_exchangeable", order, "exchanged")
        terms = terms_for(order)
        swap = swap_of(order, terms, method, items=sum(line.quantity for line in terms.swaps))
        return self._begin_swap(session, order, "exchange", EXCHANGE, terms, swap)

    @rpc
    def returns(self, order_id: str) -> list[Return]:
        self._order(order_id)
        with self.db.read() as session:
            rows = amendments.of_orders(session, [order_id])[order_id]
            return [amendments.return_view(row) for row in rows if row.kind == "return"]

    @rpc
    def get_return(self, order_id: str, return_id: str) -> Return:
        self._order(order_id)
        return self._return(order_id, return_id)

    @rpc
    def exchanges(self, order_id: str) -> list[Exchange]:
        self._order(order_id)
        with self.db.read() as session:
            rows = amendments.of_orders(session, [order_id])[order_id]
            return [amendments.exchange_view(session, row) for row in rows if row.kind == "exchange"]

    @rpc
    def get_exchange(self, order_id: str, exchange_id: str) -> Exchange:
        self._order(order_id)
        with self.db.read() as session:
            return amendments.exchange_view(session, _of(session, order_id, exchange_id, "exchange"))

    # --- what the doors share

    def _order(self, order_id: str) -> Row[Any]:
        """An order of the caller's; staff see all."""
        with self.db.read() as session:
            order = store.get(session, order_id)
        if order is None or not (self.call.owns(order.customer_id) or self.call.is_staff()):
            raise ServiceError("orders.not_found", f"There is no order {order_id!r}.")
        return order

    def _view(self, order_id: str) -> Order:
        order = self._order(order_id)
        with self.db.read() as session:
            return store.views(session, [order], self.call.is_staff())[0]

    def _return(self, order_id: str, return_id: str) -> Return:
        with self.db.read() as session:
            return amendments.return_view(_of(session, order_id, return_id, "return"))

    def _offers(self, swaps: SwapLines) -> dict[str, Offer]:
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

    def _require_payable(self, terms: SwapTerms, method: PaymentMethod | None, order: Row[Any]) -> None:
        require_method(terms, method)
        if method is not None and terms.charge.amount:
            require_payable(self.payments, terms.charge, method, order.customer_id)

    def _require_returnable(self, session: Session, code: str, order: Row[Any], verb: str) -> None:
        window = timedelta(days=self.config["return_window_days"])
        require_in_window(code, order.status, order.delivered_at, now(session), window, verb)

    def _begin_swap(
        self, session: Session, order: Row[Any], kind: str, saga: Saga[Swap], terms: SwapTerms, swap: Swap
    ) -> str:
        require_method(terms, swap.method)
        saga_id = self.sagas.start_saga(session, saga, swap.amendment_id, swap)
        amendments.add(session, swap.amendment_id, order.id, kind, saga_id, terms)
        return swap.amendment_id

    def _once(
        self, command: str, order: Row[Any], key: str, asked: dict[str, Any], prepare: Callable[[], Begin]
    ) -> str:
        """Begin an amendment, once for its key, and only if the order has no open one. Answers its id.

        `prepare` asks other services what has to be known, and gives what begins the amendment in a transaction, of
        the order as it is there. Both may refuse: then nothing was done.
        """
        claimed = f"{order.customer_id}:{command}:{key}"
        with self.db.read() as session:
            begun: str | None = same(peek, session, claimed, command, asked)
            if begun is not None:
                return begun
            self._require_none_open(session, order.id)
        begin = prepare()
        try:
            with self.db.write() as session:
                if not claim(session, claimed, command, asked, "ok"):
                    return str(same(answer, session, claimed, command, asked))
                self._require_none_open(session, order.id)
                amendment_id = begin(session, store.require(session, order.id))
                store_result(session, claimed, amendment_id)
                return amendment_id
        except IntegrityError:  # another instance was faster with an amendment of this order
            with self.db.read() as session:
                self._require_none_open(session, order.id)
            raise

    def _require_none_open(self, session: Session, order_id: str) -> None:
        other = amendments.open_of(session, order_id)
        if other is not None:
            raise self._in_progress(other)

    def _in_progress(self, other: Row[Any]) -> ServiceError:
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


def _expired() -> ServiceError:
    return ServiceError("orders.return_expired", "The time in which the goods could come back is over.")


def _require_decided_so(session: Session, row: Row[Any], decisions: Decisions) -> None:
    """Refuse a decision that another transaction was faster than, unless that one decided the same."""
    decided = amendments.terms_of(amendments.require(session, row.id), SENT_BACK[row.kind]).decisions
    if decided is None:
        raise _expired()
    require_same_decisions(decided, decisions)


def _of(session: Session, order_id: str, amendment_id: str, kind: str) -> Row[Any]:
    row = amendments.get(session, amendment_id)
    if row is None or (row.order_id, row.kind) != (order_id, kind):
        raise ServiceError(f"orders.{kind}_not_found", f"This order has no {kind} {amendment_id!r}.")
    return row


def same(look_up: Callable[..., Any], session: Session, claimed: str, command: str, asked: dict[str, Any]) -> Any:
    """The id that was answered to this key before; a refusal in the words of orders."""
    try:
        return look_up(session, claimed, command, asked, str)
    except ServiceError as exc:
        if exc.code == "command.key_reused":
            raise ServiceError("orders.key_reused", exc.message) from None
        raise
