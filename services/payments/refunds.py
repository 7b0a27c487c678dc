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
from services.payments import disputes, gift_cards, store
from services.payments.domain import CARD, GIFT_CARD, WALLET, spread, status_after
from services.payments.models import ASKED, DONE, NEVER, GiftCardMovement, Movement, Part
from services.payments.wallets import CLOSED

_part, _movement, _gift = table_of(Part), table_of(Movement), table_of(GiftCardMovement)
_FIND_ORDER = select(_part).where(_part.c.order_id == bindparam("of")).order_by(_part.c.id)
_HOLD_ORDER = _FIND_ORDER.with_for_update()
_TRIES = (
    select(
        _movement.c.key,
        _movement.c.payment_id,
        _movement.c.account_id,
        _movement.c.amount,
        _movement.c.state,
        _part.c.authorize_key,
    )
    .join(_part, store.of_movement)
    .where(_movement.c.kind == "refund", _movement.c.command_key == bindparam("of"))
    .order_by(_movement.c.id)
)
_GIVEN = select(_gift).where(_gift.c.key == bindparam("of"), _gift.c.kind.in_(("refund", "issue"))).order_by(_gift.c.id)

To = Literal["original", "gift_card"]


@dataclass(frozen=True)
class AskedRefund:
    """What is to be asked under `key`: of the acquirer, of the authorization `authorize_key`; of the ledger, for the
    account `account_id`."""

    key: str
    command_key: str
    order_id: str
    authorize_key: str
    amount: Money
    account_id: str | None


def plan(
    session: Session, order_id: str, amount: Money, to: To, except_payment: str | None, key: str
) -> list[AskedRefund]:
    """Decide what goes back where; what goes to gift cards is done, what goes to cards and accounts is held and
    answered.

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
    rest = amount.amount - decided
    if rest < 0:
        raise ServiceError("command.key_reused", "More was given back under this key before: take a new one.")
    if rest:
        lefts = _lefts(session, order_id, parts)
        _share_out(session, _giving(parts, lefts, rest, except_payment), to, key, len(tries))
        tries = run(session, _TRIES, of=key).all()
    return [
        AskedRefund(
            each.key,
            key,
            order_id,
            each.authorize_key,
            Money(amount=each.amount, currency=amount.currency),
            each.account_id,
        )
        for each in tries
        if each.state == ASKED
    ]


def _giving(
    parts: Sequence[Row[Any]], lefts: Mapping[int, int], amount: int, except_payment: str | None
) -> list[tuple[Row[Any], int]]:
    """Which parts give so much back, the first paid first. Raises ServiceError if there is less left."""
    willing = [part for part in parts if part.payment_id != except_payment]
    left = sum(lefts[part.id] for part in willing)
    if amount > left:
        raise ServiceError(
            "payments.refund_exceeds_capture", f"Only {left} minor units are left to give back.", {"left": left}
        )
    shares = zip(willing, spread(amount, (lefts[part.id] for part in willing)), strict=True)
    return [(part, given) for part, given in shares if given]


def _lefts(session: Session, order_id: str, parts: Sequence[Row[Any]]) -> dict[int, int]:
    """What can still be given back of each of an order's parts, by its id: what the acquirer took for a dispute cannot.

    It can be more than is left beside refunds: one that is on its way is refused by the acquirer then, or what went to
    a gift card is disputed as well.
    """
    disputed = disputes.taken(session, order_id)
    return {part.id: max(_left(part) - disputed.get(part.payment_id, 0) * (part.method == CARD), 0) for part in parts}


def _left(part: Row[Any]) -> int:
    return int(part.captured - part.refunded - part.refunding)


def _share_out(session: Session, giving: list[tuple[Row[Any], int]], to: To, key: str, tries: int) -> None:
    """Gift cards and accounts get their own back, wherever the rest is to go."""
    own = [(part, given) for part, given in giving if part.gift_card_id is not None]
    for part, given in sorted(own, key=lambda each: str(each[0].gift_card_id)):
        gift_cards.move(session, "refund", part.gift_card_id, given, key, part.payment_id)
        _given_back(session, part, given)
    others = [(part, given) for part, given in giving if part.gift_card_id is None]
    if to == "gift_card":
        _issue(session, [(part, given) for part, given in others if part.account_id is None], key)
        others = [(part, given) for part, given in others if part.account_id is not None]
    for number, (part, given) in enumerate(others, start=tries + 1):
        store.change(session, part.id, refunding=part.refunding + given)
        outside_key = key if number == 1 else f"{key}#{number}"
        store.ask(session, "refund", outside_key, part.payment_id, given, key, part.account_id)


def _issue(session: Session, giving: list[tuple[Row[Any], int]], key: str) -> None:
    """One new gift card of the customer's, for all that these parts had paid of this."""
    if not giving:
        return
    first, total = giving[0][0], sum(given for _, given in giving)
    if first.customer_id is None:
        raise ServiceError("payments.no_customer", "Nobody is known whose the gift card would be: refund to the card.")
    card_id = gift_cards.issue(session, first.customer_id, Money(amount=total, currency=first.currency))
    for part, given in giving:
        gift_cards.note(session, "issue", card_id, given, key, part.payment_id)
        _given_back(session, part, given)


def _given_back(session: Session, part: Row[Any], amount: int) -> None:
    refunded = part.refunded + amount
    status = status_after("refund", part.status, part.captured, refunded)
    store.change(session, part.id, refunded=refunded, status=status)


def settle(session: Session, order_id: str, asked: Sequence[AskedRefund], refusals: Mapping[str, ServiceError]) -> None:
    """The answers are taken up. What the acquirer refused can be given back again. What a closed account cannot take
    becomes a gift card. What a frozen one cannot take yet stays held, and is asked of it again by the same key, for the
    ledger does not keep that refusal. Raises the first refusal."""
    if len(asked) > 1:
        run(session, _HOLD_ORDER, of=order_id)  # all, before the first is changed
    for each in asked:
        refusal = refusals.get(each.key)
        if refusal is None:
            store.happened(session, "refund", each.key)
        elif refusal.code == CLOSED:
            _issue(session, _released(session, each), each.command_key)
        elif each.account_id is None:
            _released(session, each)
    for refusal in refusals.values():
        if refusal.code != CLOSED:
            raise refusal


def _released(session: Session, refund: AskedRefund) -> list[tuple[Row[Any], int]]:
    """The part of a refund that will never be under its key, as it is then, with what is to be given back of it in
    another way; nothing if that was known before."""
    part = store.find_moved(session, "refund", refund.key)
    if part is None or not store.refused(session, "refund", refund.key):
        return []
    return [(store.change(session, part.id, refunding=part.refunding - part.moved), part.moved)]


def view(session: Session, order_id: str, amount: Money, key: str) -> contract.Refund:
    """What this command gave back."""
    parts = run(session, _FIND_ORDER, of=order_id).all()
    asked = [
        contract.RefundPart(
            payment_id=each.payment_id,
            amount=each.amount,
            account_id=each.account_id,
            method=CARD if each.account_id is None else WALLET,
        )
        for each in run(session, _TRIES, of=key)
        if each.state == DONE
    ]
    to_gift_cards = [
        contract.RefundPart(
            payment_id=each.payment_id, amount=each.amount, gift_card_id=each.gift_card_id, method=GIFT_CARD
        )
        for each in run(session, _GIVEN, of=key)
    ]
    left = sum(_lefts(session, order_id, parts).values())
    return contract.Refund(order_id=order_id, amount=amount, parts=[*to_gift_cards, *asked], left=left)
