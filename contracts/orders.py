"""orders: places and owns orders, drives each through its saga, and amends them."""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.amendments import (
    Amendment,
    Decisions,
    Exchange,
    Kind,
    Preview,
    RefundTo,
    Return,
    ReturnedLine,
    ReturnLine,
    ReturnLines,
    SwapLine,
    SwapLines,
    Wish,
)
from contracts.common import Address, CartRef, DisputeState, OrderLine, PaymentMethod, Text, TimelineEntry, Totals
from contracts.operations import DeadLettersApi, SagasApi
from contracts.payments import WALLET_REFUSALS
from contracts.privacy import PrivacyApi

Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]
CustomerId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
AuditLimit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
IncidentState = Literal["open", "mended", "gone"]
WaitS = Annotated[float, msgspec.Meta(ge=0, le=10)]


class PaymentState(Message):
    """`paid` and `refunded` are sums over all of the order's payments; `action_url` is where the customer confirms
    the payment while `status` is requires_action."""

    status: str
    method: str
    paid: Money
    refunded: Money
    action_url: str | None = None


class ShipmentState(Message):
    status: str
    tracking: str | None = None


class Order(Message):
    """`reason` tells in words for the customer, `reason_code` as a code, why an order was rejected or cancelled.

    `review`: risk wants staff to look at it first; while it is pending it waits for that, and it stays marked.
    `timeline` has the lines of its amendments too, by time.
    """

    id: str
    customer_id: str
    status: str
    lines: list[OrderLine]
    totals: Totals
    shipping_address: Address
    payment: PaymentState
    shipment: ShipmentState
    timeline: list[TimelineEntry]
    created_at: datetime
    reason: str | None = None
    reason_code: str | None = None
    review: bool = False
    amendments: list[Amendment] = []
    disputes: list[DisputeState] = []


class OrderPage(Message):
    items: list[Order]
    next_cursor: str | None


class Quote(Message):
    items: Money
    shipping: Money
    tax: Money
    total: Money
    expires_at: datetime


class OrderMoney(Message):
    """What an order says was kept of the customer's money: `due` = captured - refunded, once `settled`. `booked`: the
    ledger has it; orders from before there was one are not booked."""

    order_id: str
    status: str
    due: int
    currency: str
    settled: bool
    updated_at: datetime
    booked: bool = False


class OrderMoneyPage(Message):
    items: list[OrderMoney]
    next_after: str | None


class SagaHealth(Message):
    """Sagas that have not ended. `overdue`: past the deadline before the pivot, not compensating. Keys: order ids."""

    running: int
    overdue: list[str]
    running_keys: list[str]
    attention: list[str]


class Incident(Message):
    """A difference that reconciliation found, once for each subject. `state`: open, mended, or gone by itself.

    `kind`: payment (our books against the acquirer's statement), stock (reservations against orders) or parcel
    (shipments against the carrier's bookings). `order_id` may be an amendment's.
    """

    kind: str
    subject: str
    detail: str
    state: str
    first_seen: datetime
    last_seen: datetime
    order_id: str | None = None
    mended_at: datetime | None = None


class Repaired(Message):
    """What one reconciliation did. `unasked`: kinds that could not be compared now, whose incidents stay as they were.

    `mended` are those of this run, `incidents` the open ones after it, at most 100 of each.
    """

    at: datetime
    unasked: list[str]
    mended: list[Incident]
    incidents: list[Incident]


@event("orders", "order_confirmed", subscribers=("notifications.on_order_confirmed",))
class OrderConfirmed(Event):
    order_id: str
    customer_id: str
    email: str
    name: str
    total: Money
    lines: list[OrderLine]
    tracking: str | None


@event("orders", "order_rejected", subscribers=("notifications.on_order_rejected", "support.on_order_rejected"))
class OrderRejected(Event):
    """`reason` is a code, `message` the sentence for the customer."""

    order_id: str
    customer_id: str
    email: str
    name: str
    reason: str
    message: str


@event("orders", "order_cancelled", subscribers=("notifications.on_order_cancelled", "support.on_order_cancelled"))
class OrderCancelled(Event):
    """Units are available again. `refunded` is None where nothing was charged."""

    order_id: str
    customer_id: str
    email: str
    name: str
    reason: str
    refunded: Money | None


@event("orders", "return_requested", subscribers=("notifications.on_return_requested",))
class ReturnRequested(Event):
    """The customer may send these units back until `expires_at`."""

    order_id: str
    return_id: str
    customer_id: str
    email: str
    name: str
    lines: list[ReturnLine]
    expires_at: datetime


