"""shipping's queries. News of a parcel come from a call's verdict, from a hook, or both: `apply` takes them once."""

import uuid
from logging import getLogger
from typing import Any

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.outbox import publish
from contracts import shipping as contract
from services.shipping.domain import CANCELLABLE, due
from services.shipping.models import Shipment

log = getLogger("rialto.shipping")

_shipment = table_of(Shipment)
_FIND = select(_shipment).where(_shipment.c.order_id == bindparam("of"))
_HOLD = _FIND.with_for_update()
_HOLD_BY_KEY = select(_shipment).where(_shipment.c.booking_key == bindparam("of")).with_for_update()
_SET = update(_shipment).where(_shipment.c.order_id == bindparam("of")).returning(_shipment)


def view(session: Session, order_id: str) -> contract.Shipment:
    shipment = run(session, _FIND, of=order_id).one_or_none()
    if shipment is None:
        raise ServiceError("shipping.not_found", f"Nothing is sent for order {order_id!r}.")
    return _view(shipment)


def _view(shipment: Row[Any]) -> contract.Shipment:
    return contract.Shipment(
        order_id=shipment.order_id,
        status=shipment.status,
        tracking=shipment.tracking,
        updated_at=shipment.updated_at,
    )


def begin(session: Session, order_id: str, email: str, name: str, key: str) -> str:
    """The order's shipment, which is about to be booked, found if it is there; answers the carrier's key for it.

    Raises ServiceError `shipping.cancelled`, or `shipping.exists` when another command booked it.
    """
    at = now(session)
    row = dict(
        order_id=order_id,
        command_key=key,
        booking_key=key,
        refusals=0,
        status="none",
        carrier_sequence=0,
        email=email,
        name=name,
        sequence=0,
        created_at=at,
        updated_at=at,
    )
    if insert_new(session, _shipment, row):
        return key
    shipment = run(session, _HOLD, of=order_id).one_or_none()
    if shipment is None or shipment.command_key != key:
        raise ServiceError("shipping.exists", f"A parcel was booked for order {order_id!r} already.")
    if shipment.status == "cancelled":
        raise ServiceError("shipping.cancelled", "The shipment was cancelled.")
    booking_key: str = shipment.booking_key
    return booking_key


def booking_refused(session: Session, booking_key: str) -> None:
    """The carrier keeps a refusal for ever: the command's next try goes by a key of its own."""
    shipment = run(session, _HOLD_BY_KEY, of=booking_key).one_or_none()
    if shipment is not None and shipment.status == "none":
        refusals = shipment.refusals + 1
        next_key = f"{shipment.command_key}#{refusals + 1}"
        run(session, _SET, of=shipment.order_id, refusals=refusals, booking_key=next_key)


def require_cancellable(session: Session, order_id: str) -> Row[Any]:
    shipment = run(session, _HOLD, of=order_id).one_or_none()
    if shipment is None:
        raise ServiceError("shipping.not_found", f"Nothing is sent for order {order_id!r}.")
    if shipment.status not in (*CANCELLABLE, "cancelled"):
        raise ServiceError("shipping.handed_over", f"It cannot be stopped any more: it is {shipment.status}.")
    return shipment


def cancelled(session: Session, booking_key: str) -> None:
    """The carrier will not take what was booked, or may still be booked, under this key.

    Raises OutcomeUnknown if another try to book was begun meanwhile: its key has to be cancelled too.
    """
    shipment = run(session, _HOLD_BY_KEY, of=booking_key).one_or_none()
    if shipment is None:
        raise OutcomeUnknown("carrier", "the parcel was about to be booked anew")
    if shipment.status in CANCELLABLE:
        run(session, _SET, of=shipment.order_id, status="cancelled", updated_at=now(session))


def of_parcel(session: Session, tracking: str) -> Shipment:
    shipment = session.scalar(select(Shipment).where(Shipment.tracking == tracking))
    if shipment is None:
        raise ServiceError("shipping.not_found", f"No parcel of ours has the tracking number {tracking!r}.")
    return shipment


def apply(
    session: Session, booking_key: str, tracking: str | None, status: str, carrier_sequence: int
) -> contract.Shipment | None:
    """Take the carrier's news of a parcel, unless newer was taken, and tell of each state that it reached, once.

    By the booking's key: news may come before we know the tracking number. Answers the shipment as it is then.
    """
    shipment = run(session, _HOLD_BY_KEY, of=booking_key).one_or_none()
    if shipment is None:
        log.warning("the carrier tells of a parcel that is not ours", extra={"key": booking_key})
        return None
    values: dict[str, Any] = dict(tracking=shipment.tracking or tracking)
    if carrier_sequence > shipment.carrier_sequence and shipment.status != "cancelled":
        told = _tell(session, shipment, status, values["tracking"])
        values |= dict(status=status, carrier_sequence=carrier_sequence, sequence=told, updated_at=now(session))
    return _view(run(session, _SET, of=shipment.order_id, **values).one())


def _tell(session: Session, shipment: Row[Any], reached: str, tracking: str | None) -> int:
    """Publish what is due at this state; answers the last event's sequence."""
    told: int = shipment.sequence
    for sequence, status, kind in due(reached, told):
        content: dict[str, Any] = dict(order_id=shipment.order_id, tracking=tracking or "")
        if kind is contract.ShipmentMoved:
            content |= dict(status=status)
        else:
            content |= dict(email=shipment.email, name=shipment.name)
        publish(
            session,
            kind(
                event_id=uuid.uuid4().hex,
                occurred_at=now(session),
                aggregate_id=shipment.order_id,
                sequence=sequence,
                **content,
            ),
        )
        told = sequence
    return told
