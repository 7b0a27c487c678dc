"""payments: what was authorised, captured, voided and refunded for an order, at the acquirer."""

from datetime import datetime
from typing import Protocol

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.common import PaymentMethod


class Payment(Message):
    """`status`: none, authorized, captured, voided, refunded or declined. Amounts are minor units of `currency`."""

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
    """One side has a movement that the other has not. `since` tells how long."""

    key: str
    kind: str
    ours: int | None
    theirs: int | None
    order_id: str | None
    since: datetime | None


class Reconciliation(Message):
    """Acquirer's statement against our payments; `differences` is cut at 100, `count` is not."""

    compared: int
    count: int
    differences: list[Difference]


@event("payments", "payment_captured")
class PaymentCaptured(Event):
    """Money was taken; aggregate_id is the order's id."""

    order_id: str
    amount: Money


@api("payments")
class PaymentsApi(Protocol):
    name: str

    @refuses("payments.declined", "payments.unknown_token", "payments.unsupported_method", "payments.voided")
    def authorize(self, order_id: str, amount: Money, method: PaymentMethod, *, key: str) -> Payment:
        """Have the acquirer set `amount` aside. One payment for each order."""
        ...

    def void(self, order_id: str, amount: Money, method: PaymentMethod, *, key: str) -> None:
        """Undo of `authorize`, by its key, also when nobody knows whether it happened."""
        ...

    @refuses("payments.capture_refused", "payments.not_authorized")
    def capture(self, order_id: str, amount: Money, *, key: str) -> Payment:
        """Take what was authorised. The shop's pivot: it has no undo, only a refund."""
        ...

    @refuses("payments.refund_exceeds_capture", "payments.not_captured")
    def refund(self, order_id: str, amount: Money, *, key: str) -> Payment:
        """Give back all or part of what was captured; never more than is left. Retriable."""
        ...

    @refuses("payments.not_found")
    def get(self, order_id: str) -> Payment:
        """The payment of an order, as it is known here."""
        ...

    @refuses("payments.bad_signature")
    def acquirer_hook(self, signature: str, body: str, *, key: str) -> None:
        """A signed call of the acquirer's. An older one never moves a state back; a repeat changes nothing."""
        ...

    def balances(self, after: str | None = None, limit: int = 500) -> BalancePage:
        """What each order's payment holds, in the order of order_id; `after` is the last one seen."""
        ...

    def reconcile(self) -> Reconciliation:
        """Compare with the acquirer's statement. Changes nothing."""
        ...
