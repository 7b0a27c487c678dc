"""payments' books, for the audit: what each order's payments hold, and whether each gift card's books balance."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, Subquery, and_, case, func, or_, select
from sqlalchemy.orm import Session

from chassis.db import table_of
from contracts import payments as contract
from services.payments.models import DONE, GiftCard, GiftCardMovement, Movement, Part

LISTED = 100

_part, _movement = table_of(Part), table_of(Movement)
_card, _gift = table_of(GiftCard), table_of(GiftCardMovement)


def balances(session: Session, after: str | None, limit: int) -> contract.BalancePage:
    """At most 1,000 at once."""
    size = min(max(limit, 1), 1000)
    sums = (
        select(
            _part.c.order_id,
            func.sum(_part.c.captured).label("captured"),
            func.sum(_part.c.refunded).label("refunded"),
            func.min(_part.c.currency).label("currency"),
            func.max(_part.c.updated_at).label("updated_at"),
        )
        .where(_part.c.order_id > (after or ""))
        .group_by(_part.c.order_id)
        .order_by(_part.c.order_id)
        .limit(size + 1)
    )
    rows = session.execute(sums).all()
    items = [
        contract.Balance(
            order_id=row.order_id,
            captured=int(row.captured),
            refunded=int(row.refunded),
            currency=row.currency,
            updated_at=row.updated_at,
        )
        for row in rows[:size]
    ]
    return contract.BalancePage(items=items, next_after=items[-1].order_id if len(rows) > size else None)


def _sums(table: FromClause, **of: tuple[ColumnElement[bool], ColumnElement[int]]) -> Subquery:
    """For each gift card in this table the sums of these amounts, where their conditions hold."""
    columns = [func.sum(case((when, amount), else_=0)).label(name) for name, (when, amount) in of.items()]
    return select(table.c.gift_card_id, *columns).group_by(table.c.gift_card_id).subquery()


def audit_gift_cards(session: Session) -> contract.GiftCardAudit:
    """Each card's counts against its book, and against the parts of payments that it gives."""
    booked = _sums(
        _gift,
        issued=(_gift.c.kind == "issue", _gift.c.amount),
        held=(_gift.c.kind == "hold", _gift.c.amount),
        let_go=(_gift.c.kind.in_(("release", "spend")), _gift.c.amount),
        spent=(_gift.c.kind == "spend", _gift.c.amount),
        returned=(_gift.c.kind == "refund", _gift.c.amount),
    )
    given = _sums(
        _part,
        held=(_part.c.status == "authorized", _part.c.amount),
        spent=(_part.c.captured > 0, _part.c.captured - _part.c.refunded),
    )
    total = func.coalesce
    wrong = or_(
        _card.c.issued != total(booked.c.issued, 0),
        _card.c.held != total(booked.c.held - booked.c.let_go, 0),
        _card.c.spent != total(booked.c.spent - booked.c.returned, 0),
        _card.c.held != total(given.c.held, 0),
        _card.c.spent != total(given.c.spent, 0),
        _card.c.issued != _card.c.available + _card.c.held + _card.c.spent,
    )
    broken = session.scalars(
        select(_card.c.id)
        .outerjoin(booked, booked.c.gift_card_id == _card.c.id)
        .outerjoin(given, given.c.gift_card_id == _card.c.id)
        .where(wrong)
        .order_by(_card.c.id)
        .limit(LISTED)
    ).all()
    cards = session.scalar(select(func.count()).select_from(_card)) or 0
    return contract.GiftCardAudit(cards=cards, broken=list(broken))


@dataclass(frozen=True)
class Known:
    """A movement that is known here to have happened."""

    amount: int
    order_id: str
    at: datetime


def known(session: Session, limit: int) -> dict[tuple[str, str], Known]:
    """The first `limit` movements at the acquirer that happened, by kind and key."""
    columns = (_movement.c.kind, _movement.c.key, _movement.c.amount, _part.c.order_id, _movement.c.at)
    rows = session.execute(
        select(*columns)
        .join(_part, and_(_part.c.payment_id == _movement.c.payment_id, _part.c.gift_card_id.is_(None)))
        .where(_movement.c.state == DONE)
        .order_by(_movement.c.id)
        .limit(limit)
    )
    return {(kind, key): Known(amount, order_id, at) for kind, key, amount, order_id, at in rows}
