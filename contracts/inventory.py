"""inventory: how many units of each sku there are, and for whom they are held."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Event, Message, api, event, refuses
from contracts.common import Line, Sku, Text
from contracts.operations import DeadLettersApi

OrderId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""Whom units are held for: an order's id, or the id of an amendment that needs more units than its order held."""
Lines = Annotated[list[Line], msgspec.Meta(min_length=1, max_length=1000)]
Difference = Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)]


class Stock(Message):
    """available + reserved + sold = received, always."""

    sku: str
    received: int
    available: int
    reserved: int
    sold: int


class Reservation(Message):
    """`status`: held, released or committed. `order_id` may be an amendment's."""

    order_id: str
    status: str
    lines: list[Line]


class OpenReservation(Message):
    order_id: str
    lines: list[Line]
    created_at: datetime


class StockAudit(Message):
    """`broken`: skus whose identity does not hold, or whose `reserved` is not the sum of their open reservations."""

    skus: int
    broken: list[str]
    open: list[OpenReservation]


@event("inventory", "stock_changed", subscribers=("products.on_stock_changed",))
class StockChanged(Event):
    """A sku came into stock or ran out of it; aggregate_id is the sku."""

    sku: str
    in_stock: bool


@api("inventory")
class InventoryApi(DeadLettersApi, Protocol):
    name: str

    @refuses("inventory.unknown_sku")
    def stock_of(self, sku: str) -> Stock:
        """The counts of one sku."""
        ...

    @refuses("inventory.insufficient", "inventory.unknown_sku", "inventory.reserved_already")
    def reserve(self, order_id: OrderId, lines: Lines, *, key: str) -> Reservation:
        """Hold units for an order, or for an amendment of one, until committed or released: all lines or none.

        Once for each id: under another key it is refused `inventory.reserved_already`, also after a release.
        """
        ...

    def release(self, order_id: OrderId, lines: Lines, *, key: str) -> None:
        """Undo of `reserve`, by its key: the units are available again."""
        ...

    @refuses("inventory.not_reserved")
    def commit(self, order_id: OrderId, *, key: str) -> Reservation:
        """Held units become sold. Retriable: a refusal is not kept."""
        ...

    @refuses("inventory.unknown_sku", "inventory.not_sold")
    def restock(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        """Sold units that came back in good order are available again. Retriable."""
        ...

    @refuses("inventory.unknown_sku", "inventory.not_sold")
    def discard(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        """Sold units that came back broken leave the books: received and sold go down. Retriable."""
        ...

    @refuses("inventory.unknown_sku", "inventory.insufficient")
    def write_off(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        """Available units that are lost or broken leave the books: received and available go down."""
        ...

    @refuses("inventory.insufficient", "inventory.unknown_sku")
    def adjust(self, sku: Sku, quantity: Difference, reason: Text, *, key: str) -> Stock:
        """Add (or, below zero, take away) units found by counting. A new sku begins with its first units."""
        ...

    def receive(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        """Goods came in: up to 1,000 lines at once."""
        ...

    def audit(self) -> StockAudit:
        """What the books say, checked against themselves."""
        ...
