"""Waiting, learning, leaving out, sub-sagas, limits and making good; each on SQLite and PostgreSQL."""

from datetime import timedelta

import eventlet
import msgspec
import pytest
from sqlalchemy import select

from chassis import saga_admin, saga_store
from chassis.db import shift_clock
from chassis.errors import ServiceError
from chassis.saga import Saga, Step, Sub
from chassis.tables import saga, saga_log
from tests.sagas import REFUSED, UNKNOWN, Agency, AgencyApi, Trip, arguments, begin, engine, go_on, trip_saga

CLOSED = ServiceError("agency.closed", "Come back.")


@pytest.fixture
def db(sessions):
    return sessions("orders")


def row_of(db, saga_id):
    with db.read() as session:
        return row_in(session, saga_id)


def row_in(session, saga_id):
    return saga_store.get(session, saga_id)


def waiting_saga(deadline_s=600, **wait):
    return (
        Saga("waiting", version=1, data=Trip, deadline_s=deadline_s)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel))
        .wait_for("approved", until_s=60, **wait)
        .pivot(Step("pay", AgencyApi.pay, arguments))
    )


def signal(db, sagas, saga_id, payload=None):
    with db.write() as session:
        return sagas.signal(session, saga_id, "approved", payload)


def moved_on(sagas, seconds):
    shift_clock(timedelta(seconds=seconds))
    go_on(sagas, 3)


def test_a_wait_ends_with_its_signal_or_its_time(db):
    agency, waiting = Agency(), waiting_saga()
    sagas = engine(db, agency, waiting)
    signalled, timed_out = begin(sagas, waiting, "a"), begin(sagas, waiting, "b")
    go_on(sagas, 3)
    assert "pay" not in agency.calls
    assert signal(db, sagas, signalled, {"by": "ada"})
    assert not signal(db, sagas, signalled, {"by": "bob"})
    go_on(sagas, 3)
    assert (row_of(db, signalled).status, row_of(db, timed_out).status) == ("completed", "running")
    assert row_of(db, signalled).steps["approved"]["result"] == {"by": "ada"}
    moved_on(sagas, 61)
    assert row_of(db, timed_out).status == "completed"


def test_a_wait_tells_once_that_it_begins_in_the_commit_that_begins_it(db):
    told = []
    waiting = waiting_saga(begun=lambda session, run: told.append((run.id, row_in(session, run.id).owner)))
    sagas = engine(db, Agency(), waiting)
    saga_id = begin(sagas, waiting)
    assert told == [(saga_id, None)]  # it is let go already
    moved_on(sagas, 1)
    signal(db, sagas, saga_id)
    go_on(sagas, 3)
    assert row_of(db, saga_id).status == "completed"
    assert told == [(saga_id, None)]


def test_a_signal_may_come_before_its_wait(db):
    waiting = waiting_saga()
    sagas = engine(db, Agency(), waiting)
    with db.write() as session:
        saga_id = sagas.start_saga(session, waiting, "a", Trip(place="Rome"))
        (held,) = session.info.pop("sagas")
        sagas.signal(session, saga_id, "approved", 1)
    sagas._drive(held)
    assert row_of(db, saga_id).status == "completed"


def test_a_signal_that_comes_while_the_saga_is_let_go_is_not_lost(db):
    waiting = waiting_saga()
    sagas = engine(db, Agency(), waiting)
    looks = []
    real = saga_store.signal_of

    def look(session, saga_id, name):
        found = real(session, saga_id, name)
        looks.append(found)
        return found

    with db.write() as session:
        saga_id = sagas.start_saga(session, waiting, "a", Trip(place="Rome"))
        (held,) = session.info.pop("sagas")
    agency_answers = sagas.client

    def signalled_meanwhile():
        signal(db, sagas, saga_id, 1)  # the row is held by an instance: it is not woken, but the wait finds the signal
        return "ok"

    agency_answers.script["book_hotel"] = [signalled_meanwhile]
    saga_store.signal_of = look
    try:
        sagas._drive(held)
    finally:
        saga_store.signal_of = real
    assert len(looks) == 1
    assert row_of(db, saga_id).status == "completed"


