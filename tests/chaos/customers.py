"""Customers who buy while things break, and change their minds. What each does depends on the seed alone."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tests.chaos.person import PASSWORD, PATIENCE_S, GaveUp, Journal, Person
from tests.chaos.wishes import Wish

ADDRESS = {"name": "Ada", "line1": "1 Street", "city": "Delft", "postal_code": "2611", "country": "NL"}
BLOCKED = "blocked@rialto.example"  # whom the risk rules of config.yaml refuse
POLL_S = 0.5
THINK_S = 1.0
OVER = ("rejected", "cancelled")
STANDS = ("confirmed", "shipped", "delivered", "returned")
LATER_AT = {"change": STANDS, "return": ("delivered",), "exchange": ("delivered",)}
"""In which states of the order it is amended."""
VARIANT = {"A": "B"}
"""Each article has two variants: its sku ends in one of these."""


class Customer(Person):
    """One person with an account, a cart and a gift card, in a thread of their own; `desk` is the shop's."""

    def __init__(self, seed: str, number: int, url: str, skus: list[str], desk: Person, journal: Journal) -> None:
        name = f"customer-{number}"
        super().__init__(name, BLOCKED if number == 0 else f"{name}@rialto.example", PASSWORD, url, journal)
        self.chance = random.Random(f"{seed}:{name}")
        self.skus, self.desk, self.orders, self.gift_card = skus, desk, 0, ""

    def go_on_until(self, closing: threading.Event) -> None:
        """Buy again and again; an order that was begun is followed to its end."""
        while not closing.is_set():
            try:
                self._buy()
            except GaveUp as exc:
                self.journal.note("gave up", who=self.name, asking=str(exc))
            closing.wait(self.chance.uniform(0, THINK_S))

    def _buy(self) -> None:
        self.orders += 1
        wish = Wish.draw(self.chance, self.skus)
        for line in self.ask("GET", "/v1/cart").json()["lines"]:
            if line["sku"] not in wish.lines:  # left from an order that was refused
                self.ask("DELETE", f"/v1/cart/items/{line['sku']}")
        for sku, quantity in wish.lines.items():
            self.ask("PUT", f"/v1/cart/items/{sku}", json={"quantity": quantity})
        order = self._place(f"{self.name}-{self.orders}", wish)
        if order is not None:
            self._follow(order["id"], wish)

    def _place(self, key: str, wish: Wish) -> dict[str, Any] | None:
        """Order what is in the cart; None if the shop refuses it."""
        self.journal.note("wants", who=self.name, key=key, comes_to=wish.comes_to, **asdict(wish))
        body = {"shipping_address": ADDRESS, "payment_method": wish.method(self.gift_card)}
        answer = self.ask("POST", "/v1/orders", key, json=body)
        told = answer.json()
        self.journal.note("placed", key=key, status=answer.status_code, order=told.get("id"), code=told.get("code"))
        return told if answer.is_success else None

    def _follow(self, order_id: str, wish: Wish) -> None:
        """Look at the order until it has ended, and do on its way what was meant."""
        begun, seen, decided = time.monotonic(), None, False
        cancel_at = None if wish.cancel_after_s is None else begun + wish.cancel_after_s
        later = wish.later if wish.later in LATER_AT else None
        while time.monotonic() < begun + PATIENCE_S:
            if cancel_at is not None and time.monotonic() >= cancel_at:
                self._cancel(order_id)
                cancel_at = None
            order = self._look(order_id, seen)
            seen = order["status"]
            if later and seen in LATER_AT[later]:
                self._amend(order_id, later, wish)
                later = None
            if cancel_at is None and (seen in OVER or (seen in STANDS and later is None)):
                return
            url = order["payment"].get("action_url") if "payment" in order else None
            if url and not decided:
                self._decide(url, wish.decision)
                decided = True
            time.sleep(POLL_S)

    def _look(self, order_id: str, seen: str | None) -> dict[str, Any]:
        answer = self.ask("GET", f"/v1/orders/{order_id}")
        order: dict[str, Any] = answer.json()
        if not answer.is_success:
            order = {"status": f"answered {answer.status_code}"}
        if order["status"] != seen:
            self.journal.note("seen", order=order_id, status=order["status"], reason=order.get("reason"))
        return order

    def _cancel(self, order_id: str) -> None:
        self.journal.note("cancels", order=order_id)
        body = {"reason": "I do not want it"}
        answer = self.ask("POST", f"/v1/orders/{order_id}/cancel", f"cancel-{order_id}", json=body)
        told = answer.json()
        self.journal.note(
            "cancelled", order=order_id, status=answer.status_code, now=told.get("status"), code=told.get("code")
        )

    def _decide(self, url: str, decision: str) -> None:
        """Approve the payment at the bank, or not. Its page may be asked again."""
        answer = self.ask("POST", url, data={"decision": decision}, headers={"Authorization": ""})
        self.journal.note("decided", url=url, decision=decision, status=answer.status_code)

    # --- what is done to an order later

    def _amend(self, order_id: str, kind: str, wish: Wish) -> None:
        method, path, body = self._amendment(order_id, kind, wish)
        self.journal.note("amends", order=order_id, kind=kind, comes_to=wish.later_comes_to, lines=wish.lines)
        answer = self.ask(method, path, f"{kind}-{order_id}", json=body)
        told = answer.json()
        begun = told.get("id") if answer.is_success and kind != "change" else None
        self.journal.note(
            "amended", order=order_id, kind=kind, status=answer.status_code, id=begun, code=told.get("code")
        )
        if not answer.is_success:
            return
        if kind == "change":
            self._until(lambda: self._change_of(order_id), ("settled", "rejected"), wish)
            return
        page = f"{path}/{begun}"
        if self._until(lambda: self._read(page), ("waiting", "rejected"), wish) == "waiting":
            self._send_back(str(begun), wish)
            self._until(lambda: self._read(page), ("settled", "expired"), wish)

    def _amendment(self, order_id: str, kind: str, wish: Wish) -> tuple[str, str, dict[str, Any]]:
        """Method, path and body of the request that begins it; it is about one unit of the order's first line."""
        sku, path = next(iter(wish.lines)), f"/v1/orders/{order_id}"
        swap = {"sku": sku, "new_sku": sku[:-1] + VARIANT[sku[-1]], "quantity": 1}
        swaps = {"lines": [swap], "payment_method": {"type": "card", "token": wish.later_card}}
        line = {"sku": sku, "quantity": 1, "reason": "I changed my mind"}
        return {
            "change": ("PATCH", path, swaps),
            "return": ("POST", f"{path}/returns", {"lines": [line], "refund_to": wish.refund_to}),
            "exchange": ("POST", f"{path}/exchanges", swaps),
        }[kind]

    def _send_back(self, amendment_id: str, wish: Wish) -> None:
        """The goods arrive, and the desk decides on them."""
        decision = {"sku": next(iter(wish.lines)), "accept": wish.accepted, "restock": wish.restocked}
        body, key = {"decisions": [decision]}, f"decide-{amendment_id}"
        answer = self.desk.ask("POST", f"/v1/returns/{amendment_id}/lines", key, json=body)
        self.journal.note("came back", id=amendment_id, status=answer.status_code, text=answer.text)

    def _until(self, read: Callable[[], dict[str, Any]], states: tuple[str, ...], wish: Wish) -> str:
        """Look until it is in one of these states, and approve or refuse its payment on the way; its last state."""
        give_up_at, decided, found = time.monotonic() + PATIENCE_S, False, {"status": "unknown"}
        while time.monotonic() < give_up_at and found["status"] not in states:
            found = read()
            if found.get("action_url") and not decided:
                self._decide(found["action_url"], wish.decision)
                decided = True
            time.sleep(POLL_S)
        return str(found["status"])

    def _read(self, page: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", page).json()
        return found

    def _change_of(self, order_id: str) -> dict[str, Any]:
        order = self._read(f"/v1/orders/{order_id}")
        return next(({**each} for each in order.get("amendments", []) if each["kind"] == "change"), {"status": "none"})
