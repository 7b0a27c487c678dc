"""The carrier, as shipping sees it. A booking goes by a key of ours, so that asking again books nothing twice."""

from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from nameko.extensions import DependencyProvider

from chassis.errors import ServiceError
from chassis.outside import OutsideClient
from chassis.types import Message, Money
from contracts.common import Address

T = TypeVar("T")

REFUSALS = {
    "not_serviceable": "shipping.not_serviceable",
    "handed_over": "shipping.handed_over",
    "cancelled": "shipping.cancelled",
    "delivered": "shipping.delivered",
    "not_booked": "shipping.not_booked",
    "not_found": "shipping.not_found",
    "on_hold": "shipping.on_hold",
    "released": "shipping.released",
    "key_reused": "command.key_reused",
}
"""The carrier's codes and ours; `details.reason` keeps theirs."""


class CarrierQuote(Message):
    quote_id: str
    price: Money
    expires_at: datetime


class Booking(Message):
    """A parcel as the carrier has it. `status`: booked, handed_over, in_transit, delivered or cancelled.

    `sequence` grows by one with each change of status, the last of which was at `moved_at`. A key cancelled before its
    booking came has no tracking.
    """

    key: str
    status: str
    sequence: int
    tracking: str | None
    reference: str = ""
    on_hold: bool = False
    moved_at: datetime | None = None


class BookingPage(Message):
    """`next` is the `after` of the next page, None on the last one."""

    items: list[Booking]
    next: int | None


class CarrierClient:
    """The carrier's API. Every method may also raise Unavailable or OutcomeUnknown: ask again with the same key."""

    def __init__(self, company: OutsideClient) -> None:
        self._company = company

    def quote(self, address: Address, items: int, weight_g: int | None = None) -> CarrierQuote:
        """What sending so many items costs. Refusal: shipping.not_serviceable."""
        return self._post("/quotes", CarrierQuote, {"address": address, "items": items, "weight": weight_g})

    def book(
        self, key: str, address: Address, reference: str, parcels: int = 1, quote_id: str | None = None
    ) -> Booking:
        """Order the parcels' collection. Refusals: shipping.not_serviceable, shipping.cancelled (before it came)."""
        body = {"key": key, "address": address, "reference": reference, "parcels": parcels, "quote_id": quote_id}
        return self._post("/bookings", Booking, body)

    def cancel(self, key: str) -> None:
        """Undo `book`, by its key; one that never came is refused when it comes. Refusal: shipping.handed_over."""
        self._post("/cancellations", dict[str, Any], {"key": key})

    def hold(self, key: str, booking_key: str) -> Booking:
        """Keep a parcel back. Refusals: shipping.handed_over, .not_booked, .cancelled, .released (undone before)."""
        return self._post("/holds", Booking, {"key": key, "booking_key": booking_key})

    def release(self, key: str) -> None:
        """Undo `hold`, by its key; one that never came is refused when it comes."""
        self._post("/releases", dict[str, Any], {"key": key})

    def amend(self, key: str, booking_key: str, address: Address, parcels: int) -> Booking:
        """Send a parcel elsewhere, and end its holds.

        Refusals: shipping.not_serviceable, .handed_over, .not_booked, .cancelled.
        """
        body = {"key": key, "booking_key": booking_key, "address": address, "parcels": parcels}
        return self._post("/amendments", Booking, body)

    def status(self, key: str) -> Booking | None:
        """What became of a booking's key; None: it never arrived, though it may still."""
        try:
            return self._get(f"/bookings/{quote(key, safe='')}", Booking)
        except ServiceError:
            return None

    def parcel(self, tracking: str) -> Booking:
        """Where a parcel is. Refusal: shipping.not_found."""
        return self._get(f"/parcels/{quote(tracking, safe='')}", Booking)

    def advance(self, tracking: str, key: str | None = None) -> Booking:
        """Sandbox only: move a parcel one state further; with a key, once.

        Refusals: shipping.not_found, shipping.delivered, shipping.cancelled.
        """
        return self._post(f"/parcels/{quote(tracking, safe='')}/advance", Booking, {"key": key})

    def bookings(self, after: int = 0, limit: int = 100) -> BookingPage:
        """All bookings as they are now, in the order in which they were made."""
        return self._get(f"/bookings?after={after}&limit={limit}", BookingPage)

    def _post(self, path: str, kind: type[T], body: dict[str, Any]) -> T:
        return self._company.call("POST", path, body).result(kind, REFUSALS)

    def _get(self, path: str, kind: type[T]) -> T:
        return self._company.call("GET", path).result(kind, REFUSALS)


class Carrier(DependencyProvider):
    """Worker attribute: the client. Config: carrier_url, carrier_timeout_ms."""

    client: CarrierClient

    def setup(self) -> None:
        config = self.container.config
        timeout_s = int(config["carrier_timeout_ms"]) / 1000
        self.client = CarrierClient(OutsideClient("carrier", config["carrier_url"], timeout_s))

    def get_dependency(self, worker_ctx: Any) -> CarrierClient:
        return self.client
