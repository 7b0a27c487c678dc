"""Customers who order, cancel and send back all at once, of few units: in between every book holds, and in the end all.

What each of them does depends on the seed alone: BANK_SEED repeats a run, as far as the order in which they come does
not decide.
"""

import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import eventlet
import pytest
from argon2 import PasswordHasher

from chassis.errors import ServiceError
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.orders import OrdersApi
from contracts.products import ProductsApi
from contracts.shipping import ShippingApi
from contracts.users import UsersApi
from services.users import passwords
from tests.chaos import ledger
from tests.faults.world import PATIENT, World
from tests.integration import bank_books as books
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, in_green_threads, running_companies, running_shop

SEED = os.environ.get("BANK_SEED") or str(random.randrange(1_000_000))
CUSTOMERS, VISITS = 10, 6
PRICES = {"LAMP": 1999, "DESK": 12900, "CUP": 650}
UNITS = 6
"""Of each article, before anybody comes."""
TOKENS = ("tok_visa",) * 8 + ("tok_capture_fails", "tok_declined", "tok_lost_reply")
MOVING, LAST = ("pending", "rejecting", "cancelling"), ("rejected", "cancelled", "returned")
PAUSE_S, LOOKS, BUSY_LOOKS = 0.01, 50, 5
"""Between two looks at a database; and so many looks there are at least."""
LIMIT_S = 60.0


class Watch:
    """Looks into each database again and again, while everybody is at work. `busy` are the looks at units that were
    held for an order on its way."""

    def __init__(self, uris: dict[str, str]) -> None:
        self.looks, self.busy, self.found = Counter[str](), 0, Counter[str]()
        self.over = False
        self.databases = {service: books.Database(uris[service]) for service in books.CHECKS}
        self.watching = [eventlet.spawn(self._watch, service) for service in books.CHECKS]

    def _watch(self, service: str) -> None:
        checks = books.CHECKS[service]()
        while not (self.over or self.found):
            with self.databases[service].snapshot() as rows:
                for check in checks:
                    self.found.update(check(rows))
                if service == "inventory":
                    self.busy += any(row["reserved"] for row in rows("SELECT reserved FROM stock"))
            self.looks[service] += 1
            eventlet.sleep(PAUSE_S)

    def end(self) -> None:
        """A connection in use cannot be closed: whoever uses it comes to an end first."""
        self.over = True
        for each in self.watching:
            each.wait()

    def close(self) -> None:
        self.end()
        for database in self.databases.values():
            database.close()


class Customer:
    """One person with a cart, and whoever at the shop looks at what they send back. `scrapped` counts that."""

    def __init__(self, world: World, number: int, scrapped: Counter[str]) -> None:
        self.world, self.scrapped = world, scrapped
        self.name = f"customer-{number}"
        self.chance = random.Random(f"{SEED}:{self.name}")
        email = f"{self.name}@rialto.example"
        self.id = world.look(UsersApi.sign_up, email=email, password="a-long-password", name="Ada", key=email)["id"]

    def ask(self, method: Callable[..., Any], **arguments: Any) -> Any:
        return self.world.ask(self.name, method, **arguments)

    def try_to(self, method: Callable[..., Any], *codes: str, **arguments: Any) -> Any:
        """What is answered; None where it is refused by one of these codes."""
        try:
            return self.ask(method, **arguments)
        except ServiceError as refusal:
            if refusal.code not in codes:
                raise
            return None

    def shop(self, visits: int, watch: Watch) -> None:
        for _ in range(visits):
            if not watch.found:
                self.visit()

    def visit(self) -> None:
        """An order, from the cart to whatever becomes of it."""
        order_id = self.place()
        if self.chance.random() < 0.25:
            self.cancel(order_id)
        order = self.settled(order_id)
        if order["status"] == "confirmed" and self.chance.random() < 0.3:
            in_green_threads([lambda: self.cancel(order_id), lambda: self.carry(order, times=1)])
            order = self.settled(order_id)
        if order["status"] in LAST or self.chance.random() < 0.2:
            return
        self.carry(order, times=3)
        wait_until(lambda: self.order(order_id)["status"] == "delivered", LIMIT_S)
        for _ in range(self.chance.randint(0, 2)):
            self.send_back(order_id)

    def place(self) -> str:
        wanted = {sku: self.chance.randint(1, 2) for sku in self.chance.sample(sorted(PRICES), 2)}
        cart = {"customer_id": self.id}
        for sku in PRICES:
            self.ask(CartsApi.put_item, cart=cart, sku=sku, quantity=wanted.get(sku, 0), key=uuid.uuid4().hex)
        key, method = uuid.uuid4().hex, {"type": "card", "token": self.chance.choice(TOKENS)}
        clicks = self.chance.choice((1, 1, 3))

        def click() -> str:
            order = self.ask(
                OrdersApi.place, customer_id=self.id, shipping_address=ADDRESS, payment_method=method, key=key
            )
            return str(order["id"])

        (order_id,) = set(in_green_threads([click] * clicks))
        return order_id

    def cancel(self, order_id: str) -> None:
        refusals = ("orders.not_cancellable", "orders.in_progress")
        self.try_to(OrdersApi.cancel, *refusals, order_id=order_id, reason="no more", key=uuid.uuid4().hex)

    def carry(self, order: Any, times: int) -> None:
        """Move the parcel on, if it was not called off."""
        for _ in range(times):
            refusals = ("shipping.cancelled", "shipping.delivered")
            tracking = order["shipment"]["tracking"]
            self.try_to(ShippingApi.advance, *refusals, tracking=tracking, key=uuid.uuid4().hex)

    def send_back(self, order_id: str) -> None:
        """Some of what is left; two of the staff decide on it at once, who saw the same."""
        left = {line["sku"]: line["quantity"] - line["returned"] for line in self.order(order_id)["lines"]}
        lines = [
            dict(sku=sku, quantity=self.chance.randint(1, count), reason="too small")
            for sku, count in left.items()
            if count
        ]
        if not lines:
            return
        to = self.chance.choice(("original", "gift_card"))
        begun = self.ask(OrdersApi.begin_return, order_id=order_id, lines=lines, refund_to=to, key=uuid.uuid4().hex)
        decisions = [
            dict(sku=line["sku"], accept=self.chance.random() < 0.8, restock=self.chance.random() < 0.6)
            for line in lines
        ]

        def decide() -> None:
            self.ask(OrdersApi.decide_return, return_id=begun["id"], decisions=decisions, key=uuid.uuid4().hex)

        in_green_threads([decide] * 2)
        for line, decision in zip(lines, decisions, strict=True):
            if decision["accept"] and not decision["restock"]:
                self.scrapped[line["sku"]] += line["quantity"]
        self.settled(order_id)

    def order(self, order_id: str) -> Any:
        return self.world.look(OrdersApi.get, order_id=order_id, wait_s=0.5)

    def settled(self, order_id: str) -> Any:
        """The order once nobody works on it."""

        def look() -> Any:
            order = self.order(order_id)
            amended = all(each["status"] not in ("pending", "settling") for each in order["amendments"])
            return order if order["status"] not in MOVING and amended else None

        return wait_until(look, LIMIT_S)


