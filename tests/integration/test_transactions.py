"""Customers' money on its way, over a real broker, with the acquirer's and the bank's real processes: each flow to its
end, the ledger asked after it whether the books hold."""

from datetime import timedelta

import pytest

from chassis.db import shift_clock
from chassis.errors import ServiceError
from sandbox.bank import LOST_REPLY, REFUSED
from tests.house import (
    FEE,
    NOTHING,
    account,
    at_bank,
    balance,
    deposit,
    ended,
    euro,
    holding,
    in_status,
    key,
    letters,
    reverse,
    roles,
    sent,
    transfer,
    withdraw,
)
from tests.sandboxes import wait_until

# --- transfers


def test_a_transfer_moves_the_amount_once_and_both_owners_see_it(house):
    of, to = account(house, house.ada, 10_000), account(house, house.ben)
    asked = dict(key=key())
    first = house.rpc.transactions.transfer(house.ada, of, to, euro(2_500), "rent", **asked)
    again = house.rpc.transactions.transfer(house.ada, of, to, euro(2_500), "rent", **asked)
    assert again["id"] == first["id"]
    done = ended(house, first)
    assert (done["status"], done["reason_code"], done["fee"]["amount"]) == ("completed", None, 0)
    assert [each["step"] for each in done["timeline"] if each["outcome"] == "ok"] == ["screen", "hold", "settle"]
    assert (balance(house, of), balance(house, to)) == (holding(7_500), holding(2_500))
    assert roles(house) == {"bank": 10_000, "customers": -10_000}
    lines = house.rpc.accounts.entries(to)["items"]
    assert [(each["kind"], each["memo"], each["amount"]["amount"]) for each in lines if each["state"] == "posted"] == [
        ("transfer", "rent", 2_500)
    ]
    wait_until(lambda: letters(house) == ["Your transfer is completed"])


def test_a_transfer_of_more_than_there_is_is_rejected_and_nothing_has_moved(house):
    of, to = account(house, house.ada, 10_000), account(house, house.ben)
    refused = ended(house, transfer(house, of, to, 10_001))
    assert (refused["status"], refused["reason_code"]) == ("rejected", "accounts.insufficient_funds")
    assert refused["reason"] == "There is not enough money on the account."
    assert (balance(house, of), balance(house, to)) == (holding(10_000), NOTHING)
    assert roles(house) == {"bank": 10_000, "customers": -10_000}
    kept = house.rpc.risk.screenings(refused["id"])
    assert [each["screening"]["decision"] for each in kept] == ["accept"]
    assert ended(house, transfer(house, of, to, 10_000))["status"] == "completed"


def test_a_transfer_to_a_frozen_account_is_refused_before_it_begins(house):
    of, to = account(house, house.ada, 10_000), account(house, house.ben)
    house.rpc.accounts.freeze(to, "lost", key=key())
    with pytest.raises(ServiceError) as refusal:
        transfer(house, of, to, 100)
    assert refusal.value.code == "accounts.frozen"
    assert house.rpc.transactions.find(house.ada)["items"] == []
    assert balance(house, of) == holding(10_000)


# --- staff


def reviewed(house):
    """A transfer that risk wants looked at: all of a young account, to somebody new."""
    of, to = account(house, house.ada, 100_000), account(house, house.ben)
    waiting = in_status(house, transfer(house, of, to, 100_000)["id"], "in_review")
    assert (balance(house, of), balance(house, to)) == (holding(100_000), NOTHING)
    (review,) = house.rpc.risk.reviews("open")["items"]
    assert (review["subject_id"], review["kind"]) == (waiting["id"], "transfer")
    house.rpc.risk.claim(review["id"], key=key())
    return of, to, waiting, review


def test_a_transfer_in_review_goes_on_when_staff_approves(house):
    of, to, waiting, review = reviewed(house)
    house.rpc.risk.approve(review["id"], "I looked at it.", key=key())
    assert ended(house, waiting)["status"] == "completed"
    assert (balance(house, of), balance(house, to)) == (NOTHING, holding(100_000))
    assert roles(house) == {"bank": 100_000, "customers": -100_000}


