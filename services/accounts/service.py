"""accounts: the ledger. Nothing in it is created or lost: each entry's debits and credits are equal."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from logging import getLogger
from typing import Annotated, TypeVar

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.commands import KEY_LENGTH, command, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.events import handles
from chassis.outbox import Relay
from chassis.periodic import every
from chassis.privacy import PrivacyOperations, require_staying
from chassis.privacy_types import Person
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Message, Money
from contracts import accounts as contract
from contracts.accounts import (
    Account,
    AccountId,
    AccountLinePage,
    AccountsApi,
    AuditLimit,
    BlockNumber,
    Booked,
    Currency,
    CustomerId,
    Entry,
    EntryKey,
    Hash,
    HoldId,
    KeyedEntry,
    Limit,
    Month,
    Name,
    NewEntry,
    Proposal,
    Reason,
    Statement,
    Subject,
    SubjectSumsPage,
    TrialBalance,
    Verification,
)
from contracts.orders import SagasForgotten
from contracts.payments import DisputeMoved, GiftCardIssued
from contracts.transactions import TransactionsForgotten
from contracts.users import PrivacyForgotten
from services.accounts import books, holders, proposals, sealing, store
from services.accounts.domain import dispute_entry, granted
from services.accounts.models import Base
from services.accounts.privacy import KINDS

R = TypeVar("R")

log = getLogger("rialto.ledger")

BATCH = 100
"""Entries of a batch that are written in one transaction."""
BLOCKS = 50
"""Blocks that are sealed in one turn."""
TRIES = 3
"""So often is booked again what met another call with the same key."""


class AccountsSettings(Message):
    """See config.yaml."""

    accounts_stripes: Annotated[int, msgspec.Meta(ge=1, le=64)]


class AccountsService(DeadLetterOperations, PrivacyOperations):
    name = "accounts"
    kinds = KINDS

    call = provided(Call, CallContext(AccountsApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(kinds=KINDS)
    relay = Relay()
    settings = provided(AccountsSettings, Settings(AccountsSettings))

    # --- customers' accounts

    @command
    def open(self, customer_id: CustomerId, currency: Currency, name: Name, *, key: str) -> Account:
        self._require_owner(customer_id)
        require_staying(self.db.session, customer_id)
        return books.get(self.db.session, holders.open_account(self.db.session, customer_id, currency, name))

    @rpc
    def get(self, account_id: AccountId) -> Account:
        with self.db.read() as session:
            return self._visible(session, account_id)

    @rpc
    def of_customer(self, customer_id: CustomerId) -> list[Account]:
        if not self.call.is_staff():
            self._require_owner(customer_id)
        with self.db.read() as session:
            return books.of_customer(session, customer_id)

    @rpc
    def entries(self, account_id: AccountId, limit: Limit = 50, cursor: str | None = None) -> AccountLinePage:
        with self.db.read() as session:
            return books.lines(session, self._visible(session, account_id), limit, cursor)

    @rpc
    def balance_at(self, account_id: AccountId, at: datetime) -> Money:
        if at.tzinfo is None:
            raise ServiceError("request.invalid", "Say in which time zone.", {"field": "at"})
        with self.db.read() as session:
            return books.balance_at(session, self._visible(session, account_id), at)

    @rpc
    def statement(self, account_id: AccountId, month: Month) -> Statement:
        with self.db.read() as session:
            return books.statement(session, self._visible(session, account_id), month)

    @command
    def freeze(self, account_id: AccountId, reason: Reason, *, key: str) -> Account:
        row = holders.hold_still(self.db.session, account_id)
        if not self.call.owns(row.customer_id):
            self.call.require_operator()
        holders.turn(self.db.session, row, "frozen", reason)
        return books.get(self.db.session, account_id)

    @command
    def unfreeze(self, account_id: AccountId, reason: Reason, *, key: str) -> Account:
        self.call.require_operator()
        holders.turn(self.db.session, holders.hold_still(self.db.session, account_id), "open", reason)
        return books.get(self.db.session, account_id)

    @command
    def close(self, account_id: AccountId, reason: Reason, *, key: str) -> Account:
        self.call.require_operator()
        holders.close(self.db.session, holders.hold_still(self.db.session, account_id), reason)
        return books.get(self.db.session, account_id)

    # --- booking. An entry's key is kept as long as the entry, so these two need no other memory of what was done.

    @rpc
    def book(self, entry: NewEntry, *, key: EntryKey) -> Entry:
        self.call.require_trusted()
        return self._booked(lambda session: store.book_one(session, self._ledger(), store.Wanted(key, entry)))

    @rpc
    def book_batch(
        self, entries: Annotated[list[KeyedEntry], msgspec.Meta(min_length=1, max_length=1000)]
    ) -> list[Booked]:
        self.call.require_trusted()
        wanted = [store.Wanted(each.key, each, each.hold_id) for each in entries]
        results: list[Booked] = []
        for start in range(0, len(wanted), BATCH):
            part = functools.partial(store.book, ledger=self._ledger(), wanted=wanted[start : start + BATCH])
            results += self._booked(part)
        return results

    @command
    def hold(self, hold_id: HoldId, entry: NewEntry, *, key: EntryKey) -> Entry:
        self.call.require_trusted()
        return store.book_one(self.db.session, self._ledger(), store.Wanted(key, entry, hold_id))

    @undo
    def release(self, hold_id: HoldId, entry: NewEntry, *, key: EntryKey) -> None:
        try:
            store.end(self.db.session, self._ledger(), hold_id, "voided", None, f"release:{key}"[:KEY_LENGTH])
        except ServiceError as exc:
            if exc.details.get("state") != "voided":  # by an operator, before the saga turned round
                raise

    @command(retriable=True)
    def settle(self, hold_id: HoldId, amount: Money | None = None, *, key: EntryKey) -> Entry:
        self.call.require_trusted()
        return store.end(self.db.session, self._ledger(), hold_id, "settled", amount, key)

    @command(retriable=True)
    def void(self, hold_id: HoldId, *, key: EntryKey) -> Entry:
        self.call.require_trusted()
        return store.end(self.db.session, self._ledger(), hold_id, "voided", None, key)

    @rpc
    def entry(self, entry_id: str) -> Entry:
        self.call.require_staff()
        with self.db.read() as session:
            return store.get(session, store.number_of(entry_id))

    # --- manual entries

    @command
    def propose(self, entry: NewEntry, reason: Reason, *, key: str) -> Proposal:
        self.call.require_operator()
        return proposals.propose(self.db.session, self._ledger(), entry, reason)

    @command(retriable=True)
    def approve(self, proposal_id: str, *, key: str) -> Proposal:
        self.call.require_operator()
        return proposals.approve(self.db.session, self._ledger(), proposal_id)

    @command(retriable=True)
    def decline(self, proposal_id: str, reason: Reason, *, key: str) -> Proposal:
        self.call.require_operator()
        return proposals.decline(self.db.session, self._ledger(), proposal_id, reason)

    @rpc
    def proposals(self) -> list[Proposal]:
        self.call.require_operator()
        with self.db.read() as session:
            return proposals.newest(session)

    # --- the books as a whole

    @rpc
    def trial_balance(self) -> TrialBalance:
        self.call.require_operator()
        with self.db.read() as session:
            return books.trial_balance(session)

    @rpc
    def sums_by_subject(
        self, prefix: Subject, after: Subject | None = None, limit: AuditLimit = 500
    ) -> SubjectSumsPage:
        self.call.require_operator()
        with self.db.read() as session:
            return books.sums_by_subject(session, prefix, after, limit)

    @rpc
    def verify(self, block: BlockNumber | None = None, block_hash: Hash | None = None) -> Verification:
        self.call.require_operator()
        if (block is None) != (block_hash is None):
            raise ServiceError("request.invalid", "Give a block with its hash, or neither.", {"field": "block_hash"})
        with self.db.read() as session:
            return sealing.verify(session, (block, block_hash) if block and block_hash else None)

    @every("seal_every_s")
    def seal(self) -> None:
        for _ in range(BLOCKS):
            with self.db.read() as session:
                if not sealing.is_anything_loose(session):
                    return
            with self.db.write() as session:
                sealed = sealing.seal(session)
            if sealed is None:
                return
            log.info("sealed", extra=asdict(sealed))

    @handles(GiftCardIssued)
    def on_gift_card_issued(self, told: GiftCardIssued) -> None:
        self._book(f"gift_card:{told.gift_card_id}", granted(told.gift_card_id, told.amount))

    @handles(DisputeMoved)
    def on_dispute_moved(self, moved: DisputeMoved) -> None:
        self._book(*dispute_entry(moved))

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)

    @handles(TransactionsForgotten)
    def on_transactions_forgotten(self, told: TransactionsForgotten) -> None:
        forget_sagas(self.db.session, "transactions", told.saga_ids)

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    def before_erasing(self, person: Person) -> None:
        holders.close_all(self.db.session, person.customer_id, "the customer has left")

    def _book(self, key: str, entry: contract.NewEntry) -> None:
        """Book what payments told of, in the commit that notes that it was heard."""
        ledger = store.Ledger(self.settings.accounts_stripes, "payments")
        store.book_one(self.db.session, ledger, store.Wanted(key, entry))

    def _ledger(self) -> store.Ledger:
        return store.Ledger(self.settings.accounts_stripes, self.call.author())

    def _booked(self, book: Callable[[Session], R]) -> R:
        for _ in range(TRIES):
            try:
                with self.db.write() as session:
                    return book(session)
            except IntegrityError as exc:
                if "ck_" in str(exc.orig):  # a constraint, which the checks should have kept
                    raise
                # another call took the key meanwhile: its entry is found now
        raise OutcomeUnknown("accounts", "others booked under the same keys at the same time")

    def _require_owner(self, customer_id: str) -> None:
        if not self.call.owns(customer_id):
            raise ServiceError("auth.forbidden", "This is another customer's.")

    def _visible(self, session: Session, account_id: str) -> contract.Account:
        """One's own account; any one for services and staff."""
        account = books.get(session, account_id)
        if not self.call.is_staff() and not self.call.owns(account.customer_id):
            raise ServiceError("accounts.not_found", f"There is no account {account_id!r}.")
        return account
