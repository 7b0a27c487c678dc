"""Cancelling an order at every moment of its way: what is given back, to the unit and the cent, and what is said."""

import uuid

import pytest
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.errors import OutcomeUnknown, ServiceError
from tests.integration.test_place_order import lose_replies, refuse
from tests.sandboxes import wait_until
from tests.shop import in_green_threads, running_companies, running_shop, service_class

LAMP, DESK = "LAMP-1", "DESK-1"
STEPS = {
    "cancel_shipment": ("shipping", "cancel"),
    "refund_payment": ("payments", "refund"),
    "restock": ("inventory", "restock"),
    "book_refund": ("accounts", "book"),
}


@pytest.fixture
def lamps(shop):
    """Two articles, ten of each, and a customer with two lamps and a desk in the cart."""
    return furnished(shop)


def furnished(shop):
    shop.sell(LAMP, 1999, stock=10)
    shop.sell(DESK, 12900, stock=10)
    shop.buyer = shop.customer((LAMP, 2), (DESK, 1))
    return shop


def cancel(shop, order_id, key=None, reason="changed my mind"):
    return shop.rpc.orders.cancel(order_id, reason, key=key or uuid.uuid4().hex)


def settled(shop, order_id, *states):
    """The order once it is in one of these states, with no open amendment."""

    def look():
        order = shop.rpc.orders.get(order_id)
        done = all(each["status"] not in ("pending", "settling") for each in order["amendments"])
        return order if order["status"] in states and done else None

    return wait_until(look, 30)


def stall(monkeypatch, service, method):
    """A method that answers nothing, before it does anything, until the list is emptied; it counts the calls."""
    calls = [0]
    cls = service_class(service)
    act = getattr(cls, method)

    def stall_first(self, *args, **kwargs):
        if calls:
            calls[0] += 1
            raise OutcomeUnknown(service, "stalled by the test")
        return act(self, *args, **kwargs)

    monkeypatch.setattr(cls, method, stall_first)
    return calls


def assert_given_back(shop, order, *mails):
    total = order["totals"]["total"]["amount"]
    assert (order["status"], order["payment"]["status"]) == ("cancelled", "refunded")
    assert order["payment"]["paid"] == order["payment"]["refunded"] == {"amount": total, "currency": "EUR"}
    assert shop.movements() == [("authorize", total), ("capture", total), ("refund", total)]
    assert (shop.stock(LAMP), shop.stock(DESK)) == ((10, 0, 0), (10, 0, 0))
    assert [(each["kind"], each["status"]) for each in order["amendments"]] == [("cancel", "settled")]


def assert_never_charged(shop, order):
    assert order["status"] == "cancelled"
    assert order["payment"]["status"] in ("none", "voided")
    assert order["payment"]["paid"]["amount"] == 0
    assert [kind for kind, _ in shop.movements()] in ([], ["authorize", "void"])
    assert (shop.stock(LAMP), shop.stock(DESK)) == ((10, 0, 0), (10, 0, 0))
    assert shop.cart(shop.buyer) == [(LAMP, 2), (DESK, 1)]
    assert [(each["kind"], each["status"]) for each in order["amendments"]] == [("cancel", "settled")]


def assert_as_if_never_asked(shop, order):
    total = order["totals"]["total"]["amount"]
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert order["payment"]["refunded"]["amount"] == 0
    assert shop.movements() == [("authorize", total), ("capture", total)]
    assert (shop.stock(LAMP), shop.stock(DESK)) == ((8, 0, 2), (9, 0, 1))
    (asked,) = order["amendments"]
    assert (asked["kind"], asked["status"], asked["reason_code"]) == ("cancel", "rejected", "shipping.handed_over")
    assert "too late" in asked["reason"]
    assert shop.mails(1)["order_confirmed"] == 1


def test_a_confirmed_order_is_cancelled_with_everything_given_back(lamps):
    placed = lamps.ended(lamps.place(lamps.buyer)["id"])
    asked = cancel(lamps, placed["id"])
    assert asked["status"] in ("cancelling", "cancelled")
    order = settled(lamps, placed["id"], "cancelled")
    assert_given_back(lamps, order)
    assert order["reason"] == "changed my mind"
    assert order["shipment"]["status"] == "cancelled"
    assert {each["step"] for each in order["timeline"]} > set(STEPS)
    assert [each["at"] for each in order["timeline"]] == sorted(each["at"] for each in order["timeline"])


@pytest.mark.parametrize("step", list(STEPS))
def test_a_lost_reply_of_any_step_of_a_cancel_gives_back_once(lamps, monkeypatch, step):
    placed = lamps.ended(lamps.place(lamps.buyer)["id"])
    left = lose_replies(monkeypatch, *STEPS[step])
    cancel(lamps, placed["id"])
    order = settled(lamps, placed["id"], "cancelled")
    assert left == [0]
    assert_given_back(lamps, order)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("refund_payment", "payments.not_captured"),
        ("restock", "inventory.not_sold"),
        ("book_refund", "accounts.frozen"),
    ],
)
def test_a_refund_or_restock_that_is_refused_for_a_while_is_repeated_until_it_succeeds(lamps, monkeypatch, step, code):
    placed = lamps.ended(lamps.place(lamps.buyer)["id"])
    left = refuse(monkeypatch, *STEPS[step], code, times=2)
    cancel(lamps, placed["id"])
    order = settled(lamps, placed["id"], "cancelled")
    assert left == [0]
    assert_given_back(lamps, order)


