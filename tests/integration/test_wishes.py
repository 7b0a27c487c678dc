"""Previews in the whole shop: what is told is what is then done, to the cent, and telling it moves nothing."""

import uuid

import pytest

from chassis.errors import ServiceError
from tests.amending import CARD, DESK, HUGE, LARGE, SMALL, amended, confirmed, furnish, net, swaps
from tests.integration.test_changes import ELSEWHERE


@pytest.fixture
def sold(shop):
    """A confirmed order of two small lamps and a desk."""
    furnish(shop)
    shop.order = confirmed(shop)
    shop.total = shop.order["totals"]["total"]["amount"]
    return shop


def preview(shop, **wish):
    return shop.rpc.orders.preview(shop.order["id"], {"kind": "change", **wish})


def refusal(act):
    with pytest.raises(ServiceError) as refused:
        act()
    return refused.value.code, refused.value.message, refused.value.details


def assert_nothing_moved(shop):
    assert shop.rpc.orders.get(shop.order["id"]) == shop.order
    assert net(shop) == shop.total
    assert [shop.stock(sku) for sku in (SMALL, LARGE, HUGE, DESK)] == [(8, 0, 2), (10, 0, 0), (10, 0, 0), (9, 0, 1)]


def test_a_change_is_done_as_it_was_told(sold):
    wish = dict(lines=swaps((SMALL, LARGE, 2)), shipping_address=ELSEWHERE)
    seen = preview(sold, **wish)
    assert_nothing_moved(sold)
    assert seen["lines_before"] == sold.order["lines"]
    sold.rpc.orders.change(sold.order["id"], **wish, payment_method=CARD, key=uuid.uuid4().hex)
    order = amended(sold, sold.order["id"])
    assert order["amendments"][-1]["status"] == "settled"
    for part in ("lines", "totals", "shipping_address"):
        assert order[part] == seen[part] != sold.order[part]
    assert net(sold) == sold.total + seen["charge"]["amount"] == order["totals"]["total"]["amount"]


def test_a_cancel_gives_back_what_was_told(sold):
    seen = sold.rpc.orders.preview(sold.order["id"], {"kind": "cancel"})
    assert_nothing_moved(sold)
    assert (seen["refund"]["amount"], seen["lines"]) == (sold.total, sold.order["lines"])
    sold.rpc.orders.cancel(sold.order["id"], "no more", key=uuid.uuid4().hex)
    assert amended(sold, sold.order["id"])["payment"]["refunded"] == seen["refund"]


def test_a_way_to_pay_that_will_not_do_is_told_at_once_as_by_the_change_itself(sold):
    card = sold.rpc.payments.issue_gift_card(sold.buyer, {"amount": 999, "currency": "EUR"}, key=uuid.uuid4().hex)
    of_nobody = {"type": "gift_card", "id": "none"}
    for method, code in (
        ({"type": "gift_card", "id": card["id"]}, "payments.gift_card_insufficient"),
        (of_nobody, "payments.unknown_gift_card"),
        ({"type": "wallet", "account_id": "none"}, "payments.unknown_account"),
        ({"type": "card", "id": "none"}, "orders.unknown_payment_method"),
    ):
        wish = dict(lines=swaps((SMALL, LARGE, 1)), payment_method=method)
        seen = refusal(lambda wish=wish: preview(sold, **wish))
        done = refusal(lambda wish=wish: sold.rpc.orders.change(sold.order["id"], **wish, key=uuid.uuid4().hex))
        assert seen == done
        assert seen[0] == code
    assert preview(sold, lines=swaps((SMALL, HUGE, 1)), payment_method=of_nobody)["refund"]["amount"] == 1000
    assert (
        refusal(lambda: preview(sold, shipping_address={**ELSEWHERE, "country": "XX"}))[0] == "shipping.not_serviceable"
    )
    assert_nothing_moved(sold)


def test_what_is_sold_out_is_told_all_the_same_for_stock_is_not_held(sold):
    sold.rpc.inventory.adjust(LARGE, -10, "sold elsewhere", key=uuid.uuid4().hex)
    assert preview(sold, lines=swaps((SMALL, LARGE, 1)))["charge"]["amount"] == 1000
    assert sold.stock(LARGE) == (0, 0, 0)
