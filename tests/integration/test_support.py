"""A conversation on the whole shop: what a customer confirms is done to the order, once, and told where they asked."""

import uuid

import pytest
from nameko.standalone.rpc import ClusterRpcProxy, ServiceRpcProxy

from chassis.errors import OutcomeUnknown
from services.support import service as module
from tests.integration.test_cancel import LAMP, settled
from tests.sandboxes import wait_until
from tests.shop import in_green_threads, service_class
from tests.support_desk import Scripted, proposal


@pytest.fixture
def assistant(monkeypatch):
    scripted = Scripted()
    monkeypatch.setattr(module, "Assistant", scripted)
    return scripted


@pytest.fixture
def lamps(shop):
    shop.sell(LAMP, 1999, stock=10)
    shop.buyer = shop.customer((LAMP, 2))
    return shop


def key():
    return uuid.uuid4().hex


def offered(shop, assistant, order_id, kind="cancel", **wish):
    """A conversation of the buyer's, as they call it, and the action that is offered in it."""
    assistant.will("Shall I?", intent="do_cancel", proposals=[proposal(kind, order_id, **wish)])
    begun = shop.rpc.support.begin({"customer_id": shop.buyer}, "Please cancel it", "", order_id, key=key())
    return begun["id"], begun["messages"][-1]["actions"][0]["id"]


def caller(shop):
    return {"caller": {"customer_id": shop.buyer, "roles": ["customer"]}}


def told(shop, conversation):
    messages = shop.rpc.support.get({"customer_id": shop.buyer}, conversation)["messages"]
    return [each["text"] for each in messages if each["from"] == "system"]


def ended(shop, conversation, action):
    def look():
        messages = shop.rpc.support.get({"customer_id": shop.buyer}, conversation)["messages"]
        found = next(each for message in messages for each in message["actions"] if each["id"] == action)
        return found if found["status"] in ("done", "refused") else None

    return wait_until(look, 30)


def test_a_confirmed_cancel_cancels_the_order_once_and_is_told_with_the_amount(lamps, assistant):
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    conversation, action = offered(lamps, assistant, order["id"], reason="changed my mind")
    who = {"customer_id": lamps.buyer}

    def click():
        with ServiceRpcProxy("support", lamps.config, context_data=caller(lamps), timeout=30) as support:
            return support.confirm(who, conversation, action, 10, key=key())["status"]

    assert in_green_threads([click] * 5) == ["done"] * 5
    order = settled(lamps, order["id"], "cancelled")
    total = order["totals"]["total"]["amount"]
    assert lamps.movements() == [("authorize", total), ("capture", total), ("refund", total)]
    assert [(each["kind"], each["status"], each["reason"]) for each in order["amendments"]] == [
        ("cancel", "settled", "changed my mind")
    ]
    assert told(lamps, conversation) == [
        f"Order {order['id']} is cancelled. {total / 100:.2f} EUR is on its way back to you."
    ]


def test_what_orders_did_not_answer_is_done_by_the_timer_once(lamps, assistant, monkeypatch):
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    conversation, action = offered(lamps, assistant, order["id"])
    cls, left = service_class("orders"), [2]
    cancel = cls.cancel

    def lose(self, *args, **kwargs):
        answer = cancel(self, *args, **kwargs)
        if left[0]:
            left[0] -= 1
            raise OutcomeUnknown("orders", "the answer was lost")
        return answer

    monkeypatch.setattr(cls, "cancel", lose)
    with ClusterRpcProxy(lamps.config, context_data=caller(lamps), timeout=30) as rpc:
        rpc.support.confirm({"customer_id": lamps.buyer}, conversation, action, key=key())
    assert ended(lamps, conversation, action)["status"] == "done"
    order = settled(lamps, order["id"], "cancelled")
    assert [each["kind"] for each in order["amendments"]] == ["cancel"]
    assert len(told(lamps, conversation)) == 1


def test_a_refusal_of_orders_is_told_and_the_order_stays(lamps, assistant):
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    lamps.rpc.shipping.advance(order["shipment"]["tracking"], key="out")
    shipped = wait_until(lambda: (found := lamps.rpc.orders.get(order["id"]))["status"] == "shipped" and found)
    conversation, action = offered(lamps, assistant, order["id"])
    with ClusterRpcProxy(lamps.config, context_data=caller(lamps), timeout=30) as rpc:
        refusal = rpc.support.confirm({"customer_id": lamps.buyer}, conversation, action, 5, key=key())
    assert (refusal["status"], refusal["reason_code"]) == ("refused", "orders.not_cancellable")
    assert told(lamps, conversation) == [f"This could not be done: {refusal['reason']}"]
    assert lamps.rpc.orders.get(order["id"]) == shipped


def test_nobody_cancels_anothers_order_by_a_conversation(lamps, assistant):
    order = lamps.ended(lamps.place(lamps.buyer)["id"])
    eve = lamps.customer()
    assistant.will("Shall I?", proposals=[proposal("cancel", order["id"])])
    who = {"customer_id": eve}
    with ClusterRpcProxy(lamps.config, context_data={"caller": {"customer_id": eve, "roles": ["customer"]}}) as rpc:
        begun = rpc.support.begin(who, "Cancel it", key=key())
        action = begun["messages"][-1]["actions"][0]["id"]
        refusal = rpc.support.confirm(who, begun["id"], action, 5, key=key())
    assert (refusal["status"], refusal["reason_code"]) == ("refused", "orders.not_found")
    assert lamps.rpc.orders.get(order["id"]) == order
