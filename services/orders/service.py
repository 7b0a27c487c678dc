"""orders: places and owns orders, and drives each through its saga (see saga.py)."""

import time
from datetime import datetime
from typing import Any

import msgspec
from nameko.dependency_providers import Config
from sqlalchemy.exc import IntegrityError

from chassis.commands import answer, claim, peek, store_result
from chassis.context import Call
from chassis.cursors import encode_cursor, read_cursor
from chassis.db import Database, WorkerDatabase
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.outbox import Relay
from chassis.privacy import PrivacyOperations, require_staying
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import call_async, remote, rpc
from chassis.saga_engine import Sagas
from chassis.saga_operations import SagaOperations
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Money
from contracts.carts import Cart, CartsApi
from contracts.common import Address, CartRef, OrderLine, PaymentMethod, Totals
from contracts.inventory import InventoryApi
from contracts.orders import (
    AuditLimit,
    CustomerId,
    Limit,
    Order,
    OrderMoneyPage,
    OrderPage,
    OrdersApi,
    Quote,
    SagaHealth,
    SagasForgotten,
    WaitS,
)
from contracts.payments import DisputeMoved, PaymentResolved, PaymentsApi
from contracts.products import ProductsApi
from contracts.risk import ReviewDecided, WithoutRisk
from contracts.shipping import ShipmentMoved, ShippingApi, ShippingQuote
from contracts.users import PrivacyForgotten, Profile, UsersApi
from services.orders import amendments, bookings, disputes, store
from services.orders.amending import Amending, same
from services.orders.domain import MOVING, STATES, Placed, price, status_with, totals
from services.orders.flows import CANCEL, CANCEL_1, RETURN, RETURN_1
from services.orders.models import Base
from services.orders.paying import method_of, require_payable
from services.orders.privacy import KINDS
from services.orders.repair import Repairing, RepairSettings
from services.orders.saga import PLACE_ORDER, PLACE_ORDER_1, PLACE_ORDER_2
from services.orders.swaps import CHANGE, CHANGE_1, EXCHANGE, EXCHANGE_1, TAKE_BACK

LOOK_AGAIN_S = 0.5
BEFORE_THE_LEDGER = (PLACE_ORDER_1, PLACE_ORDER_2, CANCEL_1, CHANGE_1, RETURN_1, EXCHANGE_1)
"""For sagas that began when orders were not booked yet."""


