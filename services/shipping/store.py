"""shipping's queries. News of a parcel come from a call's verdict, from a hook, or both: `apply` takes them once."""

import uuid
from logging import getLogger
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis.db import insert_new, now
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.outbox import publish
from contracts import shipping as contract
from services.shipping.domain import CANCELLABLE, due
from services.shipping.models import Shipment

log = getLogger("rialto.shipping")


def view(session: Session, order_id: str) -> contract.Shipment:
    shipment = session.get(Shipment, order_id, populate_existing=True)
    if shipment is None:
        raise ServiceError("shipping.not_found", f"Nothing is sent for order {order_id!r}.")
    return contract.Shipment(
        order_id=order_id, status=shipment.status, tracking=shipment.tracking, updated_at=shipment.updated_at
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
    insert_new(session, Shipment.__table__, row)  # type: ignore[arg-type]  # a declared class has a Table
    shipment = _locked(session, Shipment.order_id == order_id)
    if shipment is None or shipment.command_key != key:
        raise ServiceError("shipping.exists", f"A parcel was booked for order {order_id!r} already.")
    if shipment.status == "cancelled":
        raise ServiceError("shipping.cancelled", "The shipment was cancelled.")
    return shipment.booking_key


def booking_refused(session: Session, booking_key: str) -> None:
    """The carrier keeps a refusal for ever: the command's next try goes by a key of its own."""
    shipment = _locked(session, Shipment.booking_key == booking_key)
    if shipment is not None and shipment.status == "none":
        shipment.refusals += 1
        shipment.booking_key = f"{shipment.command_key}#{shipment.refusals + 1}"
        session.flush()


def require_cancellable(session: Session, order_id: str) -> Shipment:
    shipment = _locked(session, Shipment.order_id == order_id)
    if shipment is None:
        raise ServiceError("shipping.not_found", f"Nothing is sent for order {order_id!r}.")
    if shipment.status not in (*CANCELLABLE, "cancelled"):
        raise ServiceError("shipping.handed_over", f"It cannot be stopped any more: it is {shipment.status}.")
    return shipment


def cancelled(session: Session, booking_key: str) -> None:
    """The carrier will not take what was booked, or may still be booked, under this key.

    Raises OutcomeUnknown if another try to book was begun meanwhile: its key has to be cancelled too.
    """
    shipment = _locked(session, Shipment.booking_key == booking_key)
    if shipment is None:
        raise OutcomeUnknown("carrier", "the parcel was about to be booked anew")
    if shipment.status in CANCELLABLE:
        shipment.status, shipment.updated_at = "cancelled", now(session)
        session.flush()


def of_parcel(session: Session, tracking: str) -> Shipment:
    shipment = session.scalar(select(Shipment).where(Shipment.tracking == tracking))
    if shipment is None:
        raise ServiceError("shipping.not_found", f"No parcel of ours has the tracking number {tracking!r}.")
    return shipment


def apply(session: Session, booking_key: str, tracking: str | None, status: str, carrier_sequence: int) -> None:
    """Take the carrier's news of a parcel, unless newer was taken, and tell of each state that it reached, once.

    By the booking's key: news may come before we know the tracking number.
    """
    shipment = _locked(session, Shipment.booking_key == booking_key)
    if shipment is None:
        log.warning("the carrier tells of a parcel that is not ours", extra={"key": booking_key})
        return
    shipment.tracking = shipment.tracking or tracking
    if carrier_sequence > shipment.carrier_sequence and shipment.status != "cancelled":
        shipment.status, shipment.carrier_sequence, shipment.updated_at = status, carrier_sequence, now(session)
        _tell(session, shipment)
    session.flush()


def _tell(session: Session, shipment: Shipment) -> None:
    for sequence, status, kind in due(shipment.status, shipment.sequence):
        told: dict[str, Any] = dict(order_id=shipment.order_id, tracking=shipment.tracking or "")
        if kind is contract.ShipmentMoved:
            told |= dict(status=status)
        else:
            told |= dict(email=shipment.email, name=shipment.name)
        publish(
            session,
            kind(
                event_id=uuid.uuid4().hex,
                occurred_at=now(session),
                aggregate_id=shipment.order_id,
                sequence=sequence,
                **told,
            ),
        )
        shipment.sequence = sequence


def _locked(session: Session, condition: Any) -> Shipment | None:
    """As it is now, until the end of the transaction."""
    found = select(Shipment).where(condition).with_for_update()
    return session.scalar(found.execution_options(populate_existing=True))
