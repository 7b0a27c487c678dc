"""payments: what was authorised, captured, voided and refunded for an order, at the acquirer."""

from functools import partial

from chassis.commands import Outside, command, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase, now
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.hooks import HookReader, SignedHooks, is_first
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.types import Money
from contracts.common import PaymentMethod
from contracts.orders import SagasForgotten
from contracts.payments import BalancePage, OrderId, OutsideKey, Payment, Reconciliation
from services.payments import store
from services.payments.adapters import Acquirer, AcquirerClient, Movement
from services.payments.domain import LARGEST, SMALLEST
from services.payments.methods import method_of
from services.payments.models import Base
from services.payments.reconciliation import reconcile

HOOKS = {
    "payment.authorized": "authorize",
    "payment.captured": "capture",
    "payment.voided": "void",
    "payment.refunded": "refund",
}
"""The acquirer's calls, and the movements that they tell of. Others are taken, and change nothing."""


class PaymentsService:
    name = "payments"

    call = provided(Call, CallContext())
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    acquirer = provided(AcquirerClient, Acquirer())
    hooks = provided(HookReader, SignedHooks("acquirer"))

    @command
    def authorize(
        self, order_id: OrderId, amount: Money, method: PaymentMethod, *, key: OutsideKey
    ) -> Outside[None, Payment]:
        self.call.require_trusted()
        _require_movable(amount)
        way = method_of(method.type, self.acquirer)
        way.check(method)
        store.begin(self.db.session, order_id, amount, method.type, key)
        try:
            yield partial(way.authorize, key, amount, method, order_id)
        except ServiceError as exc:
            store.decline(self.db.session, order_id, key, str(exc.details.get("reason", exc.code)))
            raise
        return store.happened(self.db.session, "authorize", key) or store.view(self.db.session, order_id)

    @undo
    def void(self, order_id: OrderId, amount: Money, method: PaymentMethod, *, key: OutsideKey) -> Outside[bool, None]:
        self.call.require_trusted()
        payment = store.ask_void(self.db.session, key)
        was_there = yield partial(method_of(payment.method, self.acquirer).void, key)
        store.voided(self.db.session, key, was_there)

    @command
    def capture(self, order_id: OrderId, amount: Money, *, key: OutsideKey) -> Outside[None, Payment]:
        self.call.require_trusted()
        _require_movable(amount)
        payment = store.ask_capture(self.db.session, order_id, amount, key)
        way = method_of(payment.method, self.acquirer)
        try:
            yield partial(way.capture, key, payment.authorize_key, amount)
        except ServiceError:
            store.refused(self.db.session, "capture", key)
            raise
        return store.happened(self.db.session, "capture", key) or store.view(self.db.session, order_id)

    @command(retriable=True)
    def refund(self, order_id: OrderId, amount: Money, *, key: OutsideKey) -> Outside[None, Payment]:
        self.call.require_trusted()
        _require_movable(amount)
        payment, outside_key = store.reserve_refund(self.db.session, order_id, amount, key)
        way = method_of(payment.method, self.acquirer)
        try:
            yield partial(way.refund, outside_key, payment.authorize_key, amount)
        except ServiceError:
            store.release_refund(self.db.session, order_id, amount, outside_key)
            raise
        return store.happened(self.db.session, "refund", outside_key) or store.view(self.db.session, order_id)

    @rpc
    def get(self, order_id: OrderId) -> Payment:
        if not self.call.is_staff():
            raise ServiceError("payments.not_found", f"There is no payment for order {order_id!r}.")
        with self.db.read() as session:
            return store.view(session, order_id)

    @rpc
    def acquirer_hook(self, signature: str, body: str, *, key: str = "") -> None:
        with self.db.read() as session:
            hook = self.hooks.read(signature, body, now(session))
        kind = HOOKS.get(hook.kind)
        if kind is None:
            return
        moved = hook.data_as(Movement)
        with self.db.write() as session:
            if is_first(session, "acquirer_hook", hook):
                store.happened(session, "authorize", moved.authorization_key)  # the first of them may have got lost
                store.happened(session, kind, moved.key)

    @rpc
    def balances(self, after: OrderId | None = None, limit: int = 500) -> BalancePage:
        self.call.require_operator()
        with self.db.read() as session:
            return store.balances(session, after, limit)

    @rpc
    def reconcile(self) -> Reconciliation:
        self.call.require_operator()
        return reconcile(self.db, self.acquirer)

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)


def _require_movable(amount: Money) -> None:
    if not SMALLEST <= amount.amount <= LARGEST:
        raise ServiceError(
            "request.invalid", f"An amount is {SMALLEST} to {LARGEST} minor units.", {"field": "amount.amount"}
        )
