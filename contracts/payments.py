"""payments: what was authorised, captured, voided and refunded for an order: by cards at the acquirer, by gift cards
of the shop's own."""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.common import PaymentMethod
from contracts.operations import DeadLettersApi

OrderId = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
PaymentId = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
CustomerId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
OutsideKey = Annotated[str, msgspec.Meta(max_length=190, pattern="^[!-~]+$")]
"""A command's key that another company gets to see: short and plain enough for it to keep."""


class Part(Message):
    """What one gift card or card gives of a payment. `status` as a payment's; amounts are minor units."""

    method: str
    status: str
    amount: int
    captured: int
    refunded: int
    gift_card_id: str | None = None


class Payment(Message):
    """`status`: none, requires_action, declined, authorized, voided, captured, refunded (all of it).

    Amounts are minor units, the sums of its parts. `method`: card, gift_card or split. `reason` is the acquirer's own
    code for a decline; `action_url` is where the customer has to approve, while the status is requires_action.
    """

    id: str
    order_id: str
    status: str
    method: str
    amount: int
    captured: int
    refunded: int
    currency: str
    parts: list[Part]
    reason: str | None = None
    action_url: str | None = None


class RefundPart(Message):
    """What went back of one payment, in minor units: to its card, or to a gift card."""

    payment_id: str
    amount: int
    gift_card_id: str | None = None


class Refund(Message):
    """`left` is what could still be given back of the order's payments, in minor units."""

    order_id: str
    amount: Money
    parts: list[RefundPart]
    left: int


class GiftCard(Message):
    """`balance` can be spent; `held` is set aside for payments that are not captured yet."""

    id: str
    balance: Money
    issued: Money
    held: Money
    created_at: datetime


class GiftCardAudit(Message):
    """Whether each gift card's books balance: `broken` are the ids of at most 100 whose do not."""

    cards: int
    broken: list[str]


class Balance(Message):
    """What an order's payments hold together. A refund to a gift card counts as refunded."""

    order_id: str
    captured: int
    refunded: int
    currency: str
    updated_at: datetime


class BalancePage(Message):
    items: list[Balance]
    next_after: str | None


class Difference(Message):
    """A movement that one side has not (None), or has with another amount. `since` tells how long."""

    key: str
    kind: str
    ours: int | None
    theirs: int | None
    order_id: str | None
    since: datetime | None


class Reconciliation(Message):
    """Acquirer's statement against our payments; `differences` is cut at 100, `count` is not.

    `complete` is False when there is more than one run reads: then only what both sides showed was compared.
    """

    compared: int
    count: int
    differences: list[Difference]
    complete: bool = True


@event("payments", "payment_resolved", subscribers=("orders.on_payment_resolved",))
class PaymentResolved(Event):
    """A payment that required the customer's action was approved, or was not; aggregate_id is the payment's id.

    `reason` is the acquirer's own code when it was not.
    """

    order_id: str
    payment_id: str
    authorized: bool
    reason: str | None = None


