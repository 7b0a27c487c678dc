"""shipping: what it costs to send an order, and where its parcel is."""

from functools import partial

from chassis.commands import Outside, command, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase, now
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.hooks import HookReader, SignedHooks, is_first
from chassis.outbox import Relay
from chassis.privacy import PrivacyOperations
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from contracts.common import Address
from contracts.orders import SagasForgotten
from contracts.shipping import (
    CustomerId,
    Email,
    Items,
    OrderId,
    OutsideKey,
    ParcelId,
    Reconciliation,
    Shipment,
    ShippingApi,
    ShippingQuote,
    Tracking,
)
from contracts.users import PrivacyForgotten
from services.shipping import store
from services.shipping.adapters import Booking, Carrier, CarrierClient
from services.shipping.domain import parcels_for
from services.shipping.models import Base
from services.shipping.privacy import KINDS
from services.shipping.quotes import KeptQuotes, Quotes
from services.shipping.reconciliation import reconcile


class ShippingService(DeadLetterOperations, PrivacyOperations):
    name = "shipping"
    kinds = KINDS

    call = provided(Call, CallContext(ShippingApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(kinds=KINDS)
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

    @command(retriable=True, beside=("customer_id",))
    def book(
        self,
        order_id: OrderId,
        address: Address,
        items: Items,
        email: Email,
        parcel_id: ParcelId | None = None,
        customer_id: CustomerId | None = None,
        *,
        key: OutsideKey,
    ) -> Outside[Booking, Shipment]:
        self.call.require_trusted()
        parcel = store.Parcel(parcel_id or order_id, order_id, email, address.name, customer_id)
        booking_key = store.begin(self.db.session, parcel, key)
        try:
            booking = yield partial(self.carrier.book, booking_key, address, order_id, parcels_for(items))
        except ServiceError as exc:
            if exc.code == "shipping.cancelled":
                store.cancelled(self.db.session, parcel.id, booking_key)
            else:
                store.booking_refused(self.db.session, booking_key)
            raise
        self._apply(booking)
        return store.require_not_cancelled(self.db.session, parcel.id)

    @command
    def cancel(self, order_id: OrderId, *, key: OutsideKey) -> Outside[None, Shipment]:
        self.call.require_trusted()
        booking_key = store.fence(self.db.session, order_id)
        yield partial(self.carrier.cancel, booking_key) if booking_key else _nothing
        store.cancelled(self.db.session, order_id, booking_key)
        return store.view(self.db.session, order_id)

    @command
    def hold(self, order_id: OrderId, *, key: OutsideKey) -> Outside[Booking, Shipment]:
        self.call.require_trusted()
        yield partial(self.carrier.hold, key, store.require_booked(self.db.session, order_id))
        return store.amend(self.db.session, order_id, on_hold=True)

    @undo
    def unhold(self, order_id: OrderId, *, key: OutsideKey) -> Outside[None, None]:
        yield partial(self.carrier.release, key)
        store.amend(self.db.session, order_id, on_hold=False)

    @command(retriable=True)
    def amend(
        self, order_id: OrderId, address: Address, items: Items, *, key: OutsideKey
    ) -> Outside[Booking, Shipment]:
        self.call.require_trusted()
        booking_key = store.require_booked(self.db.session, order_id)
        yield partial(self.carrier.amend, key, booking_key, address, parcels_for(items))
        return store.amend(self.db.session, order_id, on_hold=False, name=address.name)

    @rpc
    def get(self, order_id: OrderId, parcel_id: ParcelId | None = None) -> Shipment:
        if not self.call.is_staff():
            raise ServiceError("shipping.not_found", f"Nothing is sent for order {order_id!r}.")
        with self.db.read() as session:
            return store.view(session, parcel_id or order_id)

    @command
    def advance(self, tracking: Tracking, *, key: OutsideKey) -> Outside[Booking, Shipment]:
        self.call.require_staff()
        parcel_id = store.of_tracking(self.db.session, tracking)
        self._apply((yield partial(self.carrier.advance, tracking, key)))
        return store.view(self.db.session, parcel_id)

    @rpc
    def refresh(self, parcel_id: ParcelId) -> Shipment:
        self.call.require_operator()
        with self.db.read() as session:
            booking_key = store.booking_key_of(session, parcel_id)
        parcel = self.carrier.status(booking_key) if booking_key else None
        with self.db.write() as session:
            if parcel is not None:
                self._apply(parcel)
            return store.view(session, parcel_id)

    @rpc
    def reconcile(self) -> Reconciliation:
        self.call.require_operator()
        return reconcile(self.db, self.carrier)

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

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    def _apply(self, parcel: Booking) -> None:
        store.apply(self.db.session, parcel.key, parcel.tracking, parcel.status, parcel.sequence)


def _nothing() -> None:
    """The call to the carrier where it has never been asked for anything."""
