"""transactions: money of customers on its way: deposits, withdrawals, transfers and reversals, each a saga."""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.accounts import AccountId, CustomerId
from contracts.common import Amount, DisputeState, PaymentMethod, TimelineEntry
from contracts.operations import DeadLettersApi, SagasApi
from contracts.privacy import PrivacyApi

Kind = Literal["deposit", "withdrawal", "transfer", "reversal"]
Status = Literal["pending", "in_review", "completed", "rejected", "reversed"]
"""`reversed`: all of a completed one was taken back, by reversals or a returned withdrawal."""
Iban = Annotated[str, msgspec.Meta(min_length=5, max_length=42)]
Reference = Annotated[str, msgspec.Meta(max_length=140)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]
AuditLimit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
WaitS = Annotated[float, msgspec.Meta(ge=0, le=60)]


class Transaction(Message):
    """`amount` is what the customer asked for, `fee` comes on top. `reason_code` and `reason` (in words) say why it was
    rejected or reversed. `action_url`: where the customer has to approve a card payment, while it waits for that.

    `reversed_amount` is what was taken back so far; `reverses` the transaction that a reversal takes back.
    """

    id: str
    kind: str
    status: str
    customer_id: str
    amount: Money
    fee: Money
    reversed_amount: Money
    created_at: datetime
    updated_at: datetime
    timeline: list[TimelineEntry]
    from_account: str | None = None
    to_account: str | None = None
    iban: str | None = None
    reference: str = ""
    reverses: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    action_url: str | None = None
    disputes: list[DisputeState] = []


class TransactionPage(Message):
    """Newest first; timelines are left out."""

    items: list[Transaction]
    next_cursor: str | None


class DepositMoney(Message):
    """What a deposit should have left at the acquirer, in minor units. `settled`: nothing of it moves."""

    transaction_id: str
    due: int
    currency: str
    settled: bool
    updated_at: datetime


class DepositMoneyPage(Message):
    items: list[DepositMoney]
    next_after: str | None


@event("transactions", "transaction_ended", subscribers=("notifications.on_transaction_ended",))
class TransactionEnded(Event):
    """aggregate_id is the transaction's id. `status`: completed, rejected or reversed."""

    customer_id: str
    email: str
    name: str
    kind: str
    status: str
    amount: Money
    reason: str | None = None


@event("transactions", "transaction_disputed", subscribers=("notifications.on_transaction_disputed",))
class TransactionDisputed(Event):
    """A dispute of a deposit's payment was opened, won by the house, or lost: `status`; aggregate_id is the deposit's
    id."""

    customer_id: str
    email: str
    name: str
    kind: str
    dispute_id: str
    amount: Money
    status: str


@event(
    "transactions",
    "sagas_forgotten",
    subscribers=(
        "accounts.on_transactions_forgotten",
        "payments.on_transactions_forgotten",
        "risk.on_transactions_forgotten",
    ),
)
class TransactionsForgotten(Event):
    """These sagas of transactions' ended long ago and were removed: whoever kept rows for them may remove those too."""

    saga_ids: list[str]


BEFORE = (
    "accounts.not_found",
    "accounts.frozen",
    "accounts.closed",
    "accounts.currency_mismatch",
    "transactions.amount_out_of_range",
)
"""What is refused before a transaction begins."""


@api("transactions")
class TransactionsApi(SagasApi, DeadLettersApi, PrivacyApi, Protocol):
    """Each begins a saga; with `wait_s` the answer is the transaction at its end, or as it is when the time is up."""

    name: str

    @refuses(*BEFORE, "transactions.unknown_payment_method")
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
        """From a card to an account of the customer's."""
        ...

    @refuses(*BEFORE, "transactions.bad_iban")
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
        """From an account of the customer's to a bank account."""
        ...

    @refuses(*BEFORE, "transactions.same_account")
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
        """From an account of the customer's to anybody's, in the same currency."""
        ...

    @refuses(
        "transactions.not_found",
        "transactions.not_completed",
        "transactions.not_reversible",
        "transactions.reversal_exceeds_rest",
        "transactions.in_progress",
    )
    def reverse(
        self, transaction_id: str, reason: Reason, amount: Amount | None = None, wait_s: WaitS = 0.0, *, key: str
    ) -> Transaction:
        """Take back a completed transfer or deposit: all that is left of it, or `amount` (operators). It is a
        transaction of its own, of kind `reversal`; one at a time."""
        ...

    @refuses("transactions.not_found")
    def get(self, transaction_id: str) -> Transaction:
        """One transaction with its timeline: one's own (a transfer is also the receiver's, once completed)."""
        ...

    @refuses("transactions.bad_cursor")
    def find(
        self,
        customer_id: CustomerId,
        kind: Kind | None = None,
        status: Status | None = None,
        limit: Limit = 20,
        cursor: str | None = None,
    ) -> TransactionPage:
        """A customer's transactions, newest first."""
        ...

    def deposits(self, after: str | None = None, limit: AuditLimit = 500) -> DepositMoneyPage:
        """For the audit: what each deposit should hold, in the order of their ids (operators)."""
        ...
