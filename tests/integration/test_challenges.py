"""A payment that the customer has to approve at the bank: the order waits for that, and for nothing else."""

import uuid
from datetime import timedelta

import httpx
import pytest

from chassis.db import shift_clock
from tests.amending import LARGE, SMALL, amended, confirmed, furnish, net, swaps
from tests.sandboxes import receiving_hooks, running_acquirer, running_carrier, wait_until
from tests.shop import running_shop

CHALLENGE = {"type": "card", "token": "tok_challenge"}


@pytest.fixture
def bank(migrated_config, tmp_path):
    """The shop, with the acquirer's calls kept until `tell` hands them on."""
    with receiving_hooks() as hooks:
        hooks.secret = migrated_config["acquirer_hook_secret"]
        with (
            running_acquirer(tmp_path, hooks) as acquirer,
            running_carrier(tmp_path, auto_s=0) as carrier,
            running_shop(migrated_config, acquirer, carrier) as shop,
        ):
            shop.hooks = hooks
            yield furnish(shop)


def tell(shop, kind):
    """Hand on the acquirer's call of a kind, once it came."""

    def look():
        return next((each for each in shop.hooks.received if each.json["type"] == kind), None)

    hook = wait_until(look)
    shop.rpc.payments.acquirer_hook(hook.signature, hook.body.decode(), key="hook")


def press(url, decision):
    assert httpx.get(url).status_code == 200
    assert httpx.post(url, data={"decision": decision}).status_code == 200


def challenged(shop):
    """An order that waits for the customer."""
    placed = shop.place(shop.buyer, "tok_challenge")

    def look():
        order = shop.rpc.orders.get(placed["id"])
        return order if order["payment"]["status"] == "requires_action" else None

    return wait_until(look)


def test_the_audit_is_told_of_sagas_that_wait_and_of_those_that_run(bank):
    nothing = {"running": 0, "overdue": [], "running_keys": [], "attention": []}
    assert bank.rpc.orders.saga_health() == nothing
    waits = challenged(bank)
    assert bank.rpc.orders.saga_health() == nothing | {"running_keys": [waits["id"]]}
    bank.stop("payments")
    runs = bank.place(bank.customer((SMALL, 1)))
    health = bank.rpc.orders.saga_health()
    assert health == nothing | {"running": 1, "running_keys": [waits["id"], runs["id"]]}


def test_an_approved_payment_confirms_the_order(bank):
    order = challenged(bank)
    assert order["status"] == "pending"
    press(order["payment"]["action_url"], "approve")
    tell(bank, "payment.authorized")
    ended = bank.ended(order["id"])
    assert (ended["status"], ended["payment"]["status"]) == ("confirmed", "captured")
    assert ended["payment"]["action_url"] is None
    assert net(bank) == ended["totals"]["total"]["amount"]
    assert bank.mails(1) == {"order_confirmed": 1}


def test_a_refused_payment_rejects_the_order_and_gives_everything_back(bank):
    order = challenged(bank)
    press(order["payment"]["action_url"], "refuse")
    tell(bank, "payment.declined")
    ended = bank.ended(order["id"])
    assert (ended["status"], ended["reason_code"]) == ("rejected", "orders.challenge_refused")
    assert ended["payment"]["status"] == "declined"
    assert "not approved" in ended["reason"]
    assert net(bank) == 0
    assert bank.stock(SMALL) == (10, 0, 0)
    assert bank.mails(1) == {"order_rejected": 1}


def test_a_payment_that_nobody_approves_in_time_rejects_the_order(bank):
    order = challenged(bank)
    shift_clock(timedelta(seconds=905))
    ended = bank.ended(order["id"])
    assert (ended["status"], ended["reason_code"]) == ("rejected", "orders.challenge_expired")
    assert ended["payment"]["status"] == "voided"
    assert bank.stock(SMALL) == (10, 0, 0)
    assert httpx.post(order["payment"]["action_url"], data={"decision": "approve"}).status_code == 409
    assert net(bank) == 0


def test_an_order_that_waits_for_the_customer_can_be_cancelled(bank):
    order = challenged(bank)
    bank.rpc.orders.cancel(order["id"], "changed my mind", key="c")
    ended = wait_until(lambda: _with(bank, order["id"], "cancelled"))
    assert ended["payment"]["status"] == "voided"
    assert bank.stock(SMALL) == (10, 0, 0)
    assert net(bank) == 0
    assert bank.mails(1) == {"order_cancelled": 1}


def _with(shop, order_id, status):
    order = shop.rpc.orders.get(order_id)
    return order if order["status"] == status else None


def test_the_difference_of_a_change_may_need_approval_too(bank):
    order = confirmed(bank)
    asked = dict(lines=swaps((SMALL, LARGE, 1)), payment_method=CHALLENGE)
    bank.rpc.orders.change(order["id"], **asked, key=uuid.uuid4().hex)
    url = wait_until(lambda: bank.rpc.orders.get(order["id"])["amendments"][0]["action_url"])
    assert bank.stock(LARGE) == (9, 1, 0)
    press(url, "approve")

    def authorized():
        return [each for each in bank.hooks.received if each.json["type"] == "payment.authorized"][1:]

    (hook,) = wait_until(authorized)
    bank.rpc.payments.acquirer_hook(hook.signature, hook.body.decode(), key="hook")
    changed = amended(bank, order["id"])
    assert changed["amendments"][0]["status"] == "settled"
    assert net(bank) == changed["totals"]["total"]["amount"] == order["totals"]["total"]["amount"] + 1000
