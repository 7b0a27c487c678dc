"""Disputes over a real broker, with the acquirer's real process: of an order and of a deposit, to the cent."""

import sqlite3
import uuid
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest

from chassis.errors import ServiceError
from chassis.rpc import Proxy
from contracts.accounts import AccountsApi
from contracts.inventory import InventoryApi
from contracts.orders import OrdersApi
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from contracts.transactions import TransactionsApi
from edge.audit import Auditor
from tests.sandboxes import receiving_hooks, running_acquirer, running_carrier, wait_until
from tests.shop import running_shop

LAMP, PRICE = "LAMP-1", 1999
CARD = {"type": "card", "token": "tok_visa"}


@pytest.fixture
def house(migrated_config, tmp_path):
    """Every service; the acquirer's calls are kept until `hand_on` takes them to payments."""
    with receiving_hooks() as hooks:
        hooks.secret = migrated_config["acquirer_hook_secret"]
        with (
            running_acquirer(tmp_path, hooks) as acquirer,
            running_carrier(tmp_path, auto_s=0) as carrier,
            running_shop(migrated_config, acquirer, carrier, seal_every_s=0.1) as shop,
        ):
            shop.sell(LAMP, PRICE, stock=10)
            yield shop


def euro(amount):
    return {"amount": amount, "currency": "EUR"}


def key():
    return uuid.uuid4().hex


def ordered(house):
    """A customer, and their order, which is paid by card."""
    customer = house.customer((LAMP, 1))
    order = house.ended(house.place(customer)["id"])
    assert order["status"] == "confirmed"
    return customer, order["id"], order["totals"]["total"]["amount"]


def deposited(house, amount=5_000):
    customer = house.customer()
    account = house.rpc.accounts.open(customer, "EUR", "savings", key=key())["id"]
    done = house.rpc.transactions.deposit(customer, account, euro(amount), CARD, 20, key=key())
    assert done["status"] == "completed"
    return customer, done["id"], account


def disputed(house, reference, amount=None):
    """The cardholder's bank takes it back; answers the dispute's id."""
    with sqlite3.connect(house.acquirer.db) as db:
        query = "SELECT key FROM authorizations WHERE reference = ?"
        (authorization,) = db.execute(query, (reference,)).fetchone()
    asked = dict(key=key(), authorization_key=authorization, reason="fraudulent")
    answer = httpx.post(f"{house.acquirer.url}/disputes", json={**asked, **({"amount": amount} if amount else {})})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def decided(house, dispute_id, outcome):
    answer = httpx.post(f"{house.acquirer.url}/disputes/{dispute_id}/decide", json={"outcome": outcome})
    assert answer.status_code == 200, answer.text


def hand_on(house, dispute_id, *kinds, times=2):
    """Take the acquirer's calls about a dispute to payments, in this order, each so often."""

    def found(kind):
        received = house.acquirer.hooks.received
        return [each for each in received if each.json["type"] == kind and each.json["data"]["id"] == dispute_id]

    for kind in kinds:
        (hook,) = wait_until(lambda kind=kind: found(kind))
        for _ in range(times):
            house.rpc.payments.acquirer_hook(hook.signature, hook.body.decode(), key="hook")


def roles(house):
    """What each role has, debits above zero; after the books were looked at as a whole."""
    trial = house.rpc.accounts.trial_balance()
    assert trial["holds"]
    verified = house.rpc.accounts.verify()
    assert (verified["holds"], verified["broken"]) == (True, [])
    return {line["role"]: line["debit"] - line["credit"] for line in trial["lines"] if line["debit"] != line["credit"]}


def booked(house, dispute_id):
    """The entries about a dispute: their kind and postings."""
    with sqlite3.connect(house.config["DB_URIS"]["accounts:Base"].removeprefix("sqlite:///")) as db:
        query = "SELECT id FROM entry WHERE subject = ? ORDER BY id"
        ids = [str(row) for (row,) in db.execute(query, (f"dispute:{dispute_id}",))]
    entries = [house.rpc.accounts.entry(each) for each in ids]
    return {
        each["kind"]: {posting["account_id"]: posting["amount"]["amount"] for posting in each["postings"]}
        for each in entries
    }, len(entries)


def when_booked(house, dispute_id, count):
    return wait_until(lambda: (found := booked(house, dispute_id))[1] >= count and found)


def letters(house, subject, count):
    """How often a mail of this subject was sent, once there are so many at least."""

    def look():
        found = Counter(mail["subject"] for mail in house.rpc.notifications.find(None, 100))
        return found[subject] if found[subject] >= count else None

    return wait_until(look, 15)