@pytest.fixture
def uris(config: dict[str, Any], database_uri: Callable[[str], str]) -> dict[str, str]:
    """service -> its database's."""
    return {key.split(":")[0]: database_uri(key.split(":")[0]) for key in config["DB_URIS"]}


@pytest.fixture
def world(
    config: dict[str, Any], uris: dict[str, str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A shop that sells few units of few articles."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    config["DB_URIS"] = {f"{service}:Base": uri for service, uri in uris.items()}
    with running_companies(tmp_path) as companies, running_shop(config, *companies, **PATIENT) as shop:
        world = World(shop)
        for sku, price in PRICES.items():
            variants = [{"sku": sku, "price": {"amount": price, "currency": "EUR"}, "options": {}}]
            product = {"name": sku, "description": "For tests.", "category": "home", "variants": variants}
            world.look(ProductsApi.create, product=product, key=sku)
            lines = [{"sku": sku, "quantity": UNITS}]
            world.look(InventoryApi.receive, lines=lines, reason="delivery", key=sku)
        yield world


@pytest.fixture
def watch(uris: dict[str, str]) -> Iterator[Watch]:
    watch = Watch(uris)
    yield watch
    watch.close()


def test_every_book_holds_at_every_moment_and_all_of_them_together_in_the_end(
    world: World, watch: Watch, uris: dict[str, str], tmp_path: Path, everything: bool
) -> None:
    print(f"BANK_SEED={SEED}")
    scrapped = Counter[str]()
    customers = [Customer(world, number, scrapped) for number in range(CUSTOMERS)]
    in_green_threads([partial(customer.shop, VISITS * (5 if everything else 1), watch) for customer in customers])
    watch.end()
    assert watch.found == Counter()
    print(watch.looks, watch.busy)
    assert min(watch.looks[service] for service in books.CHECKS) >= LOOKS
    assert watch.busy >= BUSY_LOOKS
    written = when_all_is_written(source_of(uris, tmp_path))
    assert {what: problems for what, problems in ledger.check(written).items() if problems} == {}
    assert_every_unit_is_somewhere(written, scrapped)
    assert_the_acquirer_has_what_orders_say(written)
    world.assert_adds_up()


def source_of(uris: dict[str, str], folder: Path) -> ledger.Source:
    if uris["orders"].startswith("sqlite"):
        return ledger.Source(folder)
    names = {service: uri.rpartition("/")[2] for service, uri in uris.items()}
    return ledger.Source(folder, os.environ["PG_URI"], names)


def when_all_is_written(source: ledger.Source) -> ledger.Books:
    """All databases, once no event, mail or command is on its way any more; as they are if that takes too long."""
    give_up_at = time.monotonic() + LIMIT_S
    while True:
        written = ledger.read(source)
        under_way = [*ledger.nothing_left_over(written), *ledger.mails_agree(written)]
        if not under_way or time.monotonic() > give_up_at:
            return written
        eventlet.sleep(0.1)


def assert_every_unit_is_somewhere(written: ledger.Books, scrapped: Counter[str]) -> None:
    """What came in is on the shelf, with a customer, or was scrapped by somebody who said so."""
    somewhere = Counter(scrapped)
    for sku, stock in written.stock.items():
        somewhere[sku] += stock["available"]
    for order in written.orders.values():
        for line in order["lines"] if order["status"] in ledger.KEPT else ():
            somewhere[line["sku"]] += line["quantity"] - line["returned"]
    assert somewhere == dict.fromkeys(PRICES, UNITS)


def assert_the_acquirer_has_what_orders_say(written: ledger.Books) -> None:
    """What it took and did not give back was paid for orders and not given back, or is on gift cards instead."""
    theirs = sum(moved["capture"] - moved["refund"] for moved in written.moved.values())
    ours = sum(order["paid_amount"] - order["refunded_amount"] for order in written.orders.values())
    assert theirs == ours + sum(card["issued"] for card in written.gift_cards.values())
