"""shipping's queries. News of a parcel come from a call's verdict, from a hook, or both: `apply` takes them once."""

import uuid
from datetime import datetime
from logging import getLogger
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.outbox import publish
from contracts import shipping as contract
from services.shipping.domain import NOT_GONE, due
from services.shipping.models import Shipment

log = getLogger("rialto.shipping")

_shipment = table_of(Shipment)
_OF = _shipment.c.parcel_id == bindparam("of")
_FIND = select(_shipment).where(_OF)
_HOLD = _FIND.with_for_update()
_HOLD_BY_KEY = select(_shipment).where(_shipment.c.booking_key == bindparam("of")).with_for_update()
_SET = update(_shipment).where(_OF).returning(_shipment)

_KNOWN = (
    select(_shipment)
    .where(_shipment.c.booking_key.is_not(None))
    .order_by(_shipment.c.created_at, _shipment.c.parcel_id)
    .limit(bindparam("most"))
)


class Parcel(NamedTuple):
    """What is to be sent, and whom the mails about it go to."""

    id: str
    order_id: str
    email: str
    name: str
    customer_id: str | None = None


def view(session: Session, parcel_id: str) -> contract.Shipment:
    return _view(_found(run(session, _FIND, of=parcel_id).one_or_none(), parcel_id))


def _found(shipment: Row[Any] | None, parcel_id: str) -> Row[Any]:
    if shipment is None:
        raise ServiceError("shipping.not_found", f"There is no parcel {parcel_id!r}.")
    return shipment


def _view(shipment: Row[Any]) -> contract.Shipment:
    return contract.Shipment(
        order_id=shipment.order_id,
        parcel_id=shipment.parcel_id,
        status=shipment.status,
        tracking=shipment.tracking,
        updated_at=shipment.updated_at,
        on_hold=shipment.on_hold,
    )


def begin(session: Session, parcel: Parcel, key: str) -> str:
    """The shipment that is about to be booked, found if it is there; answers the carrier's key for it.

    Raises ServiceError `shipping.cancelled`, or `shipping.exists` when another command booked it.
    """
    if insert_new(session, _shipment, _row(session, parcel, key, "none")):
        return key
    shipment = run(session, _HOLD, of=parcel.id).one()
    if shipment.status == "cancelled":
        raise ServiceError("shipping.cancelled", "The shipment was cancelled.")
    if shipment.command_key != key:
        raise ServiceError("shipping.exists", f"The parcel {parcel.id!r} was booked already.")
    booking_key: str = shipment.booking_key
    return booking_key


def _row(session: Session, parcel: Parcel, key: str | None, status: str) -> dict[str, Any]:
    at = now(session)
    return dict(
        parcel_id=parcel.id,
        order_id=parcel.order_id,
        customer_id=parcel.customer_id,
        command_key=key,
        booking_key=key,
        refusals=0,
        status=status,
        on_hold=False,
        carrier_sequence=0,
        email=parcel.email,
        name=parcel.name,
        sequence=0,
        created_at=at,
        updated_at=at,
    )


def booking_refused(session: Session, booking_key: str) -> None:
    """The carrier keeps a refusal for ever: the command's next try goes by a key of its own."""
    shipment = run(session, _HOLD_BY_KEY, of=booking_key).one_or_none()
    if shipment is not None and shipment.status == "none":
        refusals = shipment.refusals + 1
        next_key = f"{shipment.command_key}#{refusals + 1}"
        run(session, _SET, of=shipment.parcel_id, refusals=refusals, booking_key=next_key)


def fence(session: Session, order_id: str) -> str | None:
    """What the order's parcel is called at the carrier; None if nothing was ever asked of it, and now never will be."""
    row = _row(session, Parcel(order_id, order_id, "", ""), None, "cancelled")
    return None if insert_new(session, _shipment, row) else booking_key_of(session, order_id)


def booking_key_of(session: Session, parcel_id: str) -> str | None:
    key: str | None = _found(run(session, _FIND, of=parcel_id).one_or_none(), parcel_id).booking_key
    return key


