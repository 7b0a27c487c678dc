"""The features of a subject: what is known of it, and what came before it in the sliding windows."""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, func, literal, or_, select, text, union_all
from sqlalchemy.orm import Session

from chassis.db import dialect_of, now, run, table_of
from chassis.prune import Old
from contracts.risk import Subject
from services.risk.domain import DIMENSIONS, PAIR, WINDOWS, denials_of, own_features, places_of
from services.risk.models import Denied, Footprint

NEWEST = 1000
"""At most so many footprints are read for each dimension, so that one who orders all day costs no more than others:
a count that is higher stays there."""
JUST_BELOW_PERCENT = 90
"""From so much of the threshold on, and below it, an amount is just below."""

_print = table_of(Footprint)
OUTDATED = Old(
    _print.c.at,
    timedelta(seconds=max(WINDOWS.values())) + timedelta(hours=1),
    _print.c.dimension.in_(DIMENSIONS),
)
"""Footprints that no window sees any more, also of a screening that is under way. That a payee is known has no end."""
_denied = table_of(Denied)
_LOCK = text("SELECT pg_advisory_xact_lock(:place)")
_BEFORE = (
    select(_print.c.id)
    .where(_print.c.dimension == PAIR, _print.c.value == bindparam("value"), _print.c.state == "counts")
    .limit(1)
)


def _since(column: Any, window: str) -> ColumnElement[bool]:
    return column > bindparam(f"since_{window}")  # type: ignore[no-any-return]


def _of(dimension: str) -> Select[Any]:
    """All that a dimension tells, in one row."""
    newest = (
        select(_print.c.at, _print.c.amount, _print.c.currency, _print.c.state, _print.c.customer_id)
        .where(
            _print.c.dimension == dimension, _print.c.value == bindparam(f"{dimension}_is"), _since(_print.c.at, "30d")
        )
        .order_by(_print.c.at.desc())
        .limit(NEWEST)
        .subquery()
    )
    counts, failed = newest.c.state == "counts", newest.c.state == "failed"
    ours = and_(counts, newest.c.currency == bindparam("currency"))
    below = and_(
        ours,
        newest.c.amount >= bindparam("nearly"),
        newest.c.amount < bindparam("threshold"),
        _since(newest.c.at, "24h"),
    )
    other = and_(counts, newest.c.customer_id != bindparam("customer"), _since(newest.c.at, "24h"))
    columns: list[Any] = [literal(dimension).label("dimension")]
    for window in WINDOWS:
        within = _since(newest.c.at, window)
        columns.append(func.count().filter(and_(counts, within)).label(f"count_{window}"))
        columns.append(func.coalesce(func.sum(newest.c.amount).filter(and_(ours, within)), 0).label(f"amount_{window}"))
    columns += [
        func.count().filter(and_(failed, _since(newest.c.at, window))).label(f"failed_{window}")
        for window in ("1h", "24h")
    ]
    columns.append(func.count().filter(below).label("just_below_24h"))
    columns.append(func.count(newest.c.customer_id.distinct()).filter(other).label("customers_24h"))
    return select(*columns).select_from(newest)


_HISTORY = union_all(*(_of(dimension) for dimension in DIMENSIONS))
_KINDS = ("email", "country", "customer", "account", "card", "payee")
_DENIED = (
    select(_denied.c.kind)
    .where(or_(*(and_(_denied.c.kind == kind, _denied.c.value == bindparam(f"{kind}_is")) for kind in _KINDS)))
    .order_by(_denied.c.kind)
)


def serialize(session: Session, subject: Subject) -> None:
    """Wait until no other transaction screens anything that counts by one of the same values.

    The locks go with the transaction, and are taken in one order. SQLite has one writer at a time anyway.
    """
    if dialect_of(session) == "sqlite":
        return
    for place in sorted({_number_of(f"{name}:{value}") for name, value in places_of(subject).items()}):
        run(session, _LOCK, place=place)


def _number_of(place: str) -> int:
    digest = hashlib.blake2b(place.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def features(session: Session, subject: Subject, just_below: int) -> dict[str, Any]:
    """Everything that rules may ask of this subject at this moment; counts and sums include the subject itself."""
    at, places, asked = now(session), places_of(subject), denials_of(subject)
    denied_by = run(session, _DENIED, **{f"{kind}_is": asked.get(kind, "") for kind in _KINDS}).scalars().all()
    known = {
        **own_features(subject, at),
        "denied": bool(denied_by),
        "denied_by": ",".join(denied_by),
        "new_payee": PAIR in places and run(session, _BEFORE, value=places[PAIR]).scalar() is None,
    }
    for row in run(session, _HISTORY, **_values(subject, places, at, just_below)):
        known |= _told(row, subject, row.dimension in places, just_below)
    return known


def _values(subject: Subject, places: dict[str, str], at: datetime, just_below: int) -> dict[str, Any]:
    return {
        **{f"{dimension}_is": places.get(dimension, "") for dimension in DIMENSIONS},
        **{f"since_{window}": at - timedelta(seconds=seconds) for window, seconds in WINDOWS.items()},
        "currency": subject.amount.currency,
        "customer": subject.customer_id,
        "threshold": just_below,
        "nearly": _nearly(just_below),
    }


def _nearly(just_below: int) -> int:
    return just_below * JUST_BELOW_PERCENT // 100


def _told(row: Row[Any], subject: Subject, known: bool, just_below: int) -> dict[str, int]:
    """One dimension's features. One that the subject has no value of is 0 throughout."""
    amount = subject.amount.amount
    now_below = _nearly(just_below) <= amount < just_below
    own = {"count": 1, "amount": amount, "just": int(now_below), "customers": 1}
    told: dict[str, int] = {}
    for column, value in row._asdict().items():
        if column == "dimension" or (row.dimension == "customer" and column == "customers_24h"):
            continue
        told[f"{row.dimension}_{column}"] = int(value) + own.get(column.split("_")[0], 0) if known else 0
    return told
