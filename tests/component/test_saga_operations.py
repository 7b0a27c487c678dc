"""Operators at sagas that are stuck: each rule both ways, each action's effect, and the fence; on both databases."""

from datetime import timedelta

import eventlet
import pytest

from chassis import saga_admin as admin
from chassis import saga_store
from chassis import saga_views as views
from chassis.db import now, shift_clock
from chassis.errors import ServiceError
from chassis.saga import Saga, Step, Sub
from chassis.saga_rules import RULES
from chassis.types import Message
from tests.sagas import UNKNOWN, Agency, AgencyApi, Trip, arguments, begin, engine, trip_saga
from tests.sagas import go_on as rounds_of

NO_MONEY = ServiceError("agency.no_money", "No.")
CLOSED = ServiceError("agency.closed", "Come back.")
WHY = "the agency called me"


BACK_OFF = timedelta(minutes=1)


@pytest.fixture
def db(sessions):
    return sessions("orders")


def patient(db, agency, *sagas, **config):
    """An engine whose back-off is so long that it does nothing by itself while a test looks."""
    ms = BACK_OFF // timedelta(milliseconds=1)
    return engine(db, agency, *sagas, saga_backoff_ms=ms, saga_backoff_max_ms=ms, **config)


def go_on(sagas):
    """Drive what is due now."""
    rounds_of(sagas, 2)


def after_back_offs(sagas, count):
    for number in range(count):
        shift_clock(BACK_OFF * (number + 1))
        go_on(sagas)


def long_trip(**hooks):
    return trip_saga(deadline_s=86_400, **hooks)


def row_of(db, saga_id):
    with db.read() as session:
        return saga_store.get(session, saga_id)


def operate(db, sagas, saga_id, action, step=None, ver=None):
    with db.write() as session:
        seen = ver or saga_store.get(session, saga_id).ver
        admin.operate(session, sagas, saga_id, action, seen, WHY, step, "op-1")


def shown(db, sagas, saga_id):
    with db.read() as session:
        return views.dossier(session, admin.case_of(session, sagas, admin.get(session, saga_id)), "travel")


def all_rows(db, saga_id):
    """The saga's row and its log: what a refusal must leave as it was."""
    with db.read() as session:
        return saga_store.get(session, saga_id), saga_store.log_of(session, [saga_id])[saga_id]


# --- sagas that are stuck


def undecided(db):
    """Its flight does not answer."""
    agency, trip = Agency(book_flight=[UNKNOWN]), long_trip()
    sagas = patient(db, agency, trip)
    return sagas, agency, begin(sagas, trip)


def in_doubt(db):
    """Its payment does not answer."""
    agency, trip = Agency(pay=[UNKNOWN]), long_trip()
    sagas = patient(db, agency, trip)
    return sagas, agency, begin(sagas, trip)


def forward(db, **hooks):
    """Its tickets are refused, and it needs attention."""
    agency, trip = Agency(send_tickets=[CLOSED]), long_trip(**hooks)
    sagas = patient(db, agency, trip, saga_attention_after_ms=-1)
    return sagas, agency, begin(sagas, trip)


def compensating(db, **failing):
    """Its flight cannot be cancelled, and it needs attention."""
    agency, trip = Agency(pay=[NO_MONEY], **(failing or {"cancel_flight": [UNKNOWN]})), long_trip()
    sagas = patient(db, agency, trip, saga_attention_attempts=2)
    saga_id = begin(sagas, trip)
    after_back_offs(sagas, 4)
    return sagas, agency, saga_id


def calm_forward(db):
    """Its tickets are refused, but not for long."""
    agency, trip = Agency(send_tickets=[CLOSED]), long_trip()
    sagas = patient(db, agency, trip)
    return sagas, agency, begin(sagas, trip)


def waiting(db):
    """It waits for a signal."""
    definition = (
        Saga("waiting", version=1, data=Trip, deadline_s=600)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel))
        .wait_for("approved", until_s=60)
        .pivot(Step("pay", AgencyApi.pay, arguments))
        .retriable(Step("tickets", AgencyApi.send_tickets, arguments))
    )
    agency = Agency()
    sagas = patient(db, agency, definition)
    return sagas, agency, begin(sagas, definition)


