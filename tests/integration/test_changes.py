"""Changing a confirmed order: all of it or nothing, to the unit and the cent."""

import uuid

import pytest
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.errors import ServiceError
from tests.amending import CARD, DESK, HUGE, LARGE, SMALL, amended, confirmed, furnish, net, reach, swaps
from tests.integration.test_cancel import stall
from tests.integration.test_place_order import lose_replies, refuse
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, in_green_threads

STEPS = {
    "reserve_stock": ("inventory", "reserve"),
    "authorize_payment": ("payments", "authorize"),
    "hold_shipment": ("shipping", "hold"),
    "capture_payment": ("payments", "capture"),
    "commit_stock": ("inventory", "commit"),
    "restock": ("inventory", "restock"),
    "amend_shipment": ("shipping", "amend"),
    "book_change": ("accounts", "book"),
}
UNDOS = {
    "reserve_stock": ("inventory", "release"),
    "authorize_payment": ("payments", "void"),
    "hold_shipment": ("shipping", "unhold"),
}
ELSEWHERE = {**ADDRESS, "line1": "2 Lane", "city": "Lyon", "postal_code": "69001", "country": "FR"}
OTHER_CARD = {"type": "card", "token": "tok_slow"}


@pytest.fixture
def sold(shop):
    """A confirmed order of two small lamps and a desk."""
    furnish(shop)
    shop.order = confirmed(shop)
    shop.total = shop.order["totals"]["total"]["amount"]
    return shop


def change(shop, key=None, **asked):
    return shop.rpc.orders.change(shop.order["id"], key=key or uuid.uuid4().hex, **asked)


def refusal(act):
    with pytest.raises(ServiceError) as refused:
        act()
    return refused.value


def assert_as_it_was(shop, order, code):
    assert (order["status"], order["lines"], order["totals"]) == (
        "confirmed",
        shop.order["lines"],
        shop.order["totals"],
    )
    assert order["payment"] == shop.order["payment"]
    assert (order["amendments"][-1]["status"], order["amendments"][-1]["reason_code"]) == ("rejected", code)
    assert net(shop) == shop.total
    assert (shop.stock(SMALL), shop.stock(LARGE), shop.stock(DESK)) == ((8, 0, 2), (10, 0, 0), (9, 0, 1))


def assert_dearer(shop, order):
    """One small lamp became a large one, for 10.00 more."""
    assert [(line["sku"], line["quantity"]) for line in order["lines"]] == [(SMALL, 1), (DESK, 1), (LARGE, 1)]
    assert order["totals"]["total"]["amount"] == shop.total + 1000
    assert order["payment"]["paid"]["amount"] == shop.total + 1000
    assert net(shop) == shop.total + 1000
    assert (shop.stock(SMALL), shop.stock(LARGE)) == ((9, 0, 1), (9, 0, 1))
    assert order["amendments"][-1]["status"] == "settled"


def test_a_dearer_article_is_paid_by_a_new_authorisation_of_the_difference(sold):
    change(sold, lines=swaps((SMALL, LARGE, 1)), payment_method=CARD)
    assert_dearer(sold, amended(sold, sold.order["id"]))
    assert sold.movements()[2:] == [("authorize", 1000), ("capture", 1000)]


def test_a_cheaper_article_is_refunded_in_part_without_a_payment_method(sold):
    change(sold, lines=swaps((SMALL, HUGE, 2)))
    order = amended(sold, sold.order["id"])
    assert order["payment"]["refunded"]["amount"] == 2000
    assert order["totals"]["total"]["amount"] == net(sold) == sold.total - 2000
    assert sold.movements()[2:] == [("refund", 2000)]
    assert (sold.stock(SMALL), sold.stock(HUGE)) == ((10, 0, 0), (8, 0, 2))


def test_another_address_is_quoted_anew_and_the_carrier_told(sold):
    quoted = sold.rpc.shipping.quote(ELSEWHERE, 3)["price"]["amount"]
    change(sold, shipping_address=ELSEWHERE, payment_method=CARD)
    order = amended(sold, sold.order["id"])
    assert order["amendments"][-1]["status"] == "settled"
    assert order["shipping_address"]["city"] == "Lyon"
    assert order["totals"]["shipping"]["amount"] == quoted
    assert order["totals"]["total"]["amount"] == net(sold)
    assert order["totals"]["items"] == sold.order["totals"]["items"]
    assert ("amend_shipment", "ok") in [(each["step"], each["outcome"]) for each in order["timeline"]]


def test_another_way_to_pay_takes_everything_anew_before_it_gives_back_what_was_paid(sold):
    change(sold, payment_method=OTHER_CARD)
    order = amended(sold, sold.order["id"])
    assert order["payment"]["paid"]["amount"] == 2 * sold.total
    assert order["payment"]["refunded"]["amount"] == sold.total
    assert sold.movements()[2:] == [("authorize", sold.total), ("capture", sold.total), ("refund", sold.total)]
    assert sold.stock(SMALL) == (8, 0, 2)


@pytest.mark.parametrize("step", list(STEPS))
def test_a_lost_reply_of_any_step_of_a_change_doubles_nothing(sold, monkeypatch, step):
    left = lose_replies(monkeypatch, *STEPS[step])
    change(sold, lines=swaps((SMALL, LARGE, 1)), payment_method=CARD)
    order = amended(sold, sold.order["id"])
    assert left == [0]
    assert_dearer(sold, order)


