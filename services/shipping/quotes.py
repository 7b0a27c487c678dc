"""Quotes that the carrier gave, kept in this process while they hold.

Every look at a cart with an address asks for one, and then the order asks again: the same few questions, over and over.
Kept answers spare the carrier, and a slow carrier does not make every cart slow. Refusals are not kept.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

from nameko.extensions import DependencyProvider

from contracts.common import Address
from contracts.shipping import ShippingQuote

MOST = 1000
LONG_ENOUGH = timedelta(minutes=5)
"""A quote that ends sooner is asked for anew: who gets one shall have time to order."""


class Quotes:
    """By country, postal code and number of items: all that a tariff depends on."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, int], ShippingQuote] = OrderedDict()

    def find(self, address: Address, items: int, at: datetime) -> ShippingQuote | None:
        quote = self._kept.get((address.country, address.postal_code, items))
        return quote if quote and quote.expires_at >= at + LONG_ENOUGH else None

    def keep(self, address: Address, items: int, quote: ShippingQuote) -> ShippingQuote:
        """Keep the newest MOST of them; answers the quote."""
        name = (address.country, address.postal_code, items)
        self._kept[name] = quote
        self._kept.move_to_end(name)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return quote


class KeptQuotes(DependencyProvider):
    """Worker attribute: the process's Quotes."""

    def setup(self) -> None:
        self.quotes = Quotes()

    def get_dependency(self, worker_ctx: Any) -> Quotes:
        return self.quotes
