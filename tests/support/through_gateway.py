"""Plays a dialogue through the HTTP gateway, with the house's own understanding, on orders that were really bought.

What is checked of each turn is what was offered and decided; of the end, what became of every order: see `Played`.
"""

import re
import secrets
from typing import Any

import msgspec

from scripts.processes import wait_until
from tests.e2e.shopping import Customer, Desk
from tests.support.dialogues import holds
from tests.support.shop import HOME

HOME_ADDRESS = {name: value for name, value in msgspec.to_builtins(HOME).items() if value is not None}
MOVES = {"confirmed": 0, "shipped": 1, "delivered": 3}
"""How often a parcel is advanced until its order is in a state."""
WITHIN_S = 60
ENDS = ("done", "refused", "started")


class Played:
    """A dialogue with a customer of its own. `orders` are the ids by alias."""

    def __init__(self, dialogue: dict[str, Any], ada: Customer, desk: Desk) -> None:
        self.dialogue, self.ada, self.desk = dialogue, ada, desk
        self.path = ""
        self.cards = {each["id"]: self._keep_card(each) for each in dialogue["start"].get("cards", ())}
        self.orders: dict[str, str] = {}
        for each in reversed(dialogue["start"].get("orders", ())):  # the first one is the latest
            self.orders[each["as"]] = self._buy(each)

    # --- the start

    def _keep_card(self, card: dict[str, str]) -> str:
        body = {"token": f"tok_visa.{secrets.token_hex(4)}", "brand": card["brand"], "last4": card["last4"]}
        return str(self.ada.call("POST", "/v1/me/payment-methods", json=body)["payment_methods"][-1]["id"])

    def _buy(self, wanted: dict[str, Any]) -> str:
        for sku, count in wanted["buy"]:
            self.ada.fill(sku, count)
        body = {"shipping_address": HOME_ADDRESS, "payment_method": {"type": "card", "token": "tok_visa"}}
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        order_id = str(self.ada.call("POST", "/v1/orders", json=body, headers=headers)["id"])
        assert self.ada.end_of(order_id)["status"] == "confirmed"
        for _ in range(MOVES[wanted["state"]]):
            self.desk.call("POST", f"/v1/shipments/{self.order_of(order_id)['shipment']['tracking']}/advance")
        assert wait_until(lambda: self.order_of(order_id)["status"] == wanted["state"], WITHIN_S)
        return order_id

    # --- the turns

    def play(self) -> None:
        """Say everything, and compare what is offered and decided with what is expected."""
        for turn in self.dialogue["turns"]:
            reply, expected = self.say(self.filled(turn["say"])), turn.get("expect", {})
            offered = [each for each in reply["actions"] if each["status"] == "offered"]
            decided = {each["status"] for each in reply["actions"]} - {"offered"}
            wanted = [(each["kind"], self.orders[each["order"]]) for each in expected.get("proposals", ())]
            assert [(each["kind"], each["order_id"]) for each in offered] == wanted, (turn, reply)
            confirmed = bool(decided & {"confirmed", *ENDS})
            assert (confirmed, "declined" in decided) == (
                bool(expected.get("confirm")),
                bool(expected.get("decline")),
            ), (turn, reply)

    def say(self, text: str) -> Any:
        if self.path:
            return self.ada.call("POST", f"{self.path}/messages", json={"text": text})["reply"]
        begun = self.ada.call("POST", "/v1/conversations", json={"message": text})
        self.path = f"/v1/conversations/{begun['id']}"
        return begun["messages"][-1]

    def filled(self, text: str) -> str:
        """With the orders' ids in place of their aliases."""
        whole = re.sub(r"\{(\w+)\.id\}", lambda found: self.orders[found[1]], text)
        return re.sub(r"\{(\w+)\}", lambda found: self.orders[found[1]][:8], whole)

    # --- the end

    def require_that_it_ended(self) -> None:
        """Every order is as the confirmed actions make it, and those without one are as they were."""
        done = {call["order"]: call for call in self.dialogue["calls"]}
        for each in self.dialogue["start"].get("orders", ()):
            alias, order_id = each["as"], self.orders[each["as"]]
            call = done.get(alias)
            if call is None:
                order = self.order_of(order_id)
                assert (order["status"], order["amendments"]) == (each["state"], []), order
            else:
                ENDINGS[call["kind"]](self, order_id, self.wish_of(alias, call))

    def wish_of(self, alias: str, call: dict[str, Any]) -> dict[str, Any]:
        """What was wished of an order: as the call says, else as it was offered the last time."""
        offers = [offer for turn in self.dialogue["turns"] for offer in turn.get("expect", {}).get("proposals", ())]
        known: dict[str, Any] = {}
        for offer in (each for each in offers if (each["order"], each["kind"]) == (alias, call["kind"])):
            known |= offer.get("wish", {})
        return known | call.get("wish", {})

    def order_of(self, order_id: str) -> Any:
        return self.ada.call("GET", f"/v1/orders/{order_id}")

    def cancelled(self, order_id: str, wish: dict[str, Any]) -> None:
        assert wait_until(lambda: self.order_of(order_id)["status"] == "cancelled", WITHIN_S), self.order_of(order_id)
        order = self.order_of(order_id)
        assert order["payment"]["refunded"] == order["payment"]["paid"] == order["totals"]["total"]

    def changed(self, order_id: str, wish: dict[str, Any]) -> None:
        def settled() -> bool:
            return [each["status"] for each in self.order_of(order_id)["amendments"]] == ["settled"]

        assert wait_until(settled, WITHIN_S), self.order_of(order_id)
        order = self.order_of(order_id)
        assert order["status"] == "confirmed"
        assert holds(wish.get("shipping_address", {}), order["shipping_address"]), order

    def returned(self, order_id: str, wish: dict[str, Any]) -> None:
        """Once staff has accepted what was to come back, exactly that is refunded."""
        (begun,) = self.begun(f"/v1/orders/{order_id}/returns")
        assert holds([_without(each, "reason") for each in wish["lines"]], begun["lines"]), begun
        self.desk.call("POST", f"/v1/returns/{begun['id']}/lines", json={"decisions": _accepted(begun["lines"])})
        path = f"/v1/orders/{order_id}/returns/{begun['id']}"
        assert wait_until(lambda: self.ada.call("GET", path)["status"] == "settled", WITHIN_S)
        assert self.order_of(order_id)["payment"]["refunded"] == self.ada.call("GET", path)["refund"]

    def exchanged(self, order_id: str, wish: dict[str, Any]) -> None:
        """The new goods are under way."""
        (begun,) = self.begun(f"/v1/orders/{order_id}/exchanges")
        path = f"/v1/orders/{order_id}/exchanges/{begun['id']}"
        assert wait_until(lambda: self.ada.call("GET", path)["status"] == "waiting", WITHIN_S)
        assert holds(wish["lines"], begun["lines"]), begun
        assert self.ada.call("GET", path)["tracking"]

    def begun(self, path: str) -> Any:
        assert wait_until(lambda: bool(self.ada.call("GET", path)), WITHIN_S)
        return self.ada.call("GET", path)


ENDINGS = {
    "cancel": Played.cancelled,
    "change_address": Played.changed,
    "change_payment": Played.changed,
    "return": Played.returned,
    "exchange": Played.exchanged,
}
"""By kind of action: what is asserted of its order."""


def _without(line: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != name}


def _accepted(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"sku": line["sku"], "accept": True, "restock": True} for line in lines]