def test_a_wait_that_is_woken_without_its_signal_goes_on_waiting(db):
    agency, waiting = Agency(), waiting_saga()
    sagas = engine(db, agency, waiting)
    saga_id = begin(sagas, waiting)
    until = row_of(db, saga_id).wake_at
    for _ in range(3):
        with db.write() as session:
            saga_store.wake(session, saga_id, row_of(db, saga_id).updated_at)
        go_on(sagas, 2)
    row = row_of(db, saga_id)
    assert (row.stage, "pay" in agency.calls) == (1, False)
    assert abs(row.wake_at - until) < timedelta(seconds=1)


def test_time_in_a_wait_extends_the_deadline_and_only_the_time_that_was_used(db):
    waiting = waiting_saga(deadline_s=30)
    sagas = engine(db, Agency(), waiting)
    slow, quick = begin(sagas, waiting, "slow"), begin(sagas, waiting, "quick")
    before = row_of(db, quick).created_at + timedelta(seconds=30)
    signal(db, sagas, quick)
    go_on(sagas, 3)
    assert abs(row_of(db, quick).deadline - before) < timedelta(seconds=2)
    moved_on(sagas, 45)  # past the deadline that it began with
    assert row_of(db, slow).status == "running"
    signal(db, sagas, slow)
    go_on(sagas, 3)
    assert row_of(db, slow).status == "completed"


def test_a_wait_may_turn_the_saga_round_when_its_time_is_up(db):
    agency, waiting = Agency(), waiting_saga(otherwise="trip.nobody_approved")
    sagas = engine(db, agency, waiting)
    saga_id = begin(sagas, waiting)
    moved_on(sagas, 61)
    row = row_of(db, saga_id)
    assert (row.status, row.cause["code"], agency.calls[-1]) == ("compensated", "trip.nobody_approved", "cancel_hotel")


def test_a_cancel_ends_a_wait_before_the_point_of_no_return(db):
    agency, waiting = Agency(), waiting_saga()
    sagas = engine(db, agency, waiting)
    saga_id = begin(sagas, waiting)
    with db.write() as session:
        assert sagas.cancel(session, saga_id, "changed my mind")
        assert sagas.cancel(session, saga_id, "once more")
    go_on(sagas, 3)
    row = row_of(db, saga_id)
    assert (row.status, row.cause["message"]) == ("compensated", "changed my mind")
    with db.write() as session:
        assert not sagas.cancel(session, saga_id, "too late")


def test_what_a_signal_tells_can_be_learned_and_is_kept(db):
    def move(trip, payload):
        if payload == "nowhere":
            raise ServiceError("trip.nowhere", "That is no place.")
        return msgspec.structs.replace(trip, place=payload)

    waiting = waiting_saga(learn=move)
    sagas = engine(db, Agency(), waiting)
    learned, refused = begin(sagas, waiting, "a"), begin(sagas, waiting, "b")
    signal(db, sagas, learned, "Oslo")
    signal(db, sagas, refused, "nowhere")
    go_on(sagas, 3)
    assert row_of(db, learned).context == '{"place":"Oslo"}'
    assert row_of(db, learned).status == "completed"
    row = row_of(db, refused)
    assert (row.status, row.cause) == (
        "compensated",
        {"step": "approved", "code": "trip.nowhere", "message": "That is no place."},
    )


def go_there(trip, told):
    return msgspec.structs.replace(trip, place=f"{trip.place}-{told}")


