"""Orders paid by gift cards, alone and together with a card, through all services."""

import uuid

import pytest

from chassis.errors import ServiceError
from tests.shop import ADDRESS

LAMP = "LAMP-1"


@pytest.fixture
def ada(shop):
    """A customer with two lamps in the cart."""
    shop.sell(LAMP, 1999, stock=10)
    return shop.customer((LAMP, 2))


def key():
    return uuid.uuid4().hex


def gift(shop, customer, amount):
    return shop.rpc.payments.issue_gift_card(customer, {"amount": amount, "currency": "EUR"}, key=key())["id"]


def place(shop, customer, *parts):
    return shop.rpc.orders.place(customer, ADDRESS, {"type": "split", "parts": list(parts)}, key=key())


def euro(amount):
    return {"amount": amount, "currency": "EUR"}


def books(shop, customer):
    """To spend and held of each gift card of the customer's, which also have to be right by their books."""
    assert shop.rpc.payments.audit_gift_cards()["broken"] == []
    return [(each["balance"]["amount"], each["held"]["amount"]) for each in shop.rpc.payments.gift_cards(customer)]


def test_an_order_is_paid_by_a_gift_card_and_a_saved_card(shop, ada):
    saved = shop.rpc.users.add_payment_method(ada, "tok_visa", "Visa", "4242", key=key())["id"]
    voucher = gift(shop, ada, 1000)
    placed = place(shop, ada, {"type": "gift_card", "id": voucher, "amount": euro(700)}, {"type": "card", "id": saved})
    order = shop.ended(placed["id"])
    total = order["totals"]["total"]["amount"]
    assert (order["status"], order["payment"]["status"], order["payment"]["method"]) == (
        "confirmed",
        "captured",
        "split",
    )
    assert shop.movements() == [("authorize", total - 700), ("capture", total - 700)]
    assert books(shop, ada) == [(300, 0)]
    (kept,) = shop.rpc.payments.balances()["items"]
    assert (kept["captured"], kept["refunded"]) == (total, 0)


def test_an_order_is_paid_by_a_gift_card_alone(shop, ada):
    voucher = gift(shop, ada, 10000)
    placed = shop.rpc.orders.place(ada, ADDRESS, {"type": "gift_card", "id": voucher}, key=key())
    order = shop.ended(placed["id"])
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert shop.movements() == []
    assert books(shop, ada) == [(10000 - order["totals"]["total"]["amount"], 0)]


@pytest.mark.parametrize(("token", "moved"), [("tok_declined", []), ("tok_capture_fails", ["authorize", "void"])])
def test_a_card_that_is_refused_gives_the_other_half_back(shop, ada, token, moved):
    voucher = gift(shop, ada, 500)
    placed = place(
        shop, ada, {"type": "gift_card", "id": voucher, "amount": euro(500)}, {"type": "card", "token": token}
    )
    assert shop.ended(placed["id"])["status"] == "rejected"
    assert [kind for kind, _ in shop.movements()] == moved
    assert books(shop, ada) == [(500, 0)]
    assert shop.stock(LAMP) == (10, 0, 0)


CARD = {"type": "card", "token": "tok_visa"}


@pytest.mark.parametrize(
    ("parts", "code", "field"),
    [
        ([CARD | {"amount": euro(5)}, CARD], "payments.one_card", "parts[1].type"),
        ([{"type": "gift_card", "amount": euro(501)}, CARD], "payments.gift_card_insufficient", "parts[0].id"),
        ([{"type": "gift_card", "id": "eve's", "amount": euro(5)}, CARD], "payments.unknown_gift_card", "parts[0].id"),
        ([{"type": "gift_card", "amount": euro(0)}, CARD], "request.invalid", "parts[0].amount.amount"),
        (
            [{"type": "gift_card", "amount": euro(5)}, {"type": "card", "id": "no"}],
            "orders.unknown_payment_method",
            "parts[1].id",
        ),
        (
            [{"type": "gift_card", "amount": euro(5)}, {"type": "cheque"}],
            "orders.unknown_payment_method",
            "parts[1].type",
        ),
    ],
)
def test_what_is_wrong_with_a_split_is_told_at_once_with_its_field_and_nothing_begins(shop, ada, parts, code, field):
    voucher = gift(shop, ada, 500)
    eves = gift(shop, "eve", 500)
    asked = [{"id": voucher} | part if part["type"] == "gift_card" else part for part in parts]
    asked = [part | {"id": eves} if part.get("id") == "eve's" else part for part in asked]
    with pytest.raises(ServiceError) as refused:
        place(shop, ada, *asked)
    assert (refused.value.code, refused.value.details["field"]) == (code, f"payment_method.{field}")
    assert shop.rpc.orders.find()["items"] == []
    assert books(shop, ada) == [(500, 0)]
    assert shop.movements() == []
