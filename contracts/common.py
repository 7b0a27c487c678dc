"""Messages that several contracts speak."""

from datetime import datetime
from typing import Annotated

import msgspec

from chassis.types import Message, Money

Sku = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=999)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Line(Message):
    """So many units of one sku."""

    sku: Sku
    quantity: Quantity


class Address(Message, forbid_unknown_fields=True):
    name: Text
    line1: Text
    city: Text
    postal_code: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    line2: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class Amount(Money, forbid_unknown_fields=True):
    """Money as a client says it."""


class PaymentPart(Message, forbid_unknown_fields=True):
    """One part of a split. `amount` may be left out once: that part takes what the others leave."""

    type: Annotated[str, msgspec.Meta(max_length=20)]
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    account_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    amount: Amount | None = None


class PaymentMethod(Message, forbid_unknown_fields=True):
    """`card`: by the acquirer's token, or a saved one of the customer's by its id. `gift_card`: by its id. `wallet`:
    from an account of the customer's, by `account_id`.

    `split`: several gift cards and accounts, and at most one card, in the order in which they are refunded.
    """

    type: Annotated[str, msgspec.Meta(max_length=20)] = "card"
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    account_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    parts: Annotated[list[PaymentPart], msgspec.Meta(min_length=1, max_length=10)] | None = None


class DisputeState(Message):
    """What a cardholder's bank took back of a payment: `opened`, then `won` (the house has it again) or `lost`."""

    id: str
    status: str
    amount: Money


class OrderLine(Message):
    """As it was sold: name, options and price do not follow the catalogue. `tax` is contained in line_total.

    `returned` of its units came back and were refunded.
    """

    sku: str
    name: str
    options: dict[str, str]
    quantity: int
    unit_price: Money
    line_total: Money
    tax: Money
    product_id: str = ""
    tax_class: str = "default"
    returned: int = 0


class Totals(Message):
    """`total` = items + shipping; `tax` is the part contained in it."""

    items: Money
    shipping: Money
    tax: Money
    total: Money


class CartRef(Message):
    """Whose cart: a customer's, or a guest's by the unguessable token."""

    customer_id: str | None = None
    token: str | None = None


class TimelineEntry(Message):
    """One line of a saga's log. `outcome` is ok, refused, unknown or undone; `ms` is how long the call took."""

    at: datetime
    step: str
    outcome: str
    attempt: int
    ms: int
    service: str | None = None
    detail: str | None = None
