"""payments' queries. What is asked of the acquirer, or of the ledger, is written down first; whoever learns first that
it happened, the verdict or a hook, moves the part, and the other one changes nothing.

What gift cards give moves in the same commit as what it belongs to: with the verdict of the others, or, in a payment by
gift cards alone, at once. Rows are locked in one order, so that nobody waits in a circle: parts by their ids, all that
are needed before the first is changed; then gift cards by theirs.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

from sqlalchemy import Row, and_, bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.outbox import publish
from contracts import payments as contract
from services.payments import gift_cards
from services.payments.domain import CARD, Share, key_for, status_after, status_of
from services.payments.models import ASKED, DONE, NEVER, Movement, Part

log = getLogger("rialto.payments")

_part, _movement = table_of(Part), table_of(Movement)
of_movement = and_(
    _part.c.payment_id == _movement.c.payment_id,
    _part.c.gift_card_id.is_(None),
    _part.c.account_id.is_not_distinct_from(_movement.c.account_id),
)
"""The part that a movement is of: the card, or the account that it names."""
_FIND = select(_part).where(_part.c.payment_id == bindparam("of")).order_by(_part.c.id)
_HOLD = _FIND.with_for_update()
_HOLD_BY_KEY = select(_part).where(_part.c.authorize_key == bindparam("of")).order_by(_part.c.id).with_for_update()
_ADD = insert(_part)
_SET = update(_part).where(_part.c.id == bindparam("of")).returning(_part)
_asked = and_(_movement.c.kind == bindparam("asked"), _movement.c.key == bindparam("under"))
_HOLD_MOVED = (
    select(_part, _movement.c.amount.label("moved"))
    .join(_movement, of_movement)
    .where(_asked)
    .with_for_update(of=_part)
)
_KNOWN = select(_movement.c.id).where(_asked, _movement.c.state == DONE)
_TURN = update(_movement).where(_asked, _movement.c.state == ASKED)
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
                account_id=part.account_id,
            )
            for part in parts
        ],
        reason=next((part.reason for part in parts if part.reason), None),
        action_url=card.action_url if card and status == "requires_action" else None,
    )


def card_of(parts: Parts) -> Row[Any] | None:
    """The one part that the acquirer knows of."""
    return next((part for part in parts if part.method == CARD), None)


def wallets_in(parts: Parts) -> Parts:
    """The parts that the ledger knows of."""
    return [part for part in parts if part.account_id is not None]


def others_in(parts: Parts) -> Parts:
    """The parts that somebody else is asked for: all but gift cards."""
    return [part for part in parts if part.gift_card_id is None]


def gifts_in(parts: Parts) -> Parts:
    """The gift cards, in the order in which they are taken."""
    gifts = [part for part in parts if part.gift_card_id is not None]
    return sorted(gifts, key=lambda part: str(part.gift_card_id))


def authorized_as(part: Row[Any]) -> str:
    """The key under which a part was asked for."""
    return key_for(part.authorize_key, part.position, part.account_id)


# --- authorize


@dataclass(frozen=True)
class Names:
    """What a payment is to be known by."""

    order_id: str
    payment_id: str
    customer_id: str | None
    key: str


def begin(session: Session, names: Names, shares: Sequence[Share], currency: str) -> Parts:
    """The payment, which is about to be authorised: its gift cards held, what others are asked written down. Found if
    it is there already under the same key. Answers its parts if a wallet is among them. Raises ServiceError."""
    rows = _rows(session, names, shares, currency)
    if not insert_new(session, _part, rows[0]):
        parts = find(session, names.payment_id)
        if not parts or parts[0].authorize_key != names.key:
            raise ServiceError("payments.exists", f"There is a payment {names.payment_id!r} already.")
        return parts if wallets_in(parts) else []
    for row in rows[1:]:
        run(session, _ADD, **row)
    for position, share in sorted(enumerate(shares), key=lambda each: each[1].gift_card_id or ""):
        if share.gift_card_id is None:
            key, account_id = key_for(names.key, position, share.account_id), share.account_id
            ask(session, "authorize", key, names.payment_id, share.amount, names.key, account_id)
        else:
            gift_cards.hold(session, share, names.customer_id, currency, names.key, names.payment_id)
    return find(session, names.payment_id) if any(share.account_id for share in shares) else []


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
            account_id=share.account_id,
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


def ask(
    session: Session,
    kind: str,
    key: str,
    payment_id: str,
    amount: int,
    command_key: str | None = None,
    account_id: str | None = None,
) -> None:
    """Write down that the acquirer, or the ledger for an account, is about to be asked; once for each kind and key."""
    row = dict(
        kind=kind,
        key=key,
        command_key=command_key or key,
        payment_id=payment_id,
        account_id=account_id,
        amount=amount,
        state=ASKED,
        at=now(session),
    )
    insert_new(session, _movement, row)


def refusal_of(parts: Parts) -> ServiceError | None:
    """Why the card is known not to pay, if it is."""
    card = card_of(parts)
    return _not_approved(card) if card is not None and card.status == "declined" else None


def _not_approved(card: Row[Any] | None) -> ServiceError:
    reason = card.reason if card is not None else None
    return ServiceError("payments.declined", "The payment was not approved.", {"reason": reason})


def held(session: Session, parts: Parts) -> None:
    """The ledger set aside what accounts give; all parts are locked before the first is changed."""
    for part in wallets_in(find(session, parts[0].payment_id) if parts else []):
        happened(session, "authorize", authorized_as(part))


def authorized(session: Session, payment_id: str, key: str) -> contract.Payment:
    """The acquirer set the card's share aside."""
    moved = happened(session, "authorize", key)
    return view_after(session, moved) if moved else view(find(session, payment_id))


