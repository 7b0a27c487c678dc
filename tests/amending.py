"""Orders on their way, and what is done to them afterwards: for tests of amendments."""

import uuid
from collections.abc import Iterable
from typing import Any

from tests.sandboxes import wait_until
from tests.shop import Shop

SMALL, LARGE, HUGE, DESK = "LAMP-S", "LAMP-L", "LAMP-H", "DESK-1"
PRICES = {SMALL: 1999, LARGE: 2999, HUGE: 999, DESK: 12900}
CARD = {"type": "card", "token": "tok_visa"}
OPEN = ("pending", "waiting", "settling")


def furnish(shop: Shop) -> Shop:
    """One lamp in three variants, and a desk: ten units of each; a customer with two small lamps and a desk in the
    cart."""
    variants = [
        {"sku": sku, "price": {"amount": PRICES[sku], "currency": "EUR"}, "options": {"size": sku[-1]}}
        for sku in (SMALL, LARGE, HUGE)
    ]
    lamp = {"name": "Lamp", "description": "For tests.", "category": "home", "variants": variants}
    shop.rpc.products.create(lamp, key=uuid.uuid4().hex)
    for sku in (SMALL, LARGE, HUGE):
        shop.rpc.inventory.receive([{"sku": sku, "quantity": 10}], "delivery", key=uuid.uuid4().hex)
    shop.sell(DESK, PRICES[DESK], stock=10)
    shop.buyer = shop.customer((SMALL, 2), (DESK, 1))  # type: ignore[attr-defined]
    return shop


def confirmed(shop: Any, token: str = "tok_visa") -> Any:
    order = shop.ended(shop.place(shop.buyer, token)["id"])
    assert order["status"] == "confirmed"
    return order


def delivered(shop: Any) -> Any:
    """An order that arrived."""
    order = confirmed(shop)
    for _ in range(3):
        shop.rpc.shipping.advance(order["shipment"]["tracking"], key=uuid.uuid4().hex)
    return reach(shop, order["id"], "delivered")


def reach(shop: Any, order_id: str, *states: str) -> Any:
    """The order once it is in one of these states."""

    def look() -> Any:
        order = shop.rpc.orders.get(order_id)
        return order if order["status"] in states else None

    return wait_until(look, 30)


def amended(shop: Any, order_id: str, *statuses: str) -> Any:
    """The order once its last amendment has one of these statuses, or is at its end."""
    wanted = statuses or ("settled", "rejected", "expired")

    def look() -> Any:
        order = shop.rpc.orders.get(order_id)
        return order if order["amendments"] and order["amendments"][-1]["status"] in wanted else None

    return wait_until(look, 30)


def net(shop: Any) -> int:
    """What the shop has of everybody's money, by the acquirer's own books."""
    signs = {"capture": 1, "refund": -1}
    return sum(signs.get(kind, 0) * amount for kind, amount in shop.movements())


def lines(*each: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": count, "reason": "too small"} for sku, count in each]


def swaps(*each: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [{"sku": sku, "new_sku": new_sku, "quantity": count} for sku, new_sku, count in each]


def decisions(*each: tuple[str, bool, bool]) -> list[dict[str, Any]]:
    return [{"sku": sku, "accept": accept, "restock": restock, "note": "looked at"} for sku, accept, restock in each]


def timeline(order: Any, names: Iterable[str]) -> list[tuple[str, str]]:
    wanted = set(names)
    return [(each["step"], each["outcome"]) for each in order["timeline"] if each["step"] in wanted]
