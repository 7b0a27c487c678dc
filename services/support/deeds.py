"""By which method of which service each kind of action is done, and what its answer means."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Row

from chassis.types import Caller
from contracts.amendments import Exchange, Return
from contracts.orders import Order
from services.support.domain import acting_as
from services.support.ends import Outcome, cancelled

SERVICE = Caller(service="support")


class Deed(NamedTuple):
    """`service` is an attribute of SupportService. `takes` are the names of what is passed on of an action's wish;
    `of_order`: with the order's id. `as_service`: not as the customer."""

    service: str
    method: str
    takes: tuple[str, ...]
    means: Callable[[Any], Outcome]
    of_order: bool = True
    as_service: bool = False

    def arguments(self, action: Row[Any]) -> dict[str, Any]:
        given = {name: action.wish[name] for name in self.takes if name in action.wish}
        return dict(given, order_id=action.order_id) if self.of_order else given

    def caller(self, action: Row[Any]) -> Caller:
        return SERVICE if self.as_service else acting_as(action.customer_id)


def _begun(answer: Any) -> Outcome:
    return Outcome(status="started")


def _cancel(order: Order) -> Outcome:
    """The order may have been cancelled before: then no event tells of it again."""
    return cancelled(order.id, order.payment.refunded) if order.status == "cancelled" else Outcome(status="started")


def _return(begun: Return) -> Outcome:
    told = dict(order_id=begun.order_id, subject_id=begun.id, until=begun.expires_at)
    return Outcome(status="started", says="return_requested", values=told, subject_id=begun.id)


def _exchange(begun: Exchange) -> Outcome:
    return Outcome(status="started", subject_id=begun.id)


def _resent(answer: Any) -> Outcome:
    return Outcome(status="done", says="resent")


def _frozen(answer: Any) -> Outcome:
    return Outcome(status="done", says="frozen")


DEEDS: dict[str, Deed] = {
    "cancel": Deed("orders", "cancel", ("reason",), _cancel),
    "change_address": Deed("orders", "change", ("shipping_address", "payment_method"), _begun),
    "change_items": Deed("orders", "change", ("lines", "payment_method"), _begun),
    "change_payment": Deed("orders", "change", ("payment_method",), _begun),
    "return": Deed("orders", "begin_return", ("lines", "refund_to"), _return),
    "exchange": Deed("orders", "begin_exchange", ("lines", "payment_method"), _exchange),
    "resend_mail": Deed("notifications", "resend", ("subject_id",), _resent, of_order=False, as_service=True),
    "freeze_account": Deed("accounts", "freeze", ("account_id", "reason"), _frozen, of_order=False),
}
"""By kind of action. Its id is the key."""
