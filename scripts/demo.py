"""A customer of the shop: signs up, searches, fills a cart and orders; then orders again with a card that fails.

Only HTTP, as any client would: `PORT=8000 python -m scripts.demo`. Exit code 0 if both orders ended as they should.
"""

import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

END_S = 30.0
POLL_S = 0.05
ADDRESS = {
    "name": "Ada Demo",
    "line1": "1 Harbour Street",
    "city": "Rotterdam",
    "postal_code": "3011 AA",
    "country": "NL",
}
MARKS = {"ok": "✓", "refused": "✗", "unknown": "?", "undone": "↶"}


@dataclass
class Shopper:
    """One customer's session."""

    http: httpx.Client
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One request; its JSON. A problem document ends the demo with its sentence."""
        headers = {**self.headers, **kwargs.pop("headers", {})}
        response = self.http.request(method, path, headers=headers, **kwargs)
        if response.is_error:
            sys.exit(f"{method} {path} answered {response.status_code}: {response.text}")
        return response.json() if response.content else None

    def sign_up(self) -> None:
        email, password = f"ada-{secrets.token_hex(4)}@rialto.example", secrets.token_urlsafe(12)
        self.call("POST", "/v1/users", json={"email": email, "password": password, "name": "Ada Demo"})
        tokens = self.call("POST", "/v1/sessions", json={"email": email, "password": password})
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        print(f"  signed up and logged in as {email}")

    def fill_cart(self, query: str, lines: int) -> None:
        found = self.call("GET", "/v1/products", params={"query": query, "in_stock": "true", "limit": lines})["items"]
        print(f"  searched for {query!r}: {', '.join(product['name'] for product in found)}")
        for product in found:
            variant = next(each for each in product["variants"] if each["available"])
            self.call("PUT", f"/v1/cart/items/{variant['sku']}", json={"quantity": 1})
        quote = self.call("POST", "/v1/cart/quote", json={"shipping_address": ADDRESS})
        print(f"  filled the cart: {money(quote['total'])} in all, {money(quote['shipping'])} of it for shipping")

    def order(self, token: str) -> dict[str, Any]:
        """Place an order and print its timeline as it grows; answers the order at its end."""
        body = {"shipping_address": ADDRESS, "payment_method": {"type": "card", "token": token}}
        order = self.call("POST", "/v1/orders", json=body, headers={"Idempotency-Key": secrets.token_hex(16)})
        print(f"  ordered {order['id']} with the card {token}\n")
        print(f"      {'step':<20} {'service':<12} {'outcome':<9} {'ms':>5}")
        shown, give_up_at = 0, time.monotonic() + END_S
        while True:
            for entry in order["timeline"][shown:]:
                step, service, outcome, ms = (entry[name] for name in ("step", "service", "outcome", "ms"))
                print(f"    {MARKS[outcome]} {step:<20} {service or '':<12} {outcome:<9} {ms:>5}")
            shown = len(order["timeline"])
            if order["status"] not in ("pending", "rejecting"):
                break
            if time.monotonic() > give_up_at:
                sys.exit(f"order {order['id']} is still {order['status']} after {END_S:.0f} s")
            time.sleep(POLL_S)
            order = self.call("GET", f"/v1/orders/{order['id']}")
        because = f": {order['reason']}" if order.get("reason") else ""
        print(f"\n  the order is {order['status']}, its payment {order['payment']['status']}{because}\n")
        return dict(order)


def money(value: dict[str, Any]) -> str:
    return f"{value['amount'] // 100}.{value['amount'] % 100:02d} {value['currency']}"


def main() -> int:
    with httpx.Client(base_url=f"http://127.0.0.1:{os.environ['PORT']}", timeout=20) as http:
        shopper = Shopper(http)
        print("\nA customer buys something:")
        shopper.sign_up()
        shopper.fill_cart("lamp", lines=2)
        good = shopper.order("tok_visa")
        print("And again, with a card that the bank refuses in the end:")
        shopper.fill_cart("lamp", lines=1)
        bad = shopper.order("tok_capture_fails")
        cart = shopper.call("GET", "/v1/cart")
        as_it_should = (
            (good["status"], good["payment"]["status"]) == ("confirmed", "captured")
            or good["status"] in ("shipped", "delivered")
        ) and (bad["status"], bad["payment"]["status"], len(cart["lines"])) == ("rejected", "voided", 1)
        print("Both ended as they should." if as_it_should else "That is not how they should have ended.")
    return 0 if as_it_should else 1


if __name__ == "__main__":
    sys.exit(main())
