"""Gift cards: the shop's own money, so each movement is a guarded update and a line of the card's book, in one commit.

Who moves several cards in one transaction takes them in the order of their ids, so that two never wait for each other.
"""

import functools
import uuid
from typing import Any

from sqlalchemy import Executable, Row, bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.types import Money
from contracts import payments as contract
from services.payments.domain import Share
from services.payments.models import GiftCard, GiftCardMovement

MOVES = {
    "hold": ("available", "held"),
    "release": ("held", "available"),
    "spend": ("held", "spent"),
    "refund": ("spent", "available"),
}
"""From which count to which each kind of movement carries an amount."""
LISTED = 100

_card, _movement = table_of(GiftCard), table_of(GiftCardMovement)
_FIND = select(_card).where(_card.c.id == bindparam("of"))
_LOCK = _FIND.with_for_update()
_MOVED = select(_movement.c.id).where(_movement.c.key == bindparam("of"), _movement.c.kind == bindparam("sort"))
_NOTE = insert(_movement)


@functools.cache
def _move(kind: str) -> Executable:
    """The update that carries `:n` from one count to the other, if there is so much."""
    source, target = (_card.c[name] for name in MOVES[kind])
    return (
        update(_card)
        .where(_card.c.id == bindparam("of"), source >= bindparam("n"))
        .values({source: source - bindparam("n"), target: target + bindparam("n"), _card.c.updated_at: bindparam("t")})
    )


def issue(session: Session, customer_id: str, amount: Money) -> str:
    """A new card that nothing was noted of yet; answers its id."""
    at, card_id = now(session), uuid.uuid4().hex
    row = dict(id=card_id, customer_id=customer_id, currency=amount.currency, issued=amount.amount)
    counts = dict(available=amount.amount, held=0, spent=0)
    insert_new(session, _card, {**row, **counts, "created_at": at, "updated_at": at})
    return card_id


def tell_issued(session: Session, card_id: str, customer_id: str, amount: Money) -> None:
    """Tell of a new card that nobody paid for."""
    publish(
        session,
        contract.GiftCardIssued(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=card_id,
            sequence=1,
            gift_card_id=card_id,
            customer_id=customer_id,
            amount=amount,
        ),
    )


def note(session: Session, kind: str, card_id: str, amount: int, key: str, payment_id: str | None = None) -> None:
    """Write a line into a card's book."""
    run(session, _NOTE, gift_card_id=card_id, kind=kind, amount=amount, key=key, payment_id=payment_id, at=now(session))


def hold(session: Session, share: Share, customer_id: str | None, currency: str, key: str, payment_id: str) -> None:
    """Set a share aside on its card. Raises ServiceError as `require`."""
    run(session, _LOCK, of=share.gift_card_id)
    require(session, share, customer_id, currency)
    move(session, "hold", share.gift_card_id or "", share.amount, key, payment_id)


def require(session: Session, share: Share, customer_id: str | None, currency: str) -> None:
    """Raises ServiceError if this share could not be held now: not this customer's card, another currency, too little
    on it. Its details name the field."""
    card = run(session, _FIND, of=share.gift_card_id).one_or_none()
    field = {"field": f"{share.field}.id"}
    if card is None or card.customer_id != customer_id:
        raise ServiceError("payments.unknown_gift_card", "You have no gift card with this id.", field)
    if card.currency != currency:
        raise ServiceError("request.invalid", f"This gift card is in {card.currency}, not in {currency}.", field)
    if card.available < share.amount:
        raise ServiceError(
            "payments.gift_card_insufficient",
            f"There are {card.available} minor units on this gift card, not {share.amount}.",
            {**field, "available": card.available},
        )


def move(session: Session, kind: str, card_id: str, amount: int, key: str, payment_id: str) -> None:
    """Carry an amount that is known to be there, as the table of moves says; 0 is nothing."""
    if amount == 0:
        return
    if run(session, _move(kind), of=card_id, n=amount, t=now(session)).rowcount != 1:
        raise RuntimeError(f"gift card {card_id} has less than {amount} to {kind}")
    note(session, kind, card_id, amount, key, payment_id)


def of_customer(session: Session, customer_id: str) -> list[contract.GiftCard]:
    rows = session.execute(
        select(_card).where(_card.c.customer_id == customer_id).order_by(_card.c.created_at, _card.c.id).limit(LISTED)
    )
    return [_view(row) for row in rows]


def view(session: Session, card_id: str) -> contract.GiftCard:
    return _view(run(session, _FIND, of=card_id).one())


def _view(card: Row[Any]) -> contract.GiftCard:
    def money(amount: int) -> Money:
        return Money(amount=amount, currency=card.currency)

    return contract.GiftCard(
        id=card.id,
        balance=money(card.available),
        issued=money(card.issued),
        held=money(card.held),
        created_at=card.created_at,
    )


def was_moved(session: Session, kind: str, key: str) -> bool:
    """Whether this command moved something so."""
    return run(session, _MOVED, of=key, sort=kind).first() is not None
