"""transactions: money of customers on its way, each a saga over the ledger (see flows.py)."""

import time
import uuid
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

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
from chassis.rpc import call_async, remote, rpc, tuned
from chassis.saga_engine import Sagas
from chassis.saga_operations import SagaOperations
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Caller, Money
from contracts.accounts import Account, AccountId, AccountsApi, CustomerId
from contracts.common import Amount, PaymentMethod
from contracts.payments import DisputeMoved, PaymentResolved, PayOutReturned, PayOutSettled
from contracts.risk import Kind as RiskKind
from contracts.risk import ReviewDecided
from contracts.transactions import (
    AuditLimit,
    DepositMoneyPage,
    Iban,
    Kind,
    Limit,
    Reason,
    Reference,
    Status,
    Transaction,
    TransactionPage,
    TransactionsApi,
    TransactionsForgotten,
    WaitS,
)
from contracts.users import PrivacyForgotten, Profile, UsersApi
from services.transactions import disputes, store
from services.transactions.domain import (
    REVERSIBLE,
    Moving,
    TransactionSettings,
    fee_of,
    iban_of,
    left_of,
    limits_of,
    reason_for,
    require_in_range,
    require_usable,
)
from services.transactions.flows import (
    ARRIVE,
    BEGINS,
    DEPOSIT,
    RETURN,
    REVERSE_DEPOSIT,
    REVERSE_TRANSFER,
    REVERSES,
    TRANSFER,
    WITHDRAW,
    Arrived,
    returned,
)
from services.transactions.models import Base
from services.transactions.privacy import KINDS

LOOK_AGAIN_S = 0.5
SERVICE = Caller(service="transactions")