def learning_saga(**hooks):
    """The payment tells something, and so do the tickets; a car goes out beside these, and a hotel comes last."""
    return (
        Saga("learning", version=1, data=Trip, deadline_s=60)
        .pivot(Step("pay", AgencyApi.pay, arguments, learn=go_there))
        .retriable(
            Step("tickets", AgencyApi.send_tickets, arguments, learn=go_there),
            Step("car", AgencyApi.book_car, arguments),
        )
        .retriable(Step("hotel", AgencyApi.book_hotel, arguments, when=lambda trip, results: trip.place != "Rome-b"))
        .finish(hooks.get("completed", lambda session, run: None), otherwise=lambda session, run: None)
    )


LEARNED = [
    ("pay", "Rome"),
    ("send_tickets", "Rome-a"),
    ("book_car", "Rome-a"),
    ("book_hotel", "Rome-a-b"),
]


def test_what_a_step_tells_is_learned_for_the_stages_after_its_own_and_kept(db):
    seen = []
    learning = learning_saga(completed=lambda session, run: seen.append(run.data.place))
    agency = Agency(pay=["a"], send_tickets=["b"])
    saga_id = begin(engine(db, agency, learning), learning)
    assert agency.places == LEARNED
    assert (row_of(db, saga_id).status, row_of(db, saga_id).context) == ("completed", '{"place":"Rome-a-b"}')
    assert seen == ["Rome-a-b"]
    assert row_of(db, saga_id).ver == 4  # its creation, the pivot, two stages: learning costs no commit


def test_what_is_repeated_of_a_stage_is_sent_as_it_was_though_another_step_of_it_has_told(db):
    learning = learning_saga()
    agency = Agency(pay=["a"], send_tickets=["b"], book_car=[UNKNOWN, UNKNOWN, "ok"])
    sagas = engine(db, agency, learning)
    saga_id = begin(sagas, learning)
    assert row_of(db, saga_id).context == '{"place":"Rome-a"}'
    go_on(sagas, 30)
    assert [each for each in agency.places if each[0] != "book_car"] == [LEARNED[0], LEARNED[1], LEARNED[3]]
    assert agency.places.count(("book_car", "Rome-a")) == 3
    assert row_of(db, saga_id).status == "completed"


@pytest.mark.parametrize("method", ["pay", "send_tickets", "book_hotel"])
def test_what_was_learned_is_there_for_whoever_takes_the_saga_over(db, method):
    """The one who held it is slower than its lease, at each of its calls: another one goes on meanwhile."""
    learning = learning_saga()
    told = dict(pay="a", send_tickets="b", book_hotel="ok")
    other = Agency(**{name: [answer] for name, answer in told.items()})

    def taken_over():
        shift_clock(timedelta(seconds=16))
        go_on(engine(db, other, learning), 3)
        return told[method]

    agency = Agency(**{name: [answer] for name, answer in {**told, method: taken_over}.items()})
    saga_id = begin(engine(db, agency, learning), learning)
    first = [name for name, _ in LEARNED].index(method)
    assert other.places == LEARNED[first:]
    assert agency.places == LEARNED[: first + (2 if method == "send_tickets" else 1)]
    assert row_of(db, saga_id).context == '{"place":"Rome-a-b"}'
    with db.read() as session:
        assert len(session.execute(select(saga_log)).all()) == 4


def test_a_step_that_an_operator_left_out_tells_nothing(db):
    learning = learning_saga()
    agency = Agency(pay=["a"], send_tickets=[CLOSED])
    sagas = engine(db, agency, learning)
    saga_id = begin(sagas, learning)
    with db.write() as session:
        saga_admin.operate(
            session, sagas, saga_id, "skip-step", row_in(session, saga_id).ver, "by hand", "tickets", "ada"
        )
    go_on(sagas, 10)
    assert agency.places[-1] == ("book_hotel", "Rome-a")
    assert row_of(db, saga_id).status == "completed"


def test_a_step_that_can_be_undone_learns_nothing():
    hotel = Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel, learn=go_there)
    with pytest.raises(ValueError, match="nothing is learned before the pivot"):
        Saga("bad", version=1, data=Trip, deadline_s=60).stage(hotel)


