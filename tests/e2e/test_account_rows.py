"""What customers and operators are promised of accounts and the ledger over HTTP, on the real processes."""

import csv
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.processes import wait_until
from tests.e2e.shopping import PASSWORD, Customer, Desk
from tests.e2e.system import System
from tests.e2e.test_http_rows import answered, refused

NO_MONEY = {"amount": 0, "currency": "EUR"}


@pytest.fixture(scope="module")
def operator(shop: System) -> Iterator[Desk]:
    with Desk(shop.url) as desk:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        yield desk


@pytest.fixture(scope="module")
def second(shop: System, operator: Desk) -> Iterator[Customer]:
    """Another operator."""
    with Customer(shop.url) as customer:
        known = customer.call("GET", "/v1/me")["id"]
        operator.call("PATCH", f"/v1/users/{known}", json={"roles": ["customer", "operator"]})
        customer.log_in(customer.email, PASSWORD)
        yield customer


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


def opened(customer: Customer, currency: str = "EUR") -> Any:
    body = {"currency": currency, "name": "savings"}
    return answered(customer.http.post("/v1/accounts", json=body), 201, "id", "balance")


def manual(amount: int, account_id: str, currency: str = "EUR") -> Any:
    postings = [
        {"account_id": f"suspense.{currency}", "amount": {"amount": amount, "currency": currency}},
        {"account_id": account_id, "amount": {"amount": -amount, "currency": currency}},
    ]
    return {"postings": postings, "kind": "manual", "memo": "=1+1", "reason": "found in the till"}


def paid_in(operator: Desk, second: Customer, amount: int, account_id: str) -> Any:
    """Money on an account, by a manual entry that two operators agreed on."""
    proposed = answered(operator.http.post("/v1/ledger/entries", json=manual(amount, account_id)), 202, "id")
    return answered(second.http.post(f"/v1/ledger/proposals/{proposed['id']}/approve"), 200, "entry_id")


def test_a_customer_opens_accounts_and_sees_their_own(ada: Customer, shop: System) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    body = {"currency": "EUR", "name": "savings"}
    first = ada.http.post("/v1/accounts", json=body, headers=key)
    account = answered(first, 201)
    assert first.headers["location"] == f"/v1/accounts/{account['id']}"
    assert account["balance"] == dict.fromkeys(("posted", "pending_in", "pending_out", "available"), NO_MONEY)
    assert (account["currency"], account["name"], account["status"]) == ("EUR", "savings", "open")
    assert answered(ada.http.post("/v1/accounts", json=body, headers=key), 201) == account
    assert answered(ada.http.get("/v1/accounts"), 200) == [account]
    assert answered(ada.http.get(f"/v1/accounts/{account['id']}"), 200) == account
    with Customer(shop.url) as eve:
        theirs = answered(eve.http.post("/v1/accounts", json=body, headers=key), 201)
        assert theirs["id"] != account["id"]  # a key of the same wording is another customer's own
        for path in ("", "/entries", "/statements/2026-11"):
            refused(eve.http.get(f"/v1/accounts/{account['id']}{path}"), 404, "accounts.not_found")
        refused(
            eve.http.post(f"/v1/accounts/{account['id']}/freeze", json={"reason": "not ours"}), 403, "auth.forbidden"
        )
    refused(ada.http.post("/v1/accounts", json={**body, "currency": "ZZZ"}), 422, "accounts.unknown_currency")
    refused(ada.http.post("/v1/accounts", json={**body, "currency": "euro"}), 422, "request.invalid")
    refused(ada.http.get("/v1/accounts/sales.EUR"), 404, "accounts.not_found")


def test_money_comes_by_an_entry_that_two_operators_agreed_on(ada: Customer, operator: Desk, second: Customer) -> None:
    account = opened(ada)
    proposed = answered(operator.http.post("/v1/ledger/entries", json=manual(5000, account["id"])), 202)
    assert (proposed["status"], ada.call("GET", f"/v1/accounts/{account['id']}")) == ("proposed", account)
    path = f"/v1/ledger/proposals/{proposed['id']}"
    refused(operator.http.post(f"{path}/approve"), 409, "accounts.same_operator")
    booked = answered(second.http.post(f"{path}/approve"), 200)
    assert booked["status"] == "booked"
    refused(second.http.post(f"{path}/decline", json={"reason": "not ours"}), 409, "accounts.decided")
    assert booked in answered(operator.http.get("/v1/ledger/proposals"), 200)
    assert ada.call("GET", f"/v1/accounts/{account['id']}")["balance"]["available"]["amount"] == 5000
    entry = answered(operator.http.get(f"/v1/ledger/entries/{booked['entry_id']}"), 200)
    assert (entry["state"], entry["postings"]) == ("posted", manual(5000, account["id"])["postings"])
    lopsided = manual(5000, account["id"])
    lopsided["postings"][0]["amount"]["amount"] = 1
    refused(operator.http.post("/v1/ledger/entries", json=lopsided), 422, "accounts.unbalanced")
    refused(ada.http.post("/v1/ledger/entries", json=manual(1, account["id"])), 403, "auth.forbidden")