def test_a_transfer_in_review_is_rejected_when_staff_refuses_and_their_reason_stays_theirs(house):
    of, to, waiting, review = reviewed(house)
    house.rpc.risk.refuse(review["id"], "I looked at it.", key=key())
    refused = ended(house, waiting)
    assert (refused["status"], refused["reason_code"]) == ("rejected", "transactions.review_refused")
    assert "I looked at it." not in str(refused)
    assert (balance(house, of), balance(house, to)) == (holding(100_000), NOTHING)
    assert roles(house) == {"bank": 100_000, "customers": -100_000}


def test_without_risk_a_small_transfer_goes_on_and_its_timeline_says_so(house):
    of, to = account(house, house.ada, 10_000), account(house, house.ben)
    house.stop("risk")
    begun = transfer(house, of, to, 4_999)
    wait_until(lambda: "unknown" in [e["outcome"] for e in house.rpc.transactions.get(begun["id"])["timeline"]])
    shift_clock(timedelta(seconds=31))
    done = ended(house, begun)
    said = [each["detail"] for each in done["timeline"] if each["outcome"] == "given_up"]
    assert (done["status"], said) == ("completed", ["Risk does not answer: open for this amount."])
    assert (balance(house, of), balance(house, to)) == (holding(5_001), holding(4_999))


# --- deposits


def test_a_deposit_takes_from_the_card_what_comes_to_the_account(house):
    to = account(house, house.ada)
    done = ended(house, deposit(house, to, 5_000))
    assert (done["status"], done["reason_code"]) == ("completed", None)
    assert house.movements() == [("authorize", 5_000), ("capture", 5_000)]
    assert balance(house, to) == holding(5_000)
    assert roles(house) == {"acquirer_receivable": 5_000, "customers": -5_000}
    (money,) = house.rpc.transactions.deposits()["items"]
    assert (money["transaction_id"], money["due"], money["settled"]) == (done["id"], 5_000, True)


@pytest.mark.parametrize(
    ("token", "code", "moved"),
    [
        ("tok_declined", "payments.declined", []),
        ("tok_capture_fails", "payments.capture_refused", [("authorize", 5_000), ("void", 5_000)]),
    ],
)
def test_a_deposit_that_the_card_refuses_brings_nothing(house, token, code, moved):
    to = account(house, house.ada)
    refused = ended(house, deposit(house, to, 5_000, token))
    assert (refused["status"], refused["reason_code"]) == ("rejected", code)
    assert house.movements() == moved
    assert balance(house, to) == NOTHING
    assert roles(house) == {}


# --- withdrawals


def test_a_withdrawal_is_in_transit_until_the_bank_says_that_it_arrived(house):
    of = account(house, house.ada, 10_000)
    done = ended(house, withdraw(house, of, 3_000))
    assert (done["status"], done["fee"]["amount"]) == ("completed", FEE)
    assert sent(house) == [("payout", 3_000)]
    assert balance(house, of) == holding(10_000 - 3_000 - FEE)
    assert roles(house) == {"bank": 10_000, "payouts_in_transit": -3_000, "fees": -FEE, "customers": -6_950}
    at_bank(house, "settlements", done)
    arrived = {"bank": 7_000, "fees": -FEE, "customers": -6_950}
    wait_until(lambda: roles(house) == arrived)
    assert house.rpc.transactions.get(done["id"])["status"] == "completed"


def test_a_withdrawal_that_the_bank_refuses_leaves_everything_where_it_was(house):
    of = account(house, house.ada, 10_000)
    refused = ended(house, withdraw(house, of, 3_000, REFUSED))
    assert (refused["status"], refused["reason_code"]) == ("rejected", "payments.payout_refused")
    assert (sent(house), balance(house, of)) == ([], holding(10_000))
    assert roles(house) == {"bank": 10_000, "customers": -10_000}


def test_a_withdrawal_whose_answer_is_lost_is_sent_once(house):
    of = account(house, house.ada, 10_000)
    assert ended(house, withdraw(house, of, 3_000, LOST_REPLY))["status"] == "completed"
    assert (sent(house), balance(house, of)) == ([("payout", 3_000)], holding(6_950))


