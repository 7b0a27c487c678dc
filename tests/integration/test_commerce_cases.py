"""What other shops learned the hard way, and no other test shows: see docs/scenarios.md."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nameko.standalone.rpc import ServiceRpcProxy
from sqlalchemy import select

from chassis.db import Sessions, new_engine, shift_clock
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.tables import handled
from chassis.types import Money
from contracts.common import Line
from contracts.products import Offer
from services.orders.domain import contained_tax, price, totals
from services.payments.service import PaymentsService
from tests.integration.test_place_order import refuse
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, Shop, in_green_threads

LAMP = "LAMP-1"
CARD = {"type": "card", "token": "tok_visa"}


# --- rounding

RATES = st.integers(0, 1000)
AMOUNTS = st.integers(1, 999_999_999)
PRICED = st.lists(st.tuples(AMOUNTS, st.integers(1, 999), RATES), min_size=1, max_size=100)


@given(PRICED, st.integers(0, 100_000))
def test_lines_and_shipping_add_up_to_the_total_to_the_cent(priced: list[tuple[int, int, int]], postage: int) -> None:
    offers, lines, rates = {}, [], {"default": 200}
    for number, (amount, quantity, permille) in enumerate(priced):
        sku, tax_class = f"S-{number}", f"class-{number}"
        cost = Money(amount=amount, currency="EUR")
        offers[sku] = Offer(
            sku=sku, product_id="p", name=sku, options={}, price=cost, available=True, tax_class=tax_class
        )
        rates[tax_class] = permille
        lines.append(Line(sku=sku, quantity=quantity))
    sold = price(lines, offers, "NL", {"default": {"default": 200}, "NL": rates})
    sums = totals(sold, Money(amount=postage, currency="EUR"))
    assert [line.line_total.amount for line in sold] == [amount * quantity for amount, quantity, _ in priced]
    assert sum(line.line_total.amount for line in sold) == sums.items.amount
    assert sums.items.amount + postage == sums.total.amount
    assert sum(line.tax.amount for line in sold) == sums.tax.amount
    assert all(0 <= line.tax.amount <= line.line_total.amount for line in sold)


@given(st.integers(0, 10**12), RATES)
def test_the_tax_in_an_amount_is_right_to_half_a_cent(gross: int, permille: int) -> None:
    exact = Fraction(gross * permille, 1000 + permille)
    assert exact - Fraction(1, 2) < contained_tax(gross, permille) <= exact + Fraction(1, 2)


# --- time zones

ELSEWHERE = """
import eventlet
eventlet.monkey_patch()
import json, sys, time
from datetime import UTC, datetime
import msgspec
from sqlalchemy import insert, select
from chassis.db import Sessions, new_engine, now
from chassis.tables import handled

moment = datetime(2024, 3, 31, 1, 30, tzinfo=UTC)  # no such time in Amsterdam
sessions = Sessions(new_engine(sys.argv[1], pool_size=1))
with sessions.write() as session:
    session.execute(insert(handled).values(handler="h", event_id="e", at=moment))
with sessions.read() as session:
    read, clock = session.scalar(select(handled.c.at)), now(session)
