"""Customers who buy while things break, as good clients do: what is not answered is asked again with the same key.

What each customer does depends on the seed alone; what they were told, word for word, is in the journal.
"""

import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ADDRESS = {"name": "Ada", "line1": "1 Street", "city": "Delft", "postal_code": "2611", "country": "NL"}
PASSWORD = "a-long-password"
BLOCKED = "blocked@rialto.example"  # whom the risk rules of config.yaml refuse
CARDS = {
    "tok_visa": (12, "confirmed"),
    "tok_slow": (2, "confirmed"),
    "tok_lost_reply": (2, "confirmed"),
    "tok_declined": (2, "payments.declined"),
    "tok_insufficient_funds": (1, "payments.declined"),
    "tok_capture_fails": (2, "payments.capture_refused"),
}
"""Cards with their shares, and what an order by each has to come to when nothing breaks and all is there."""

AGAIN = (429, 500, 502, 503, 504)  # asked again with the same key, as the API's description says
ANSWER_S = 20.0
PAUSE_S = (0.2, 3.0)  # between two attempts: the first, doubled up to the second
PATIENCE_S = 120.0  # before a customer gives up asking
POLL_S = 0.5
THINK_S = 1.0


@dataclass
class Journal:
    """What customers asked and were told, as JSON lines."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, **facts: Any) -> None:
        line = {"at": time.time(), "what": what, **facts}
        with self.lock, self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class GaveUp(Exception):
    """The shop did not answer for as long as this customer was ready to ask."""


class Customer:
    """One person with an account and a cart of their own, in a thread of their own."""

    def __init__(self, seed: str, number: int, url: str, skus: list[str], journal: Journal) -> None:
        self.name = f"customer-{number}"
        self.chance = random.Random(f"{seed}:{self.name}")
        self.email = BLOCKED if number == 0 else f"{self.name}@rialto.example"
        self.skus, self.journal, self.orders = skus, journal, 0
        self.http = httpx.Client(base_url=url, timeout=ANSWER_S)

    def sign_up(self) -> None:
        person = {"email": self.email, "password": PASSWORD, "name": "Ada"}
        self._ask("POST", "/v1/users", json=person, headers={"Idempotency-Key": f"{self.name}-account"})
        self._log_in()

    def _log_in(self) -> None:
        self.http.headers.pop("Authorization", None)
        tokens = self._ask("POST", "/v1/sessions", json={"email": self.email, "password": PASSWORD}).json()
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def shop_until(self, closing: threading.Event) -> None:
        """Buy again and again; an order that was begun is followed to its end."""
        while not closing.is_set():
            try:
                self._buy()
            except GaveUp as exc:
                self.journal.note("gave up", customer=self.name, asking=str(exc))
            closing.wait(self.chance.uniform(0, THINK_S))

    def _buy(self) -> None:
        self.orders += 1
        (card,) = self.chance.choices(list(CARDS), [share for share, _ in CARDS.values()])
        wanted = {sku: self.chance.choice((1, 1, 1, 2)) for sku in self.chance.sample(self.skus, 2)}
        for line in self._ask("GET", "/v1/cart").json()["lines"]:
            if line["sku"] not in wanted:  # left from an order that was refused
                self._ask("DELETE", f"/v1/cart/items/{line['sku']}")
        for sku, quantity in wanted.items():
            self._ask("PUT", f"/v1/cart/items/{sku}", json={"quantity": quantity})
        order = self._place(f"{self.name}-{self.orders}", card, wanted)
        if order is not None:
            self._follow(order["id"])

    def _place(self, key: str, card: str, wanted: dict[str, int]) -> dict[str, Any] | None:
        """Order what is in the cart; None if the shop refuses it."""
        body = {"shipping_address": ADDRESS, "payment_method": {"type": "card", "token": card}}
        self.journal.note("wants", customer=self.name, key=key, card=card, lines=wanted)
        answer = self._ask("POST", "/v1/orders", json=body, headers={"Idempotency-Key": key})
        told = answer.json()
        self.journal.note("placed", key=key, status=answer.status_code, order=told.get("id"), code=told.get("code"))
        return told if answer.is_success else None

    def _follow(self, order_id: str) -> None:
        give_up_at, seen = time.monotonic() + PATIENCE_S, None
        while time.monotonic() < give_up_at:
            answer = self._ask("GET", f"/v1/orders/{order_id}")
            order = answer.json()
            if not answer.is_success:
                self.journal.note("seen", order=order_id, status=f"answered {answer.status_code}", reason=order["code"])
                return
            if order["status"] != seen:
                seen = order["status"]
                self.journal.note("seen", order=order_id, status=seen, reason=order.get("reason"))
            if seen not in ("pending", "rejecting"):
                return
            time.sleep(POLL_S)

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request until it is answered: with a result, or a refusal that another attempt would not change."""
        give_up_at, pause_s = time.monotonic() + PATIENCE_S, PAUSE_S[0]
        while time.monotonic() < give_up_at:
            try:
                answer = self.http.request(method, path, **request)
            except httpx.TransportError as exc:
                self.journal.note("silence", customer=self.name, asked=f"{method} {path}", why=type(exc).__name__)
            else:
                if answer.status_code == 401 and path != "/v1/sessions":
                    self._log_in()
                    continue
                if answer.status_code not in AGAIN:
                    return answer
                self.journal.note(
                    "trouble", customer=self.name, asked=f"{method} {path}", status=answer.status_code, text=answer.text
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S[1])
        raise GaveUp(f"{method} {path}")
