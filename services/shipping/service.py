"""shipping: what it costs to send an order, and where its parcel is."""

from functools import partial

from chassis.commands import Outside, command
from chassis.context import Call
from chassis.db import Database, WorkerDatabase, now
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.hooks import HookReader, SignedHooks, is_first
from chassis.outbox import Relay
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from contracts.common import Address
from contracts.orders import SagasForgotten
from contracts.shipping import Email, Items, OrderId, OutsideKey, Shipment, ShippingQuote, Tracking
from services.shipping import store
from services.shipping.adapters import Booking, Carrier, CarrierClient
from services.shipping.domain import parcels_for
from services.shipping.models import Base
from services.shipping.quotes import KeptQuotes, Quotes


class ShippingService:
    name = "shipping"

    call = provided(Call, CallContext())
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    relay = Relay()
    carrier = provided(CarrierClient, Carrier())
    hooks = provided(HookReader, SignedHooks("carrier"))
    quotes = provided(Quotes, KeptQuotes())

    @rpc
    def quote(self, address: Address, items: Items) -> ShippingQuote:
        with self.db.read() as session:
            at = now(session)
        kept = self.quotes.find(address, items, at)
        if kept is not None:
            return kept
        given = self.carrier.quote(address, items)
        return self.quotes.keep(address, items, ShippingQuote(price=given.price, expires_at=given.expires_at))

    @command(retriable=True)
    def book(
        self, order_id: OrderId, address: Address, items: Items, email: Email, *, key: OutsideKey
    ) -> Outside[Booking, Shipment]:
        self.call.require_trusted()
        booking_key = store.begin(self.db.session, order_id, email, address.name, key)
        try:
            booking = yield partial(self.carrier.book, booking_key, address, order_id, parcels_for(items))
        except ServiceError as exc:
            if exc.code == "shipping.cancelled":
                store.cancelled(self.db.session, booking_key)
            else:
                store.booking_refused(self.db.session, booking_key)
            raise
        return self._apply(booking) or store.view(self.db.session, order_id)

    @command
    def cancel(self, order_id: OrderId, *, key: OutsideKey) -> Outside[None, Shipment]:
        self.call.require_staff()
        booking_key = store.require_cancellable(self.db.session, order_id).booking_key
        yield partial(self.carrier.cancel, booking_key)
        store.cancelled(self.db.session, booking_key)
        return store.view(self.db.session, order_id)

    @rpc
    def get(self, order_id: OrderId) -> Shipment:
        if not self.call.is_staff():
            raise ServiceError("shipping.not_found", f"Nothing is sent for order {order_id!r}.")
        with self.db.read() as session:
            return store.view(session, order_id)

    @command
    def advance(self, tracking: Tracking, *, key: OutsideKey) -> Outside[Booking, Shipment]:
        self.call.require_staff()
        order_id = store.of_parcel(self.db.session, tracking).order_id
        booking = yield partial(self.carrier.advance, tracking, key)
        return self._apply(booking) or store.view(self.db.session, order_id)

    @rpc
    def carrier_hook(self, signature: str, body: str, *, key: str = "") -> None:
        with self.db.read() as session:
            hook = self.hooks.read(signature, body, now(session))
        if hook.kind != "parcel.moved":
            return  # a call that we know nothing to do with, but theirs: not to be sent again
        moved = hook.data_as(Booking)
        with self.db.write() as session:
            if is_first(session, "carrier_hook", hook):
                self._apply(moved)

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)

    def _apply(self, parcel: Booking) -> Shipment | None:
        return store.apply(self.db.session, parcel.key, parcel.tracking, parcel.status, parcel.sequence)