def test_a_step_a_wait_and_a_pivot_can_be_left_out_and_are_not_undone(db):
    def never(trip, results):
        return False

    saga_ = (
        Saga("short", version=1, data=Trip, deadline_s=60)
        .stage(
            Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel, when=never),
            Step("car", AgencyApi.book_car, arguments, undo=AgencyApi.cancel_car),
        )
        .wait_for("approved", until_s=60, when=lambda trip, results: results["car"] == "on request")
        .stage(Step("flight", AgencyApi.book_flight, arguments, undo=AgencyApi.cancel_flight))
        .pivot(Step("pay", AgencyApi.pay, arguments, when=never))
        .retriable(Step("tickets", AgencyApi.send_tickets, arguments))
    )
    agency = Agency()
    saga_id = begin(engine(db, agency, saga_), saga_)
    assert agency.calls == ["book_car", "book_flight", "send_tickets"]
    assert row_of(db, saga_id).status == "completed"

    agency = Agency(book_car=["on request"])
    sagas = engine(db, agency, saga_)
    assert row_of(db, begin(sagas, saga_, "asks")).stage == 1

    agency = Agency(book_flight=[REFUSED])
    saga_id = begin(engine(db, agency, saga_), saga_, "refused")
    assert agency.calls == ["book_car", "book_flight", "cancel_car"]
    assert row_of(db, saga_id).status == "compensated"


def test_without_a_pivot_the_first_retriable_stage_is_the_decision(db):
    saga_ = (
        Saga("bare", version=1, data=Trip, deadline_s=60)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel))
        .retriable(Step("tickets", AgencyApi.send_tickets, arguments))
    )

    def cancelled():
        with db.write() as session:
            assert sagas.cancel(session, held_id[0], "changed my mind")
        return "ok"

    agency = Agency(book_hotel=[cancelled])
    sagas = engine(db, agency, saga_)
    held_id = []
    with db.write() as session:
        held_id.append(sagas.start_saga(session, saga_, "a", Trip(place="Rome")))
        (held,) = session.info.pop("sagas")
    sagas._drive(held)
    assert agency.calls == ["book_hotel", "cancel_hotel"]
    assert row_of(db, held_id[0]).status == "compensated"


def test_a_saga_of_undoable_steps_alone_is_not_completed_after_a_cancel(db):
    saga_ = Saga("soft", version=1, data=Trip, deadline_s=60).stage(
        Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel)
    )

    def cancelled():
        with db.write() as session:
            sagas.cancel(session, session.scalar(select(saga.c.id)), "changed my mind")
        return "ok"

    agency = Agency(book_hotel=[cancelled])
    sagas = engine(db, agency, saga_)
    saga_id = begin(sagas, saga_)
    assert agency.calls == ["book_hotel", "cancel_hotel"]
    assert row_of(db, saga_id).status == "compensated"


def test_a_sub_saga_is_started_once_and_its_end_wakes_its_parent(db):
    inner = Saga("inner", version=1, data=Trip, deadline_s=60).retriable(
        Step("tickets", AgencyApi.send_tickets, arguments)
    )
    outer = (
        Saga("outer", version=1, data=Trip, deadline_s=60)
        .pivot(Step("pay", AgencyApi.pay, arguments))
        .sub(Sub("inner", inner, key=lambda trip: f"inner of {trip.place}", make=lambda trip: Trip(place=trip.place)))
        .retriable(Step("car", AgencyApi.book_car, arguments))
    )
    agency = Agency(send_tickets=[CLOSED])
    sagas = engine(db, agency, outer, inner)
    parent = begin(sagas, outer)
    shift_clock(timedelta(seconds=16))  # nobody drives the child that was just made: it is found like any other
    go_on(sagas, 5)
    with db.read() as session:
        child = saga_store.by_key(session, "inner", "inner of Rome")
    assert (child.parent_id, child.parent_step, child.status) == (parent, "inner", "running")
    assert child.trace_id == row_of(db, parent).trace_id
    assert "book_car" not in agency.calls
    agency.script["send_tickets"] = ["ok"]
    go_on(sagas, 20)
    assert row_of(db, child.id).status == row_of(db, parent).status == "completed"
    assert row_of(db, parent).steps["inner"]["result"] == {"saga_id": child.id}
    with db.read() as session:
        assert len(session.execute(select(saga)).all()) == 2


