"""payments: what was authorised, captured, voided and refunded for an order, by cards and by gift cards."""

from functools import partial
from typing import Literal

from chassis.commands import Outside, command, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase, now
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.hooks import HookReader, SignedHooks, is_first
from chassis.outbox import Relay
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.types import Money
from contracts.common import PaymentMethod
from contracts.orders import SagasForgotten
from contracts.payments import (
    BalancePage,
    CustomerId,
    GiftCard,
    GiftCardAudit,
    OrderId,
    OutsideKey,
    Payment,
    PaymentId,
    PaymentsApi,
    Reconciliation,
    Refund,
)
from services.payments import books, cards, gift_cards, refunds, store
from services.payments.adapters import Acquirer, AcquirerClient, Movement
from services.payments.domain import LARGEST, SMALLEST, shares_of
from services.payments.models import Base
from services.payments.reconciliation import reconcile

HOOKS = {
    "payment.authorized": "authorize",
    "payment.declined": "decline",
    "payment.captured": "capture",
    "payment.voided": "void",
    "payment.refunded": "refund",
}
"""The acquirer's calls, and what they tell of. Others are taken, and change nothing."""


class PaymentsService(DeadLetterOperations):
    name = "payments"

    call = provided(Call, CallContext(PaymentsApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    relay = Relay()
    acquirer = provided(AcquirerClient, Acquirer())
    hooks = provided(HookReader, SignedHooks("acquirer"))

    @rpc
    def check(self, amount: Money, method: PaymentMethod, customer_id: CustomerId | None = None) -> None:
        if customer_id is not None:
            self._require_owner(customer_id)
        _require_movable(amount)
        gifts = [share for share in shares_of(method, amount) if share.gift_card_id is not None]
        with self.db.read() as session:
            for share in gifts:
                gift_cards.require(session, share, customer_id, amount.currency)

    @command
    def authorize(
        self,
        order_id: OrderId,
        amount: Money,
        method: PaymentMethod,
        customer_id: CustomerId | None = None,
        payment_id: PaymentId | None = None,
        *,
        key: OutsideKey,
    ) -> Outside[Movement | None, Payment]:
        self.call.require_trusted()
        _require_movable(amount)
        shares = shares_of(method, amount)
        names = store.Names(order_id, payment_id or order_id, customer_id, key)
        store.begin(self.db.session, names, shares, amount.currency)
        try:
            answer = yield cards.authorize(self.acquirer, key, shares, amount.currency, order_id)
        except ServiceError as exc:
            store.decline(self.db.session, key, str(exc.details.get("reason", exc.code)))
            raise
        if answer is None:
            return store.get(self.db.session, order_id, names.payment_id)
        if answer.status == "requires_action":
            return store.requires_action(self.db.session, names.payment_id, answer.url)
        return store.authorized(self.db.session, names.payment_id, key)

    @undo
    def void(
        self,
        order_id: OrderId,
        amount: Money,
        method: PaymentMethod,
        customer_id: CustomerId | None = None,
        payment_id: PaymentId | None = None,
        *,
        key: OutsideKey,
    ) -> Outside[bool | None, None]:
        self.call.require_trusted()
        card = store.ask_void(self.db.session, key)
        was_there = yield partial(cards.void, self.acquirer, key) if card else cards.nothing
        if was_there is not None:
            store.voided(self.db.session, key, was_there)

    @command
    def capture(
        self, order_id: OrderId, amount: Money, payment_id: PaymentId | None = None, *, key: OutsideKey
    ) -> Outside[object, Payment]:
        self.call.require_trusted()
        _require_movable(amount)
        take = store.ask_capture(self.db.session, order_id, payment_id or order_id, amount, key)
        try:
            yield cards.capture(self.acquirer, take)
        except ServiceError:
            store.capture_refused(self.db.session, take)
            raise
        return store.captured(self.db.session, take)

    @command(retriable=True)
    def refund(
        self,
        order_id: OrderId,
        amount: Money,
        to: Literal["original", "gift_card"] = "original",
        except_payment: PaymentId | None = None,
        *,
        key: OutsideKey,
    ) -> Outside[dict[str, ServiceError], Refund]:
        self.call.require_trusted()
        _require_movable(amount)
        asked = refunds.plan(self.db.session, order_id, amount, to, except_payment, key)
        refusals = yield partial(cards.refund, self.acquirer, asked)
        refunds.settle(self.db.session, order_id, asked, refusals)
        return refunds.view(self.db.session, order_id, amount, key)

    @rpc
    def get(self, order_id: OrderId, payment_id: PaymentId | None = None) -> Payment:
        if not self.call.is_staff():
            raise ServiceError("payments.not_found", f"There is no such payment for order {order_id!r}.")
        with self.db.read() as session:
            return store.get(session, order_id, payment_id or order_id)

    @command
    def issue_gift_card(self, customer_id: CustomerId, amount: Money, *, key: str) -> GiftCard:
        self.call.require_staff()
        _require_movable(amount)
        card_id = gift_cards.issue(self.db.session, customer_id, amount)
        gift_cards.note(self.db.session, "issue", card_id, amount.amount, key)
        return gift_cards.view(self.db.session, card_id)

    @rpc
    def gift_cards(self, customer_id: CustomerId) -> list[GiftCard]:
        if not self.call.is_staff():
            self._require_owner(customer_id)
        with self.db.read() as session:
            return gift_cards.of_customer(session, customer_id)

    @rpc
    def acquirer_hook(self, signature: str, body: str, *, key: str = "") -> None:
        with self.db.read() as session:
            hook = self.hooks.read(signature, body, now(session))
            kind = HOOKS.get(hook.kind)
            if kind is None:
                return
            moved = hook.data_as(Movement)
            if store.is_known(session, kind, moved.key):
                return  # as nearly always: the acquirer's answer was here first
        with self.db.write() as session:
            if is_first(session, "acquirer_hook", hook):
                store.heard(session, kind, moved.key, moved.authorization_key, moved.code)

    @rpc
    def balances(self, after: OrderId | None = None, limit: int = 500) -> BalancePage:
        self.call.require_operator()
        with self.db.read() as session:
            return books.balances(session, after, limit)

    @rpc
    def audit_gift_cards(self) -> GiftCardAudit:
        self.call.require_operator()
        with self.db.read() as session:
            return books.audit_gift_cards(session)

    @rpc
    def reconcile(self) -> Reconciliation:
        self.call.require_operator()
        return reconcile(self.db, self.acquirer)

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)

    @command(retriable=True)
    def void_unowned(self, authorize_key: OutsideKey, *, key: OutsideKey) -> Outside[None, None]:
        self.call.require_operator()
        store.require_unowned(self.db.session, authorize_key)
        yield partial(self.acquirer.void, authorize_key)

    def _require_owner(self, customer_id: str) -> None:
        if not self.call.owns(customer_id):
            raise ServiceError("auth.forbidden", "A gift card is its owner's alone.")


def _require_movable(amount: Money) -> None:
    if not SMALLEST <= amount.amount <= LARGEST:
        raise ServiceError(
            "request.invalid", f"An amount is {SMALLEST} to {LARGEST} minor units.", {"field": "amount.amount"}
        )
