"""What other systems learned about sagas, asked of this engine; on both databases. See docs/scenarios.md."""

from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from chassis import faults, saga_store
from chassis.db import shift_clock
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.tables import saga, saga_signal
from tests.sagas import REFUSED, UNKNOWN, Agency, Trip, begin, engine, go_on, trip_saga

LEASE = timedelta(seconds=16)
DONE = ["book_hotel", "book_car", "book_flight", "pay", "send_tickets"]


@pytest.fixture
def db(sessions):
    return sessions("orders")


@pytest.fixture
def _disarmed():
    yield
    faults.arm(None)


def row_of(db, saga_id):
    with db.read() as session:
        return saga_store.get(session, saga_id)


def count(db, table):
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(table))


def start(db, sagas, definition, key="trip-1"):
    with db.write() as session:
        return sagas.start_saga(session, definition, key, Trip(place="Rome"))


def test_a_key_starts_one_saga_while_it_runs_and_after_its_end(db):
    trip, agency = trip_saga(), Agency()
    sagas = engine(db, agency, trip)
    start(db, sagas, trip)
    with pytest.raises(IntegrityError):
        start(db, sagas, trip)
    shift_clock(LEASE)
    go_on(sagas, 3)
    with pytest.raises(IntegrityError):
        start(db, sagas, trip)
    go_on(sagas, 3)
    assert (count(db, saga), agency.calls) == (1, DONE)


def test_a_saga_of_a_transaction_that_was_undone_is_never_driven(db):
    trip, agency = trip_saga(), Agency()
    sagas = engine(db, agency, trip)

    def begin_in_vain():
        with db.write() as session:
            sagas.start_saga(session, trip, "trip-1", Trip(place="Rome"))
            raise ServiceError("travel.broken", "It was not to be.")

    with pytest.raises(ServiceError, match="not to be"):
        begin_in_vain()
    shift_clock(LEASE)
    go_on(sagas, 3)
    assert (count(db, saga), agency.calls) == (0, [])


def test_a_stage_is_begun_only_when_all_steps_of_the_one_before_it_succeeded_in_any_order(db):
    trip, agency = trip_saga(), Agency(book_car=[UNKNOWN, UNKNOWN, "car"])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    assert agency.calls == ["book_hotel", "book_car"]
    go_on(sagas, 50)
    assert agency.calls == ["book_hotel", "book_car", "book_car", "book_car", "book_flight", "pay", "send_tickets"]
    assert row_of(db, saga_id).status == "completed"


def test_a_stage_after_a_refused_one_is_never_begun(db):
    trip, agency = trip_saga(), Agency(book_car=[REFUSED])
    sagas = engine(db, agency, trip)
    begin(sagas, trip)
    go_on(sagas, 10)
    assert agency.calls == ["book_hotel", "book_car", "cancel_hotel"]


def test_of_two_instances_that_see_a_saga_of_the_dead_one_takes_it(db):
    trip = trip_saga()
    gone = engine(db, Agency(), trip)
    start(db, gone, trip)
    shift_clock(LEASE)
    with db.read() as session:
        (seen,) = saga_store.due(session, gone.definitions, 10)
    taken = []
    for owner in ("first", "late"):
        with db.write() as session:
            taken.append(saga_store.claim(session, seen, Trip, owner, LEASE))
    assert (taken[0].ver, taken[1]) == (seen.ver + 1, None)
    assert row_of(db, seen.id).owner == "first"


def test_running_work_is_not_due_for_anybody_else_within_its_lease(db):
    trip, other = trip_saga(), Agency()

    def while_it_runs():
        shift_clock(timedelta(seconds=14))
        go_on(engine(db, other, trip), 3)
        return "ok"

    agency = Agency(book_flight=[while_it_runs])
    begin(engine(db, agency, trip), trip)
    assert (agency.calls, other.calls) == (DONE, [])


