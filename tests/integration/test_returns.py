"""Goods that come back: what is decided is what happens to units and money, once, to the cent."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.db import shift_clock
from chassis.errors import ServiceError
from tests.amending import DESK, SMALL, amended, confirmed, decisions, delivered, furnish, lines, net, reach
from tests.integration.test_place_order import lose_replies, refuse
from tests.sandboxes import wait_until
from tests.shop import in_green_threads

STEPS = {
    "restock": ("inventory", "restock"),
    "discard": ("inventory", "discard"),
    "refund_payment": ("payments", "refund"),
    "book_refund": ("accounts", "book"),
}
TOTAL_ITEMS = 2 * 1999 + 12900


@pytest.fixture
def sold(shop):
    """A delivered order of two small lamps and a desk."""
    furnish(shop)
    shop.order = delivered(shop)
    return shop


def ask(shop, *wanted, key=None, **more):
    return shop.rpc.orders.begin_return(shop.order["id"], lines(*wanted), key=key or uuid.uuid4().hex, **more)


def decide(shop, return_id, *decided):
    return shop.rpc.orders.decide_return(return_id, decisions(*decided), key=uuid.uuid4().hex)


def refusal(act):
    with pytest.raises(ServiceError) as refused:
        act()
    return refused.value


def is_waiting(shop, amendment_id):
    """Whether its saga has let go, until the time at which nobody waits any more."""
    found = [each for each in shop.rpc.orders.find_sagas()["items"] if each["key"] == amendment_id]
    last = max(found, key=lambda each: each["created_at"])
    return datetime.fromisoformat(last["wake_at"]) > datetime.now(UTC) + timedelta(days=1)


def test_a_return_waits_for_staff_and_then_restocks_discards_and_refunds_the_accepted_units(sold):
    begun = ask(sold, (SMALL, 2), (DESK, 1))
    assert (begun["status"], begun["refund"]) == ("waiting", None)
    assert [(line["sku"], line["quantity"], line["accepted"]) for line in begun["lines"]] == [
        (SMALL, 2, None),
        (DESK, 1, None),
    ]
    assert net(sold) == sold.order["totals"]["total"]["amount"]
    decided = decide(sold, begun["id"], (SMALL, True, True), (DESK, False, False))
    assert decided["refund"] == {"amount": 3998, "currency": "EUR"}
    order = amended(sold, sold.order["id"])
    assert (order["status"], order["payment"]["refunded"]["amount"]) == ("delivered", 3998)
    assert net(sold) == sold.order["totals"]["total"]["amount"] - 3998
    assert (sold.stock(SMALL), sold.stock(DESK)) == ((10, 0, 0), (9, 0, 1))
    assert [line["returned"] for line in order["lines"]] == [2, 0]
    (settled,) = sold.rpc.orders.returns(sold.order["id"])
    assert settled["status"] == "settled"
    assert [(line["accepted"], line["restocked"], line["note"]) for line in settled["lines"]] == [
        (True, True, "looked at"),
        (False, False, "looked at"),
    ]


def test_parts_of_an_order_add_up_and_the_last_one_brings_the_shipping_and_the_state(sold):
    total = sold.order["totals"]["total"]["amount"]
    first = ask(sold, (SMALL, 1))
    decide(sold, first["id"], (SMALL, True, True))
    amended(sold, sold.order["id"])
    assert net(sold) == total - 1999
    second = ask(sold, (SMALL, 1), (DESK, 1))
    decide(sold, second["id"], (SMALL, True, False), (DESK, True, True))
    order = reach(sold, sold.order["id"], "returned")
    assert net(sold) == 0
    assert (order["payment"]["status"], order["payment"]["refunded"]["amount"]) == ("refunded", total)
    assert (sold.stock(SMALL), sold.stock(DESK)) == ((9, 0, 0), (10, 0, 0))
    assert sold.rpc.inventory.stock_of(SMALL)["received"] == 9
    assert refusal(lambda: ask(sold, (DESK, 1))).code == "orders.not_returnable"


@pytest.mark.parametrize("step", list(STEPS))
def test_a_lost_reply_of_any_step_of_a_return_gives_back_once(sold, monkeypatch, step):
    left = lose_replies(monkeypatch, *STEPS[step])
    begun = ask(sold, (SMALL, 2), (DESK, 1))
    decide(sold, begun["id"], (SMALL, True, True), (DESK, True, False))
    reach(sold, sold.order["id"], "returned")
    assert left == [0]
    assert net(sold) == 0
    assert (sold.stock(SMALL), sold.stock(DESK)) == ((10, 0, 0), (9, 0, 0))


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("restock", "inventory.not_sold"),
        ("discard", "inventory.not_sold"),
        ("refund_payment", "payments.not_captured"),
        ("book_refund", "accounts.frozen"),
    ],
)
def test_a_step_of_a_return_that_is_refused_is_repeated_until_it_succeeds(sold, monkeypatch, step, code):
    left = refuse(monkeypatch, *STEPS[step], code, times=2)
    begun = ask(sold, (SMALL, 2), (DESK, 1))
    decide(sold, begun["id"], (SMALL, True, True), (DESK, True, False))
    reach(sold, sold.order["id"], "returned")
    assert left == [0]
    assert net(sold) == 0


def test_a_refund_goes_to_a_gift_card_if_the_customer_asks(sold):
    begun = ask(sold, (SMALL, 1), refund_to="gift_card")
    decide(sold, begun["id"], (SMALL, True, True))
    order = amended(sold, sold.order["id"])
    assert order["payment"]["refunded"]["amount"] == 1999
    assert net(sold) == sold.order["totals"]["total"]["amount"]  # the card's money stays with the shop
    (card,) = sold.rpc.payments.gift_cards(sold.buyer)
    assert card["balance"] == {"amount": 1999, "currency": "EUR"}


def test_the_same_decisions_again_give_the_same_answer_and_others_are_refused(sold):
    begun = ask(sold, (SMALL, 1))
    decide(sold, begun["id"], (SMALL, True, True))
    order = amended(sold, sold.order["id"])
    again = decide(sold, begun["id"], (SMALL, True, True))
    assert (again["status"], again["refund"]["amount"]) == ("settled", 1999)
    assert refusal(lambda: decide(sold, begun["id"], (SMALL, True, False))).code == "orders.already_decided"
    assert sold.rpc.orders.get(order["id"]) == order
    assert sold.stock(SMALL) == (9, 0, 1)


def test_every_line_is_decided_on_at_once(sold):
    begun = ask(sold, (SMALL, 1), (DESK, 1))
    for decided in ([(SMALL, True, True)], [(SMALL, True, True), (DESK, True, True), ("X", True, True)]):
        refused = refusal(lambda decided=decided: decide(sold, begun["id"], *decided))
        assert (refused.code, refused.details["field"]) == ("request.invalid", "decisions")
    assert sold.rpc.orders.get_return(sold.order["id"], begun["id"]) == begun


def test_what_cannot_go_back_is_refused_and_nothing_is_begun(sold):
    for wanted, code in (((SMALL, 3), "orders.not_in_order"), (("X", 1), "orders.not_in_order")):
        assert refusal(lambda wanted=wanted: ask(sold, wanted)).code == code
    shift_clock(timedelta(days=30, seconds=1))
    assert refusal(lambda: ask(sold, (SMALL, 1))).code == "orders.not_returnable"
    assert sold.rpc.orders.get(sold.order["id"]) == sold.order


def test_an_order_that_did_not_arrive_cannot_be_returned(shop):
    furnish(shop)
    shop.order = confirmed(shop)
    refused = refusal(lambda: ask(shop, (SMALL, 1)))
    assert (refused.code, refused.details) == ("orders.not_returnable", {"state": "confirmed"})


def test_one_return_of_an_order_at_a_time_and_a_key_begins_one(sold):
    begun = ask(sold, (SMALL, 1), key="k")
    assert ask(sold, (SMALL, 1), key="k") == begun
    assert refusal(lambda: ask(sold, (SMALL, 2), key="k")).code == "orders.key_reused"
    refused = refusal(lambda: ask(sold, (DESK, 1)))
    assert (refused.code, refused.details["amendment_id"]) == ("orders.in_progress", begun["id"])
    assert refused.details["kind"] == "return"
    assert sold.rpc.orders.returns(sold.order["id"]) == [begun]


def test_of_many_returns_at_once_one_is_begun(sold):
    def click():
        with ServiceRpcProxy("orders", sold.config, timeout=30) as orders:
            try:
                return orders.begin_return(sold.order["id"], lines((SMALL, 2)), key=uuid.uuid4().hex)["status"]
            except ServiceError as exc:
                return exc.code

    answers = in_green_threads([click] * 6)
    assert sorted(answers) == ["orders.in_progress"] * 5 + ["waiting"]


def test_goods_that_do_not_come_in_time_are_not_waited_for_any_more(sold):
    begun = ask(sold, (SMALL, 1))
    wait_until(lambda: is_waiting(sold, begun["id"]))
    shift_clock(timedelta(days=30, seconds=1))
    assert refusal(lambda: decide(sold, begun["id"], (SMALL, True, True))).code == "orders.return_expired"
    shift_clock(timedelta(days=30, hours=1, seconds=1))
    order = amended(sold, sold.order["id"], "expired")
    assert order["amendments"][0]["reason_code"] == "orders.return_expired"
    assert refusal(lambda: decide(sold, begun["id"], (SMALL, True, True))).code == "orders.return_expired"
    assert net(sold) == sold.order["totals"]["total"]["amount"]
    assert sold.stock(SMALL) == (8, 0, 2)
