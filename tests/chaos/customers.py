"""Customers who buy while things break, as good clients do: what is not answered is asked again with the same key.

What each customer does depends on the seed alone; what they were told, word for word, is in the journal.
"""

import json
import random
import threading
import time
from dataclasses import asdict, dataclass, field
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
    "tok_challenge": (3, "confirmed"),
}
"""Cards with their shares, and what an order by each has to come to when nothing breaks and all is there."""
WAYS = {"card": 8, "gift_card": 1, "split": 3}
"""Ways to pay with their shares: a split takes a part from the gift card, and the rest from the card."""
ON_GIFT_CARD, PART = 30_000, 700
GIFT_CARD_EMPTY = "payments.gift_card_insufficient"
DECISIONS = {"approve": 3, "refuse": 1}
"""What a card's owner decides at the bank, with their shares."""
CANCELS = 0.2
"""The share of orders that are cancelled at some moment of their way."""
CANCELS_AFTER_S = (0.0, 5.0)

AGAIN = (429, 500, 502, 503, 504)  # asked again with the same key, as the API's description says
ANSWER_S = 20.0
PAUSE_S = (0.2, 3.0)  # between two attempts: the first, doubled up to the second
PATIENCE_S = 120.0  # before a customer gives up asking
POLL_S = 0.5
ENDED = ("confirmed", "shipped", "delivered", "rejected", "cancelled")
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


@dataclass(frozen=True)
class Wish:
    """What a customer means to do with one order, from its begin to its end."""

    lines: dict[str, int]
    way: str
    card: str
    decision: str  # should the bank ask
    cancel_after_s: float | None

    @classmethod
    def draw(cls, chance: random.Random, skus: list[str]) -> "Wish":
        lines = {sku: chance.choice((1, 1, 1, 2)) for sku in chance.sample(skus, 2)}
        (card,) = chance.choices(list(CARDS), [share for share, _ in CARDS.values()])
        (way,) = chance.choices(list(WAYS), list(WAYS.values()))
        (decision,) = chance.choices(list(DECISIONS), list(DECISIONS.values()))
        after_s = chance.uniform(*CANCELS_AFTER_S)
        return cls(lines, way, card, decision, after_s if chance.random() < CANCELS else None)

    @property
    def comes_to(self) -> list[str]:
        """What the order may come to when nothing breaks, all is there, and nobody cancels."""
        refused = self.card == "tok_challenge" and self.decision == "refuse"
        by_card = "orders.challenge_refused" if refused else CARDS[self.card][1]
        ends = {"card": [by_card], "gift_card": ["confirmed", GIFT_CARD_EMPTY], "split": [by_card, GIFT_CARD_EMPTY]}
        return ends[self.way]

    def method(self, gift_card: str) -> dict[str, Any]:
        """How it is paid, for the API."""
        card, gift = {"type": "card", "token": self.card}, {"type": "gift_card", "id": gift_card}
        part = {**gift, "amount": {"amount": PART, "currency": "EUR"}}
        return {"card": card, "gift_card": gift, "split": {"type": "split", "parts": [part, card]}}[self.way]


class GaveUp(Exception):
    """The shop did not answer for as long as this customer was ready to ask."""


class Customer:
    """One person with an account and a cart of their own, in a thread of their own."""

    def __init__(self, seed: str, number: int, url: str, skus: list[str], journal: Journal) -> None:
        self.name = f"customer-{number}"
        self.chance = random.Random(f"{seed}:{self.name}")
        self.email = BLOCKED if number == 0 else f"{self.name}@rialto.example"
        self.skus, self.journal, self.orders = skus, journal, 0
        self.gift_card = ""
        self.http = httpx.Client(base_url=url, timeout=ANSWER_S)

    def sign_up(self) -> str:
        """Answers the customer's id."""
        person = {"email": self.email, "password": PASSWORD, "name": "Ada"}
        self._ask("POST", "/v1/users", json=person, headers={"Idempotency-Key": f"{self.name}-account"})
        self._log_in()
        return str(self._ask("GET", "/v1/me").json()["id"])

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
        wish = Wish.draw(self.chance, self.skus)
        for line in self._ask("GET", "/v1/cart").json()["lines"]:
            if line["sku"] not in wish.lines:  # left from an order that was refused
                self._ask("DELETE", f"/v1/cart/items/{line['sku']}")
        for sku, quantity in wish.lines.items():
            self._ask("PUT", f"/v1/cart/items/{sku}", json={"quantity": quantity})
        order = self._place(f"{self.name}-{self.orders}", wish)
        if order is not None:
            self._follow(order["id"], wish)

    def _place(self, key: str, wish: Wish) -> dict[str, Any] | None:
        """Order what is in the cart; None if the shop refuses it."""
        body = {"shipping_address": ADDRESS, "payment_method": wish.method(self.gift_card)}
        self.journal.note("wants", customer=self.name, key=key, comes_to=wish.comes_to, **asdict(wish))
        answer = self._ask("POST", "/v1/orders", json=body, headers={"Idempotency-Key": key})
        told = answer.json()
        self.journal.note("placed", key=key, status=answer.status_code, order=told.get("id"), code=told.get("code"))
        return told if answer.is_success else None

    def _follow(self, order_id: str, wish: Wish) -> None:
        """Look at the order until it has ended, and do on its way what was meant."""
        begun, seen, decided = time.monotonic(), None, False
        cancel_at = None if wish.cancel_after_s is None else begun + wish.cancel_after_s
        while time.monotonic() < begun + PATIENCE_S:
            if cancel_at is not None and time.monotonic() >= cancel_at:
                self._cancel(order_id)
                cancel_at = None
            answer = self._ask("GET", f"/v1/orders/{order_id}")
            order = answer.json()
            if not answer.is_success:
                self.journal.note("seen", order=order_id, status=f"answered {answer.status_code}", reason=order["code"])
                return
            if order["status"] != seen:
                seen = order["status"]
                self.journal.note("seen", order=order_id, status=seen, reason=order.get("reason"))
            if seen in ENDED and cancel_at is None:
                return
            url = order["payment"].get("action_url")
            if url and not decided:
                self._decide(url, wish.decision)
                decided = True
            time.sleep(POLL_S)

    def _cancel(self, order_id: str) -> None:
        self.journal.note("cancels", order=order_id)
        headers = {"Idempotency-Key": f"cancel-{order_id}"}
        answer = self._ask(
            "POST", f"/v1/orders/{order_id}/cancel", json={"reason": "I do not want it"}, headers=headers
        )
        told = answer.json()
        self.journal.note(
            "cancelled", order=order_id, status=answer.status_code, now=told.get("status"), code=told.get("code")
        )

    def _decide(self, url: str, decision: str) -> None:
        """Approve the payment at the bank, or not. Its page may be asked again."""
        answer = self._ask("POST", url, data={"decision": decision}, headers={"Authorization": ""})
        self.journal.note("decided", url=url, decision=decision, status=answer.status_code)

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
