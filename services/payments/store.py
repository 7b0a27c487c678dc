"""payments' queries. What is asked of the acquirer is written down first; whoever learns first that it happened, the
verdict or a hook, moves the payment, and the other one changes nothing."""

from dataclasses import dataclass
from datetime import datetime
from logging import getLogger
from typing import Any

from sqlalchemy import Row, and_, bindparam, or_, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import ServiceError
from chassis.types import Money
from contracts import payments as contract
from services.payments.domain import status_after
from services.payments.models import ASKED, DONE, NEVER, Movement, Payment

log = getLogger("rialto.payments")

_payment, _movement = table_of(Payment), table_of(Movement)
_FIND = select(_payment).where(_payment.c.order_id == bindparam("of"))
_HOLD = _FIND.with_for_update()
_FIND_BY_KEY = select(_payment).where(_payment.c.authorize_key == bindparam("of"))
_HOLD_BY_KEY = _FIND_BY_KEY.with_for_update()
_SET = update(_payment).where(_payment.c.order_id == bindparam("of")).returning(_payment)
_asked = and_(_movement.c.kind == bindparam("asked"), _movement.c.key == bindparam("under"))
_HOLD_MOVED = (
    select(_payment, _movement.c.amount.label("moved"))
    .join(_movement, _movement.c.order_id == _payment.c.order_id)
    .where(_asked)
    .with_for_update(of=_payment)
)
_TURN = update(_movement).where(_asked, _movement.c.state == ASKED)
_CAPTURE_OR_VOID = select(_movement.c.kind).where(
    or_(
        and_(_movement.c.kind == "capture", _movement.c.key == bindparam("capture")),
        and_(_movement.c.kind == "void", _movement.c.key == bindparam("void")),
    )
)


def find(session: Session, order_id: str) -> Row[Any] | None:
    """The payment as it is now, locked until the end of a write transaction."""
    return run(session, _HOLD, of=order_id).one_or_none()


def view(session: Session, order_id: str) -> contract.Payment:
    payment = run(session, _FIND, of=order_id).one_or_none()
    if payment is None:
        raise ServiceError("payments.not_found", f"There is no payment for order {order_id!r}.")
    return _view(payment)


def _view(payment: Row[Any]) -> contract.Payment:
    return contract.Payment(
        order_id=payment.order_id,
        status=payment.status,
        method=payment.method,
        amount=payment.amount,
        captured=payment.captured,
        refunded=payment.refunded,
        currency=payment.currency,
        reason=payment.reason,
    )


def begin(session: Session, order_id: str, amount: Money, method: str, key: str) -> None:
    """The order's payment, which is about to be authorised; found if it is there already under the same key."""
    at = now(session)
    row = dict(
        order_id=order_id,
        method=method,
        status="none",
        amount=amount.amount,
        captured=0,
        refunding=0,
        refunded=0,
        currency=amount.currency,
        authorize_key=key,
        created_at=at,
        updated_at=at,
    )
    if insert_new(session, _payment, row):
        ask(session, "authorize", key, order_id, amount.amount)
        return
    payment = find(session, order_id)
    if payment is None or payment.authorize_key != key:
        raise ServiceError("payments.exists", f"Order {order_id!r} has a payment already.")


def ask(session: Session, kind: str, key: str, order_id: str, amount: int, command_key: str | None = None) -> None:
    """Write down that the acquirer is about to be asked; once for each kind and key."""
    row = dict(
        kind=kind,
        key=key,
        command_key=command_key or key,
        order_id=order_id,
        amount=amount,
        state=ASKED,
        at=now(session),
    )
    insert_new(session, _movement, row)


def happened(session: Session, kind: str, key: str) -> contract.Payment | None:
    """A movement is known to have happened: the payment follows, and is answered. Once; what nobody asked for is left
    to reconciliation."""
    payment = run(session, _HOLD_MOVED, asked=kind, under=key).one_or_none()
    if payment is None:
        log.warning("the acquirer tells of a movement that we did not ask for", extra={"kind": kind, "key": key})
        return None
    if not _turn(session, kind, key, DONE):
        return _view(payment)
    sums = dict(captured=payment.captured, refunding=payment.refunding, refunded=payment.refunded)
    if kind == "capture":
        sums["captured"] += payment.moved
    if kind == "refund":
        sums["refunding"] -= payment.moved
        sums["refunded"] += payment.moved
    status = status_after(kind, payment.status, sums["captured"], sums["refunded"])
    return _view(_set(session, payment.order_id, status=status, **sums))


def _set(session: Session, order_id: str, **values: Any) -> Row[Any]:
    """Change these columns of a locked payment; answers it as it is then."""
    return run(session, _SET, of=order_id, updated_at=now(session), **values).one()


def refused(session: Session, kind: str, key: str) -> bool:
    """A movement is known never to happen under this key. False if that, or the opposite, was known before."""
    return _turn(session, kind, key, NEVER)


def _turn(session: Session, kind: str, key: str, state: str) -> bool:
    return run(session, _TURN, asked=kind, under=key, state=state, at=now(session)).rowcount == 1


