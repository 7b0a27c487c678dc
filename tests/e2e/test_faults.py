"""Orders while processes are killed, stopped and doubled under them: each ends once, and the books agree."""

import os
import random
import secrets
import signal
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, closing

import eventlet
import httpx
import pytest

from scripts.processes import connects, wait_until
from tests.e2e.shopping import ADDRESS, Customer, Desk
from tests.e2e.system import System

SEED = os.environ.get("SEED") or secrets.token_hex(4)
ANSWERS_WITHIN_S = 15 + 2  # http.timeout_ms of config.yaml, and something for the way
MAIL_WITHIN_S = 30


def movements(shop: System, order_id: str) -> Counter[str]:
    """What truly happened to an order's money, from the acquirer's own database."""
    query = "SELECT kind FROM movements JOIN authorizations USING (payment) WHERE reference = ?"
    with closing(sqlite3.connect(shop.var / "acquirer.db")) as acquirer:
        return Counter(kind for (kind,) in acquirer.execute(query, [order_id]))


def metrics_ports(shop: System) -> list[int]:
    return [unit["metrics_port"] for unit in shop.status() if unit["metrics_port"]]


def require_one_good_end(shop: System, customer: Customer, order_id: str) -> None:
    """Confirmed, charged once, and told once. (Call it when the books agree: by then nothing is under way.)"""
    order = customer.end_of(order_id)
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured"), order
    assert movements(shop, order_id) == {"authorize": 1, "capture": 1}
    assert wait_until(lambda: shop.mails_to(customer.email) != [], MAIL_WITHIN_S)
    assert shop.mails_to(customer.email) == [f"Your order {order_id} is confirmed"]


@pytest.mark.parametrize("victim", ["inventory", "payments", "risk", "shipping", "carts", "orders", "notifications"])
def test_orders_end_once_when_a_service_is_killed_in_their_midst(shop: System, desk: Desk, victim: str) -> None:
    # given an order whose card is slow, somewhere on its way
    step = random.Random(SEED + victim).choice(["reserve_stock", "authorize_payment", "capture_payment"])
    print(f"SEED={SEED}: {victim} is killed when a slow order has passed {step}")
    sku = desk.sell(stock=5)
    with Customer(shop.url) as slow, Customer(shop.url) as quick:
        slow_order = slow.order(sku, "tok_slow")
        assert wait_until(lambda: slow.passed(slow_order, step), 30)
        # when a service dies under it, and under another that has only begun
        quick_order = quick.order(sku)
        shop.signal(f"{victim}-1", signal.SIGKILL)
        # then
        slow.end_of(slow_order)
        quick.end_of(quick_order)
        shop.wait_ready()
        desk.require_that_books_agree()
        require_one_good_end(shop, slow, slow_order)
        require_one_good_end(shop, quick, quick_order)
    assert desk.stock(sku) == (3, 0, 2)


def test_orders_end_once_when_the_broker_is_killed_in_their_midst(shop: System, desk: Desk) -> None:
    sku = desk.sell(stock=5)
    with Customer(shop.url) as slow, Customer(shop.url) as quick:
        slow_order, quick_order = slow.order(sku, "tok_slow"), quick.order(sku)
        shop.signal("broker", signal.SIGKILL)
        # then the gateway says at once, or within its limit, that it cannot, until it can
        statuses = Counter[int]()

        def recovered() -> bool:
            begun = time.monotonic()
            statuses[quick.http.get(f"/v1/orders/{quick_order}").status_code] += 1
            assert time.monotonic() - begun < ANSWERS_WITHIN_S
            assert httpx.get(f"{shop.url}/v1/health").status_code == 200
            return shop.readiness()[0] == 200

        assert wait_until(recovered, 90), statuses
        print(f"while the broker was away: {dict(statuses)}")
        assert statuses[503] > 0
        assert set(statuses) <= {200, 503, 504}
        # and the orders end as if nothing had been
        slow.end_of(slow_order)
        quick.end_of(quick_order)
        desk.require_that_books_agree()
        require_one_good_end(shop, slow, slow_order)
        require_one_good_end(shop, quick, quick_order)
    assert desk.stock(sku) == (3, 0, 2)


