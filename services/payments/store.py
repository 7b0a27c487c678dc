"""payments' queries. What is asked of the acquirer is written down first; whoever learns first that it happened, the
verdict or a hook, moves the part, and the other one changes nothing.

What gift cards give moves in the same commit as what it belongs to: with the card's verdict, or, in a payment without a
card, at once. Rows are locked in one order, so that nobody waits in a circle: parts by their ids, all that are needed
before the first is changed; then gift cards by theirs.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

from sqlalchemy import Row, and_, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.types import Money
from contracts import payments as contract
from services.payments import gift_cards
from services.payments.domain import Share, spread, status_after, status_of
from services.payments.models import ASKED, DONE, NEVER, Movement, Part

log = getLogger("rialto.payments")

_part, _movement = table_of(Part), table_of(Movement)
is_card = _part.c.gift_card_id.is_(None)
_FIND = select(_part).where(_part.c.payment_id == bindparam("of")).order_by(_part.c.id)
_HOLD = _FIND.with_for_update()
_HOLD_BY_KEY = select(_part).where(_part.c.authorize_key == bindparam("of")).order_by(_part.c.id).with_for_update()
_ADD = insert(_part)
_SET = update(_part).where(_part.c.id == bindparam("of")).returning(_part)
_asked = and_(_movement.c.kind == bindparam("asked"), _movement.c.key == bindparam("under"))
_HOLD_MOVED = (
    select(_part, _movement.c.amount.label("moved"))
    .join(_movement, _movement.c.payment_id == _part.c.payment_id)
    .where(_asked, is_card)
    .with_for_update(of=_part)
)
_KNOWN = select(_movement.c.id).where(_asked, _movement.c.state == DONE)
_TURN = update(_movement).where(_asked, _movement.c.state == ASKED)
_CAPTURE_OR_VOID = select(_movement.c.kind, _movement.c.command_key).where(
    or_(
        and_(_movement.c.kind == "capture", _movement.c.key == bindparam("capture")),
        and_(_movement.c.kind == "void", _movement.c.key == bindparam("void")),
    )
)
Parts = Sequence[Row[Any]]


# --- what is known of a payment


def find(session: Session, payment_id: str) -> Parts:
    """The parts as they are now, in their order, locked until the end of a write transaction."""
    return run(session, _HOLD, of=payment_id).all()


def get(session: Session, order_id: str, payment_id: str) -> contract.Payment:
    parts = run(session, _FIND, of=payment_id).all()
    if not parts or parts[0].order_id != order_id:
        raise ServiceError("payments.not_found", f"There is no such payment for order {order_id!r}.")
    return view(parts)


def view_after(session: Session, part: Row[Any]) -> contract.Payment:
    """The payment that this part, as it is now, belongs to."""
    return view([part] if part.parts == 1 else run(session, _FIND, of=part.payment_id).all())


def view(parts: Parts) -> contract.Payment:
    first, card = parts[0], card_of(parts)
    status = status_of(parts)
    return contract.Payment(
        id=first.payment_id,
        order_id=first.order_id,
        status=status,
        method=first.method if len(parts) == 1 else "split",
        amount=sum(part.amount for part in parts),
        captured=sum(part.captured for part in parts),
        refunded=sum(part.refunded for part in parts),
        currency=first.currency,
        parts=[
            contract.Part(
                method=part.method,
                status=part.status,
                amount=part.amount,
                captured=part.captured,
                refunded=part.refunded,
                gift_card_id=part.gift_card_id,
            )
            for part in parts
        ],
        reason=card.reason if card else None,
        action_url=card.action_url if card and status == "requires_action" else None,
    )


def card_of(parts: Parts) -> Row[Any] | None:
    """The one part that the acquirer knows of."""
    return next((part for part in parts if part.gift_card_id is None), None)


# --- authorize


@dataclass(frozen=True)
class Names:
    """What a payment is to be known by."""

    order_id: str
    payment_id: str
    customer_id: str | None
    key: str


def begin(session: Session, names: Names, shares: Sequence[Share], currency: str) -> None:
    """The payment, which is about to be authorised: its gift cards held, its card's authorisation written down. Found
    if it is there already under the same key. Raises ServiceError."""
    rows = _rows(session, names, shares, currency)
    if not insert_new(session, _part, rows[0]):
        parts = find(session, names.payment_id)
        if not parts or parts[0].authorize_key != names.key:
            raise ServiceError("payments.exists", f"There is a payment {names.payment_id!r} already.")
        return
    for row in rows[1:]:
        run(session, _ADD, **row)
    for share in sorted(shares, key=lambda share: share.gift_card_id or ""):
        if share.gift_card_id is None:
            ask(session, "authorize", names.key, names.payment_id, share.amount)
        else:
            gift_cards.hold(session, share, names.customer_id, currency, names.key, names.payment_id)


def _rows(session: Session, names: Names, shares: Sequence[Share], currency: str) -> list[dict[str, Any]]:
    at = now(session)
    return [
        dict(
            payment_id=names.payment_id,
            position=position,
            parts=len(shares),
            order_id=names.order_id,
            customer_id=names.customer_id,
            method=share.method,
            gift_card_id=share.gift_card_id,
            status="none" if share.gift_card_id is None else "authorized",
            amount=share.amount,
            captured=0,
            refunding=0,
            refunded=0,
            currency=currency,
            authorize_key=names.key,
            created_at=at,
            updated_at=at,
        )
        for position, share in enumerate(shares)
    ]


def ask(session: Session, kind: str, key: str, payment_id: str, amount: int, command_key: str | None = None) -> None:
    """Write down that the acquirer is about to be asked; once for each kind and key."""
    row = dict(
        kind=kind,
        key=key,
        command_key=command_key or key,
        payment_id=payment_id,
        amount=amount,
        state=ASKED,
        at=now(session),
    )
    insert_new(session, _movement, row)


def authorized(session: Session, payment_id: str, key: str) -> contract.Payment:
    """The acquirer set the card's share aside."""
    moved = happened(session, "authorize", key)
    return view_after(session, moved) if moved else view(find(session, payment_id))


