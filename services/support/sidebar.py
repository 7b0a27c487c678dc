"""What the desk sees beside a conversation: the customer, their orders, money and mails, as they are now."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from chassis.gathering import gathered
from chassis.rpc import Pending, call_async
from contracts.accounts import AccountsApi
from contracts.notifications import NotificationsApi
from contracts.orders import OrdersApi
from contracts.risk import RiskApi
from contracts.transactions import TransactionsApi
from contracts.users import UsersApi

NEWEST = 10


class Beside(msgspec.Struct, kw_only=True):
    """Plain JSON values; what a service that is named in `missing` would have told is empty."""

    customer: dict[str, Any] | None = None
    orders: list[dict[str, Any]] = []
    accounts: list[dict[str, Any]] = []
    transactions: list[dict[str, Any]] = []
    risk: list[dict[str, Any]] = []
    mails: list[dict[str, Any]] = []
    missing: list[str] = []


class Services(msgspec.Struct, frozen=True):
    """Whom to ask, as a service."""

    users: UsersApi
    orders: OrdersApi
    accounts: AccountsApi
    transactions: TransactionsApi
    risk: RiskApi
    notifications: NotificationsApi


def beside(services: Services, customer_id: str | None, order_id: str | None) -> Beside:
    """Ask everybody at once, then those who need an answer of the first. Who refuses (a customer who is gone) has
    nothing to tell."""
    if customer_id is None:
        return Beside()
    asks: dict[str, Callable[[], Pending[Any]]] = {
        "users": partial(call_async, services.users.profile, customer_id),
        "orders": partial(call_async, services.orders.find, customer_id, None, NEWEST),
        "accounts": partial(call_async, services.accounts.of_customer, customer_id),
        "transactions": partial(call_async, services.transactions.find, customer_id, None, None, NEWEST),
    }
    first, _, silent = gathered(asks)
    profile, orders = first.get("users"), first["orders"].items if "orders" in first else []
    about = order_id or (orders[0].id if orders else None)
    asks = {}
    if about is not None:
        asks["risk"] = partial(call_async, services.risk.screenings, about)
    if profile is not None:
        asks["notifications"] = partial(call_async, services.notifications.find, profile.email, NEWEST)
    then, _, silent_too = gathered(asks)
    return Beside(
        customer=_plain(profile) if profile is not None else None,
        orders=[_plain(order) for order in orders],
        accounts=[_plain(account) for account in first.get("accounts", [])],
        transactions=[_plain(each) for each in first["transactions"].items] if "transactions" in first else [],
        risk=[_plain(each) for each in then.get("risk", [])],
        mails=[_plain(mail) for mail in then.get("notifications", [])],
        missing=sorted({*silent, *silent_too}),
    )


def _plain(value: Any) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(value)
    return built
