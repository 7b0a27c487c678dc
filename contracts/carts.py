"""carts: what somebody means to buy. A line keeps sku and quantity, never a price."""

from typing import Annotated, Protocol

import msgspec

from chassis.types import Message, api, refuses
from contracts.common import CartRef, Line


class Cart(Message):
    """`version` goes up with each change."""

    id: str
    lines: list[Line]
    version: int


class GuestCart(Message):
    cart_token: str


@api("carts")
class CartsApi(Protocol):
    name: str

    def create_guest(self, *, key: str) -> GuestCart:
        """A new empty cart for somebody who is not logged in."""
        ...

    @refuses("carts.not_found")
    def get(self, cart: CartRef) -> Cart:
        """The cart; a customer without one has an empty cart. An unknown guest's token is not found."""
        ...

    @refuses("carts.not_found", "carts.too_many_lines")
    def put_item(
        self, cart: CartRef, sku: str, quantity: Annotated[int, msgspec.Meta(ge=0, le=999)], *, key: str
    ) -> Cart:
        """Set the quantity of one sku; 0 removes the line. At most 100 lines."""
        ...

    def merge(self, customer_id: str, token: str, *, key: str) -> Cart:
        """A guest logged in: quantities add up (999 of each, 100 lines), the guest's cart goes. Unknown: no change."""
        ...

    def remove_ordered(self, customer_id: str, lines: list[Line], *, key: str) -> None:
        """Take out what was ordered; what was put in since then stays. Retriable."""
        ...
