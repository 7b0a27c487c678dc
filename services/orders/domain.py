"""The rules of orders: states, prices with the tax in them, and the words for a rejection. Pure: no I/O."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from chassis.types import Message, Money
from contracts.common import Address, Line, OrderLine, PaymentMethod, Totals
from contracts.products import Offer
from contracts.risk import Subject
from services.orders.bookings import Booking

STATES: dict[str, frozenset[str]] = {
    "pending": frozenset({"confirmed", "shipped", "delivered", "rejecting", "rejected", "cancelling"}),
    "rejecting": frozenset({"rejected"}),
    "confirmed": frozenset({"shipped", "delivered", "cancelling"}),
    "shipped": frozenset({"delivered"}),
    "cancelling": frozenset({"cancelled", "confirmed", "shipped", "delivered"}),
    "delivered": frozenset({"returned"}),
    "rejected": frozenset(),
    "cancelled": frozenset(),
    "returned": frozenset(),
}
"""From each state, where an order may go. A parcel can be faster than the news of it: states may be skipped. A cancel
that comes too late leaves the order where its parcel is."""

OVER = ("delivered", "rejected", "cancelled", "returned")
"""States after which nothing happens to an order unless somebody asks for it."""

UNSETTLED = ("pending", "rejecting")
"""States in which an order is being made."""
MOVING = (*UNSETTLED, "cancelling")
"""States that news of the parcel does not change: the saga that runs takes it up at its end."""

SHIPMENT_RANK = {"none": 0, "booked": 1, "handed_over": 2, "in_transit": 3, "delivered": 4}

Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
TaxRates = Mapping[str, Mapping[str, int]]

REASONS = {
    "inventory.insufficient": "An article is sold out, or there are fewer left than you ordered.",
    "inventory.unknown_sku": "An article is not in stock any more.",
    "risk.refused": "We cannot accept this order. Please contact our customer service.",
    "payments.declined": "Your card was declined. Please check it, or pay with another one.",
    "payments.unknown_token": "Your card is not known to the card processor. Please enter it again.",
    "payments.unsupported_method": "This way of paying is not supported. Please choose another one.",
    "payments.capture_refused": "Your bank refused the payment. Please pay with another card.",
    "payments.gift_card_insufficient": "There is not enough left on your gift card. Please pay in another way.",
    "payments.unknown_gift_card": "This gift card is not yours. Please pay in another way.",
    "payments.wallet_insufficient": "There is not enough on your account. Please pay in another way.",
    "payments.wallet_frozen": "Your account is frozen. Please pay in another way.",
    "payments.unknown_account": "You cannot pay from this account. Please pay in another way.",
    "payments.not_authorized": "The payment could not be completed. You were not charged.",
    "orders.review_refused": "We cannot accept this order. Please contact our customer service.",
    "orders.review_expired": "We could not check this order in time. You were not charged; please order again.",
    "orders.not_screened": "We could not check this order in time. You were not charged; please order again.",
    "orders.challenge_refused": "The payment was not approved at your bank. You were not charged.",
    "orders.challenge_expired": "The payment was not approved at your bank in time. You were not charged.",
    "saga.deadline": "It took too long to process your order. You were not charged.",
    "saga.cancelled": "The order was cancelled before it was complete.",
}
"""Why an order was rejected, for the customer."""


class Placed(Message):
    """What PLACE_ORDER's steps are made from; fixed when the order is placed. `without_risk`: it may go on so.

    Orders that were placed before the ledger have no `booking`.
    """

    order_id: str
    customer_id: str
    email: str
    name: str
    lines: list[Line]
    total: Money
    method: PaymentMethod
    address: Address
    items: int
    without_risk: bool = False
    booking: Booking | None = None


def subject_of(placed: Placed) -> Subject:
    """An order as risk sees it."""
    to = placed.address
    return Subject(
        kind="order",
        id=placed.order_id,
        customer_id=placed.customer_id,
        amount=placed.total,
        email=placed.email,
        country=to.country,
        card=_card_of(placed.method),
        address=", ".join(filter(None, (to.line1, to.line2, to.postal_code, to.city, to.country))),
    )


def _card_of(method: PaymentMethod) -> str | None:
    """The token of the one card that pays, if one does."""
    cards = [method, *(method.parts or ())]
    return next((each.token for each in cards if each.type == "card" and each.token), None)


def reason_for(code: str) -> str:
    """The sentence for a rejection's code."""
    return REASONS.get(code, "Your order could not be completed. You were not charged.")


def contained_tax(gross: int, permille: int) -> int:
    """The tax in a gross amount at a rate in permille, in minor units, rounded half up."""
    base = 1000 + permille
    return (2 * gross * permille + base) // (2 * base)


def rate_of(rates: TaxRates, country: str, tax_class: str) -> int:
    """The rate in permille for a product class sent to a country; `default` stands in for both."""
    by_class = rates.get(country) or rates["default"]
    return by_class.get(tax_class, by_class["default"])


def price(lines: Sequence[Line], offers: Mapping[str, Offer], country: str, rates: TaxRates) -> list[OrderLine]:
    """The order's lines at the prices of now, each with the tax contained in it."""
    priced = []
    for line in lines:
        offer = offers[line.sku]
        currency = offer.price.currency
        gross = offer.price.amount * line.quantity
        tax = contained_tax(gross, rate_of(rates, country, offer.tax_class))
        priced.append(
            OrderLine(
                sku=line.sku,
                name=offer.name,
                options=offer.options,
                quantity=line.quantity,
                unit_price=offer.price,
                line_total=Money(amount=gross, currency=currency),
                tax=Money(amount=tax, currency=currency),
                product_id=offer.product_id,
                tax_class=offer.tax_class,
            )
        )
    return priced


def totals(lines: Sequence[OrderLine], shipping: Money) -> Totals:
    """Sums of an order. Postage carries no tax of its own, so `tax` is the sum of the lines'.

    Raises ValueError where lines and postage are not in one currency: the shop and its carrier are set up apart.
    """
    if any(line.line_total.currency != shipping.currency for line in lines):
        raise ValueError(f"the carrier's prices are in {shipping.currency}, the shop's are not")
    items = sum(line.line_total.amount for line in lines)
    tax = sum(line.tax.amount for line in lines)
    currency = shipping.currency
    return Totals(
        items=Money(amount=items, currency=currency),
        shipping=shipping,
        tax=Money(amount=tax, currency=currency),
        total=Money(amount=items + shipping.amount, currency=currency),
    )


def status_with(shipment_status: str) -> str:
    """The state of an order that is paid, by how far its parcel is."""
    return {"handed_over": "shipped", "in_transit": "shipped", "delivered": "delivered"}.get(
        shipment_status, "confirmed"
    )
