"""Gauges of a database's state, counted when somebody scrapes; on SQLite and PostgreSQL."""

from datetime import timedelta

import pytest
from sqlalchemy import event, insert

from chassis.db import Sessions, new_engine, now, shift_clock
from chassis.gauges import FRESH_S, GAUGES, StateGauges
from chassis.saga_admin import operate
from chassis.saga_store import get
from chassis.tables import dead_letter, outbox
from tests.sagas import UNKNOWN, Agency, begin, engine, trip_saga


@pytest.fixture
def db(sessions):
    return sessions("orders")


def told(gauges):
    """(name, labels but the service) -> value"""
    return {
        (sample.name.removeprefix("rialto_"), *(value for name, value in sample.labels.items() if name != "service")): (
            sample.value
        )
        for family in gauges.collect()
        for sample in family.samples
    }


def watching(db):
    gauges = StateGauges()
    gauges.watch("orders", db)
    return gauges


def test_an_empty_database_has_nothing_to_send(db):
    assert told(watching(db)) == {
        ("outbox_rows",): 0.0,
        ("outbox_returned",): 0.0,
        ("outbox_oldest_seconds",): 0.0,
    }


def test_sagas_are_told_by_name_state_and_age(db):
    trip = trip_saga(deadline_s=86_400)
    slow = {"saga_backoff_ms": 60_000, "saga_backoff_max_ms": 60_000}
    begin(engine(db, Agency(), trip), trip, "ended")
    begin(engine(db, Agency(pay=[UNKNOWN]), trip, **slow), trip, "old")
    shift_clock(timedelta(minutes=11))
    sagas = engine(db, Agency(pay=[UNKNOWN]), trip, saga_step_attempts=1, **slow)
    stuck = begin(sagas, trip, "stuck")
    with db.write() as session:
        operate(session, sagas, stuck, "pause", get(session, stuck).ver, "to look", None, "op-1")
    found = told(watching(db))
    assert {each: value for each, value in found.items() if each[0].startswith("sagas")} == {
        ("sagas", "trip", "running", "0s"): 1.0,
        ("sagas", "trip", "running", "10m"): 1.0,
        ("sagas_attention", "trip"): 1.0,
        ("sagas_paused", "trip"): 1.0,
        ("sagas_overdue", "trip"): 1.0,  # the old one: it has been due for 10 minutes
    }


def test_a_saga_that_waits_for_a_signal_is_told_apart(db):
    trip = trip_saga().wait_for("weather", until_s=7200)
    begin(engine(db, Agency(), trip), trip)
    assert told(watching(db))["sagas", "trip", "waiting", "0s"] == 1.0
    shift_clock(timedelta(seconds=7201))
    assert told(watching(db))["sagas", "trip", "running", "1h"] == 1.0  # its time is over, and nobody drives it


def test_events_and_dead_letters_are_told(db):
    with db.write() as session:
        at = now(session)
        row = dict(event="e", sequence=1, subscribers=[], payload="{}")
        session.execute(insert(outbox).values(event_id="1", aggregate_id="a", created_at=at, **row))
        session.execute(insert(outbox).values(event_id="2", aggregate_id="b", created_at=at, attention="no", **row))
        letter = dict(payload="{}", error="no", attempts=8, at=at)
        for number, (handler, state) in enumerate([("on_a", "dead"), ("on_a", "dead"), ("on_a", "dropped")]):
            session.execute(insert(dead_letter).values(handler=handler, event_id=str(number), state=state, **letter))
    shift_clock(timedelta(seconds=90))
    found = told(watching(db))
    assert (found["outbox_rows",], found["outbox_returned",], found["dead_letters", "on_a"]) == (2.0, 1.0, 2.0)
    assert 90 <= found["outbox_oldest_seconds",] < 120


def test_scrapes_that_come_fast_ask_the_database_once(db, monkeypatch):
    asked = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    gauges = watching(db)
    first = told(gauges)
    statements = len(asked)
    assert told(gauges) == first
    assert len(asked) == statements
    monkeypatch.setattr("chassis.gauges.FRESH_S", 0.0)
    told(gauges)
    assert len(asked) > statements
    assert FRESH_S >= 1


def test_a_database_that_cannot_be_asked_tells_nothing_and_keeps_no_other_from_it(db, tmp_path):
    gauges = watching(db)
    before = told(gauges)
    away = new_engine(f"sqlite:///{tmp_path}/no/such/folder.db", 1)
    gauges.watch("away", Sessions(away))
    assert told(gauges) == before
    away.dispose()


def test_every_gauge_is_one_that_is_described():
    assert {metric.name for metric in StateGauges().describe()} == set(GAUGES)