def ended(db):
    agency, trip = Agency(), long_trip()
    sagas = patient(db, agency, trip)
    return sagas, agency, begin(sagas, trip)


def foreign(db):
    """This instance does not know its version."""
    _, _, saga_id = undecided(db)
    newer = Saga("trip", version=2, data=Trip, deadline_s=60).pivot(Step("pay", AgencyApi.pay, arguments))
    agency = Agency()
    return patient(db, agency, newer), agency, saga_id


def paused(db):
    sagas, agency, saga_id = forward(db)
    operate(db, sagas, saga_id, "pause")
    return sagas, agency, saga_id


ALLOWED = None
BY_STATE = {
    undecided: {
        "retry": ALLOWED,
        "pause": ALLOWED,
        "resume": "It is not paused.",
        "skip-step": "It has not reached its point of no return",
        "force-compensate": ALLOWED,
        "resolve": "It has not reached its point of no return",
    },
    waiting: {
        "retry": "It waits for the signal approved",
        "pause": ALLOWED,
        "resume": "It is not paused.",
        "skip-step": "It has not reached its point of no return",
        "force-compensate": ALLOWED,
        "resolve": "It has not reached its point of no return",
    },
    in_doubt: {
        "retry": ALLOWED,
        "pause": ALLOWED,
        "resume": "It is not paused.",
        "skip-step": "Its pivot pay is in doubt",
        "force-compensate": "Its pivot pay is in doubt",
        "resolve": "Its pivot pay is in doubt",
    },
    forward: {
        "retry": ALLOWED,
        "pause": ALLOWED,
        "resume": "It is not paused.",
        "skip-step": ALLOWED,
        "force-compensate": "It is past its point of no return",
        "resolve": ALLOWED,
    },
    calm_forward: {
        "retry": ALLOWED,
        "pause": ALLOWED,
        "resume": "It is not paused.",
        "skip-step": ALLOWED,
        "force-compensate": "It is past its point of no return",
        "resolve": "Nothing of it needs attention",
    },
    compensating: {
        "retry": ALLOWED,
        "pause": ALLOWED,
        "resume": "It is not paused.",
        "skip-step": "an undo is never skipped",
        "force-compensate": "It compensates already.",
        "resolve": ALLOWED,
    },
    paused: {
        "retry": "It is paused",
        "pause": "It is paused already.",
        "resume": ALLOWED,
        "skip-step": ALLOWED,
        "force-compensate": "It is past its point of no return",
        "resolve": ALLOWED,
    },
    ended: dict.fromkeys(RULES, "It has ended"),
    foreign: {
        "retry": ALLOWED,
        "pause": ALLOWED,
        "resume": "It is not paused.",
        "skip-step": "This instance does not know version 1 of trip",
        "force-compensate": "This instance does not know version 1 of trip",
        "resolve": "This instance does not know version 1 of trip",
    },
}
"""State -> action -> the beginning or a part of the sentence that forbids it."""
MATRIX = [(state, action, why) for state, actions in BY_STATE.items() for action, why in actions.items()]


@pytest.mark.parametrize(("state", "action", "why"), MATRIX, ids=lambda each: getattr(each, "__name__", None))
def test_an_action_is_done_or_refused_with_its_sentence_and_then_nothing_changed(db, state, action, why):
    sagas, agency, saga_id = state(db)
    step = {"skip-step": "tickets"}.get(action)
    row, log = all_rows(db, saga_id)
    calls = list(agency.calls)
    if why is ALLOWED:
        operate(db, sagas, saga_id, action, step)
        after, lines = all_rows(db, saga_id)
        assert after.ver == row.ver + 1
        assert (after.owner, after.wake_at <= after.updated_at) == (None, True)
        assert [(line.operation, line.outcome, line.author, line.detail) for line in lines[len(log) :]] == [
            ("operator", action, "op-1", WHY)
        ]
    else:
        with pytest.raises(ServiceError) as refused:
            operate(db, sagas, saga_id, action, step)
        assert (refused.value.code, why in refused.value.message) == ("sagas.not_allowed", True), refused.value
        assert all_rows(db, saga_id) == (row, log)
    assert agency.calls == calls