def requires_action(session: Session, payment_id: str, url: str | None) -> contract.Payment:
    """The customer has to approve at `url`. Raises ServiceError `payments.declined` where a hook, faster than the
    acquirer's answer, told that they did not."""
    card = card_of(find(session, payment_id))
    if card is not None and card.status == "none":
        card = change(session, card.id, status="requires_action", action_url=url)
    if card is None or card.status == "declined":
        reason = card.reason if card else None
        raise ServiceError("payments.declined", "The payment was not approved.", {"reason": reason})
    return view_after(session, card)


def decline(session: Session, key: str, reason: str) -> None:
    """The card will not pay: what gift cards held for the same payment is free again."""
    parts = run(session, _HOLD_BY_KEY, of=key).all()
    card = card_of(parts)
    if card is not None and refused(session, "authorize", key):
        change(session, card.id, status="declined", reason=reason[:100])
        _let_go(session, parts, key)


# --- what the acquirer did


def happened(session: Session, kind: str, key: str) -> Row[Any] | None:
    """A movement is known to have happened: the card's part follows, and is answered. Once; what nobody asked for is
    left to reconciliation."""
    part = find_moved(session, kind, key)
    if part is None:
        log.warning("the acquirer tells of a movement that we did not ask for", extra={"kind": kind, "key": key})
        return None
    if not _turn(session, kind, key, DONE):
        return part
    sums = dict(captured=part.captured, refunding=part.refunding, refunded=part.refunded)
    if kind == "capture":
        sums["captured"] += part.moved
    if kind == "refund":
        sums["refunding"] -= part.moved
        sums["refunded"] += part.moved
    status = status_after(kind, part.status, sums["captured"], sums["refunded"])
    return change(session, part.id, status=status, **sums)