def require_booked(session: Session, order_id: str) -> str:
    """What the order's parcel is called at the carrier, which has it or had it.

    Whether it is still there is the carrier's to say: our news may be late.
    """
    shipment = run(session, _HOLD, of=order_id).one_or_none()
    if shipment is None or shipment.status == "none":
        raise ServiceError("shipping.not_booked", f"Order {order_id!r} has no parcel at the carrier yet.")
    if shipment.booking_key is None:
        raise ServiceError("shipping.cancelled", "The shipment was cancelled.")
    booking_key: str = shipment.booking_key
    return booking_key


def require_not_cancelled(session: Session, parcel_id: str) -> contract.Shipment:
    """The shipment. Raises ServiceError `shipping.cancelled` where a cancellation came while it was booked."""
    shipment = view(session, parcel_id)
    if shipment.status == "cancelled":
        raise ServiceError("shipping.cancelled", "The shipment was cancelled.")
    return shipment


def amend(session: Session, order_id: str, **values: Any) -> contract.Shipment:
    return _view(run(session, _SET, of=order_id, **values, updated_at=now(session)).one())


def cancelled(session: Session, parcel_id: str, booking_key: str | None) -> None:
    """The carrier will not take what was booked, or may still be booked, under this key.

    Raises OutcomeUnknown if another try to book was begun meanwhile: its key has to be cancelled too.
    """
    shipment = _found(run(session, _HOLD, of=parcel_id).one_or_none(), parcel_id)
    if shipment.booking_key != booking_key:
        raise OutcomeUnknown("carrier", "the parcel was about to be booked anew")
    if shipment.status in NOT_GONE:
        run(session, _SET, of=parcel_id, status="cancelled", on_hold=False, updated_at=now(session))


def of_tracking(session: Session, tracking: str) -> str:
    """The id of the parcel with this number."""
    parcel_id = session.scalar(select(Shipment.parcel_id).where(Shipment.tracking == tracking))
    if parcel_id is None:
        raise ServiceError("shipping.not_found", f"No parcel of ours has the tracking number {tracking!r}.")
    return parcel_id


class Known(NamedTuple):
    """A shipment, as the carrier's list would have it: by its booking key."""

    parcel_id: str
    order_id: str
    status: str
    on_hold: bool
    sequence: int
    since: datetime


def known(session: Session, most: int) -> dict[str, Known]:
    """The shipments that the carrier may know, by booking key, the oldest first."""
    rows = run(session, _KNOWN, most=most)
    return {
        row.booking_key: Known(
            row.parcel_id, row.order_id, row.status, row.on_hold, row.carrier_sequence, row.updated_at
        )
        for row in rows
    }


def apply(session: Session, booking_key: str, tracking: str | None, status: str, carrier_sequence: int) -> None:
    """Take the carrier's news of a parcel, unless newer was taken, and tell of each state that it reached, once.

    By the booking's key: news may come before we know the tracking number.
    """
    shipment = run(session, _HOLD_BY_KEY, of=booking_key).one_or_none()
    if shipment is None:
        log.warning("the carrier tells of a parcel that is not ours", extra={"key": booking_key})
        return
    values: dict[str, Any] = dict(tracking=shipment.tracking or tracking)
    if carrier_sequence > shipment.carrier_sequence and shipment.status != "cancelled":
        told = _tell(session, shipment, status, values["tracking"])
        values |= dict(status=status, carrier_sequence=carrier_sequence, sequence=told, updated_at=now(session))
    run(session, _SET, of=shipment.parcel_id, **values)


def _tell(session: Session, shipment: Row[Any], reached: str, tracking: str | None) -> int:
    """Publish what is due at this state; answers the last event's sequence."""
    told: int = shipment.sequence
    for sequence, status, kind in due(reached, told):
        content: dict[str, Any] = dict(
            order_id=shipment.order_id, parcel_id=shipment.parcel_id, tracking=tracking or ""
        )
        if kind is contract.ShipmentMoved:
            content |= dict(status=status)
        else:
            content |= dict(email=shipment.email, name=shipment.name, customer_id=shipment.customer_id)
        publish(
            session,
            kind(
                event_id=uuid.uuid4().hex,
                occurred_at=now(session),
                aggregate_id=shipment.parcel_id,
                sequence=sequence,
                **content,
            ),
        )
        told = sequence
    return told