def requires_action(session: Session, payment_id: str, url: str | None) -> contract.Payment:
    """The customer has to approve at `url`. Raises ServiceError `payments.declined` where a hook, faster than the
    acquirer's answer, told that they did not; OutcomeUnknown where accounts are to be let go before that is said."""
    parts = find(session, payment_id)
    card = card_of(parts)
    if card is not None and card.status == "none":
        card = change(session, card.id, status="requires_action", action_url=url)
    if card is None or card.status == "declined":
        if wallets_in(parts):
            raise OutcomeUnknown("acquirer", "it was not approved, and wallets hold their shares")
        raise _not_approved(card)
    return view_after(session, card)


def decline(session: Session, key: str, reason: str, account_id: str | None = None) -> None:
    """An authorisation is refused: by the account of this id, or by the card. What gift cards held is free again;
    accounts have been let go."""
    parts = run(session, _HOLD_BY_KEY, of=key).all()
    turned = [part for part in others_in(parts) if refused(session, "authorize", authorized_as(part))]
    for part in turned:
        by_it = part.account_id == account_id
        status, why = ("declined", reason[:100]) if by_it else ("voided", None)
        change(session, part.id, status=status, reason=why)
    if turned:
        _let_go(session, parts, key)


def not_approved(session: Session, parts: Parts, key: str, reason: str) -> None:
    """The card will not pay: what gift cards held for the same payment is free again. Accounts hold their shares until
    the payment is voided, or its authorisation is asked for again."""
    card = card_of(parts)
    if card is not None and refused(session, "authorize", key):
        change(session, card.id, status="declined", reason=reason[:100])
        _let_go(session, parts, key)


# --- what others did


def happened(session: Session, kind: str, key: str) -> Row[Any] | None:
    """A movement is known to have happened: its part follows, and is answered. Once; what nobody asked for is
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
    """The part that a movement belongs to, locked, with the movement's amount as `moved`."""
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
    parts = run(session, _HOLD_BY_KEY, of=authorize_key).all()
    before = card_of(parts)
    if kind == "decline":
        not_approved(session, parts, authorize_key, code or "declined")
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


def ask_void(session: Session, key: str) -> Parts:
    """The payment that was authorised, or may have been, under this key; what others are to let go is written down.
    Nothing where gift cards pay all of it: they are let go. Raises ServiceError if they were taken."""
    parts = run(session, _HOLD_BY_KEY, of=key).all()
    if not others_in(parts):
        _let_go(session, parts, key)
        return []
    for part in others_in(parts):
        ask(session, "void", authorized_as(part), part.payment_id, part.amount, account_id=part.account_id)
    return parts


def voided(session: Session, key: str, was_there: bool) -> None:
    """Nothing is set aside under this key any more, nor will be: on the card, where it `was_there` before, and on
    accounts. The gift cards are let go."""
    parts = run(session, _HOLD_BY_KEY, of=key).all()
    card = card_of(parts)
    if card is not None and was_there:
        happened(session, "authorize", key)
        happened(session, "void", key)
    elif card is not None:
        refused(session, "authorize", key)
        refused(session, "void", key)
        if card.status != "declined":
            change(session, card.id, status="voided")
    for part in wallets_in(parts):
        refused(session, "authorize", authorized_as(part))
        happened(session, "void", authorized_as(part))
    _let_go(session, parts, key)


def require_unowned(session: Session, key: str) -> None:
    """Raises ServiceError `payments.owned` if a payment may still count on what was authorised under this key."""
    card = card_of(run(session, _HOLD_BY_KEY, of=key).all())
    if card is not None and card.status not in ("declined", "voided"):
        raise ServiceError("payments.owned", f"Payment {card.payment_id!r} is {card.status}: its order decides.")


def _let_go(session: Session, parts: Parts, key: str) -> None:
    """Free what gift cards hold. Raises ServiceError `payments.captured` if it was taken."""
    for part in gifts_in(parts):
        if part.captured:
            raise ServiceError("payments.captured", "The payment was captured: it can only be refunded.")
        if part.status == "authorized":
            gift_cards.move(session, "release", part.gift_card_id, part.amount, key, part.payment_id)
            change(session, part.id, status="voided")
