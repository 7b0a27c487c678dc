"""Each order's money in the ledger, to the cent: what is posted when it is sold, changed and given back."""

import uuid
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, text

from chassis.rpc import Proxy
from contracts.accounts import AccountsApi
from contracts.inventory import InventoryApi
from contracts.orders import OrdersApi
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from contracts.transactions import TransactionsApi
from edge.audit import Auditor
from services.accounts.service import AccountsService
from services.orders.flows import CANCEL_1
from services.orders.saga import PLACE_ORDER_2
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
    reach,
    swaps,
)
from tests.integration.test_cancel import cancel, settled, stall
from tests.integration.test_place_order import lose_replies, refuse
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, running_companies, running_shop

APIS = (OrdersApi, InventoryApi, PaymentsApi, ShippingApi, TransactionsApi, AccountsApi)
FRANCE = {**ADDRESS, "line1": "2 Lane", "city": "Lyon", "postal_code": "69001", "country": "FR"}


@pytest.fixture
def sold(shop):
    """A confirmed order of two small lamps and a desk, paid by card."""
    furnish(shop)
    shop.order = confirmed(shop)
    return shop


def key():
    return uuid.uuid4().hex


def euro(amount):
    return {"amount": amount, "currency": "EUR"}


def entries(shop, order_id):
    """What was posted about an order: (kind, postings by role), in the order of the entries."""
    found = {}
    for role in {line["role"] for line in shop.rpc.accounts.trial_balance()["lines"]}:
        for line in shop.rpc.accounts.entries(f"{role}.EUR", 500)["items"]:
            if line["subject"] == f"order:{order_id}":
                found[int(line["entry_id"])] = line["kind"]
    return [(kind, posted(shop.rpc.accounts.entry(str(number)))) for number, kind in sorted(found.items())]


def posted(entry):
    sums = Counter()
    for each in entry["postings"]:
        sums[each["account_id"].removesuffix(".EUR")] += each["amount"]["amount"]
    assert sum(sums.values()) == 0
    return dict(sums)


def parts(order):
    """What an order is credited with: goods without their tax, tax, postage."""
    sums = {name: order["totals"][name]["amount"] for name in ("items", "tax", "shipping")}
    return {"sales": sums["tax"] - sums["items"], "tax_payable": -sums["tax"], "shipping_income": -sums["shipping"]}


def sale(order, **debits):
    return ("sale", {**(debits or {"acquirer_receivable": order["totals"]["total"]["amount"]}), **parts(order)})


def reverse(kind, entry):
    return (kind, {role: -amount for role, amount in entry[1].items()})


def sums(shop):
    """What is posted to each role, debits above zero."""
    balance = shop.rpc.accounts.trial_balance()
    assert balance["holds"]
    return {
        line["role"]: line["debit"] - line["credit"] for line in balance["lines"] if line["debit"] != line["credit"]
    }


def audited(shop, settle=timedelta()):
    """The audit's word on the ledger."""
    services = [Proxy(shop.client, api, SimpleNamespace(context_data={}), timeout_s=20.0) for api in APIS]
    audit = Auditor(*services, settle=settle).run()
    (check,) = [each for each in audit.checks if each.name == "ledger"]
    return check


def assert_agrees(shop, orders=1):
    check = audited(shop)
    assert (check.holds, check.in_flight, check.detail) == (True, False, f"{orders} orders booked")


def send_back(shop, *wanted, refund_to="original", accept=True):
    begun = shop.rpc.orders.begin_return(shop.order["id"], lines(*wanted), refund_to, key=key())
    shop.rpc.orders.decide_return(begun["id"], decisions(*((sku, accept, True) for sku, _ in wanted)), key=key())
    wait_until(lambda: shop.rpc.orders.get_return(shop.order["id"], begun["id"])["status"] == "settled", 30)


# --- sold, and cancelled


def test_an_order_is_one_entry_of_goods_tax_and_postage(sold):
    assert entries(sold, sold.order["id"]) == [sale(sold.order)]
    assert sums(sold) == sale(sold.order)[1]
    assert_agrees(sold)


def test_a_cancel_books_the_reverse_of_the_sale_and_names_it(sold):
    cancel(sold, sold.order["id"])
    settled(sold, sold.order["id"], "cancelled")
    booked = sale(sold.order)
    assert entries(sold, sold.order["id"]) == [booked, reverse("cancel", booked)]
    assert sums(sold) == {}
    first, second = sorted(
        (sold.rpc.accounts.entry(line["entry_id"]) for line in sold.rpc.accounts.entries("sales.EUR")["items"]),
        key=lambda entry: int(entry["id"]),
    )
    assert (first["corrects"], second["corrects"]) == (None, first["id"])
    assert_agrees(sold)


