"""Payouts: written down before the bank is asked; the bank's answer or its hook, whichever is first, moves them."""

import uuid
from typing import Any

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import ServiceError
from chassis.masking import shortened
from chassis.outbox import publish
from chassis.types import Money
from contracts import payments as contract
from services.payments.models import PayOut

STATES: dict[str, tuple[str, ...]] = {
    "sent": ("asked",),
    "refused": ("asked",),
    "settled": ("asked", "sent"),
    "returned": ("asked", "sent", "settled"),
}
"""To each state, from which ones a payout may come: news that is late never moves one back."""

_payout = table_of(PayOut)
_FIND = select(_payout).where(_payout.c.id == bindparam("of"))
_HOLD = select(_payout).where(_payout.c.key == bindparam("of")).with_for_update()
_MOVE = (
    update(_payout)
    .where(_payout.c.key == bindparam("of"), _payout.c.status.in_(bindparam("before", expanding=True)))
    .values(status=bindparam("to"), reason=bindparam("why"), updated_at=bindparam("at"))
    .returning(_payout)
)
_NUMBER = (
    update(_payout)
    .where(_payout.c.key == bindparam("of"))
    .values(sequence=_payout.c.sequence + 1)
    .returning(_payout.c.sequence)
)


def begin(session: Session, payout_id: str, amount: Money, iban: str, key: str) -> None:
    """The payout, which the bank is about to be asked for; found if it is there under the same key. Raises
    ServiceError."""
    at = now(session)
    row = dict(
        id=payout_id,
        key=key,
        iban=shortened(iban),
        amount=amount.amount,
        currency=amount.currency,
        status="asked",
        sequence=0,
        created_at=at,
        updated_at=at,
    )
    if not insert_new(session, _payout, row) and _require(session, payout_id).key != key:
        raise ServiceError("payments.exists", f"There is a payout {payout_id!r} already.")


def sent(session: Session, payout_id: str, key: str) -> contract.PayOut:
    """The bank took it."""
    _move(session, key, "sent")
    return get(session, payout_id)


def refused(session: Session, key: str, reason: str) -> None:
    """The bank did not, and nothing was sent."""
    _move(session, key, "refused", reason)


def heard(session: Session, status: str, key: str, reason: str | None) -> None:
    """A hook: the payout follows, and whoever asked for it is told."""
    before = run(session, _HOLD, of=key).one_or_none()
    if before is None or (moved := _move(session, key, status, reason)) is None:
        return
    about: dict[str, Any] = dict(
        event_id=uuid.uuid4().hex,
        occurred_at=now(session),
        aggregate_id=moved.id,
        sequence=run(session, _NUMBER, of=key).scalar_one(),
        payout_id=moved.id,
        amount=Money(amount=moved.amount, currency=moved.currency),
    )
    if status == "settled":
        publish(session, contract.PayOutSettled(**about))
    else:
        settled = before.status == "settled"
        publish(session, contract.PayOutReturned(**about, settled=settled, reason=reason or "returned"))


def get(session: Session, payout_id: str) -> contract.PayOut:
    row = _require(session, payout_id)
    return contract.PayOut(
        id=row.id,
        status=row.status,
        amount=Money(amount=row.amount, currency=row.currency),
        iban=row.iban,
        reason=row.reason,
    )


def _require(session: Session, payout_id: str) -> Row[Any]:
    row: Row[Any] | None = run(session, _FIND, of=payout_id).one_or_none()
    if row is None:
        raise ServiceError("payments.not_found", f"There is no payout {payout_id!r}.")
    return row


def _move(session: Session, key: str, to: str, reason: str | None = None) -> Row[Any] | None:
    why = reason[:100] if reason else None
    moved: Row[Any] | None = run(
        session, _MOVE, of=key, before=list(STATES[to]), to=to, why=why, at=now(session)
    ).one_or_none()
    return moved
