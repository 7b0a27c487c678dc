"""shipping: what it costs to send an order, and where its parcel is."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.common import Address

OrderId = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
Tracking = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
Email = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^\x00-\x20]+$")]
Items = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
OutsideKey = Annotated[str, msgspec.Meta(max_length=190, pattern="^[!-~]+$")]
"""A command's key that another company gets to see: short and plain enough for it to keep."""


class ShippingQuote(Message):
    price: Money
    expires_at: datetime


class Shipment(Message):
    """`status`: none, booked, handed_over, in_transit, delivered or cancelled."""

    order_id: str
    status: str
    tracking: str | None
    updated_at: datetime


@event("shipping", "shipment_moved", subscribers=("orders.on_shipment_moved",))
class ShipmentMoved(Event):
    """The parcel is one state further: `status` is handed_over, in_transit or delivered. For whoever keeps a copy."""

    order_id: str
    tracking: str
    status: str


@event("shipping", "order_shipped", subscribers=("notifications.on_order_shipped",))
class OrderShipped(Event):
    """The parcel was handed over to the carrier; aggregate_id is the order's id."""

    order_id: str
    tracking: str
    email: str
    name: str


@event("shipping", "order_delivered", subscribers=("notifications.on_order_delivered",))
class OrderDelivered(Event):
    """The parcel arrived; aggregate_id is the order's id."""

    order_id: str
    tracking: str
    email: str
    name: str


@api("shipping")
class ShippingApi(Protocol):
    name: str

    @refuses("shipping.not_serviceable")
    def quote(self, address: Address, items: Items) -> ShippingQuote:
        """The price of sending so many items to this address, and until when it holds."""
        ...

    @refuses("shipping.not_serviceable", "shipping.cancelled", "shipping.exists")
    def book(self, order_id: OrderId, address: Address, items: Items, email: Email, *, key: OutsideKey) -> Shipment:
        """Book a parcel with the carrier, one for each order. Retriable: a refusal is not kept.

        `email` and the address's name are for the mails about this parcel. The carrier may have moved it by the time
        of the answer.
        """
        ...

    @refuses("shipping.handed_over", "shipping.not_found")
    def cancel(self, order_id: OrderId, *, key: OutsideKey) -> Shipment:
        """Cancel a booking that has not been handed over yet, also when nobody knows whether it was made."""
        ...

    @refuses("shipping.not_found")
    def get(self, order_id: OrderId) -> Shipment:
        """The shipment of an order: for services and staff."""
        ...

    @refuses("shipping.not_found", "shipping.delivered", "shipping.cancelled")
    def advance(self, tracking: Tracking, *, key: OutsideKey) -> Shipment:
        """With the sandbox carrier: move a parcel one state further (staff)."""
        ...

    @refuses("shipping.bad_signature")
    def carrier_hook(self, signature: str, body: str, *, key: str = "") -> None:
        """A signed call of the carrier's. An older one never moves a state back; a repeat changes nothing.

        The id inside the body is what it is known by; `key` is not looked at.
        """
        ...