def texts(house, kind):
    with sqlite3.connect(house.config["DB_URIS"]["notifications:Base"].removeprefix("sqlite:///")) as db:
        rows = db.execute("SELECT text FROM mail WHERE kind = ? ORDER BY created_at", (kind,)).fetchall()
    return [text for (text,) in rows]


def postings(debited, credited, amount):
    return {f"{debited}.EUR": amount, f"{credited}.EUR": -amount}


OPENED, WON, LOST = (
    ("disputed", "acquirer_receivable"),
    ("acquirer_receivable", "disputed"),
    ("dispute_losses", "disputed"),
)


@pytest.mark.parametrize("news", [("opened", "lost"), ("lost", "opened")])
def test_a_lost_dispute_of_an_order_is_booked_shown_and_told_once(house, news):
    _, order_id, total = ordered(house)
    before = roles(house)
    dispute_id = disputed(house, order_id)
    decided(house, dispute_id, "lost")
    hand_on(house, dispute_id, *(f"dispute.{each}" for each in news))
    entries = when_booked(house, dispute_id, 2)
    assert entries == ({"dispute_opened": postings(*OPENED, total), "dispute_lost": postings(*LOST, total)}, 2)
    after = Counter(roles(house))
    after.subtract(before)
    assert {role: amount for role, amount in after.items() if amount} == {
        "acquirer_receivable": -total,
        "dispute_losses": total,
    }
    assert letters(house, f"A dispute about your order {order_id}", 2) == 2
    (lost,) = [text for text in texts(house, "order_disputed") if "in your favour" in text]
    assert order_id in lost
    shown = wait_until(lambda: house.rpc.orders.get(order_id)["disputes"])
    assert shown == [{"id": dispute_id, "status": "lost", "amount": euro(total)}]
    assert house.rpc.orders.get(order_id)["payment"]["refunded"] == euro(0)
    assert house.movements() == [("authorize", total), ("capture", total), ("dispute", total)]
    assert house.rpc.payments.reconcile()["count"] == 0


def test_a_won_dispute_of_an_order_comes_to_nothing_and_it_can_be_refunded_again(house):
    _, order_id, total = ordered(house)
    before = roles(house)
    dispute_id = disputed(house, order_id)
    hand_on(house, dispute_id, "dispute.opened")
    with pytest.raises(ServiceError) as refused:
        house.rpc.payments.refund(order_id, euro(total), key="by-hand")
    assert (refused.value.code, refused.value.details) == ("payments.refund_exceeds_capture", {"left": 0})
    assert when_booked(house, dispute_id, 1) == ({"dispute_opened": postings(*OPENED, total)}, 1)
    decided(house, dispute_id, "won")
    hand_on(house, dispute_id, "dispute.won")
    entries = when_booked(house, dispute_id, 2)
    assert entries == ({"dispute_opened": postings(*OPENED, total), "dispute_won": postings(*WON, total)}, 2)
    assert roles(house) == before
    assert letters(house, f"A dispute about your order {order_id}", 2) == 2
    assert house.rpc.payments.refund(order_id, euro(total), key="by-hand")["left"] == 0
    kinds = [kind for kind, _ in house.movements()]
    assert kinds == ["authorize", "capture", "dispute", "dispute_won", "refund"]
    assert house.rpc.payments.reconcile()["count"] == 0


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_dispute_of_a_deposit_is_booked_alike_and_the_account_keeps_the_money(house, outcome):
    _, deposit_id, account = deposited(house)
    dispute_id = disputed(house, deposit_id, 1_500)
    decided(house, dispute_id, outcome)
    hand_on(house, dispute_id, f"dispute.{outcome}", "dispute.opened")
    when_booked(house, dispute_id, 2)
    customers = {"customers": -5_000}
    assert (
        roles(house)
        == customers
        | {
            "won": {"acquirer_receivable": 5_000},
            "lost": {"acquirer_receivable": 3_500, "dispute_losses": 1_500},
        }[outcome]
    )
    assert house.rpc.accounts.get(account)["balance"]["available"] == euro(5_000)
    assert letters(house, "A dispute about your deposit", 2) == 2
    found = wait_until(lambda: _decided(house.rpc.transactions.get(deposit_id)))
    assert found["disputes"] == [{"id": dispute_id, "status": outcome, "amount": euro(1_500)}]
    assert (found["status"], found["reversed_amount"]) == ("completed", euro(0))
    assert house.rpc.payments.reconcile()["count"] == 0


def _decided(transaction):
    return transaction if any(each["status"] != "opened" for each in transaction["disputes"]) else None


