"""risk's queries."""

from datetime import timedelta

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.errors import ServiceError
from contracts import risk as contract
from services.risk.domain import Facts, Spending, Verdict
from services.risk.models import Assessment

NEWEST = 1000
"""At most so many of a customer's orders are counted, so that one who orders all day costs no more than others."""


def spending(session: Session, customer_id: str, currency: str, window_s: int) -> Spending:
    """What this customer ordered in the last `window_s`: how often, and for how much of this currency."""
    recent = (
        select(Assessment.amount, Assessment.currency)
        .where(Assessment.customer_id == customer_id, Assessment.at > now(session) - timedelta(seconds=window_s))
        .where(Assessment.counts)
        .order_by(Assessment.at.desc())
        .limit(NEWEST)
        .subquery()
    )
    total = func.coalesce(func.sum(recent.c.amount).filter(recent.c.currency == currency), 0)
    orders, spent = session.execute(select(func.count(), total).select_from(recent)).one()
    return Spending(orders=orders, total=int(spent))


def keep(session: Session, facts: Facts, verdict: Verdict) -> contract.Assessment:
    """Write down what was decided, and on what."""
    session.add(
        Assessment(
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
    )
    session.flush()
    return contract.Assessment(order_id=facts.order_id, decision=verdict.decision, reasons=verdict.reasons)


def forget(session: Session, order_id: str) -> None:
    session.execute(update(Assessment).where(Assessment.order_id == order_id).values(counts=False))


def newest(session: Session, order_id: str) -> contract.Assessment:
    found = select(Assessment).where(Assessment.order_id == order_id).order_by(Assessment.id.desc()).limit(1)
    row = session.scalar(found)
    if row is None:
        raise ServiceError("risk.not_found", f"Order {order_id!r} was not assessed.")
    return contract.Assessment(order_id=row.order_id, decision=row.decision, reasons=row.reasons)
