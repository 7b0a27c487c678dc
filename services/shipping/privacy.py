"""What shipping keeps about customers (see chassis/privacy.py). A parcel stays, as the carrier's bill names it; to whom
it went does not. Of older parcels only the address is known."""

from sqlalchemy import ColumnElement, and_, or_

from chassis.db import table_of
from chassis.privacy import Kind
from chassis.privacy_types import Person
from services.shipping.models import Shipment

_PARCEL = table_of(Shipment)


def _whose(person: Person) -> ColumnElement[bool]:
    by_address = and_(_PARCEL.c.customer_id.is_(None), _PARCEL.c.email == person.email, _PARCEL.c.email != "")
    return or_(_PARCEL.c.customer_id == person.customer_id, by_address)


KINDS = (
    Kind(
        "parcel",
        _PARCEL,
        whose=_whose,
        told=("parcel_id", "order_id", "status", "tracking", "email", "name", "created_at"),
        blank=dict(email="", name=""),
        at=_PARCEL.c.updated_at,
        done=_PARCEL.c.status.in_(("delivered", "cancelled")),
    ),
)