def test_what_is_disputed_of_a_deposit_is_not_reversed(house):
    _, deposit_id, account = deposited(house)
    dispute_id = disputed(house, deposit_id, 1_500)
    hand_on(house, dispute_id, "dispute.opened")
    wait_until(lambda: house.rpc.transactions.get(deposit_id)["disputes"])
    with pytest.raises(ServiceError) as refused:
        house.rpc.transactions.reverse(deposit_id, "a mistake", euro(3_501), key=key())
    assert (refused.value.code, refused.value.details) == ("transactions.reversal_exceeds_rest", {"left": 3_500})
    done = house.rpc.transactions.reverse(deposit_id, "a mistake", None, 20, key=key())
    assert (done["status"], done["amount"]) == ("completed", euro(3_500))
    assert house.rpc.accounts.get(account)["balance"]["available"] == euro(1_500)
    assert house.movements()[2:] == [("dispute", 1_500), ("refund", 3_500)]


def refused_refund(house):
    """The saga that cancels an order, once its refund was refused."""
    for found in house.rpc.orders.find_sagas(name="cancel_order")["items"]:
        saga = house.rpc.orders.get_saga(found["id"])
        if ("refund_payment", "refused") in [(line["step"], line["outcome"]) for line in saga["timeline"]]:
            return saga
    return None


def skipped(house, step, reason):
    """Have an operator leave a step of the cancel out; False if the saga has gone on meanwhile."""
    saga = refused_refund(house)
    try:
        house.rpc.orders.operate_saga(saga["id"], "skip-step", saga["ver"], reason, step, key=key())
    except ServiceError as refusal:
        assert refusal.code == "sagas.stale"  # noqa: PT017
        return False
    return True


def unsettled_checks(house):
    """What does not hold in the audit of the whole house, without excuses for what is under way."""
    apis = (OrdersApi, InventoryApi, PaymentsApi, ShippingApi, TransactionsApi, AccountsApi)
    services = [Proxy(house.client, api, SimpleNamespace(context_data={}), timeout_s=20.0) for api in apis]
    checks = Auditor(*services, settle=timedelta()).run().checks
    return [(check.name, check.detail) for check in checks if not check.holds or check.in_flight]


def test_a_cancel_of_a_disputed_order_waits_until_the_dispute_is_won(house):
    """Its refund is repeated until it succeeds: nobody is paid twice, and nobody is forgotten."""
    _, order_id, total = ordered(house)
    dispute_id = disputed(house, order_id)
    hand_on(house, dispute_id, "dispute.opened")
    house.rpc.orders.cancel(order_id, "changed my mind", key=key())
    wait_until(lambda: refused_refund(house))
    assert house.movements() == [("authorize", total), ("capture", total), ("dispute", total)]
    decided(house, dispute_id, "won")
    hand_on(house, dispute_id, "dispute.won")
    wait_until(lambda: house.rpc.orders.get(order_id)["status"] == "cancelled", 20)
    assert house.movements()[2:] == [("dispute", total), ("dispute_won", total), ("refund", total)]
    assert house.rpc.orders.get(order_id)["payment"]["refunded"] == euro(total)


def test_a_cancel_after_a_lost_dispute_is_settled_by_an_operator_and_the_audit_agrees(house):
    """The customer has the money from their bank: the shop refunds nothing more."""
    _, order_id, total = ordered(house)
    dispute_id = disputed(house, order_id)
    decided(house, dispute_id, "lost")
    hand_on(house, dispute_id, "dispute.opened", "dispute.lost")
    assert unsettled_checks(house) == []
    house.rpc.orders.cancel(order_id, "changed my mind", key=key())
    wait_until(lambda: refused_refund(house))
    wait_until(lambda: skipped(house, "refund_payment", f"{dispute_id} is lost"))
    wait_until(lambda: house.rpc.orders.get(order_id)["status"] == "cancelled", 20)
    assert house.movements() == [("authorize", total), ("capture", total), ("dispute", total)]
    wait_until(lambda: unsettled_checks(house) == [])


def test_a_dispute_whose_calls_were_all_lost_is_found_by_reconciliation(house):
    _, order_id, total = ordered(house)
    dispute_id = disputed(house, order_id)
    decided(house, dispute_id, "lost")
    assert house.rpc.payments.reconcile()["count"] == 2
    assert house.rpc.payments.refresh_dispute(dispute_id)["status"] == "lost"
    assert when_booked(house, dispute_id, 2)[1] == 2
    assert (house.rpc.payments.reconcile()["count"], roles(house)["dispute_losses"]) == (0, total)
