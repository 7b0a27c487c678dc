"""risk's queries."""

from datetime import timedelta

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import now, run, table_of
from chassis.errors import ServiceError
from contracts import risk as contract
from services.risk.domain import Facts, Spending, Verdict
from services.risk.models import Assessment

NEWEST = 1000
"""At most so many of a customer's orders are counted, so that one who orders all day costs no more than others."""


_assessment = table_of(Assessment)
_KEEP = insert(_assessment)
_recent = (
    select(_assessment.c.amount, _assessment.c.currency)
    .where(_assessment.c.customer_id == bindparam("of"), _assessment.c.at > bindparam("since"), _assessment.c.counts)
    .order_by(_assessment.c.at.desc())
    .limit(NEWEST)
    .subquery()
)
_in_currency = _recent.c.currency == bindparam("currency")
_spent = func.coalesce(func.sum(_recent.c.amount).filter(_in_currency), 0)
_SPENDING = select(func.count().label("orders"), _spent.label("spent")).select_from(_recent)


def spending(session: Session, customer_id: str, currency: str, window_s: int) -> Spending:
    """What this customer ordered in the last `window_s`: how often, and for how much of this currency."""
    since = now(session) - timedelta(seconds=window_s)
    found = run(session, _SPENDING, of=customer_id, since=since, currency=currency).one()
    return Spending(orders=found.orders, total=int(found.spent))


def keep(session: Session, facts: Facts, verdict: Verdict) -> contract.Assessment:
    """Write down what was decided, and on what."""
    run(
        session,
        _KEEP,
        order_id=facts.order_id,
        customer_id=facts.customer_id,
        amount=facts.amount.amount,
        currency=facts.amount.currency,
        facts=msgspec.to_builtins(facts, str_keys=True),
        decision=verdict.decision,
        reasons=verdict.reasons,
        counts=verdict.decision != "refuse",
        at=now(session),
    )
    return contract.Assessment(order_id=facts.order_id, decision=verdict.decision, reasons=verdict.reasons)


def forget(session: Session, order_id: str) -> None:
    session.execute(update(Assessment).where(Assessment.order_id == order_id).values(counts=False))


def newest(session: Session, order_id: str) -> contract.Assessment:
    found = select(Assessment).where(Assessment.order_id == order_id).order_by(Assessment.id.desc()).limit(1)
    row = session.scalar(found)
    if row is None:
        raise ServiceError("risk.not_found", f"Order {order_id!r} was not assessed.")
    return contract.Assessment(order_id=row.order_id, decision=row.decision, reasons=row.reasons)