@pytest.mark.parametrize("state", BY_STATE, ids=lambda state: state.__name__)
def test_what_is_shown_as_allowed_is_what_the_rules_allow(db, state):
    sagas, _, saga_id = state(db)
    allowed = [action for action, why in BY_STATE[state].items() if why is ALLOWED]
    assert sorted(shown(db, sagas, saga_id).allowed) == sorted(allowed)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (None, "Say which step; those that could be skipped are: tickets."),
        ("dinner", "It has no step dinner; those that could be skipped are: tickets."),
        ("hotel", "hotel stands before the point of no return"),
        ("pay", "pay is the pivot: a pivot is never skipped."),
    ],
)
def test_only_a_retriable_step_can_be_skipped(db, step, why):
    sagas, _, saga_id = forward(db)
    before = all_rows(db, saga_id)
    with pytest.raises(ServiceError) as refused:
        operate(db, sagas, saga_id, "skip-step", step)
    assert why in refused.value.message
    assert all_rows(db, saga_id) == before


# --- what actions lead to


def test_retry_has_a_saga_tried_again_long_before_its_back_off(db):
    agency, trip = Agency(pay=[UNKNOWN, "receipt"]), long_trip()
    sagas = patient(db, agency, trip)
    saga_id = begin(sagas, trip)
    go_on(sagas)
    assert agency.calls.count("pay") == 1
    operate(db, sagas, saga_id, "retry")
    go_on(sagas)
    assert agency.calls.count("pay") == 2
    assert row_of(db, saga_id).status == "completed"


def test_nobody_drives_a_paused_saga_and_a_resumed_one_goes_on(db):
    sagas, agency, saga_id = forward(db)
    operate(db, sagas, saga_id, "pause")
    agency.script["send_tickets"] = ["ok"]
    calls = list(agency.calls)
    shift_clock(timedelta(days=1))
    go_on(sagas)
    assert agency.calls == calls
    assert row_of(db, saga_id).status == "running"
    operate(db, sagas, saga_id, "resume")
    go_on(sagas)
    assert row_of(db, saga_id).status == "completed"
    assert row_of(db, saga_id).paused_at is None


def test_a_resumed_wait_goes_on_waiting(db):
    sagas, agency, saga_id = waiting(db)
    operate(db, sagas, saga_id, "pause")
    operate(db, sagas, saga_id, "resume")
    go_on(sagas)
    assert (row_of(db, saga_id).status, "pay" in agency.calls) == ("running", False)
    with db.write() as session:
        sagas.signal(session, saga_id, "approved")
    go_on(sagas)
    assert row_of(db, saga_id).status == "completed"


def test_a_pause_with_the_pivot_in_doubt_undoes_nothing(db):
    sagas, agency, saga_id = in_doubt(db)
    operate(db, sagas, saga_id, "pause")
    shift_clock(timedelta(days=2))  # far beyond the deadline
    operate(db, sagas, saga_id, "resume")
    agency.script["pay"] = ["receipt"]
    go_on(sagas)
    assert row_of(db, saga_id).status == "completed"
    assert not {"cancel_hotel", "cancel_car", "cancel_flight"} & set(agency.calls)


def test_a_skipped_step_is_never_done_and_the_saga_ends_without_its_result(db):
    ends = []
    sagas, agency, saga_id = forward(db, completed=lambda session, run: ends.append(sorted(run.results)))
    operate(db, sagas, saga_id, "skip-step", "tickets")
    tried = agency.calls.count("send_tickets")
    go_on(sagas)
    assert row_of(db, saga_id).status == "completed"
    assert agency.calls.count("send_tickets") == tried
    assert ends == [["car", "flight", "hotel", "pay"]]
    assert row_of(db, saga_id).steps["tickets"]["outcome"] == "skipped"


