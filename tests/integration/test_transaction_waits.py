"""Transactions that wait for somebody: a card's owner who has to approve, or staff; who says yes, no, or nothing."""

from datetime import timedelta

import httpx

from chassis.db import shift_clock
from services.risk.service import RiskService
from services.transactions.flows import CHALLENGE_S, REVIEW_S
from tests.house import (
    NOTHING,
    account,
    balance,
    deposit,
    ended,
    holding,
    in_status,
    key,
    letters,
    review_of,
    roles,
    sent,
    transfer,
    used,
    withdraw,
)
from tests.sandboxes import wait_until

AMOUNT, LARGE = 5_000, 250_000
"""LARGE is what risk always has staff look at."""
RISK_REVIEW_S = 86_400
ON_ITS_WAY = NOTHING | {"pending_in": AMOUNT}


def challenged(house, to):
    """A deposit that waits for its customer, and the page at the bank."""
    begun = deposit(house, to, AMOUNT, "tok_challenge")
    url = wait_until(lambda: house.rpc.transactions.get(begun["id"])["action_url"])
    assert balance(house, to) == ON_ITS_WAY
    assert house.movements() == []
    return begun, url


def decide(house, url, decision, told):
    """The card's owner presses a button, and the acquirer's call about it is handed on."""
    assert httpx.post(url, data={"decision": decision}).status_code == 200
    hooks = house.acquirer.hooks.received
    hook = wait_until(lambda: next((each for each in hooks if each.json["type"] == told), None))
    house.rpc.payments.acquirer_hook(hook.signature, hook.body.decode(), key="hook")


def assert_nothing_came(house, to, rejected, code, moved):
    assert (rejected["status"], rejected["reason_code"], rejected["action_url"]) == ("rejected", code, None)
    assert (balance(house, to), house.movements(), roles(house)) == (NOTHING, moved, {})
    assert used(house, "deposit") == 0
    wait_until(lambda: letters(house) == ["Your deposit is rejected"])


def test_a_deposit_that_its_customer_approves_at_the_bank_is_completed(house):
    to = account(house, house.ada)
    begun, url = challenged(house, to)
    decide(house, url, "approve", "payment.authorized")
    done = ended(house, begun)
    assert (done["status"], done["action_url"]) == ("completed", None)
    assert house.movements() == [("authorize", AMOUNT), ("capture", AMOUNT)]
    assert balance(house, to) == holding(AMOUNT)
    assert roles(house) == {"acquirer_receivable": AMOUNT, "customers": -AMOUNT}
    wait_until(lambda: letters(house) == ["Your deposit is completed"])


def test_a_deposit_that_its_customer_refuses_at_the_bank_brings_nothing(house):
    to = account(house, house.ada)
    begun, url = challenged(house, to)
    decide(house, url, "refuse", "payment.declined")
    assert_nothing_came(house, to, ended(house, begun), "transactions.challenge_refused", [])


def test_a_deposit_that_nobody_approves_in_time_brings_nothing_and_cannot_be_approved_later(house):
    to = account(house, house.ada)
    begun, url = challenged(house, to)
    shift_clock(timedelta(seconds=CHALLENGE_S + 5))
    assert_nothing_came(house, to, ended(house, begun), "transactions.challenge_expired", [])
    assert httpx.post(url, data={"decision": "approve"}).status_code == 409
    assert (house.movements(), balance(house, to)) == ([], NOTHING)


# --- staff


def test_a_deposit_in_review_charges_nobody_before_staff_approves(house):
    to = account(house, house.ada)
    waiting = in_status(house, deposit(house, to, LARGE)["id"], "in_review")
    assert (balance(house, to), house.movements(), used(house, "deposit")) == (NOTHING, [], LARGE)
    house.rpc.risk.approve(review_of(house, waiting)["id"], "I looked at it.", key=key())
    assert ended(house, waiting)["status"] == "completed"
    assert house.movements() == [("authorize", LARGE), ("capture", LARGE)]
    assert roles(house) == {"acquirer_receivable": LARGE, "customers": -LARGE}


def test_a_withdrawal_that_staff_refuses_sends_nothing_and_counts_against_no_limit(house):
    of = account(house, house.ada, 2 * LARGE)
    waiting = in_status(house, withdraw(house, of, LARGE)["id"], "in_review")
    assert (balance(house, of), used(house, "withdrawal")) == (holding(2 * LARGE), LARGE)
    house.rpc.risk.refuse(review_of(house, waiting)["id"], "I looked at it.", key=key())
    refused = ended(house, waiting)
    assert (refused["status"], refused["reason_code"]) == ("rejected", "transactions.review_refused")
    assert (sent(house), balance(house, of), used(house, "withdrawal")) == ([], holding(2 * LARGE), 0)


def test_a_transfer_that_staff_does_not_look_at_in_time_is_rejected(house):
    of, to = account(house, house.ada, 2 * LARGE), account(house, house.ben)
    waiting = in_status(house, transfer(house, of, to, LARGE)["id"], "in_review")
    review_of(house, waiting)
    shift_clock(timedelta(seconds=RISK_REVIEW_S + 5))
    refused = ended(house, waiting)
    assert (refused["status"], refused["reason_code"]) == ("rejected", "transactions.review_refused")
    assert [each["subject_id"] for each in house.rpc.risk.reviews("expired")["items"]] == [waiting["id"]]
    assert (balance(house, of), balance(house, to)) == (holding(2 * LARGE), NOTHING)
    assert used(house, "transfer") == 0


def test_a_transfer_of_whose_review_nobody_tells_is_given_up_when_risk_is_back(house, container_factory):
    of, to = account(house, house.ada, 2 * LARGE), account(house, house.ben)
    waiting = in_status(house, transfer(house, of, to, LARGE)["id"], "in_review")
    house.stop("risk")
    shift_clock(timedelta(seconds=REVIEW_S + 5))
    lost = "transactions.review_expired"
    wait_until(lambda: lost in str(house.rpc.transactions.get(waiting["id"])["timeline"]))
    container_factory(RiskService, house.config).start()
    refused = ended(house, waiting)
    assert (refused["status"], refused["reason_code"]) == ("rejected", lost)
    assert (balance(house, of), balance(house, to)) == (holding(2 * LARGE), NOTHING)
    assert (house.rpc.risk.reviews("open")["items"], used(house, "transfer")) == ([], 0)
