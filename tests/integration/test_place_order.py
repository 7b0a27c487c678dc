"""An order's way through all services, to the unit, the cent and the mail."""

import uuid

import pytest
from nameko.exceptions import RemoteError
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.errors import ServiceError
from chassis.rpc import RpcConsumer
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, in_green_threads, service_class

LAMP, DESK = "LAMP-1", "DESK-1"
STEPS = {
    "reserve_stock": ("inventory", "reserve"),
    "assess_risk": ("risk", "screen"),
    "authorize_payment": ("payments", "authorize"),
    "capture_payment": ("payments", "capture"),
    "commit_stock": ("inventory", "commit"),
    "book_shipment": ("shipping", "book"),
    "clear_cart": ("carts", "remove_ordered"),
    "book_sale": ("accounts", "book"),
}
UNDOS = {
    "reserve_stock": ("inventory", "release"),
    "assess_risk": ("risk", "unscreen"),
    "authorize_payment": ("payments", "void"),
}


@pytest.fixture
def lamps(shop):
    """Two articles, ten of each, and a customer with two lamps and a desk in the cart."""
    shop.sell(LAMP, 1999, stock=10)
    shop.sell(DESK, 12900, stock=10)
    shop.buyer = shop.customer((LAMP, 2), (DESK, 1))
    return shop


def lose_replies(monkeypatch, service, method, times=1):
    """The first replies of a method never leave its service: it did its work, and its caller cannot know."""
    left = [times]
    send = RpcConsumer.handle_result

    def handle_result(self, message, result, exc_info):
        if left[0] and message.delivery_info["routing_key"] == f"{service}.{method}":
            left[0] -= 1
            self.queue_consumer.ack_message(message)
            return result, exc_info
        return send(self, message, result, exc_info)

    monkeypatch.setattr(RpcConsumer, "handle_result", handle_result)
    return left


ALWAYS = 10_000
"""A refusal that the barrier would have kept: its repeats, after an answer that came too late, are refused as well."""


