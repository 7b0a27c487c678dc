"""What orders keeps about customers (see chassis/privacy.py). What was sold to whom is kept for the taxes; who that is
goes when the customer does. Sagas know names and addresses too: those that have ended are forgotten at once."""

from typing import Any

from sqlalchemy import Select, or_, select

from chassis.db import table_of
from chassis.privacy import Kind, saga_kind
from chassis.privacy_types import Person
from chassis.tables import saga
from services.orders.domain import OVER
from services.orders.models import Amendment, Order

GONE = "-"
"""Stands where there has to be something."""

_ORDER, _AMENDMENT = table_of(Order), table_of(Amendment)


def nowhere(address: dict[str, Any]) -> dict[str, Any]:
    """An address of which the country is left, for the tax was by that."""
    return dict(name=GONE, line1=GONE, city=GONE, postal_code=GONE, country=address["country"])


def impersonal(data: dict[str, Any]) -> dict[str, Any]:
    """An amendment's data, without where to and without anybody's words."""
    changed = dict(data)
    if "reason" in data:
        changed["reason"] = GONE
    if data.get("address"):
        changed["address"] = nowhere(data["address"])
    if data.get("decisions"):
        changed["decisions"] = [{**each, "note": ""} for each in data["decisions"]]
    if any("reason" in line for line in data.get("lines", ())):
        changed["lines"] = [{**line, "reason": GONE} for line in data["lines"]]
    return changed


def _orders(person: Person, *columns: Any) -> Select[Any]:
    return select(*(columns or (_ORDER.c.id,))).where(_ORDER.c.customer_id == person.customer_id)


def _amendments(person: Person, *columns: Any) -> Select[Any]:
    return select(*columns).where(_AMENDMENT.c.order_id.in_(_orders(person)))


KINDS = (
    Kind(
        "order",
        _ORDER,
        whose=lambda person: _ORDER.c.customer_id == person.customer_id,
        told=(
            "id",
            "status",
            "email",
            "name",
            "address",
            "lines",
            "currency",
            "items_amount",
            "shipping_amount",
            "tax_amount",
            "total_amount",
            "paid_amount",
            "refunded_amount",
            "payment_method",
            "payment_status",
            "shipment_status",
            "tracking",
            "reason",
            "disputes",
            "delivered_at",
            "created_at",
        ),
        blank=dict(email="", name="", address=nowhere, reason=None),
        open=_ORDER.c.status.not_in(OVER),
        at=_ORDER.c.created_at,
        done=_ORDER.c.status.in_(OVER),
    ),
    Kind(
        "amendment",
        _AMENDMENT,
        whose=lambda person: _AMENDMENT.c.order_id.in_(_orders(person)),
        told=("id", "order_id", "kind", "status", "data", "shipment_status", "tracking", "reason", "created_at"),
        blank=dict(reason="", data=impersonal),
        open=_AMENDMENT.c.closed_at.is_(None),
        at=_AMENDMENT.c.created_at,
        done=_AMENDMENT.c.closed_at.is_not(None),
    ),
    saga_kind(
        lambda person: or_(
            saga.c.id.in_(_orders(person, _ORDER.c.saga_id)),
            saga.c.id.in_(_amendments(person, _AMENDMENT.c.saga_id)),
            saga.c.id.in_(_amendments(person, _AMENDMENT.c.take_back_id)),
        ),
    ),
)
