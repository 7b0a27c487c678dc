"""Orders paid from customers' accounts, alone and beside gift cards and a card, through all services; the ledger is
asked after each whether the books hold."""

import uuid

import pytest
from nameko.exceptions import RemoteError

from chassis.errors import ServiceError
from chassis.types import Caller
from services.payments.service import PaymentsService
from tests.amending import DESK, SMALL, amended, decisions, furnish, lines, reach
from tests.integration.test_place_order import lose_replies
from tests.sandboxes import wait_until
from tests.shop import ADDRESS

FUNDS = 50_000
STEPS = (
    ("payments", "authorize"),
    ("payments", "capture"),
    ("accounts", "get"),
    ("accounts", "hold"),
    ("accounts", "settle"),
)


@pytest.fixture
def sold(shop):
    """A customer with a cart, and an account that could pay for it."""
    furnish(shop)
    shop.account = account(shop, shop.buyer, FUNDS)
    return shop


def key():
    return uuid.uuid4().hex


def euro(amount):
    return {"amount": amount, "currency": "EUR"}


def account(shop, customer_id, funds=0):
    account_id = shop.rpc.accounts.open(customer_id, "EUR", "savings", key=key())["id"]
    if funds:
        moves = (("bank.EUR", funds), (account_id, -funds))
        postings = [{"account_id": each, "amount": euro(amount)} for each, amount in moves]
        shop.rpc.accounts.book({"kind": "paid_in", "postings": postings}, key=key())
    return account_id


def by_wallet(account_id, amount=None):
    way = {"type": "wallet", "account_id": account_id}
    return way if amount is None else way | {"amount": euro(amount)}


def split(*parts):
    return {"type": "split", "parts": list(parts)}


def gift(shop, customer, amount):
    return shop.rpc.payments.issue_gift_card(customer, euro(amount), key=key())["id"]


def place(shop, method):
    return shop.ended(shop.rpc.orders.place(shop.buyer, ADDRESS, method, key=key())["id"])


def refusal(act):
    with pytest.raises(ServiceError) as refused:
        act()
    return refused.value


def on(shop, account_id):
    """What is posted on an account, and what of it is set aside; after the books were looked at as a whole."""
    trial = shop.rpc.accounts.trial_balance()
    assert trial["holds"]
    held = shop.rpc.accounts.get(account_id)["balance"]
    assert held["pending_in"]["amount"] == 0
    return held["posted"]["amount"], held["pending_out"]["amount"]


def taken(shop):
    """What orders took from accounts, and is not booked as sold."""
    trial = shop.rpc.accounts.trial_balance()["lines"]
    return sum(each["credit"] - each["debit"] for each in trial if each["role"] == "wallet_payments")


def kept(shop, order_id):
    """What payments say that is kept of an order's money, by what gave it."""
    (balance,) = [each for each in shop.rpc.payments.balances()["items"] if each["order_id"] == order_id]
    return balance["card"], balance["gift_card"], balance["wallet"]


def unchecked(self, *args, **kwargs):
    """payments, where nobody looks before the order begins."""


def total_of(order):
    return order["totals"]["total"]["amount"]


def test_an_order_is_paid_from_an_account(sold):
    order = place(sold, by_wallet(sold.account))
    assert (order["status"], order["payment"]["status"], order["payment"]["method"]) == (
        "confirmed",
        "captured",
        "wallet",
    )
    total = total_of(order)
    assert (on(sold, sold.account), taken(sold)) == ((FUNDS - total, 0), 0)
    newest = sold.rpc.accounts.entries(sold.account, 1)["items"][0]
    assert (newest["kind"], newest["subject"], newest["amount"]) == (
        "wallet_payment",
        f"order:{order['id']}",
        euro(-total),
    )
    assert kept(sold, order["id"]) == (0, 0, total)
    assert sold.movements() == []


def test_an_order_is_paid_by_an_account_a_gift_card_and_a_card(sold):
    voucher = gift(sold, sold.buyer, 1000)
    method = split(
        by_wallet(sold.account, 5000),
        {"type": "gift_card", "id": voucher, "amount": euro(1000)},
        {"type": "card", "token": "tok_visa"},
    )
    order = place(sold, method)
    by_card = total_of(order) - 6000
    assert (order["status"], order["payment"]["method"]) == ("confirmed", "split")
    assert (on(sold, sold.account), taken(sold)) == ((FUNDS - 5000, 0), 0)
    assert sold.movements() == [("authorize", by_card), ("capture", by_card)]
    assert kept(sold, order["id"]) == (by_card, 1000, 5000)
    parts = sold.rpc.payments.get(order["id"])["parts"]
    assert [(each["method"], each["captured"]) for each in parts] == [
        ("wallet", 5000),
        ("gift_card", 1000),
        ("card", by_card),
    ]