def decline(session: Session, order_id: str, key: str, reason: str) -> None:
    payment = find(session, order_id)
    if payment is not None and refused(session, "authorize", key):
        _set(session, order_id, status="declined", reason=reason[:100])


def ask_void(session: Session, key: str) -> Row[Any]:
    """The payment that was authorised, or may have been, under this key; its void is written down."""
    payment = run(session, _FIND_BY_KEY, of=key).one()
    ask(session, "void", key, payment.order_id, payment.amount)
    return payment


def voided(session: Session, key: str, was_there: bool) -> None:
    """Nothing is set aside under this key any more, nor will be."""
    if was_there:
        happened(session, "authorize", key)
        happened(session, "void", key)
        return
    payment = run(session, _HOLD_BY_KEY, of=key).one()
    refused(session, "authorize", key)
    refused(session, "void", key)
    _set(session, payment.order_id, status="voided")


def ask_capture(session: Session, order_id: str, amount: Money, key: str) -> Row[Any]:
    """The payment that may be captured by this key; the capture is written down. Raises ServiceError."""
    payment = find(session, order_id)
    if payment is None:
        raise ServiceError("payments.not_authorized", f"Nothing was authorised for order {order_id!r}.")
    asked = run(session, _CAPTURE_OR_VOID, capture=key, void=payment.authorize_key).scalars().all()
    if "capture" in asked:
        return payment
    if payment.status != "authorized":
        code = {"captured": "payments.captured", "refunded": "payments.captured", "voided": "payments.voided"}
        raise ServiceError(
            code.get(payment.status, "payments.not_authorized"), f"The payment is {payment.status}, not authorized."
        )
    if "void" in asked:
        raise ServiceError("payments.voided", "The payment is being voided.")
    if amount.amount > payment.amount or amount.currency != payment.currency:
        raise ServiceError(
            "payments.capture_refused",
            f"Only {payment.amount} minor units of {payment.currency} are authorised.",
            {"reason": "capture_exceeds_authorization"},
        )
    ask(session, "capture", key, order_id, amount.amount)
    return payment


def reserve_refund(session: Session, order_id: str, amount: Money, key: str) -> tuple[Row[Any], str]:
    """Hold so much of what was captured for a refund; answers the payment and the acquirer's key. Raises ServiceError.

    The acquirer keeps a refusal for ever: after one, the command's next try goes by a key of its own.
    """
    payment = find(session, order_id)
    if payment is None or payment.captured == 0:
        raise ServiceError("payments.not_captured", f"Nothing was taken for order {order_id!r}.")
    if payment.currency != amount.currency:
        raise ServiceError("request.invalid", f"The payment is in {payment.currency}.", {"field": "amount.currency"})
    of_command = select(Movement).where(Movement.kind == "refund", Movement.command_key == key)
    tries = session.scalars(of_command.order_by(Movement.id)).all()
    if tries and tries[-1].state != NEVER:
        return payment, tries[-1].key
    free = payment.captured - payment.refunded - payment.refunding
    if amount.amount > free:
        raise ServiceError(
            "payments.refund_exceeds_capture", f"Only {free} minor units are left to give back.", {"left": free}
        )
    _set(session, order_id, refunding=payment.refunding + amount.amount)
    outside_key = f"{key}#{len(tries) + 1}" if tries else key
    ask(session, "refund", outside_key, order_id, amount.amount, command_key=key)
    return payment, outside_key


def release_refund(session: Session, order_id: str, amount: Money, outside_key: str) -> None:
    """The acquirer refused: what was held can be given back again."""
    payment = find(session, order_id)
    if payment is not None and refused(session, "refund", outside_key):
        _set(session, order_id, refunding=payment.refunding - amount.amount)


def balances(session: Session, after: str | None, limit: int) -> contract.BalancePage:
    """At most 1,000 at once."""
    size = min(max(limit, 1), 1000)
    rows = session.scalars(
        select(Payment).where(Payment.order_id > (after or "")).order_by(Payment.order_id).limit(size + 1)
    ).all()
    items = [
        contract.Balance(
            order_id=row.order_id,
            status=row.status,
            captured=row.captured,
            refunded=row.refunded,
            currency=row.currency,
            updated_at=row.updated_at,
        )
        for row in rows[:size]
    ]
    return contract.BalancePage(items=items, next_after=items[-1].order_id if len(rows) > size else None)


@dataclass(frozen=True)
class Known:
    """A movement that is known here to have happened."""

    amount: int
    order_id: str
    at: datetime


def known(session: Session, limit: int) -> dict[tuple[str, str], Known]:
    """The first `limit` movements that happened, by kind and key."""
    columns = (Movement.kind, Movement.key, Movement.amount, Movement.order_id, Movement.at)
    rows = session.execute(select(*columns).where(Movement.state == DONE).order_by(Movement.id).limit(limit))
    return {(kind, key): Known(amount, order_id, at) for kind, key, amount, order_id, at in rows}