def test_entries_and_the_statement_tell_of_each_movement(ada: Customer, operator: Desk, second: Customer) -> None:
    account = opened(ada)
    for amount in (1050, 25):
        paid_in(operator, second, amount, account["id"])
    page = answered(ada.http.get(f"/v1/accounts/{account['id']}/entries?limit=1"), 200)
    rest = answered(ada.http.get(f"/v1/accounts/{account['id']}/entries", params={"cursor": page["next_cursor"]}), 200)
    lines = page["items"] + rest["items"]
    assert [(line["amount"]["amount"], line["balance"]["amount"]) for line in lines] == [(25, 1075), (1050, 1050)]
    month = lines[0]["at"][:7]
    stated = ada.http.get(f"/v1/accounts/{account['id']}/statements/{month}")
    assert (stated.status_code, stated.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    rows = list(csv.reader(stated.text.splitlines()))
    assert rows[0] == ["at", "entry", "kind", "subject", "memo", "amount", "balance", "currency"]
    assert rows[1] == ["", "", "opening", "", "", "", "0.00", "EUR"]
    assert rows[2][2:] == ["manual", "", "'=1+1", "10.50", "10.50", "EUR"]
    assert rows[3][2:] == ["manual", "", "'=1+1", "0.25", "10.75", "EUR"]
    assert rows[4:] == [["", "", "closing", "", "", "", "10.75", "EUR"]]
    refused(ada.http.get(f"/v1/accounts/{account['id']}/statements/2026-13"), 422, "request.invalid")
    refused(ada.http.get(f"/v1/accounts/{account['id']}/entries?cursor=x"), 400, "accounts.bad_cursor")


def test_an_operator_freezes_unfreezes_and_closes(ada: Customer, operator: Desk, second: Customer) -> None:
    account = opened(ada)
    path, why = f"/v1/accounts/{account['id']}", {"reason": "lost phone"}
    assert answered(operator.http.post(f"{path}/freeze", json=why), 200)["status"] == "frozen"
    frozen = operator.http.post("/v1/ledger/entries", json=manual(1, account["id"]))
    refused(frozen, 409, "accounts.frozen")
    assert answered(operator.http.post(f"{path}/unfreeze", json=why), 200)["status"] == "open"
    paid_in(operator, second, 5, account["id"])
    refused(operator.http.post(f"{path}/close", json=why), 409, "accounts.not_empty")
    paid_in(operator, second, -5, account["id"])
    assert answered(operator.http.post(f"{path}/close", json=why), 200)["status"] == "closed"
    refused(operator.http.post(f"{path}/unfreeze", json=why), 409, "accounts.closed")
    refused(operator.http.post("/v1/accounts/none/freeze", json=why), 404, "accounts.not_found")


def test_the_books_hold_and_are_sealed_within_seconds(ada: Customer, operator: Desk, second: Customer) -> None:
    paid_in(operator, second, 7, opened(ada)["id"])
    trial = answered(operator.http.get("/v1/ledger/trial-balance"), 200)
    assert trial["holds"] is True
    euros = [line for line in trial["lines"] if line["currency"] == "EUR"]
    assert sum(line["debit"] for line in euros) == sum(line["credit"] for line in euros) > 0

    heads: list[tuple[int, str]] = []

    def sealed() -> bool:
        checked = answered(operator.http.get("/v1/ledger/verify"), 200)
        assert (checked["holds"], checked["broken"]) == (True, [])
        heads.append((checked["blocks"], checked["head"]))
        return checked["unsealed"] == 0 and checked["entries"] > 0

    assert wait_until(sealed, 20)
    block, kept = heads[-1]
    later = answered(operator.http.get("/v1/ledger/verify", params={"block": block, "block_hash": kept}), 200)
    assert later["holds"] is True
    other = answered(operator.http.get("/v1/ledger/verify", params={"block": block, "block_hash": "0" * 64}), 200)
    assert [each["what"] for each in other["broken"]] == ["chain"]
    refused(operator.http.get("/v1/ledger/verify?block=1"), 422, "request.invalid")
    for path in ("trial-balance", "verify", "proposals", "entries/1"):
        refused(ada.http.get(f"/v1/ledger/{path}"), 403, "auth.forbidden")
