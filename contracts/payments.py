"""payments: what was authorised, captured, voided and refunded for an order, at the acquirer."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Message, Money, api, refuses
from contracts.common import PaymentMethod

OrderId = Annotated[str, msgspec.Meta(max_length=64, pattern="^[!-~]+$")]
OutsideKey = Annotated[str, msgspec.Meta(max_length=190, pattern="^[!-~]+$")]
"""A command's key that another company gets to see: short and plain enough for it to keep."""


class Payment(Message):
    """`status`: none, authorized, captured, voided, refunded (all of it) or declined. Amounts are minor units.

    `reason` is the acquirer's own code for a decline.
    """

    order_id: str
    status: str
    method: str
    amount: int
    captured: int
    refunded: int
    currency: str
    reason: str | None = None


class Balance(Message):
    order_id: str
    status: str
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


@api("payments")
class PaymentsApi(Protocol):
    name: str

    @refuses(
        "payments.declined",
        "payments.unknown_token",
        "payments.unsupported_method",
        "payments.voided",
        "payments.exists",
    )
    def authorize(self, order_id: OrderId, amount: Money, method: PaymentMethod, *, key: OutsideKey) -> Payment:
        """Have the acquirer set `amount` aside. One payment for each order."""
        ...

    @refuses("payments.captured")
    def void(self, order_id: OrderId, amount: Money, method: PaymentMethod, *, key: OutsideKey) -> None:
        """Undo of `authorize`, by its key, also when nobody knows whether it happened.

        `payments.captured` means that it can only be refunded: somebody has to look at it.
        """
        ...

    @refuses("payments.capture_refused", "payments.not_authorized", "payments.voided", "payments.captured")
    def capture(self, order_id: OrderId, amount: Money, *, key: OutsideKey) -> Payment:
        """Take what was authorised, or part of it, once. The shop's pivot: it has no undo, only a refund."""
        ...

    @refuses("payments.refund_exceeds_capture", "payments.not_captured", "payments.not_authorized")
    def refund(self, order_id: OrderId, amount: Money, *, key: OutsideKey) -> Payment:
        """Give back all or part of what was captured; never more than is left. Retriable."""
        ...

    @refuses("payments.not_found")
    def get(self, order_id: OrderId) -> Payment:
        """The payment of an order, as it is known here: for services and staff."""
        ...

    @refuses("payments.bad_signature")
    def acquirer_hook(self, signature: str, body: str, *, key: str = "") -> None:
        """A signed call of the acquirer's. An older one never moves a state back; a repeat changes nothing.

        The id inside the body is what it is known by; `key` is not looked at.
        """
        ...

    def balances(self, after: OrderId | None = None, limit: int = 500) -> BalancePage:
        """What each order's payment holds, in the order of order_id; `after` is the last one seen."""
        ...

    def reconcile(self) -> Reconciliation:
        """Compare with the acquirer's statement. Changes nothing."""
        ...