def test_a_step_that_was_resolved_is_not_tried_again(db):
    sagas, agency, saga_id = forward(db)
    operate(db, sagas, saga_id, "resolve")
    tried = agency.calls.count("send_tickets")
    go_on(sagas)
    row = row_of(db, saga_id)
    assert (row.status, row.steps["tickets"]["outcome"]) == ("completed", "resolved")
    assert (agency.calls.count("send_tickets"), row.attention) == (tried, None)


def test_force_compensate_turns_a_saga_round_with_the_hook_in_the_same_commit(db):
    sagas, agency, saga_id = undecided(db)
    seen = []
    sagas.definitions["trip", 1].on_compensating = lambda session, run: seen.append((run.key, run.cause["code"]))
    operate(db, sagas, saga_id, "force-compensate")
    assert seen == [("trip-1", "saga.operator")]
    go_on(sagas)
    row = row_of(db, saga_id)
    assert row.status == "compensated"
    assert row.cause == {"step": "operator", "code": "saga.operator", "message": WHY}
    assert {"cancel_hotel", "cancel_car", "cancel_flight"} <= set(agency.calls)
    assert "pay" not in agency.calls


def test_a_hook_that_fails_undoes_the_action(db):
    def fail(session, run):
        raise ServiceError("travel.broken", "No.")

    sagas, _, saga_id = undecided(db)
    sagas.definitions["trip", 1].on_compensating = fail
    before = all_rows(db, saga_id)
    with pytest.raises(ServiceError, match=r"travel\.broken"):
        operate(db, sagas, saga_id, "force-compensate")
    assert all_rows(db, saga_id) == before


def test_an_undo_that_was_settled_by_hand_is_taken_as_done(db):
    sagas, agency, saga_id = compensating(db)
    operate(db, sagas, saga_id, "resolve")
    tried = agency.calls.count("cancel_flight")
    go_on(sagas)
    row = row_of(db, saga_id)
    assert (row.status, row.steps["flight"]["undo"]) == ("compensated", "resolved")
    assert agency.calls.count("cancel_flight") == tried


def test_where_several_undos_need_attention_the_one_that_was_settled_is_named(db):
    sagas, _, saga_id = compensating(db, cancel_flight=[UNKNOWN], cancel_hotel=[UNKNOWN])
    before = all_rows(db, saga_id)
    with pytest.raises(ServiceError, match=r"say which one was settled\. They are: hotel, flight\."):
        operate(db, sagas, saga_id, "resolve")
    with pytest.raises(ServiceError, match=r"car does not need attention; what does: hotel, flight\."):
        operate(db, sagas, saga_id, "resolve", "car")
    assert all_rows(db, saga_id) == before
    operate(db, sagas, saga_id, "resolve", "flight")
    go_on(sagas)
    assert row_of(db, saga_id).attention == "cannot be undone yet: hotel"
    operate(db, sagas, saga_id, "resolve", "hotel")
    go_on(sagas)
    assert row_of(db, saga_id).status == "compensated"


def test_a_sub_saga_that_turned_round_is_resolved_and_not_skipped(db):
    child = (
        Saga("child", version=1, data=Trip, deadline_s=60)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel))
        .pivot(Step("pay", AgencyApi.pay, arguments))
    )
    parent = (
        Saga("parent", version=1, data=Trip, deadline_s=60)
        .retriable(Step("tickets", AgencyApi.send_tickets, arguments))
        .sub(Sub("back", child, lambda trip: f"back-{trip.place}", lambda trip: trip))
    )
    agency = Agency(pay=[NO_MONEY])
    sagas = patient(db, agency, parent, child)
    saga_id = begin(sagas, parent)
    after_back_offs(sagas, 1)  # the child is begun, and taken over after its lease
    assert row_of(db, saga_id).attention == "sub-saga back turned round"
    with pytest.raises(ServiceError, match="back is no call but a wait or a sub-saga"):
        operate(db, sagas, saga_id, "skip-step", "back")
    operate(db, sagas, saga_id, "resolve")
    go_on(sagas)
    assert row_of(db, saga_id).status == "completed"
    (child_ref,) = shown(db, sagas, saga_id).children
    assert (child_ref.name, child_ref.status) == ("child", "compensated")