class TransactionsService(SagaOperations, DeadLetterOperations, PrivacyOperations):
    name = "transactions"
    kinds = KINDS

    call = provided(Call, CallContext(TransactionsApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(TransactionsForgotten, kinds=KINDS)
    relay = Relay()
    sagas = Sagas(TRANSFER, DEPOSIT, WITHDRAW, REVERSE_TRANSFER, REVERSE_DEPOSIT, ARRIVE, RETURN)
    settings = provided(TransactionSettings, Settings(TransactionSettings))

    accounts: AccountsApi = remote(AccountsApi)
    users: UsersApi = remote(UsersApi)

    @rpc
    def deposit(
        self,
        customer_id: CustomerId,
        account_id: AccountId,
        amount: Amount,
        method: PaymentMethod,
        wait_s: WaitS = 0.0,
        *,
        key: str,
    ) -> Transaction:
        asked = dict(account_id=account_id, amount=amount, method=method)
        return self._begun("deposit", customer_id, amount, asked, wait_s, key, to_account=account_id, method=method)

    @rpc
    def withdraw(
        self,
        customer_id: CustomerId,
        account_id: AccountId,
        amount: Amount,
        iban: Iban,
        wait_s: WaitS = 0.0,
        *,
        key: str,
    ) -> Transaction:
        iban = iban_of(iban)
        asked = dict(account_id=account_id, amount=amount, iban=iban)
        return self._begun("withdrawal", customer_id, amount, asked, wait_s, key, from_account=account_id, iban=iban)

    @rpc
    def transfer(
        self,
        customer_id: CustomerId,
        from_account: AccountId,
        to_account: AccountId,
        amount: Amount,
        reference: Reference = "",
        wait_s: WaitS = 0.0,
        *,
        key: str,
    ) -> Transaction:
        if from_account == to_account:
            raise ServiceError(
                "transactions.same_account", "Name another account for the money to go to.", {"field": "to_account"}
            )
        terms = dict(from_account=from_account, to_account=to_account, reference=reference)
        return self._begun("transfer", customer_id, amount, dict(terms, amount=amount), wait_s, key, **terms)

    @rpc
    def reverse(
        self, transaction_id: str, reason: Reason, amount: Amount | None = None, wait_s: WaitS = 0.0, *, key: str
    ) -> Transaction:
        self.call.require_operator()
        claimed = f"{transaction_id}:reverse:{key}"
        asked = dict(reason=reason, amount=amount)
        with self.db.write() as session:
            if claim(session, claimed, "reverse", asked, "ok"):
                moving = self._reversal(transaction_id, reason, amount)
                _require_both_stay(session, moving)
                if not store.begin_reversal(session, transaction_id, moving.amount.amount):
                    raise _not_now(store.require(session, transaction_id))
                of = store.require(session, transaction_id)
                saga_id = self.sagas.start_saga(session, REVERSES[of.kind], moving.id, moving)
                store.add(session, moving, saga_id=saga_id, reason=reason)
                store_result(session, claimed, moving.id)
                reversal_id = moving.id
            else:
                reversal_id = str(answer(session, claimed, "reverse", asked, str))
        return self._settled(reversal_id, wait_s)

    @rpc
    def get(self, transaction_id: str) -> Transaction:
        with self.db.read() as session:
            row = store.get(session, transaction_id)
            if row is None or not self._may_see(row):
                raise _not_found(transaction_id)
            return store.view(session, row, self.call.is_staff())

    @rpc
    def find(
        self,
        customer_id: CustomerId,
        kind: Kind | None = None,
        status: Status | None = None,
        limit: Limit = 20,
        cursor: str | None = None,
    ) -> TransactionPage:
        if not self.call.is_staff():
            self._require_owner(customer_id)
        before = read_cursor(cursor, tuple[datetime, str], "transactions.bad_cursor")
        with self.db.read() as session:
            rows = store.find(session, customer_id, kind, status, limit + 1, before)
            more = encode_cursor((rows[limit - 1].created_at, rows[limit - 1].id)) if len(rows) > limit else None
            items = [store.view(session, row, self.call.is_staff(), with_timeline=False) for row in rows[:limit]]
        return TransactionPage(items=items, next_cursor=more)

    @rpc
    def deposits(self, after: str | None = None, limit: AuditLimit = 500) -> DepositMoneyPage:
        self.call.require_operator()
        with self.db.read() as session:
            items = store.deposits(session, after, limit)
        return DepositMoneyPage(items=items, next_after=items[-1].transaction_id if len(items) == limit else None)

    @handles(PaymentResolved)
    def on_payment_resolved(self, resolved: PaymentResolved) -> None:
        row = store.get(self.db.session, resolved.payment_id)
        if row is not None and row.saga_id is not None:
            told = dict(authorized=resolved.authorized, reason=resolved.reason)
            self.sagas.signal(self.db.session, row.saga_id, "challenge", told)

    @handles(DisputeMoved)
    def on_dispute_moved(self, moved: DisputeMoved) -> None:
        disputes.follow(self.db.session, moved)

    @handles(ReviewDecided)
    def on_review_decided(self, decided: ReviewDecided) -> None:
        row = store.get(self.db.session, decided.subject_id) if decided.kind in BEGINS else None
        if row is not None and row.saga_id is not None:
            told = dict(approved=decided.approved, reason=decided.reason)
            self.sagas.signal(self.db.session, row.saga_id, "review", told)

    @handles(PayOutSettled)
    def on_payout_settled(self, told: PayOutSettled) -> None:
        row = store.get(self.db.session, told.payout_id)
        if row is not None:
            self.sagas.start_saga(self.db.session, ARRIVE, row.id, Arrived(moving=_moving(row)))

    @handles(PayOutReturned)
    def on_payout_returned(self, told: PayOutReturned) -> None:
        row = store.note_return(self.db.session, told.payout_id, told.reason, told.settled)
        if row is not None and row.status == "completed":  # else its end takes this up
            self.sagas.start_saga(self.db.session, RETURN, row.id, returned(_moving(row), row))

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    # --- what the doors share

    def _begun(
        self,
        kind: RiskKind,
        customer_id: str,
        amount: Money,
        asked: dict[str, Any],
        wait_s: float,
        key: str,
        **terms: Any,
    ) -> Transaction:
        """Begin a transaction, once for each key."""
        self._require_owner(customer_id)
        claimed = f"{customer_id}:{kind}:{key}"
        with self.db.read() as session:
            known: str | None = peek(session, claimed, kind, asked, str)
        if known is None:
            known = self._begin(claimed, asked, self._checked(kind, customer_id, amount, terms))
        return self._settled(known, wait_s)

    def _checked(self, kind: RiskKind, customer_id: str, amount: Money, terms: dict[str, Any]) -> Moving:
        """The transaction as its saga gets it. What is refused here is advice: the saga's steps look again."""
        amount = Money(amount=amount.amount, currency=amount.currency)
        require_in_range(limits_of(self.settings.transactions_limits, kind, amount.currency), amount)
        profile = call_async(self.users.profile, customer_id)
        own = terms.get("from_account") or terms["to_account"]
        account = self.accounts.get(own)
        if account.customer_id != customer_id:
            raise _no_account(own)
        require_usable(account, amount.currency)
        receiver = self._receiver(terms["to_account"], amount) if kind == "transfer" else None
        who = profile.result()
        if kind == "deposit":
            terms = dict(terms, method=_card(who, terms["method"]))
        else:
            terms = dict(terms, opened_at=account.created_at, balance=account.balance.available.amount)
        return Moving(
            id=uuid.uuid4().hex,
            kind=kind,
            customer_id=customer_id,
            email=who.email,
            name=who.name,
            amount=amount,
            fee=fee_of(self.settings.transactions_fees, kind, amount),
            receiver_id=receiver.customer_id if receiver else None,
            without_risk=self.settings.passes(kind, amount),
            **terms,
        )

    def _receiver(self, account_id: str, amount: Money) -> Account:
        account = tuned(self.accounts, caller=SERVICE).get(account_id)
        if account.customer_id is None:
            raise _no_account(account_id)
        require_usable(account, amount.currency)
        return account

    def _begin(self, claimed: str, asked: dict[str, Any], moving: Moving) -> str:
        """The one transaction in which the claim of the key, the row, what it uses of the limits and its saga come to
        be."""
        limits = limits_of(self.settings.transactions_limits, moving.kind, moving.amount.currency)
        with self.db.write() as session:
            if not claim(session, claimed, moving.kind, asked, "ok"):
                return str(answer(session, claimed, moving.kind, asked, str))
            _require_both_stay(session, moving)
            if store.use(session, moving, limits):
                saga_id = self.sagas.start_saga(session, BEGINS[moving.kind], moving.id, moving)
                store.add(session, moving, saga_id=saga_id)
            else:
                code = "transactions.limit_exceeded"
                store.add(session, moving, "rejected", reason_code=code, reason=reason_for(code))
                store.tell(session, moving.id)
            store_result(session, claimed, moving.id)
            return moving.id

    def _reversal(self, transaction_id: str, reason: str, amount: Money | None) -> Moving:
        of = store.get(self.db.session, transaction_id)
        if of is None:
            raise _not_found(transaction_id)
        left = left_of(of)
        exceeds = amount is not None and (amount.currency != of.currency or not 0 < amount.amount <= left)
        if exceeds or (of.status == "completed" and not left):
            raise ServiceError(
                "transactions.reversal_exceeds_rest", f"Only {left} {of.currency} are left of it.", {"left": left}
            )
        taken = left if amount is None else amount.amount
        if taken <= 0 or of.kind not in REVERSIBLE:
            raise _not_now(of)
        return Moving(
            id=uuid.uuid4().hex,
            kind="reversal",
            customer_id=of.customer_id,
            receiver_id=of.receiver_id,
            email=of.email,
            name=of.name,
            amount=Money(amount=taken, currency=of.currency),
            fee=Money(amount=0, currency=of.currency),
            from_account=of.to_account,
            to_account=of.from_account,
            reference=reason[:140],
            reverses=of.id,
            corrects=of.entry_id,
        )

    def _require_owner(self, customer_id: str) -> None:
        if not self.call.owns(customer_id):
            raise ServiceError("auth.forbidden", "Money is moved by its owner alone.")

    def _may_see(self, row: Row[Any]) -> bool:
        receives = row.receiver_id is not None and row.status in ("completed", "reversed")
        return self.call.is_staff() or self.call.owns(row.customer_id) or (receives and self.call.owns(row.receiver_id))

    def _settled(self, transaction_id: str, wait_s: float) -> Transaction:
        """The transaction, once its saga has ended or the time is up."""
        give_up_at = time.monotonic() + wait_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            with self.db.read() as session:
                saga_id = store.unsettled_saga_of(session, transaction_id)
            if saga_id is None or self.sagas.wait_for_end(saga_id, min(left_s, LOOK_AGAIN_S)):
                break
        return self.get(transaction_id=transaction_id)


def _require_both_stay(session: Session, moving: Moving) -> None:
    """Raises ServiceError. In one order, so that two that go opposite ways do not wait for each other."""
    for customer_id in sorted({moving.customer_id, moving.receiver_id or moving.customer_id}):
        require_staying(session, customer_id)


def _moving(row: Row[Any]) -> Moving:
    """A withdrawal's row as its sagas get it."""
    return Moving(
        id=row.id,
        kind=row.kind,
        customer_id=row.customer_id,
        email=row.email,
        name=row.name,
        amount=Money(amount=row.amount, currency=row.currency),
        fee=Money(amount=row.fee, currency=row.currency),
        from_account=row.from_account,
        iban=row.iban,
    )


def _card(profile: Profile, asked: PaymentMethod) -> PaymentMethod:
    """The card to take the money from: a saved one of the customer's, named by its token."""
    if asked.type == "card" and asked.id is not None:
        saved = next((each for each in profile.payment_methods if each.id == asked.id), None)
        if saved is not None:
            return msgspec.structs.replace(asked, id=None, token=saved.token)
    elif asked.type == "card" and asked.token:
        return asked
    raise ServiceError(
        "transactions.unknown_payment_method",
        'Deposit from {"type": "card", "token": …}, or from a saved card of yours, {"id": …}.',
        {"field": "payment_method"},
    )


def _not_now(of: Row[Any]) -> ServiceError:
    """Why a transaction cannot be reversed."""
    if of.kind not in REVERSIBLE:
        return ServiceError("transactions.not_reversible", f"A {of.kind} cannot be reversed.")
    if of.status != "completed":
        return ServiceError("transactions.not_completed", f"It is {of.status}: only a completed one is reversed.")
    return ServiceError("transactions.in_progress", "Another reversal of it is under way.", {"retry_after_s": 1})


def _no_account(account_id: str) -> ServiceError:
    return ServiceError("accounts.not_found", f"There is no account {account_id!r}.")


def _not_found(transaction_id: str) -> ServiceError:
    return ServiceError("transactions.not_found", f"There is no transaction {transaction_id!r}.")
