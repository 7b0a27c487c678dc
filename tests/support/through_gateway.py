"""Plays a dialogue through the HTTP gateway, with the house's own understanding, on orders that were really bought.

What is checked of each turn is what was said, offered and decided; of the end, what became of every order, of its
money, of the stock of all that is spoken of, and of the customer's accounts: see `Played`.
"""

import json
import re
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from scripts.processes import wait_until
from tests.e2e.shopping import Customer, Desk, Person
from tests.support.dialogues import holds
from tests.support.shop import HOME

HOME_ADDRESS = {name: value for name, value in msgspec.to_builtins(HOME).items() if value is not None}
MOVES = {"confirmed": 0, "shipped": 1, "delivered": 3}
"""How often a parcel is advanced until its order is in a state."""
FAKED = re.compile(r"is about |关于|_time|TRK-|\d\d:\d\d|\d (?:May|April)|月")
"""What is in expected texts of the fake shop alone: its articles, moments, and numbers of parcels."""
SKU = re.compile(r'"((?:[A-Z]+-\d{4})(?:-[A-Z]+)*)"')
WITHIN_S = 60
ENDS = ("done", "refused", "started")
AGREE_S = 30

Counts = tuple[int, int, int]


class Played:
    """A dialogue of a customer of its own, or of a guest who has no part in what that customer bought.

    `ids` are those of the orders and accounts, by the names that the dialogue has for them. `mails_to`: the subjects
    of all mails to an address."""

    def __init__(
        self, dialogue: dict[str, Any], ada: Customer, guest: Person, desk: Desk, mails_to: Callable[[str], list[str]]
    ) -> None:
        self.dialogue, self.ada, self.desk, self.mails_to = dialogue, ada, desk, mails_to
        self.speaker = guest if dialogue.get("guest") else ada
        self.path, self.status = "", "bot"
        start = dialogue["start"]
        for card in start.get("cards", ()):
            self._keep_card(card)
        for name, address in start.get("addresses", {}).items():
            self.ada.call("PUT", f"/v1/me/addresses/{name}", json=address)
        self.ids = {each["id"]: self._open(each) for each in start.get("accounts", ())}
        bought = [(each["as"], self._buy(each)) for each in reversed(start.get("orders", ()))]  # the first: the latest
        self.ids |= dict(bought)
        self.skus = sorted(set(SKU.findall(json.dumps(dialogue))))
        self.orders = {alias: self.order_of(alias) for alias, _ in bought}
        self.stock = self._stock()

    # --- the start

    def _keep_card(self, card: dict[str, str]) -> None:
        body = {"token": f"tok_visa.{secrets.token_hex(4)}", "brand": card["brand"], "last4": card["last4"]}
        self.ada.call("POST", "/v1/me/payment-methods", json=body)

    def _open(self, account: dict[str, Any]) -> str:
        """An account with what is on it."""
        currency = account.get("currency", "EUR")
        body = _body(name=account["name"], currency=currency)
        account_id = str(self.ada.call("POST", "/v1/accounts", json=body)["id"])
        if account.get("balance"):
            body = _body(
                account_id=account_id,
                amount={"amount": account["balance"], "currency": currency},
                payment_method={"type": "card", "token": _card()},
            )
            made = self.ada.call("POST", "/v1/deposits", json=body, headers=_key())
            path = f"/v1/transactions/{made['id']}"
            assert wait_until(lambda: self.ada.call("GET", path)["status"] == "completed", WITHIN_S)
        return account_id

    def _buy(self, wanted: dict[str, Any]) -> str:
        for sku, count in wanted["buy"]:
            self.ada.fill(sku, count)
        token = _card("tok_declined" if wanted["state"] == "rejected" else "tok_visa")
        body = _body(shipping_address=HOME_ADDRESS, payment_method={"type": "card", "token": token})
        path = f"/v1/orders/{self.ada.call('POST', '/v1/orders', json=body, headers=_key())['id']}"
        order = self.ada.end_of(path.rpartition("/")[2])
        assert (order["status"] == "rejected") == (wanted["state"] == "rejected"), order
        if wanted["state"] == "cancelled":
            self.ada.call("POST", f"{path}/cancel", json={"reason": "no more"}, headers=_key())
        for _ in range(MOVES.get(wanted["state"], 0)):
            self.desk.call("POST", f"/v1/shipments/{order['shipment']['tracking']}/advance")
        assert wait_until(lambda: self.ada.call("GET", path)["status"] == wanted["state"], WITHIN_S)
        return str(order["id"])

    # --- the turns

    def play(self) -> None:
        """Say everything, and compare what is said, offered and decided with what is expected."""
        for turn in self.dialogue["turns"]:
            reply, expected = self.say(self.filled(turn["say"])), self.filled(turn.get("expect", {}))
            self._require_words(turn, reply, expected)
            offered = [each for each in reply["actions"] if each["status"] == "offered"]
            decided = {each["status"] for each in reply["actions"]} - {"offered"}
            wanted = [(each["kind"], self.ids.get(each.get("order"))) for each in expected.get("proposals", ())]
            assert [(each["kind"], each["order_id"]) for each in offered] == wanted, (turn, reply)
            confirmed = bool(decided & {"confirmed", *ENDS})
            assert (confirmed, "declined" in decided) == (
                bool(expected.get("confirm")),
                bool(expected.get("decline")),
            ), (turn, reply)
            assert (self.status == "waiting") == bool(expected.get("hand_over")), (turn, reply)

    def _require_words(self, turn: dict[str, Any], reply: Any, expected: dict[str, Any]) -> None:
        for part in expected.get("text", ()):
            assert FAKED.search(part) or part in reply["text"], (part, turn, reply)
        for part in expected.get("not_text", ()):
            assert part not in reply["text"], (part, turn, reply)
        urls = [each["url"] for each in reply["sources"]]
        for wanted in expected.get("sources", ()):
            if not wanted.startswith("/v1/products/"):
                assert any(url.startswith(wanted) for url in urls), (wanted, turn, reply)

    def say(self, text: str) -> Any:
        if self.path:
            said = self.speaker.call("POST", f"{self.path}/messages", json={"text": text})
            self.status = said["status"]
            return said["reply"]
        about = {"order_id": self.ids[self.dialogue["about"]]} if "about" in self.dialogue else {}
        begun = self.speaker.call("POST", "/v1/conversations", json={"message": text, **about})
        self.path, self.status = f"/v1/conversations/{begun['id']}", begun["status"]
        if begun["token"]:
            self.speaker.http.headers["Conversation-Token"] = begun["token"]
        return begun["messages"][-1]

    def filled(self, value: Any) -> Any:
        """With the real ids in place of the dialogue's names."""
        if isinstance(value, str):
            value = re.sub(r"\{(\w+)\.id\}", lambda found: self.ids[found[1]], value)
            value = re.sub(r"\{(\w+)\}", lambda found: self.ids[found[1]][:8], value)
            return re.sub(r"\bacc-\d\b", lambda found: self.ids[found[0]], value)
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        return [self.filled(each) for each in value] if isinstance(value, list) else value

    # --- the end

    def require_that_it_ended(self) -> None:
        """Orders, money, stock and accounts are as the confirmed actions make them, and all else is as it was."""
        calls = self.dialogue.get("calls", [])
        for call in calls:
            ENDINGS[call["kind"]](self, call.get("order"), self.wish_of(call))
            if call["kind"] in MONEY:
                self._require_paid(call)
        for alias in self.orders.keys() - {call.get("order") for call in calls if call["kind"] in MONEY}:
            assert self.order_of(alias) == self.orders[alias]
        moved = self._moved(calls)
        assert self._stock() == {sku: _after(self.stock[sku], moved[sku]) for sku in self.skus}
        frozen = [self.wish_of(call)["account_id"] for call in calls if call["kind"] == "freeze_account"]
        for each in self.dialogue["start"].get("accounts", ()):
            account = self.ada.call("GET", f"/v1/accounts/{self.ids[each['id']]}")
            assert account["status"] == ("frozen" if each["id"] in frozen else "open")
            spent = sum(call.get("pays", 0) for call in calls if self._payer_of(call) == each["id"])
            assert account["balance"]["available"]["amount"] == each.get("balance", 0) - spent
        if calls:
            self._require_that_books_agree()

    def wish_of(self, call: dict[str, Any]) -> dict[str, Any]:
        """What was wished: as the call says, else as it was offered the last time."""
        offers = [offer for turn in self.dialogue["turns"] for offer in turn.get("expect", {}).get("proposals", ())]
        known: dict[str, Any] = {}
        for offer in offers:
            if (offer.get("order"), offer["kind"]) == (call.get("order"), call["kind"]):
                known |= offer.get("wish", {})
        return known | call.get("wish", {})

    def _payer_of(self, call: dict[str, Any]) -> str | None:
        """The account that pays, by the dialogue's name for it."""
        payer: str | None = self.wish_of(call).get("payment_method", {}).get("account_id")
        return payer

    def order_of(self, alias: str) -> Any:
        return self.ada.call("GET", f"/v1/orders/{self.ids[alias]}")

    def _require_paid(self, call: dict[str, Any]) -> None:
        """What the call says was charged (`pays`) and given back (`gets`); of a cancel it is all that was paid."""
        before, after = self.orders[call["order"]]["payment"], self.order_of(call["order"])["payment"]
        gets = before["paid"]["amount"] if call["kind"] == "cancel" else call.get("gets", 0)
        moved = [after[name]["amount"] - before[name]["amount"] for name in ("paid", "refunded")]
        assert moved == [call.get("pays", 0), gets], (call, after)

    def _moved(self, calls: list[dict[str, Any]]) -> "Counter[str]":
        """By sku: how many units come back to the shelf (below nothing: leave it) by these calls."""
        moved: Counter[str] = Counter()
        for call in calls:
            if call["kind"] == "cancel":
                for line in self.orders[call["order"]]["lines"]:
                    moved[line["sku"]] += line["quantity"]
            for line in self.wish_of(call).get("lines", ()):
                if call["kind"] != "exchange":  # the old goods are still at the customer's
                    moved[line["sku"]] += line["quantity"]
                if "new_sku" in line:
                    moved[line["new_sku"]] -= line["quantity"]
        return moved

    def _stock(self) -> dict[str, Counts]:
        return {sku: self.desk.stock(sku) for sku in self.skus}

    def _require_that_books_agree(self) -> None:
        """Ledger, payments, orders, stock and the companies' own books; only exchanges wait for goods meanwhile."""
        audit: dict[str, Any] = {}

        def settled() -> bool:
            audit.update(self.desk.call("GET", "/v1/audit"))
            return not any(each["in_flight"] for each in audit["checks"] if each["name"] != "sagas")

        assert wait_until(settled, AGREE_S), audit
        assert audit["holds"], audit

    # --- by kind

    def cancelled(self, alias: str, wish: dict[str, Any]) -> None:
        assert wait_until(lambda: self.order_of(alias)["status"] == "cancelled", WITHIN_S), self.order_of(alias)

    def changed(self, alias: str, wish: dict[str, Any]) -> None:
        def settled() -> bool:
            return [each["status"] for each in self.order_of(alias)["amendments"]] == ["settled"]

        assert wait_until(settled, WITHIN_S), self.order_of(alias)
        order = self.order_of(alias)
        assert order["status"] == "confirmed"
        assert holds(wish.get("shipping_address", {}), order["shipping_address"]), order
        assert {each["new_sku"] for each in wish.get("lines", ())} <= {each["sku"] for each in order["lines"]}, order

    def returned(self, alias: str, wish: dict[str, Any]) -> None:
        """Once staff has accepted what was to come back."""
        (begun,) = self.begun(f"/v1/orders/{self.ids[alias]}/returns")
        assert holds([_without(each, "reason") for each in wish["lines"]], begun["lines"]), begun
        self.desk.call("POST", f"/v1/returns/{begun['id']}/lines", json={"decisions": _accepted(begun["lines"])})
        path = f"/v1/orders/{self.ids[alias]}/returns/{begun['id']}"
        assert wait_until(lambda: self.ada.call("GET", path)["status"] == "settled", WITHIN_S)

    def exchanged(self, alias: str, wish: dict[str, Any]) -> None:
        """The new goods are under way."""
        (begun,) = self.begun(f"/v1/orders/{self.ids[alias]}/exchanges")
        path = f"/v1/orders/{self.ids[alias]}/exchanges/{begun['id']}"
        assert wait_until(lambda: self.ada.call("GET", path)["status"] == "waiting", WITHIN_S)
        assert holds(wish["lines"], begun["lines"]), begun
        assert self.ada.call("GET", path)["tracking"]

    def mailed(self, alias: str, wish: dict[str, Any]) -> None:
        """One mail has come a second time."""
        assert wait_until(lambda: 2 in Counter(self.mails_to(self.ada.email)).values(), WITHIN_S)

    def frozen(self, alias: None, wish: dict[str, Any]) -> None:
        path = f"/v1/accounts/{self.ids[wish['account_id']]}"
        assert wait_until(lambda: self.ada.call("GET", path)["status"] == "frozen", WITHIN_S)

    def begun(self, path: str) -> Any:
        assert wait_until(lambda: bool(self.ada.call("GET", path)), WITHIN_S)
        return self.ada.call("GET", path)


ENDINGS = {
    "cancel": Played.cancelled,
    "change_address": Played.changed,
    "change_items": Played.changed,
    "change_payment": Played.changed,
    "return": Played.returned,
    "exchange": Played.exchanged,
    "resend_mail": Played.mailed,
    "freeze_account": Played.frozen,
}
"""By kind of action: what is waited for and asserted."""
MONEY = ENDINGS.keys() - {"resend_mail", "freeze_account"}
"""What changes its order."""


def _body(**values: Any) -> dict[str, Any]:
    return values


def _key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(16)}


def _card(behaves: str = "tok_visa") -> str:
    """A card that nobody else has."""
    return f"{behaves}.{secrets.token_hex(4)}"


def _after(stock: Counts, back: int) -> Counts:
    available, reserved, sold = stock
    return available + back, reserved, sold - back


def _without(line: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != name}


def _accepted(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"sku": line["sku"], "accept": True, "restock": True} for line in lines]
