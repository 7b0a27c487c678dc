"""The rules of the books. Pure: no I/O. Amounts are minor units: a debit above zero, a credit below."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import msgspec

from chassis.currencies import EXPONENTS
from chassis.types import Money
from contracts.accounts import AccountType, NewEntry, Posting
from contracts.payments import DisputeMoved

ROLES: dict[str, AccountType] = {
    "acquirer_receivable": "asset",  # what the card processor owes us for captures
    "bank": "asset",  # what is on our account at the bank
    "payouts_in_transit": "liability",  # withdrawals that the bank has accepted and not settled yet
    "gift_cards": "liability",  # what holders of gift cards can still spend
    "wallet_payments": "liability",  # taken from customers' accounts for orders, and not yet booked as sold
    "tax_payable": "liability",
    "disputed": "asset",  # taken back by the acquirer while a dispute is open
    "sales": "income",
    "shipping_income": "income",
    "fees": "income",
    "acquirer_fees": "expense",
    "dispute_losses": "expense",
    "gift_cards_granted": "expense",  # gift cards that nobody paid for
    "suspense": "asset",  # what nobody could explain yet: it has to come to nothing
}
"""The house's own accounts: what each is for is its role, and its id is `{role}.{currency}`."""

CUSTOMERS: AccountType = "liability"
"""What the house owes its customers."""

LARGEST = 10**12
"""Minor units of one posting."""
CEILING = 10**16
"""Minor units of all that was ever posted on one side of an account's row: the sums of 64 rows fit into 64 bits."""

DISPUTES = {
    "opened": ("disputed", "acquirer_receivable"),
    "won": ("acquirer_receivable", "disputed"),
    "lost": ("dispute_losses", "disputed"),
}
"""What each step of a dispute debits and credits. The steps commute: none needs another to be booked before."""

GROWS_BY_DEBITS = ("asset", "expense")
OUTSIDE = {"posted": "posted", "settled": "posted", "voided": "voided", "pending": "pending"}
"""What an entry of each phase is called in the contract."""
GENESIS = "0" * 64
"""The hash before the first block's."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def granted(card_id: str, amount: Money) -> NewEntry:
    """Of a gift card that nobody paid for."""
    currency, less = amount.currency, Money(amount=-amount.amount, currency=amount.currency)
    return NewEntry(
        postings=[
            Posting(account_id=f"gift_cards_granted.{currency}", amount=amount),
            Posting(account_id=f"gift_cards.{currency}", amount=less),
        ],
        kind="gift_card",
        subject=f"gift_card:{card_id}",
    )


@dataclass(frozen=True)
class Refusal:
    """Why an entry is not booked: the code, and the sentence."""

    code: str
    message: str


def role_of(account_id: str) -> tuple[str, str] | None:
    """The role and the currency in an id of one of the house's accounts; None for a customer's."""
    role, dot, currency = account_id.partition(".")
    return (role, currency) if dot else None


def unsound(entry: NewEntry) -> Refusal | None:
    """What is wrong with an entry whatever is booked already."""
    return _unbalanced(entry.postings) or _unknown(entry.postings)


def _unbalanced(postings: Iterable[Posting]) -> Refusal | None:
    sums: Counter[str] = Counter()
    for posting in postings:
        if posting.amount.amount == 0:
            return Refusal("accounts.unbalanced", f"The posting to {posting.account_id!r} is of nothing: leave it out.")
        sums[posting.amount.currency] += posting.amount.amount
    for currency, total in sums.items():
        if total:
            side = "debits" if total > 0 else "credits"
            return Refusal("accounts.unbalanced", f"There are {abs(total)} {currency} more {side}: they must be equal.")
    return None


def _unknown(postings: Sequence[Posting]) -> Refusal | None:
    houses = [role_of(posting.account_id) for posting in postings]
    for role, _ in filter(None, houses):
        if role not in ROLES:
            return Refusal("accounts.unknown_role", f"The house has no accounts of the role {role!r}.")
    currencies = [house[1] if house else each.amount.currency for house, each in zip(houses, postings, strict=True)]
    for currency in currencies:
        if currency not in EXPONENTS:
            return Refusal("accounts.unknown_currency", f"{currency!r} is no currency of ISO 4217.")
    return None


def too_large(postings: Iterable[Posting]) -> Refusal | None:
    for posting in postings:
        if abs(posting.amount.amount) > LARGEST:
            return Refusal("accounts.amount_overflow", f"One posting may be of {LARGEST} minor units at most.")
    return None


def part_of(postings: Sequence[Posting], amount: int) -> list[Posting]:
    """Both postings of an entry that has two, at another amount."""
    return [
        Posting(
            account_id=each.account_id,
            amount=Money(amount=amount if each.amount.amount > 0 else -amount, currency=each.amount.currency),
        )
        for each in postings
    ]


def dispute_entry(moved: DisputeMoved) -> tuple[str, NewEntry]:
    """The key and the entry of a dispute's step. Its subject is the dispute: sums of an order stay what was sold."""
    debited, credited = (f"{role}.{moved.amount.currency}" for role in DISPUTES[moved.status])
    amount, currency = moved.amount.amount, moved.amount.currency
    entry = NewEntry(
        postings=[
            Posting(account_id=debited, amount=Money(amount=amount, currency=currency)),
            Posting(account_id=credited, amount=Money(amount=-amount, currency=currency)),
        ],
        kind=f"dispute_{moved.status}",
        subject=f"dispute:{moved.dispute_id}",
        memo=f"payment {moved.payment_id}",
    )
    return f"dispute:{moved.dispute_id}:{moved.status}", entry


def entry_hash(entry: Any, postings: Iterable[tuple[str, int, int]]) -> str:
    """Of all that an entry's row says, but where it is sealed, and of its postings: account, stripe and amount."""
    said = (
        entry.id,
        entry.key,
        entry.input_hash,
        entry.phase,
        entry.hold_id,
        entry.ends,
        entry.corrects,
        entry.kind,
        entry.subject,
        entry.memo,
        entry.author,
        entry.at.astimezone(UTC).isoformat(),
        tuple(tuple(each) for each in postings),
    )
    return hashlib.sha256(_encode(said)).hexdigest()


def block_hash(number: int, previous: str, at: Any, entries: Sequence[int], hashes: Sequence[str]) -> str:
    """Of a block: the one before it, and its entries in the order of their ids."""
    said = (number, previous, at.astimezone(UTC).isoformat(), tuple(entries), tuple(hashes))
    return hashlib.sha256(_encode(said)).hexdigest()
