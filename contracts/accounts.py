"""accounts: the ledger. Who holds how much, and every movement of it, in double entry.

Amounts in postings are signed minor units: a debit is above zero, a credit below, and an entry's postings sum to zero
in each currency. Balances are shown as an owner reads them: assets and expenses grow by debits, liabilities, income and
equity by credits.

The house's own accounts have a role and one id in each currency, `{role}.{currency}` such as `sales.EUR`; they are
there as soon as something is posted to them. Accounts of customers have ids that are made up.
"""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.operations import DeadLettersApi
from contracts.privacy import PrivacyApi

AccountId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[!-~]+$")]
CustomerId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
EntryKey = Annotated[str, msgspec.Meta(min_length=1, max_length=300, pattern="^[!-~]+$")]
HoldId = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern="^[!-~]+$")]
"""The client's name of what it holds, such as a transaction's id: it is settled or voided by it."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Subject = Annotated[str, msgspec.Meta(max_length=100)]
Memo = Annotated[str, msgspec.Meta(max_length=200)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Month = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
BlockNumber = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]
AuditLimit = Annotated[int, msgspec.Meta(ge=1, le=1000)]

AccountType = Literal["asset", "liability", "income", "expense"]
AccountStatus = Literal["open", "frozen", "closed"]
EntryState = Literal["pending", "posted", "voided"]


class Balance(Message):
    """`posted` is what is there; `pending_in` is on its way in and cannot be spent yet; `pending_out` is set aside;
    `available` = posted - pending_out."""

    posted: Money
    pending_in: Money
    pending_out: Money
    available: Money


class Account(Message):
    """A customer's (then `customer_id` is whose), or one of the house's (then `role` is what for)."""

    id: str
    type: str
    currency: str
    name: str
    status: str
    balance: Balance
    created_at: datetime
    customer_id: str | None = None
    role: str | None = None


class Posting(Message, forbid_unknown_fields=True):
    """One side of an entry: above zero a debit, below a credit; never zero."""

    account_id: AccountId
    amount: Money


Postings = Annotated[list[Posting], msgspec.Meta(min_length=2, max_length=100)]


class NewEntry(Message, forbid_unknown_fields=True):
    """What is to be booked. `subject` is what it is about, such as `order:4711`. `corrects`: the id of the entry that
    this one puts right."""

    postings: Postings
    kind: Kind
    subject: Subject = ""
    memo: Memo = ""
    corrects: str | None = None


class Entry(Message):
    """A journal entry as it was written; it never changes.

    A two-phase entry is written as `pending`; what ends it is an entry of its own that names it by `ends`: `posted`,
    with what was taken, or `voided`. `state` is what has become of it by now. `block` is None until it is sealed.
    """

    id: str
    state: str
    kind: str
    subject: str
    memo: str
    postings: list[Posting]
    at: datetime
    ends: str | None = None
    corrects: str | None = None
    block: int | None = None


class KeyedEntry(NewEntry, forbid_unknown_fields=True, kw_only=True):
    """One of a batch. `key` says which it is: the same key with the same input is booked once. With a `hold_id` it is
    held, as by `hold`."""

    key: EntryKey
    hold_id: HoldId | None = None


class Booked(Message):
    """What became of one of a batch: its entry's id, or the first of the result codes that applies."""

    key: str
    code: str
    entry_id: str | None = None
    message: str = ""


class AccountLine(Message):
    """One posting as the account's owner sees it: `amount` above zero came in. `balance` is the posted one after it."""

    entry_id: str
    at: datetime
    kind: str
    subject: str
    memo: str
    state: str
    amount: Money
    balance: Money


class AccountLinePage(Message):
    """Newest first."""

    items: list[AccountLine]
    next_cursor: str | None


class Statement(Message):
    """A month of an account, in UTC, oldest first; pending entries are not in it. At most 10,000
    lines."""

    account_id: str
    month: str
    opening: Money
    closing: Money
    lines: list[AccountLine]