print(json.dumps([time.tzname[0], msgspec.json.encode(read).decode(), clock.isoformat()]))
"""


@pytest.mark.parametrize(("zone", "name"), [("UTC", "UTC"), ("Asia/Tokyo", "JST"), ("America/New_York", "EST")])
def test_a_moment_is_the_same_whatever_the_zone_of_the_process(
    database_uri: Callable[[str], str], zone: str, name: str
) -> None:
    uri = database_uri("orders")
    argv = [sys.executable, "-W", "ignore", "-c", ELSEWHERE, uri]
    begun = datetime.now(UTC)
    done = subprocess.run(argv, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True, timeout=60)
    there, moment, clock = json.loads(done.stdout)
    assert (there, moment) == (name, '"2024-03-31T01:30:00Z"')
    assert clock.endswith("+00:00")
    assert abs(datetime.fromisoformat(clock) - begun) < timedelta(seconds=60)
    engine = new_engine(uri, pool_size=1)
    with Sessions(engine).read() as session:
        assert session.scalar(select(handled.c.at)) == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)
    engine.dispose()


# --- orders


def test_many_clicks_with_a_key_each_make_one_order_of_a_cart(shop: Shop) -> None:
    shop.sell(LAMP, 1999, stock=10)
    buyer = shop.customer((LAMP, 2))

    def click() -> tuple[str, str]:
        with ServiceRpcProxy("orders", shop.config, timeout=30) as orders:
            try:
                return "placed", orders.place(buyer, ADDRESS, CARD, key=uuid.uuid4().hex)["id"]
            except ServiceError as refusal:
                return "refused", refusal.code

    answers = in_green_threads([click] * 6)
    (placed,) = [answer for outcome, answer in answers if outcome == "placed"]
    assert {answer for outcome, answer in answers if outcome == "refused"} <= {
        "orders.in_progress",
        "orders.cart_empty",
    }
    order = shop.ended(placed)
    total = order["totals"]["total"]["amount"]
    assert shop.movements() == [("authorize", total), ("capture", total)]
    assert shop.stock(LAMP) == (8, 0, 2)


def test_a_merge_of_more_than_is_in_stock_is_no_error_until_it_is_ordered(shop: Shop) -> None:
    shop.sell(LAMP, 1999, stock=5)
    buyer = shop.customer((LAMP, 3))
    token = shop.rpc.carts.create_guest(key=uuid.uuid4().hex)["cart_token"]
    shop.rpc.carts.put_item({"token": token}, LAMP, 4, key=uuid.uuid4().hex)
    shop.rpc.carts.merge(buyer, token, key=uuid.uuid4().hex)
    assert shop.cart(buyer) == [(LAMP, 7)]
    order = shop.ended(shop.place(buyer)["id"])
    assert (order["status"], order["reason_code"]) == ("rejected", "inventory.insufficient")
    assert (shop.cart(buyer), shop.stock(LAMP), shop.movements()) == ([(LAMP, 7)], (5, 0, 0), [])
    shop.rpc.carts.put_item({"customer_id": buyer}, LAMP, 5, key=uuid.uuid4().hex)
    assert shop.ended(shop.place(buyer)["id"])["status"] == "confirmed"
    assert shop.stock(LAMP) == (0, 0, 5)


def test_an_order_that_is_not_paid_in_its_time_gives_its_units_back(shop: Shop, monkeypatch: Any) -> None:
    def never(self: Any, *args: Any, **kwargs: Any) -> None:
        raise OutcomeUnknown("payments", "nobody knows")

    monkeypatch.setattr(PaymentsService, "authorize", never)
    shop.sell(LAMP, 1999, stock=5)
    order_id = shop.place(shop.customer((LAMP, 2)))["id"]
    wait_until(lambda: shop.stock(LAMP) == (3, 2, 0))
    assert shop.rpc.orders.get(order_id)["status"] == "pending"
    shift_clock(timedelta(seconds=901))
    order = shop.ended(order_id)
    assert (order["status"], order["reason_code"]) == ("rejected", "saga.deadline")
    assert order["reason"] == "It took too long to process your order. You were not charged."
    assert (shop.stock(LAMP), shop.movements()) == ((5, 0, 0), [])


def test_an_order_that_is_paid_is_not_given_up_however_late_it_becomes(shop: Shop, monkeypatch: Any) -> None:
    left = refuse(monkeypatch, "inventory", "commit", "inventory.not_reserved")
    shop.sell(LAMP, 1999, stock=5)
    order_id = shop.place(shop.customer((LAMP, 2)))["id"]
    wait_until(lambda: shop.rpc.orders.get(order_id)["payment"]["status"] == "captured")
    tried = left[0]
    shift_clock(timedelta(days=1))
    wait_until(lambda: left[0] < tried - 1)
    assert shop.rpc.orders.get(order_id)["status"] == "pending"
    left[0] = 0
    assert shop.ended(order_id)["status"] == "confirmed"
    assert (shop.stock(LAMP), [kind for kind, _ in shop.movements()]) == ((3, 0, 2), ["authorize", "capture"])


def test_a_parcel_that_is_faster_than_its_order_is_not_forgotten(shop: Shop, monkeypatch: Any) -> None:
    left = refuse(monkeypatch, "inventory", "commit", "inventory.not_reserved")
    shop.sell(LAMP, 1999, stock=5)
    order_id = shop.place(shop.customer((LAMP, 1)))["id"]

    def tracking() -> str | None:
        try:
            found: str | None = shop.rpc.shipping.get(order_id)["tracking"]
        except ServiceError:
            return None
        return found

    number = wait_until(tracking)
    shop.rpc.shipping.advance(number, key=uuid.uuid4().hex)
    wait_until(lambda: shop.rpc.orders.get(order_id)["shipment"]["status"] == "handed_over")
    assert shop.rpc.orders.get(order_id)["status"] == "pending"
    left[0] = 0
    order = shop.ended(order_id)
    assert (order["status"], order["shipment"]) == ("shipped", {"status": "handed_over", "tracking": number})