def test_a_sub_saga_that_turned_round_needs_attention_and_can_be_skipped(db):
    inner = (
        Saga("inner", version=1, data=Trip, deadline_s=60)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel))
        .pivot(Step("flight", AgencyApi.book_flight, arguments))
    )
    outer = (
        Saga("outer", version=1, data=Trip, deadline_s=60)
        .pivot(Step("pay", AgencyApi.pay, arguments))
        .sub(Sub("inner", inner, key=lambda trip: trip.place, make=lambda trip: trip))
    )
    sagas = engine(db, Agency(book_hotel=[REFUSED]), outer, inner)
    parent = begin(sagas, outer)
    shift_clock(timedelta(seconds=16))
    go_on(sagas, 10)
    row = row_of(db, parent)
    assert (row.status, row.attention) == ("running", "sub-saga inner turned round")


def test_a_sub_saga_before_the_point_of_no_return_is_refused():
    inner = Saga("inner", version=1, data=Trip, deadline_s=60)
    with pytest.raises(ValueError, match="a sub-saga is never taken back"):
        Saga("outer", version=1, data=Trip, deadline_s=60).sub(Sub("inner", inner, key=str, make=lambda trip: trip))


def test_a_step_without_an_answer_turns_the_saga_round_after_its_attempts(db):
    saga_ = (
        Saga("short", version=1, data=Trip, deadline_s=60)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel, attempts=3))
        .pivot(Step("pay", AgencyApi.pay, arguments))
    )
    agency = Agency(book_hotel=[UNKNOWN])
    sagas = engine(db, agency, saga_)
    saga_id = begin(sagas, saga_)
    go_on(sagas, 50)
    assert agency.calls == ["book_hotel"] * 3 + ["cancel_hotel"]
    row = row_of(db, saga_id)
    assert (row.status, row.cause["code"]) == ("compensated", "saga.attempts")


def with_optional_hotel(unanswered):
    return (
        Saga("short", version=1, data=Trip, deadline_s=600)
        .stage(
            Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel, unanswered=unanswered),
            Step("car", AgencyApi.book_car, arguments, undo=AgencyApi.cancel_car),
        )
        .pivot(Step("pay", AgencyApi.pay, arguments))
    )


def closed(trip):
    raise ServiceError("trips.no_hotel", "Not without a hotel.")


def test_a_step_that_gets_no_answer_for_long_is_given_up_where_it_may_be(db):
    saga_ = with_optional_hotel(lambda trip: f"There is no word from {trip.place}.")
    agency = Agency(book_hotel=[UNKNOWN])
    sagas = engine(db, agency, saga_, saga_unanswered_after_ms=30_000)
    saga_id = begin(sagas, saga_)
    shift_clock(timedelta(seconds=29))
    go_on(sagas, 10)
    assert (row_of(db, saga_id).status, agency.calls.count("pay")) == ("running", 0)
    shift_clock(timedelta(seconds=31))
    go_on(sagas, 10)
    row = row_of(db, saga_id)
    assert (row.status, row.steps["hotel"]["outcome"]) == ("completed", "given_up")
    assert (agency.calls.count("book_car"), agency.calls.count("pay"), agency.calls.count("cancel_hotel")) == (1, 1, 0)
    with db.read() as session:
        line = session.execute(select(saga_log).where(saga_log.c.outcome == "given_up")).one()
    assert (line.step, line.detail) == ("hotel", "There is no word from Rome.")