@pytest.mark.parametrize("step", STEPS, ids=".".join)
def test_a_lost_reply_takes_the_money_once(sold, monkeypatch, step):
    monkeypatch.setattr(PaymentsService, "check", unchecked)
    left = lose_replies(monkeypatch, *step)
    order = place(sold, split(by_wallet(sold.account, 5000), {"type": "card", "token": "tok_visa"}))
    by_card = total_of(order) - 5000
    assert (left, order["status"]) == ([0], "confirmed")
    assert (on(sold, sold.account), taken(sold)) == ((FUNDS - 5000, 0), 0)
    assert sold.movements() == [("authorize", by_card), ("capture", by_card)]


@pytest.mark.parametrize(
    ("token", "code"), [("tok_declined", "payments.declined"), ("tok_capture_fails", "payments.capture_refused")]
)
@pytest.mark.parametrize("lost", [None, "release"])
def test_a_card_that_is_refused_gives_the_account_its_own(sold, monkeypatch, token, code, lost):
    left = lose_replies(monkeypatch, "accounts", lost, times=1 if lost else 0)
    order = place(sold, split(by_wallet(sold.account, 5000), {"type": "card", "token": token}))
    assert (left, order["status"], order["reason_code"]) == ([0], "rejected", code)
    assert (on(sold, sold.account), taken(sold)) == ((FUNDS, 0), 0)
    assert sold.stock(DESK) == (10, 0, 0)


def test_what_is_wrong_with_an_account_is_told_at_once_and_nothing_begins(sold):
    poor, eves, frozen = account(sold, sold.buyer, 100), account(sold, "eve", FUNDS), account(sold, sold.buyer, FUNDS)
    sold.rpc.accounts.freeze(frozen, "lost", key=key())
    for method, code, details in (
        (by_wallet(poor), "payments.wallet_insufficient", {"field": "payment_method.account_id", "available": 100}),
        (by_wallet(eves), "payments.unknown_account", {"field": "payment_method.account_id"}),
        (by_wallet("sales.EUR"), "payments.unknown_account", {"field": "payment_method.account_id"}),
        (by_wallet(frozen), "payments.wallet_frozen", {"field": "payment_method.account_id"}),
        ({"type": "wallet"}, "orders.unknown_payment_method", {"field": "payment_method.type"}),
        (
            split({"type": "card", "token": "tok_visa"}, by_wallet(poor, 101)),
            "payments.wallet_insufficient",
            {"field": "payment_method.parts[1].account_id", "available": 100},
        ),
    ):
        refused = refusal(lambda m=method: sold.rpc.orders.place(sold.buyer, ADDRESS, m, key=key()))
        assert (refused.code, {name: refused.details.get(name) for name in details}) == (code, details)
    assert sold.rpc.orders.find()["items"] == []
    assert [on(sold, each) for each in (poor, eves, frozen)] == [(100, 0), (FUNDS, 0), (FUNDS, 0)]
    assert sold.movements() == []


@pytest.mark.parametrize(
    ("which", "code"), [("poor", "payments.wallet_insufficient"), ("eve's", "payments.unknown_account")]
)
def test_what_the_check_did_not_see_rejects_the_order_with_nothing_held(sold, monkeypatch, which, code):
    monkeypatch.setattr(PaymentsService, "check", unchecked)
    other = account(sold, sold.buyer if which == "poor" else "eve", 100)
    method = split(by_wallet(sold.account, 5000), by_wallet(other, 101), {"type": "card", "token": "tok_visa"})
    order = place(sold, method)
    assert (order["status"], order["reason_code"], order["payment"]["status"]) == ("rejected", code, "declined")
    assert (on(sold, sold.account), on(sold, other), taken(sold)) == ((FUNDS, 0), (100, 0), 0)
    assert sold.movements() == []
    assert (sold.stock(SMALL), sold.stock(DESK)) == ((10, 0, 0), (10, 0, 0))


