"""What the whole shop's support says when services are away, and when what was confirmed is refused after all."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from services.support.talk.wording import words_of
from tests.amending import delivered, net
from tests.integration.test_place_order import refuse
from tests.sandboxes import wait_until
from tests.shop import Shop, service_class
from tests.talking import GREEN, RED, UNITS, Talk, furnish, key

LOOKUPS = {
    "order_status": ("orders", "where is my order?", "Lamp (red)"),
    "order_payment": ("orders", "what did I pay?", "€19.99"),
    "order_refused": ("orders", "was my order refused?", "was not refused"),
    "refund_status": ("orders", "is my refund there?", "I see no refund"),
    "balance": ("accounts", "what is my balance?", "savings: €50.00 available"),
    "transactions": ("transactions", "my last transactions", "deposit, €50.00, completed"),
    "product_price": ("products", "how much is the lamp?", "Lamp costs €19.99"),
    "product_stock": ("products", "is the lamp in stock?", "Lamp is in stock"),
    "product_options": ("products", "which colours of the lamp are there?", "red and green"),
    "product_compare": ("products", "compare the lamp with the chair", "is cheaper, by €80.00"),
}
"""By look-up: the service that it needs, how it is asked for, and what is in the answer."""
BACK_S = 30


@pytest.fixture
def lamps(shop: Shop) -> Shop:
    return furnish(shop)


@pytest.fixture
def talk(lamps: Shop, monkeypatch: pytest.MonkeyPatch) -> Talk:
    return Talk.of(lamps, lamps.buyer, monkeypatch)  # type: ignore[attr-defined]


def bought(shop: Any) -> Any:
    """A confirmed order of a red lamp."""
    shop.rpc.carts.put_item({"customer_id": shop.buyer}, RED, 1, key=key())
    order = shop.ended(shop.place(shop.buyer)["id"])
    assert order["status"] == "confirmed"
    return order


def arrived(shop: Any) -> Any:
    shop.rpc.carts.put_item({"customer_id": shop.buyer}, RED, 1, key=key())
    return delivered(shop)


# --- a service away


@pytest.fixture
def seen(lamps: Any) -> Shop:
    """Something to see in every service."""
    chair = [{"sku": "CHAIR-1", "price": {"amount": 9999, "currency": "EUR"}, "options": {}}]
    lamps.rpc.products.create(
        {"name": "Chair", "description": "For tests.", "category": "home", "variants": chair}, key=key()
    )
    bought(lamps)
    account = lamps.rpc.accounts.open(lamps.buyer, "EUR", "savings", key=key())["id"]
    amount, card = {"amount": 5000, "currency": "EUR"}, {"type": "card", "token": "tok_visa"}
    lamps.rpc.transactions.deposit(lamps.buyer, account, amount, card, key=key())
    wait_until(lambda: lamps.rpc.accounts.get(account)["balance"]["available"]["amount"] == 5000, BACK_S)
    return lamps  # type: ignore[no-any-return]


def start(shop: Shop, service: str) -> None:
    """An instance anew, after the one that there was has been stopped."""
    shop.runner.add_service(service_class(service))
    shop.runner.service_map[service].start()


def ask(talk: Talk, lookup: str) -> Any:
    """A look-up's answer. Its conversation is over then: nobody may have many open."""
    said = talk.begin(LOOKUPS[lookup][1], lookup)
    talk.shop.rpc.support.rate(talk.who, talk.id, 5, key=key())
    return said


def test_a_service_that_is_away_is_named_nothing_is_made_up_and_once_it_is_back_it_is_asked(
    seen: Shop, talk: Talk
) -> None:
    for service in sorted({needed for needed, _, _ in LOOKUPS.values()}):
        seen.stop(service)
        silent = words_of("en").say(f"blind.{service}")
        for lookup, (needed, _, answer) in LOOKUPS.items():
            said = ask(talk, lookup)
            if needed == service:
                assert (said["text"], said["sources"]) == (silent, []), lookup
            else:
                assert answer in said["text"], lookup
        start(seen, service)
        for lookup in (lookup for lookup, (needed, _, _) in LOOKUPS.items() if needed == service):
            wait_until(lambda lookup=lookup: LOOKUPS[lookup][2] in ask(talk, lookup)["text"], BACK_S)


# --- refused after all


def sold_out(shop: Any, _: pytest.MonkeyPatch) -> None:
    shop.rpc.inventory.adjust(GREEN, -UNITS, "sold elsewhere", key=key())