def test_a_saga_whose_instance_died_in_its_back_off_goes_on_with_the_unknown_step_alone(db):
    trip = trip_saga(deadline_s=600)
    gone = engine(db, Agency(book_hotel=[UNKNOWN]), trip, saga_backoff_ms=60_000, saga_backoff_max_ms=60_000)
    saga_id = begin(gone, trip)
    agency = Agency()
    sagas = engine(db, agency, trip)
    go_on(sagas, 3)
    assert agency.calls == []
    shift_clock(timedelta(seconds=59.9))
    go_on(sagas, 3)
    assert agency.calls == ["book_hotel", *DONE[2:]]
    assert row_of(db, saga_id).steps["hotel"]["attempts"] == 2


def test_the_deadline_of_a_saga_outlives_the_instance_that_began_it(db):
    trip = trip_saga(deadline_s=60)
    gone = engine(db, Agency(), trip)
    saga_id = start(db, gone, trip)
    agency = Agency()
    shift_clock(timedelta(seconds=61))
    go_on(engine(db, agency, trip), 10)
    row = row_of(db, saga_id)
    assert (row.status, row.cause["code"]) == ("compensated", "saga.deadline")
    assert sorted(agency.calls) == ["cancel_car", "cancel_hotel"]


@pytest.mark.usefixtures("_disarmed")
@pytest.mark.parametrize("commit", range(1, 6))
@pytest.mark.parametrize("point", ["commit.before", "commit.after"])
def test_a_commit_whose_answer_is_lost_is_found_as_it_was(db, point, commit):
    """Each of a saga's five commits in turn: whether it worked is read from the row, and nothing is doubled."""
    ended = []
    trip = trip_saga(completed=lambda session, run: ended.append(run.id))
    agency, left = Agency(), [commit]
    sagas = engine(db, agency, trip)

    def fail_once(at):
        if at == point:
            left[0] -= 1
            if left[0] == 0:
                raise OutcomeUnknown("database", "the connection broke")

    faults.arm(fail_once)
    try:
        start(db, sagas, trip)
    except OutcomeUnknown:
        faults.arm(None)
        if not count(db, saga):
            start(db, sagas, trip)
    for leases in range(1, 4):
        shift_clock(LEASE * leases)
        with suppress(OutcomeUnknown):  # as the poll does
            go_on(sagas, 3)
    assert [row.status for row in [row_of(db, saga_id) for saga_id in set(ended)]] == ["completed"]
    assert count(db, saga) == 1
    assert {method: len(keys) for method, keys in agency.keys.items()} == dict.fromkeys(DONE, 1)


def test_a_cancel_of_a_saga_that_has_ended_changes_nothing(db):
    trip = trip_saga()
    sagas = engine(db, Agency(), trip)
    saga_id = begin(sagas, trip)
    before = row_of(db, saga_id)
    with db.write() as session:
        assert sagas.cancel(session, saga_id, "too late") is False
    go_on(sagas, 3)
    assert row_of(db, saga_id) == before


def test_a_saga_that_turned_round_cannot_complete_any_more(db):
    trip, agency = trip_saga(), Agency(book_flight=[REFUSED], cancel_hotel=[UNKNOWN])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    agency.script["book_flight"] = ["ok"]
    go_on(sagas, 20)
    assert row_of(db, saga_id).status == "compensating"
    agency.script["cancel_hotel"] = ["ok"]
    go_on(sagas, 20)
    assert row_of(db, saga_id).status == "compensated"
    assert "pay" not in agency.calls


def test_a_signal_for_nobody_and_one_after_the_end_change_nothing(db):
    trip, agency = trip_saga(), Agency()
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    before = row_of(db, saga_id)
    for target in (saga_id, "no-such-saga"):
        with db.write() as session:
            sagas.signal(session, target, "approved", None)
    go_on(sagas, 3)
    assert row_of(db, saga_id) == before
    assert (agency.calls, count(db, saga_signal)) == (DONE, 2)
