"""transactions' queries, and its rows as the contract's messages."""

import functools
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Executable, Row, and_, bindparam, desc, func, insert, or_, select, update
from sqlalchemy.orm import Session

from chassis import saga_store
from chassis.db import insert_new, now, run, table_of
from chassis.outbox import publish
from chassis.saga import StepState
from chassis.types import Money
from contracts import transactions as contract
from contracts.common import DisputeState, TimelineEntry
from services.transactions.domain import REVERSIBLE, STATES, UNSETTLED, Limits, Moving
from services.transactions.models import Transaction, Usage

Position = tuple[datetime, str]

_rows, _usage = table_of(Transaction), table_of(Usage)
_earlier = _usage.alias("earlier")
_OF = _rows.c.id == bindparam("of")
_ADD = insert(_rows)
_GET = select(_rows).where(_OF)
_UNSETTLED_SAGA = select(_rows.c.saga_id).where(_OF, _rows.c.status.in_(UNSETTLED))
_NUMBER = update(_rows).where(_OF).values(sequence=_rows.c.sequence + 1).returning(_rows.c.sequence)

_USED = and_(
    _usage.c.customer_id == bindparam("whose"),
    _usage.c.kind == bindparam("of_kind"),
    _usage.c.currency == bindparam("in_currency"),
    _usage.c.day == bindparam("on"),
)
_IN_30_DAYS = (
    select(func.coalesce(func.sum(_earlier.c.amount), 0))
    .where(
        _earlier.c.customer_id == bindparam("whose"),
        _earlier.c.kind == bindparam("of_kind"),
        _earlier.c.currency == bindparam("in_currency"),
        _earlier.c.day > bindparam("since"),
        _earlier.c.day != bindparam("on"),
    )
    .scalar_subquery()
)
_USE = (
    update(_usage)
    .where(
        _USED,
        _usage.c.amount + bindparam("more") <= bindparam("per_day"),
        _usage.c.amount + bindparam("more") + _IN_30_DAYS <= bindparam("per_30_days"),
    )
    .values(amount=_usage.c.amount + bindparam("more"))
)
_GIVE_BACK = update(_usage).where(_USED).values(amount=_usage.c.amount - bindparam("less"))

_BEGIN_REVERSAL = (
    update(_rows)
    .where(
        _OF,
        _rows.c.status == "completed",
        _rows.c.kind.in_(REVERSIBLE),
        _rows.c.reversing == 0,
        _rows.c.reversed_amount + bindparam("taken") <= _rows.c.amount,
    )
    .values(reversing=bindparam("taken"), updated_at=bindparam("at"))
)
_END_REVERSAL = (
    update(_rows)
    .where(_OF)
    .values(reversing=0, reversed_amount=_rows.c.reversed_amount + bindparam("taken"), updated_at=bindparam("at"))
    .returning(_rows.c.reversed_amount == _rows.c.amount)
)


_NOTE_RETURN = (
    update(_rows)
    .where(_OF, _rows.c.kind == "withdrawal", _rows.c.return_reason.is_(None))
    .values(return_reason=bindparam("why"), return_settled=bindparam("settled"), updated_at=bindparam("at"))
    .returning(_rows)
)


@functools.cache
def _move(to: str, *names: str) -> Executable:
    """The update to a state, from those that the table of states lets it come from, that sets these columns too."""
    before = [state for state, after in STATES.items() if to in after]
    values: dict[str, Any] = {name: bindparam(f"next_{name}") for name in (*names, "updated_at")}
    return update(_rows).where(_OF, _rows.c.status.in_(before)).values(status=to, **values)


