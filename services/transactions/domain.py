"""The rules of transactions: states, fees, limits, postings, and the words for a rejection. Pure: no I/O."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from stdnum import iban as ibans
from stdnum.exceptions import ValidationError

from chassis.errors import ServiceError
from chassis.types import Message, Money
from contracts.accounts import Account, NewEntry, Posting
from contracts.common import PaymentMethod
from contracts.risk import Kind, Subject, WithoutRisk

STATES: dict[str, frozenset[str]] = {
    "pending": frozenset({"in_review", "completed", "rejected"}),
    "in_review": frozenset({"completed", "rejected"}),
    "completed": frozenset({"reversed"}),
    "rejected": frozenset(),
    "reversed": frozenset(),
}
"""From each state, where a transaction may go."""

UNSETTLED = ("pending", "in_review")
REVERSIBLE = ("transfer", "deposit")

MAY_COME_BACK = timedelta(days=14)
"""So long after it was sent a withdrawal may still come back: ten days of banks, with their weekends."""

BANK, IN_TRANSIT, RECEIVABLE, FEES = "bank", "payouts_in_transit", "acquirer_receivable", "fees"
"""Roles of the house's accounts that money goes through on its way."""

REASONS = {
    "accounts.insufficient_funds": "There is not enough money on the account.",
    "accounts.frozen": "The account is frozen. Please contact our customer service.",
    "accounts.closed": "The account is closed.",
    "payments.declined": "Your card was declined. Please check it, or pay with another one.",
    "payments.unknown_token": "Your card is not known to the card processor. Please enter it again.",
    "payments.capture_refused": "Your bank refused the payment. Please pay with another card.",
    "payments.payout_refused": "The bank does not send money to this account. Nothing was taken.",
    "payments.payout_returned": "The bank account did not take the money. It is back on your account.",
    "risk.refused": "We cannot carry this out. Please contact our customer service.",
    "saga.deadline": "It took too long. No money was moved.",
    "transactions.challenge_expired": "The payment was not approved at your bank in time. You were not charged.",
    "transactions.challenge_refused": "The payment was not approved at your bank. You were not charged.",
    "transactions.not_screened": "We cannot check it just now. No money was moved: please try again later.",
    "transactions.review_expired": "It could not be looked at in time. No money was moved.",
    "transactions.review_refused": "It was not approved. Please contact our customer service.",
    "transactions.limit_exceeded": "This is more than you can move in this time. Please try again later, or less.",
}
"""Why a transaction was rejected or reversed, for the customer."""


class Fee(Message):
    """So many permille of the amount, rounded half up, and so many minor units more."""

    permille: int = 0
    fixed_minor: int = 0


class Limits(Message):
    """Minor units: of one transaction, and of a customer's in a day (UTC) and in that and the 29 before it."""

    smallest: int
    largest: int
    per_day: int
    per_30_days: int


class TransactionSettings(WithoutRisk):
    """All by kind; limits then by currency, `default` stands in for those not named."""

    transactions_fees: dict[str, Fee]
    transactions_limits: dict[str, dict[str, Limits]]


class Moving(Message):
    """What the sagas' steps are made from; fixed when the transaction begins.

    A reversal `reverses` a transaction, whose entry it `corrects`. `opened_at` and `balance` are of the account that
    money leaves, when it began; `without_risk`: it may go on so.
    """

    id: str
    kind: str
    customer_id: str
    email: str
    name: str
    amount: Money
    fee: Money
    from_account: str | None = None
    to_account: str | None = None
    receiver_id: str | None = None
    iban: str | None = None
    reference: str = ""
    method: PaymentMethod | None = None
    reverses: str | None = None
    corrects: str | None = None
    opened_at: datetime | None = None
    balance: int | None = None
    without_risk: bool = False

    def total(self) -> Money:
        """The amount with the fee."""
        return Money(amount=self.amount.amount + self.fee.amount, currency=self.amount.currency)


def reason_for(code: str) -> str:
    """The sentence for a rejection's code."""
    return REASONS.get(code, "It could not be carried out. No money was moved.")


