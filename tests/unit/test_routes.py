"""What a route checks and declares, without a server."""

from typing import Any

import pytest

from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.problems import FieldError, Problem, problem_of
from chassis.routes import Request, Route, _idempotency_key
from chassis.tracing import trace_id_of
from tests.edge_service import Purchase

# --- keys, preferences, traces


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("k", "k"),
        ("k" * 255, "k" * 255),
        ('"k-1"', "k-1"),
        ('"a b"', "a b"),
        ('"' + "k" * 255 + '"', "k" * 255),
        (r'"a\"b\\"', 'a"b\\'),
    ],
)
def test_a_key_may_be_bare_or_quoted(header: str, key: str) -> None:
    assert _idempotency_key(header) == key


@pytest.mark.parametrize("header", ["", '""', "k" * 256, "a b", "ä", '"open', '"a"b"', '"' + "k" * 256 + '"', "a\tb"])
def test_a_malformed_key_is_refused(header: str) -> None:
    with pytest.raises(Problem) as refused:
        _idempotency_key(header)
    assert (refused.value.status, refused.value.code) == (400, "request.bad_key")


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        _idempotency_key(None)
    assert (refused.value.status, refused.value.code) == (400, "request.missing_key")


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ("wait=5", 5.0),
        ("respond-async, wait=3", 3.0),
        ("Wait = 2 ; x=y, wait=9", 2.0),
        ("wait=600", 10.0),
        ("wait=0", 0.0),
        ("wait=-1", 0.0),
        ("wait=1.5", 0.0),
        ("wait=soon", 0.0),
        ("wait=" + "9" * 5000, 0.0),
        ("", 0.0),
    ],
)
def test_a_wait_is_taken_up_to_the_cap_and_ignored_if_malformed(prefer: str, wait_s: float) -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "REMOTE_ADDR": "127.0.0.1", "HTTP_PREFER": prefer}
    assert Request[None, None](environ, "t", 10).prefer_wait_s == wait_s


def test_a_trace_without_a_header_is_new_each_time() -> None:
    assert trace_id_of({}) != trace_id_of({})


# --- declarations


def test_a_path_in_braces_becomes_a_rule() -> None:
    entrypoint = Route("GET", "/v1/orders/{id}/lines/{line}")
    assert (entrypoint.get_url_rule().rule, entrypoint.parameters) == ("/v1/orders/<id>/lines/<line>", ["id", "line"])


def test_an_inline_route_may_not_read_a_body() -> None:
    with pytest.raises(ValueError, match="an inline route reads no body"):
        Route("POST", "/v1/x", body=Purchase, inline=True)


# --- failures


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (ServiceError("orders.cart_empty", "Empty."), 409, "orders.cart_empty"),
        (ServiceError("users.bad_credentials", "No."), 401, "users.bad_credentials"),
        (ServiceError("request.invalid", "No."), 422, "request.invalid"),
        (ServiceError("auth.forbidden", "No."), 403, "auth.forbidden"),
        (Unavailable("orders", "down"), 503, "service.unavailable"),
        (OutcomeUnknown("orders", "late"), 504, "service.unknown_outcome"),
        (OutcomeUnknown("orders", "it failed", missing="shipping"), 503, "service.unavailable"),
    ],
)
def test_each_failure_has_its_status(failure: Any, status: int, code: str) -> None:
    problem = problem_of(failure, {"users.bad_credentials": 401})
    assert (problem.status, problem.code) == (status, code)


def test_a_refused_argument_names_its_field() -> None:
    problem = problem_of(ServiceError("request.invalid", "Too long.", {"field": "name"}), {})
    assert problem.errors == (FieldError("name", "Too long."),)


@pytest.mark.parametrize(("after_s", "header"), [(0, "1"), (0.2, "1"), (1.2, "2"), (30, "30")])
def test_a_retry_time_is_rounded_up_to_seconds(after_s: float, header: str) -> None:
    problem = problem_of(ServiceError("users.throttled", "Later.", {"retry_after_s": after_s}), {})
    assert problem.headers == {"Retry-After": header}
