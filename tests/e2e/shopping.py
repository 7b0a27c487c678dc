"""People who use the shop over HTTP: customers, and the operator at the desk."""

import secrets
from typing import Any, Self

import httpx

from scripts.processes import wait_until

ADDRESS = {"name": "Ada", "line1": "1 Street", "city": "Delft", "postal_code": "2611", "country": "NL"}
PASSWORD = "a-long-password"
ENDS_WITHIN_S = 90
SETTLES_WITHIN_S = 60


class Person:
    """A session with the API. A context manager."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One request that has to succeed; its JSON."""
        answer = self.http.request(method, path, **kwargs)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def log_in(self, email: str, password: str) -> None:
        tokens = self.call("POST", "/v1/sessions", json={"email": email, "password": password})
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"


class Desk(Person):
    def sell(self, stock: int) -> str:
        """Put a new article on sale; its sku."""
        sku = f"FAULT-{secrets.token_hex(4)}"
        variant = {"sku": sku, "options": {}, "price": {"amount": 1999, "currency": "EUR"}}
        product = {"name": f"Article {sku}", "description": "For tests.", "category": "home", "variants": [variant]}
        self.call("POST", "/v1/products", json=product)
        self.call("POST", f"/v1/stock/{sku}/adjustments", json={"quantity": stock, "reason": "delivery"})
        return sku

    def stock(self, sku: str) -> tuple[int, int, int]:
        """available, reserved, sold"""
        counts = self.call("GET", f"/v1/stock/{sku}")
        return counts["available"], counts["reserved"], counts["sold"]

    def require_that_books_agree(self) -> None:
        """Wait until nothing is in flight, then the audit has to hold."""
        audit: dict[str, Any] = {}

        def settled() -> bool:
            answer = self.http.get("/v1/audit")
            audit.update(answer.json())
            return answer.is_success and not any(check["in_flight"] for check in audit["checks"])

        assert wait_until(settled, SETTLES_WITHIN_S, every_s=0.5), audit
        assert audit["holds"] is True, audit


class Customer(Person):
    """Somebody new, with an account."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.email = f"{secrets.token_hex(6)}@rialto.example"
        self.call("POST", "/v1/users", json={"email": self.email, "password": PASSWORD, "name": "Ada"})
        self.log_in(self.email, PASSWORD)

    def fill(self, sku: str, quantity: int = 1) -> None:
        self.call("PUT", f"/v1/cart/items/{sku}", json={"quantity": quantity})

    def order(self, sku: str, token: str = "tok_visa") -> str:
        """Order one of a sku; the order's id."""
        self.fill(sku)
        body = {"shipping_address": ADDRESS, "payment_method": {"type": "card", "token": token}}
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return str(self.call("POST", "/v1/orders", json=body, headers=headers)["id"])

    def passed(self, order_id: str, step: str) -> bool:
        """Whether an order's timeline has a step, done."""
        timeline = self.call("GET", f"/v1/orders/{order_id}")["timeline"]
        return any((entry["step"], entry["outcome"]) == (step, "ok") for entry in timeline)

    def end_of(self, order_id: str) -> Any:
        """The order when it has ended. Meanwhile the shop may refuse to answer, but not be silent."""
        order: dict[str, Any] = {}

        def ended() -> bool:
            answer = self.http.get(f"/v1/orders/{order_id}")
            assert answer.status_code in (200, 503, 504), answer.text
            order.update(answer.json())
            return answer.is_success and order["status"] not in ("pending", "rejecting")

        assert wait_until(ended, ENDS_WITHIN_S), order
        return order
