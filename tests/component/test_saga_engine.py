"""The nine rules of sagas, each on SQLite and PostgreSQL."""

from datetime import timedelta

import pytest
from nameko.exceptions import ConfigurationError
from sqlalchemy import select

from chassis import saga_store
from chassis.db import now, shift_clock
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.saga import Saga, Step
from chassis.tables import outbox, saga, saga_log
from contracts.orders import SagasForgotten
from tests.sagas import REFUSED, UNKNOWN, Agency, AgencyApi, Trip, arguments, begin, engine, go_on, trip_saga


@pytest.fixture
def db(sessions):
    return sessions("orders")


def row_of(db, saga_id):
    with db.read() as session:
        return saga_store.get(session, saga_id)


def timeline(db, saga_id):
    with db.read() as session:
        return [(line.step, line.operation, line.outcome) for line in saga_store.log_of(session, [saga_id])[saga_id]]


def test_all_steps_succeed_in_their_order(db):
    ended = []
    trip = trip_saga(completed=lambda session, run: ended.append((run.key, run.results["pay"])))
    agency = Agency(pay=["receipt"])
    saga_id = begin(engine(db, agency, trip), trip)
    assert agency.calls == ["book_hotel", "book_car", "book_flight", "pay", "send_tickets"]
    assert row_of(db, saga_id).status == "completed"
    assert ended == [("trip-1", "receipt")]
    assert [step for step, _, _ in timeline(db, saga_id)] == ["hotel", "car", "flight", "pay", "tickets"]


def test_a_confirmed_saga_costs_five_commits(db):
    trip = trip_saga()
    saga_id = begin(engine(db, Agency(), trip), trip)
    assert row_of(db, saga_id).ver == 5  # its creation, two stages, the pivot, the end


def test_the_end_and_its_event_are_one_commit(db):
    def fail(session, run):
        publish(
            session, SagasForgotten(event_id="e", occurred_at=now(session), aggregate_id="e", sequence=1, saga_ids=[])
        )
        raise ServiceError("travel.broken", "The finish failed.")

    trip = trip_saga(completed=fail)
    saga_id = begin(engine(db, Agency(), trip), trip)
    with db.read() as session:
        assert session.scalars(select(outbox.c.event)).all() == []
    assert row_of(db, saga_id).status == "running"


def test_a_refusal_undoes_every_step_that_may_have_happened_last_stage_first(db):
    trip = trip_saga()
    agency = Agency(book_flight=[REFUSED])
    saga_id = begin(engine(db, agency, trip), trip)
    assert agency.calls == ["book_hotel", "book_car", "book_flight", "cancel_hotel", "cancel_car"]
    assert row_of(db, saga_id).status == "compensated"
    assert row_of(db, saga_id).cause == {"step": "flight", "code": "agency.full", "message": "All booked."}
    assert timeline(db, saga_id)[-2:] == [("hotel", "undo", "undone"), ("car", "undo", "undone")]


def test_a_refused_first_step_undoes_its_sibling_even_if_that_is_unknown(db):
    trip = trip_saga()
    agency = Agency(book_hotel=[REFUSED], book_car=[UNKNOWN])
    saga_id = begin(engine(db, agency, trip), trip)
    assert agency.calls == ["book_hotel", "book_car", "cancel_car"]
    assert row_of(db, saga_id).status == "compensated"


def test_undo_uses_the_key_of_its_action(db):
    trip = trip_saga()
    agency = Agency(book_flight=[REFUSED])
    begin(engine(db, agency, trip), trip)
    assert agency.keys["book_hotel"] == agency.keys["cancel_hotel"]
    assert len(agency.keys["book_hotel"]) == 1


def test_only_unknown_steps_are_sent_again_with_the_same_key(db):
    trip = trip_saga()
    agency = Agency(book_car=[UNKNOWN, UNKNOWN, "ok"])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    go_on(sagas, 30)
    assert agency.calls.count("book_hotel") == 1
    assert agency.calls.count("book_car") == 3
    assert len(agency.keys["book_car"]) == 1
    assert row_of(db, saga_id).status == "completed"


def test_a_code_that_is_not_in_the_contract_counts_as_unknown(db):
    trip = trip_saga()
    agency = Agency(book_hotel=[ServiceError("agency.strange", "?"), "ok"])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    go_on(sagas, 20)
    assert row_of(db, saga_id).status == "completed"


