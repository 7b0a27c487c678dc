"""Rarer cases of customers' money: who comes first, what comes back to where nothing may come, what is forgotten."""

from datetime import timedelta

import pytest

from chassis.db import shift_clock
from chassis.errors import ServiceError
from chassis.prune import Pruner
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
    kept_for_sagas,
    key,
    letters,
    reverse,
    roles,
    sent,
    transfer,
    used,
    withdraw,
)
from tests.sandboxes import wait_until

AMOUNT = 3_000
PARTICIPANTS = ("accounts", "payments", "risk")
ATTENTION_AFTER_S = 300
RETENTION_S = 90 * 86_400


@pytest.mark.parametrize("enough_for", [1, 3])
def test_of_withdrawals_that_race_for_the_last_of_an_account_as_many_succeed_as_it_has_money_for(house, enough_for):
    of = account(house, house.ada, enough_for * (AMOUNT + FEE) + AMOUNT)
    begun = [withdraw(house, of, AMOUNT) for _ in range(enough_for + 2)]
    came_to = sorted((done["status"], done["reason_code"]) for done in (ended(house, each) for each in begun))
    refused = [("rejected", "accounts.insufficient_funds")] * 2
    assert came_to == [("completed", None)] * enough_for + refused
    assert sent(house) == [("payout", AMOUNT)] * enough_for
    assert (balance(house, of), used(house, "withdrawal")) == (holding(AMOUNT), enough_for * AMOUNT)
    assert roles(house) == {
        "bank": enough_for * (AMOUNT + FEE) + AMOUNT,
        "payouts_in_transit": -enough_for * AMOUNT,
        "fees": -enough_for * FEE,
        "customers": -AMOUNT,
    }


def test_what_the_participants_kept_for_sagas_goes_when_these_are_forgotten_and_the_money_stays(house):
    of, to = account(house, house.ada, 10_000), account(house, house.ben)
    first = ended(house, deposit(house, of, AMOUNT))
    others = [ended(house, withdraw(house, of, AMOUNT)), ended(house, transfer(house, of, to, AMOUNT))]
    at_bank(house, "settlements", others[0])
    others.append(reverse(house, first, 1_000))
    assert {each["status"] for each in (first, *others)} == {"completed"}
    wait_until(lambda: ends(house) == ["completed"] * 5)
    books = roles(house)
    kept = {service: kept_for_sagas(house, service) for service in PARTICIPANTS}
    assert kept == {"accounts": 8, "payments": 4, "risk": 3}
    shift_clock(timedelta(seconds=RETENTION_S + 60))
    assert pruner_of(house, "transactions").prune() > 0
    wait_until(lambda: not any(kept_for_sagas(house, service) for service in PARTICIPANTS))
    for before in (first, *others):
        after = house.rpc.transactions.get(before["id"])
        assert (after["status"], after["amount"], after["timeline"]) == ("completed", before["amount"], [])
    assert house.rpc.transactions.find_sagas()["items"] == []
    assert (roles(house), balance(house, to)) == (books, holding(AMOUNT))


def ends(house):
    """How each saga of transactions' is: of four transactions, and of one arrival."""
    return [each["status"] for each in house.rpc.transactions.find_sagas()["items"]]


def pruner_of(house, service):
    return next(each for each in house.runner.service_map[service].extensions if isinstance(each, Pruner))


# --- returns to where nothing may come


def returned(house, of, refuse):
    """A withdrawal that the bank sends back while `refuse` keeps the account from taking it."""
    done = ended(house, withdraw(house, of, AMOUNT))
    refuse(of, "for a test", key=key())
    at_bank(house, "returns", done, reason="account_closed")
    refused = "refused"
    wait_until(lambda: refused in [line["outcome"] for line in return_of(house, done)["timeline"]])
    assert house.rpc.transactions.get(done["id"])["status"] == "completed"
    return done


def return_of(house, transaction):
    """The saga that books a return, with its timeline."""
    found = wait_until(lambda: house.rpc.transactions.find_sagas(name="return_withdrawal")["items"])
    assert [each["key"] for each in found] == [transaction["id"]]
    return house.rpc.transactions.get_saga(found[0]["id"])


def test_a_return_to_a_frozen_account_is_booked_when_it_is_unfrozen(house):
    of = account(house, house.ada, AMOUNT + FEE)
    done = returned(house, of, house.rpc.accounts.freeze)
    assert balance(house, of) == NOTHING
    house.rpc.accounts.unfreeze(of, "all is well", key=key())
    shift_clock(timedelta(seconds=15))
    assert in_status(house, done["id"], "reversed")["reason_code"] == "payments.payout_returned"
    assert balance(house, of) == holding(AMOUNT)
    assert roles(house) == {"bank": AMOUNT + FEE, "fees": -FEE, "customers": -AMOUNT}


def test_a_return_to_a_closed_account_asks_for_attention_until_an_operator_has_booked_it_elsewhere(house):
    of = account(house, house.ada, AMOUNT + FEE)
    done = returned(house, of, house.rpc.accounts.close)
    shift_clock(timedelta(seconds=ATTENTION_AFTER_S + 15))
    stuck = wait_until(lambda: house.rpc.transactions.find_sagas(attention=True)["items"])
    assert [(each["key"], each["attention"]) for each in stuck] == [(done["id"], "refused for long: book_return")]
    assert (balance(house, of), letters(house)) == (NOTHING, ["Your withdrawal is completed"])

    elsewhere = account(house, house.ada)
    moved = {"payouts_in_transit.EUR": AMOUNT, elsewhere: -AMOUNT}
    postings = [{"account_id": name, "amount": euro(amount)} for name, amount in moved.items()]
    house.rpc.accounts.book({"kind": "withdrawal_returned", "postings": postings}, key=key())
    wait_until(lambda: resolved(house, stuck[0]["id"], "Booked to her other account."))

    back = in_status(house, done["id"], "reversed")
    assert (back["reason_code"], back["reversed_amount"]["amount"]) == ("payments.payout_returned", AMOUNT)
    assert (balance(house, of), balance(house, elsewhere)) == (NOTHING, holding(AMOUNT))
    assert roles(house) == {"bank": AMOUNT + FEE, "fees": -FEE, "customers": -AMOUNT}
    assert house.rpc.transactions.find_sagas(attention=True)["items"] == []
    wait_until(lambda: letters(house) == ["Your withdrawal is completed", "Your withdrawal is reversed"])


def resolved(house, saga_id, reason):
    """Whether an operator could say that the step is settled: not where the saga was tried again since they looked."""
    saga = house.rpc.transactions.get_saga(saga_id)
    try:
        house.rpc.transactions.operate_saga(saga_id, "resolve", saga["ver"], reason, "book_return", key=key())
    except ServiceError as refusal:
        if refusal.code != "sagas.stale":
            raise
        return False
    return True
