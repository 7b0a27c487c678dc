"""What an order's money is booked as: one entry for each thing that happens to it. Pure: no I/O."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from chassis.types import Message, Money
from contracts.accounts import NewEntry, Posting
from contracts.common import Totals
from contracts.payments import Payment, Refund

ROLES = {"card": "acquirer_receivable", "gift_card": "gift_cards", "wallet": "wallet_payments"}
"""Where money is that is paid, or given back, in each way."""


class Booking(Message):
    """What is to be booked of an order, in minor units: what is earned (below zero: not any more), and by which ways it
    was `taken` and `given`, as far as payments have said. `corrects`: the entry of the sale."""

    currency: str
    sales: int
    tax: int
    shipping: int
    taken: dict[str, int] = {}
    given: dict[str, int] = {}
    corrects: str | None = None


def sale(sums: Totals) -> Booking:
    """Of an order that is paid. Goods are sold for what they cost without the tax in it."""
    return Booking(
        currency=sums.total.currency,
        sales=sums.items.amount - sums.tax.amount,
        tax=sums.tax.amount,
        shipping=sums.shipping.amount,
    )


def taken_back(refund: Money, tax: int, shipping: int, corrects: str) -> Booking:
    """Of goods and postage for which all of `refund` is given back; so much of it is tax and postage."""
    return Booking(
        currency=refund.currency,
        sales=tax + shipping - refund.amount,
        tax=-tax,
        shipping=-shipping,
        corrects=corrects,
    )


def difference(before: Totals, after: Totals, corrects: str) -> Booking:
    """Of an order that comes to something else than before."""
    old, new = sale(before), sale(after)
    return Booking(
        currency=new.currency,
        sales=new.sales - old.sales,
        tax=new.tax - old.tax,
        shipping=new.shipping - old.shipping,
        corrects=corrects,
    )


def took(booking: Booking, payment: Payment) -> Booking:
    return msgspec.structs.replace(booking, taken=_by_way((part.method, part.captured) for part in payment.parts))


def gave(booking: Booking, refund: Refund) -> Booking:
    return msgspec.structs.replace(booking, given=_by_way((part.method, part.amount) for part in refund.parts))


def _by_way(parts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for way, amount in parts:
        sums[way] += amount
    return {way: amount for way, amount in sums.items() if amount}


def is_due(booking: Booking | None) -> bool:
    """Whether there is something to book. What is half known is not booked: where an operator left a refund out, or
    settled it by hand, the audit shows the difference."""
    moves = _moves(booking) if booking is not None else []
    return bool(moves) and sum(amount for _, amount in moves) == 0


def entry_of(order_id: str, booking: Booking, kind: str, memo: str = "") -> NewEntry:
    """What is booked: debits of what was taken, credits of what is earned, and of what was given back."""
    moves = _moves(booking)
    assert sum(amount for _, amount in moves) == 0, moves
    return NewEntry(
        postings=[
            Posting(
                account_id=f"{role}.{booking.currency}",
                amount=Money(amount=amount, currency=booking.currency),
            )
            for role, amount in moves
        ],
        kind=kind,
        subject=f"order:{order_id}",
        memo=memo,
        corrects=booking.corrects,
    )


def _moves(booking: Booking) -> list[tuple[str, int]]:
    """Roles, and what is posted to them: a debit above zero, a credit below."""
    moves = [
        *((ROLES[way], amount) for way, amount in booking.taken.items()),
        *((ROLES[way], -amount) for way, amount in booking.given.items()),
        ("sales", -booking.sales),
        ("tax_payable", -booking.tax),
        ("shipping_income", -booking.shipping),
    ]
    return [(role, amount) for role, amount in moves if amount]
