"""What clients are promised over HTTP of orders that are cancelled, changed, returned and exchanged."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.processes import wait_until
from tests.e2e.shopping import ADDRESS, Customer, Desk
from tests.e2e.system import System
from tests.e2e.test_http_rows import CARD, answered, delivered_to, refused

AMENDMENT = {"id", "kind", "status", "created_at", "updated_at", "reason", "reason_code", "action_url"}
RETURN = {"id", "order_id", "status", "lines", "refund_to", "expires_at", "created_at", "updated_at", "refund"}
SETTLES_WITHIN_S = 60


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


@pytest.fixture
def lamps(desk: Desk) -> tuple[str, str]:
    """Two variants of one product, at 19.99 and 29.99."""
    stem = secrets.token_hex(4)
    prices = {f"LAMP-{stem}-S": 1999, f"LAMP-{stem}-L": 2999}
    variants = [
        {"sku": sku, "options": {"size": sku[-1]}, "price": {"amount": amount, "currency": "EUR"}}
        for sku, amount in prices.items()
    ]
    product = {"name": "Lamp", "description": "For tests.", "category": "home", "variants": variants}
    desk.call("POST", "/v1/products", json=product)
    for sku in prices:
        desk.call("POST", f"/v1/stock/{sku}/adjustments", json={"quantity": 5, "reason": "delivery"})
    small, large = prices
    return small, large


def keyed(key: str = "") -> dict[str, str]:
    return {"Idempotency-Key": key or secrets.token_hex(8)}


def when(customer: Customer, order_id: str, **wanted: str) -> Any:
    """The order once it is so, and its last amendment at its end."""
    order: dict[str, Any] = {}

    def so() -> bool:
        order.update(customer.call("GET", f"/v1/orders/{order_id}"))
        return all(order[name] == value for name, value in wanted.items())

    assert wait_until(so, SETTLES_WITHIN_S), order
    return order


def amended(customer: Customer, order_id: str, status: str = "settled") -> Any:
    order: dict[str, Any] = {}

    def so() -> bool:
        order.update(customer.call("GET", f"/v1/orders/{order_id}"))
        return bool(order["amendments"]) and order["amendments"][-1]["status"] == status

    assert wait_until(so, SETTLES_WITHIN_S), order
    return order


def arrive(desk: Desk, customer: Customer, order: Any) -> Any:
    """The order, delivered. The carrier of the running shop may move the parcel by itself."""
    tracking = order["shipment"]["tracking"]

    def there() -> bool:
        if customer.call("GET", f"/v1/orders/{order['id']}")["status"] == "delivered":
            return True
        desk.http.post(f"/v1/shipments/{tracking}/advance")
        return False

    assert wait_until(there, SETTLES_WITHIN_S, every_s=0.3)
    return customer.call("GET", f"/v1/orders/{order['id']}")


def test_a_cancel_is_accepted_and_ends_with_everything_given_back(ada: Customer, desk: Desk) -> None:
    sku = desk.sell(3)
    order = delivered_to(ada, sku)
    path, body = f"/v1/orders/{order['id']}/cancel", {"reason": "changed my mind"}
    asked = answered(ada.http.post(path, json=body, headers=keyed()), 202)
    assert asked["status"] in ("cancelling", "cancelled")
    ended = when(ada, order["id"], status="cancelled")
    assert ended["payment"]["status"] == "refunded"
    assert ended["payment"]["refunded"] == ended["payment"]["paid"] == order["totals"]["total"]
    assert [each.keys() for each in ended["amendments"]] == [AMENDMENT]
    assert desk.stock(sku) == (3, 0, 0)
    again = answered(ada.http.post(path, json=body), 202)  # without a key too
    assert again == ended


def test_an_order_that_arrived_is_not_cancelled_or_changed(ada: Customer, desk: Desk) -> None:
    order = arrive(desk, ada, delivered_to(ada, desk.sell(1)))
    path = f"/v1/orders/{order['id']}"
    problem = refused(ada.http.post(f"{path}/cancel", json={"reason": "late"}), 409, "orders.not_cancellable")
    assert problem["details"] == {"state": "delivered"}
    refused(ada.http.patch(path, json={"shipping_address": ADDRESS}), 409, "orders.not_changeable")
    assert ada.call("GET", path) == order


def test_a_change_is_accepted_and_costs_what_the_new_article_costs_more(
    ada: Customer, desk: Desk, lamps: tuple[str, str]
) -> None:
    small, large = lamps
    order = delivered_to(ada, small)
    path, swap = f"/v1/orders/{order['id']}", [{"sku": small, "new_sku": large, "quantity": 1}]
    problem = refused(ada.http.patch(path, json={"lines": swap}), 422, "orders.payment_method_required")
    assert problem["errors"][0]["field"] == "payment_method"
    refused(ada.http.patch(path, json={}), 422, "request.invalid")
    refused(ada.http.patch(path, json={"gift_wrap": True}), 422, "request.invalid")
    key = keyed()
    body = {"lines": swap, "payment_method": CARD}
    assert answered(ada.http.patch(path, json=body, headers=key), 202)["id"] == order["id"]
    changed = amended(ada, order["id"])
    assert [line["sku"] for line in changed["lines"]] == [large]
    assert changed["totals"]["total"]["amount"] == order["totals"]["total"]["amount"] + 1000
    assert answered(ada.http.patch(path, json=body, headers=key), 202)["totals"] == changed["totals"]
    refused(ada.http.patch(path, json={"payment_method": CARD}, headers=key), 422, "orders.key_reused")
    assert (desk.stock(small), desk.stock(large)) == ((5, 0, 0), (4, 0, 1))


def test_a_return_is_asked_for_decided_on_and_refunded(ada: Customer, desk: Desk) -> None:
    sku = desk.sell(3)
    order = arrive(desk, ada, delivered_to(ada, sku))
    path = f"/v1/orders/{order['id']}/returns"
    lines = [{"sku": sku, "quantity": 1, "reason": "too small"}]
    accepted = ada.http.post(path, json={"lines": lines}, headers=keyed())
    begun = answered(accepted, 202)
    assert (begun.keys(), begun["status"]) == (RETURN, "waiting")
    assert accepted.headers["location"] == f"{path}/{begun['id']}"
    problem = refused(ada.http.post(path, json={"lines": lines}), 409, "orders.in_progress")
    assert problem["details"]["amendment_id"] == begun["id"]
    desk_path = f"/v1/returns/{begun['id']}/lines"
    yes = {"decisions": [{"sku": sku, "accept": True, "restock": True, "note": "as new"}]}
    refused(ada.http.post(desk_path, json=yes), 403, "auth.forbidden")
    refused(desk.http.post(desk_path, json={"decisions": []}), 422, "request.invalid")
    refused(desk.http.post("/v1/returns/none/lines", json=yes), 404, "orders.return_not_found")
    decided = answered(desk.http.post(desk_path, json=yes), 200)
    assert decided["refund"] == order["totals"]["total"]  # all of it came back, so its shipping too
    ended = when(ada, order["id"], status="returned")
    assert ended["payment"]["refunded"] == order["totals"]["total"]
    assert answered(desk.http.post(desk_path, json=yes), 200)["status"] == "settled"
    no = {"decisions": [{"sku": sku, "accept": False}]}
    refused(desk.http.post(desk_path, json=no), 409, "orders.already_decided")
    assert [each["id"] for each in ada.call("GET", path)] == [begun["id"]]
    assert ada.call("GET", f"{path}/{begun['id']}")["lines"][0]["note"] == "as new"
    assert desk.stock(sku) == (3, 0, 0)


def test_an_exchange_sends_the_new_variant_and_takes_the_old_one_back(
    ada: Customer, desk: Desk, lamps: tuple[str, str]
) -> None:
    small, large = lamps
    order = arrive(desk, ada, delivered_to(ada, small))
    path = f"/v1/orders/{order['id']}/exchanges"
    other = [{"sku": small, "new_sku": desk.sell(1), "quantity": 1}]
    refused(ada.http.post(path, json={"lines": other, "payment_method": CARD}), 422, "orders.not_a_variant")
    body = {"lines": [{"sku": small, "new_sku": large, "quantity": 1}], "payment_method": CARD}
    accepted = ada.http.post(path, json=body, headers=keyed())
    begun = answered(accepted, 202, "id", "status", "lines", "difference")
    assert (begun["difference"]["amount"], accepted.headers["location"]) == (1000, f"{path}/{begun['id']}")
    amended(ada, order["id"], "waiting")
    assert ada.call("GET", f"{path}/{begun['id']}")["tracking"]
    yes = {"decisions": [{"sku": small, "accept": True, "restock": True}]}
    answered(desk.http.post(f"/v1/returns/{begun['id']}/lines", json=yes), 200)
    amended(ada, order["id"])
    assert (desk.stock(small), desk.stock(large)) == ((5, 0, 0), (4, 0, 1))


def test_anothers_order_is_not_found_whatever_is_asked_of_it(shop: System, ada: Customer, desk: Desk) -> None:
    order = delivered_to(ada, desk.sell(1))
    path = f"/v1/orders/{order['id']}"
    with Customer(shop.url) as eve:
        lines = [{"sku": order["lines"][0]["sku"], "quantity": 1, "reason": "mine"}]
        swap = [{"sku": order["lines"][0]["sku"], "new_sku": "X", "quantity": 1}]
        for answer in (
            eve.http.post(f"{path}/cancel", json={"reason": "mine"}),
            eve.http.patch(path, json={"payment_method": CARD}),
            eve.http.post(f"{path}/returns", json={"lines": lines}),
            eve.http.post(f"{path}/exchanges", json={"lines": swap}),
            eve.http.get(f"{path}/returns"),
            eve.http.get(f"{path}/returns/x"),
            eve.http.get(f"{path}/exchanges"),
            eve.http.get(f"{path}/exchanges/x"),
        ):
            refused(answer, 404, "orders.not_found")
    assert ada.call("GET", path)["amendments"] == []
