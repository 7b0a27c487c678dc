"""What clients are promised over HTTP, row by row: statuses, shapes, headers and codes, on the real processes."""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.hooks import signature
from scripts.plan import SERVICES
from scripts.processes import ROOT, wait_until
from tests.e2e.shopping import ADDRESS, PASSWORD, Customer, Desk, Person
from tests.e2e.system import System

CARD = {"type": "card", "token": "tok_visa"}
NOWHERE = {**ADDRESS, "country": "XX"}
PROFILE = {"id", "email", "name", "roles", "addresses", "payment_methods", "gift_cards"}
PRODUCT = {"id", "name", "description", "category", "variants"}
STOCK = {"sku", "received", "available", "reserved", "sold"}
LINE = {"sku", "name", "options", "quantity", "unit_price", "line_total", "available"}
ORDER = {"id", "status", "lines", "totals", "payment", "shipment", "timeline", "created_at"}
ORDER_LINE = {"sku", "name", "options", "quantity", "unit_price", "line_total", "tax"}
MORE_OF_A_LINE = {"product_id", "tax_class", "returned"}
ENTRY = {"at", "step", "outcome", "attempt", "ms"}


@pytest.fixture(scope="module")
def staff(shop: System) -> Iterator[Desk]:
    """The operator, logged in once for all rows."""
    with Desk(shop.url) as desk:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        yield desk


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


@pytest.fixture
def guest(shop: System) -> Iterator[Person]:
    """Somebody without an account, but with a cart."""
    with Person(shop.url) as person:
        person.http.headers["Cart-Token"] = person.call("POST", "/v1/carts")["cart_token"]
        yield person


@pytest.fixture(scope="module")
def lamp(staff: Desk) -> str:
    """A sku with plenty of stock, at 19.99."""
    return staff.sell(100_000)


