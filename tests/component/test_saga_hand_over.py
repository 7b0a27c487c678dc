"""An instance that leaves hands its sagas over at once: another one goes on, and nothing is lost or done twice."""

import time
from datetime import timedelta

import eventlet
import pytest
from eventlet.event import Event

from chassis import saga_engine, saga_store
from chassis.db import now
from chassis.saga import StepState
from tests.sagas import REFUSED, UNKNOWN, Agency, Trip, begin, engine, go_on, trip_saga
from tests.sandboxes import wait_until

LEASE = dict(saga_lease_ms=600_000)
ALL = ["hotel", "car", "flight", "pay", "tickets"]


@pytest.fixture
def db(sessions):
    return sessions("orders")


@pytest.fixture
def impatient(monkeypatch):
    """Rounds have a tenth of a second to end."""
    monkeypatch.setattr(saga_engine, "ROUND_S", 0.1)


@pytest.fixture
def gate():
    made = Event()
    yield made
    if not made.ready():
        made.send()


def row_of(db, saga_id):
    with db.read() as session:
        return saga_store.get(session, saga_id)


def steps_of(db, saga_id):
    with db.read() as session:
        return [line.step for line in saga_store.log_of(session, [saga_id])[saga_id]]


def hold_at(method, gate):
    """An agency whose first answer to this method comes when the gate opens."""

    def wait():
        gate.wait()
        return "late"

    return Agency(**{method: [wait, "ok"]})


def started(sagas, trip, key="trip-1"):
    """A saga that is driven beside the test."""
    with sagas.sessions.write() as session:
        saga_id = sagas.start_saga(session, trip, key, Trip(place="Rome"))
        begun = session.info.pop("sagas")
    sagas._drive_all(begun)
    return saga_id


def took_s(fn):
    begun = time.monotonic()
    fn()
    return time.monotonic() - begun


def is_due(db, saga_id):
    row = row_of(db, saga_id)
    with db.read() as session:
        return row.owner is None and row.wake_at <= now(session)


@pytest.mark.parametrize("method", ["book_hotel", "pay", "send_tickets"])
def test_one_goes_on_with_what_another_had_under_way_and_the_late_commit_changes_nothing(db, gate, impatient, method):
    trip = trip_saga()
    agency = hold_at(method, gate)
    old, new = engine(db, agency, trip, **LEASE), engine(db, agency, trip, **LEASE)
    saga_id = started(old, trip)
    wait_until(lambda: method in agency.calls)
    assert took_s(old.stop) < 5
    assert is_due(db, saga_id)
    go_on(new)
    ended = row_of(db, saga_id)
    assert ended.status == "completed"
    gate.send()
    old.pool.waitall()
    assert row_of(db, saga_id) == ended
    assert sorted(steps_of(db, saga_id)) == sorted(ALL)
    assert agency.calls.count(method) == 2
    assert len(agency.keys[method]) == 1


def test_an_undo_under_way_is_handed_over_too(db, gate, impatient):
    trip = trip_saga()
    agency = hold_at("cancel_hotel", gate)
    agency.script["book_flight"] = [REFUSED]
    old, new = engine(db, agency, trip, **LEASE), engine(db, agency, trip, **LEASE)
    saga_id = started(old, trip)
    wait_until(lambda: "cancel_hotel" in agency.calls)
    old.stop()
    go_on(new)
    assert row_of(db, saga_id).status == "compensated"
    gate.send()
    old.pool.waitall()
    assert [steps_of(db, saga_id).count(step) for step in ("hotel", "car", "flight")] == [2, 2, 1]
    assert (agency.calls.count("cancel_hotel"), len(agency.keys["cancel_hotel"])) == (2, 1)


def test_a_round_that_ends_in_time_is_committed_first_and_its_saga_handed_over(db, gate):
    trip = trip_saga()
    agency = hold_at("book_flight", gate)
    old, new = engine(db, agency, trip, **LEASE), engine(db, agency, trip, **LEASE)
    saga_id = started(old, trip)
    wait_until(lambda: "book_flight" in agency.calls)
    old.container_leaves()
    gate.send()
    assert took_s(old.stop) < saga_engine.ROUND_S
    assert is_due(db, saga_id)
    assert steps_of(db, saga_id) == ["hotel", "car", "flight"]
    assert "pay" not in agency.calls
    go_on(new)
    assert row_of(db, saga_id).status == "completed"
    assert agency.calls.count("book_flight") == 1


def test_it_is_handed_over_while_the_instance_still_has_other_things_to_finish(db, gate, impatient):
    trip = trip_saga()
    agency = hold_at("pay", gate)
    old = engine(db, agency, trip, **LEASE)
    saga_id = started(old, trip)
    wait_until(lambda: "pay" in agency.calls)
    old.container_leaves()
    wait_until(lambda: is_due(db, saga_id))


