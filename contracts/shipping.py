"""shipping: what it costs to send an order, and where its parcel is."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.common import Address
from contracts.operations import DeadLettersApi
from contracts.privacy import PrivacyApi

OrderId = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
ParcelId = OrderId
CustomerId = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")]
Tracking = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
Email = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^\x00-\x20]+$")]
Items = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
OutsideKey = Annotated[str, msgspec.Meta(max_length=190, pattern="^[!-~]+$")]
"""A command's key that another company gets to see: short and plain enough for it to keep."""


class ShippingQuote(Message):
    price: Money
    expires_at: datetime


class Shipment(Message):
    """`status`: none, booked, handed_over, in_transit, delivered or cancelled. `on_hold`: the carrier keeps it back.

    `parcel_id` is the order's id; of a parcel that an exchange sends, it is the amendment's.
    """

    order_id: str
    parcel_id: str
    status: str
    tracking: str | None
    updated_at: datetime
    on_hold: bool = False


class Difference(Message):
    """A parcel that one side has not (None), or has in another state. `since` tells how long.

    A state is the status, with "on hold" behind it where it is. `behind`: it is only our news that are late, and
    `refresh` brings them.
    """

    parcel_id: str | None
    order_id: str | None
    booking_key: str
    ours: str | None
    theirs: str | None
    since: datetime | None
    behind: bool = False


class Reconciliation(Message):
    """The carrier's bookings against our shipments; `differences` is cut at 100, `count` is not.

    `complete` is False when there is more than one run reads: then only what both sides showed was compared.
    """

    compared: int
    count: int
    differences: list[Difference]
    complete: bool = True


@event("shipping", "shipment_moved", subscribers=("orders.on_shipment_moved",))
class ShipmentMoved(Event):
    """The parcel is one state further: `status` is handed_over, in_transit or delivered. For whoever keeps a copy.

    aggregate_id is the parcel's id, as in all events of this service.
    """

    order_id: str
    parcel_id: str
    tracking: str
    status: str


@event("shipping", "order_shipped", subscribers=("notifications.on_order_shipped",))
class OrderShipped(Event):
    """The parcel was handed over to the carrier."""

    order_id: str
    parcel_id: str
    tracking: str
    email: str
    name: str
    customer_id: str | None = None


@event("shipping", "order_delivered", subscribers=("notifications.on_order_delivered",))
class OrderDelivered(Event):
    """The parcel arrived."""

    order_id: str
    parcel_id: str
    tracking: str
    email: str
    name: str
    customer_id: str | None = None


@api("shipping")
class ShippingApi(DeadLettersApi, PrivacyApi, Protocol):
    name: str

    @refuses("shipping.not_serviceable")
    def quote(self, address: Address, items: Items) -> ShippingQuote:
        """The price of sending so many items to this address, and until when it holds."""
        ...

    @refuses("shipping.not_serviceable", "shipping.cancelled", "shipping.exists")
    def book(
        self,
        order_id: OrderId,
        address: Address,
        items: Items,
        email: Email,
        parcel_id: ParcelId | None = None,
        customer_id: CustomerId | None = None,
        *,
        key: OutsideKey,
    ) -> Shipment:
        """Book a parcel with the carrier. Retriable: a refusal is not kept.

        `parcel_id` is by default the order's id; each is booked once. `email` and the address's name are for the mails
        about this parcel, `customer_id` says whose it is. The carrier may have moved it by the time of the answer.
        """
        ...

    @refuses("shipping.handed_over")
    def cancel(self, order_id: OrderId, *, key: OutsideKey) -> Shipment:
        """Call the order's parcel off, for good: the pivot of a cancellation. It has no undo.

        Right also when nobody knows whether it was booked, or it never was: a booking that comes later, or is under
        way, is refused `shipping.cancelled`. `shipping.handed_over` means that it is too late; nothing was changed.
        """
        ...

    @refuses("shipping.handed_over", "shipping.not_booked", "shipping.cancelled")
    def hold(self, order_id: OrderId, *, key: OutsideKey) -> Shipment:
        """Have the carrier keep the order's parcel back, until `unhold` or `amend`."""
        ...

    def unhold(self, order_id: OrderId, *, key: OutsideKey) -> None:
        """Undo of `hold`, by its key, also when nobody knows whether it happened: the parcel may go as it is."""
        ...

    @refuses("shipping.handed_over", "shipping.not_booked", "shipping.cancelled", "shipping.not_serviceable")
    def amend(self, order_id: OrderId, address: Address, items: Items, *, key: OutsideKey) -> Shipment:
        """Send the order's parcel to this address, with so many items, and end its holds. Retriable.

        It books nothing: refused `shipping.not_booked` before the booking is known of, and may succeed afterwards.
        """
        ...

    @refuses("shipping.not_found")
    def get(self, order_id: OrderId, parcel_id: ParcelId | None = None) -> Shipment:
        """The shipment of an order, or another parcel of it: for services and staff."""
        ...

    @refuses("shipping.not_found", "shipping.delivered", "shipping.cancelled", "shipping.on_hold")
    def advance(self, tracking: Tracking, *, key: OutsideKey) -> Shipment:
        """With the sandbox carrier: move a parcel one state further (staff)."""
        ...

    @refuses("shipping.not_found")
    def refresh(self, parcel_id: ParcelId) -> Shipment:
        """Take up what the carrier knows of a parcel now, as if it had called: for when its calls were lost."""
        ...

    def reconcile(self) -> Reconciliation:
        """Compare with the carrier's bookings. Changes nothing."""
        ...

    @refuses("shipping.bad_signature")
    def carrier_hook(self, signature: str, body: str, *, key: str = "") -> None:
        """A signed call of the carrier's. An older one never moves a state back; a repeat changes nothing.

        The id inside the body is what it is known by; `key` is not looked at.
        """
        ...