def test_a_rejected_order_is_not_booked(shop):
    furnish(shop)
    order = shop.ended(shop.place(shop.buyer, "tok_capture_fails")["id"])
    assert order["status"] == "rejected"
    assert shop.rpc.accounts.sums_by_subject("order:")["items"] == []
    assert_agrees(shop, 0)


@pytest.mark.parametrize("place", ["the pivot is in doubt", "it is being served"])
def test_a_cancel_that_comes_after_the_decision_books_the_sale_and_its_reverse(shop, monkeypatch, place):
    furnish(shop)
    if place == "the pivot is in doubt":
        left = lose_replies(monkeypatch, "payments", "capture", times=10_000)
        order_id = shop.place(shop.buyer)["id"]
        wait_until(lambda: left[0] < 10_000)
        cancel(shop, order_id)
        left[0] = 0
    else:
        calls = stall(monkeypatch, "inventory", "commit")
        order_id = shop.place(shop.buyer)["id"]
        wait_until(lambda: calls[0])
        cancel(shop, order_id)
        calls.clear()
    booked = sale(settled(shop, order_id, "cancelled"))
    assert entries(shop, order_id) == [booked, reverse("cancel", booked)]
    assert_agrees(shop)


def test_an_order_that_could_not_be_served_books_the_sale_and_its_reverse(migrated_config, tmp_path, monkeypatch):
    migrated_config["saga_makes_good_after_ms"] = 200
    with running_companies(tmp_path) as companies, running_shop(migrated_config, *companies) as shop:
        furnish(shop)
        refuse(monkeypatch, "shipping", "book", "shipping.not_serviceable")
        order = settled(shop, shop.place(shop.buyer)["id"], "cancelled")
        booked = sale(order)
        assert entries(shop, order["id"]) == [booked, reverse("cancel", booked)]
        assert_agrees(shop)


def test_goods_do_not_wait_for_the_ledger_and_the_order_is_confirmed_when_it_is_back(shop, container_factory):
    furnish(shop)
    shop.stop("accounts")
    order_id = shop.place(shop.buyer)["id"]
    parcel = wait_until(lambda: shop.rpc.shipping.get(order_id) if is_served(shop, order_id) else None)
    assert parcel["status"] == "booked"
    assert (shop.stock(SMALL), shop.cart(shop.buyer)) == ((8, 0, 2), [])
    assert shop.rpc.orders.get(order_id)["status"] == "pending"
    container_factory(AccountsService, shop.config).start()
    order = shop.ended(order_id)
    assert order["status"] == "confirmed"
    assert entries(shop, order_id) == [sale(order)]
    assert_agrees(shop)


def is_served(shop, order_id):
    done = {each["step"] for each in shop.rpc.orders.get(order_id)["timeline"] if each["outcome"] == "ok"}
    return {"commit_stock", "book_shipment", "clear_cart"} <= done


# --- given back in parts


def test_returns_take_back_their_shares_of_goods_and_tax_and_the_last_one_the_postage(shop):
    furnish(shop)
    shop.order = delivered(shop)
    taxes = {line["sku"]: line["tax"]["amount"] for line in shop.order["lines"]}
    send_back(shop, (SMALL, 1))
    assert_agrees(shop)
    send_back(shop, (DESK, 1), accept=False)
    send_back(shop, (SMALL, 1), (DESK, 1))
    reach(shop, shop.order["id"], "returned")
    half, rest = taxes[SMALL] // 2, taxes[SMALL] - taxes[SMALL] // 2
    postage = shop.order["totals"]["shipping"]["amount"]
    tax = rest + taxes[DESK]
    assert entries(shop, shop.order["id"]) == [
        sale(shop.order),
        ("return", {"acquirer_receivable": -1999, "sales": 1999 - half, "tax_payable": half}),
        (
            "return",
            {
                "acquirer_receivable": -(1999 + 12900 + postage),
                "sales": 1999 + 12900 - tax,
                "tax_payable": tax,
                "shipping_income": postage,
            },
        ),
    ]
    assert sums(shop) == {}
    assert_agrees(shop)


def test_a_refund_to_a_new_gift_card_is_owed_on_it(shop):
    furnish(shop)
    shop.order = delivered(shop)
    send_back(shop, (DESK, 1), refund_to="gift_card")
    tax = next(line["tax"]["amount"] for line in shop.order["lines"] if line["sku"] == DESK)
    assert entries(shop, shop.order["id"])[1:] == [
        ("return", {"gift_cards": -12900, "sales": 12900 - tax, "tax_payable": tax})
    ]
    assert sums(shop)["gift_cards"] == -12900
    assert_agrees(shop)


