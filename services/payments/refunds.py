"""Refunds: how much goes back to which part, written down in the commit before anything is asked, so that a repeat does
exactly the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from chassis.db import run, table_of
from chassis.errors import ServiceError
from chassis.types import Money
from contracts import payments as contract
from services.payments import gift_cards, store
from services.payments.domain import spread, status_after
from services.payments.models import ASKED, DONE, NEVER, GiftCardMovement, Movement, Part

_part, _movement, _gift = table_of(Part), table_of(Movement), table_of(GiftCardMovement)
_FIND_ORDER = select(_part).where(_part.c.order_id == bindparam("of")).order_by(_part.c.id)
_HOLD_ORDER = _FIND_ORDER.with_for_update()
_TRIES = (
    select(_movement.c.key, _movement.c.payment_id, _movement.c.amount, _movement.c.state, _part.c.authorize_key)
    .join(_part, _part.c.payment_id == _movement.c.payment_id)
    .where(_movement.c.kind == "refund", _movement.c.command_key == bindparam("of"), store.is_card)
    .order_by(_movement.c.id)
)
_GIVEN = select(_gift).where(_gift.c.key == bindparam("of"), _gift.c.kind.in_(("refund", "issue"))).order_by(_gift.c.id)

To = Literal["original", "gift_card"]


@dataclass(frozen=True)
class CardRefund:
    """What the acquirer is to be asked: under `key`, of the authorization `authorize_key`."""

    key: str
    authorize_key: str
    amount: Money


def plan(
    session: Session, order_id: str, amount: Money, to: To, except_payment: str | None, key: str
) -> list[CardRefund]:
    """Decide what goes back where; what goes to gift cards is done, what goes to cards is held and answered.

    What this command has decided before stays as it is, but for what the acquirer refused: that is decided anew. The
    acquirer keeps a refusal for ever, so the next try goes by a key of its own. Raises ServiceError.
    """
    parts = [part for part in run(session, _HOLD_ORDER, of=order_id) if part.captured]
    if not parts:
        raise ServiceError("payments.not_captured", f"Nothing was taken for order {order_id!r}.")
    if parts[0].currency != amount.currency:
        raise ServiceError("request.invalid", f"The payment is in {parts[0].currency}.", {"field": "amount.currency"})
    tries, gifts = run(session, _TRIES, of=key).all(), run(session, _GIVEN, of=key).all()
    decided = sum(each.amount for each in tries if each.state != NEVER) + sum(each.amount for each in gifts)
    if rest := amount.amount - decided:
        _share_out(session, _giving(parts, rest, except_payment), to, key, len(tries))
        tries = run(session, _TRIES, of=key).all()
    return [
        CardRefund(each.key, each.authorize_key, Money(amount=each.amount, currency=amount.currency))
        for each in tries
        if each.state == ASKED
    ]


def _giving(parts: Sequence[Row[Any]], amount: int, except_payment: str | None) -> list[tuple[Row[Any], int]]:
    """Which parts give so much back, the first paid first. Raises ServiceError if there is less left."""
    willing = [part for part in parts if part.payment_id != except_payment]
    lefts = [_left(part) for part in willing]
    if amount > sum(lefts):
        left = sum(lefts)
        raise ServiceError(
            "payments.refund_exceeds_capture", f"Only {left} minor units are left to give back.", {"left": left}
        )
    return [(part, given) for part, given in zip(willing, spread(amount, lefts), strict=True) if given]


def _left(part: Row[Any]) -> int:
    return int(part.captured - part.refunded - part.refunding)


def _share_out(session: Session, giving: list[tuple[Row[Any], int]], to: To, key: str, tries: int) -> None:
    own = [(part, given) for part, given in giving if part.gift_card_id is not None]
    cards = [(part, given) for part, given in giving if part.gift_card_id is None]
    for part, given in sorted(own, key=lambda each: str(each[0].gift_card_id)):
        gift_cards.move(session, "refund", part.gift_card_id, given, key, part.payment_id)
        _given_back(session, part, given)
    if to == "gift_card":
        _issue(session, cards, key)
        return
    for number, (part, given) in enumerate(cards, start=tries + 1):
        store.change(session, part.id, refunding=part.refunding + given)
        outside_key = key if number == 1 else f"{key}#{number}"
        store.ask(session, "refund", outside_key, part.payment_id, given, command_key=key)


def _issue(session: Session, cards: list[tuple[Row[Any], int]], key: str) -> None:
    """One new gift card of the customer's, for all that cards had paid of this."""
    if not cards:
        return
    first, total = cards[0][0], sum(given for _, given in cards)
    if first.customer_id is None:
        raise ServiceError("payments.no_customer", "Nobody is known whose the gift card would be: refund to the card.")
    card_id = gift_cards.issue(session, first.customer_id, Money(amount=total, currency=first.currency))
    for part, given in cards:
        gift_cards.note(session, "issue", card_id, given, key, part.payment_id)
        _given_back(session, part, given)


def _given_back(session: Session, part: Row[Any], amount: int) -> None:
    refunded = part.refunded + amount
    status = status_after("refund", part.status, part.captured, refunded)
    store.change(session, part.id, refunded=refunded, status=status)


def settle(session: Session, order_id: str, asked: Sequence[CardRefund], refusals: Mapping[str, ServiceError]) -> None:
    """The acquirer's answers are taken up: what it refused can be given back again. Raises the first refusal."""
    if len(asked) > 1:
        run(session, _HOLD_ORDER, of=order_id)  # all, before the first is changed
    for each in asked:
        if each.key in refusals:
            _release(session, each)
        else:
            store.happened(session, "refund", each.key)
    for refusal in refusals.values():
        raise refusal


def _release(session: Session, refund: CardRefund) -> None:
    part = store.find_moved(session, "refund", refund.key)
    if part is not None and store.refused(session, "refund", refund.key):
        store.change(session, part.id, refunding=part.refunding - part.moved)


def view(session: Session, order_id: str, amount: Money, key: str) -> contract.Refund:
    """What this command gave back."""
    parts = run(session, _FIND_ORDER, of=order_id).all()
    to_cards = [
        contract.RefundPart(payment_id=each.payment_id, amount=each.amount)
        for each in run(session, _TRIES, of=key)
        if each.state == DONE
    ]
    to_gift_cards = [
        contract.RefundPart(payment_id=each.payment_id, amount=each.amount, gift_card_id=each.gift_card_id)
        for each in run(session, _GIVEN, of=key)
    ]
    left = sum(_left(part) for part in parts)
    return contract.Refund(order_id=order_id, amount=amount, parts=[*to_gift_cards, *to_cards], left=left)
