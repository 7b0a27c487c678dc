"""payments' queries. What is asked of the acquirer is written down first; whoever learns first that it happened, the
verdict or a hook, moves the payment, and the other one changes nothing."""

from dataclasses import dataclass
from datetime import datetime
from logging import getLogger

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from chassis.db import affected, insert_new, now
from chassis.errors import ServiceError
from chassis.types import Money
from contracts import payments as contract
from services.payments.domain import status_after
from services.payments.models import ASKED, DONE, NEVER, Movement, Payment

log = getLogger("rialto.payments")


def find(session: Session, order_id: str) -> Payment | None:
    """The payment as it is now, locked until the end of a write transaction."""
    return session.get(Payment, order_id, populate_existing=True, with_for_update=True)


def view(session: Session, order_id: str) -> contract.Payment:
    payment = session.get(Payment, order_id, populate_existing=True)
    if payment is None:
        raise ServiceError("payments.not_found", f"There is no payment for order {order_id!r}.")
    return contract.Payment(
        order_id=order_id,
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
    if insert_new(session, Payment.__table__, row):  # type: ignore[arg-type]  # a declared class has a Table
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
    insert_new(session, Movement.__table__, row)  # type: ignore[arg-type]


def asked_before(session: Session, kind: str, key: str) -> Movement | None:
    return session.scalar(select(Movement).where(Movement.kind == kind, Movement.key == key))


def happened(session: Session, kind: str, key: str) -> None:
    """A movement is known to have happened: the payment follows. Once; what nobody asked for is left to
    reconciliation."""
    movement = asked_before(session, kind, key)
    if movement is None:
        log.warning("the acquirer tells of a movement that we did not ask for", extra={"kind": kind, "key": key})
        return
    payment = find(session, movement.order_id)
    if payment is None or not _turn(session, kind, key, DONE):
        return
    if kind == "capture":
        payment.captured += movement.amount
    if kind == "refund":
        payment.refunding -= movement.amount
        payment.refunded += movement.amount
    payment.status = status_after(kind, payment.status, payment.captured, payment.refunded)
    payment.updated_at = now(session)
    session.flush()


def refused(session: Session, kind: str, key: str) -> bool:
    """A movement is known never to happen under this key. False if that, or the opposite, was known before."""
    return _turn(session, kind, key, NEVER)


def _turn(session: Session, kind: str, key: str, state: str) -> bool:
    asked = update(Movement).where(Movement.kind == kind, Movement.key == key, Movement.state == ASKED)
    return affected(session, asked.values(state=state, at=now(session))) == 1


def decline(session: Session, order_id: str, key: str, reason: str) -> None:
    payment = find(session, order_id)
    if payment is not None and refused(session, "authorize", key):
        payment.status, payment.reason, payment.updated_at = "declined", reason[:100], now(session)
        session.flush()


def ask_void(session: Session, key: str) -> Payment:
    """The payment that was authorised, or may have been, under this key; its void is written down."""
    payment = session.scalars(select(Payment).where(Payment.authorize_key == key)).one()
    ask(session, "void", key, payment.order_id, payment.amount)
    return payment


def voided(session: Session, key: str, was_there: bool) -> None:
    """Nothing is set aside under this key any more, nor will be."""
    if was_there:
        happened(session, "authorize", key)
        happened(session, "void", key)
        return
    payment = session.scalars(select(Payment).where(Payment.authorize_key == key).with_for_update()).one()
    refused(session, "authorize", key)
    refused(session, "void", key)
    payment.status, payment.updated_at = "voided", now(session)
    session.flush()


def ask_capture(session: Session, order_id: str, amount: Money, key: str) -> Payment:
    """The payment that may be captured by this key; the capture is written down. Raises ServiceError."""
    payment = find(session, order_id)
    if payment is None:
        raise ServiceError("payments.not_authorized", f"Nothing was authorised for order {order_id!r}.")
    if asked_before(session, "capture", key):
        return payment
    if payment.status != "authorized":
        code = {"captured": "payments.captured", "refunded": "payments.captured", "voided": "payments.voided"}
        raise ServiceError(
            code.get(payment.status, "payments.not_authorized"), f"The payment is {payment.status}, not authorized."
        )
    if asked_before(session, "void", payment.authorize_key):
        raise ServiceError("payments.voided", "The payment is being voided.")
    if amount.amount > payment.amount or amount.currency != payment.currency:
        raise ServiceError(
            "payments.capture_refused",
            f"Only {payment.amount} minor units of {payment.currency} are authorised.",
            {"reason": "capture_exceeds_authorization"},
        )
    ask(session, "capture", key, order_id, amount.amount)
    return payment


def reserve_refund(session: Session, order_id: str, amount: Money, key: str) -> tuple[Payment, str]:
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
    left = Payment.captured - Payment.refunded - Payment.refunding
    held = update(Payment).where(Payment.order_id == order_id, left >= amount.amount)
    if affected(session, held.values(refunding=Payment.refunding + amount.amount, updated_at=now(session))) != 1:
        free = payment.captured - payment.refunded - payment.refunding
        raise ServiceError(
            "payments.refund_exceeds_capture", f"Only {free} minor units are left to give back.", {"left": free}
        )
    outside_key = f"{key}#{len(tries) + 1}" if tries else key
    ask(session, "refund", outside_key, order_id, amount.amount, command_key=key)
    return payment, outside_key


def release_refund(session: Session, order_id: str, amount: Money, outside_key: str) -> None:
    """The acquirer refused: what was held can be given back again."""
    payment = find(session, order_id)
    if payment is not None and refused(session, "refund", outside_key):
        payment.refunding -= amount.amount
        payment.updated_at = now(session)
        session.flush()


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
