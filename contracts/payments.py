"""payments: what was authorised, captured, voided and refunded for an order: by cards at the acquirer, by gift cards
of the shop's own, from customers' accounts in the ledger."""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.common import PaymentMethod
from contracts.operations import DeadLettersApi
from contracts.privacy import PrivacyApi

OrderId = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
PayOutId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[!-~]+$")]
Iban = Annotated[str, msgspec.Meta(min_length=5, max_length=34, pattern="^[A-Z0-9]+$")]
"""Without spaces; whoever asks has checked it."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Reference = Annotated[str, msgspec.Meta(max_length=140)]
PaymentId = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
CustomerId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
OutsideKey = Annotated[str, msgspec.Meta(max_length=190, pattern="^[!-~]+$")]
"""A command's key that another company gets to see: short and plain enough for it to keep."""
DisputeId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
DisputeStatus = Literal["opened", "won", "lost"]
"""Seen from the house: what is won comes back to it."""
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]


WALLET_REFUSALS = ("payments.unknown_account", "payments.wallet_frozen", "payments.wallet_insufficient")
"""Why an account does not pay: it is not the customer's, or closed; frozen; there is too little available."""


class Part(Message):
    """What one gift card, account or card gives of a payment. `method`: card, gift_card or wallet. `status` as a
    payment's; amounts are minor units."""

    method: str
    status: str
    amount: int
    captured: int
    refunded: int
    gift_card_id: str | None = None
    account_id: str | None = None


