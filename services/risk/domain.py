"""What rules can see, and what follows from those that fire. Pure."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from chassis.types import Message
from contracts.risk import Draft, Reason, Rule, Subject

REFUSED = "We cannot accept this. Please contact our customer service."
GRAVITY = {"accept": 0, "review": 1, "refuse": 2}

WINDOWS = {"1m": 60, "1h": 3600, "24h": 86_400, "30d": 30 * 86_400}
"""Seconds."""
DIMENSIONS = ("customer", "account", "card", "payee", "address")
"""What is counted by."""
PAIR = "customer_payee"
"""The dimension by which a payee is known to a customer."""
VALUE_LENGTH = 64
UNKNOWN = -1
"""A number that is not known; a text that is not known is empty."""

_COUNTED = [f"{name}_{what}_{window}" for name in DIMENSIONS for what in ("count", "amount") for window in WINDOWS]
FEATURES: dict[str, type] = {
    "kind": str,
    "amount": int,
    "currency": str,
    "country": str,
    "email": str,
    "hour": int,
    "account_age_days": int,
    "balance_permille": int,
    "new_payee": bool,
    "denied": bool,
    "denied_by": str,
    **dict.fromkeys(_COUNTED, int),
    **{f"{name}_failed_{window}": int for name in DIMENSIONS for window in ("1h", "24h")},
    **{f"{name}_just_below_24h": int for name in DIMENSIONS},
    **{f"{name}_customers_24h": int for name in DIMENSIONS if name != "customer"},
}
"""Every feature that a condition may name, with its type. docs/risk.md says what each means."""


class Verdict(Message):
    """`message` is for the customer, empty unless refused."""

    decision: str
    score: int
    reasons: list[Reason]
    message: str = ""


def normal(value: str) -> str:
    """A value as it is counted by: upper and lower case and spaces make no difference; a long one by its hash."""
    plain = " ".join(value.casefold().split())
    return plain if len(plain) <= VALUE_LENGTH else hashlib.sha256(plain.encode()).hexdigest()


def places_of(subject: Subject) -> dict[str, str]:
    """By which dimensions this subject counts, and under which value of each."""
    given = {name: getattr(subject, "customer_id" if name == "customer" else _FIELD[name]) for name in DIMENSIONS}
    known = {name: normal(value) for name, value in given.items() if value}
    if subject.payee:
        known[PAIR] = normal(f"{subject.customer_id} {subject.payee}")
    return known


_FIELD = {"account": "account_id", "card": "card", "payee": "payee", "address": "address"}


def denials_of(subject: Subject) -> dict[str, str]:
    """What the deny list is asked for."""
    given = {
        "email": subject.email,
        "country": subject.country,
        "customer": subject.customer_id,
        "account": subject.account_id,
        "card": subject.card,
        "payee": subject.payee,
    }
    return {kind: normal(value) for kind, value in given.items() if value}


def own_features(subject: Subject, at: datetime) -> dict[str, Any]:
    """The features that need no history."""
    opened = subject.account_opened_at
    return dict(
        kind=subject.kind,
        amount=subject.amount.amount,
        currency=subject.amount.currency,
        country=subject.country or "",
        email=subject.email.casefold(),
        hour=at.hour,
        account_age_days=UNKNOWN if opened is None else max((at - opened) // timedelta(days=1), 0),
        balance_permille=_share(subject.amount.amount, subject.balance),
    )


def _share(amount: int, balance: int | None) -> int:
    """What part of a balance an amount is, in permille; of an empty one all of it."""
    if balance is None:
        return UNKNOWN
    return amount * 1000 // balance if balance > 0 else 1000


def decide(fired: Sequence[tuple[Rule, Reason]], content: Draft) -> Verdict:
    """The gravest action counts, and the sum of the scores; an `accept` outweighs the sum, but no other action."""
    score = sum(rule.score for rule, _ in fired)
    actions = [rule.action for rule, _ in fired if rule.action is not None]
    by_score = "refuse" if score >= content.refuse_at else "review" if score >= content.review_at else "accept"
    decision = max(actions, key=GRAVITY.__getitem__) if actions else by_score
    if actions and decision != "accept":
        decision = max(decision, by_score, key=GRAVITY.__getitem__)
    if decision != "refuse":
        return Verdict(decision=decision, score=score, reasons=[reason for _, reason in fired])
    said = [rule.message for rule, _ in fired if rule.action == "refuse"]
    message = (said[0] if said else "") or REFUSED
    return Verdict(decision=decision, score=score, reasons=[reason for _, reason in fired], message=message)