@api("payments")
class PaymentsApi(DeadLettersApi, Protocol):
    """A payment belongs to an order and has an id, by default the order's. It is paid by parts: gift cards of the
    customer's, and at most one card."""

    name: str

    @refuses(
        "payments.unsupported_method",
        "payments.one_card",
        "payments.unknown_gift_card",
        "payments.gift_card_insufficient",
    )
    def check(self, amount: Money, method: PaymentMethod, customer_id: CustomerId | None = None) -> None:
        """Whether `authorize` would take this method for this amount now, gift cards included; a card is not asked.

        A refusal's `details.field` names what is wrong in `method`. Nothing is held.
        """
        ...

    @refuses(
        "payments.declined",
        "payments.exists",
        "payments.gift_card_insufficient",
        "payments.one_card",
        "payments.unknown_gift_card",
        "payments.unknown_token",
        "payments.unsupported_method",
        "payments.voided",
    )
    def authorize(
        self,
        order_id: OrderId,
        amount: Money,
        method: PaymentMethod,
        customer_id: CustomerId | None = None,
        payment_id: PaymentId | None = None,
        *,
        key: OutsideKey,
    ) -> Payment:
        """Set `amount` aside: on the gift cards here, on the card at the acquirer; all of it or nothing.

        The status `requires_action` is no refusal: the customer has to approve at `action_url`; how that ends is told
        by the event payment_resolved. Gift cards have to be `customer_id`'s.
        """
        ...

    @refuses("payments.captured")
    def void(
        self,
        order_id: OrderId,
        amount: Money,
        method: PaymentMethod,
        customer_id: CustomerId | None = None,
        payment_id: PaymentId | None = None,
        *,
        key: OutsideKey,
    ) -> None:
        """Undo of `authorize`, by its key, also when nobody knows whether it happened, or the customer's approval is
        still awaited.

        `payments.captured` means that it can only be refunded: somebody has to look at it.
        """
        ...

    @refuses(
        "payments.capture_refused",
        "payments.captured",
        "payments.not_authorized",
        "payments.requires_action",
        "payments.voided",
    )
    def capture(
        self, order_id: OrderId, amount: Money, payment_id: PaymentId | None = None, *, key: OutsideKey
    ) -> Payment:
        """Take what was authorised, or less, once: the parts in their order. What is not taken is let go.

        The shop's pivot: it has no undo, only a refund.
        """
        ...

    @refuses(
        "payments.no_customer",
        "payments.not_authorized",
        "payments.not_captured",
        "payments.refund_exceeds_capture",
    )
    def refund(
        self,
        order_id: OrderId,
        amount: Money,
        to: Literal["original", "gift_card"] = "original",
        except_payment: PaymentId | None = None,
        *,
        key: OutsideKey,
    ) -> Refund:
        """Give back all or part of what was captured for an order; never more than is left. Retriable.

        It goes over the order's payments in the order in which they were made, and over the parts of each in theirs;
        `except_payment` is left alone. What a gift card gave goes back to it. What a card gave goes back to the card,
        or, with to="gift_card", to one new gift card of the customer's. A repeat gives back exactly the same.
        """
        ...

    @refuses("payments.not_found")
    def get(self, order_id: OrderId, payment_id: PaymentId | None = None) -> Payment:
        """A payment of an order, as it is known here: for services and staff."""
        ...

    def issue_gift_card(self, customer_id: CustomerId, amount: Money, *, key: str) -> GiftCard:
        """A new gift card of a customer's (staff)."""
        ...

    def gift_cards(self, customer_id: CustomerId) -> list[GiftCard]:
        """A customer's gift cards, the oldest first, at most 100: one's own, or staff ask."""
        ...

    @refuses("payments.bad_signature")
    def acquirer_hook(self, signature: str, body: str, *, key: str = "") -> None:
        """A signed call of the acquirer's. An older one never moves a state back; a repeat changes nothing.

        The id inside the body is what it is known by; `key` is not looked at.
        """
        ...

    def balances(self, after: OrderId | None = None, limit: int = 500) -> BalancePage:
        """What the payments of each order hold, in the order of order_id; `after` is the last one seen."""
        ...

    def audit_gift_cards(self) -> GiftCardAudit:
        """For the audit: gift cards against their movements and against the payments that they are parts of."""
        ...

    def reconcile(self) -> Reconciliation:
        """Compare with the acquirer's statement. Changes nothing.

        An authorisation that nobody here counts on and that was voided there is no difference.
        """
        ...

    @refuses("payments.owned", "payments.captured")
    def void_unowned(self, authorize_key: OutsideKey, *, key: OutsideKey) -> None:
        """Have the acquirer let go an authorisation of its statement (a Difference of kind `authorize`, by its `key`)
        that no payment counts on: none knows it, or the payment was declined or voided here. Retriable.

        `payments.owned`: a payment may still be captured by it; nothing was done. `payments.captured`: it was taken at
        the acquirer, so somebody has to look at it. For services and operators.
        """
        ...
