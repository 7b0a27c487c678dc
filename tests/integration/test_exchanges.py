"""Exchanges: new units are held, paid and sent; then the old ones are waited for, and taken back once."""

import uuid
from datetime import timedelta

import pytest

from chassis.db import shift_clock
from chassis.errors import ServiceError
from tests.amending import (
    CARD,
    DESK,
    HUGE,
    LARGE,
    SMALL,
    amended,
    confirmed,
    decisions,
    delivered,
    furnish,
    lines,
    net,
    reach,
    swaps,
)
from tests.integration.test_place_order import lose_replies, refuse
from tests.integration.test_returns import is_waiting
from tests.sandboxes import wait_until

STEPS = {
    "reserve_stock": ("inventory", "reserve"),
    "authorize_payment": ("payments", "authorize"),
    "capture_payment": ("payments", "capture"),
    "commit_stock": ("inventory", "commit"),
    "book_shipment": ("shipping", "book"),
    "book_exchange": ("accounts", "book"),
}


@pytest.fixture
def sold(shop):
    """A delivered order of two small lamps and a desk."""
    furnish(shop)
    shop.order = delivered(shop)
    shop.total = shop.order["totals"]["total"]["amount"]
    return shop


def exchange(shop, *wanted, key=None, method=CARD):
    return shop.rpc.orders.begin_exchange(shop.order["id"], swaps(*wanted), method, key=key or uuid.uuid4().hex)


def found(shop, exchange_id):
    return shop.rpc.orders.get_exchange(shop.order["id"], exchange_id)


def sent(shop, exchange_id):
    """The exchange once its new units are on their way, and its saga waits for the old ones."""
    wait_until(lambda: found(shop, exchange_id)["status"] == "waiting", 30)
    return found(shop, exchange_id)


def decide(shop, exchange_id, *decided):
    return shop.rpc.orders.decide_return(exchange_id, decisions(*decided), key=uuid.uuid4().hex)


def refusal(act):
    with pytest.raises(ServiceError) as refused:
        act()
    return refused.value


def test_new_units_are_paid_and_sent_and_then_the_old_ones_taken_back(sold):
    begun = exchange(sold, (SMALL, LARGE, 2))
    assert begun["difference"] == {"amount": 2000, "currency": "EUR"}
    waiting = sent(sold, begun["id"])
    assert waiting["shipment_status"] == "booked"
    assert waiting["tracking"] not in (None, sold.order["shipment"]["tracking"])
    order = sold.rpc.orders.get(sold.order["id"])
    assert (order["status"], order["payment"]["paid"]["amount"]) == ("delivered", sold.total + 2000)
    assert [(line["sku"], line["quantity"]) for line in order["lines"]] == [(DESK, 1), (LARGE, 2)]
    assert net(sold) == order["totals"]["total"]["amount"] == sold.total + 2000
    assert (sold.stock(SMALL), sold.stock(LARGE)) == ((8, 0, 2), (8, 0, 2))
    decide(sold, begun["id"], (SMALL, True, True))
    amended(sold, sold.order["id"])
    assert (sold.stock(SMALL), sold.stock(LARGE)) == ((10, 0, 0), (8, 0, 2))
    (settled,) = sold.rpc.orders.exchanges(sold.order["id"])
    assert (settled["status"], settled["lines"][0]["accepted"], settled["lines"][0]["restocked"]) == (
        "settled",
        True,
        True,
    )
    assert sold.rpc.orders.returns(sold.order["id"]) == []


def test_the_new_parcel_moves_the_exchange_and_not_the_order(sold):
    begun = exchange(sold, (SMALL, HUGE, 1), method=None)
    tracking = sent(sold, begun["id"])["tracking"]
    sold.rpc.shipping.advance(tracking, key="out")
    wait_until(lambda: found(sold, begun["id"])["shipment_status"] == "handed_over")
    order = sold.rpc.orders.get(sold.order["id"])
    assert (order["status"], order["shipment"]["status"]) == ("delivered", "delivered")


def test_a_cheaper_variant_is_refunded_in_part(sold):
    begun = exchange(sold, (SMALL, HUGE, 1), method=None)
    assert begun["difference"]["amount"] == -1000
    sent(sold, begun["id"])
    order = sold.rpc.orders.get(sold.order["id"])
    assert order["payment"]["refunded"]["amount"] == 1000
    assert net(sold) == order["totals"]["total"]["amount"] == sold.total - 1000
    decide(sold, begun["id"], (SMALL, True, False))
    amended(sold, sold.order["id"])
    assert (sold.stock(SMALL), sold.stock(HUGE)) == ((8, 0, 1), (9, 0, 1))


