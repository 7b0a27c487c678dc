"""payments and shipping as nameko runs them: called by stock clients, calling the real processes of the companies."""

import sqlite3
import uuid

import pytest
from nameko.events import event_handler
from nameko.exceptions import ConfigurationError, RemoteError
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.errors import ServiceError
from services.payments.service import PaymentsService
from services.shipping.service import ShippingService
from tests.sandboxes import receiving_hooks, running_acquirer, running_carrier, wait_until

TWENTY = {"amount": 2000, "currency": "EUR"}
BERLIN = {"name": "Ada", "line1": "Street 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}


@pytest.fixture
def order():
    return f"o-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def acquirer(tmp_path):
    with receiving_hooks() as hooks, running_acquirer(tmp_path, hooks) as sandbox:
        yield sandbox


@pytest.fixture
def carrier(tmp_path):
    with receiving_hooks() as hooks, running_carrier(tmp_path, hooks) as sandbox:
        yield sandbox


@pytest.fixture
def start(container_factory, migrated_config):
    """Start a service, with settings of the test's own beside config.yaml's."""

    def start_one(service, **settings):
        container = container_factory(service, {**migrated_config, **settings})
        container.start()
        return container

    return start_one


def movements(acquirer):
    db = sqlite3.connect(acquirer.db)
    rows = db.execute("SELECT kind, amount FROM movements ORDER BY id").fetchall()
    db.close()
    return rows


def test_a_stranger_pays_with_plain_json_and_the_hooks_confirm_it(start, rabbit_config, acquirer, order):
    start(PaymentsService, acquirer_url=acquirer.url, acquirer_hook_secret=acquirer.hooks.secret)
    with ServiceRpcProxy("payments", rabbit_config, timeout=10) as payments:
        card = {"type": "card", "token": "tok_lost_reply"}
        with pytest.raises(RemoteError, match="OutcomeUnknown"):
            payments.authorize(order, TWENTY, card, key=f"{order}:a")
        assert payments.authorize(order, TWENTY, card, key=f"{order}:a")["status"] == "authorized"
        with pytest.raises(RemoteError, match="OutcomeUnknown"):
            payments.capture(order, TWENTY, key=f"{order}:c")
        wait_until(lambda: len(acquirer.hooks.received) == 2)
        for hook in acquirer.hooks.received:
            payments.acquirer_hook(hook.signature, hook.body.decode())
        assert payments.get(order) == {
            "id": order,
            "order_id": order,
            "status": "captured",
            "method": "card",
            "amount": 2000,
            "captured": 2000,
            "refunded": 0,
            "currency": "EUR",
            "parts": [
                {
                    "method": "card",
                    "status": "captured",
                    "amount": 2000,
                    "captured": 2000,
                    "refunded": 0,
                    "gift_card_id": None,
                    "account_id": None,
                }
            ],
            "reason": None,
            "action_url": None,
        }
        assert payments.refund(order, {"amount": 500, "currency": "EUR"}, key=f"{order}:r")["left"] == 1500
        assert payments.reconcile() == {"compared": 3, "count": 0, "differences": [], "complete": True}
        with pytest.raises(ServiceError) as refusal:
            payments.acquirer_hook("t=1,v1=00", "{}")
        assert refusal.value.code == "payments.bad_signature"
    assert movements(acquirer) == [("authorize", 2000), ("capture", 2000), ("refund", 500)]


def test_another_instance_ends_what_one_left_when_it_was_killed_in_the_middle_of_a_call(
    start, rabbit_config, acquirer, order
):
    first = start(PaymentsService, acquirer_url=acquirer.url)
    card = {"type": "card", "token": "tok_slow"}
    with ServiceRpcProxy("payments", rabbit_config, timeout=10) as payments:
        lost = payments.authorize.call_async(order, TWENTY, card, key=f"{order}:a")
        wait_until(lambda: movements(acquirer) == [("authorize", 2000)])
        first.kill()
        start(PaymentsService, acquirer_url=acquirer.url)
        assert payments.authorize(order, TWENTY, card, key=f"{order}:a")["status"] == "authorized"
        assert lost.result()["status"] == "authorized"  # the broker gave the request to the other instance
        assert payments.reconcile()["count"] == 0
    assert movements(acquirer) == [("authorize", 2000)]


def test_two_instances_of_payments_share_one_key_and_pay_once(start, rabbit_config, acquirer, order):
    for _ in range(2):
        start(PaymentsService, acquirer_url=acquirer.url)
    card = {"type": "card", "token": "tok_visa"}
    with ServiceRpcProxy("payments", rabbit_config, timeout=10) as payments:
        calls = [payments.authorize.call_async(order, TWENTY, card, key=f"{order}:a") for _ in range(6)]
        assert [call.result()["status"] for call in calls] == ["authorized"] * 6
    assert movements(acquirer) == [("authorize", 2000)]


def test_a_stranger_books_and_hears_of_the_parcel_from_the_carriers_hooks(
    start, container_factory, rabbit_config, carrier, order
):
    heard = []

    class Stranger:
        name = "stranger"

        @event_handler("shipping", "shipment_moved")
        @event_handler("shipping", "order_shipped")
        @event_handler("shipping", "order_delivered")
        def on_event(self, payload):
            heard.append(payload)

    container_factory(Stranger, rabbit_config).start()
    start(ShippingService, carrier_url=carrier.url, carrier_hook_secret=carrier.hooks.secret)
    with ServiceRpcProxy("shipping", rabbit_config, timeout=10) as shipping:
        assert shipping.quote(BERLIN, 2)["price"] == {"amount": 540, "currency": "EUR"}
        booked = shipping.book(order, BERLIN, 2, "ada@example.com", key=f"{order}:b")
        for n in range(3):
            shipping.advance(booked["tracking"], key=f"{order}:adv{n}")
        wait_until(lambda: len(carrier.hooks.received) == 3)
        for hook in reversed(carrier.hooks.received):
            shipping.carrier_hook(hook.signature, hook.body.decode())
        assert shipping.get(order)["status"] == "delivered"
    wait_until(lambda: len(heard) >= 5)
    assert sorted(each["sequence"] for each in heard) == [1, 2, 3, 4, 5]
    assert {each["tracking"] for each in heard} == {booked["tracking"]}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"acquirer_hook_secret": ""}, "config.yaml needs acquirer_hook_secret"),
        ({"hook_tolerance_s": "soon"}, "config.yaml needs hook_tolerance_s"),
    ],
)
def test_payments_does_not_start_with_a_setting_that_is_missing(container_factory, migrated_config, settings, sentence):
    container = container_factory(PaymentsService, {**migrated_config, **settings})
    with pytest.raises(ConfigurationError, match=sentence):
        container.start()