class TrialLine(Message):
    """All accounts of one role (or of customers, then `role` is `customers`) in one currency: posted, minor units."""

    role: str
    type: str
    currency: str
    accounts: int
    debit: int
    credit: int


class TrialBalance(Message):
    """`holds`: debits equal credits in every currency."""

    holds: bool
    lines: list[TrialLine]
    at: datetime


class RoleSum(Message):
    """What was posted to a role of the house's (or to `customers`) in one currency, in minor units: debits less
    credits."""

    role: str
    currency: str
    amount: int


class SubjectSums(Message):
    """All that was posted about one subject, by role; nothing where all of it is pending, or was let go."""

    subject: str
    sums: list[RoleSum]
    updated_at: datetime


class SubjectSumsPage(Message):
    items: list[SubjectSums]
    next_after: str | None


class Broken(Message):
    """What `verify` found: `what` is chain, block, entry, posting or balance; `id` names the row."""

    what: str
    id: str
    text: str


class Verification(Message):
    """`broken` is cut at 100. `unsealed` entries wait for the next block; `head` is the hash of the last
    block, whose number is `blocks` unless one is missing."""

    holds: bool
    blocks: int
    entries: int
    unsealed: int
    head: str
    broken: list[Broken]


class Proposal(Message):
    """A manual entry: `proposed`, `booked` (then `entry_id`) or `declined`. A second operator decides."""

    id: str
    status: str
    entry: NewEntry
    reason: str
    proposed_by: str
    decided_by: str | None
    entry_id: str | None
    created_at: datetime


@event("accounts", "account_status_changed")
class AccountStatusChanged(Event):
    """aggregate_id is the account's id. `status`: open, frozen or closed."""

    customer_id: str
    status: str
    reason: str


BOOKING = (
    "accounts.key_reused",
    "accounts.unbalanced",
    "accounts.unknown_role",
    "accounts.unknown_currency",
    "accounts.not_found",
    "accounts.currency_mismatch",
    "accounts.closed",
    "accounts.frozen",
    "accounts.corrects_unknown",
    "accounts.hold_exists",
    "accounts.insufficient_funds",
    "accounts.amount_overflow",
)
"""Why an entry is not booked, in the order in which they are looked for: the first that applies is said. A key that was
booked before with the same input answers its entry, whatever has become of the accounts since."""


