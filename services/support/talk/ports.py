"""The services as a customer sees them, and what was seen of them in one turn."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from chassis.errors import Failure, OutcomeUnknown, ServiceError
from contracts.accounts import Account
from contracts.amendments import Exchange, Preview, Return, Wish
from contracts.orders import Order, OrderPage
from contracts.products import Offer, Product, ProductPage
from contracts.transactions import Transaction, TransactionPage
from contracts.users import Profile

T = TypeVar("T")

AT_MOST = 50


class Orders(Protocol):
    def find(self, customer_id: str | None = None, *, limit: int = 20) -> OrderPage: ...
    def get(self, order_id: str) -> Order: ...
    def preview(self, order_id: str, wish: Wish) -> Preview: ...
    def returns(self, order_id: str) -> list[Return]: ...
    def exchanges(self, order_id: str) -> list[Exchange]: ...


class Accounts(Protocol):
    def of_customer(self, customer_id: str) -> list[Account]: ...


class Transactions(Protocol):
    def find(self, customer_id: str, *, limit: int = 20) -> TransactionPage: ...
    def get(self, transaction_id: str) -> Transaction: ...


class Products(Protocol):
    def find(self, query: str | None = None, *, limit: int = 20) -> ProductPage: ...
    def get(self, product_id: str) -> Product: ...
    def offers(self, skus: list[str]) -> list[Offer]: ...


class Users(Protocol):
    def profile(self, user_id: str) -> Profile: ...


class Ports(Protocol):
    """Every call is made as the customer of the conversation."""

    @property
    def orders(self) -> Orders: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def transactions(self) -> Transactions: ...
    @property
    def products(self) -> Products: ...
    @property
    def users(self) -> Users: ...


class Seen(msgspec.Struct, frozen=True):
    """Ports that are given as they are."""

    orders: Orders
    accounts: Accounts
    transactions: Transactions
    products: Products
    users: Users


class Blind(Exception):
    """A service did not answer; `what` is its name."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Guest(Exception):
    """Something personal was asked by somebody who is not logged in."""


class Sight:
    """What a customer can see, asked once in a turn. Raises Blind where a service does not answer."""

    def __init__(self, ports: Ports, customer_id: str | None) -> None:
        self._ports, self._customer_id = ports, customer_id
        self._seen: dict[tuple[str, ...], Any] = {}

    @property
    def customer_id(self) -> str:
        if self._customer_id is None:
            raise Guest
        return self._customer_id

    def orders(self) -> list[Order]:
        """Their orders, the newest first."""
        mine = self.customer_id
        return self._see("orders", (), lambda: self._ports.orders.find(customer_id=mine, limit=AT_MOST).items)

    def order(self, order_id: str) -> Order | None:
        """One of their orders, as it is now."""
        mine = self.customer_id
        order = self._see("orders", (order_id,), lambda: _or_none(lambda: self._ports.orders.get(order_id)))
        return order if order is not None and order.customer_id == mine else None

    def returns(self, order_id: str) -> list[Return]:
        return self._see("orders", ("returns", order_id), lambda: self._ports.orders.returns(order_id))

    def exchanges(self, order_id: str) -> list[Exchange]:
        return self._see("orders", ("exchanges", order_id), lambda: self._ports.orders.exchanges(order_id))

    def preview(self, order_id: str, wish: Wish) -> Preview:
        """What a wish would come to. Raises ServiceError with the reason why it cannot be."""
        try:
            preview: Preview = self._ports.orders.preview(order_id, wish)
        except OutcomeUnknown as unknown:
            raise Blind("orders") from unknown
        return preview

    def accounts(self) -> list[Account]:
        mine = self.customer_id
        return self._see("accounts", (), lambda: self._ports.accounts.of_customer(mine))

    def transactions(self) -> list[Transaction]:
        mine = self.customer_id
        return self._see("transactions", (), lambda: self._ports.transactions.find(mine, limit=AT_MOST).items)

    def profile(self) -> Profile:
        mine = self.customer_id
        return self._see("users", (), lambda: self._ports.users.profile(mine))

    def products(self, query: str) -> list[Product]:
        """What is on sale and has these words."""
        return self._see("products", ("?", query), lambda: self._ports.products.find(query[:200], limit=AT_MOST).items)

    def product(self, product_id: str) -> Product | None:
        return self._see("products", (product_id,), lambda: _or_none(lambda: self._ports.products.get(product_id)))

    def _see(self, what: str, how: tuple[str, ...], look: Callable[[], T]) -> T:
        if (what, *how) not in self._seen:
            try:
                self._seen[what, *how] = look()
            except Failure as failure:
                raise Blind(what) from failure
        seen: T = self._seen[what, *how]
        return seen


def _or_none(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except ServiceError as refusal:
        if refusal.code.endswith(".not_found"):
            return None
        raise