def test_a_split_is_debited_part_by_part_and_given_back_where_it_came_from(shop):
    furnish(shop)
    voucher = shop.rpc.payments.issue_gift_card(shop.buyer, euro(5000), key=key())["id"]
    wait_until(lambda: sums(shop) == {"gift_cards": -5000, "gift_cards_granted": 5000})
    method = {"type": "split", "parts": [{"type": "gift_card", "id": voucher, "amount": euro(3000)}, CARD]}
    order = shop.ended(shop.rpc.orders.place(shop.buyer, ADDRESS, method, key=key())["id"])
    booked = sale(order, gift_cards=3000, acquirer_receivable=order["totals"]["total"]["amount"] - 3000)
    assert entries(shop, order["id"]) == [booked]
    assert sums(shop)["gift_cards"] == -2000
    assert_agrees(shop)
    cancel(shop, order["id"])
    settled(shop, order["id"], "cancelled")
    assert entries(shop, order["id"]) == [booked, reverse("cancel", booked)]
    assert sums(shop) == {"gift_cards": -5000, "gift_cards_granted": 5000}
    assert_agrees(shop)


# --- changed and exchanged


def difference(kind, before, after, **moved):
    old, new = parts(before), parts(after)
    return (kind, moved | {role: new[role] - old[role] for role in new if new[role] != old[role]})


def test_a_change_books_what_is_more(sold):
    sold.rpc.orders.change(sold.order["id"], lines=swaps((SMALL, LARGE, 1)), payment_method=CARD, key=key())
    after = amended(sold, sold.order["id"])
    assert entries(sold, sold.order["id"]) == [
        sale(sold.order),
        difference("change", sold.order, after, acquirer_receivable=1000),
    ]
    assert sums(sold) == sale(after)[1]
    assert_agrees(sold)


def test_a_change_of_address_books_other_postage_and_tax_and_a_cancel_then_all_of_it(sold):
    sold.rpc.orders.change(sold.order["id"], shipping_address=FRANCE, payment_method=CARD, key=key())
    after = amended(sold, sold.order["id"])
    more = after["totals"]["total"]["amount"] - sold.order["totals"]["total"]["amount"]
    moved = {"acquirer_receivable": more} if more else {}
    assert entries(sold, sold.order["id"])[1:] == [difference("change", sold.order, after, **moved)]
    assert sums(sold) == sale(after)[1]
    cancel(sold, sold.order["id"])
    settled(sold, sold.order["id"], "cancelled")
    assert sums(sold) == {}
    assert_agrees(sold)


def test_an_order_that_is_paid_anew_by_a_gift_card_moves_no_income(sold):
    total = sold.order["totals"]["total"]["amount"]
    voucher = sold.rpc.payments.issue_gift_card(sold.buyer, euro(total), key=key())["id"]
    sold.rpc.orders.change(sold.order["id"], payment_method={"type": "gift_card", "id": voucher}, key=key())
    amended(sold, sold.order["id"])
    assert entries(sold, sold.order["id"]) == [
        sale(sold.order),
        ("change", {"gift_cards": total, "acquirer_receivable": -total}),
    ]
    wait_until(lambda: sums(sold) == {**parts(sold.order), "gift_cards_granted": total})
    assert_agrees(sold)


def test_an_exchange_for_what_costs_less_books_what_is_given_back_before_it_waits_for_the_goods(shop):
    furnish(shop)
    shop.order = delivered(shop)
    asked = shop.rpc.orders.begin_exchange(shop.order["id"], swaps((SMALL, HUGE, 1)), None, key=key())
    wait_until(lambda: shop.rpc.orders.get_exchange(shop.order["id"], asked["id"])["status"] == "waiting", 30)
    after = shop.rpc.orders.get(shop.order["id"])
    assert entries(shop, shop.order["id"]) == [
        sale(shop.order),
        difference("exchange", shop.order, after, acquirer_receivable=-1000),
    ]
    assert sums(shop) == sale(after)[1]
    assert_agrees(shop)


# --- before there was a ledger


def test_an_order_from_before_the_ledger_is_not_booked_nor_is_what_follows_it(shop, monkeypatch):
    furnish(shop)
    monkeypatch.setattr("services.orders.service.PLACE_ORDER", PLACE_ORDER_2)
    order = confirmed(shop)
    assert "book_sale" not in {each["step"] for each in order["timeline"]}
    assert_agrees(shop, 0)
    cancel(shop, order["id"])
    order = settled(shop, order["id"], "cancelled")
    assert "book_refund" not in {each["step"] for each in order["timeline"]}
    assert shop.rpc.accounts.sums_by_subject("order:")["items"] == []
    assert_agrees(shop, 0)