def test_what_was_given_up_may_have_happened_and_is_undone_when_the_saga_turns_round(db):
    saga_ = with_optional_hotel(lambda trip: "It can wait.")
    agency = Agency(book_hotel=[UNKNOWN], pay=[ServiceError("agency.no_money", "No.")])
    sagas = engine(db, agency, saga_)
    saga_id = begin(sagas, saga_)
    shift_clock(timedelta(seconds=31))
    go_on(sagas, 20)
    assert row_of(db, saga_id).status == "compensated"
    assert (agency.calls.count("cancel_hotel"), agency.calls.count("cancel_car")) == (1, 1)


def test_a_step_that_may_not_be_given_up_turns_the_saga_round_with_its_own_code(db):
    saga_ = with_optional_hotel(closed)
    agency = Agency(book_hotel=[UNKNOWN])
    sagas = engine(db, agency, saga_)
    saga_id = begin(sagas, saga_)
    shift_clock(timedelta(seconds=31))
    go_on(sagas, 20)
    row = row_of(db, saga_id)
    assert (row.status, row.cause["step"], row.cause["code"]) == ("compensated", "hotel", "trips.no_hotel")
    assert (agency.calls.count("cancel_hotel"), agency.calls.count("cancel_car"), agency.calls.count("pay")) == (
        1,
        1,
        0,
    )


@pytest.mark.parametrize("stage", ["pivot", "retriable"])
def test_what_cannot_be_undone_cannot_be_given_up(stage):
    saga_ = Saga("short", version=1, data=Trip, deadline_s=60)
    with pytest.raises(ValueError, match="only what can be undone can be given up"):
        getattr(saga_, stage)(Step("pay", AgencyApi.pay, arguments, unanswered=lambda trip: "no"))


def test_a_pivot_in_doubt_asks_for_attention_after_its_attempts_and_is_never_given_up(db):
    trip = trip_saga()
    agency = Agency(pay=[UNKNOWN])
    sagas = engine(db, agency, trip, saga_step_attempts=3)
    saga_id = begin(sagas, trip)
    go_on(sagas, 30)
    row = row_of(db, saga_id)
    assert (row.status, row.attention) == ("running", "no answer after many attempts: pay")
    assert agency.calls.count("pay") > 3
    agency.script["pay"] = ["ok"]
    go_on(sagas, 30)
    assert (row_of(db, saga_id).status, row_of(db, saga_id).attention) == ("completed", None)


def test_a_step_pauses_as_its_definition_says(db):
    patient = (
        Saga("patient", version=1, data=Trip, deadline_s=3600)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, backoff_s=100, backoff_max_s=150))
        .pivot(Step("pay", AgencyApi.pay, arguments))
    )
    sagas = engine(db, Agency(book_hotel=[UNKNOWN]), patient)
    saga_id = begin(sagas, patient)
    row = row_of(db, saga_id)
    assert timedelta(seconds=70) <= row.wake_at - row.updated_at <= timedelta(seconds=100)
    assert row.owner is None
    moved_on(sagas, 101)
    row = row_of(db, saga_id)
    assert timedelta(seconds=105) <= row.wake_at - row.updated_at <= timedelta(seconds=150)


def good_saga(hooks):
    def note(name):
        return lambda session, run: hooks.append((name, run.cause))

    def make_good(session, run):
        hooks.append(("made good", run.cause))
        run.start(session, REFUND, run.key, run.data)

    return (
        Saga("good", version=1, data=Trip, deadline_s=60)
        .pivot(Step("pay", AgencyApi.pay, arguments))
        .retriable(
            Step("tickets", AgencyApi.send_tickets, arguments, makes_good=True),
            Step("car", AgencyApi.book_car, arguments),
        )
        .finish(note("completed"), otherwise=note("compensated"), makes_good=make_good)
    )


