"""carts: what somebody means to buy. A line keeps sku and quantity, never a price."""

from typing import Annotated, Protocol

import msgspec

from chassis.types import Message, api, refuses
from contracts.common import CartRef, Line, Sku
from contracts.operations import DeadLettersApi
from contracts.privacy import PrivacyApi

CustomerId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
CartQuantity = Annotated[int, msgspec.Meta(ge=0, le=999)]


class Cart(Message):
    """`lines` are in the order in which they were first put; `version` goes up with each change.

    `id` is empty for a customer who never put anything.
    """

    id: str
    lines: list[Line]
    version: int


class GuestCart(Message):
    cart_token: str


@api("carts")
class CartsApi(DeadLettersApi, PrivacyApi, Protocol):
    """A CartRef says either customer_id or token, else `request.invalid`. Another customer's cart is not found."""

    name: str

    def create_guest(self, *, key: str) -> GuestCart:
        """A new empty cart for somebody who is not logged in. The token is not kept, so a repeat makes another cart."""
        ...

    @refuses("carts.not_found")
    def get(self, cart: CartRef) -> Cart:
        """The cart; a customer without one has an empty cart. An unknown guest's token is not found."""
        ...

    @refuses("carts.not_found", "carts.too_many_lines")
    def put_item(self, cart: CartRef, sku: Sku, quantity: CartQuantity, *, key: str) -> Cart:
        """Set the quantity of one sku; 0 removes the line. At most 100 lines."""
        ...

    @refuses("carts.not_found")
    def merge(self, customer_id: CustomerId, token: str, *, key: str) -> Cart:
        """A guest logged in: quantities add up, the guest's cart goes. An unknown token changes nothing.

        What is above 999 of a sku or 100 lines is left out, never refused. Wants the customer as the caller.
        """
        ...

    def remove_ordered(self, customer_id: CustomerId, lines: list[Line], *, key: str) -> None:
        """Take out what was ordered; what was put in since then stays. Retriable; for other services only."""
        ...