# --- the fence


def test_an_operator_who_saw_an_older_version_changes_nothing(db):
    sagas, agency, saga_id = undecided(db)
    seen = row_of(db, saga_id).ver
    agency.script["book_flight"] = ["ok"]
    agency.script["pay"] = [UNKNOWN]
    after_back_offs(sagas, 1)  # meanwhile it has entered its pivot
    before = all_rows(db, saga_id)
    with pytest.raises(ServiceError) as refused:
        operate(db, sagas, saga_id, "force-compensate", ver=seen)
    assert refused.value.code == "sagas.stale"
    assert all_rows(db, saga_id) == before


def test_an_instance_that_is_driving_loses_to_the_operator_and_stops(db):
    trip = long_trip()
    agency = Agency()
    sagas = patient(db, agency, trip)

    def act_meanwhile():
        (saga_id,) = {key.split(":")[0] for key in agency.keys["book_flight"]}
        operate(db, sagas, saga_id, "force-compensate")
        return "ok"

    agency.script["book_flight"] = [act_meanwhile]
    saga_id = begin(sagas, trip)
    assert agency.calls == ["book_hotel", "book_car", "book_flight"]  # its commit found another ver
    assert row_of(db, saga_id).status == "compensating"
    go_on(sagas)
    assert row_of(db, saga_id).status == "compensated"
    assert "pay" not in agency.calls
    assert "cancel_flight" in agency.calls


def test_a_pause_stops_an_instance_at_its_next_commit(db):
    trip = long_trip()
    agency = Agency()
    sagas = patient(db, agency, trip)

    def pause_meanwhile():
        (saga_id,) = {key.split(":")[0] for key in agency.keys["pay"]}
        if row_of(db, saga_id).paused_at is None:
            operate(db, sagas, saga_id, "pause")
        return "receipt"

    agency.script["pay"] = [pause_meanwhile, "receipt"]
    saga_id = begin(sagas, trip)
    go_on(sagas)
    assert "send_tickets" not in agency.calls
    operate(db, sagas, saga_id, "resume")
    go_on(sagas)
    assert row_of(db, saga_id).status == "completed"
    assert len(agency.keys["pay"]) == 1  # asked again with the same key


def test_of_operators_with_the_same_version_one_wins(db):
    sagas, _, saga_id = undecided(db)
    seen = row_of(db, saga_id).ver

    def act(action):
        try:
            operate(db, sagas, saga_id, action, ver=seen)
            return "done"
        except ServiceError as exc:
            return exc.code

    threads = [eventlet.spawn(act, action) for action in ("pause", "retry", "force-compensate", "pause")]
    outcomes = sorted(thread.wait() for thread in threads)
    assert outcomes == ["done", "sagas.stale", "sagas.stale", "sagas.stale"]
    assert row_of(db, saga_id).ver == seen + 1


def test_an_operator_who_is_overtaken_in_the_middle_of_the_act_changes_nothing(db, monkeypatch):
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: nobody can come in between")
    sagas, _, saga_id = undecided(db)
    look = admin.case_of

    def overtaken(*args):
        case = look(*args)
        monkeypatch.setattr(admin, "case_of", look)
        operate(db, sagas, saga_id, "pause")
        return case

    monkeypatch.setattr(admin, "case_of", overtaken)
    with pytest.raises(ServiceError, match="somebody was faster"):
        operate(db, sagas, saga_id, "force-compensate")
    row, log = all_rows(db, saga_id)
    assert (row.status, row.paused_at is not None) == ("running", True)
    assert [line.outcome for line in log if line.operation == "operator"] == ["pause"]


# --- what is found and shown


class Secretive(Message):
    place: str
    email: str
    method: dict[str, str]


