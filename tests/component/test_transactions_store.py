"""transactions' rows on real databases: states, limits and what is left to reverse are guarded by updates."""

from datetime import timedelta

import pytest
from eventlet import GreenPool

from chassis.db import WorkerDatabase, shift_clock
from chassis.saga import Run
from chassis.types import Money
from services.transactions import store
from services.transactions.domain import Limits, Moving
from services.transactions.flows import RETURN, Arrived, came_back, reviewing, withdrawn

LIMITS = Limits(smallest=1, largest=100, per_day=100, per_30_days=150)


@pytest.fixture
def database(open_database):
    return open_database("transactions")


def moving(of="t1", amount=60, kind="transfer", customer_id="anna"):
    return Moving(
        id=of,
        kind=kind,
        customer_id=customer_id,
        email="anna@x.example",
        name="Anna",
        amount=Money(amount=amount, currency="EUR"),
        fee=Money(amount=0, currency="EUR"),
        from_account="a",
        to_account="b",
    )


def use(database, amount=60, **of):
    with database.write() as session:
        return store.use(session, moving(amount=amount, **of), LIMITS)


def row(database, of="t1"):
    with database.read() as session:
        return store.require(session, of)


def test_a_day_and_thirty_days_are_limited_for_each_kind_and_customer(database):
    assert (use(database, 60), use(database, 41), use(database, 40), use(database, 1)) == (True, False, True, False)
    assert use(database, 60, kind="withdrawal")
    assert use(database, 60, customer_id="ben")
    shift_clock(timedelta(days=1))
    assert (use(database, 51), use(database, 50), use(database, 1)) == (False, True, False)
    shift_clock(timedelta(days=30))
    assert (use(database, 100), use(database, 1)) == (True, False)


def test_what_was_rejected_counts_no_more(database):
    assert use(database, 100)
    with database.write() as session:
        store.add(session, moving(amount=100))
        store.give_back(session, store.require(session, "t1"))
    assert (use(database, 100), use(database, 1)) == (True, False)


def test_many_at_once_never_pass_the_limit(database):
    def work(_):
        opened = WorkerDatabase(database.Session)
        try:
            return use(opened, 30)
        finally:
            opened.close()

    assert sorted(GreenPool().imap(work, range(8))) == [False] * 5 + [True] * 3


def test_an_end_is_final(database):
    with database.write() as session:
        store.add(session, moving())
        assert store.move(session, "t1", "completed")
        assert not store.move(session, "t1", "rejected", reason_code="late")
        assert store.move(session, "t1", "reversed")
        assert not store.move(session, "t1", "completed")
    assert (row(database).status, row(database).reason_code) == ("reversed", None)


def test_no_more_is_reversed_than_is_left_and_one_at_a_time(database):
    def begin(amount):
        with database.write() as session:
            return store.begin_reversal(session, "t1", amount)

    def end(taken):
        with database.write() as session:
            store.end_reversal(session, "t1", taken)

    with database.write() as session:
        store.add(session, moving())
    assert not begin(10)  # it is not completed yet
    with database.write() as session:
        store.move(session, "t1", "completed")
    assert not begin(61)
    assert (begin(20), begin(20)) == (True, False)
    end(20)
    assert (row(database).status, row(database).reversed_amount, begin(41), begin(40)) == ("completed", 20, False, True)
    end(0)
    assert (row(database).reversed_amount, begin(40)) == (20, True)
    end(40)
    assert (row(database).status, row(database).reversed_amount, begin(1)) == ("reversed", 60, False)


def test_a_withdrawal_is_never_reversed_by_hand(database):
    with database.write() as session:
        store.add(session, moving(kind="withdrawal"), "completed")
        assert not store.begin_reversal(session, "t1", 10)
    assert row(database).reversing == 0


def test_a_deposits_money_is_what_is_left_of_it(database):
    with database.write() as session:
        store.add(session, moving("d1", kind="deposit"), "completed")
        store.add(session, moving("d2", kind="deposit"))
        assert store.begin_reversal(session, "d1", 20)
        store.end_reversal(session, "d1", 20)
        found = [(each.transaction_id, each.due, each.settled) for each in store.deposits(session, None, 10)]
    assert found == [("d1", 40, True), ("d2", 0, False)]


# --- what the bank sends back


class Begun:
    """Notes the sagas that are started."""

    def __init__(self):
        self.sagas = []

    def start(self, session, definition, key, data):
        self.sagas.append((definition.name, key, data))
        return key

    def run(self, data, **results):
        return Run("s1", data.id, data, results, None, None, self.start)


def withdrawal(database):
    with database.write() as session:
        store.add(session, moving(kind="withdrawal"))


def end(database, begun):
    with database.write() as session:
        withdrawn(session, begun.run(moving(kind="withdrawal"), settle={"id": "17"}))


def note(database, settled=False):
    with database.write() as session:
        return store.note_return(session, "t1", "account_closed", settled)


def test_a_return_that_is_faster_than_the_withdrawals_end_is_taken_up_by_it(database):
    begun = Begun()
    withdrawal(database)
    assert note(database).status == "pending"
    end(database, begun)
    ((name, key, arrived),) = begun.sagas
    assert (name, key) == (RETURN.name, "t1")
    assert (arrived.moving.corrects, arrived.settled, arrived.reason) == ("17", False, "account_closed")
    assert row(database).status == "completed"


def test_a_return_after_the_withdrawals_end_is_noted_once_and_names_its_entry(database):
    begun = Begun()
    withdrawal(database)
    end(database, begun)
    assert begun.sagas == []
    noted = note(database, settled=True)
    assert (noted.status, noted.entry_id, noted.return_settled) == ("completed", "17", True)
    assert note(database) is None


def test_only_a_withdrawal_can_come_back(database):
    with database.write() as session:
        store.add(session, moving(kind="transfer"), "completed")
    assert note(database) is None
    assert row(database).return_reason is None


def test_a_withdrawal_that_came_back_is_reversed_and_says_why(database):
    begun = Begun()
    withdrawal(database)
    end(database, begun)
    arrived = Arrived(moving=moving(kind="withdrawal"), settled=True, reason="account_closed")
    with database.write() as session:
        came_back(session, Run("s2", "t1", arrived, {}, None, None, begun.start))
    found = row(database)
    assert (found.status, found.reversed_amount, found.reason_code) == ("reversed", 60, "payments.payout_returned")


def test_a_transaction_is_in_review_only_until_its_end(database):
    begun = Begun()
    with database.write() as session:
        store.add(session, moving())
        reviewing(session, begun.run(moving()))
    assert row(database).status == "in_review"
    with database.write() as session:
        assert store.move(session, "t1", "completed")
        reviewing(session, begun.run(moving()))
    assert row(database).status == "completed"
