"""The doors through which an order is amended after it was placed."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.commands import answer, claim, peek, store_result
from chassis.db import now
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.privacy import require_staying
from chassis.rpc import rpc
from chassis.saga import Saga
from chassis.saga_engine import Sagas
from chassis.types import Message
from contracts.amendments import (
    Decisions,
    Exchange,
    RefundTo,
    Return,
    ReturnLine,
    ReturnLines,
    SwapLine,
    SwapLines,
    Wish,
)
from contracts.common import Address, Line, PaymentMethod, Text
from contracts.orders import Order, ReturnRequested
from services.orders import amendments, bookings, store
from services.orders.flows import RETURN, Decided, Returned, about, begin_cancel
from services.orders.reckoning import Reckoning, Told, in_progress
from services.orders.swaps import CHANGE, EXCHANGE, Swap, swap_of
from services.orders.terms import (
    CANCELLED,
    CancelTerms,
    ReturnTerms,
    SwapTerms,
    accepted_units,
    refuse_state,
    require_all_decided,
    require_cancellable,
    require_method,
    require_said,
    require_same_decisions,
    wanted_of,
)

SENT_BACK: dict[str, type[ReturnTerms] | type[SwapTerms]] = {"return": ReturnTerms, "exchange": SwapTerms}
"""The kinds of which goods come back, and their terms."""

Begin = Callable[[Session, Row[Any], str], str]
"""Begins an amendment of an order, in a transaction, under its key; answers the amendment's id."""
BeginSwap = Callable[[Wish, Told, Session, Row[Any], str], str]


class Amending(Reckoning):
    """For OrdersService, whose attributes these are."""

    sagas: Sagas

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

    def _begin_cancel(self, reason: str, session: Session, order: Row[Any], key: str) -> str:
        amendment_id, terms = amendments.new_id(), CancelTerms(reason=reason)
        if order.status == "pending":
            if self.sagas.cancel(session, order.saga_id, reason) and store.move(session, order.id, "cancelling"):
                amendments.add(session, amendment_id, order.id, "cancel", order.saga_id, terms, key=key)
                return amendment_id
            order = store.require(session, order.id)  # its saga ended at this very moment
        require_cancellable(order.status)
        if not store.move(session, order.id, "cancelling"):
            refuse_state("orders.not_cancellable", order.status, "cancelled")
        saga_id = begin_cancel(session, self.sagas.start_saga, order, reason, amendment_id)
        amendments.add(session, amendment_id, order.id, "cancel", saga_id, terms, key=key)
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
        wish = Wish(kind="change", shipping_address=shipping_address, lines=lines, payment_method=payment_method)
        require_said(wish)
        self._once("change", order, key, asked, lambda: self._prepare_swap(self._begin_change, wish, order))
        return self._view(order_id)

    def _begin_change(self, wish: Wish, told: Told, session: Session, order: Row[Any], key: str) -> str:
        terms = self._swap_terms(wish, told, order, now(session))
        outgoing = wanted_of(terms.swaps)
        swap = swap_of(order, terms, told.method, items=sum(line.quantity for line in terms.lines))
        swap = msgspec.structs.replace(
            swap,
            restock=[Line(sku=sku, quantity=count) for sku, count in outgoing.items()],
            reroute=not terms.replaces,
            replaces=terms.replaces,
        )
        return self._begin_swap(session, order, CHANGE, terms, swap, kind="change", key=key)

    @rpc
    def begin_return(self, order_id: str, lines: ReturnLines, refund_to: RefundTo = "original", *, key: str) -> Return:
        order = self._order(order_id)
        wish = Wish(kind="return", returns=lines, refund_to=refund_to)
        require_said(wish)
        asked = dict(order_id=order_id, lines=lines, refund_to=refund_to)

        def begin(session: Session, fresh: Row[Any], key: str) -> str:
            amendment_id, terms = amendments.new_id(), self._return_terms(wish, fresh, now(session))
            returned = Returned(amendment_id=amendment_id, order_id=order_id, refund_to=refund_to)
            saga_id = self.sagas.start_saga(session, RETURN, amendment_id, returned)
            amendments.add(session, amendment_id, order_id, "return", saga_id, terms, status="waiting", key=key)
            publish(
                session,
                ReturnRequested(
                    **about(session, fresh), return_id=amendment_id, lines=lines, expires_at=terms.expires_at
                ),
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
            raise in_progress(row)
        if row.status != "waiting" or terms.expires_at is None or now(session) >= terms.expires_at:
            raise _expired()
        decided = Decided(
            restock=accepted_units(lines, decisions, restock=True),
            discard=accepted_units(lines, decisions, restock=False),
        )
        after: Message = msgspec.structs.replace(terms, decisions=decisions)
        if isinstance(terms, ReturnTerms):
            order = store.require(session, row.order_id)
            _, after = self._settled_return(terms, order, decisions)
            assert after.refund is not None
            booking = (
                bookings.taken_back(after.refund, after.tax, after.shipping, order.booked) if order.booked else None
            )
            decided = msgspec.structs.replace(decided, refund=after.refund, booking=booking)
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
        wish = Wish(kind="exchange", lines=lines, payment_method=payment_method)
        require_said(wish)
        begin = self._begin_exchange
        exchange_id = self._once("exchange", order, key, asked, lambda: self._prepare_swap(begin, wish, order))
        return self.get_exchange(order_id, exchange_id)

    def _begin_exchange(self, wish: Wish, told: Told, session: Session, order: Row[Any], key: str) -> str:
        terms = self._swap_terms(wish, told, order, now(session))
        swap = swap_of(order, terms, told.method, items=sum(line.quantity for line in terms.swaps))
        return self._begin_swap(session, order, EXCHANGE, terms, swap, kind="exchange", key=key)

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

    def _view(self, order_id: str) -> Order:
        order = self._order(order_id)
        with self.db.read() as session:
            return store.views(session, [order], self.call.is_staff())[0]

    def _return(self, order_id: str, return_id: str) -> Return:
        with self.db.read() as session:
            return amendments.return_view(_of(session, order_id, return_id, "return"))

    def _prepare_swap(self, begin: BeginSwap, wish: Wish, order: Row[Any]) -> Begin:
        terms, told = self._reckoned(wish, order)
        require_method(terms, told.method)
        return partial(begin, wish, told)

    def _begin_swap(
        self, session: Session, order: Row[Any], saga: Saga[Swap], terms: SwapTerms, swap: Swap, *, kind: str, key: str
    ) -> str:
        require_method(terms, swap.method)
        saga_id = self.sagas.start_saga(session, saga, swap.amendment_id, swap)
        amendments.add(session, swap.amendment_id, order.id, kind, saga_id, terms, key=key)
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
                require_staying(session, order.customer_id)
                self._require_none_open(session, order.id)
                amendment_id = begin(session, store.require(session, order.id), key)
                store_result(session, claimed, amendment_id)
                return amendment_id
        except IntegrityError:  # another instance was faster with an amendment of this order
            with self.db.read() as session:
                self._require_none_open(session, order.id)
            raise


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
