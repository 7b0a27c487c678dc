"""Captures: what each part gives is written down in the commit before anything is asked."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from chassis.db import run, table_of
from chassis.errors import ServiceError
from chassis.types import Money
from contracts import payments as contract
from services.payments import gift_cards
from services.payments.domain import key_for, spread, status_of
from services.payments.models import Movement
from services.payments.store import (
    Parts,
    ask,
    authorized_as,
    change,
    find,
    gifts_in,
    happened,
    others_in,
    refused,
    view,
    view_after,
)

_movement = table_of(Movement)
_CAPTURES_AND_VOIDS = select(_movement.c.kind, _movement.c.command_key).where(
    or_(
        and_(_movement.c.kind == "capture", _movement.c.command_key == bindparam("capture")),
        and_(_movement.c.kind == "void", _movement.c.key.in_(bindparam("voids", expanding=True))),
    )
)


@dataclass(frozen=True)
class Asked:
    """What is asked of somebody for a part under `key`: a capture of so much, or a void of all."""

    kind: str
    key: str
    part: Row[Any]
    money: Money


@dataclass(frozen=True)
class Take:
    """A capture as it was written down."""

    parts: Parts
    amount: int
    key: str

    def shares(self) -> list[tuple[Row[Any], int]]:
        """What each part gives: the first ones first."""
        taken = spread(self.amount, (part.amount for part in self.parts))
        return list(zip(self.parts, taken, strict=True))

    def asked(self) -> list[Asked]:
        """What the others are asked, in this order: the card, the wallets, and then those that are not needed."""
        others = [(part, taken) for part, taken in self.shares() if part.gift_card_id is None]
        others.sort(key=lambda each: (each[1] == 0, each[0].account_id is not None))
        return [
            Asked("capture", key_for(self.key, part.position, part.account_id), part, _money(part, taken))
            if taken
            else Asked("void", authorized_as(part), part, _money(part, part.amount))
            for part, taken in others
        ]


def _money(part: Row[Any], amount: int) -> Money:
    return Money(amount=amount, currency=part.currency)


def begin(session: Session, order_id: str, payment_id: str, amount: Money, key: str) -> Take:
    """The payment that may be captured by this key; what is to be asked of others is written down. Where gift cards pay
    all of it, it is taken. Raises ServiceError."""
    parts = find(session, payment_id)
    if not parts or parts[0].order_id != order_id:
        raise ServiceError("payments.not_authorized", f"No such payment was authorised for order {order_id!r}.")
    take, others = Take(parts, amount.amount, key), others_in(parts)
    voids = [authorized_as(part) for part in others]
    before = run(session, _CAPTURES_AND_VOIDS, capture=key, voids=voids).all()
    if any(each.command_key == key for each in before) or (not others and gift_cards.was_moved(session, "spend", key)):
        return take
    _require_capturable(parts, amount, voiding=bool(before))
    if not others:
        _take_gift_parts(session, take)
    for each in take.asked():
        ask(session, each.kind, each.key, payment_id, each.money.amount, key, each.part.account_id)
    return take


REFUSALS = {
    "requires_action": "payments.requires_action",
    "captured": "payments.captured",
    "refunded": "payments.captured",
    "voided": "payments.voided",
}


def _require_capturable(parts: Parts, amount: Money, voiding: bool) -> None:
    status, authorized = status_of(parts), sum(part.amount for part in parts)
    if status != "authorized":
        code = REFUSALS.get(status, "payments.not_authorized")
        raise ServiceError(code, f"The payment is {status}, not authorized.")
    if voiding:
        raise ServiceError("payments.voided", "The payment is being voided.")
    if amount.amount > authorized or amount.currency != parts[0].currency:
        raise ServiceError(
            "payments.capture_refused",
            f"Only {authorized} minor units of {parts[0].currency} are authorised.",
            {"reason": "capture_exceeds_authorization"},
        )


def done(session: Session, take: Take) -> contract.Payment:
    """The others took their parts, or let them go: the gift cards follow."""
    if not others_in(take.parts):
        return view(find(session, take.parts[0].payment_id))
    if len(take.parts) > 1:
        find(session, take.parts[0].payment_id)
        _take_gift_parts(session, take)
    part = take.parts[0]
    for each in take.asked():
        part = happened(session, each.kind, each.key) or each.part
    return view_after(session, part)


def not_done(session: Session, take: Take) -> None:
    """The first of them refused, and nothing was taken. What was to be let go anyway may be."""
    for each in take.asked():
        if each.kind == "capture":
            refused(session, each.kind, each.key)


def _take_gift_parts(session: Session, take: Take) -> None:
    taken = {part.id: amount for part, amount in take.shares()}
    for part in gifts_in(take.parts):
        amount = taken[part.id]
        gift_cards.move(session, "spend", part.gift_card_id, amount, take.key, part.payment_id)
        gift_cards.move(session, "release", part.gift_card_id, part.amount - amount, take.key, part.payment_id)
        change(session, part.id, status="captured" if amount else "voided", captured=amount)
