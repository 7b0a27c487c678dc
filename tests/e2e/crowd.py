"""Customers who buy one order after the other while a test does something to the shop, and what becomes of the orders.

They are good clients (tests/chaos/person.py): what is not answered is asked again with the same key, and is noted.
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import eventlet

from scripts.processes import wait_until
from tests.chaos import ledger
from tests.chaos.person import PATIENCE_S, Journal, Person
from tests.e2e.shopping import ADDRESS, PASSWORD

LOOK_EVERY_S = 0.2
SETTLES_WITHIN_S = 60
CARD = {"type": "card", "token": "tok_visa"}


@dataclass
class Crowd:
    """`orders`: how each accepted one ended, and after how many seconds."""

    journal: Journal
    closing: bool = False
    orders: dict[str, tuple[str, float]] = field(default_factory=dict)

    def noted(self, what: str) -> list[dict[str, Any]]:
        lines = self.journal.path.read_text().splitlines() if self.journal.path.exists() else []
        return [line for line in map(json.loads, lines) if line["what"] == what]

    def served_without_a_gap(self) -> bool:
        """Whether no service was ever away, as far as the customers were told."""
        return not [each for each in self.noted("trouble") if each["status"] == 503]

    def require_good_ends(self, at_least: int, within_s: float) -> None:
        """Every accepted order was confirmed, and none waited for long."""
        slowest_s = max(took_s for _, took_s in self.orders.values())
        silences, troubles = len(self.noted("silence")), len(self.noted("trouble"))
        print(f"{len(self.orders)} orders, the slowest {slowest_s:.1f} s; asked again {silences + troubles} times")
        assert {status for status, _ in self.orders.values()} == {"confirmed"}, self.orders
        assert len(self.orders) >= at_least
        assert slowest_s < within_s, self.orders


class Buyer(Person):
    """Somebody new, who buys one of a sku again and again."""

    def __init__(self, url: str, journal: Journal) -> None:
        name = secrets.token_hex(6)
        super().__init__(name, f"{name}@rialto.example", PASSWORD, url, journal)
        self.ask("POST", "/v1/users", f"{name}-account", json={"email": self.email, "password": PASSWORD, "name": "A"})
        self.log_in()

    def buy_until_closing(self, crowd: Crowd, sku: str) -> None:
        while not crowd.closing:
            begun = time.monotonic()
            self.ask("PUT", f"/v1/cart/items/{sku}", json={"quantity": 1})
            body = {"shipping_address": ADDRESS, "payment_method": CARD}
            answer = self.ask("POST", "/v1/orders", secrets.token_hex(12), json=body)
            assert answer.is_success, answer.text
            order_id = answer.json()["id"]
            crowd.orders[order_id] = ("lost", 0.0)
            crowd.orders[order_id] = (self._end_of(order_id), time.monotonic() - begun)

    def _end_of(self, order_id: str) -> str:
        status = "unknown"

        def ended() -> bool:
            nonlocal status
            status = self.ask("GET", f"/v1/orders/{order_id}").json()["status"]
            return status not in ("pending", "rejecting")

        wait_until(ended, PATIENCE_S, LOOK_EVERY_S)
        return status


@contextmanager
def buying(url: str, sku: str, folder: Path, buyers: int = 3) -> Iterator[Crowd]:
    """A crowd that buys meanwhile. At the end each follows the order that was begun; what failed is raised."""
    crowd = Crowd(Journal(folder / "journal.jsonl"))
    people = [Buyer(url, crowd.journal) for _ in range(buyers)]
    threads = [eventlet.spawn(each.buy_until_closing, crowd, sku) for each in people]
    try:
        assert wait_until(lambda: len(crowd.orders) >= buyers, PATIENCE_S)
        yield crowd
    finally:
        crowd.closing = True
        for thread in threads:
            thread.wait()
        for each in people:
            each.http.close()


def require_that_the_books_agree(var: Path, crowd: Crowd | None = None) -> None:
    """Wait until nothing is on its way, and have an accountant count it all: one saga, one charge, one parcel and one
    mail for each order, one order for each key."""
    source = ledger.Source(var)

    def settled() -> bool:
        books = ledger.read(source)
        moving = ledger.sagas_ended(books), ledger.nothing_left_over(books), ledger.mails_agree(books)
        return not any(any(found) for found in moving)

    wait_until(settled, SETTLES_WITHIN_S, every_s=0.5)
    books = ledger.read(source)
    assert {name: found for name, found in ledger.check(books).items() if found} == {}
    assert set(crowd.orders if crowd else ()) <= books.orders.keys()
