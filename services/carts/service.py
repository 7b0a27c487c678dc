"""carts: what somebody means to buy."""

import secrets
import time
import uuid
from datetime import timedelta
from logging import getLogger
from typing import Annotated

import msgspec
from nameko.timer import timer

from chassis.commands import command
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.leases import take_lease
from chassis.privacy import PrivacyOperations, require_staying
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Message
from contracts.carts import Cart, CartQuantity, CartsApi, CustomerId, GuestCart
from contracts.common import CartRef, Line, Sku
from contracts.orders import SagasForgotten
from contracts.users import PrivacyForgotten
from services.carts import store
from services.carts.domain import MAX_LINES, TooManyLines, is_id, merged, put, without
from services.carts.models import Base
from services.carts.privacy import KINDS

SWEEP_LOOK_S = 10
SWEEP_BATCH, SWEEP_BATCHES = 500, 20

log = getLogger("rialto.carts")


class CartSettings(Message):
    """`guest_cart_s`: so long a guest's cart stays after its last change. `cart_sweep_s`: one sweep in so long."""

    guest_cart_s: Annotated[int, msgspec.Meta(ge=1)]
    cart_sweep_s: Annotated[int, msgspec.Meta(ge=1)]


class CartsService(DeadLetterOperations, PrivacyOperations):
    name = "carts"
    kinds = KINDS

    call = provided(Call, CallContext(CartsApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(kinds=KINDS)
    settings = provided(CartSettings, Settings(CartSettings))

    @rpc
    def create_guest(self, *, key: str) -> GuestCart:
        # No command: that would keep its answer, the token. A repeat leaves an empty cart for the sweep.
        token = secrets.token_urlsafe(32)
        with self.db.write() as session:
            store.add_guest(session, token)
        return GuestCart(cart_token=token)

    @rpc
    def get(self, cart: CartRef) -> Cart:
        self._require_own(cart)
        with self.db.read() as session:
            return store.view(session, cart)

    @command
    def put_item(self, cart: CartRef, sku: Sku, quantity: CartQuantity, *, key: str) -> Cart:
        self._require_own(cart)
        session, whose = self.db.session, cart.customer_id
        require_staying(session, whose)
        found = store.locked_or_new(session, whose) if whose and quantity else store.locked(session, cart)
        if found is not None:
            try:
                found = store.change(session, found, put(store.lines_of(found), sku, quantity))
            except TooManyLines:
                raise ServiceError("carts.too_many_lines", f"A cart holds at most {MAX_LINES} lines.") from None
        return store.shown(found, cart)

    @command
    def merge(self, customer_id: CustomerId, token: str, *, key: str) -> Cart:
        ours = CartRef(customer_id=customer_id)
        self._require_own(ours)
        session = self.db.session
        require_staying(session, customer_id)
        guests = store.locked(session, CartRef(token=token))
        if guests is None:
            return store.view(session, ours)
        mine = store.locked_or_new(session, customer_id)
        both = store.change(session, mine, merged(store.lines_of(mine), store.lines_of(guests)))
        store.remove(session, guests)
        return store.shown(both, ours)

    @command(retriable=True)
    def remove_ordered(self, customer_id: CustomerId, lines: list[Line], *, key: str) -> None:
        self.call.require_trusted()
        cart = store.locked(self.db.session, CartRef(customer_id=customer_id))
        if cart is not None:
            store.change(self.db.session, cart, without(store.lines_of(cart), lines))

    @timer(interval=SWEEP_LOOK_S)
    def sweep(self) -> None:
        """Remove abandoned guests' carts. The lease is nobody's to renew: so there is one sweep per `cart_sweep_s`."""
        age = timedelta(seconds=self.settings.guest_cart_s)
        with self.db.read() as session:
            if not store.are_abandoned(session, age):
                return
        with self.db.write() as session:
            every = timedelta(seconds=self.settings.cart_sweep_s)
            if not take_lease(session, "sweep", uuid.uuid4().hex, every):
                return
        removed = 0
        for _ in range(SWEEP_BATCHES):
            with self.db.write() as session:
                batch = store.remove_abandoned(session, age, SWEEP_BATCH)
            removed += batch
            if batch < SWEEP_BATCH:
                break
            time.sleep(0)  # let others work between batches
        log.info("removed abandoned carts", extra={"carts": removed})

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    def _require_own(self, cart: CartRef) -> None:
        if (cart.customer_id is None) == (cart.token is None):
            raise ServiceError("request.invalid", "Say either customer_id or token.", {"field": "cart"})
        if cart.customer_id is not None and not (is_id(cart.customer_id) and self.call.owns(cart.customer_id)):
            raise ServiceError("carts.not_found", "There is no such cart.")