def test_it_is_handed_over_as_its_last_commit_left_it(db):
    """What a round has learned and not committed is not written without its lines in the log."""
    trip = trip_saga()
    sagas = engine(db, Agency(), trip, **LEASE)
    with db.write() as session:
        saga_id = sagas.start_saga(session, trip, "trip-1", Trip(place="Rome"))
        (held,) = session.info.pop("sagas")
    held.steps["hotel"] = StepState(outcome="ok", result="room 9", attempts=1)
    assert sagas._hand_over(held)
    assert (row_of(db, saga_id).steps, row_of(db, saga_id).ver) == ({}, 2)
    go_on(sagas)
    assert sorted(steps_of(db, saga_id)) == sorted(ALL)


def test_what_another_one_has_is_not_handed_over(db):
    trip = trip_saga()
    old, new = engine(db, Agency(), trip, **LEASE), engine(db, Agency(), trip, **LEASE)
    with db.write() as session:
        saga_id = old.start_saga(session, trip, "trip-1", Trip(place="Rome"))
        (held,) = session.info.pop("sagas")
    assert old._hand_over(held)
    with db.write() as session:
        row = saga_store.get(session, saga_id)
        taken = saga_store.claim(session, row, Trip, new._owner, timedelta(minutes=10))
    assert not old._hand_over(held)
    assert (row_of(db, saga_id).owner, row_of(db, saga_id).ver) == (new._owner, taken.ver)


def test_one_that_leaves_claims_nothing_more(db):
    trip = trip_saga()
    agency = Agency(book_hotel=[UNKNOWN, "ok"])
    old = engine(db, agency, trip, **LEASE)
    saga_id = begin(old, trip)
    old.container_leaves()
    wait_until(lambda: is_due(db, saga_id))
    go_on(old, rounds=5)
    assert agency.calls.count("book_hotel") == 1
    go_on(engine(db, agency, trip, **LEASE))
    assert row_of(db, saga_id).status == "completed"


def test_one_that_is_begun_while_it_leaves_is_handed_over_before_any_call(db):
    trip = trip_saga()
    agency = Agency()
    old = engine(db, agency, trip, **LEASE)
    old.container_leaves()
    saga_id = started(old, trip)
    old.stop()
    assert agency.calls == []
    assert is_due(db, saga_id)


def test_one_that_waits_for_its_next_attempt_keeps_its_pause(db):
    trip = trip_saga()
    old = engine(db, Agency(book_hotel=[UNKNOWN]), trip, saga_backoff_ms=60_000, saga_backoff_max_ms=60_000, **LEASE)
    saga_id = started(old, trip)
    wait_until(lambda: row_of(db, saga_id).owner is None)
    before = row_of(db, saga_id)
    old.stop()
    assert row_of(db, saga_id) == before
    assert not is_due(db, saga_id)


def test_those_that_found_no_place_to_be_driven_are_handed_over_too(db, gate, impatient):
    trip = trip_saga()
    agency = hold_at("book_hotel", gate)
    old = engine(db, agency, trip, saga_concurrency=1, **LEASE)
    first = started(old, trip, "first")
    wait_until(lambda: "book_hotel" in agency.calls)
    second = started(old, trip, "second")
    old.stop()
    assert is_due(db, first)
    assert is_due(db, second)


def test_a_claim_that_is_under_way_when_it_leaves_ends_in_other_hands(db, monkeypatch):
    trip = trip_saga()
    agency = Agency(book_hotel=[UNKNOWN, "ok"])
    old = engine(db, agency, trip, **LEASE)
    saga_id = begin(old, trip)
    wait_until(lambda: is_due(db, saga_id))
    looked, go = Event(), Event()
    due = saga_store.due

    def slow(*args):
        rows = due(*args)
        looked.send()
        go.wait()
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(saga_store, "due", slow)
        claiming = eventlet.spawn(old._claim_quietly)
        looked.wait()
        stopping = eventlet.spawn(old.stop)
        eventlet.sleep(0)
        go.send()
        stopping.wait()
        claiming.wait()
    assert is_due(db, saga_id)
    assert agency.calls.count("book_hotel") == 1


def test_a_kill_hands_over_nothing(db, gate):
    trip = trip_saga()
    old = engine(db, hold_at("pay", gate), trip, **LEASE)
    saga_id = started(old, trip)
    wait_until(lambda: row_of(db, saga_id).stage == 2)
    old.kill()
    assert not is_due(db, saga_id)