def test_a_saga_is_shown_with_its_steps_and_without_its_secrets(db):
    definition = (
        Saga("secretive", version=1, data=Secretive, deadline_s=60)
        .stage(
            Step(
                "hotel",
                AgencyApi.book_hotel,
                lambda d: dict(place=f"for {d.email}", token=d.method["token"]),
                undo=AgencyApi.cancel_hotel,
            )
        )
        .pivot(Step("pay", AgencyApi.pay, lambda d: dict(place=d.place), learn=lambda d, paid: d))
        .retriable(Step("send", AgencyApi.send_tickets, lambda d: dict(place=d.method["what paying tells"])))
    )
    agency = Agency(book_hotel=[{"token": "abc", "ref": "R-1"}], pay=[UNKNOWN])
    sagas = patient(db, agency, definition)
    data = Secretive(place="Rome", email="ada@rialto.example", method={"type": "card", "token": "tok_visa"})
    with db.write() as session:
        saga_id = sagas.start_saga(session, definition, "k", data)
        (held,) = session.info.pop("sagas")
    sagas._drive(held)
    saga = shown(db, sagas, saga_id)
    assert saga.data == {"place": "Rome", "email": "a***@rialto.example", "method": {"type": "card", "token": "***"}}
    hotel, pay, send = saga.steps
    assert (hotel.calls, hotel.undo, hotel.outcome) == ("agency.book_hotel", "agency.cancel_hotel", "ok")
    assert hotel.input == {"place": "for a***@rialto.example", "token": "***"}
    assert hotel.output == {"token": "***", "ref": "R-1"}
    assert (pay.kind, pay.outcome, pay.attempts, pay.input) == ("pivot", "unknown", 1, {"place": "Rome"})
    assert (send.outcome, send.input) == ("", None)  # what it is sent is not known before
    assert (saga.phase, saga.ver, saga.service) == ("in_doubt", row_of(db, saga_id).ver, "travel")
    assert [(line.step, line.outcome) for line in saga.timeline] == [("hotel", "ok"), ("pay", "unknown")]


def found(db, **asked):
    with db.read() as session:
        where = admin.filters(now(session), timedelta(seconds=60), **asked)
        return [row.key for row in admin.find(session, where, 10, None)]


def test_sagas_are_found_by_what_an_operator_asks_for(db):
    trip = long_trip()
    for key, script in {
        "done": {},
        "slow": {"book_flight": [UNKNOWN]},
        "stuck": {"send_tickets": [CLOSED]},
        "given_back": {"pay": [NO_MONEY]},
        "halted": {"pay": [UNKNOWN]},
    }.items():
        sagas = patient(db, Agency(**script), trip, saga_attention_after_ms=-1)
        saga_id = begin(sagas, trip, key)
    operate(db, sagas, saga_id, "pause")
    assert found(db) == ["halted", "given_back", "stuck", "slow", "done"]
    assert found(db, status="compensated") == ["given_back"]
    assert found(db, attention=True) == ["stuck"]
    assert found(db, stuck=True) == ["halted", "stuck"]
    assert found(db, stuck=False, status="running") == ["slow"]
    assert found(db, name="trap") == []
    assert found(db, text="NO_MON") == ["given_back"]
    assert found(db, text="rome", status="completed") == ["done"]
    assert found(db, text="%") == []
    assert found(db, older_than_s=60) == []
    shift_clock(timedelta(seconds=61))
    assert found(db, older_than_s=60, status="running") == ["halted", "stuck", "slow"]
    shift_clock(timedelta(minutes=3))
    assert found(db, stuck=True) == ["halted", "stuck", "slow"]  # it is due, and nobody drives it


def test_pages_hold_each_saga_once(db):
    trip = long_trip()
    for number in range(5):
        begin(patient(db, Agency(), trip), trip, f"trip-{number}")
    keys, before = [], None
    with db.read() as session:
        while rows := admin.find(session, [], 2, before):
            keys += [row.key for row in rows]
            before = (rows[-1].created_at, rows[-1].id)
    assert keys == ["trip-4", "trip-3", "trip-2", "trip-1", "trip-0"]