def test_two_instances_of_each_service_share_a_burst_of_orders(shop: System, desk: Desk) -> None:
    services = [unit["service"] for unit in shop.status() if unit["metrics_port"] and unit["service"] != "gateway"]
    sku = desk.sell(stock=40)
    for service in services:
        assert shop.control("add", service) == f"started {service}-2\n"
    try:
        assert wait_until(lambda: all(connects(port) for port in metrics_ports(shop)), 90)
        shop.wait_ready()
        before = shop.handled()

        def three_orders() -> list[str]:
            with Customer(shop.url) as customer:
                for _ in range(3):
                    customer.http.get("/v1/transactions").raise_for_status()
                return [customer.end_of(customer.order(sku))["status"] for _ in range(3)]

        customers = [eventlet.spawn(three_orders) for _ in range(10)]
        assert [customer.wait() for customer in customers] == [["confirmed"] * 3] * 10
        desk.require_that_books_agree()
        assert desk.stock(sku) == (10, 0, 30)
        work = {name: count - before[name] for name, count in shop.handled().items() if name != "gateway-1"}
        print(work)
        assert len(work) == 2 * len(services)
        assert min(work.values()) > 0, work
    finally:
        for service in services:
            shop.control("drain", service, "2")
    assert wait_until(lambda: all(unit["instance"] == 1 for unit in shop.status()), 40)


def test_a_service_that_nobody_runs_is_named_in_a_503_and_the_rest_goes_on(shop: System, desk: Desk) -> None:
    sku = desk.sell(stock=5)
    with Customer(shop.url) as customer:
        customer.fill(sku)
        quote = {"json": {"shipping_address": ADDRESS}}
        # when
        shop.control("drain", "shipping", "1")
        assert wait_until(lambda: "shipping" not in [unit["service"] for unit in shop.status()], 40)
        assert wait_until(lambda: shop.readiness()[0] == 503, 20)
        # then
        refused = customer.http.post("/v1/cart/quote", **quote)
        assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
        assert "shipping" in refused.json()["detail"]
        assert int(refused.headers["Retry-After"]) > 0
        missing = httpx.get(f"{shop.url}/v1/ready")
        assert missing.json()["detail"] == "No answer from: shipping."
        assert [name for name, answers in missing.json()["services"].items() if not answers] == ["shipping"]
        assert httpx.get(f"{shop.url}/v1/health").status_code == 200
        assert customer.call("GET", "/v1/cart")["lines"][0]["sku"] == sku
        assert customer.call("GET", "/v1/products?limit=1")["items"] != []
        # and again when it is back
        shop.control("add", "shipping")
        shop.wait_ready()
        assert customer.call("POST", "/v1/cart/quote", **quote)["total"]["amount"] > 0


def test_a_service_that_does_not_answer_is_a_504_in_time_and_the_rest_goes_on(shop: System, desk: Desk) -> None:
    sku = desk.sell(stock=5)
    with ExitStack() as undo:
        customer = undo.enter_context(Customer(shop.url))
        customer.fill(sku)
        # when
        shop.signal("shipping-1", signal.SIGSTOP)
        undo.callback(shop.signal, "shipping-1", signal.SIGCONT)
        begun = time.monotonic()
        answer = customer.http.post("/v1/cart/quote", json={"shipping_address": ADDRESS})
        # then
        assert (answer.status_code, answer.headers["Content-Type"]) == (504, "application/problem+json")
        assert time.monotonic() - begun < ANSWERS_WITHIN_S
        assert shop.readiness() == (503, {name: name != "shipping" for name in shop.readiness()[1]})
        assert customer.call("GET", "/v1/cart")["lines"][0]["sku"] == sku
    # and again when it goes on
    shop.wait_ready()
    with Customer(shop.url) as customer:
        assert customer.end_of(customer.order(sku))["status"] == "confirmed"
