"""Parcels between the shop and the carrier: what happens at once has one end, the same in both books."""

import random
import uuid
from functools import partial
from typing import Any

import eventlet
import pytest

from chassis.errors import ServiceError
from chassis.outside import OutsideClient
from services.shipping.adapters import CarrierClient
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, Shop, in_green_threads

LAMP = "LAMP-1"
PARIS = ADDRESS | {"name": "Grace", "city": "Paris", "postal_code": "75001", "country": "FR"}
ROUNDS = 12


@pytest.fixture
def carrier(shop: Shop) -> CarrierClient:
    return CarrierClient(OutsideClient("carrier", shop.carrier.url, 5.0))


@pytest.fixture
def dice() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def outcome(shop: Shop, method: str, **arguments: Any) -> str:
    """The code of the refusal, or "ok"."""
    try:
        shop.client.call("shipping", method, arguments)
    except ServiceError as exc:
        return exc.code
    return "ok"


def at_once(dice: random.Random, *calls: Any) -> list[Any]:
    """Each call a moment, of at most 20 ms, after the start."""

    def after(seconds: float, call: Any) -> Any:
        eventlet.sleep(seconds)
        return call()

    return in_green_threads([lambda call=call, s=dice.uniform(0, 0.02): after(s, call) for call in calls])


def booked(shop: Shop) -> str:
    order = f"o-{uuid.uuid4().hex[:12]}"
    shop.rpc.shipping.book(order, ADDRESS, 1, "ada@x.example", key=f"{order}:book")
    return order


def test_a_cancellation_beside_a_booking_always_leaves_no_parcel(
    shop: Shop, carrier: CarrierClient, dice: random.Random
) -> None:
    for _ in range(ROUNDS):
        order = f"o-{uuid.uuid4().hex[:12]}"
        parcel = dict(order_id=order, address=ADDRESS, items=1, email="ada@x.example", key=f"{order}:book")
        book = partial(outcome, shop, "book", **parcel)
        cancel = partial(outcome, shop, "cancel", order_id=order, key=f"{order}:cancel")
        came, gone = at_once(dice, book, cancel)
        assert (came in ("ok", "shipping.cancelled"), gone) == (True, "ok")
        assert (book(), cancel()) == ("ok" if came == "ok" else "shipping.cancelled", "ok")
        assert shop.rpc.shipping.get(order)["status"] == "cancelled"
        there = carrier.status(f"{order}:book")
        assert there is None or there.status == "cancelled"
    assert shop.rpc.shipping.reconcile()["differences"] == []


def test_of_a_hold_and_a_hand_over_at_once_exactly_one_wins(
    shop: Shop, carrier: CarrierClient, dice: random.Random
) -> None:
    for _ in range(ROUNDS):
        order = booked(shop)
        tracking = shop.rpc.shipping.get(order)["tracking"]
        ends = at_once(
            dice,
            partial(outcome, shop, "hold", order_id=order, key=f"{order}:hold"),
            partial(outcome, shop, "advance", tracking=tracking, key=f"{order}:advance"),
        )
        parcel, ours = carrier.parcel(tracking), shop.rpc.shipping.get(order)
        assert tuple(ends) in {("ok", "shipping.on_hold"), ("shipping.handed_over", "ok")}
        held = ends[0] == "ok"
        expected = ("booked", True) if held else ("handed_over", False)
        assert (parcel.status, parcel.on_hold) == (ours["status"], ours["on_hold"]) == expected
    assert shop.rpc.shipping.reconcile()["differences"] == []


def test_a_parcel_that_is_held_and_sent_elsewhere_goes_there_and_its_order_follows(
    shop: Shop, carrier: CarrierClient
) -> None:
    shop.sell(LAMP, 1999, stock=5)
    order = shop.ended(shop.place(shop.customer((LAMP, 1)))["id"])
    order_id, tracking = order["id"], order["shipment"]["tracking"]
    shop.rpc.shipping.hold(order_id, key="h")
    assert outcome(shop, "advance", tracking=tracking, key="a1") == "shipping.on_hold"
    for _ in range(2):
        assert not shop.rpc.shipping.amend(order_id, PARIS, 1, key="amend")["on_hold"]
    shop.rpc.shipping.advance(tracking, key="a2")
    wait_until(lambda: shop.rpc.orders.get(order_id)["status"] == "shipped")
    page = OutsideClient("carrier", shop.carrier.url, 5.0).call("GET", "/bookings").result(dict[str, Any], {})
    assert [(each["tracking"], each["address"]["city"]) for each in page["items"]] == [(tracking, "Paris")]


def test_another_parcel_of_an_order_moves_on_without_it(shop: Shop) -> None:
    shop.sell(LAMP, 1999, stock=5)
    order = shop.ended(shop.place(shop.customer((LAMP, 1)))["id"])
    other = shop.rpc.shipping.book(order["id"], ADDRESS, 1, "ada@x.example", "amendment-1", key="other")
    assert (other["parcel_id"], other["tracking"] != order["shipment"]["tracking"]) == ("amendment-1", True)
    for n in range(3):
        shop.rpc.shipping.advance(other["tracking"], key=f"a{n}")
    assert shop.mails(3) == {"order_confirmed": 1, "order_shipped": 1, "order_delivered": 1}
    now = shop.rpc.orders.get(order["id"])
    assert (now["status"], now["shipment"]) == ("confirmed", order["shipment"])