def test_compensating_is_written_before_the_first_undo(db):
    seen = []
    trip = trip_saga(compensating=lambda session, run: seen.append("marked"))

    def look():
        with db.read() as session:
            seen.append(session.scalars(select(saga.c.status)).one())

    agency = Agency(book_flight=[REFUSED], cancel_hotel=[look])
    begin(engine(db, agency, trip), trip)
    assert seen == ["marked", "compensating"]


def test_the_deadline_turns_a_saga_round_before_the_pivot(db):
    trip = trip_saga(deadline_s=60)
    agency = Agency(book_flight=[UNKNOWN])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    shift_clock(timedelta(seconds=61))
    go_on(sagas, 20)
    assert row_of(db, saga_id).status == "compensated"
    assert row_of(db, saga_id).cause["code"] == "saga.deadline"
    assert {"cancel_hotel", "cancel_car", "cancel_flight"} <= set(agency.calls)
    assert "pay" not in agency.calls


def test_the_pivot_is_not_entered_after_the_deadline(db):
    trip = trip_saga(deadline_s=60)

    def late():
        shift_clock(timedelta(seconds=61))
        return "ok"

    agency = Agency(book_flight=[late])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    go_on(sagas, 5)
    assert "pay" not in agency.calls
    assert row_of(db, saga_id).status == "compensated"


def test_with_the_pivot_in_doubt_neither_deadline_nor_cancel_undoes_anything(db):
    trip = trip_saga(deadline_s=60)
    agency = Agency(pay=[UNKNOWN, UNKNOWN, "ok"])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    shift_clock(timedelta(seconds=61))
    with db.write() as session:
        assert saga_store.ask_to_cancel(session, saga_id, "changed my mind")
    go_on(sagas, 30)
    assert row_of(db, saga_id).status == "completed"
    assert row_of(db, saga_id).cancel_reason == "changed my mind"
    assert not {"cancel_hotel", "cancel_car", "cancel_flight"} & set(agency.calls)


def test_a_refused_pivot_undoes_everything_before_it(db):
    trip = trip_saga()
    agency = Agency(pay=[ServiceError("agency.no_money", "No.")])
    saga_id = begin(engine(db, agency, trip), trip)
    assert agency.calls[-3:] == ["cancel_flight", "cancel_hotel", "cancel_car"]
    assert row_of(db, saga_id).status == "compensated"


def test_a_cancel_before_the_pivot_turns_the_saga_round(db):
    trip = trip_saga()
    agency = Agency(book_flight=[UNKNOWN])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    with db.write() as session:
        saga_store.ask_to_cancel(session, saga_id, "changed my mind")
    go_on(sagas, 20)
    assert row_of(db, saga_id).cause == {"step": "cancel", "code": "saga.cancelled", "message": "changed my mind"}
    assert row_of(db, saga_id).status == "compensated"


def test_after_the_pivot_a_refused_step_is_repeated_and_raises_attention(db):
    trip = trip_saga()
    agency = Agency(send_tickets=[ServiceError("agency.closed", "Come back.")])
    sagas = engine(db, agency, trip, saga_attention_after_ms=-1)
    saga_id = begin(sagas, trip)
    go_on(sagas, 10)
    assert row_of(db, saga_id).status == "running"
    assert row_of(db, saga_id).attention == "refused for long: tickets"
    agency.script["send_tickets"] = ["ok"]
    go_on(sagas, 20)
    assert row_of(db, saga_id).status == "completed"
    assert row_of(db, saga_id).attention is None


def test_an_undo_that_fails_is_repeated_then_raises_attention_and_holds_back_no_earlier_stage(db):
    trip = trip_saga()
    agency = Agency(pay=[ServiceError("agency.no_money", "No.")], cancel_flight=[UNKNOWN])
    sagas = engine(db, agency, trip, saga_attention_attempts=3)
    saga_id = begin(sagas, trip)
    assert "cancel_hotel" not in agency.calls
    go_on(sagas, 40)
    assert agency.calls.count("cancel_hotel") == 1
    assert row_of(db, saga_id).status == "compensating"
    assert row_of(db, saga_id).attention == "cannot be undone yet: flight"
    agency.script["cancel_flight"] = ["ok"]
    go_on(sagas, 20)
    assert row_of(db, saga_id).status == "compensated"