REFUND = Saga("refund", version=1, data=Trip, deadline_s=60).retriable(
    Step("refund", AgencyApi.cancel_flight, arguments)
)


def test_a_step_that_stays_refused_after_the_pivot_ends_in_the_saga_that_makes_good(db):
    hooks = []
    good = good_saga(hooks)
    agency = Agency(send_tickets=[CLOSED])
    sagas = engine(db, agency, good, REFUND)
    saga_id = begin(sagas, good)
    go_on(sagas, 5)
    assert row_of(db, saga_id).status == "running"
    moved_on(sagas, 301)
    cause = {"step": "tickets", "code": "agency.closed", "message": "Come back."}
    assert hooks == [("made good", cause)]
    assert (row_of(db, saga_id).status, row_of(db, saga_id).cause) == ("completed", cause)
    moved_on(sagas, 330)
    with db.read() as session:
        refund = saga_store.by_key(session, "refund", "trip-1")
    assert (refund.status, refund.parent_id, agency.calls[-1]) == ("completed", saga_id, "cancel_flight")


@pytest.mark.parametrize("other", [UNKNOWN, CLOSED], ids=["unknown", "refused"])
def test_it_is_not_made_good_while_a_step_is_left_that_may_not_be(db, other):
    hooks = []
    good = good_saga(hooks)
    answers = {"send_tickets": [CLOSED], "book_car": [other if other is UNKNOWN else REFUSED]}
    sagas = engine(db, Agency(**answers), good, REFUND)
    saga_id = begin(sagas, good)
    moved_on(sagas, 301)
    moved_on(sagas, 330)
    assert hooks == []
    assert row_of(db, saga_id).status == "running"


def test_a_saga_that_nobody_knows_raises_attention_until_somebody_does(db):
    trip, other = trip_saga(), waiting_saga()
    gone = engine(db, Agency(), trip)
    with db.write() as session:
        saga_id = gone.start_saga(session, trip, "trip-1", Trip(place="Rome"))
    stranger = engine(db, Agency(), other)
    stranger._look_for_unknown()
    assert row_of(db, saga_id).attention is None
    shift_clock(timedelta(seconds=80))
    stranger._look_for_unknown()
    assert row_of(db, saga_id).attention == saga_store.NOBODY_KNOWS_IT
    shift_clock(timedelta(seconds=30))
    go_on(engine(db, Agency(), trip), 3)
    assert (row_of(db, saga_id).status, row_of(db, saga_id).attention) == ("completed", None)


def test_a_hook_that_fails_asks_for_attention_and_loses_nothing(db):
    broken = [True]

    def hook(session, run):
        if broken[0]:
            raise TypeError("a bug")

    trip = trip_saga(completed=hook)
    sagas = engine(db, Agency(), trip)
    saga_id = begin(sagas, trip)
    row = row_of(db, saga_id)
    assert (row.status, row.attention) == ("running", "a round of it fails: TypeError: a bug")
    broken[0] = False
    moved_on(sagas, 16)
    assert (row_of(db, saga_id).status, row_of(db, saga_id).attention) == ("completed", None)


def test_more_sagas_than_can_be_driven_at_once_are_driven_one_after_the_other(db):
    trip = trip_saga()
    agency = Agency(book_hotel=[lambda: eventlet.sleep(0.01) or "ok"])
    sagas = engine(db, agency, trip, saga_concurrency=2)
    with db.write() as session:
        ids = [sagas.start_saga(session, trip, f"trip-{n}", Trip(place="Rome")) for n in range(7)]
        begun = session.info.pop("sagas")
    sagas._drive_all(begun)  # answers at once: whoever began them does not wait
    assert agency.calls == []
    with eventlet.Timeout(20):
        while {row_of(db, saga_id).status for saga_id in ids} != {"completed"}:
            eventlet.sleep(0.02)
    assert agency.calls.count("pay") == 7
