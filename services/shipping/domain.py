"""The rules of a shipment. Pure: no I/O."""

from chassis.types import Event
from contracts.shipping import OrderDelivered, OrderShipped, ShipmentMoved

NOT_GONE = ("none", "booked")
ITEMS_PER_PARCEL = 100

EVENTS: tuple[tuple[str, type[Event]], ...] = (
    ("handed_over", ShipmentMoved),
    ("handed_over", OrderShipped),
    ("in_transit", ShipmentMoved),
    ("delivered", ShipmentMoved),
    ("delivered", OrderDelivered),
)
"""What is told on a parcel's way, in this order, each once: the n-th has sequence n."""

_REACHED = {"handed_over": 2, "in_transit": 3, "delivered": len(EVENTS)}


def due(status: str, told: int) -> tuple[tuple[int, str, type[Event]], ...]:
    """The events to tell at this status when so many were told before, as (sequence, status, kind).

    A status that was skipped on the way is told too: the parcel has been there.
    """
    return tuple((n + 1, *EVENTS[n]) for n in range(told, _REACHED.get(status, 0)))


def parcels_for(items: int) -> int:
    return -(-items // ITEMS_PER_PARCEL)
