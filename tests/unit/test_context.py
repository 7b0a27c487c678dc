"""What travels with a call: who asks, until when, and what happens when a header is not what it should be."""

import time

import eventlet
import pytest
import structlog

from chassis.context import Call, bind, bound, current_call, from_context_data, time_left, to_context_data
from chassis.errors import ServiceError
from chassis.types import CUSTOMER, OPERATOR, STAFF, Caller

SHELL = Call(trace_id="t")
NOBODY = Call(trace_id="t", caller=Caller())
ANN = Call(trace_id="t", caller=Caller(customer_id="ann", roles=(CUSTOMER,)))
CLERK = Call(trace_id="t", caller=Caller(customer_id="clerk", roles=(CUSTOMER, STAFF)))
BOSS = Call(trace_id="t", caller=Caller(customer_id="boss", roles=(OPERATOR,)))
SAGA = Call(trace_id="t", caller=Caller(service="orders", saga_id="s-1"))


def may(check):
    """True, or the code of the refusal."""
    try:
        check()
    except ServiceError as refusal:
        return refusal.code
    return True


@pytest.mark.parametrize(
    ("call", "staff", "operator", "trusted"),
    [
        (SHELL, True, True, True),
        (SAGA, True, True, True),
        (BOSS, True, True, "auth.forbidden"),
        (CLERK, True, "auth.forbidden", "auth.forbidden"),
        (ANN, "auth.forbidden", "auth.forbidden", "auth.forbidden"),
        (NOBODY, "auth.forbidden", "auth.forbidden", "auth.forbidden"),
    ],
)
def test_what_a_caller_may(call, staff, operator, trusted):
    assert (may(call.require_staff), may(call.require_operator), may(call.require_trusted)) == (
        staff,
        operator,
        trusted,
    )


def test_a_customer_acts_for_nobody_else():
    assert [ANN.owns("ann"), ANN.owns("bob"), ANN.owns(None)] == [True, False, False]


def test_staff_are_not_owners_and_services_and_the_shell_act_for_everybody():
    assert (CLERK.owns("ann"), BOSS.owns("ann")) == (False, False)
    assert (SHELL.owns("ann"), SAGA.owns(None)) == (True, True)


def test_nobody_owns_not_even_what_belongs_to_nobody():
    assert (NOBODY.owns(None), NOBODY.owns("")) == (False, False)


@pytest.mark.parametrize("call", [SHELL, NOBODY, ANN, BOSS, SAGA, Call(trace_id="t", caller=ANN.caller, deadline=1.5)])
def test_a_call_survives_its_way_through_the_headers(call):
    assert from_context_data(to_context_data(call)) == call


@pytest.mark.parametrize("call", [NOBODY, ANN, SAGA])
def test_headers_hold_no_null(call):
    data = to_context_data(call)
    assert None not in data.values()
    assert None not in data["caller"].values()


@pytest.mark.parametrize(
    "caller",
    [
        "",
        "operator",
        0,
        7,
        False,
        [],
        {},
        ["operator"],
        {"roles": "operator"},
        {"roles": [1]},
        {"customer_id": 5},
        b"x",
    ],
)
def test_a_malformed_caller_is_nobody_not_an_operator(caller):
    call = from_context_data({"caller": caller})
    assert call.caller == Caller()
    assert (call.is_trusted(), call.is_staff()) == (False, False)


def test_no_caller_is_the_operators_shell():
    assert from_context_data({}).caller is None


def test_members_of_a_caller_that_are_not_known_yet_are_ignored():
    assert from_context_data({"caller": {"customer_id": "ann", "tenant": "x"}}).caller == Caller(customer_id="ann")


@pytest.mark.parametrize("deadline", [None, "soon", 1.5, True, [1]])
def test_a_deadline_that_is_no_integer_is_none(deadline):
    assert from_context_data({"deadline": deadline}).deadline is None


def test_a_deadline_is_in_milliseconds_on_the_wire():
    assert from_context_data({"deadline": 1_700_000_000_250}).deadline == 1_700_000_000.25
    assert to_context_data(Call(trace_id="t", deadline=1_700_000_000.25))["deadline"] == 1_700_000_000_250


@pytest.mark.parametrize("trace_id", [None, "", 5, ["t"], "x" * 65])
def test_a_trace_id_that_is_missing_or_unfit_is_made_anew(trace_id):
    made = from_context_data({"trace_id": trace_id}).trace_id
    assert len(made) == 32
    assert from_context_data({"trace_id": trace_id}).trace_id != made


@pytest.mark.parametrize("trace_id", ["t", "x" * 64])
def test_a_trace_id_is_kept(trace_id):
    assert from_context_data({"trace_id": trace_id}).trace_id == trace_id


def test_a_wait_takes_no_longer_than_the_deadline_leaves():
    assert time_left(5) == 5
    with bound(Call(trace_id="t", deadline=time.time() + 2)):
        assert 1 < time_left(5) <= 2
        assert time_left(1) == 1
    with bound(Call(trace_id="t", deadline=time.time() - 1)):
        assert time_left(5) == 0
    with bound(SHELL):
        assert time_left(5) == 5


def test_each_green_thread_has_a_call_of_its_own():
    def serve(call):
        bind(call)
        eventlet.sleep(0)
        return current_call(), structlog.contextvars.get_contextvars()

    threads = [eventlet.spawn(serve, Call(trace_id=name, caller=SAGA.caller)) for name in ("a", "b")]
    seen = [thread.wait() for thread in threads]
    assert [call.trace_id for call, _ in seen] == ["a", "b"]
    assert [ids for _, ids in seen] == [{"trace_id": "a", "saga_id": "s-1"}, {"trace_id": "b", "saga_id": "s-1"}]
    assert current_call() is None


def test_a_block_gives_the_call_before_back():
    with bound(ANN):
        with bound(SAGA):
            assert current_call() == SAGA
        assert current_call() == ANN
    assert current_call() is None