def find_moved(session: Session, kind: str, key: str) -> Row[Any] | None:
    """The card's part that a movement belongs to, locked, with the movement's amount as `moved`."""
    return run(session, _HOLD_MOVED, asked=kind, under=key).one_or_none()


def is_known(session: Session, kind: str, key: str) -> bool:
    """Whether a movement is known to have happened already, so that hearing of it changes nothing."""
    return run(session, _KNOWN, asked=kind, under=key).first() is not None


def refused(session: Session, kind: str, key: str) -> bool:
    """A movement is known never to happen under this key. False if that, or the opposite, was known before."""
    return _turn(session, kind, key, NEVER)


def _turn(session: Session, kind: str, key: str, state: str) -> bool:
    return run(session, _TURN, asked=kind, under=key, state=state, at=now(session)).rowcount == 1


def change(session: Session, part_id: int, **values: Any) -> Row[Any]:
    """Change these columns of a locked part; answers it as it is then."""
    return run(session, _SET, of=part_id, updated_at=now(session), **values).one()


def heard(session: Session, kind: str, key: str, authorize_key: str, code: str | None) -> None:
    """A hook: the part follows. A payment that the customer had to approve is told of once that is decided."""
    before = card_of(run(session, _HOLD_BY_KEY, of=authorize_key).all())
    if kind == "decline":
        decline(session, authorize_key, code or "declined")
    else:
        happened(session, "authorize", authorize_key)  # the first of them may have got lost
        happened(session, kind, key)
    if before is None or before.status != "requires_action":
        return
    after = card_of(find(session, before.payment_id))
    if after is not None and after.status in ("declined", "authorized", "captured"):
        _tell(session, after)


def _tell(session: Session, card: Row[Any]) -> None:
    publish(
        session,
        contract.PaymentResolved(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=card.payment_id,
            sequence=1,
            order_id=card.order_id,
            payment_id=card.payment_id,
            authorized=card.status != "declined",
            reason=card.reason,
        ),
    )


# --- void


def ask_void(session: Session, key: str) -> Row[Any] | None:
    """The card of the payment that was authorised, or may have been, under this key; its void is written down. None
    where gift cards pay all of it: they are let go."""
    parts = run(session, _HOLD_BY_KEY, of=key).all()
    card = card_of(parts)
    if card is None:
        _let_go(session, parts, key)
    else:
        ask(session, "void", key, card.payment_id, card.amount)
    return card


def voided(session: Session, key: str, was_there: bool) -> None:
    """Nothing is set aside on the card under this key any more, nor will be: the gift cards are let go."""
    parts = run(session, _HOLD_BY_KEY, of=key).all()
    card = card_of(parts)
    assert card is not None
    if was_there:
        happened(session, "authorize", key)
        happened(session, "void", key)
    else:
        refused(session, "authorize", key)
        refused(session, "void", key)
        if card.status != "declined":
            change(session, card.id, status="voided")
    _let_go(session, parts, key)


def require_unowned(session: Session, key: str) -> None:
    """Raises ServiceError `payments.owned` if a payment may still count on what was authorised under this key."""
    card = card_of(run(session, _HOLD_BY_KEY, of=key).all())
    if card is not None and card.status not in ("declined", "voided"):
        raise ServiceError("payments.owned", f"Payment {card.payment_id!r} is {card.status}: its order decides.")


def _let_go(session: Session, parts: Parts, key: str) -> None:
    """Free what gift cards hold. Raises ServiceError `payments.captured` if it was taken."""
    for part in _gift_parts(parts):
        if part.captured:
            raise ServiceError("payments.captured", "The payment was captured: it can only be refunded.")
        if part.status == "authorized":
            gift_cards.move(session, "release", part.gift_card_id, part.amount, key, part.payment_id)
            change(session, part.id, status="voided")