def refuse(monkeypatch, service, method, code, times=ALWAYS):
    """A method refuses the first calls before it does anything."""
    left = [times]
    cls = service_class(service)
    act = getattr(cls, method)

    def refuse_first(self, *args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise ServiceError(code, "Refused by the test.")
        return act(self, *args, **kwargs)

    monkeypatch.setattr(cls, method, refuse_first)
    return left


def assert_confirmed_once(shop, order):
    total = order["totals"]["total"]["amount"]
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert shop.movements() == [("authorize", total), ("capture", total)]
    assert (shop.stock(LAMP), shop.stock(DESK)) == ((8, 0, 2), (9, 0, 1))
    assert shop.cart(shop.buyer) == []
    assert shop.mails(1) == {"order_confirmed": 1}
    assert order["shipment"]["status"] == "booked"
    assert order["shipment"]["tracking"]


def assert_nothing_changed(shop, order):
    assert order["status"] == "rejected"
    assert order["reason"]
    assert sum(amount if kind == "capture" else 0 for kind, amount in shop.movements()) == 0
    kinds = [kind for kind, _ in shop.movements()]
    assert kinds in ([], ["authorize", "void"])
    assert shop.cart(shop.buyer) == [(LAMP, 2), (DESK, 1)]
    assert shop.mails(1) == {"order_rejected": 1}
    assert order["shipment"] == {"status": "none", "tracking": None}


def test_an_order_is_confirmed_paid_booked_and_mailed_once(lamps):
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    assert_confirmed_once(lamps, order)
    assert [(each["step"], each["outcome"]) for each in order["timeline"]] == [(step, "ok") for step in STEPS]
    assert order["totals"]["items"]["amount"] == 2 * 1999 + 12900
    assert sum(line["line_total"]["amount"] for line in order["lines"]) == order["totals"]["items"]["amount"]
    assert sum(line["tax"]["amount"] for line in order["lines"]) == order["totals"]["tax"]["amount"]


@pytest.mark.parametrize("token", ["tok_slow", "tok_lost_reply"])
def test_a_card_whose_answer_is_late_or_lost_is_charged_once(lamps, token):
    order = lamps.ended(lamps.place(lamps.buyer, token)["id"])
    assert_confirmed_once(lamps, order)


@pytest.mark.parametrize(
    ("token", "code", "payment"),
    [
        ("tok_declined", "payments.declined", "declined"),
        ("tok_insufficient_funds", "payments.declined", "declined"),
        ("tok_capture_fails", "payments.capture_refused", "voided"),
        ("tok_of_nobody", "payments.unknown_token", "declined"),
    ],
)
def test_a_card_that_is_refused_rejects_the_order_and_gives_everything_back(lamps, token, code, payment):
    order = lamps.ended(lamps.place(lamps.buyer, token)["id"])
    assert_nothing_changed(lamps, order)
    assert (order["reason_code"], order["payment"]["status"]) == (code, payment)
    assert (lamps.stock(LAMP), lamps.stock(DESK)) == ((10, 0, 0), (10, 0, 0))


def test_an_order_for_more_than_there_is_is_rejected_and_nothing_is_held(lamps):
    lamps.rpc.inventory.adjust(DESK, -10, "counted", key="count")
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    assert_nothing_changed(lamps, order)
    assert order["reason_code"] == "inventory.insufficient"
    assert (lamps.stock(LAMP), lamps.stock(DESK)) == ((10, 0, 0), (0, 0, 0))
    assert lamps.movements() == []


def test_an_order_that_risk_refuses_is_rejected_and_its_stock_given_back(shop):
    shop.sell(LAMP, 1999, stock=10)
    shop.sell(DESK, 12900, stock=10)
    shop.buyer = shop.customer((LAMP, 2), (DESK, 1), email="blocked@rialto.example")
    order = shop.ended(shop.place(shop.buyer)["id"])
    assert_nothing_changed(shop, order)
    assert order["reason_code"] == "risk.refused"
    assert (shop.stock(LAMP), shop.stock(DESK)) == ((10, 0, 0), (10, 0, 0))


@pytest.mark.parametrize("step", list(STEPS))
def test_a_lost_reply_of_any_step_is_asked_for_again_and_doubles_nothing(lamps, monkeypatch, step):
    left = lose_replies(monkeypatch, *STEPS[step])
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    assert left == [0]
    assert_confirmed_once(lamps, order)
    outcomes = [each["outcome"] for each in order["timeline"] if each["step"] == step]
    assert outcomes == ["unknown", "ok"]


@pytest.mark.parametrize("step", list(UNDOS))
def test_a_lost_reply_of_any_undo_is_asked_for_again_and_gives_back_once(lamps, monkeypatch, step):
    left = lose_replies(monkeypatch, *UNDOS[step])
    order = lamps.ended(lamps.place(lamps.buyer, "tok_capture_fails")["id"])
    assert left == [0]
    assert_nothing_changed(lamps, order)
    assert (lamps.stock(LAMP), lamps.stock(DESK)) == ((10, 0, 0), (10, 0, 0))
    assert lamps.movements()[-1][0] == "void"


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("commit_stock", "inventory.not_reserved"),
        ("book_shipment", "shipping.not_serviceable"),
        ("clear_cart", "request.invalid"),
        ("book_sale", "accounts.frozen"),
    ],
)
def test_a_step_refused_after_the_pivot_is_repeated_until_it_succeeds(lamps, monkeypatch, step, code):
    left = refuse(monkeypatch, *STEPS[step], code, times=2)
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    assert left == [0]
    assert_confirmed_once(lamps, order)


def test_of_twenty_customers_at_once_exactly_one_gets_the_last_unit(shop):
    shop.sell(LAMP, 1999, stock=1)
    customers = [shop.customer((LAMP, 1)) for _ in range(20)]

    def buy(customer_id):
        with ServiceRpcProxy("orders", shop.config, timeout=30) as orders:
            method = {"type": "card", "token": "tok_visa"}
            order = orders.place(customer_id, ADDRESS, method, key=uuid.uuid4().hex)
            return order["id"]

    ids = in_green_threads([lambda customer_id=customer_id: buy(customer_id) for customer_id in customers])
    ends = [shop.ended(order_id)["status"] for order_id in ids]
    assert sorted(ends) == ["confirmed"] + ["rejected"] * 19
    assert shop.stock(LAMP) == (0, 0, 1)
    assert [kind for kind, _ in shop.movements()].count("capture") == 1
    assert shop.mails(20) == {"order_confirmed": 1, "order_rejected": 19}