def day_of(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def add(session: Session, moving: Moving, status: str = "pending", **values: Any) -> None:
    """A new transaction."""
    at = now(session)
    row = dict(
        id=moving.id,
        kind=moving.kind,
        status=status,
        customer_id=moving.customer_id,
        receiver_id=moving.receiver_id,
        email=moving.email,
        name=moving.name,
        from_account=moving.from_account,
        to_account=moving.to_account,
        iban=moving.iban,
        reference=moving.reference,
        reverses=moving.reverses,
        currency=moving.amount.currency,
        amount=moving.amount.amount,
        fee=moving.fee.amount,
        reversed_amount=0,
        reversing=0,
        day=day_of(at),
        sequence=0,
        created_at=at,
        updated_at=at,
    )
    run(session, _ADD, **row, **values)


def get(session: Session, transaction_id: str) -> Row[Any] | None:
    return run(session, _GET, of=transaction_id).one_or_none()


def require(session: Session, transaction_id: str) -> Row[Any]:
    """A transaction that there is."""
    row: Row[Any] = run(session, _GET, of=transaction_id).one()
    return row


def move(session: Session, transaction_id: str, to: str, **values: Any) -> bool:
    """Change a transaction's state, if the table of states lets it; False otherwise, and nothing is changed."""
    given = {f"next_{name}": value for name, value in values.items()}
    return run(session, _move(to, *values), of=transaction_id, next_updated_at=now(session), **given).rowcount == 1


def unsettled_saga_of(session: Session, transaction_id: str) -> str | None:
    """The saga of a transaction that has not ended; None for any other."""
    saga_id: str | None = run(session, _UNSETTLED_SAGA, of=transaction_id).scalar()
    return saga_id


def next_sequence(session: Session, transaction_id: str) -> int:
    """The number of the transaction's next event."""
    number: int = run(session, _NUMBER, of=transaction_id).scalar_one()
    return number


def tell(session: Session, transaction_id: str) -> None:
    """Have the customer told how a transaction ended."""
    row = require(session, transaction_id)
    publish(
        session,
        contract.TransactionEnded(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=row.id,
            sequence=next_sequence(session, row.id),
            customer_id=row.customer_id,
            email=row.email,
            name=row.name,
            kind=row.kind,
            status=row.status,
            amount=Money(amount=row.amount, currency=row.currency),
            reason=row.reason,
        ),
    )


# --- limits


def use(session: Session, moving: Moving, limits: Limits) -> bool:
    """Count a transaction against the customer's limits; False, and nothing counts, if it is over one of them."""
    at = now(session)
    of = _used(moving.customer_id, moving.kind, moving.amount.currency, day_of(at))
    row = dict(customer_id=of["whose"], kind=of["of_kind"], currency=of["in_currency"], day=of["on"], amount=0)
    insert_new(session, _usage, row)
    used = run(
        session,
        _USE,
        **of,
        since=day_of(at - timedelta(days=30)),
        more=moving.amount.amount,
        per_day=limits.per_day,
        per_30_days=limits.per_30_days,
    )
    return used.rowcount == 1


def give_back(session: Session, row: Row[Any]) -> None:
    """A transaction that was rejected counts no more."""
    run(session, _GIVE_BACK, **_used(row.customer_id, row.kind, row.currency, row.day), less=row.amount)


def _used(customer_id: str, kind: str, currency: str, day: str) -> dict[str, str]:
    return dict(whose=customer_id, of_kind=kind, in_currency=currency, on=day)


# --- reversals


def begin_reversal(session: Session, transaction_id: str, amount: int) -> bool:
    """Set aside what a reversal is about to take back; False if it may not."""
    return run(session, _BEGIN_REVERSAL, of=transaction_id, taken=amount, at=now(session)).rowcount == 1


def end_reversal(session: Session, transaction_id: str, taken: int) -> None:
    """What was set aside was taken back, or (0) was not."""
    if run(session, _END_REVERSAL, of=transaction_id, taken=taken, at=now(session)).scalar_one():
        move(session, transaction_id, "reversed")


def note_return(session: Session, transaction_id: str, reason: str, settled: bool) -> Row[Any] | None:
    """Write down, once, that the bank sent a withdrawal back. Whoever of this and the withdrawal's end commits last
    finds the other one's."""
    noted: Row[Any] | None = run(
        session, _NOTE_RETURN, of=transaction_id, why=reason[:100], settled=settled, at=now(session)
    ).one_or_none()
    return noted


# --- views


def find(
    session: Session, customer_id: str, kind: str | None, status: str | None, limit: int, before: Position | None
) -> Sequence[Row[Any]]:
    query = select(_rows).where(_rows.c.customer_id == customer_id)
    query = query.order_by(desc(_rows.c.created_at), desc(_rows.c.id)).limit(limit)
    if kind is not None:
        query = query.where(_rows.c.kind == kind)
    if status is not None:
        query = query.where(_rows.c.status == status)
    if before is not None:
        at, last = before
        query = query.where(or_(_rows.c.created_at < at, and_(_rows.c.created_at == at, _rows.c.id < last)))
    return session.connection().execute(query).all()


def view(session: Session, row: Row[Any], for_staff: bool, with_timeline: bool = True) -> contract.Transaction:
    """Why an outcome is unknown is told to staff alone; so is what operators did."""
    lines = saga_store.log_of(session, [row.saga_id])[row.saga_id] if row.saga_id and with_timeline else []
    running = saga_store.get(session, row.saga_id) if row.saga_id and row.status in UNSETTLED else None

    def of(amount: int) -> Money:
        return Money(amount=amount, currency=row.currency)

    return contract.Transaction(
        id=row.id,
        kind=row.kind,
        status=row.status,
        customer_id=row.customer_id,
        amount=of(row.amount),
        fee=of(row.fee),
        reversed_amount=of(row.reversed_amount),
        created_at=row.created_at,
        updated_at=row.updated_at,
        timeline=[_entry(line, for_staff) for line in lines if for_staff or line.operation != "operator"],
        from_account=row.from_account,
        to_account=row.to_account,
        iban=row.iban,
        reference=row.reference,
        reverses=row.reverses,
        reason_code=row.reason_code,
        reason=row.reason,
        action_url=_challenge_url(running.steps) if running else None,
        disputes=msgspec.convert(row.disputes or [], list[DisputeState]),
    )


def _challenge_url(steps: dict[str, Any]) -> str | None:
    """The address at the bank that a deposit waits for; None when it waits for none."""
    known = msgspec.convert(steps, dict[str, StepState])
    authorize = known.get("authorize_payment", StepState())
    if authorize.outcome != "ok" or authorize.undo or known.get("challenge", StepState()).outcome:
        return None
    result = authorize.result or {}
    return result.get("action_url") if result.get("status") == "requires_action" else None


def _entry(line: Row[Any], for_staff: bool) -> TimelineEntry:
    return TimelineEntry(
        at=line.at,
        step=line.step,
        outcome=line.outcome,
        attempt=line.attempt,
        ms=line.ms,
        service=line.service,
        detail=line.detail if for_staff or line.outcome != "unknown" else None,
    )


def deposits(session: Session, after: str | None, limit: int) -> list[contract.DepositMoney]:
    """Of each deposit, what the acquirer should hold for it."""
    query = select(_rows).where(_rows.c.kind == "deposit").order_by(_rows.c.id).limit(limit)
    if after is not None:
        query = query.where(_rows.c.id > after)
    return [
        contract.DepositMoney(
            transaction_id=row.id,
            due=row.amount + row.fee - row.reversed_amount if row.status in ("completed", "reversed") else 0,
            currency=row.currency,
            settled=row.status not in UNSETTLED and not row.reversing,
            updated_at=row.updated_at,
        )
        for row in session.connection().execute(query)
    ]
