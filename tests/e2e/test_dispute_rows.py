"""What becomes of a dispute over HTTP, on the real processes: the acquirer's own calls come to the gateway."""

import secrets
from typing import Any

import httpx
import pytest

from scripts.processes import wait_until
from tests.e2e.shopping import Customer, Desk
from tests.e2e.system import System
from tests.e2e.test_http_rows import answered, refused


def disputed(acquirer: str, order_id: str) -> str:
    """The cardholder's bank takes the payment of an order back; answers the dispute's id."""
    lines: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = httpx.get(f"{acquirer}/statement?after={after}&limit=1000").json()
        lines, after = lines + page["items"], page["next"]
    (captured,) = [line for line in lines if (line["reference"], line["kind"]) == (order_id, "capture")]
    asked = {"key": secrets.token_hex(8), "authorization_key": captured["authorization_key"], "reason": "fraudulent"}
    return str(answered(httpx.post(f"{acquirer}/disputes", json=asked), 201)["id"])


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_dispute_is_heard_of_shown_to_staff_and_customer_told_and_in_the_books(shop: System, outcome: str) -> None:
    acquirer = shop.env["ACQUIRER_URL"]
    with Desk(shop.url) as desk, Customer(shop.url) as ada:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        order = ada.end_of(ada.order(desk.sell(stock=2)))
        assert order["status"] == "confirmed"
        dispute_id = disputed(acquirer, order["id"])
        path, total = f"/v1/disputes/{dispute_id}", order["totals"]["total"]
        assert wait_until(lambda: desk.http.get(path).is_success, 20)
        assert desk.call("GET", "/v1/disputes?status=opened")["items"][0]["id"] == dispute_id
        answered(httpx.post(f"{acquirer}/disputes/{dispute_id}/decide", json={"outcome": outcome}), 200)
        assert wait_until(lambda: desk.call("GET", path)["status"] == outcome, 20)
        known = desk.call("GET", path)
        assert (known["order_id"], known["amount"], known["reason"]) == (order["id"], total, "fraudulent")

        shown = [{"id": dispute_id, "status": outcome, "amount": total}]
        assert wait_until(lambda: ada.call("GET", f"/v1/orders/{order['id']}")["disputes"] == shown, 20)
        subject = f"A dispute about your order {order['id']}"
        assert wait_until(lambda: shop.mails_to(ada.email).count(subject) == 2, 20)
        desk.require_that_books_agree()
        assert desk.call("GET", "/v1/ledger/trial-balance")["holds"]

        refused(ada.http.get("/v1/disputes"), 403, "auth.forbidden")
        refused(ada.http.get(path), 403, "auth.forbidden")
        refused(desk.http.get("/v1/disputes?cursor=nonsense"), 400, "payments.bad_cursor")
        refused(desk.http.get("/v1/disputes?status=unheard"), 422, "request.invalid")
        refused(desk.http.get("/v1/disputes/dp_other"), 404, "payments.not_found")
