"""What is done to an order after it was placed: a cancel, a return, an exchange or a change.

An order has one open amendment at a time. `status` of each: `pending` (the shop works on it), `waiting` (for the goods
to come back and be looked at), `settling` (looked at, money and stock on their way), and in the end `settled`,
`rejected` (with the reason; everything is as it was) or `expired` (the goods did not come).
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from chassis.types import Message, Money
from contracts.common import Address, OrderLine, PaymentMethod, Quantity, Sku, Text, Totals

Kind = Literal["cancel", "return", "exchange", "change"]
RefundTo = Literal["original", "gift_card"]
"""`original`: how it was paid. `gift_card`: a new gift card of the customer's."""


class ReturnLine(Message, forbid_unknown_fields=True):
    """So many units of a sku that are to go back, and why."""

    sku: Sku
    quantity: Quantity
    reason: Text


class SwapLine(Message, forbid_unknown_fields=True):
    """So many units of a sku of the order, for as many of another."""

    sku: Sku
    new_sku: Sku
    quantity: Quantity


class Decision(Message, forbid_unknown_fields=True):
    """What staff found when a line's goods came back: all its units accepted, or none.

    Accepted units can be sold again if `restock`; otherwise they leave the books.
    """

    sku: Sku
    accept: bool
    restock: bool = False
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


ReturnLines = Annotated[list[ReturnLine], msgspec.Meta(min_length=1, max_length=100)]
SwapLines = Annotated[list[SwapLine], msgspec.Meta(min_length=1, max_length=100)]
Decisions = Annotated[list[Decision], msgspec.Meta(min_length=1, max_length=100)]


class Wish(Message, forbid_unknown_fields=True):
    """What is to be done to an order, in the words of what does it. A cancel needs no more than its kind; `lines` are a
    change's or an exchange's, `shipping_address` a change's, `returns` and `refund_to` a return's."""

    kind: Kind
    shipping_address: Address | None = None
    lines: SwapLines | None = None
    returns: ReturnLines | None = None
    refund_to: RefundTo = "original"
    payment_method: PaymentMethod | None = None


class Preview(Message):
    """What a wish would come to now. `lines`, `totals` and `shipping_address` are the order's as they would be, those
    `_before` and `status` as they are.

    `charge` has to be paid. `refund` is given back: of a cancel all that is left of what was paid, of a return what
    it comes to if all is accepted, of which so much is `refund_shipping`. `replaces`: all that was paid is paid
    anew, and then given back. `expires_at`: until when the goods of a return that begins now may come.
    """

    kind: Kind
    order_id: str
    status: str
    charge: Money
    refund: Money
    lines: list[OrderLine]
    totals: Totals
    shipping_address: Address
    lines_before: list[OrderLine]
    totals_before: Totals
    shipping_address_before: Address
    refund_shipping: Money
    refund_to: RefundTo = "original"
    replaces: bool = False
    expires_at: datetime | None = None


class Amendment(Message):
    """`reason` in words, `reason_code` as a code: why it is made, or why it was rejected.

    `action_url`: where the customer confirms a payment, while it waits for that.
    """

    id: str
    kind: Kind
    status: str
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    reason_code: str | None = None
    action_url: str | None = None


class ReturnedLine(Message):
    """`accepted` is None until staff decided. `refund` is for its units alone, without shipping."""

    sku: str
    quantity: int
    reason: str
    accepted: bool | None = None
    restocked: bool | None = None
    note: str = ""
    refund: Money | None = None


class Return(Message):
    """`refund` is all that is given back, with shipping where it is; None until staff decided."""

    id: str
    order_id: str
    status: str
    lines: list[ReturnedLine]
    refund_to: RefundTo
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    refund: Money | None = None


class ExchangedLine(Message):
    """`accepted` tells of the old units that came back; None until staff decided."""

    sku: str
    new_sku: str
    quantity: int
    accepted: bool | None = None
    restocked: bool | None = None
    note: str = ""


class Exchange(Message):
    """`difference` is charged when it is above zero and refunded below. `tracking` is the new parcel's."""

    id: str
    order_id: str
    status: str
    lines: list[ExchangedLine]
    difference: Money
    created_at: datetime
    updated_at: datetime
    shipment_status: str = "none"
    tracking: str | None = None
    reason: str | None = None
    reason_code: str | None = None
    action_url: str | None = None