class Payment(Message):
    """`status`: none, requires_action, declined, authorized, voided, captured, refunded (all of it).

    Amounts are minor units, the sums of its parts. `method`: card, gift_card, wallet or split. `reason`, of a payment
    that is declined, is the acquirer's own code, or ours where an account does not pay; `action_url` is where the
    customer has to approve, while the status is requires_action.
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
    """What went back of one payment, in minor units. `method` is where it went: card, gift_card or wallet."""

    payment_id: str
    amount: int
    gift_card_id: str | None = None
    account_id: str | None = None
    method: str = "card"


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
    """Whether each gift card's books balance: `broken` are the ids of at most 100 whose do not. `sums`: what can still
    be spent, and what is held, of all cards of a currency. `moved_at`: when one moved last."""

    cards: int
    broken: list[str]
    sums: dict[str, int] = {}
    moved_at: datetime | None = None


class Balance(Message):
    """What an order's payments hold together. A refund to a gift card counts as refunded. `lost` is what disputes took
    for good: it counts neither as refunded nor as captured less.

    `card`, `gift_card`, `wallet`: what was taken in this way less what was given back in it. So what a card, or an
    account that is closed now, paid and a new gift card got back is still `card` or `wallet`, and below zero of
    `gift_card`.
    """

    order_id: str
    captured: int
    refunded: int
    currency: str
    updated_at: datetime
    card: int = 0
    gift_card: int = 0
    wallet: int = 0
    lost: int = 0


class BalancePage(Message):
    items: list[Balance]
    next_after: str | None


class Difference(Message):
    """A movement that one side has not (None), or has with another amount. `since` tells how long.

    `kind`: authorize, capture, void or refund, by their keys; dispute (taken back), dispute_won (given back again) or
    dispute_lost (it stays taken), by the dispute's id.
    """

    key: str
    kind: str
    ours: int | None
    theirs: int | None
    order_id: str | None
    since: datetime | None


class Reconciliation(Message):
    """Acquirer's statement against our payments and disputes; `differences` is cut at 100, `count` is not.

    `complete` is False when there is more than one run reads: then only what both sides showed was compared.
    """

    compared: int
    count: int
    differences: list[Difference]
    complete: bool = True


class PayOut(Message):
    """Money sent to a bank account. `status`: asked, sent, refused, settled (it arrived), returned (then `reason` is
    the bank's)."""

    id: str
    status: str
    amount: Money
    iban: str
    reason: str | None = None


class Dispute(Message):
    """What the acquirer took back of a card's payment because the cardholder disputes it. `id` and `reason` are the
    acquirer's; `order_id` is a transaction's where a deposit was paid.

    `status`: opened, won (it was given back) or lost (it stays taken). Opened and lost ones cannot be refunded.
    """

    id: str
    order_id: str
    payment_id: str
    amount: Money
    status: str
    reason: str
    opened_at: datetime
    updated_at: datetime
    customer_id: str | None = None


class DisputePage(Message):
    """Newest first."""

    items: list[Dispute]
    next_cursor: str | None


@event(
    "payments",
    "dispute_moved",
    subscribers=("accounts.on_dispute_moved", "orders.on_dispute_moved", "transactions.on_dispute_moved"),
)
class DisputeMoved(Event):
    """aggregate_id is the dispute's id. `order_id` is a transaction's where a deposit is disputed.

    A dispute is opened once, and then won or lost once: whatever was heard first, each is told.
    """

    dispute_id: str
    order_id: str
    payment_id: str
    amount: Money
    status: DisputeStatus
    reason: str
    customer_id: str | None = None


@event("payments", "payout_settled", subscribers=("transactions.on_payout_settled",))
class PayOutSettled(Event):
    """A payout arrived; aggregate_id is its id."""

    payout_id: str
    amount: Money


@event("payments", "payout_returned", subscribers=("transactions.on_payout_returned",))
class PayOutReturned(Event):
    """A payout came back; aggregate_id is its id. `settled`: it had been told to have arrived."""

    payout_id: str
    amount: Money
    settled: bool
    reason: str


@event("payments", "gift_card_issued", subscribers=("accounts.on_gift_card_issued",))
class GiftCardIssued(Event):
    """Staff gave somebody a gift card that nobody paid for; aggregate_id is its id."""

    gift_card_id: str
    customer_id: str
    amount: Money


@event("payments", "payment_resolved", subscribers=("orders.on_payment_resolved", "transactions.on_payment_resolved"))
class PaymentResolved(Event):
    """A payment that required the customer's action was approved, or was not; aggregate_id is the payment's id.

    `reason` is the acquirer's own code when it was not.
    """

    order_id: str
    payment_id: str
    authorized: bool
    reason: str | None = None


@api("payments")
class PaymentsApi(DeadLettersApi, PrivacyApi, Protocol):
    """A payment belongs to an order and has an id, by default the order's. It is paid by parts: gift cards and accounts
    of the customer's, and at most one card."""

    name: str

    @refuses(
        "payments.unsupported_method",
        "payments.one_card",
        "payments.unknown_gift_card",
        "payments.gift_card_insufficient",
        *WALLET_REFUSALS,
    )
    def check(self, amount: Money, method: PaymentMethod, customer_id: CustomerId | None = None) -> None:
        """Whether `authorize` would take this method for this amount now, gift cards and accounts included; a card is
        not asked.

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
        *WALLET_REFUSALS,
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
        """Set `amount` aside: on the gift cards here, on the accounts in the ledger, on the card at the acquirer; all
        of it or nothing.

        The status `requires_action` is no refusal: the customer has to approve at `action_url`; how that ends is told
        by the event payment_resolved. Gift cards and accounts have to be `customer_id`'s. The card is asked last.
        `payments.wallet_insufficient` says what is `available`.
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
        "payments.wallet_frozen",
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

        What the acquirer took back for a dispute is not left, unless it was won.
        It goes over the order's payments in the order in which they were made, and over the parts of each in theirs;
        `except_payment` is left alone. What a gift card gave goes back to it, and so does what an account gave: a
        closed one's becomes a new gift card of the customer's, one that is frozen is waited for
        (`payments.wallet_frozen`; the rest is given back meanwhile). What a card gave goes back to the card, or, with
        to="gift_card", to one new gift card of the customer's. A repeat gives back exactly the same.
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
        """A signed call of the acquirer's, of a payment or a dispute. An older one never moves a state back; a repeat
        changes nothing.

        The id inside the body is what it is known by; `key` is not looked at.
        """
        ...

    @refuses("payments.bad_cursor")
    def disputes(
        self, status: DisputeStatus | None = None, limit: Limit = 20, cursor: str | None = None
    ) -> DisputePage:
        """Disputes, newest first (staff)."""
        ...

    @refuses("payments.not_found")
    def dispute(self, dispute_id: DisputeId) -> Dispute:
        """One dispute (staff)."""
        ...

    @refuses("payments.not_found")
    def refresh_dispute(self, dispute_id: DisputeId) -> Dispute:
        """Ask the acquirer what has become of a dispute, for news that got lost. For services and operators."""
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

    @refuses("payments.exists", "payments.payout_refused", "payments.payout_cancelled")
    def pay_out(
        self, payout_id: PayOutId, amount: Money, iban: Iban, name: Name, reference: Reference = "", *, key: OutsideKey
    ) -> PayOut:
        """Send money to a bank account. It is on its way then: that it arrived, or came back, is told by the events
        payout_settled and payout_returned, the latter perhaps days later.

        A pivot: it has no undo.
        """
        ...

    @refuses("payments.not_found")
    def get_payout(self, payout_id: PayOutId) -> PayOut:
        """A payout, as it is known here: for services and staff."""
        ...

    @refuses("payments.bad_signature")
    def bank_hook(self, signature: str, body: str, *, key: str = "") -> None:
        """A signed call of the bank's: as `acquirer_hook`."""
        ...
