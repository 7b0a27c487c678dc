"""What staff and operators are promised of risk over HTTP, on the real processes."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.processes import wait_until
from tests.e2e.shopping import ADDRESS, PASSWORD, Customer, Desk
from tests.e2e.system import System
from tests.e2e.test_http_rows import answered, refused

CARD = {"type": "card", "token": "tok_visa"}
RULES = {
    "note": "For a test.",
    "rules": [{"name": "much", "condition": "amount > 1", "score": 40, "text": "More than nothing."}],
}


@pytest.fixture(scope="module")
def operator(shop: System) -> Iterator[Desk]:
    with Desk(shop.url) as desk:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        yield desk


@pytest.fixture(scope="module")
def lamp(operator: Desk) -> str:
    """A sku with plenty of stock, at 19.99."""
    return operator.sell(100_000)


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


@pytest.fixture
def sam(shop: System, operator: Desk) -> Iterator[Customer]:
    """One of staff, who is no operator."""
    with Customer(shop.url) as customer:
        known = customer.call("GET", "/v1/me")["id"]
        operator.call("PATCH", f"/v1/users/{known}", json={"roles": ["customer", "staff"]})
        customer.log_in(customer.email, PASSWORD)
        yield customer


def in_review(customer: Customer, sam: Customer, sku: str) -> tuple[Any, Any]:
    """An order that waits for staff, and its review."""
    customer.fill(sku, 150)
    body = {"shipping_address": ADDRESS, "payment_method": CARD}
    order = customer.call("POST", "/v1/orders", json=body, headers={"Idempotency-Key": secrets.token_hex(8)})
    found: list[Any] = []

    def queued() -> bool:
        page = answered(sam.http.get("/v1/risk/reviews?state=open&limit=100"), 200, "items", "next_cursor")
        found[:] = [each for each in page["items"] if each["subject_id"] == order["id"]]
        return bool(found)

    assert wait_until(queued, 30)
    assert wait_until(lambda: customer.call("GET", f"/v1/orders/{order['id']}")["review"], 30)
    return customer.call("GET", f"/v1/orders/{order['id']}"), found[0]


@pytest.mark.parametrize(
    ("word", "status", "code"), [("approve", "confirmed", None), ("refuse", "rejected", "orders.review_refused")]
)
def test_an_order_in_review_waits_for_staff_and_ends_as_they_say(
    ada: Customer, sam: Customer, lamp: str, word: str, status: str, code: str | None
) -> None:
    order, review = in_review(ada, sam, lamp)
    assert (order["status"], order["payment"]["status"], review["state"], review["needed"]) == (
        "pending",
        "none",
        "open",
        1,
    )
    path, why = f"/v1/risk/reviews/{review['id']}", {"reason": "I looked at it."}
    refused(sam.http.post(f"{path}/{word}", json=why), 409, "risk.not_claimed")
    assert answered(sam.http.post(f"{path}/claim"), 200, "claimed_until")["claimed_by"]
    answered(sam.http.post(f"{path}/{word}", json=why), 200, "decided_at")
    ended = ada.end_of(order["id"])
    assert (ended["status"], ended["reason_code"], ended["review"]) == (status, code, True)
    refused(sam.http.post(f"{path}/claim"), 409, "risk.review_closed")


def test_a_decision_is_shown_with_its_inputs_and_replayed(ada: Customer, sam: Customer, lamp: str) -> None:
    order = ada.end_of(ada.order(lamp))
    (kept,) = answered(sam.http.get(f"/v1/risk/decisions?subject={order['id']}"), 200)
    assert {"screening", "subject", "inputs", "shadows", "at"} == kept.keys()
    path = f"/v1/risk/decisions/{kept['screening']['id']}"
    assert answered(sam.http.get(path), 200) == kept
    assert kept["inputs"]["amount"] == order["totals"]["total"]["amount"]
    assert answered(sam.http.post(f"{path}/replay"), 200) == kept["screening"]
    refused(sam.http.get("/v1/risk/decisions/none"), 404, "risk.not_found")
    refused(sam.http.get("/v1/risk/decisions"), 422, "request.invalid")


def test_rules_are_drafted_tried_and_put_into_shadow_and_away(operator: Desk) -> None:
    live = answered(operator.http.get("/v1/risk/rules"), 200, "version", "state", "content", "versions")
    assert live["state"] == "live"
    tried = answered(operator.http.post("/v1/risk/rules/check", json=RULES), 200, "compared", "changed", "examples")
    assert tried["changed"] <= tried["compared"] <= 100
    made = operator.http.post("/v1/risk/rules", json=RULES)
    version = answered(made, 201, "version")["version"]
    path = f"/v1/risk/rules/{version}"
    assert (made.headers["location"], answered(operator.http.get(path), 200)["state"]) == (path, "draft")
    refused(operator.http.post(f"{path}/live"), 409, "risk.rules_state")
    assert answered(operator.http.post(f"{path}/shadow"), 200)["state"] == "shadow"
    assert answered(operator.http.post(f"{path}/retire"), 200)["state"] == "retired"
    assert answered(operator.http.get("/v1/risk/rules"), 200)["version"] == live["version"]
    for unknown in ("99999", "0", "x", "9" * 20):
        refused(operator.http.get(f"/v1/risk/rules/{unknown}"), 404, "risk.no_such_rules")


def test_a_rule_that_does_not_compile_is_named(operator: Desk) -> None:
    wrong = {"note": "For a test.", "rules": [{"name": "mine", "condition": "weather > 1", "text": "Never."}]}
    for path in ("/v1/risk/rules", "/v1/risk/rules/check"):
        problem = refused(operator.http.post(path, json=wrong), 422, "risk.bad_rule")
        assert "mine" in problem["detail"]


def test_what_is_put_on_the_deny_list_is_refused_until_it_is_taken_off(
    operator: Desk, ada: Customer, lamp: str
) -> None:
    entry = {"kind": "email", "value": ada.email, "reason": "For a test."}
    answered(operator.http.post("/v1/risk/denied", json=entry), 201, "kind", "value", "reason", "author", "at")
    order = ada.end_of(ada.order(lamp))
    assert (order["status"], order["reason_code"]) == ("rejected", "risk.refused")
    off = operator.http.delete("/v1/risk/denied", params={"kind": "email", "value": ada.email})
    assert off.status_code == 204
    assert ada.email not in [each["value"] for each in answered(operator.http.get("/v1/risk/denied"), 200)]
    assert ada.end_of(ada.order(lamp))["status"] == "confirmed"
    again = operator.http.delete("/v1/risk/denied", params={"kind": "email", "value": ada.email})
    refused(again, 404, "risk.not_denied")


def test_customers_see_nothing_of_it_and_staff_no_rules(ada: Customer, sam: Customer) -> None:
    for path in ("/v1/risk/rules", "/v1/risk/denied", "/v1/risk/reviews", "/v1/risk/decisions?subject=x"):
        refused(ada.http.get(path), 403, "auth.forbidden")
    for path in ("/v1/risk/rules", "/v1/risk/rules/1", "/v1/risk/denied"):
        refused(sam.http.get(path), 403, "auth.forbidden")
    refused(sam.http.get("/v1/risk/reviews?cursor=tampered"), 400, "risk.bad_cursor")