def fee_of(fees: Mapping[str, Fee], kind: str, amount: Money) -> Money:
    fee = fees.get(kind, Fee())
    return Money(amount=(amount.amount * fee.permille + 500) // 1000 + fee.fixed_minor, currency=amount.currency)


def limits_of(limits: Mapping[str, Mapping[str, Limits]], kind: str, currency: str) -> Limits:
    by_currency = limits[kind]
    return by_currency.get(currency) or by_currency["default"]


def require_in_range(limits: Limits, amount: Money) -> None:
    if not limits.smallest <= amount.amount <= limits.largest:
        raise ServiceError(
            "transactions.amount_out_of_range",
            f"The amount is {limits.smallest} to {limits.largest} minor units.",
            {"field": "amount.amount", "smallest": limits.smallest, "largest": limits.largest},
        )


def iban_of(text: str) -> str:
    """An IBAN in its electronic form. Raises ServiceError."""
    try:
        compact: str = ibans.validate(text, check_country=False)
    except ValidationError:
        raise ServiceError(
            "transactions.bad_iban", "This is not an IBAN: please compare it digit by digit.", {"field": "iban"}
        ) from None
    return compact


def require_usable(account: Account, currency: str) -> None:
    """Whether money may come to an account, or go, by what is known before it begins. Raises ServiceError."""
    if account.status != "open":
        raise ServiceError(f"accounts.{account.status}", reason_for(f"accounts.{account.status}"))
    if account.currency != currency:
        raise ServiceError(
            "accounts.currency_mismatch", f"The account is in {account.currency}.", {"field": "amount.currency"}
        )


def subject_of(moving: Moving) -> Subject:
    """A deposit, withdrawal or transfer as risk sees it."""
    return Subject(
        kind=msgspec.convert(moving.kind, Kind),
        id=moving.id,
        customer_id=moving.customer_id,
        amount=moving.amount,
        email=moving.email,
        account_id=moving.from_account or moving.to_account,
        account_opened_at=moving.opened_at,
        balance=moving.balance,
        card=moving.method.token if moving.method else None,
        payee=moving.iban or (moving.to_account if moving.from_account else None),
    )


# --- postings: above zero a debit, below a credit


def entry(moving: Moving, moves: Sequence[tuple[str | None, int]], kind: str | None = None) -> NewEntry:
    """An entry of these movements, those of nothing left out; of the transaction's kind if none is named."""
    currency = moving.amount.currency
    postings = [
        Posting(account_id=account, amount=Money(amount=amount, currency=currency))
        for account, amount in moves
        if account is not None and amount
    ]
    return NewEntry(
        postings=postings,
        kind=kind or moving.kind,
        subject=f"transaction:{moving.id}",
        memo=moving.reference,
        corrects=moving.corrects,
    )


def house(role: str, moving: Moving) -> str:
    """The id of an account of the house's."""
    return f"{role}.{moving.amount.currency}"


def transfer_entry(moving: Moving) -> NewEntry:
    amount, fee = moving.amount.amount, moving.fee.amount
    moves = [(moving.from_account, amount + fee), (moving.to_account, -amount), (house(FEES, moving), -fee)]
    return entry(moving, moves)


def deposit_entry(moving: Moving) -> NewEntry:
    amount, fee = moving.amount.amount, moving.fee.amount
    moves = [(house(RECEIVABLE, moving), amount + fee), (moving.to_account, -amount), (house(FEES, moving), -fee)]
    return entry(moving, moves)


def withdrawal_entry(moving: Moving) -> NewEntry:
    amount, fee = moving.amount.amount, moving.fee.amount
    moves = [(moving.from_account, amount + fee), (house(IN_TRANSIT, moving), -amount), (house(FEES, moving), -fee)]
    return entry(moving, moves)


def left_of(of: Any) -> int:
    """What of a transaction can still be reversed: what is disputed of its payment cannot, unless that was won."""
    disputed = sum(each["amount"]["amount"] for each in of.disputes or () if each["status"] != "won")
    left = of.amount - of.reversed_amount
    return int(max(min(left, left + of.fee - disputed), 0))


def refund_entry(moving: Moving) -> NewEntry:
    """Of a deposit that is taken back."""
    amount = moving.amount.amount
    return entry(moving, [(moving.from_account, amount), (house(RECEIVABLE, moving), -amount)])


def arrived_entry(moving: Moving) -> NewEntry:
    """Of a withdrawal that the bank says has arrived."""
    amount = moving.amount.amount
    return entry(moving, [(house(IN_TRANSIT, moving), amount), (house(BANK, moving), -amount)], "withdrawal_arrived")


def returned_entry(moving: Moving, settled: bool) -> NewEntry:
    """Of a withdrawal that came back, after it had arrived or before."""
    amount, role = moving.amount.amount, BANK if settled else IN_TRANSIT
    return entry(moving, [(house(role, moving), amount), (moving.from_account, -amount)], "withdrawal_returned")
