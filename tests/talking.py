"""Conversations on the whole shop: the house's assistant, who is told what each text wants."""

import uuid
from typing import Any

import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from chassis.errors import ServiceError
from services.support import service as module
from services.support.assistant import Assistant
from tests.sandboxes import wait_until
from tests.shop import Shop
from tests.support.dialogues import FakeAnswers

ENDS = ("done", "refused")
RED, GREEN = "LAMP-RED", "LAMP-GREEN"
CARD = {"brand": "Mastercard", "last4": "4444"}
UNITS = 50


def key() -> str:
    return uuid.uuid4().hex


def furnish(shop: Shop) -> Shop:
    """A lamp in two colours at one price, and a buyer with a card."""
    variants = [
        {"sku": sku, "price": {"amount": 1999, "currency": "EUR"}, "options": {"colour": sku.partition("-")[2].lower()}}
        for sku in (RED, GREEN)
    ]
    lamp = {"name": "Lamp", "description": "For tests.", "category": "home", "variants": variants}
    shop.rpc.products.create(lamp, key=key())
    for sku in (RED, GREEN):
        shop.rpc.inventory.receive([{"sku": sku, "quantity": UNITS}], "delivery", key=key())
    shop.buyer = shop.customer()  # type: ignore[attr-defined]
    shop.rpc.users.add_payment_method(shop.buyer, f"tok_visa.{key()[:8]}", **CARD, key=key())  # type: ignore[attr-defined]
    return shop


class Talk:
    """The conversations of a customer."""

    def __init__(self, shop: Shop, customer_id: str, answers: FakeAnswers) -> None:
        self.shop, self.who, self.answers = shop, {"customer_id": customer_id}, answers
        self.id = ""

    @classmethod
    def of(cls, shop: Shop, customer_id: str, monkeypatch: pytest.MonkeyPatch) -> "Talk":
        answers = FakeAnswers()
        monkeypatch.setattr(module, "Assistant", lambda ports, _: Assistant(ports, answers))
        return cls(shop, customer_id, answers)

    def begin(self, text: str, intent: str | None) -> Any:
        """A new conversation; the assistant's answer."""
        self.answers.turn = {"intent": intent}
        begun = self.shop.rpc.support.begin(self.who, text, key=key())
        self.id = begun["id"]
        return begun["messages"][-1]

    def say(self, text: str, intent: str | None = None) -> Any:
        self.answers.turn = {"intent": intent}
        return self.shop.rpc.support.say(self.who, self.id, text, key=key())["reply"]

    def confirm(self, action_id: str, wait_s: float = 8, customer_id: str | None = None) -> Any:
        """As its customer, or as another one. With a broker's connection of its own, as the gateway has."""
        caller = customer_id or self.who["customer_id"]
        context = {"caller": {"customer_id": caller, "roles": ["customer"]}}
        with ClusterRpcProxy(self.shop.config, context_data=context, timeout=20) as rpc:
            return rpc.support.confirm({"customer_id": caller}, self.id, action_id, wait_s, key=key())

    def decline(self, action_id: str) -> Any:
        return self.shop.rpc.support.decline(self.who, self.id, action_id, key=key())

    def action(self, action_id: str) -> Any:
        messages = self.shop.rpc.support.get(self.who, self.id)["messages"]
        return next(each for message in messages for each in message["actions"] if each["id"] == action_id)

    def ended(self, action_id: str) -> Any:
        """An action at its end."""

        def look() -> Any:
            action = self.action(action_id)
            return action if action["status"] in ENDS else None

        return wait_until(look, 30)

    def told(self) -> list[str]:
        """What the system said by itself."""
        messages = self.shop.rpc.support.get(self.who, self.id)["messages"]
        return [each["text"] for each in messages if each["from"] == "system"]


def code_of(act: Any) -> str:
    """By which code something is refused."""
    with pytest.raises(ServiceError) as refused:
        act()
    return refused.value.code