@pytest.mark.parametrize("method", [("inventory", "reserve"), ("risk", "screen"), ("payments", "authorize")])
def test_an_order_in_the_making_is_cancelled_before_it_is_charged(lamps, monkeypatch, method):
    calls = stall(monkeypatch, *method)
    placed = lamps.place(lamps.buyer)
    wait_until(lambda: calls[0])
    assert cancel(lamps, placed["id"])["status"] == "cancelling"
    calls.clear()
    order = settled(lamps, placed["id"], "cancelled")
    assert_never_charged(lamps, order)
    assert order["reason"] == "changed my mind"


def test_a_cancel_while_the_charge_is_in_doubt_is_kept_and_acted_on_at_its_end(lamps, monkeypatch):
    left = lose_replies(monkeypatch, "payments", "capture", times=10_000)
    placed = lamps.place(lamps.buyer)
    wait_until(lambda: left[0] < 10_000)
    assert cancel(lamps, placed["id"])["status"] == "cancelling"
    assert settled_status(lamps, placed["id"]) == "cancelling"
    left[0] = 0
    order = settled(lamps, placed["id"], "cancelled")
    assert_given_back(lamps, order)
    assert lamps.mails(0).get("order_confirmed") is None


def settled_status(shop, order_id):
    return shop.rpc.orders.get(order_id)["status"]


def test_a_cancel_after_the_charge_is_acted_on_when_the_order_is_complete(lamps, monkeypatch):
    calls = stall(monkeypatch, "inventory", "commit")
    placed = lamps.place(lamps.buyer)
    wait_until(lambda: calls[0])
    assert cancel(lamps, placed["id"])["status"] == "cancelling"
    calls.clear()
    assert_given_back(lamps, settled(lamps, placed["id"], "cancelled"))


def test_a_cancel_that_the_carrier_refuses_leaves_the_order_as_it_is(lamps, monkeypatch):
    placed = lamps.ended(lamps.place(lamps.buyer)["id"])
    refuse(monkeypatch, "shipping", "cancel", "shipping.handed_over")
    cancel(lamps, placed["id"])
    assert_as_if_never_asked(lamps, settled(lamps, placed["id"], "confirmed"))


def test_a_cancel_in_the_making_that_comes_too_late_for_the_carrier_confirms_the_order_once(lamps, monkeypatch):
    refuse(monkeypatch, "shipping", "cancel", "shipping.handed_over")
    calls = stall(monkeypatch, "inventory", "commit")
    placed = lamps.place(lamps.buyer)
    wait_until(lambda: calls[0])
    cancel(lamps, placed["id"])
    calls.clear()
    assert_as_if_never_asked(lamps, settled(lamps, placed["id"], "confirmed"))


def test_an_order_on_its_way_is_not_cancellable_and_nothing_changes(lamps):
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    lamps.rpc.shipping.advance(order["shipment"]["tracking"], key="out")
    shipped = wait_until(lambda: settled_status(lamps, order["id"]) == "shipped" and lamps.rpc.orders.get(order["id"]))
    with pytest.raises(ServiceError) as refusal:
        cancel(lamps, order["id"])
    assert (refusal.value.code, refusal.value.details) == ("orders.not_cancellable", {"state": "shipped"})
    assert lamps.rpc.orders.get(order["id"]) == shipped


def test_a_rejected_order_is_not_cancellable(lamps):
    order = lamps.ended(lamps.place(lamps.buyer, "tok_declined")["id"])
    with pytest.raises(ServiceError) as refusal:
        cancel(lamps, order["id"])
    assert (refusal.value.code, refusal.value.details) == ("orders.not_cancellable", {"state": "rejected"})
    assert lamps.rpc.orders.get(order["id"]) == order


def test_ten_cancels_at_once_give_back_once(lamps):
    placed = lamps.ended(lamps.place(lamps.buyer)["id"])

    def click():
        with ServiceRpcProxy("orders", lamps.config, timeout=30) as orders:
            return orders.cancel(placed["id"], "changed my mind", key=uuid.uuid4().hex)["status"]

    def answer():
        try:
            return click()
        except ServiceError as exc:
            return exc.code

    answers = in_green_threads([answer] * 10)
    assert set(answers) <= {"cancelling", "cancelled"}
    assert_given_back(lamps, settled(lamps, placed["id"], "cancelled"))


def test_the_same_key_answers_the_same_order_and_another_reason_under_it_is_refused(lamps, monkeypatch):
    placed = lamps.ended(lamps.place(lamps.buyer)["id"])
    refuse(monkeypatch, "shipping", "cancel", "shipping.handed_over")
    cancel(lamps, placed["id"], key="k")
    order = settled(lamps, placed["id"], "confirmed")
    assert cancel(lamps, placed["id"], key="k") == order
    with pytest.raises(ServiceError) as refusal:
        cancel(lamps, placed["id"], key="k", reason="another one")
    assert refusal.value.code == "orders.key_reused"
    assert_as_if_never_asked(lamps, lamps.rpc.orders.get(placed["id"]))


def test_an_order_that_the_carrier_goes_on_refusing_is_cancelled_and_nobody_stays_charged(
    migrated_config, tmp_path, monkeypatch
):
    migrated_config["saga_makes_good_after_ms"] = 200
    with running_companies(tmp_path) as companies, running_shop(migrated_config, *companies) as shop:
        furnished(shop)
        refuse(monkeypatch, "shipping", "book", "shipping.not_serviceable")
        placed = shop.place(shop.buyer)
        order = settled(shop, placed["id"], "cancelled")
        assert_given_back(shop, order)
        assert order["reason_code"] == "shipping.not_serviceable"
        assert "money back" in order["reason"]