@pytest.mark.parametrize("step", list(UNDOS))
def test_a_lost_reply_of_any_undo_of_a_change_gives_back_once(sold, monkeypatch, step):
    left = lose_replies(monkeypatch, *UNDOS[step])
    method = {"type": "card", "token": "tok_capture_fails"}
    change(sold, lines=swaps((SMALL, LARGE, 1)), payment_method=method)
    order = amended(sold, sold.order["id"])
    assert left == [0]
    assert_as_it_was(sold, order, "payments.capture_refused")
    sold.rpc.shipping.advance(order["shipment"]["tracking"], key="out")  # no hold is left


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (("inventory", "reserve"), "inventory.insufficient"),
        (("payments", "authorize"), "payments.declined"),
        (("shipping", "hold"), "shipping.handed_over"),
        (("payments", "capture"), "payments.capture_refused"),
    ],
)
def test_a_change_that_is_refused_at_any_step_leaves_the_order_as_it_was(sold, monkeypatch, method, code):
    refuse(monkeypatch, *method, code)
    change(sold, lines=swaps((SMALL, LARGE, 1)), payment_method=CARD)
    assert_as_it_was(sold, amended(sold, sold.order["id"]), code)


def test_what_cannot_be_changed_is_refused_and_nothing_is_begun(sold):
    dearer = swaps((SMALL, LARGE, 1))
    for asked, code, field in (
        (dict(), "request.invalid", "shipping_address"),
        (dict(lines=dearer), "orders.payment_method_required", "payment_method"),
        (dict(lines=swaps((SMALL, LARGE, 3)), payment_method=CARD), "orders.not_in_order", "lines"),
        (dict(lines=swaps((SMALL, SMALL, 1))), "request.invalid", "lines"),
        (dict(lines=swaps((SMALL, "NONE", 1))), "orders.not_sold_any_more", "lines"),
        (dict(shipping_address={**ADDRESS, "country": "XX"}), "shipping.not_serviceable", None),
        (dict(payment_method={"type": "card", "id": "nobodys"}), "orders.unknown_payment_method", None),
    ):
        refused = refusal(lambda asked=asked: change(sold, **asked))
        assert refused.code == code
        assert field is None or refused.details["field"] == field
    assert sold.rpc.orders.get(sold.order["id"]) == sold.order
    assert sold.stock(LARGE) == (10, 0, 0)


def test_an_order_in_the_making_is_changed_later_and_one_on_its_way_not_at_all(shop, monkeypatch):
    furnish(shop)
    calls = stall(monkeypatch, "risk", "screen")
    shop.order = shop.place(shop.buyer)
    wait_until(lambda: calls[0])
    refused = refusal(lambda: change(shop, lines=swaps((SMALL, HUGE, 1))))
    assert (refused.code, refused.details["retry_after_s"]) == ("orders.in_progress", 1)
    calls.clear()
    shop.order = shop.ended(shop.order["id"])
    shop.rpc.shipping.advance(shop.order["shipment"]["tracking"], key="out")
    reach(shop, shop.order["id"], "shipped")
    refused = refusal(lambda: change(shop, lines=swaps((SMALL, HUGE, 1))))
    assert (refused.code, refused.details["state"]) == ("orders.not_changeable", "shipped")


def test_while_a_change_is_under_way_nothing_else_is_begun(sold, monkeypatch):
    calls = stall(monkeypatch, "payments", "authorize")
    change(sold, lines=swaps((SMALL, LARGE, 1)), payment_method=CARD)
    wait_until(lambda: calls[0])
    refused = refusal(lambda: sold.rpc.orders.cancel(sold.order["id"], "no", key="c"))
    assert (refused.code, refused.details["kind"]) == ("orders.in_progress", "change")
    assert refusal(lambda: change(sold, lines=swaps((SMALL, HUGE, 1)))).code == "orders.in_progress"
    calls.clear()
    assert_dearer(sold, amended(sold, sold.order["id"]))


def test_of_a_cancel_and_a_change_at_once_one_wins_and_the_books_agree(sold):
    def click(act):
        with ServiceRpcProxy("orders", sold.config, timeout=30) as orders:
            try:
                act(orders)
                return "ok"
            except ServiceError as exc:
                return exc.code

    answers = in_green_threads(
        [
            lambda: click(lambda orders: orders.cancel(sold.order["id"], "no", key="c")),
            lambda: click(
                lambda orders: orders.change(
                    sold.order["id"], lines=swaps((SMALL, LARGE, 1)), payment_method=CARD, key="p"
                )
            ),
        ]
    )
    assert answers.count("ok") == 1
    order = amended(sold, sold.order["id"])
    assert len(order["amendments"]) == 1
    assert net(sold) == order["payment"]["paid"]["amount"] - order["payment"]["refunded"]["amount"]
    assert net(sold) == (0 if order["status"] == "cancelled" else sold.total + 1000)


def test_the_same_key_changes_once(sold):
    for _ in range(2):
        change(sold, key="k", lines=swaps((SMALL, LARGE, 1)), payment_method=CARD)
    assert_dearer(sold, amended(sold, sold.order["id"]))
    change(sold, key="k", lines=swaps((SMALL, LARGE, 1)), payment_method=CARD)
    assert refusal(lambda: change(sold, key="k", lines=swaps((DESK, LARGE, 1)))).code == "orders.key_reused"
    assert_dearer(sold, sold.rpc.orders.get(sold.order["id"]))


def test_a_changed_order_is_cancelled_with_all_that_was_paid_for_it(sold):
    change(sold, lines=swaps((SMALL, LARGE, 1)), payment_method=CARD)
    amended(sold, sold.order["id"])
    sold.rpc.orders.cancel(sold.order["id"], "no", key="c")
    reach(sold, sold.order["id"], "cancelled")
    assert net(sold) == 0
    assert [sold.stock(sku) for sku in (SMALL, LARGE, DESK)] == [(10, 0, 0)] * 3