def refused(answer: httpx.Response, status: int, code: str) -> Any:
    """The problem document, which has to be one."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert {"type", "title", "status", "detail", "code", "trace_id"} <= problem.keys()
    assert (problem["status"], problem["code"]) == (status, code)
    return problem


def answered(answer: httpx.Response, status: int, *members: str) -> Any:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert [name for name in members if name not in body] == []
    return body


def place(customer: Person, key: str | None = None, **more: Any) -> httpx.Response:
    body = {"shipping_address": ADDRESS, "payment_method": CARD} | more.pop("body", {})
    headers = {"Idempotency-Key": key or secrets.token_hex(8)} | more.pop("headers", {})
    return customer.http.post("/v1/orders", json=body, headers=headers, **more)


def delivered_to(customer: Customer, sku: str) -> Any:
    """An order of one unit that was confirmed."""
    customer.fill(sku)
    order = answered(place(customer, headers={"Prefer": "wait=10"}), 201)
    assert order["status"] == "confirmed"
    return order


# --- users


def test_sign_up_and_a_taken_address(shop: System) -> None:
    with Person(shop.url) as nobody:
        body = {"email": f"{secrets.token_hex(8)}@rialto.example", "password": PASSWORD, "name": "Ada"}
        user = answered(nobody.http.post("/v1/users", json=body), 201)
        assert user == {"id": user["id"], "email": body["email"], "name": "Ada", "roles": ["customer"]}
        refused(nobody.http.post("/v1/users", json={**body, "email": body["email"].upper()}), 409, "users.email_taken")


def test_log_in_refresh_and_log_out(shop: System, ada: Customer) -> None:
    log_in = {"email": ada.email, "password": PASSWORD}
    first = answered(ada.http.post("/v1/sessions", json=log_in), 201)
    assert first.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (first["token_type"], first["expires_in"]) == ("Bearer", 900)
    second = answered(ada.http.post("/v1/sessions/refresh", json={"refresh_token": first["refresh_token"]}), 201)
    assert second.keys() == first.keys()
    assert second["refresh_token"] != first["refresh_token"]
    again = ada.http.post("/v1/sessions/refresh", json={"refresh_token": first["refresh_token"]})
    refused(again, 401, "users.bad_refresh_token")  # used twice: its family is dead
    family = ada.http.post("/v1/sessions/refresh", json={"refresh_token": second["refresh_token"]})
    refused(family, 401, "users.bad_refresh_token")
    third = answered(ada.http.post("/v1/sessions", json=log_in), 201)
    bearer = {"Authorization": f"Bearer {third['access_token']}"}
    gone = ada.http.delete("/v1/sessions/current", headers=bearer)
    assert (gone.status_code, gone.content) == (204, b"")
    dead = ada.http.post("/v1/sessions/refresh", json={"refresh_token": third["refresh_token"]})
    refused(dead, 401, "users.bad_refresh_token")


def test_an_unknown_address_answers_as_a_wrong_password_does(ada: Customer) -> None:
    wrong = ada.http.post("/v1/sessions", json={"email": ada.email, "password": "not-the-password"})
    unknown = ada.http.post("/v1/sessions", json={"email": f"not-{ada.email}", "password": "not-the-password"})
    one, other = (refused(answer, 401, "users.bad_credentials") for answer in (wrong, unknown))
    assert {**one, "trace_id": ""} == {**other, "trace_id": ""}


def test_an_account_is_throttled_after_failures_and_says_for_how_long(ada: Customer) -> None:
    body = {"email": ada.email, "password": "not-the-password"}
    answers = [ada.http.post("/v1/sessions", json=body) for _ in range(6)]
    refused(answers[4], 401, "users.bad_credentials")
    refused(answers[5], 429, "users.throttled")
    assert 1 <= int(answers[5].headers["retry-after"]) <= 60


def test_a_profile_has_addresses_by_name_and_payment_methods(ada: Customer) -> None:
    me = answered(ada.http.get("/v1/me"), 200)
    assert me.keys() == PROFILE
    assert (me["email"], me["addresses"], me["payment_methods"], me["gift_cards"]) == (ada.email, {}, [], [])
    assert answered(ada.http.patch("/v1/me", json={"name": "Ada L."}), 200) == {**me, "name": "Ada L."}
    put = answered(ada.http.put("/v1/me/addresses/home", json=ADDRESS), 200)
    assert put["addresses"] == {"home": {**ADDRESS, "line2": None}}
    card = {"type": "card", "token": "tok_visa", "brand": "Visa", "last4": "4242"}
    (method,) = answered(ada.http.post("/v1/me/payment-methods", json=card), 201, *PROFILE)["payment_methods"]
    assert method == {**card, "id": method["id"]}
    assert answered(ada.http.delete("/v1/me/addresses/home"), 200)["addresses"] == {}
    assert answered(ada.http.delete(f"/v1/me/payment-methods/{method['id']}"), 200)["payment_methods"] == []
    assert answered(ada.http.get("/v1/me"), 200) == {**me, "name": "Ada L."}


def test_staff_issue_a_gift_card_once_and_its_owner_sees_and_spends_it(
    shop: System, staff: Desk, ada: Customer, lamp: str
) -> None:
    me = ada.call("GET", "/v1/me")
    asked = {"customer_id": me["id"], "amount": {"amount": 700, "currency": "EUR"}}
    refused(ada.http.post("/v1/gift-cards", json=asked), 403, "auth.forbidden")
    key = {"Idempotency-Key": secrets.token_hex(8)}
    card = answered(staff.http.post("/v1/gift-cards", json=asked, headers=key), 201)
    assert answered(staff.http.post("/v1/gift-cards", json=asked, headers=key), 201) == card
    assert card["balance"] == asked["amount"]
    assert ada.call("GET", "/v1/me")["gift_cards"] == [card]
    bad = {**asked, "amount": {**asked["amount"], "cents": 1}}
    problem = refused(staff.http.post("/v1/gift-cards", json=bad), 422, "request.invalid")
    assert [error["field"] for error in problem["errors"]] == ["amount.cents"]
    ada.fill(lamp)
    twice = {"type": "split", "parts": [CARD, CARD | {"amount": asked["amount"]}]}
    problem = refused(place(ada, body={"payment_method": twice}), 422, "payments.one_card")
    assert [error["field"] for error in problem["errors"]] == ["payment_method.parts[1].type"]
    halves = {"type": "split", "parts": [{"type": "gift_card", "id": card["id"], "amount": asked["amount"]}, CARD]}
    order = answered(place(ada, body={"payment_method": halves}, headers={"Prefer": "wait=10"}), 201)
    assert (order["status"], order["payment"]["method"]) == ("confirmed", "split")
    (left,) = ada.call("GET", "/v1/me")["gift_cards"]
    assert (left["balance"]["amount"], left["held"]["amount"]) == (0, 0)


def test_roles_are_an_operators_to_give(shop: System, staff: Desk, ada: Customer) -> None:
    me = ada.call("GET", "/v1/me")
    body = {"roles": ["customer", "staff"]}
    refused(ada.http.patch(f"/v1/users/{me['id']}", json=body), 403, "auth.forbidden")
    user = answered(staff.http.patch(f"/v1/users/{me['id']}", json=body), 200)
    assert user == {"id": me["id"], "email": me["email"], "name": me["name"], "roles": ["customer", "staff"]}
    refused(staff.http.patch("/v1/users/nobody", json=body), 404, "users.not_found")
    ada.log_in(ada.email, PASSWORD)  # the role stands in the next token
    assert answered(ada.http.get("/v1/stock/nothing-of-it"), 404)["code"] == "inventory.unknown_sku"
    refused(ada.http.get("/v1/audit"), 403, "auth.forbidden")


# --- who may

ACTIONS = ("retry", "pause", "resume", "skip-step", "force-compensate", "resolve")
GATES = {
    "customer": [
        ("DELETE", "/v1/sessions/current"),
        ("GET", "/v1/me"),
        ("PATCH", "/v1/me"),
        ("PUT", "/v1/me/addresses/home"),
        ("DELETE", "/v1/me/addresses/home"),
        ("POST", "/v1/me/payment-methods"),
        ("DELETE", "/v1/me/payment-methods/x"),
        ("GET", "/v1/cart"),
        ("PUT", "/v1/cart/items/x"),
        ("DELETE", "/v1/cart/items/x"),
        ("POST", "/v1/cart/quote"),
        ("POST", "/v1/orders"),
        ("GET", "/v1/orders"),
        ("GET", "/v1/orders/x"),
    ],
    "staff": [
        ("POST", "/v1/products"),
        ("PATCH", "/v1/products/x"),
        ("GET", "/v1/stock/x"),
        ("POST", "/v1/stock/x/adjustments"),
        ("POST", "/v1/shipments/x/advance"),
    ],
    "operator": [
        ("PATCH", "/v1/users/x"),
        ("GET", "/v1/sagas"),
        ("GET", "/v1/sagas/x"),
        *(("POST", f"/v1/sagas/x/{action}") for action in ACTIONS),
        ("GET", "/v1/dead-letters"),
        ("POST", "/v1/dead-letters/orders/1/replay"),
        ("POST", "/v1/dead-letters/orders/1/drop"),
        ("GET", "/v1/audit"),
        ("POST", "/v1/audit/repair"),
    ],
}


@pytest.mark.parametrize("role", GATES)
def test_no_token_is_401_and_too_small_a_role_403(shop: System, staff: Desk, ada: Customer, role: str) -> None:
    if role == "operator":
        staff.call("PATCH", f"/v1/users/{ada.call('GET', '/v1/me')['id']}", json={"roles": ["customer", "staff"]})
        ada.log_in(ada.email, PASSWORD)
    with httpx.Client(base_url=shop.url) as nobody:
        for method, path in GATES[role]:
            for token, code in ((None, "auth.unauthenticated"), ("Bearer x.y.z", "auth.invalid_token")):
                answer = nobody.request(method, path, headers={"Authorization": token} if token else {})
                refused(answer, 401, code)
                assert answer.headers["www-authenticate"].startswith("Bearer")
            if role != "customer":
                refused(ada.http.request(method, path), 403, "auth.forbidden")


# --- catalogue and stock


def test_the_catalogue_is_paged_to_its_end_without_a_repeat(shop: System, staff: Desk) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(100):
        params = {"category": "home", "limit": "7", "sort": "price"} | ({"cursor": cursor} if cursor else {})
        page = answered(staff.http.get("/v1/products", params=params), 200)
        assert page.keys() == {"items", "next_cursor"}
        assert all(product.keys() >= PRODUCT for product in page["items"])
        assert all(each.keys() == {"sku", "options", "price", "available"} for each in page["items"][0]["variants"])
        seen += [product["id"] for product in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert cursor is None
    assert len(seen) == len(set(seen)) >= 30


def test_the_catalogue_is_searched_filtered_and_sorted(staff: Desk) -> None:
    found = staff.call(
        "GET", "/v1/products", params={"query": "lamp", "min_price": 1000, "max_price": 9000, "sort": "price"}
    )
    prices = [min(each["price"]["amount"] for each in product["variants"]) for product in found["items"]]
    assert prices == sorted(prices) != []
    assert all(any(1000 <= v["price"]["amount"] <= 9000 for v in product["variants"]) for product in found["items"])
    assert {product["category"] for product in staff.call("GET", "/v1/products?category=home")["items"]} == {"home"}
    in_stock = staff.call("GET", "/v1/products?in_stock=true")["items"]
    assert all(any(each["available"] for each in product["variants"]) for product in in_stock)
    assert len(staff.call("GET", "/v1/categories")) >= 8


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("cursor=tampered", 400, "products.bad_cursor"),
        ("limit=0", 422, "request.invalid"),
        ("limit=101", 422, "request.invalid"),
        ("limit=ten", 422, "request.invalid"),
        ("min_price=-1", 422, "request.invalid"),
        ("in_stock=maybe", 422, "request.invalid"),
        ("sort=best", 422, "request.invalid"),
        ("colour=red", 422, "request.invalid"),
        ("limit=1&limit=2", 422, "request.invalid"),
    ],
)
def test_a_bad_query_is_refused_by_its_name(shop: System, query: str, status: int, code: str) -> None:
    problem = refused(httpx.get(f"{shop.url}/v1/products?{query}"), status, code)
    assert status == 400 or [error["field"] for error in problem["errors"]] == [query.partition("=")[0]]


def test_staff_adds_changes_and_retires_a_product(shop: System, staff: Desk) -> None:
    sku = f"ROW-{secrets.token_hex(4)}"
    price = {"amount": 500, "currency": "EUR"}
    body = {
        "name": f"Row {sku}",
        "description": "A test.",
        "category": "home",
        "variants": [{"sku": sku, "options": {"size": "S"}, "price": price}],
    }
    made = staff.http.post("/v1/products", json=body)
    product = answered(made, 201, *PRODUCT)
    assert made.headers["location"] == f"/v1/products/{product['id']}"
    assert product["variants"] == [{**body["variants"][0], "available": False}]
    assert answered(httpx.get(f"{shop.url}/v1/products/{product['id']}"), 200) == product
    refused(staff.http.post("/v1/products", json=body), 409, "products.sku_taken")
    dearer = {"variants": [{"sku": sku, "price": {"amount": 700, "currency": "EUR"}}]}
    changed = answered(staff.http.patch(f"/v1/products/{product['id']}", json=dearer), 200)
    assert changed["variants"][0]["price"]["amount"] == 700
    assert [each["id"] for each in staff.call("GET", f"/v1/products?query={sku}")["items"]] == [product["id"]]
    answered(staff.http.patch(f"/v1/products/{product['id']}", json={"retired": True}), 200)
    assert staff.call("GET", f"/v1/products?query={sku}")["items"] == []
    refused(staff.http.patch("/v1/products/none", json={"retired": True}), 404, "products.not_found")
    refused(httpx.get(f"{shop.url}/v1/products/none"), 404, "products.not_found")
    dollars = {"variants": [{"sku": sku, "price": {"amount": 700, "currency": "USD"}}]}
    refused(staff.http.patch(f"/v1/products/{product['id']}", json=dollars), 422, "products.wrong_currency")


def test_stock_is_counted_and_adjusted_with_a_reason(staff: Desk) -> None:
    sku = staff.sell(5)
    path = f"/v1/stock/{sku}/adjustments"
    counts = {"sku": sku, "received": 5, "available": 5, "reserved": 0, "sold": 0}
    assert answered(staff.http.get(f"/v1/stock/{sku}"), 200) == counts
    less = answered(staff.http.post(path, json={"quantity": -2, "reason": "broken"}), 200)
    assert less == {**counts, "received": 3, "available": 3}
    refused(staff.http.post(path, json={"quantity": -4, "reason": "broken"}), 409, "inventory.insufficient")
    refused(staff.http.post(path, json={"quantity": 1}), 422, "request.invalid")
    refused(staff.http.get("/v1/stock/nothing"), 404, "inventory.unknown_sku")
    assert staff.call("GET", f"/v1/stock/{sku}") == less


# --- cart


def test_a_guest_fills_a_cart_and_takes_out_again(guest: Person, staff: Desk, lamp: str) -> None:
    assert answered(guest.http.get("/v1/cart"), 200) == {
        "lines": [],
        "total": {"amount": 0, "currency": "EUR"},
        "version": 0,
    }
    cart = answered(guest.http.put(f"/v1/cart/items/{lamp}", json={"quantity": 3}), 200, "lines", "total", "version")
    (line,) = cart["lines"]
    assert line.keys() == LINE
    assert (line["sku"], line["quantity"], line["unit_price"]["amount"]) == (lamp, 3, 1999)
    assert line["line_total"] == cart["total"] == {"amount": 3 * 1999, "currency": "EUR"}
    assert answered(guest.http.put(f"/v1/cart/items/{lamp}", json={"quantity": 0}), 200)["lines"] == []
    guest.call("PUT", f"/v1/cart/items/{lamp}", json={"quantity": 1})
    emptied = answered(guest.http.delete(f"/v1/cart/items/{lamp}"), 200)
    assert (emptied["lines"], emptied["version"]) == ([], 4)
    refused(guest.http.put("/v1/cart/items/NOTHING", json={"quantity": 1}), 404, "products.not_found")
    refused(guest.http.get("/v1/cart", headers={"Cart-Token": "a-guess"}), 404, "carts.not_found")


def test_a_guests_cart_becomes_the_customers_at_log_in(guest: Person, ada: Customer, lamp: str) -> None:
    ada.fill(lamp, 2)
    guest.call("PUT", f"/v1/cart/items/{lamp}", json={"quantity": 3})
    token = guest.http.headers["Cart-Token"]
    body = {"email": ada.email, "password": PASSWORD, "cart_token": token}
    assert ada.http.post("/v1/sessions", json=body).status_code == 201
    assert [(line["sku"], line["quantity"]) for line in ada.call("GET", "/v1/cart")["lines"]] == [(lamp, 5)]
    refused(guest.http.get("/v1/cart"), 404, "carts.not_found")
    assert ada.http.post("/v1/sessions", json=body).status_code == 201  # the token means nothing any more
    assert ada.call("GET", "/v1/cart")["lines"][0]["quantity"] == 5


@pytest.mark.parametrize("quantity", [-1, 1000, 2**53, 1.5, "1", None, True])
def test_a_quantity_out_of_its_limits_is_refused_and_nothing_changes(guest: Person, lamp: str, quantity: Any) -> None:
    guest.call("PUT", f"/v1/cart/items/{lamp}", json={"quantity": 999})
    before = guest.call("GET", "/v1/cart")
    problem = refused(guest.http.put(f"/v1/cart/items/{lamp}", json={"quantity": quantity}), 422, "request.invalid")
    assert [error["field"] for error in problem["errors"]] == ["quantity"]
    assert guest.call("GET", "/v1/cart") == before


def test_a_quote_says_what_the_cart_costs_there(guest: Person, lamp: str) -> None:
    empty = guest.http.post("/v1/cart/quote", json={"shipping_address": ADDRESS})
    refused(empty, 409, "orders.cart_empty")
    guest.call("PUT", f"/v1/cart/items/{lamp}", json={"quantity": 2})
    quote = answered(guest.http.post("/v1/cart/quote", json={"shipping_address": ADDRESS}), 200)
    assert quote.keys() == {"items", "shipping", "tax", "total", "expires_at"}
    assert quote["items"] == {"amount": 3998, "currency": "EUR"}
    assert quote["total"]["amount"] == 3998 + quote["shipping"]["amount"]
    assert quote["tax"]["amount"] == 694  # 21 in 121 of 39.98
    assert quote["expires_at"].endswith("Z")
    refused(guest.http.post("/v1/cart/quote", json={"shipping_address": NOWHERE}), 422, "shipping.not_serviceable")


# --- orders


def test_an_order_is_accepted_and_can_be_followed_to_its_end(ada: Customer, staff: Desk) -> None:
    sku = staff.sell(3)
    ada.fill(sku, 2)
    accepted = place(ada)
    order = answered(accepted, 202, *ORDER)
    assert accepted.headers["location"] == f"/v1/orders/{order['id']}"
    assert "preference-applied" not in accepted.headers
    ended = ada.end_of(order["id"])
    assert ended["status"] == "confirmed"
    assert ended["lines"][0].keys() == ORDER_LINE | MORE_OF_A_LINE
    assert ended["totals"].keys() == {"items", "shipping", "tax", "total"}
    nothing = {"amount": 0, "currency": "EUR"}
    assert ended["payment"] == {
        "status": "captured",
        "method": "card",
        "paid": ended["totals"]["total"],
        "refunded": nothing,
        "action_url": None,
    }
    assert ended["shipment"]["status"] == "booked"
    assert ended["shipment"]["tracking"]
    assert all(entry.keys() >= ENTRY and entry["outcome"] == "ok" for entry in ended["timeline"])
    assert len(ended["timeline"]) == 8
    assert ended["created_at"].endswith("Z")
    assert staff.stock(sku) == (1, 0, 2)
    assert ada.call("GET", "/v1/cart")["lines"] == []


def test_who_prefers_to_wait_gets_the_finished_order_whatever_its_end(ada: Customer, lamp: str) -> None:
    ada.fill(lamp)
    good = place(ada, headers={"Prefer": "wait=10"})
    assert answered(good, 201)["status"] == "confirmed"
    assert good.headers["preference-applied"] == "wait=10"
    assert good.headers["location"] == f"/v1/orders/{good.json()['id']}"
    ada.fill(lamp)
    bad = answered(
        place(ada, headers={"Prefer": "wait=10"}, body={"payment_method": {"type": "card", "token": "tok_declined"}}),
        201,
    )
    assert (bad["status"], bad["payment"]["status"]) == ("rejected", "declined")
    assert bad["reason"] == "Your card was declined. Please check it, or pay with another one."
    late = place(ada, headers={"Prefer": "wait=1"}, body={"payment_method": {"type": "card", "token": "tok_slow"}})
    assert answered(late, 202)["status"] == "pending"
    assert ada.end_of(late.json()["id"])["status"] == "confirmed"


def test_a_key_acts_once_and_a_repeat_sees_the_order_as_it_is_now(ada: Customer, lamp: str) -> None:
    ada.fill(lamp)
    key = secrets.token_hex(8)
    first = place(ada, key)
    order = answered(first, 202)
    ada.end_of(order["id"])
    ada.fill(lamp)
    repeat = place(ada, f'"{key}"')  # quoted, as the draft writes it: the same key
    assert answered(repeat, 202)["id"] == order["id"]
    assert repeat.json()["status"] == "confirmed"
    assert repeat.headers["location"] == first.headers["location"]
    waited = place(ada, key, headers={"Prefer": "wait=5"})
    assert (answered(waited, 201)["id"], waited.headers["location"]) == (order["id"], first.headers["location"])
    reordered = {"payment_method": dict(reversed(CARD.items())), "shipping_address": dict(reversed(ADDRESS.items()))}
    assert answered(place(ada, key, body=reordered), 202)["id"] == order["id"]
    refused(place(ada, key, body={"shipping_address": {**ADDRESS, "line1": "2 Street"}}), 422, "orders.key_reused")
    assert len(ada.call("GET", "/v1/orders")["items"]) == 1
    assert len(ada.call("GET", "/v1/cart")["lines"]) == 1


def test_a_key_is_the_customers_own(shop: System, ada: Customer, lamp: str) -> None:
    key = secrets.token_hex(8)
    ada.fill(lamp)
    hers = answered(place(ada, key), 202)
    with Customer(shop.url) as bob:
        bob.fill(lamp)
        his = answered(place(bob, key), 202)
        assert his["id"] != hers["id"]


@pytest.mark.parametrize(
    ("key", "code"), [(None, "request.missing_key"), ("", "request.bad_key"), ("k" * 256, "request.bad_key")]
)
def test_an_order_needs_a_key(ada: Customer, lamp: str, key: str | None, code: str) -> None:
    ada.fill(lamp)
    body = {"shipping_address": ADDRESS, "payment_method": CARD}
    headers = {} if key is None else {"Idempotency-Key": key}
    refused(ada.http.post("/v1/orders", json=body, headers=headers), 400, code)
    assert ada.call("GET", "/v1/orders")["items"] == []
    assert answered(place(ada, "k" * 255), 202)["status"] == "pending"


def test_orders_that_cannot_be_placed_leave_nothing_behind(ada: Customer, staff: Desk) -> None:
    key = secrets.token_hex(8)
    refused(place(ada, key), 409, "orders.cart_empty")
    sku = staff.sell(5)
    ada.fill(sku)
    refused(place(ada, body={"shipping_address": NOWHERE}), 422, "shipping.not_serviceable")
    refused(place(ada, body={"payment_method": {"id": "not-hers"}}), 422, "orders.unknown_payment_method")
    refused(place(ada, body={"payment_method": {"type": "gold", "token": "t"}}), 422, "orders.unknown_payment_method")
    low = {"expected_total": {"amount": 1, "currency": "EUR"}}
    problem = refused(place(ada, body=low), 409, "orders.price_changed")
    total = problem["details"]["total"]
    assert total["amount"] > 1999
    assert (ada.call("GET", "/v1/orders")["items"], staff.stock(sku)) == ([], (5, 0, 0))
    product = staff.call("GET", f"/v1/products?query={sku}")["items"][0]
    cheaper = {"variants": [{"sku": sku, "price": {"amount": 1899, "currency": "EUR"}}]}
    staff.call("PATCH", f"/v1/products/{product['id']}", json=cheaper)
    order = answered(place(ada, key, body={"expected_total": total}), 202)  # a refusal used up no key
    assert order["totals"]["total"]["amount"] == total["amount"] - 100
    ada.end_of(order["id"])
    ada.fill(sku)
    staff.call("PATCH", f"/v1/products/{product['id']}", json={"retired": True})
    refused(place(ada), 409, "orders.not_sold_any_more")


def test_a_second_order_of_a_cart_is_told_of_the_first(ada: Customer, lamp: str) -> None:
    ada.fill(lamp)
    first = answered(place(ada, body={"payment_method": {"type": "card", "token": "tok_slow"}}), 202)
    second = place(ada)
    assert refused(second, 409, "orders.in_progress")["details"]["order_id"] == first["id"]
    assert int(second.headers["retry-after"]) >= 1
    assert ada.end_of(first["id"])["status"] == "confirmed"


def test_a_saved_card_pays(ada: Customer, lamp: str) -> None:
    method = ada.call("POST", "/v1/me/payment-methods", json={"type": "card", "token": "tok_visa"})["payment_methods"][
        0
    ]
    ada.fill(lamp)
    order = answered(place(ada, body={"payment_method": {"id": method["id"]}}, headers={"Prefer": "wait=10"}), 201)
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")


def test_orders_are_listed_newest_first_and_only_ones_own(shop: System, ada: Customer, lamp: str) -> None:
    made = [delivered_to(ada, lamp)["id"] for _ in range(3)]
    page = answered(ada.http.get("/v1/orders?limit=2&status=confirmed"), 200)
    assert [order["id"] for order in page["items"]] == made[:0:-1]
    rest = ada.call("GET", "/v1/orders", params={"limit": 2, "status": "confirmed", "cursor": page["next_cursor"]})
    assert ([order["id"] for order in rest["items"]], rest["next_cursor"]) == (made[:1], None)
    assert ada.call("GET", "/v1/orders?status=rejected") == {"items": [], "next_cursor": None}
    refused(ada.http.get("/v1/orders?cursor=tampered"), 400, "orders.bad_cursor")
    refused(ada.http.get("/v1/orders?status=lost"), 422, "request.invalid")
    with Customer(shop.url) as bob:
        assert bob.call("GET", "/v1/orders")["items"] == []
        hers = refused(bob.http.get(f"/v1/orders/{made[0]}"), 404, "orders.not_found")
        none = refused(bob.http.get(f"/v1/orders/{'0' * 32}"), 404, "orders.not_found")
        assert hers["detail"].replace(made[0], "") == none["detail"].replace("0" * 32, "")


# --- shipments and hooks


def hook(shop: System, company: str, body: dict[str, Any], secret: str | None = None) -> httpx.Response:
    raw = json.dumps(body).encode()
    signed = signature(secret or shop.env[f"{company.upper()}_HOOK_SECRET"], raw, int(time.time()))
    headers = {"X-Signature": signed, "Content-Type": "application/json"}
    return httpx.post(f"{shop.url}/v1/hooks/{company}", content=raw, headers=headers)


def test_staff_moves_a_parcel_to_its_end(ada: Customer, staff: Desk, lamp: str) -> None:
    order = delivered_to(ada, lamp)
    path = f"/v1/shipments/{order['shipment']['tracking']}/advance"
    for expected in ("handed_over", "in_transit", "delivered"):
        shipment = answered(staff.http.post(path), 200, "order_id", "status", "tracking", "updated_at")
        assert (shipment["order_id"], shipment["status"]) == (order["id"], expected)
    refused(staff.http.post(path), 409, "shipping.delivered")
    refused(staff.http.post("/v1/shipments/none/advance"), 404, "shipping.not_found")
    assert wait_until(lambda: ada.call("GET", f"/v1/orders/{order['id']}")["status"] == "delivered", 15)


def test_a_hook_is_believed_if_signed_taken_once_and_never_moves_a_parcel_back(
    shop: System, ada: Customer, staff: Desk, lamp: str
) -> None:
    order = delivered_to(ada, lamp)
    tracking = order["shipment"]["tracking"]
    with sqlite3.connect(shop.var / "carrier.db") as carrier:
        (key,) = carrier.execute("SELECT key FROM bookings WHERE tracking = ?", (tracking,)).fetchone()

    def news(status: str, sequence: int, event_id: str) -> dict[str, Any]:
        data = {"key": key, "tracking": tracking, "status": status, "sequence": sequence, "reference": order["id"]}
        return {"id": event_id, "type": "parcel.moved", "at": "2026-01-01T00:00:00Z", "data": data}

    def shown() -> Any:
        return ada.call("GET", f"/v1/orders/{order['id']}")["shipment"]["status"]

    late, early = secrets.token_hex(8), secrets.token_hex(8)
    refused(hook(shop, "carrier", news("delivered", 4, late), secret="a guess"), 401, "shipping.bad_signature")
    unsigned = httpx.post(f"{shop.url}/v1/hooks/carrier", json=news("delivered", 4, late))
    refused(unsigned, 401, "shipping.bad_signature")
    assert shown() == "booked"
    assert hook(shop, "carrier", news("in_transit", 3, late)).status_code == 204
    assert wait_until(lambda: shown() == "in_transit", 15)
    assert hook(shop, "carrier", news("handed_over", 2, early)).status_code == 204  # overtaken on its way
    assert hook(shop, "carrier", news("delivered", 4, late)).status_code == 204  # an id that was taken before
    assert staff.call("POST", f"/v1/shipments/{tracking}/advance")["status"] == "in_transit"  # the carrier's truth
    assert shown() == "in_transit"
    assert ada.call("GET", f"/v1/orders/{order['id']}")["status"] == "shipped"
    staff.call("POST", f"/v1/shipments/{tracking}/advance")  # the carrier comes as far, and the books agree again


def test_the_acquirers_hooks_need_its_signature(shop: System) -> None:
    body = {"id": secrets.token_hex(8), "type": "payment.unheard_of", "at": "2026-01-01T00:00:00Z", "data": {}}
    refused(hook(shop, "acquirer", body, secret="a guess"), 401, "payments.bad_signature")
    assert hook(shop, "acquirer", body).status_code == 204
    refused(hook(shop, "acquirer", {"type": "payment.captured"}), 422, "request.invalid")


# --- operators, and the gateway itself


def test_sagas_are_listed_and_shown_with_their_timelines(staff: Desk, ada: Customer, lamp: str) -> None:
    order = delivered_to(ada, lamp)
    page = answered(
        staff.http.get(f"/v1/sagas?status=completed&name=place_order&text={order['id']}"), 200, "items", "next_cursor"
    )
    (found,) = page["items"]
    assert (found["key"], page["next_cursor"], page["missing"]) == (order["id"], None, [])
    answer = staff.http.get(f"/v1/sagas/{found['id']}")
    saga = answered(answer, 200, "steps", "signals", "children", "allowed")
    assert {name: saga[name] for name in found} == found
    assert answer.headers["etag"] == f'"{saga["ver"]}"'
    assert [entry["step"] for entry in saga["timeline"]] == [entry["step"] for entry in order["timeline"]]
    assert saga["allowed"] == []
    refused(staff.http.get("/v1/sagas/none"), 404, "sagas.not_found")
    refused(staff.http.get("/v1/sagas?cursor=tampered"), 400, "sagas.bad_cursor")
    refused(staff.http.get("/v1/sagas?status=broken"), 422, "request.invalid")


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_the_version_that_was_seen(staff: Desk, ada: Customer, lamp: str, action: str) -> None:
    order = delivered_to(ada, lamp)
    (found,) = staff.call("GET", "/v1/sagas", params={"text": order["id"]})["items"]
    path, body = f"/v1/sagas/{found['id']}/{action}", {"reason": "a test of the fence", "step": "book_shipment"}
    if action not in ("skip-step", "resolve"):
        del body["step"]

    def ask(**headers: str) -> httpx.Response:
        return staff.http.post(path, json=body, headers=headers)

    refused(ask(), 428, "request.missing_version")
    refused(ask(**{"If-Match": "*"}), 412, "request.bad_version")
    refused(ask(**{"If-Match": f'W/"{found["ver"]}"'}), 412, "request.bad_version")
    refused(ask(**{"If-Match": f'"{found["ver"] - 1}"'}), 412, "sagas.stale")
    problem = refused(ask(**{"If-Match": f'"{found["ver"]}"'}), 409, "sagas.not_allowed")
    assert problem["detail"] == "It has ended: there is nothing left to decide."
    assert staff.call("GET", "/v1/sagas", params={"text": order["id"]})["items"] == [found]
    refused(staff.http.post("/v1/sagas/none/retry", json={"reason": "why not"}, headers={"If-Match": '"1"'}),
            404, "sagas.not_found")  # fmt: skip


def test_dead_letters_are_listed_and_those_that_are_not_there_refused(staff: Desk) -> None:
    page = answered(staff.http.get("/v1/dead-letters?service=notifications"), 200, "items", "next_cursor", "missing")
    assert page == {"items": [], "next_cursor": None, "missing": []}
    body = {"reason": "a test of what is not there"}
    for path in ("notifications/1/replay", "notifications/1/drop", "users/1/drop", "orders/x/replay"):
        refused(staff.http.post(f"/v1/dead-letters/{path}", json=body), 404, "dead_letters.not_found")
    refused(staff.http.get("/v1/dead-letters?cursor=tampered"), 400, "dead_letters.bad_cursor")


def test_the_books_agree(staff: Desk) -> None:
    audit = answered(staff.http.get("/v1/audit"), 200, "holds", "checks")
    assert {"name", "holds", "in_flight", "detail"} <= audit["checks"][0].keys()
    assert [check["name"] for check in audit["checks"]] == [
        "stock_identity",
        "reservations",
        "captured_minus_refunded",
        "deposits",
        "gift_cards",
        "ledger",
        "sagas",
        "acquirer_statement",
        "carrier_bookings",
    ]
    assert (audit["incidents"], audit["mended"]) == ([], [])
    repaired = answered(staff.http.post("/v1/audit/repair"), 200)
    assert (repaired["unasked"], repaired["mended"], repaired["incidents"]) == ([], [], [])
    staff.require_that_books_agree()


def test_health_readiness_and_the_document(shop: System) -> None:
    with httpx.Client(base_url=shop.url) as nobody:
        assert answered(nobody.get("/v1/health"), 200) == {"status": "ok"}
        ready = answered(nobody.get("/v1/ready"), 200)
        names = set(SERVICES) - {"registry"}
        assert ready == {"status": "ready", "services": dict.fromkeys(names, True)}
        document = answered(nobody.get("/v1/openapi.json"), 200)
        assert document["openapi"] == "3.1.0"
        committed = (ROOT / "tests/contract/snapshots/openapi.json").read_text()
        assert document == json.loads(committed)
        page = nobody.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/orders", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/v1/orders/x", "GET, HEAD, OPTIONS, PATCH"),
        ("DELETE", "/v1/products", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/v1/carts", "OPTIONS, POST"),
    ],
)
def test_another_method_is_405_and_told_what_is_allowed(shop: System, method: str, path: str, allow: str) -> None:
    answer = httpx.request(method, f"{shop.url}{path}")
    refused(answer, 405, "request.method_not_allowed")
    assert answer.headers["allow"] == allow


def test_no_such_path_is_a_problem_too(shop: System) -> None:
    refused(httpx.get(f"{shop.url}/v2/orders"), 404, "request.no_such_path")


# --- bodies that are no use

GOOD = json.dumps({"shipping_address": ADDRESS, "payment_method": CARD})


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (GOOD[:-1] + ', "payment_method": {}}', 400, "request.bad_json", None),
        (GOOD.replace('"tok_visa"', "NaN"), 400, "request.bad_json", None),
        (GOOD.replace("tok_visa", "tok\\u0000visa"), 400, "request.bad_json", None),
        (GOOD.replace("tok_visa", "\\ud800"), 400, "request.bad_json", None),
        (GOOD.replace('"tok_visa"', "[" * 40 + "]" * 40), 400, "request.bad_json", None),
        (GOOD[:-1], 400, "request.bad_json", None),
        ("", 400, "request.missing_body", None),
        ("[]", 422, "request.invalid", "body"),
        ("{}", 422, "request.invalid", "shipping_address"),
        (GOOD.replace('"tok_visa"', "7"), 422, "request.invalid", "payment_method.token"),
        (GOOD[:-1] + ', "gift": true}', 422, "request.invalid", "gift"),
        (GOOD.replace('"city"', '"town"'), 422, "request.invalid", "shipping_address.town"),
        (GOOD.replace('"NL"', '"nl"'), 422, "request.invalid", "shipping_address.country"),
        (
            GOOD[:-1] + ', "expected_total": {"amount": 1.5, "currency": "EUR"}}',
            422,
            "request.invalid",
            "expected_total.amount",
        ),
        (GOOD[:-1] + ', "role": "operator"}', 422, "request.invalid", "role"),
        (GOOD.replace("1 Street", "x" * 1_100_000), 413, "request.too_large", None),
    ],
    ids=lambda value: value[-30:] if isinstance(value, str) else None,
)
def test_a_bad_body_is_refused_by_code_and_field_and_nothing_changes(
    ada: Customer, lamp: str, body: str, status: int, code: str, field: str | None
) -> None:
    ada.fill(lamp)
    before = ada.call("GET", "/v1/cart")
    headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)}
    problem = refused(ada.http.post("/v1/orders", content=body, headers=headers), status, code)
    assert problem["detail"]
    assert [error["field"] for error in problem.get("errors", [])] == ([field] if field else [])
    assert (ada.call("GET", "/v1/orders")["items"], ada.call("GET", "/v1/cart")) == ([], before)
