"""shipping: what it costs to send an order, and where its parcel is."""

from datetime import datetime
from typing import Protocol

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.common import Address


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
    order_id: str
    tracking: str
    email: str
    name: str


@api("shipping")
class ShippingApi(Protocol):
    name: str

    @refuses("shipping.not_serviceable")
    def quote(self, address: Address, items: int) -> ShippingQuote:
        """The price of sending so many items to this address, and until when it holds."""
        ...

    @refuses("shipping.not_serviceable", "shipping.cancelled")
    def book(self, order_id: str, address: Address, items: int, email: str, *, key: str) -> Shipment:
        """Book a parcel with the carrier. Retriable: a refusal is not kept."""
        ...

    @refuses("shipping.handed_over", "shipping.not_found")
    def cancel(self, order_id: str, *, key: str) -> Shipment:
        """Cancel a booking that has not been handed over yet."""
        ...

    @refuses("shipping.not_found")
    def get(self, order_id: str) -> Shipment:
        """The shipment of an order."""
        ...

    @refuses("shipping.not_found", "shipping.delivered")
    def advance(self, tracking: str, *, key: str) -> Shipment:
        """With the sandbox carrier: move a parcel one state further (staff)."""
        ...

    @refuses("shipping.bad_signature")
    def carrier_hook(self, signature: str, body: str, *, key: str) -> None:
        """A signed call of the carrier's. An older one never moves a state back; a repeat changes nothing."""
        ...