def test_the_same_key_at_once_makes_one_order(lamps):
    def click():
        with ServiceRpcProxy("orders", lamps.config, timeout=30) as orders:
            method = {"type": "card", "token": "tok_visa"}
            try:
                return orders.place(lamps.buyer, ADDRESS, method, key="one-click")["id"]
            except (ServiceError, RemoteError) as exc:
                return str(exc)

    ids = in_green_threads([click] * 5)
    assert len(set(ids)) == 1
    assert_confirmed_once(lamps, lamps.ended(ids[0]))


def test_a_second_order_of_the_same_cart_is_refused_while_the_first_is_in_the_making(lamps, monkeypatch):
    left = refuse(monkeypatch, "inventory", "commit", "inventory.not_reserved")
    first = lamps.place(lamps.buyer)
    with pytest.raises(ServiceError) as refusal:
        lamps.place(lamps.buyer)
    assert (refusal.value.code, refusal.value.details["order_id"]) == ("orders.in_progress", first["id"])
    left[0] = 0
    assert_confirmed_once(lamps, lamps.ended(first["id"]))


def test_a_key_with_another_body_is_refused(lamps):
    order = lamps.place(lamps.buyer, key="k")
    with pytest.raises(ServiceError) as refusal:
        lamps.place(lamps.buyer, "tok_declined", key="k")
    assert refusal.value.code == "orders.key_reused"
    assert lamps.place(lamps.buyer, key="k")["id"] == order["id"]
    assert_confirmed_once(lamps, lamps.ended(order["id"]))


def test_a_price_that_rose_is_asked_about_and_one_that_fell_is_passed_on(lamps):
    product = lamps.rpc.products.find(DESK)["items"][0]
    total = lamps.rpc.orders.quote({"customer_id": lamps.buyer}, ADDRESS)["total"]

    def reprice(amount):
        variant = {"sku": DESK, "price": {"amount": amount, "currency": "EUR"}, "options": {}}
        lamps.rpc.products.update(product["id"], {"variants": [variant]}, key=uuid.uuid4().hex)

    reprice(13900)
    with pytest.raises(ServiceError) as refusal:
        lamps.place(lamps.buyer, expected_total=total)
    assert refusal.value.code == "orders.price_changed"
    assert refusal.value.details["total"]["amount"] == total["amount"] + 1000
    assert lamps.movements() == []
    reprice(11900)
    order = lamps.ended(lamps.place(lamps.buyer, expected_total=total)["id"])
    assert order["totals"]["total"]["amount"] == total["amount"] - 1000
    reprice(20000)
    assert lamps.rpc.orders.get(order["id"])["lines"][1]["unit_price"]["amount"] == 11900


def test_what_is_put_into_the_cart_while_the_order_runs_stays_there(lamps, monkeypatch):
    left = refuse(monkeypatch, "inventory", "commit", "inventory.not_reserved")
    order = lamps.place(lamps.buyer)
    wait_until(lambda: lamps.cart(lamps.buyer) == [])
    lamps.rpc.carts.put_item({"customer_id": lamps.buyer}, LAMP, 3, key="more")
    left[0] = 0
    lamps.ended(order["id"])
    assert lamps.cart(lamps.buyer) == [(LAMP, 3)]


def test_an_empty_cart_cannot_be_ordered(shop):
    with pytest.raises(ServiceError) as refusal:
        shop.place(shop.customer())
    assert refusal.value.code == "orders.cart_empty"


def test_a_parcel_on_its_way_moves_the_order_and_writes_its_mails(lamps):
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    tracking = order["shipment"]["tracking"]
    seen = []
    for expected in ("handed_over", "in_transit", "delivered"):
        assert lamps.rpc.shipping.advance(tracking, key=uuid.uuid4().hex)["status"] == expected

        def moved(expected=expected):
            found = lamps.rpc.orders.get(order["id"])
            return found if found["shipment"]["status"] == expected else None

        seen.append(wait_until(moved)["status"])
    assert seen == ["shipped", "shipped", "delivered"]
    assert lamps.mails(3) == {"order_confirmed": 1, "order_shipped": 1, "order_delivered": 1}