class OrdersService(SagaOperations, DeadLetterOperations, PrivacyOperations, Amending, Repairing):
    name = "orders"
    kinds = KINDS

    call = provided(Call, CallContext(OrdersApi))
    config = provided(dict[str, Any], Config())
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(SagasForgotten, kinds=KINDS)
    relay = Relay()
    sagas = Sagas(PLACE_ORDER, CANCEL, CHANGE, RETURN, EXCHANGE, TAKE_BACK, *BEFORE_THE_LEDGER)

    repairs = provided(RepairSettings, Settings(RepairSettings))
    without_risk = provided(WithoutRisk, Settings(WithoutRisk))

    users: UsersApi = remote(UsersApi)
    inventory: InventoryApi = remote(InventoryApi)
    carts: CartsApi = remote(CartsApi)
    products: ProductsApi = remote(ProductsApi)
    shipping: ShippingApi = remote(ShippingApi)
    payments: PaymentsApi = remote(PaymentsApi)

    @rpc
    def quote(self, cart: CartRef, shipping_address: Address) -> Quote:
        contents = self.carts.get(cart)
        _, sums, shipping = self._priced(contents, shipping_address)
        return Quote(
            items=sums.items, shipping=sums.shipping, tax=sums.tax, total=sums.total, expires_at=shipping.expires_at
        )

    @rpc
    def place(
        self,
        customer_id: CustomerId,
        shipping_address: Address,
        payment_method: PaymentMethod,
        expected_total: Money | None = None,
        wait_s: WaitS = 0,
        *,
        key: str,
    ) -> Order:
        self._require_owner(customer_id)
        claimed = f"{customer_id}:place:{key}"
        asked = dict(shipping_address=shipping_address, payment_method=payment_method, expected_total=expected_total)
        order_id = self._placed_before(claimed, asked)
        if order_id is None:
            profile = call_async(self.users.profile, customer_id)
            cart = self.carts.get(CartRef(customer_id=customer_id))
            lines, sums, _ = self._priced(cart, shipping_address)
            self._require_price(sums.total, expected_total)
            method = method_of(profile.result(), payment_method)
            require_payable(self.payments, sums.total, method, customer_id)
            order = _new_order(profile.result(), cart, lines, sums, shipping_address, method)
            placed = Placed(
                order_id=order["id"],
                customer_id=customer_id,
                email=order["email"],
                name=shipping_address.name,
                lines=cart.lines,
                total=sums.total,
                method=method,
                address=shipping_address,
                items=sum(line.quantity for line in cart.lines),
                without_risk=self.without_risk.passes("order", sums.total),
                booking=bookings.sale(sums),
            )
            order_id = self._begin(claimed, asked, order, placed)
        return self._settled(order_id, wait_s)

    def _begin(self, claimed: str, asked: dict[str, Any], order: dict[str, Any], placed: Placed) -> str:
        """The one transaction in which the claim of the key, the order and its saga come to be."""
        try:
            with self.db.write() as session:
                if not claim(session, claimed, "place", asked, "ok"):
                    return str(same(answer, session, claimed, "place", asked))
                require_staying(session, placed.customer_id)
                self._require_no_other(order["cart_id"])
                saga_id = self.sagas.start_saga(session, PLACE_ORDER, placed.order_id, placed)
                store.add(session, {**order, "saga_id": saga_id})
                store_result(session, claimed, placed.order_id)
                return placed.order_id
        except IntegrityError:  # another instance was faster with an order for this cart
            with self.db.read():
                self._require_no_other(order["cart_id"])
            raise

    @rpc
    def get(self, order_id: str, wait_s: WaitS = 0) -> Order:
        return self._settled(order_id, wait_s)

    @rpc
    def find(
        self, customer_id: str | None = None, status: str | None = None, limit: Limit = 20, cursor: str | None = None
    ) -> OrderPage:
        if not self.call.is_staff():
            customer_id = (self.call.caller and self.call.caller.customer_id) or ""
        if status is not None and status not in STATES:
            raise ServiceError("request.invalid", f"status is one of {', '.join(STATES)}.", {"field": "status"})
        before = read_cursor(cursor, tuple[datetime, str], "orders.bad_cursor")
        with self.db.read() as session:
            rows = store.find(session, customer_id, status, limit + 1, before)
            more = encode_cursor((rows[limit - 1].created_at, rows[limit - 1].id)) if len(rows) > limit else None
            return OrderPage(items=store.views(session, rows[:limit], self.call.is_staff()), next_cursor=more)

    @rpc
    def money(self, after: str | None = None, limit: AuditLimit = 500) -> OrderMoneyPage:
        self.call.require_operator()
        with self.db.read() as session:
            items = store.money(session, after, limit)
        return OrderMoneyPage(items=items, next_after=items[-1].order_id if len(items) == limit else None)

    @rpc
    def saga_health(self) -> SagaHealth:
        self.call.require_operator()
        with self.db.read() as session:
            return store.saga_health(session, self.sagas.definitions)

    @handles(PaymentResolved)
    def on_payment_resolved(self, resolved: PaymentResolved) -> None:
        session, of = self.db.session, resolved.payment_id
        saga_id = store.saga_of(session, of) or amendments.saga_of(session, of)
        if saga_id is not None:
            told = dict(authorized=resolved.authorized, reason=resolved.reason)
            self.sagas.signal(session, saga_id, "challenge", told)

    @handles(DisputeMoved)
    def on_dispute_moved(self, moved: DisputeMoved) -> None:
        disputes.follow(self.db.session, moved)

    @handles(ReviewDecided)
    def on_review_decided(self, decided: ReviewDecided) -> None:
        saga_id = store.saga_of(self.db.session, decided.subject_id) if decided.kind == "order" else None
        if saga_id is not None:
            told = dict(approved=decided.approved, reason=decided.reason)
            self.sagas.signal(self.db.session, saga_id, "review", told)

    @handles(ShipmentMoved)
    def on_shipment_moved(self, moved: ShipmentMoved) -> None:
        if moved.parcel_id != moved.order_id:
            amendments.parcel_moved(self.db.session, moved.parcel_id, moved.status, moved.tracking)
            return
        state = store.shipment_moved(self.db.session, moved.order_id, moved.status, moved.tracking)
        if state is not None and state not in MOVING:  # one whose saga runs takes it up at its end
            store.move(self.db.session, moved.order_id, status_with(moved.status))

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    # --- what the doors share

    def _require_owner(self, customer_id: str) -> None:
        if not self.call.owns(customer_id):
            raise ServiceError("auth.forbidden", "An order is placed for oneself.")

    def _require_no_other(self, cart_id: str) -> None:
        other = store.unsettled_for(self.db.session, cart_id)
        if other is not None:
            raise ServiceError(
                "orders.in_progress",
                "An order is being made of this cart already: wait for its end.",
                {"order_id": other, "retry_after_s": 1},
            )

    def _require_price(self, total: Money, expected: Money | None) -> None:
        if expected is not None and (total.amount > expected.amount or total.currency != expected.currency):
            raise ServiceError(
                "orders.price_changed",
                "The total has risen since you saw it. Please look at it once more, and order again.",
                {"total": msgspec.to_builtins(total)},
            )

    def _placed_before(self, claimed: str, asked: dict[str, Any]) -> str | None:
        with self.db.read() as session:
            order_id: str | None = same(peek, session, claimed, "place", asked)
        return order_id

    def _priced(self, cart: Cart, address: Address) -> tuple[list[OrderLine], Totals, ShippingQuote]:
        """The cart at the prices of now, sent to this address."""
        if not cart.lines:
            raise ServiceError("orders.cart_empty", "The cart is empty: put something in first.")
        items = sum(line.quantity for line in cart.lines)
        quoted = call_async(self.shipping.quote, address, items)
        offers = {offer.sku: offer for offer in self.products.offers([line.sku for line in cart.lines])}
        gone = [line.sku for line in cart.lines if line.sku not in offers]
        if gone:
            raise ServiceError(
                "orders.not_sold_any_more", f"Not sold any more: {', '.join(gone)}. Take it out first.", {"skus": gone}
            )
        lines = price(cart.lines, offers, address.country, self.config["tax_rates_permille"])
        shipping = quoted.result()
        return lines, totals(lines, shipping.price), shipping

    def _settled(self, order_id: str, wait_s: float) -> Order:
        """The order, once its saga has ended or the time is up."""
        give_up_at = time.monotonic() + wait_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            with self.db.read() as session:
                saga_id = store.unsettled_saga_of(session, order_id)
            if saga_id is None or self.sagas.wait_for_end(saga_id, min(left_s, LOOK_AGAIN_S)):
                break
        return self._view(order_id)


def _new_order(
    profile: Profile, cart: Cart, lines: list[OrderLine], sums: Totals, address: Address, method: PaymentMethod
) -> dict[str, Any]:
    return dict(
        id=amendments.new_id(),
        customer_id=profile.id,
        cart_id=cart.id,
        status="pending",
        email=profile.email,
        name=profile.name,
        address=msgspec.to_builtins(address),
        lines=msgspec.to_builtins(lines),
        currency=sums.total.currency,
        items_amount=sums.items.amount,
        shipping_amount=sums.shipping.amount,
        tax_amount=sums.tax.amount,
        total_amount=sums.total.amount,
        payment_method=method.type,
    )
