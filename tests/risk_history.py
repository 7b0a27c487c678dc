"""A generated history with known fraud in it, the same for a seed: what the rules that come with the shop find of it.

    subjects = history(SEED)

An incident is a run of subjects of one fraud. What is not part of an incident is honest, and some of it looks odd.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from chassis.types import Message, Money
from contracts.risk import Subject

SEED = 20260301
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 14
CUSTOMERS = 40
STREETS = ("Oak Lane", "Mill Road", "High Street", "Harbour View")


class Labelled(Message):
    """A subject and when it comes. `incident` is empty for an honest one; `pattern` is what kind of fraud it is."""

    at: datetime
    subject: Subject
    pattern: str = ""
    incident: str = ""


Events = Iterator[Labelled]


def history(seed: int) -> list[Labelled]:
    """All of it, by time."""
    chance, numbers = random.Random(seed), count(1)
    made = [*_honest(chance, numbers)]
    for pattern, make in PATTERNS.items():
        for number in range(4):
            day = BEGIN + timedelta(days=2 + chance.randrange(DAYS - 3))
            incident = f"{pattern}-{number}"
            events = make(chance, numbers, day, incident)
            made += [Labelled(at=at, subject=subject, pattern=pattern, incident=incident) for at, subject in events]
    return sorted(made, key=lambda each: each.at)


def _subject(numbers: Iterator[int], kind: str, customer: str, amount: int, **more: Any) -> Subject:
    money = Money(amount=amount, currency="EUR")
    name = f"h{next(numbers):04}"
    return Subject(kind=kind, id=name, customer_id=customer, amount=money, email=f"{customer}@x.example", **more)  # type: ignore[arg-type]


def _at(chance: random.Random, day: datetime, first: int = 7, last: int = 22) -> datetime:
    """Some minute of a day, far from where an hour ends."""
    return day + timedelta(hours=chance.randrange(first, last), minutes=chance.randrange(10, 50))


def _honest(chance: random.Random, numbers: Iterator[int]) -> Events:
    for number in range(CUSTOMERS):
        customer, own = f"customer-{number}", dict(card=f"card-{number // 2}", country="NL")  # two share a card
        account = dict(account_id=f"account-{number}", account_opened_at=BEGIN - timedelta(days=30 + number))
        for day in (BEGIN + timedelta(days=n) for n in range(DAYS)):
            if chance.random() < 0.3:
                large = chance.random() < 0.02
                amount = chance.randrange(210_000, 400_000) if large else chance.randrange(1_000, 30_000)
                address = f"{STREETS[number % 4]} {number}"
                order = _subject(numbers, "order", customer, amount, address=address, **own)
                yield Labelled(at=_at(chance, day), subject=order)
            if chance.random() < 0.12:
                payee, balance = f"payee-{number}-{chance.randrange(3)}", chance.randrange(150_000, 900_000)
                sent = _subject(
                    numbers,
                    "transfer",
                    customer,
                    chance.randrange(2_000, 140_000),
                    payee=payee,
                    balance=balance,
                    **account,
                )
                yield Labelled(at=_at(chance, day), subject=sent)
        moved = _subject(numbers, "withdrawal", customer, 195_000, payee=f"iban-{number}", balance=2_000_000, **account)
        yield Labelled(at=_at(chance, BEGIN + timedelta(days=number % DAYS)), subject=moved)


Made = Iterator[tuple[datetime, Subject]]


def _below_the_threshold(chance: random.Random, numbers: Iterator[int], day: datetime, name: str) -> Made:
    """Five orders in one day, each just below what is looked at."""
    for hour in range(8, 18, 2):
        amount = chance.randrange(181_000, 199_999)
        yield _at(chance, day, hour, hour + 1), _subject(numbers, "order", name, amount, card=f"card-{name}")


def _new_account_emptied(chance: random.Random, numbers: Iterator[int], day: datetime, name: str) -> Made:
    """Money comes in, and two days after it was opened the account is emptied to somebody new."""
    own = dict(account_id=name, account_opened_at=day - timedelta(days=2))
    balance = chance.randrange(120_000, 190_000)
    paid_in = _subject(numbers, "deposit", name, balance, card=f"card-{name}", account_id=name)
    yield _at(chance, day - timedelta(days=1)), paid_in
    yield _at(chance, day), _subject(numbers, "transfer", name, balance, payee=f"p-{name}", balance=balance, **own)


def _mule(chance: random.Random, numbers: Iterator[int], day: datetime, name: str) -> Made:
    """Eight victims pay the same one within a day."""
    for number in range(8):
        victim = f"{name}-victim-{number}"
        own = dict(account_id=victim, account_opened_at=day - timedelta(days=400), balance=500_000)
        yield _at(chance, day), _subject(numbers, "transfer", victim, 45_000, payee=f"p-{name}", **own)


def _stolen_card(chance: random.Random, numbers: Iterator[int], day: datetime, name: str) -> Made:
    """One card pays into seven new accounts."""
    for number in range(7):
        thief = f"{name}-{number}"
        yield _at(chance, day, 9, 20), _subject(numbers, "deposit", thief, 9_900, card=f"c-{name}", account_id=thief)


def _drained_at_night(chance: random.Random, numbers: Iterator[int], day: datetime, name: str) -> Made:
    """An old account is emptied at night to somebody new: three transfers, which no one rule takes for much."""
    own = dict(account_id=name, account_opened_at=day - timedelta(days=900))
    for hour in (1, 2, 3):
        taken = _subject(numbers, "transfer", name, 110_000, payee=f"p-{name}-{hour}", balance=200_000, **own)
        yield _at(chance, day, hour, hour + 1), taken


PATTERNS: dict[str, Callable[..., Made]] = {
    "below_the_threshold": _below_the_threshold,
    "new_account_emptied": _new_account_emptied,
    "mule": _mule,
    "stolen_card": _stolen_card,
    "drained_at_night": _drained_at_night,
}