@event("orders", "return_settled", subscribers=("notifications.on_return_settled", "support.on_return_settled"))
class ReturnSettled(Event):
    """Staff looked at what came back. `refund` is on its way, 0 if nothing was accepted."""

    order_id: str
    return_id: str
    customer_id: str
    email: str
    name: str
    lines: list[ReturnedLine]
    refund: Money
    refund_to: RefundTo


@event("orders", "order_changed", subscribers=("notifications.on_order_changed", "support.on_order_changed"))
class OrderChanged(Event):
    """The order as it is now. `charged` and `refunded` are what the change cost or gave back, 0 for neither. `key`:
    under which it was asked for; events from before do not tell, nor which amendment it was."""

    order_id: str
    customer_id: str
    email: str
    name: str
    lines: list[OrderLine]
    total: Money
    shipping_address: Address
    charged: Money
    refunded: Money
    amendment_id: str | None = None
    key: str | None = None


@event("orders", "exchange_settled", subscribers=("notifications.on_exchange_settled", "support.on_exchange_settled"))
class ExchangeSettled(Event):
    """The new units are on their way; the difference was charged (above zero) or refunded (below). The old ones are to
    be sent back until `expires_at`."""

    order_id: str
    exchange_id: str
    customer_id: str
    email: str
    name: str
    lines: list[SwapLine]
    difference: Money
    tracking: str | None
    expires_at: datetime


@event("orders", "amendment_failed", subscribers=("support.on_amendment_failed",))
class AmendmentFailed(Event):
    """A cancel, change, return or exchange came to nothing: it was rejected, with the order as it was, or the goods did
    not come back in time. `reason_code` and `message`, the sentence for the customer, say why. `key`: under which it
    was asked for; None if the house did, and in events from before."""

    order_id: str
    amendment_id: str
    kind: Kind
    customer_id: str
    reason_code: str
    message: str
    key: str | None = None


@event("orders", "order_disputed", subscribers=("notifications.on_order_disputed",))
class OrderDisputed(Event):
    """A dispute of an order's payment was opened, won by the house, or lost: `status`."""

    order_id: str
    customer_id: str
    email: str
    name: str
    dispute_id: str
    amount: Money
    status: str


@event(
    "orders",
    "sagas_forgotten",
    subscribers=(
        "inventory.on_sagas_forgotten",
        "accounts.on_sagas_forgotten",
        "risk.on_sagas_forgotten",
        "payments.on_sagas_forgotten",
        "shipping.on_sagas_forgotten",
        "carts.on_sagas_forgotten",
    ),
)
class SagasForgotten(Event):
    """These sagas of orders' ended long ago and were removed: whoever kept rows for them may remove those too."""

    saga_ids: list[str]


