"""What customers and staff do in flows. Who gets no answer does it once more: each of these may be repeated."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3

from chassis.outside import sign
from contracts.carts import CartsApi
from contracts.notifications import NotificationsApi
from contracts.orders import OrdersApi
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from tests.faults.world import LIMIT_S, QUANTITY, Case, World
from tests.sandboxes import wait_until
from tests.shop import ADDRESS

CARD = {"type": "card", "token": "tok_visa"}
ELSEWHERE = {**ADDRESS, "line1": "2 Lane", "city": "Berlin", "postal_code": "10115", "country": "DE"}
GIFT, SPENT = 1500, 1000


def order_by(world: World, case: Case, method: dict[str, Any]) -> None:
    order = world.ask(
        case.trace,
        OrdersApi.place,
        customer_id=case.customer_id,
        shipping_address=ADDRESS,
        payment_method=method,
        key=case.key,
    )
    case.order_id = order["id"]


def place(token: str) -> Callable[[World, Case], None]:
    def begin(world: World, case: Case) -> None:
        order_by(world, case, {"type": "card", "token": token})

    return begin


# --- split: a gift card pays a part


def issue_gift_card(world: World, case: Case) -> None:
    amount = {"amount": GIFT, "currency": "EUR"}
    card = world.look(PaymentsApi.issue_gift_card, customer_id=case.customer_id, amount=amount, key=case.trace)
    case.gift_card = card["id"]


def place_split(token: str) -> Callable[[World, Case], None]:
    def begin(world: World, case: Case) -> None:
        amount = {"amount": SPENT, "currency": "EUR"}
        gift = {"type": "gift_card", "id": case.gift_card, "amount": amount}
        order_by(world, case, {"type": "split", "parts": [gift, {"type": "card", "token": token}]})

    return begin


# --- challenge: the customer approves at the bank


def place_unapproved(world: World, case: Case) -> None:
    """An order that waits for its customer."""
    order_by(world, case, {"type": "card", "token": "tok_challenge"})
    world.at_rest(case)


def place_and_approve(world: World, case: Case) -> None:
    place_unapproved(world, case)
    url = world.order(case)["payment"]["action_url"]
    if url is not None:
        page = f"{world.shop.acquirer.url}{urlsplit(url).path}"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        urllib3.request("POST", page, body=b"decision=approve", headers=form)
        tell_approval(world, case)


def tell_approval(world: World, case: Case) -> None:
    """The acquirer's signed call, which comes as often as it likes."""
    query = "SELECT key, payment, amount FROM authorizations WHERE reference = ?"
    with sqlite3.connect(world.shop.acquirer.db) as connection:
        key, payment, amount = connection.execute(query, (case.order_id,)).fetchone()
    moved = dict(id=payment, key=key, authorization_key=key, reference=case.order_id, status="authorized")
    data = {**moved, "amount": amount, "currency": "EUR"}
    at = "2026-01-01T00:00:00Z"
    body = msgspec.json.encode(dict(id=f"evt-{payment}", type="payment.authorized", at=at, data=data))
    real_time = time.time() + world.clock.total_seconds()
    signature = sign(world.shop.config["acquirer_hook_secret"], body, real_time)
    world.ask(case.trace, PaymentsApi.acquirer_hook, signature=signature, body=body.decode())


# --- what is done to an order afterwards


def buy(world: World, case: Case) -> None:
    """An order that is confirmed, and its mail written."""
    order_by(world, case, CARD)
    world.ended(case)
    await_mails(world, case, 1)


def receive(world: World, case: Case) -> None:
    """An order that was delivered, and all mails of its way written."""
    buy(world, case)
    tracking = world.order(case)["shipment"]["tracking"]
    for stop in ("handed_over", "in_transit", "delivered"):
        world.look(ShippingApi.advance, tracking=tracking, key=f"{case.key}-{stop}")
    wait_until(lambda: world.order(case)["status"] == "delivered", LIMIT_S)
    await_mails(world, case, 3)


def await_mails(world: World, case: Case, count: int) -> None:
    wait_until(lambda: len(world.look(NotificationsApi.find, to=case.email)) == count, LIMIT_S)


def buy_and_look_elsewhere(world: World, case: Case) -> None:
    """A confirmed order, and what it costs to send it elsewhere: shipping keeps that quote too."""
    buy(world, case)
    world.look(ShippingApi.quote, address=ELSEWHERE, items=QUANTITY)


def cancel(world: World, case: Case) -> None:
    world.ask(case.trace, OrdersApi.cancel, order_id=case.order_id, reason="I changed my mind.", key=case.key)


def receive_both(world: World, case: Case) -> None:
    """An order of two lamps and one of the dearer ones, which was delivered."""
    world.look(
        CartsApi.put_item, cart={"customer_id": case.customer_id}, sku=case.dearer, quantity=1, key=f"{case.key}-dearer"
    )
    receive(world, case)


def send_back(world: World, case: Case) -> None:
    """All of it goes back: the lamps can be sold again, the dearer one cannot."""
    lines = [{"sku": sku, "quantity": count, "reason": "too dark"} for sku, count in ((case.sku, 2), (case.dearer, 1))]
    begun = world.ask(case.trace, OrdersApi.begin_return, order_id=case.order_id, lines=lines, key=case.key)
    decide(world, case, begun["id"], {case.sku: True, case.dearer: False})


def exchange(world: World, case: Case) -> None:
    """Both lamps for dearer ones; then the old ones come back as good as new."""
    begun = world.ask(
        case.trace,
        OrdersApi.begin_exchange,
        order_id=case.order_id,
        lines=dearer_ones(case),
        payment_method=CARD,
        key=case.key,
    )
    decide(world, case, begun["id"], {case.sku: True})


def decide(world: World, case: Case, return_id: str, restock: dict[str, bool]) -> None:
    """What staff say when the saga has come to wait for it."""
    world.at_rest(case)
    decisions = [{"sku": sku, "accept": True, "restock": good} for sku, good in restock.items()]
    world.ask(case.trace, OrdersApi.decide_return, return_id=return_id, decisions=decisions, key=case.key)


def change(world: World, case: Case) -> None:
    """Dearer lamps, and they go elsewhere."""
    world.ask(
        case.trace,
        OrdersApi.change,
        order_id=case.order_id,
        shipping_address=ELSEWHERE,
        lines=dearer_ones(case),
        payment_method=CARD,
        key=case.key,
    )


def dearer_ones(case: Case) -> list[dict[str, Any]]:
    return [{"sku": case.sku, "new_sku": case.dearer, "quantity": QUANTITY}]
