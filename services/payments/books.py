"""payments' books, for the audit: what each order's payments hold, and whether each gift card's books balance."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, Subquery, case, func, or_, select
from sqlalchemy.orm import Session

from chassis.db import table_of
from contracts import payments as contract
from services.payments.domain import CARD, GIFT_CARD, WALLET
from services.payments.models import DONE, NEVER, Dispute, GiftCard, GiftCardMovement, Movement, Part
from services.payments.store import of_movement

LISTED = 100
WAYS = (CARD, GIFT_CARD, WALLET)

_part, _movement = table_of(Part), table_of(Movement)
_card, _gift, _dispute = table_of(GiftCard), table_of(GiftCardMovement), table_of(Dispute)
_KEPT = _part.c.captured - _part.c.refunded


def balances(session: Session, after: str | None, limit: int) -> contract.BalancePage:
    """At most 1,000 at once."""
    size = min(max(limit, 1), 1000)
    lost = (
        select(func.coalesce(func.sum(_dispute.c.amount), 0))
        .where(_dispute.c.order_id == _part.c.order_id, _dispute.c.status == "lost")
        .scalar_subquery()
    )
    sums = (
        select(
            _part.c.order_id,
            func.sum(_part.c.captured).label("captured"),
            func.sum(_part.c.refunded).label("refunded"),
            func.min(_part.c.currency).label("currency"),
            func.max(_part.c.updated_at).label("updated_at"),
            *(func.sum(case((_part.c.method == way, _KEPT), else_=0)).label(way) for way in WAYS),
            lost.label("lost"),
        )
        .where(_part.c.order_id > (after or ""))
        .group_by(_part.c.order_id)
        .order_by(_part.c.order_id)
        .limit(size + 1)
    )
    rows = session.execute(sums).all()
    issued, by_accounts = _to_new_gift_cards(session, rows[0].order_id, rows[-1].order_id) if rows else ({}, {})
    items = [
        contract.Balance(
            order_id=row.order_id,
            captured=int(row.captured),
            refunded=int(row.refunded),
            currency=row.currency,
            updated_at=row.updated_at,
            card=int(row.card) + issued.get(row.order_id, 0) - by_accounts.get(row.order_id, 0),
            gift_card=int(row.gift_card) - issued.get(row.order_id, 0),
            wallet=int(row.wallet) + by_accounts.get(row.order_id, 0),
            lost=int(row.lost),
        )
        for row in rows[:size]
    ]
    return contract.BalancePage(items=items, next_after=items[-1].order_id if len(rows) > size else None)


def _to_new_gift_cards(session: Session, first: str, last: str) -> tuple[dict[str, int], dict[str, int]]:
    """Of each of these orders what new gift cards got back, and how much of it accounts had paid, closed since."""
    these = _part.c.order_id.between(first, last)
    issued = (
        select(_part.c.order_id, func.sum(_gift.c.amount))
        .join_from(_gift, _part, _part.c.payment_id == _gift.c.payment_id)
        .where(these, _part.c.position == 0, _gift.c.kind == "issue")
        .group_by(_part.c.order_id)
    )
    by_accounts = (
        select(_part.c.order_id, func.sum(_movement.c.amount))
        .join_from(_movement, _part, of_movement)
        .where(these, _movement.c.kind == "refund", _movement.c.state == NEVER, _movement.c.account_id.is_not(None))
        .group_by(_part.c.order_id)
    )
    of_orders, of_accounts = (
        {order_id: int(amount) for order_id, amount in session.execute(query)} for query in (issued, by_accounts)
    )
    return of_orders, of_accounts


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
    rows = session.execute(
        select(_card.c.currency, func.count(), func.sum(_card.c.available + _card.c.held)).group_by(_card.c.currency)
    ).all()
    return contract.GiftCardAudit(
        cards=sum(count for _, count, _ in rows),
        broken=list(broken),
        sums={currency: int(amount) for currency, _, amount in rows},
        moved_at=session.scalar(select(func.max(_gift.c.at))),
    )


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
        .join(_part, of_movement)
        .where(_movement.c.state == DONE, _movement.c.account_id.is_(None))
        .order_by(_movement.c.id)
        .limit(limit)
    )
    return {(kind, key): Known(amount, order_id, at) for kind, key, amount, order_id, at in rows}
