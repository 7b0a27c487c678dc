"""What customers and operators are promised of transactions over HTTP, on the real processes."""

import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from scripts.processes import wait_until
from tests.e2e.shopping import Customer, Desk
from tests.e2e.system import System
from tests.e2e.test_http_rows import answered, refused

IBAN = "DE89 3704 0044 0532 0130 00"
CARD = {"type": "card", "token": "tok_visa"}


@pytest.fixture(scope="module")
def operator(shop: System) -> Iterator[Desk]:
    with Desk(shop.url) as desk:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        yield desk


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


@pytest.fixture
def eve(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


def opened(customer: Customer) -> str:
    body = {"currency": "EUR", "name": "savings"}
    account_id: str = answered(customer.http.post("/v1/accounts", json=body), 201, "id")["id"]
    return account_id


def euro(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def begun(customer: Customer, kind: str, key: str | None = None, **asked: Any) -> httpx.Response:
    """The answer to what is begun, once it has ended."""
    headers = {"Idempotency-Key": key or secrets.token_hex(8), "Prefer": "wait=20"}
    return customer.http.post(f"/v1/{kind}", json=asked, headers=headers)


def deposited(customer: Customer, operator: Desk, account_id: str, amount: int) -> Any:
    """A deposit that is completed. All have the same card here, so risk may want staff to look at it: they approve."""
    asked = dict(account_id=account_id, amount=euro(amount), payment_method=CARD)
    key = {"Idempotency-Key": secrets.token_hex(8)}
    answer = customer.http.post("/v1/deposits", json=asked, headers=key)
    transaction = answered(answer, 202, "id", "timeline")
    path = f"/v1/transactions/{transaction['id']}"
    assert answer.headers["location"] == path
    assert wait_until(lambda: customer.call("GET", path)["status"] != "pending", 30)
    if customer.call("GET", path)["status"] == "in_review":
        reviews = operator.call("GET", "/v1/risk/reviews?limit=100")["items"]
        (review,) = [each["id"] for each in reviews if each["subject_id"] == transaction["id"]]
        operator.call("POST", f"/v1/risk/reviews/{review}/claim")
        operator.call("POST", f"/v1/risk/reviews/{review}/approve", json={"reason": "a test's card"})
    assert wait_until(lambda: customer.call("GET", path)["status"] == "completed", 30)
    return customer.call("GET", path)


def available(customer: Customer, account_id: str) -> int:
    amount: int = customer.call("GET", f"/v1/accounts/{account_id}")["balance"]["available"]["amount"]
    return amount


def test_money_comes_from_a_card_moves_and_is_sent_to_a_bank(ada: Customer, eve: Customer, operator: Desk) -> None:
    mine, hers = opened(ada), opened(eve)
    deposit = deposited(ada, operator, mine, 9_000)
    key = secrets.token_hex(8)
    moving = dict(from_account=mine, to_account=hers, amount=euro(2_000), reference="rent")
    moved = answered(begun(ada, "transfers", key, **moving), 201)
    assert answered(begun(ada, "transfers", key, **moving), 201)["id"] == moved["id"]
    assert (available(ada, mine), available(eve, hers)) == (7_000, 2_000)
    assert answered(eve.http.get(f"/v1/transactions/{moved['id']}"), 200)["status"] == "completed"
    refused(eve.http.get(f"/v1/transactions/{deposit['id']}"), 404, "transactions.not_found")
    sent = answered(begun(ada, "withdrawals", account_id=mine, amount=euro(1_000), iban=IBAN), 201)
    assert (sent["status"], sent["iban"], sent["fee"]["amount"]) == ("completed", IBAN.replace(" ", ""), 50)
    assert available(ada, mine) == 5_950
    found = answered(ada.http.get("/v1/transactions?limit=2"), 200)
    assert [each["id"] for each in found["items"]] == [sent["id"], moved["id"]]
    assert wait_until(lambda: operator.call("GET", "/v1/ledger/trial-balance")["holds"], 10)


def test_what_cannot_be_is_refused_or_rejected_and_nothing_moves(ada: Customer, eve: Customer, operator: Desk) -> None:
    mine, hers = opened(ada), opened(eve)
    card = dict(account_id=mine, amount=euro(500), payment_method=CARD)
    deposited(ada, operator, mine, 500)
    refused(ada.http.post("/v1/deposits", json=card), 400, "request.missing_key")
    refused(begun(eve, "deposits", **card), 404, "accounts.not_found")
    refused(
        begun(ada, "withdrawals", account_id=mine, amount=euro(100), iban="DE00370400440532013000"),
        422,
        "transactions.bad_iban",
    )
    same = dict(from_account=mine, to_account=mine, amount=euro(1))
    refused(begun(ada, "transfers", **same), 422, "transactions.same_account")
    yen = {"amount": 100, "currency": "JPY"}
    refused(begun(ada, "transfers", **same | {"to_account": hers, "amount": yen}), 422, "accounts.currency_mismatch")
    too_much = answered(begun(ada, "transfers", from_account=mine, to_account=hers, amount=euro(501)), 201)
    assert (too_much["status"], too_much["reason_code"]) == ("rejected", "accounts.insufficient_funds")
    assert (available(ada, mine), available(eve, hers)) == (500, 0)


def test_an_operator_reverses_in_part_and_a_customer_does_not(ada: Customer, operator: Desk) -> None:
    mine = opened(ada)
    deposit = deposited(ada, operator, mine, 900)
    path, asked = f"/v1/transactions/{deposit['id']}/reversal", {"reason": "by mistake", "amount": euro(400)}
    refused(ada.http.post(path, json=asked), 403, "auth.forbidden")
    done = answered(operator.http.post(path, json=asked, headers={"Prefer": "wait=20"}), 201)
    assert (done["kind"], done["status"], done["reverses"]) == ("reversal", "completed", deposit["id"])
    refused(operator.http.post(path, json=asked | {"amount": euro(501)}), 409, "transactions.reversal_exceeds_rest")
    assert available(ada, mine) == 500