def _gift_parts(parts: Parts) -> Parts:
    """In the order in which cards are taken."""
    gifts = [part for part in parts if part.gift_card_id is not None]
    return sorted(gifts, key=lambda part: str(part.gift_card_id))


# --- capture


@dataclass(frozen=True)
class Take:
    """A capture as it was written down. `card_amount` 0 means that the card is not needed, and is voided."""

    parts: Parts
    amount: int
    key: str

    @property
    def card(self) -> Row[Any] | None:
        return card_of(self.parts)

    @property
    def card_amount(self) -> int:
        return next(taken for part, taken in self.shares() if part.gift_card_id is None)

    def shares(self) -> list[tuple[Row[Any], int]]:
        """What each part gives: the first ones first."""
        taken = spread(self.amount, (part.amount for part in self.parts))
        return list(zip(self.parts, taken, strict=True))


def ask_capture(session: Session, order_id: str, payment_id: str, amount: Money, key: str) -> Take:
    """The payment that may be captured by this key; what is to be asked of the acquirer is written down. Where gift
    cards pay all of it, it is taken. Raises ServiceError."""
    parts = find(session, payment_id)
    if not parts or parts[0].order_id != order_id:
        raise ServiceError("payments.not_authorized", f"No such payment was authorised for order {order_id!r}.")
    take, card = Take(parts, amount.amount, key), card_of(parts)
    asked = run(session, _CAPTURE_OR_VOID, capture=key, void=parts[0].authorize_key).all()
    if any(each.command_key == key for each in asked) or (card is None and gift_cards.was_moved(session, "spend", key)):
        return take
    _require_capturable(parts, amount, voiding=bool(asked))
    if card is None:
        _take_gift_parts(session, take)
    elif take.card_amount:
        ask(session, "capture", key, payment_id, take.card_amount)
    else:
        ask(session, "void", card.authorize_key, payment_id, card.amount, command_key=key)
    return take


CAPTURE_REFUSALS = {
    "requires_action": "payments.requires_action",
    "captured": "payments.captured",
    "refunded": "payments.captured",
    "voided": "payments.voided",
}


def _require_capturable(parts: Parts, amount: Money, voiding: bool) -> None:
    status, authorized = status_of(parts), sum(part.amount for part in parts)
    if status != "authorized":
        code = CAPTURE_REFUSALS.get(status, "payments.not_authorized")
        raise ServiceError(code, f"The payment is {status}, not authorized.")
    if voiding:
        raise ServiceError("payments.voided", "The payment is being voided.")
    if amount.amount > authorized or amount.currency != parts[0].currency:
        raise ServiceError(
            "payments.capture_refused",
            f"Only {authorized} minor units of {parts[0].currency} are authorised.",
            {"reason": "capture_exceeds_authorization"},
        )


def captured(session: Session, take: Take) -> contract.Payment:
    """The acquirer took its part, or let it go: the gift cards follow."""
    card = take.card
    if card is None:
        return view(find(session, take.parts[0].payment_id))
    if len(take.parts) > 1:
        find(session, card.payment_id)
        _take_gift_parts(session, take)
    asked = ("capture", take.key) if take.card_amount else ("void", card.authorize_key)
    return view_after(session, happened(session, *asked) or card)


def capture_refused(session: Session, take: Take) -> None:
    if take.card is not None:
        asked = ("capture", take.key) if take.card_amount else ("void", take.card.authorize_key)
        refused(session, *asked)


def _take_gift_parts(session: Session, take: Take) -> None:
    taken = {part.id: amount for part, amount in take.shares()}
    for part in _gift_parts(take.parts):
        amount = taken[part.id]
        gift_cards.move(session, "spend", part.gift_card_id, amount, take.key, part.payment_id)
        gift_cards.move(session, "release", part.gift_card_id, part.amount - amount, take.key, part.payment_id)
        change(session, part.id, status="captured" if amount else "voided", captured=amount)
