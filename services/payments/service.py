"""payments: what was authorised, captured, voided and refunded for an order, by cards, gift cards and accounts of
customers; what is disputed of it; and what was paid out to bank accounts."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from sqlalchemy.orm import Session

from chassis.commands import Outside, command, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase, now
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.hooks import Hook, HookReader, SignedHooks, is_first
from chassis.outbox import Relay
from chassis.privacy import PrivacyOperations, require_staying
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import remote, rpc
from chassis.service import CallContext
from chassis.types import Money
from contracts.accounts import AccountsApi
from contracts.common import PaymentMethod
from contracts.orders import SagasForgotten
from contracts.payments import (
    BalancePage,
    CustomerId,
    Dispute,
    DisputeId,
    DisputePage,
    DisputeStatus,
    GiftCard,
    GiftCardAudit,
    Iban,
    Limit,
    Name,
    OrderId,
    OutsideKey,
    Payment,
    PaymentId,
    PaymentsApi,
    PayOut,
    PayOutId,
    Reconciliation,
    Reference,
    Refund,
)
from contracts.transactions import TransactionsForgotten
from contracts.users import PrivacyForgotten
from services.payments import asking, books, captures, disputes, gift_cards, payouts, refunds, store
from services.payments.adapters import Acquirer, AcquirerClient, Bank, BankClient, Disputed, Movement, SentOut
from services.payments.domain import LARGEST, SMALLEST, shares_of
from services.payments.models import Base
from services.payments.privacy import KINDS
from services.payments.reconciliation import reconcile
from services.payments.wallets import Ledger

HOOKS = {
    "payment.authorized": "authorize",
    "payment.declined": "decline",
    "payment.captured": "capture",
    "payment.voided": "void",
    "payment.refunded": "refund",
}
"""The acquirer's calls, and what they tell of. Others are taken, and change nothing."""

DISPUTE_HOOKS = ("dispute.opened", "dispute.won", "dispute.lost")

BANK_HOOKS = {"payout.settled": "settled", "payout.returned": "returned"}