def refusing(service: str, method: str, code: str) -> Callable[[Any, pytest.MonkeyPatch], None]:
    return lambda _, monkeypatch: refuse(monkeypatch, service, method, code) and None


TOO_LATE = "shipping.handed_over"
REFUSED = {
    "a cancel, too late at the carrier": (
        bought, "do_cancel", "cancel my order", refusing("shipping", "cancel", TOO_LATE),
        TOO_LATE, "This could not be done: It is too late: the carrier has the parcel.",
    ),
    "取消，承运商已取走": (
        bought, "do_cancel", "取消我的订单", refusing("shipping", "cancel", TOO_LATE),
        TOO_LATE, "这项操作未能完成：太晚了：承运商已取走包裹。",
    ),
    "an address, too late at the carrier": (
        bought, "do_change_address", "send my order to 12 Rose Lane, 2612 AB Delft",
        refusing("shipping", "hold", TOO_LATE),
        TOO_LATE, "This could not be done: It is too late: the carrier has the parcel.",
    ),
    "another colour, sold out meanwhile": (
        bought, "do_change_items", "make my lamp green", sold_out,
        "inventory.insufficient", "This could not be done: There are not enough of that article left.",
    ),
    "another card, declined": (
        bought, "do_change_payment", "pay my order with my card ending 4444",
        refusing("payments", "authorize", "payments.declined"),
        "payments.declined", "This could not be done: The card was declined.",
    ),
    "换卡，被拒绝": (
        bought, "do_change_payment", "订单换成尾号4444的卡付款", refusing("payments", "authorize", "payments.declined"),
        "payments.declined", "这项操作未能完成：该卡被拒绝。",
    ),
    "an exchange, sold out meanwhile": (
        arrived, "do_exchange", "exchange the lamp for the green one", sold_out,
        "inventory.insufficient", "This could not be done: There are not enough of that article left.",
    ),
    "换货，卖完了": (
        arrived, "do_exchange", "台灯换成绿色", sold_out,
        "inventory.insufficient", "这项操作未能完成：该商品库存不足。",
    ),
}  # fmt: skip
"""What is bought, the intent and how it is asked for, what comes between, the reason, and how that is told."""


def state_of(shop: Any, order: Any) -> tuple[Any, ...]:
    """Money, goods, and the order but for what was asked of it."""
    now = shop.rpc.orders.get(order["id"])
    kept = {name: value for name, value in now.items() if name not in ("timeline", "amendments")}
    moved = Counter(kind for kind, _ in shop.movements() if kind in ("capture", "refund"))
    return kept, net(shop), moved, shop.stock(RED)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_after_it_was_confirmed_is_told_with_its_reason_and_all_is_as_before(
    lamps: Any, talk: Talk, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    begin, intent, text, meanwhile, code, sentence = REFUSED[case]
    order = begin(lamps)
    (action,) = talk.begin(text, intent)["actions"]
    meanwhile(lamps, monkeypatch)
    before = state_of(lamps, order), lamps.stock(GREEN)
    assert talk.say("好的" if sentence[0] > "z" else "yes")["actions"][0]["status"] == "confirmed"
    ended = talk.ended(action["id"])
    assert (ended["status"], ended["reason_code"]) == ("refused", code)
    assert talk.told() == [sentence]
    wait_until(lambda: lamps.rpc.orders.get(order["id"])["amendments"][-1]["status"] == "rejected", 30)
    assert (state_of(lamps, order), lamps.stock(GREEN)) == before


RETURN_REFUSED = {
    "return the lamp, it is broken": (
        "We looked at your return of order {id} and could not accept it: nothing is refunded."
    ),
    "台灯坏了，我要退货": "我们已检查订单 {id} 的退货，无法接受，因此不予退款。",
}


@pytest.mark.parametrize("text", RETURN_REFUSED)
def test_a_return_that_staff_refuses_is_told_and_nothing_is_given_back(lamps: Any, talk: Talk, text: str) -> None:
    order = arrived(lamps)
    (action,) = talk.begin(text, "do_return")["actions"]
    before = state_of(lamps, order)
    assert talk.confirm(action["id"], 5)["status"] == "started"
    (begun,) = lamps.rpc.orders.returns(order["id"])
    refused = [{"sku": RED, "accept": False, "restock": False, "note": "it was used"}]
    lamps.rpc.orders.decide_return(begun["id"], refused, key=key())
    assert talk.ended(action["id"])["status"] == "done"
    assert talk.told()[-1] == RETURN_REFUSED[text].format(id=order["id"])
    assert state_of(lamps, order) == before