def test_a_saga_that_began_before_orders_were_booked_ends_without(shop, monkeypatch):
    furnish(shop)
    monkeypatch.setattr("services.orders.service.PLACE_ORDER", PLACE_ORDER_2)
    order = confirmed(shop)
    monkeypatch.setattr("services.orders.flows.CANCEL", CANCEL_1)
    cancel(shop, order["id"])
    assert settled(shop, order["id"], "cancelled")["payment"]["status"] == "refunded"
    assert_agrees(shop, 0)


# --- what the audit finds


@pytest.fixture
def tamper(sold):
    """Run statements on the ledger's own database, `:entry` being the one of the sale."""

    def run(*statements):
        engine = create_engine(sold.config["DB_URIS"]["accounts:Base"])
        with engine.begin() as connection:
            entry = connection.execute(text("SELECT id FROM entry WHERE kind = 'sale'")).scalar_one()
            for statement in statements:
                connection.execute(text(statement), {"entry": entry} if ":entry" in statement else {})
        engine.dispose()

    return run


def test_an_entry_that_is_missing_is_named(sold, tamper):
    tamper("DELETE FROM posting WHERE entry_id = :entry", "DELETE FROM entry WHERE id = :entry")
    found, total = audited(sold), sold.order["totals"]["total"]["amount"]
    assert (found.holds, found.in_flight) == (False, False)
    order_id = sold.order["id"]
    assert f"{order_id}: earned 0, not {total}, {order_id}: acquirer_receivable 0, not {total}" in found.detail


def test_an_entry_that_was_booked_twice_is_named_though_the_trial_balance_holds(sold):
    total = sold.order["totals"]["total"]["amount"]
    again = {
        "postings": [
            {"account_id": "acquirer_receivable.EUR", "amount": euro(total)},
            {"account_id": "sales.EUR", "amount": euro(-total)},
        ],
        "kind": "sale",
        "subject": f"order:{sold.order['id']}",
    }
    sold.rpc.accounts.book(again, key="again")
    found = audited(sold)
    assert sold.rpc.accounts.trial_balance()["holds"]
    assert not found.holds
    assert f"{sold.order['id']}: earned {2 * total}, not {total}" in found.detail
    put_right = {
        **again,
        "postings": [{**each, "amount": euro(-each["amount"]["amount"])} for each in again["postings"]],
    }
    sold.rpc.accounts.book(put_right, key="put-right")
    assert_agrees(sold)


def test_an_amount_that_was_changed_is_named(sold, tamper):
    tamper("UPDATE posting SET amount = amount - 1 WHERE entry_id = :entry AND account_id = 'sales.EUR'")
    total = sold.order["totals"]["total"]["amount"]
    assert f"{sold.order['id']}: earned {total + 1}, not {total}" in audited(sold).detail


def test_gift_cards_that_the_ledger_does_not_know_of_are_told(sold):
    wrong = {
        "postings": [
            {"account_id": "gift_cards.EUR", "amount": euro(5)},
            {"account_id": "suspense.EUR", "amount": euro(-5)},
        ],
        "kind": "mistake",
    }
    sold.rpc.accounts.book(wrong, key="wrong")
    found = audited(sold)
    assert (found.holds, found.detail) == (False, "1 orders booked; gift_cards.EUR: -5 more than on the cards")


def test_an_entry_about_an_order_that_is_not_there_is_named_once_it_is_old(sold):
    strange = {
        "postings": [
            {"account_id": "suspense.EUR", "amount": euro(5)},
            {"account_id": "sales.EUR", "amount": euro(-5)},
        ],
        "kind": "mistake",
        "subject": "order:of-nobody",
    }
    sold.rpc.accounts.book(strange, key="strange")
    young, old = audited(sold, settle=timedelta(minutes=5)), audited(sold)
    assert (young.holds, young.in_flight) == (True, True)
    assert (old.holds, old.detail) == (False, "1 orders booked; of-nobody: earned 5, not 0")


def test_an_order_that_is_booked_and_not_complete_is_in_flight(shop, monkeypatch):
    furnish(shop)
    calls = stall(monkeypatch, "carts", "remove_ordered")
    order_id = shop.place(shop.buyer)["id"]
    wait_until(lambda: entries(shop, order_id))
    found = audited(shop)
    assert (found.holds, found.in_flight, found.detail) == (True, True, "0 orders booked")
    calls.clear()
    assert shop.ended(order_id)["status"] == "confirmed"
    assert_agrees(shop)