@api("orders")
class OrdersApi(SagasApi, DeadLettersApi, PrivacyApi, Protocol):
    name: str

    @refuses("orders.cart_empty", "orders.not_sold_any_more", "shipping.not_serviceable", "carts.not_found")
    def quote(self, cart: CartRef, shipping_address: Address) -> Quote:
        """What the cart would cost, sent to this address, at the prices of now."""
        ...

    @refuses(
        "orders.cart_empty",
        "orders.in_progress",
        "orders.price_changed",
        "orders.key_reused",
        "orders.unknown_payment_method",
        "orders.not_sold_any_more",
        "payments.gift_card_insufficient",
        "payments.one_card",
        "payments.unknown_gift_card",
        *WALLET_REFUSALS,
        "payments.unsupported_method",
        "shipping.not_serviceable",
    )
    def place(
        self,
        customer_id: CustomerId,
        shipping_address: Address,
        payment_method: PaymentMethod,
        expected_total: Money | None = None,
        wait_s: WaitS = 0,
        *,
        key: str,
    ) -> Order:
        """Turn the cart into an order and start its saga. The same key gives the same order, as it is now.

        With `wait_s` the answer waits so long for the saga's end.
        """
        ...

    @refuses("orders.not_found")
    def get(self, order_id: str, wait_s: WaitS = 0) -> Order:
        """One order. With `wait_s` the answer waits so long for the saga's end."""
        ...

    @refuses("orders.bad_cursor")
    def find(
        self, customer_id: str | None = None, status: str | None = None, limit: Limit = 20, cursor: str | None = None
    ) -> OrderPage:
        """Orders, newest first; a customer sees only their own."""
        ...

    @refuses(
        "orders.not_found",
        "orders.not_cancellable",
        "orders.not_changeable",
        "orders.not_returnable",
        "orders.not_exchangeable",
        "orders.in_progress",
        "orders.not_in_order",
        "orders.not_a_variant",
        "orders.not_sold_any_more",
        "orders.unknown_payment_method",
        "payments.gift_card_insufficient",
        "payments.one_card",
        "payments.unknown_gift_card",
        *WALLET_REFUSALS,
        "payments.unsupported_method",
        "shipping.not_serviceable",
    )
    def preview(self, order_id: str, wish: Wish) -> Preview:
        """What a cancel, a change, a return or an exchange would come to now, by the rules and with the refusals of
        `cancel`, `change`, `begin_return` and `begin_exchange`. Nothing is written, and no stock is held or looked at.

        What costs more without a `payment_method` is no refusal here: `charge` is what has to be paid.
        """
        ...

    @refuses("orders.not_found", "orders.not_cancellable", "orders.in_progress", "orders.key_reused")
    def cancel(self, order_id: str, reason: Text, *, key: str) -> Order:
        """Cancel an order that was not handed to the carrier. It is `cancelling`, and then `cancelled`, with all money
        given back; or as it was, where the carrier says that it is too late. A repeat changes nothing.
        """
        ...

    @refuses(
        "orders.not_found",
        "orders.not_changeable",
        "orders.in_progress",
        "orders.key_reused",
        "orders.not_in_order",
        "orders.not_sold_any_more",
        "orders.payment_method_required",
        "orders.unknown_payment_method",
        "payments.gift_card_insufficient",
        "payments.one_card",
        "payments.unknown_gift_card",
        *WALLET_REFUSALS,
        "payments.unsupported_method",
        "shipping.not_serviceable",
    )
    def change(
        self,
        order_id: str,
        shipping_address: Address | None = None,
        lines: SwapLines | None = None,
        payment_method: PaymentMethod | None = None,
        *,
        key: str,
    ) -> Order:
        """Change a confirmed order before it is handed to the carrier: all that is asked, or nothing.

        Units that stay keep their price, new ones have that of now; another address is quoted anew. A higher total is
        paid with `payment_method`, a lower one is refunded. `payment_method` alone pays everything with it, and
        refunds what was paid before.
        """
        ...

    @refuses(
        "orders.not_found", "orders.not_returnable", "orders.in_progress", "orders.key_reused", "orders.not_in_order"
    )
    def begin_return(self, order_id: str, lines: ReturnLines, refund_to: RefundTo = "original", *, key: str) -> Return:
        """Send units of a delivered order back, within the return window. It waits for staff to look at them."""
        ...

    @refuses("orders.return_not_found", "orders.already_decided", "orders.return_expired", "orders.in_progress")
    def decide_return(self, return_id: str, decisions: Decisions, *, key: str) -> Return:
        """What staff found, for every line, once (staff). The same again gives the same answer.

        `return_id` may be an exchange's: then the answer tells of the old units, and nothing is refunded.
        """
        ...

    @refuses(
        "orders.not_found",
        "orders.not_exchangeable",
        "orders.in_progress",
        "orders.key_reused",
        "orders.not_in_order",
        "orders.not_a_variant",
        "orders.not_sold_any_more",
        "orders.payment_method_required",
        "orders.unknown_payment_method",
        "payments.gift_card_insufficient",
        "payments.one_card",
        "payments.unknown_gift_card",
        *WALLET_REFUSALS,
        "payments.unsupported_method",
    )
    def begin_exchange(
        self, order_id: str, lines: SwapLines, payment_method: PaymentMethod | None = None, *, key: str
    ) -> Exchange:
        """Exchange units of a delivered order, within the return window, for another variant of the same product.

        A higher price is paid with `payment_method`, a lower one refunded. The new units go out at once.
        """
        ...

    @refuses("orders.not_found")
    def returns(self, order_id: str) -> list[Return]:
        """An order's returns, the oldest first."""
        ...

    @refuses("orders.not_found", "orders.return_not_found")
    def get_return(self, order_id: str, return_id: str) -> Return:
        """One return of an order."""
        ...

    @refuses("orders.not_found")
    def exchanges(self, order_id: str) -> list[Exchange]:
        """An order's exchanges, the oldest first."""
        ...

    @refuses("orders.not_found", "orders.exchange_not_found")
    def get_exchange(self, order_id: str, exchange_id: str) -> Exchange:
        """One exchange of an order."""
        ...

    def money(self, after: str | None = None, limit: AuditLimit = 500) -> OrderMoneyPage:
        """For the audit: what each order says of its money, in the order of its id."""
        ...

    def saga_health(self) -> SagaHealth:
        """For the audit: whether every saga ended or is within its deadline."""
        ...

    def incidents(self, state: IncidentState = "open", limit: Limit = 100) -> list[Incident]:
        """What reconciliation found, the latest first (operator)."""
        ...

    @refuses("orders.repair_running")
    def repair(self) -> Repaired:
        """Compare with the acquirer, the stock and the carrier now, and mend what is safe (operator).

        The same is done every `repair_interval_s`. Repeating it changes nothing more.
        """
        ...