@pytest.mark.parametrize("arrived_first", [True, False])
def test_what_the_bank_sends_back_is_booked_back_by_an_entry_that_names_the_withdrawals(house, arrived_first):
    of = account(house, house.ada, 10_000)
    done = ended(house, withdraw(house, of, 3_000))
    (settled,) = [line for line in house.rpc.accounts.entries(of)["items"] if _is(line, "withdrawal")]
    later_s = 3 * 86_400 if arrived_first else 0
    if arrived_first:
        at_bank(house, "settlements", done)
        shift_clock(timedelta(seconds=later_s))
    at_bank(house, "returns", done, later_s, reason="account_closed")
    back = in_status(house, done["id"], "reversed")
    assert (back["reason_code"], back["reversed_amount"]["amount"]) == ("payments.payout_returned", 3_000)
    assert back["reason"].endswith("The bank says: account_closed.")
    assert balance(house, of) == holding(10_000 - FEE)
    wait_until(lambda: roles(house) == {"bank": 10_000, "fees": -FEE, "customers": -9_950})
    (line,) = [line for line in house.rpc.accounts.entries(of)["items"] if _is(line, "withdrawal_returned")]
    assert house.rpc.accounts.entry(line["entry_id"])["corrects"] == settled["entry_id"]
    wait_until(lambda: letters(house) == ["Your withdrawal is completed", "Your withdrawal is reversed"])


def _is(line, kind):
    return (line["kind"], line["state"]) == (kind, "posted")


# --- reversals


def test_a_transfer_is_reversed_in_parts_and_never_above_what_is_left(house):
    of, to = account(house, house.ada, 10_000), account(house, house.ben)
    done = ended(house, transfer(house, of, to, 2_500))
    part = reverse(house, done, 1_000)
    assert (part["status"], part["kind"], part["reverses"]) == ("completed", "reversal", done["id"])
    assert (balance(house, of), balance(house, to)) == (holding(8_500), holding(1_500))
    left = house.rpc.transactions.get(done["id"])
    assert (left["status"], left["reversed_amount"]["amount"]) == ("completed", 1_000)
    with pytest.raises(ServiceError) as refusal:
        reverse(house, done, 1_501)
    assert (refusal.value.code, refusal.value.details) == ("transactions.reversal_exceeds_rest", {"left": 1_500})
    assert (balance(house, of), balance(house, to)) == (holding(8_500), holding(1_500))
    assert reverse(house, done)["amount"]["amount"] == 1_500
    whole = house.rpc.transactions.get(done["id"])
    assert (whole["status"], whole["reversed_amount"]["amount"]) == ("reversed", 2_500)
    assert (balance(house, of), balance(house, to)) == (holding(10_000), NOTHING)
    assert roles(house) == {"bank": 10_000, "customers": -10_000}


def test_a_reversal_of_what_was_spent_meanwhile_is_rejected_and_can_be_tried_again(house):
    of, to, other = account(house, house.ada, 10_000), account(house, house.ben), account(house, house.ben)
    done = ended(house, transfer(house, of, to, 2_500))
    spent = house.rpc.transactions.transfer(house.ben, to, other, euro(2_000), key=key())
    assert ended(house, spent)["status"] == "completed"
    refused = reverse(house, done)
    assert (refused["status"], refused["reason_code"]) == ("rejected", "accounts.insufficient_funds")
    assert house.rpc.transactions.get(done["id"])["reversed_amount"]["amount"] == 0
    assert (balance(house, of), balance(house, to)) == (holding(7_500), holding(500))
    assert reverse(house, done, 500)["status"] == "completed"
    assert (balance(house, of), balance(house, to)) == (holding(8_000), NOTHING)
    assert roles(house) == {"bank": 10_000, "customers": -10_000}


def test_a_deposit_that_is_reversed_in_part_goes_back_to_the_card(house):
    to = account(house, house.ada)
    done = ended(house, deposit(house, to, 5_000))
    assert reverse(house, done, 2_000)["status"] == "completed"
    assert house.movements() == [("authorize", 5_000), ("capture", 5_000), ("refund", 2_000)]
    assert balance(house, to) == holding(3_000)
    assert roles(house) == {"acquirer_receivable": 3_000, "customers": -3_000}
    (money,) = house.rpc.transactions.deposits()["items"]
    assert (money["due"], money["settled"]) == (3_000, True)
