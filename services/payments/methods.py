"""Ways to pay. A new one is a class with these four calls and a line in METHODS.

Each call goes by a key, so that asking again does nothing twice, and runs with no transaction open.
"""

from collections.abc import Callable
from typing import Protocol

from chassis.errors import ServiceError
from chassis.types import Money
from contracts.common import PaymentMethod
from services.payments.adapters import AcquirerClient


class Method(Protocol):
    def check(self, method: PaymentMethod) -> None:
        """Raises ServiceError `request.invalid` when something is missing that this way of paying needs."""
        ...

    def authorize(self, key: str, amount: Money, method: PaymentMethod, order_id: str) -> None: ...

    def void(self, key: str) -> bool:
        """Undo `authorize` by its key, seen or not. Answers whether there was something to undo."""
        ...

    def capture(self, key: str, authorize_key: str, amount: Money) -> None: ...

    def refund(self, key: str, authorize_key: str, amount: Money) -> None: ...


class Card:
    """A card, by the acquirer's token."""

    def __init__(self, acquirer: AcquirerClient) -> None:
        self.acquirer = acquirer

    def check(self, method: PaymentMethod) -> None:
        if not method.token:
            raise ServiceError("request.invalid", "A card needs its token.", {"field": "method.token"})

    def authorize(self, key: str, amount: Money, method: PaymentMethod, order_id: str) -> None:
        self.acquirer.authorize(key, amount, method.token or "", order_id)

    def void(self, key: str) -> bool:
        self.acquirer.void(key)
        found = self.acquirer.status(key)  # the void's own answer is the same for a key never seen
        return found is not None and found.payment is not None

    def capture(self, key: str, authorize_key: str, amount: Money) -> None:
        self.acquirer.capture(key, authorize_key, amount)

    def refund(self, key: str, authorize_key: str, amount: Money) -> None:
        self.acquirer.refund(key, authorize_key, amount)


METHODS: dict[str, Callable[[AcquirerClient], Method]] = {"card": Card}


def method_of(name: str, acquirer: AcquirerClient) -> Method:
    """Raises ServiceError `payments.unsupported_method`."""
    if name not in METHODS:
        raise ServiceError(
            "payments.unsupported_method", f"Pay with one of: {', '.join(METHODS)}.", {"field": "method.type"}
        )
    return METHODS[name](acquirer)