@api("accounts")
class AccountsApi(DeadLettersApi, PrivacyApi, Protocol):
    """Booking is for services (and operators at the broker); customers open accounts and look."""

    name: str

    @refuses("accounts.unknown_currency", "accounts.too_many")
    def open(self, customer_id: CustomerId, currency: Currency, name: Name, *, key: str) -> Account:
        """A new account of a customer's: a liability that may not go below zero. At most 20 for each customer,
        closed ones among them."""
        ...

    @refuses("accounts.not_found")
    def get(self, account_id: AccountId) -> Account:
        """One account: one's own, or any for services and staff."""
        ...

    def of_customer(self, customer_id: CustomerId) -> list[Account]:
        """A customer's accounts, the oldest first."""
        ...

    @refuses("accounts.not_found", "accounts.bad_cursor")
    def entries(self, account_id: AccountId, limit: Limit = 50, cursor: str | None = None) -> AccountLinePage:
        """What moved on an account, with the running balance, newest first."""
        ...

    @refuses("accounts.not_found")
    def balance_at(self, account_id: AccountId, at: datetime) -> Money:
        """What was posted on an account at a moment: all entries written up to and with it.

        Of the last seconds more may come: an entry's moment is a little before its commit.
        """
        ...

    @refuses("accounts.not_found", "accounts.statement_too_long")
    def statement(self, account_id: AccountId, month: Month) -> Statement:
        """A month of an account (UTC)."""
        ...

    @refuses(*BOOKING)
    def book(self, entry: NewEntry, *, key: EntryKey) -> Entry:
        """Write an entry that counts at once. All of its postings, or none."""
        ...

    def book_batch(
        self, entries: Annotated[list[KeyedEntry], msgspec.Meta(min_length=1, max_length=1000)]
    ) -> list[Booked]:
        """Write up to 1,000 entries, each alone, in their order: a result for each. Its own key makes each happen once,
        so a batch may be sent again whole."""
        ...

    @refuses(*BOOKING)
    def hold(self, hold_id: HoldId, entry: NewEntry, *, key: EntryKey) -> Entry:
        """Write a pending entry: its credits to customers count as pending in, its debits of theirs are set aside.

        Once for each `hold_id`, also after it was let go.
        """
        ...

    @refuses("accounts.not_pending")
    def release(self, hold_id: HoldId, entry: NewEntry, *, key: EntryKey) -> None:
        """Undo of `hold`, by its key: the pending entry is voided, if nobody voided it before.

        `accounts.not_pending`: it was settled; somebody has to look at it.
        """
        ...

    @refuses("accounts.key_reused", "accounts.not_pending", "accounts.exceeds_pending", "accounts.not_found")
    def settle(self, hold_id: HoldId, amount: Money | None = None, *, key: EntryKey) -> Entry:
        """Post what is held: all of it, or `amount` where the entry has two postings; the rest is let go.

        Once for each hold; retriable. It works on frozen accounts: the hold was allowed.
        """
        ...

    @refuses("accounts.key_reused", "accounts.not_pending", "accounts.not_found")
    def void(self, hold_id: HoldId, *, key: EntryKey) -> Entry:
        """Let go what is held, for what is known to have been held. Retriable."""
        ...

    @refuses("accounts.not_found")
    def entry(self, entry_id: str) -> Entry:
        """One journal entry: for services and staff."""
        ...

    @refuses("accounts.not_found", "accounts.closed")
    def freeze(self, account_id: AccountId, reason: Reason, *, key: str) -> Account:
        """Nothing more goes out or in, but what is already held; its owner (or an operator) does it.
        Only an operator unfreezes."""
        ...

    @refuses("accounts.not_found", "accounts.closed")
    def unfreeze(self, account_id: AccountId, reason: Reason, *, key: str) -> Account:
        """Operators."""
        ...

    @refuses("accounts.not_found", "accounts.not_empty")
    def close(self, account_id: AccountId, reason: Reason, *, key: str) -> Account:
        """For ever, and only at a balance of zero with nothing pending (operators)."""
        ...

    def trial_balance(self) -> TrialBalance:
        """Debits and credits of every role (operators)."""
        ...

    def sums_by_subject(
        self, prefix: Subject, after: Subject | None = None, limit: AuditLimit = 500
    ) -> SubjectSumsPage:
        """For the audit: what was posted about each subject that begins so, such as `order:`, in the order of the
        subjects; `after` is the last one seen (operators)."""
        ...

    def verify(self, block: BlockNumber | None = None, block_hash: Hash | None = None) -> Verification:
        """Walk the chain of sealed blocks, and recompute every balance from the entries (operators). It reads all.

        `block` and `block_hash`: a block as it was kept elsewhere, which has to be in the chain.
        """
        ...

    @refuses(*BOOKING)
    def propose(self, entry: NewEntry, reason: Reason, *, key: str) -> Proposal:
        """A manual entry, checked, and kept until a second operator decides."""
        ...

    @refuses("accounts.not_found", "accounts.same_operator", "accounts.decided", *BOOKING)
    def approve(self, proposal_id: str, *, key: str) -> Proposal:
        """Book a proposal of another operator's."""
        ...

    @refuses("accounts.not_found", "accounts.decided")
    def decline(self, proposal_id: str, reason: Reason, *, key: str) -> Proposal:
        """Give a proposal up."""
        ...

    def proposals(self) -> list[Proposal]:
        """The latest 100, newest first (operators)."""
        ...