def test_a_cancelled_order_brings_the_money_back_to_the_account(sold, monkeypatch):
    left = lose_replies(monkeypatch, "accounts", "book")
    order = place(sold, by_wallet(sold.account))
    sold.rpc.orders.cancel(order["id"], "changed my mind", key=key())
    cancelled = reach(sold, order["id"], "cancelled")
    assert (left, cancelled["payment"]["status"]) == ([0], "refunded")
    assert (on(sold, sold.account), taken(sold)) == ((FUNDS, 0), 0)
    assert kept(sold, order["id"]) == (0, 0, 0)
    newest = sold.rpc.accounts.entries(sold.account, 1)["items"][0]
    assert (newest["kind"], newest["subject"]) == ("wallet_refund", f"order:{order['id']}")


def test_a_cancel_waits_for_a_frozen_account(sold):
    order = place(sold, by_wallet(sold.account))
    sold.rpc.accounts.freeze(sold.account, "lost", key=key())
    sold.rpc.orders.cancel(order["id"], "changed my mind", key=key())

    def refused():
        steps = sold.rpc.orders.get(order["id"])["timeline"]
        return [each for each in steps if each["step"] == "refund_payment" and each["outcome"] == "refused"]

    wait_until(refused, 20)
    assert sold.rpc.orders.get(order["id"])["status"] == "cancelling"
    assert on(sold, sold.account) == (FUNDS - total_of(order), 0)
    sold.rpc.accounts.unfreeze(sold.account, "found", key=key())
    reach(sold, order["id"], "cancelled")
    assert (on(sold, sold.account), taken(sold)) == ((FUNDS, 0), 0)


def test_goods_that_come_back_bring_their_money_back_to_the_account(sold):
    order = place(sold, split(by_wallet(sold.account, 5000), {"type": "card", "token": "tok_visa"}))
    for _ in range(3):
        sold.rpc.shipping.advance(order["shipment"]["tracking"], key=key())
    reach(sold, order["id"], "delivered")
    begun = sold.rpc.orders.begin_return(order["id"], lines((SMALL, 2)), key=key())
    sold.rpc.orders.decide_return(begun["id"], decisions((SMALL, True, True)), key=key())
    returned = amended(sold, order["id"])
    assert returned["payment"]["refunded"] == euro(3998)
    assert (on(sold, sold.account), taken(sold)) == ((FUNDS - 5000 + 3998, 0), 0)
    assert kept(sold, order["id"]) == (total_of(order) - 5000, 0, 1002)
    assert [kind for kind, _ in sold.movements()] == ["authorize", "capture"]


def test_an_order_is_paid_anew_from_an_account(sold):
    order = place(sold, {"type": "card", "token": "tok_visa"})
    total = total_of(order)
    sold.rpc.orders.change(order["id"], payment_method=by_wallet(sold.account), key=key())
    changed = amended(sold, order["id"])
    assert (changed["amendments"][-1]["status"], changed["payment"]["method"]) == ("settled", "wallet")
    assert sold.movements() == [("authorize", total), ("capture", total), ("refund", total)]
    assert (on(sold, sold.account), kept(sold, order["id"])) == ((FUNDS - total, 0), (0, 0, total))


def test_a_customer_pays_from_their_own_account_as_they_see_it(sold):
    """As over HTTP: the check is asked in the customer's name."""
    ada, eve = (Caller(customer_id=each, roles=("customer",)) for each in (sold.buyer, "eve"))
    for caller, code in ((ada, None), (eve, "auth.forbidden")):
        context = {"caller": {"customer_id": caller.customer_id, "roles": ["customer"]}}
        asked = dict(amount=euro(500), method=by_wallet(sold.account), customer_id=sold.buyer)
        if code is None:
            assert sold.client.call("payments", "check", asked, context=context) is None
        else:
            refused = refusal(lambda c=context, a=asked: sold.client.call("payments", "check", a, context=c))
            assert refused.code == code


def test_without_the_ledger_orders_are_paid_by_card_and_sent_and_none_begins_by_wallet(sold):
    sold.stop("accounts")
    with pytest.raises(RemoteError, match="accounts"):
        sold.rpc.orders.place(sold.buyer, ADDRESS, by_wallet(sold.account), key=key())
    order = sold.rpc.orders.place(sold.buyer, ADDRESS, {"type": "card", "token": "tok_visa"}, key=key())
    wait_until(lambda: "book_shipment" in [line["step"] for line in sold.rpc.orders.get(order["id"])["timeline"]], 20)
    total = total_of(order)
    assert sold.movements() == [("authorize", total), ("capture", total)]
    assert len(sold.rpc.orders.find()["items"]) == 1