def test_what_is_undone_beside_an_undo_that_fails_for_long_is_logged(db):
    trip = trip_saga()
    agency = Agency(pay=[ServiceError("agency.no_money", "No.")], cancel_flight=[*[UNKNOWN] * 7, "ok"])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    go_on(sagas, 60)
    undos = [(step, outcome) for step, operation, outcome in timeline(db, saga_id) if operation == "undo"]
    assert undos == [
        *[("flight", "unknown")] * 5,  # of attempts that fail, the first five are enough
        ("hotel", "undone"),
        ("car", "undone"),
        ("flight", "undone"),
    ]


def test_what_succeeds_beside_a_step_that_fails_for_long_is_logged(db):
    trip = (
        Saga("parcel", version=1, data=Trip, deadline_s=60)
        .retriable(Step("hotel", AgencyApi.book_hotel, arguments), Step("tickets", AgencyApi.send_tickets, arguments))
        .finish(lambda session, run: None, otherwise=lambda session, run: None)
    )
    agency = Agency(book_hotel=[*[UNKNOWN] * 6, "ok"], send_tickets=[*[UNKNOWN] * 8, "ok"])
    sagas = engine(db, agency, trip)
    saga_id = begin(sagas, trip)
    go_on(sagas, 60)
    assert timeline(db, saga_id) == [
        *[(step, "action", "unknown") for _ in range(5) for step in ("hotel", "tickets")],
        ("hotel", "action", "ok"),
        ("tickets", "action", "ok"),
    ]


def test_an_instance_that_lost_its_saga_stops_without_a_further_effect(db):
    trip = trip_saga()
    other_agency = Agency()

    def taken_over():
        shift_clock(timedelta(seconds=16))  # past the lease
        go_on(engine(db, other_agency, trip), 3)
        return "ok"

    agency = Agency(book_hotel=[taken_over])
    saga_id = begin(engine(db, agency, trip), trip)
    assert agency.calls == ["book_hotel", "book_car"]
    assert other_agency.calls == ["book_hotel", "book_car", "book_flight", "pay", "send_tickets"]
    assert agency.keys["book_hotel"] == other_agency.keys["book_hotel"]
    assert row_of(db, saga_id).status == "completed"
    with db.read() as session:
        assert len(session.execute(select(saga_log)).all()) == 5


def test_a_saga_whose_instance_died_is_taken_over_after_its_lease(db):
    trip = trip_saga()
    gone = engine(db, Agency(), trip)
    with db.write() as session:
        saga_id = gone.start_saga(session, trip, "trip-1", Trip(place="Rome"))
    agency = Agency()
    sagas = engine(db, agency, trip)
    go_on(sagas, 3)
    assert agency.calls == []
    shift_clock(timedelta(seconds=16))
    go_on(sagas, 3)
    assert row_of(db, saga_id).status == "completed"


def test_a_saga_of_an_unknown_version_is_left_to_an_instance_that_knows_it(db):
    trip = trip_saga()
    gone = engine(db, Agency(), trip)
    with db.write() as session:
        saga_id = gone.start_saga(session, trip, "trip-1", Trip(place="Rome"))
    newer = Saga("trip", version=2, data=Trip, deadline_s=60).pivot(Step("pay", AgencyApi.pay, arguments))
    shift_clock(timedelta(seconds=16))
    agency = Agency()
    go_on(engine(db, agency, newer), 3)
    assert agency.calls == []
    go_on(engine(db, agency, trip), 3)
    assert row_of(db, saga_id).status == "completed"


def test_another_shape_under_a_known_version_is_refused_at_start(db):
    engine(db, Agency(), trip_saga())
    engine(db, Agency(), trip_saga())
    changed = Saga("trip", version=1, data=Trip, deadline_s=60).pivot(Step("pay", AgencyApi.pay, arguments))
    with pytest.raises(ConfigurationError, match="saga trip version 1 has other steps"):
        engine(db, Agency(), changed)


def test_a_lease_shorter_than_a_step_is_refused_at_start(db):
    with pytest.raises(ConfigurationError, match=r"saga_lease_ms is 9000; .* at least 10000"):
        engine(db, Agency(), trip_saga(), saga_lease_ms=9000)


def test_a_definition_with_two_pivots_or_an_undo_after_one_is_refused():
    pay = Step("pay", AgencyApi.pay, arguments)
    again = Step("again", AgencyApi.pay, arguments)
    begun = Saga("bad", version=1, data=Trip, deadline_s=60).pivot(pay)
    with pytest.raises(ValueError, match="comes nothing that can fail"):
        begun.pivot(again)
    with pytest.raises(ValueError, match="a name of its own"):
        Saga("bad", version=1, data=Trip, deadline_s=60).pivot(pay).retriable(pay)