class PaymentsService(DeadLetterOperations, PrivacyOperations):
    name = "payments"
    kinds = KINDS

    call = provided(Call, CallContext(PaymentsApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(kinds=KINDS)
    relay = Relay()
    acquirer = provided(AcquirerClient, Acquirer())
    hooks = provided(HookReader, SignedHooks("acquirer"))
    bank = provided(BankClient, Bank())
    bank_hooks = provided(HookReader, SignedHooks("bank"))

    accounts: AccountsApi = remote(AccountsApi)

    @rpc
    def check(self, amount: Money, method: PaymentMethod, customer_id: CustomerId | None = None) -> None:
        if customer_id is not None:
            self._require_owner(customer_id)
        _require_movable(amount)
        shares = shares_of(method, amount)
        with self.db.read() as session:
            for share in shares:
                if share.gift_card_id is not None:
                    gift_cards.require(session, share, customer_id, amount.currency)
        for share in shares:
            if share.account_id is not None:
                Ledger(self.accounts).require(share, customer_id, amount.currency)

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
        parts = store.begin(self.db.session, names, shares, amount.currency)
        asked = asking.Authorization(names, amount.currency, shares, parts, store.refusal_of(parts))
        try:
            answer = yield asking.authorize(self._others(), asked)
        except ServiceError as exc:
            reason, account_id = exc.details.get("reason", exc.code), exc.details.get("account_id")
            store.decline(self.db.session, key, str(reason), account_id)
            raise
        store.held(self.db.session, parts)
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
        parts = store.ask_void(self.db.session, key)
        was_there = yield partial(asking.void, self._others(), parts) if parts else asking.nothing
        if was_there is not None:
            store.voided(self.db.session, key, was_there)

    @command
    def capture(
        self, order_id: OrderId, amount: Money, payment_id: PaymentId | None = None, *, key: OutsideKey
    ) -> Outside[object, Payment]:
        self.call.require_trusted()
        _require_movable(amount)
        take = captures.begin(self.db.session, order_id, payment_id or order_id, amount, key)
        try:
            yield partial(asking.capture, self._others(), take)
        except ServiceError:
            captures.not_done(self.db.session, take)
            raise
        return captures.done(self.db.session, take)

    @command(retriable=True)
    def refund(
        self,
        order_id: OrderId,
        amount: Money,
        to: Literal["original", "gift_card"] = "original",
        except_payment: PaymentId | None = None,
        *,
        key: OutsideKey,
    ) -> Outside[Mapping[str, ServiceError], Refund]:
        self.call.require_trusted()
        _require_movable(amount)
        asked = refunds.plan(self.db.session, order_id, amount, to, except_payment, key)
        refusals = yield partial(asking.refund, self._others(), asked)
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
        require_staying(self.db.session, customer_id)
        card_id = gift_cards.issue(self.db.session, customer_id, amount)
        gift_cards.note(self.db.session, "issue", card_id, amount.amount, key)
        gift_cards.tell_issued(self.db.session, card_id, customer_id, amount)
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
            hear = _news_of(session, hook)
        if hear is None:
            return
        with self.db.write() as session:
            if is_first(session, "acquirer_hook", hook):
                hear(session)

    @command
    def pay_out(
        self, payout_id: PayOutId, amount: Money, iban: Iban, name: Name, reference: Reference = "", *, key: OutsideKey
    ) -> Outside[SentOut, PayOut]:
        self.call.require_trusted()
        _require_movable(amount)
        payouts.begin(self.db.session, payout_id, amount, iban, key)
        try:
            yield partial(self.bank.pay_out, key, amount, iban, name, reference)
        except ServiceError as exc:
            payouts.refused(self.db.session, key, str(exc.details.get("reason", exc.code)))
            raise
        return payouts.sent(self.db.session, payout_id, key)

    @rpc
    def get_payout(self, payout_id: PayOutId) -> PayOut:
        if not self.call.is_staff():
            raise ServiceError("payments.not_found", f"There is no payout {payout_id!r}.")
        with self.db.read() as session:
            return payouts.get(session, payout_id)

    @rpc
    def bank_hook(self, signature: str, body: str, *, key: str = "") -> None:
        with self.db.read() as session:
            hook = self.bank_hooks.read(signature, body, now(session))
        status = BANK_HOOKS.get(hook.kind)
        if status is None:
            return
        told = hook.data_as(SentOut)
        with self.db.write() as session:
            if is_first(session, "bank_hook", hook):
                payouts.heard(session, status, told.key, told.reason)

    @rpc
    def disputes(
        self, status: DisputeStatus | None = None, limit: Limit = 20, cursor: str | None = None
    ) -> DisputePage:
        self.call.require_staff()
        with self.db.read() as session:
            return disputes.page(session, status, limit, cursor)

    @rpc
    def dispute(self, dispute_id: DisputeId) -> Dispute:
        self.call.require_staff()
        with self.db.read() as session:
            return disputes.get(session, dispute_id)

    @rpc
    def refresh_dispute(self, dispute_id: DisputeId) -> Dispute:
        self.call.require_operator()
        told = self.acquirer.dispute(dispute_id)
        with self.db.write() as session:
            disputes.heard(session, told)
            return disputes.get(session, dispute_id)

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

    @handles(TransactionsForgotten)
    def on_transactions_forgotten(self, told: TransactionsForgotten) -> None:
        forget_sagas(self.db.session, "transactions", told.saga_ids)

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    @command(retriable=True)
    def void_unowned(self, authorize_key: OutsideKey, *, key: OutsideKey) -> Outside[None, None]:
        self.call.require_operator()
        store.require_unowned(self.db.session, authorize_key)
        yield partial(self.acquirer.void, authorize_key)

    def _others(self) -> asking.Others:
        return asking.Others(self.acquirer, Ledger(self.accounts))

    def _require_owner(self, customer_id: str) -> None:
        if not self.call.owns(customer_id):
            raise ServiceError("auth.forbidden", "What a customer has is theirs alone.")


def _news_of(session: Session, hook: Hook) -> Callable[[Session], None] | None:
    """What a call of the acquirer's is to change; None for nothing. Raises ServiceError `request.invalid`."""
    if hook.kind in DISPUTE_HOOKS:
        return partial(disputes.heard, told=hook.data_as(Disputed))
    kind = HOOKS.get(hook.kind)
    if kind is None:
        return None
    moved = hook.data_as(Movement)
    if store.is_known(session, kind, moved.key):
        return None  # as nearly always: the acquirer's answer was here first
    return lambda own: store.heard(own, kind, moved.key, moved.authorization_key, moved.code)


def _require_movable(amount: Money) -> None:
    if not SMALLEST <= amount.amount <= LARGEST:
        raise ServiceError(
            "request.invalid", f"An amount is {SMALLEST} to {LARGEST} minor units.", {"field": "amount.amount"}
        )
