"""A route's policy as its clients meet it: who may, with which input, key and time."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from eventlet.event import Event
from nameko.containers import ServiceContainer
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider

from chassis.routes import Request
from chassis.types import CUSTOMER, OPERATOR, STAFF
from tests.edge_service import BUY, EdgeService, Server, route, serving, token, until


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def bearer(*roles: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token('c-1', roles)}"}


# --- who


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/cart", {CUSTOMER, STAFF, OPERATOR}), ("/v1/stock", {STAFF, OPERATOR}), ("/v1/sagas", {OPERATOR})],
)
def test_a_route_lets_in_who_has_its_role(server: Server, path: str, allowed: set[str]) -> None:
    answers = {role: server.ask("GET", path, headers=bearer(role)) for role in (CUSTOMER, STAFF, OPERATOR)}
    assert {role for role, answer in answers.items() if answer.status == 200} == allowed
    for role in {CUSTOMER, STAFF, OPERATOR} - allowed:
        assert answers[role].problem == (403, "auth.forbidden")
        assert answers[role].headers["www-authenticate"] == 'Bearer error="insufficient_scope"'


def test_without_a_token_a_protected_route_is_401(server: Server) -> None:
    answer = server.ask("GET", "/v1/stock")
    assert answer.problem == (401, "auth.unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/stock", "/v1/things", "/v1/cart"])
def test_a_bad_token_is_401_everywhere(server: Server, path: str) -> None:
    answer = server.ask("GET", path, headers={"Authorization": "Bearer x.y.z"})
    assert answer.problem == (401, "auth.invalid_token")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_a_token_refused_before_the_body_is_read_does_not_spoil_the_next_request(server: Server) -> None:
    refused = b"POST /v1/orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 29\r\n\r\n" + BUY
    with server.connect() as sock:
        sock.sendall(refused + b"GET /v1/things HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        answers = b""
        while part := sock.recv(65536):
            answers += part
    assert re.findall(rb"HTTP/1.1 \d+", answers) == [b"HTTP/1.1 401", b"HTTP/1.1 200"]


def test_a_public_route_knows_who_asks_if_told(server: Server) -> None:
    anonymous = server.ask("POST", "/v1/purchases", BUY)
    known = server.ask("POST", "/v1/purchases", BUY, bearer(CUSTOMER))
    assert anonymous.json["caller"] == {
        "customer_id": None,
        "roles": [],
        "service": None,
        "saga_id": None,
        "session_id": None,
    }
    assert known.json["caller"] == {
        "customer_id": "c-1",
        "roles": [CUSTOMER],
        "service": None,
        "saga_id": None,
        "session_id": None,
    }


def test_a_guest_comes_in_with_a_cart_token(server: Server) -> None:
    answer = server.ask("GET", "/v1/cart", headers={"Cart-Token": "guest-1"})
    assert (answer.status, answer.json["guest_token"], answer.json["caller"]["roles"]) == (200, "guest-1", [])
    assert server.ask("GET", "/v1/cart").problem == (401, "auth.unauthenticated")
    assert server.ask("GET", "/v1/cart", headers={"Cart-Token": "a b"}).problem == (401, "auth.invalid_token")


@pytest.mark.parametrize("path", ["/v1/stock", "/v1/talk"])
def test_a_cart_token_opens_nothing_else(server: Server, path: str) -> None:
    answer = server.ask("GET", path, headers={"Cart-Token": "guest-1"})
    assert answer.problem == (401, "auth.unauthenticated")
    mine = server.ask("GET", "/v1/talk", headers={"Cart-Token": "guest-1", "Talk-Token": "guest-2"})
    assert (mine.status, mine.json["guest_token"]) == (200, "guest-2")


# --- with which input


def test_a_body_and_its_answer(server: Server) -> None:
    answer = server.ask("POST", "/v1/purchases", b'{"sku": "S-1", "quantity": 2, "card": {"token": "tok"}}')
    assert (answer.status, answer.headers["location"]) == (201, "/v1/purchases/1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["body"] == {"sku": "S-1", "quantity": 2, "card": {"token": "tok"}}


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"", {}, (400, "request.missing_body")),
        (b"{", {}, (400, "request.bad_json")),
        (b'{"sku": "a", "sku": "b", "quantity": 1}', {}, (400, "request.bad_json")),
        (b'{"sku": "S-1", "quantity": -1}', {}, (422, "request.invalid")),
        (BUY, {"Content-Type": "text/plain"}, (415, "request.unsupported_media_type")),
        (BUY, {"Content-Encoding": "gzip"}, (415, "request.unsupported_encoding")),
        (BUY, {"Expect": "200-ok"}, (417, "request.expectation_failed")),
    ],
)
def test_a_bad_body_is_refused(server: Server, body: bytes, headers: dict[str, str], expected: tuple[int, str]) -> None:
    assert server.ask("POST", "/v1/purchases", body, headers).problem == expected


def test_a_field_error_is_told_by_path(server: Server) -> None:
    answer = server.ask("POST", "/v1/purchases", b'{"sku": "S-1", "quantity": 1, "card": {"token": 1}}')
    assert answer.json["errors"] == [{"field": "card.token", "detail": "This must be of type str, not int."}]


def test_a_query_is_read_and_an_unknown_parameter_refused(server: Server) -> None:
    answer = server.ask("GET", "/v1/search?query=lamp&in_stock=true")
    assert answer.json["query"] == {"query": "lamp", "limit": 20, "in_stock": True}
    assert server.ask("GET", "/v1/search?qurey=lamp").json["errors"][0]["field"] == "qurey"
    assert server.ask("GET", "/v1/things?page=2").json["errors"][0]["field"] == "page"


def test_a_raw_body_is_passed_as_it_came(server: Server) -> None:
    answer = server.ask("POST", "/v1/hooks", b"\x00{not json", {"Content-Type": "application/octet-stream"})
    assert (answer.status, answer.body, answer.headers["x-body"]) == (204, b"", "AHtub3QganNvbg==")
    assert server.ask("POST", "/v1/hooks").problem == (400, "request.missing_body")


# --- keys


def test_an_idempotent_route_needs_a_key_and_hands_it_on(server: Server) -> None:
    assert server.ask("POST", "/v1/orders", BUY, bearer(CUSTOMER)).problem == (400, "request.missing_key")
    for header in ("k-1", '"k-1"'):
        answer = server.ask("POST", "/v1/orders", BUY, bearer(CUSTOMER) | {"Idempotency-Key": header})
        assert (answer.status, answer.json["key"]) == (202, "k-1")


def test_other_commands_have_a_key_of_their_own_whatever_the_client_sends(server: Server) -> None:
    keys = {server.ask("POST", "/v1/purchases", BUY, {"Idempotency-Key": "k-1"}).json["key"] for _ in range(2)}
    assert len(keys) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    assert server.ask("GET", "/v1/search").json["key"] is None


# --- what the worker is told


class ContextData(DependencyProvider):
    def get_dependency(self, worker_ctx: Any) -> dict[str, Any]:
        return dict(worker_ctx.data)


class ContextService:
    name = "edge_context"
    context = ContextData()

    @route("GET", "/v1/context")
    def tell(self, request: Request) -> dict[str, Any]:
        return self.context


def test_the_call_travels_with_caller_trace_and_deadline() -> None:
    with serving(ContextService, timeout_ms=12_000) as server:
        before_ms = int(time.time() * 1000)
        anonymous = server.ask("GET", "/v1/context", headers={"X-Request-Id": "t-1"}).json
        known = server.ask("GET", "/v1/context", headers={"X-Request-Id": "t-2"} | bearer(CUSTOMER)).json
    assert (anonymous["trace_id"], anonymous["caller"]) == ("t-1", {"roles": []})
    assert (known["trace_id"], known["caller"]) == ("t-2", {"customer_id": "c-1", "roles": [CUSTOMER]})
    assert 12_000 <= known["deadline"] - before_ms < 17_000


def test_a_method_that_does_not_take_its_paths_parameters_does_not_start() -> None:
    class Wrong:
        name = "edge_wrong"

        @route("GET", "/v1/orders/{order_id}")
        def order(self, request: Request, number: str) -> None: ...

    container = ServiceContainer(Wrong, {"WEB_SERVER_ADDRESS": "127.0.0.1:0"})
    with pytest.raises(TypeError, match=r"takes \['number'\], its path gives \['order_id'\]"):
        container.start()
    container.kill()


@pytest.mark.parametrize(
    ("http", "sentence"),
    [
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"timeout": 5}, "unknown field `timeout`"),
        ({"max_wait_s": 20}, "http.max_wait_s must be shorter than http.timeout_ms"),
    ],
)
def test_a_wrong_setting_is_said_at_start(http: dict[str, int], sentence: str) -> None:
    container = ServiceContainer(EdgeService, {"WEB_SERVER_ADDRESS": "127.0.0.1:0", "http": http})
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        container.start()
    container.kill()


def test_a_request_that_found_no_worker_in_time_was_not_begun() -> None:
    EdgeService.gate, EdgeService.entered = Event(), 0
    with serving(max_workers=1, timeout_ms=1100, max_wait_s=1) as server:
        with server.connect() as first:
            first.sendall(b"GET /v1/waits HTTP/1.1\r\nHost: shop\r\n\r\n")
            until(lambda: EdgeService.entered == 1)
            assert server.ask("GET", "/v1/things").problem == (503, "request.overloaded")
        EdgeService.gate.send(None)
        until(lambda: server.ask("GET", "/v1/things").status == 200)