@pytest.mark.parametrize("step", list(STEPS))
def test_a_lost_reply_of_any_step_of_an_exchange_doubles_nothing(sold, monkeypatch, step):
    left = lose_replies(monkeypatch, *STEPS[step])
    begun = exchange(sold, (SMALL, LARGE, 1))
    sent(sold, begun["id"])
    assert left == [0]
    assert net(sold) == sold.total + 1000
    assert (sold.stock(SMALL), sold.stock(LARGE)) == ((8, 0, 2), (9, 0, 1))


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (("inventory", "reserve"), "inventory.insufficient"),
        (("payments", "authorize"), "payments.declined"),
        (("payments", "capture"), "payments.capture_refused"),
    ],
)
def test_an_exchange_that_is_refused_leaves_the_order_as_it_was(sold, monkeypatch, method, code):
    refuse(monkeypatch, *method, code)
    exchange(sold, (SMALL, LARGE, 1))
    order = amended(sold, sold.order["id"])
    assert (order["amendments"][0]["status"], order["amendments"][0]["reason_code"]) == ("rejected", code)
    assert {**order, "amendments": [], "timeline": []} == {**sold.order, "amendments": [], "timeline": []}
    assert net(sold) == sold.total
    assert (sold.stock(SMALL), sold.stock(LARGE)) == ((8, 0, 2), (10, 0, 0))


def test_what_cannot_be_exchanged_is_refused_and_nothing_is_begun(sold):
    for wanted, code in (
        ((SMALL, DESK, 1), "orders.not_a_variant"),
        ((SMALL, LARGE, 3), "orders.not_in_order"),
        ((SMALL, SMALL, 1), "request.invalid"),
        ((SMALL, "NONE", 1), "orders.not_sold_any_more"),
    ):
        assert refusal(lambda wanted=wanted: exchange(sold, wanted)).code == code
    refused = refusal(lambda: exchange(sold, (SMALL, LARGE, 1), method=None))
    assert (refused.code, refused.details["field"]) == ("orders.payment_method_required", "payment_method")
    shift_clock(timedelta(days=30, seconds=1))
    assert refusal(lambda: exchange(sold, (SMALL, LARGE, 1))).code == "orders.not_exchangeable"
    assert sold.rpc.orders.get(sold.order["id"]) == sold.order
    assert sold.stock(LARGE) == (10, 0, 0)


def test_an_order_that_did_not_arrive_cannot_be_exchanged(shop):
    furnish(shop)
    shop.order = confirmed(shop)
    assert refusal(lambda: exchange(shop, (SMALL, LARGE, 1))).code == "orders.not_exchangeable"


def test_old_units_that_do_not_come_back_end_the_exchange_and_the_customer_keeps_both(sold):
    begun = exchange(sold, (SMALL, LARGE, 1))
    sent(sold, begun["id"])
    wait_until(lambda: is_waiting(sold, begun["id"]))
    shift_clock(timedelta(days=30, hours=1, seconds=2))
    order = amended(sold, sold.order["id"], "expired")
    assert net(sold) == order["totals"]["total"]["amount"] == sold.total + 1000
    assert (sold.stock(SMALL), sold.stock(LARGE)) == ((8, 0, 2), (9, 0, 1))
    assert refusal(lambda: decide(sold, begun["id"], (SMALL, True, True))).code == "orders.return_expired"


def test_what_was_exchanged_can_be_returned_at_the_price_of_the_new_units(sold):
    begun = exchange(sold, (SMALL, LARGE, 1))
    sent(sold, begun["id"])
    decide(sold, begun["id"], (SMALL, True, True))
    amended(sold, sold.order["id"])
    back = sold.rpc.orders.begin_return(sold.order["id"], lines((LARGE, 1), (SMALL, 1), (DESK, 1)), key="r")
    decided = decide(sold, back["id"], (LARGE, True, True), (SMALL, True, True), (DESK, True, True))
    assert decided["refund"]["amount"] == sold.total + 1000
    reach(sold, sold.order["id"], "returned")
    assert net(sold) == 0
    assert [sold.stock(sku) for sku in (SMALL, LARGE, DESK)] == [(10, 0, 0)] * 3


def test_an_exchange_whose_parcel_an_operator_skipped_waits_for_the_old_goods_without_one(sold, monkeypatch):
    refuse(monkeypatch, "shipping", "book", "shipping.not_serviceable")
    begun = exchange(sold, (SMALL, LARGE, 1))

    def skipped():
        saga = next(each for each in sold.rpc.orders.find_sagas()["items"] if each["key"] == begun["id"])
        try:
            return sold.rpc.orders.operate_saga(
                saga["id"], "skip-step", saga["ver"], "sent by courier", "book_shipment", key=uuid.uuid4().hex
            )
        except ServiceError as exc:
            if exc.code not in ("sagas.stale", "sagas.not_allowed"):  # it is being tried, or is not there yet
                raise
            return None

    wait_until(skipped, 30)
    assert sent(sold, begun["id"])["tracking"] is None
    sold.rpc.orders.decide_return(begun["id"], decisions((SMALL, True, True)), key=uuid.uuid4().hex)
    assert amended(sold, sold.order["id"])["amendments"][-1]["status"] == "settled"
    assert (sold.stock(SMALL), sold.stock(LARGE)) == ((9, 0, 1), (9, 0, 1))
