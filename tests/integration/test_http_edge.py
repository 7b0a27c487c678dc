"""What nameko's web server got wrong as it comes, told to ours byte by byte over raw sockets."""

import logging
import re
import socket
from collections.abc import Iterator

import pytest

from tests.edge_service import BUY, CLOSE, HOST, Answer, Server, post, read_to_end, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


# --- bodies


def test_a_chunked_body_arrives_whole(server: Server) -> None:
    rest = BUY[16:]
    chunks = b"10;name=value\r\n%b\r\n%X\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (BUY[:16], len(rest), rest)
    answer = Answer(server.send(post(CLOSE + b"Transfer-Encoding: chunked\r\n", chunks)))
    assert answer.status == 201
    assert answer.json["body"] == {"sku": "S-1", "quantity": 2, "card": None}


def test_the_next_request_is_read_after_a_chunked_body(server: Server) -> None:
    chunked = post(HOST + b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BUY), BUY))
    answers = server.send(chunked + b"GET /v1/things HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert re.findall(rb"HTTP/1.1 \d+", answers) == [b"HTTP/1.1 201", b"HTTP/1.1 200"]


@pytest.mark.parametrize("size", [b"+5", b"0x5", b"-1", b"5_0", b" 5", b"", b"g", b"5" * 20])
def test_a_malformed_chunk_size_is_refused(server: Server, size: bytes) -> None:
    answer = Answer(server.send(post(HOST + b"Transfer-Encoding: chunked\r\n", size + b"\r\n12345\r\n0\r\n\r\n")))
    assert answer.problem == (400, "request.bad_framing")
    assert answer.headers["connection"] == "close"


def test_a_chunk_longer_than_its_size_is_refused(server: Server) -> None:
    answer = Answer(server.send(post(HOST + b"Transfer-Encoding: chunked\r\n", b"3\r\n12345\r\n0\r\n\r\n")))
    assert answer.problem == (400, "request.bad_framing")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent() -> None:
    with serving(max_body_bytes=1000) as server, server.connect() as sock:
        sock.sendall(post(HOST + b"Content-Length: 1001\r\n", b""))
        answer = Answer(read_to_end(sock))
    assert answer.problem == (413, "request.too_large")
    assert answer.headers["connection"] == "close"


def test_a_chunked_body_that_grows_too_large_is_refused_while_it_is_read() -> None:
    with serving(max_body_bytes=1000) as server, server.connect() as sock:
        sock.sendall(post(HOST + b"Transfer-Encoding: chunked\r\n", b""))
        for _ in range(4):
            sock.sendall(b"fa\r\n" + b" " * 250 + b"\r\n")
        sock.sendall(b"1\r\n \r\n")
        answer = Answer(read_to_end(sock))
    assert answer.problem == (413, "request.too_large")


def test_a_body_of_exactly_the_limit_is_read() -> None:
    body = BUY.ljust(1000)
    with serving(max_body_bytes=1000) as server:
        assert server.ask("POST", "/v1/purchases", body).status == 201


def test_a_refused_body_is_not_read_on_for_ever(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(post(HOST + b"Content-Length: 300000000\r\n", b""))
        assert _send_until_reset(sock, 300_000_000) < 30_000_000


def _send_until_reset(sock: socket.socket, most: int) -> int:
    sent = 0
    try:
        while sent < most:
            sent += sock.send(b" " * 65536)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(post(CLOSE + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(BUY), b""))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BUY)
        assert Answer(read_to_end(sock)).status == 201


def test_a_client_that_waits_for_100_continue_is_refused_without_its_body(server: Server) -> None:
    request = post(HOST + b"Expect: 100-continue\r\nContent-Length: 2000000\r\n", b"")
    assert Answer(server.send(request)).problem == (413, "request.too_large")


def test_a_body_that_ends_early_is_refused(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(post(HOST + b"Content-Length: 50\r\n", BUY))
        sock.shutdown(socket.SHUT_WR)
        assert Answer(read_to_end(sock)).problem == (400, "request.truncated")


# --- framing


@pytest.mark.parametrize(
    "headers",
    [
        HOST + b"Content-Length: +29\r\n",
        HOST + b"Content-Length: 2_9\r\n",
        HOST + b"Content-Length: -1\r\n",
        HOST + b"Content-Length: 29, 29\r\n",
        HOST + b"Content-Length:\r\n",
        HOST + b"Content-Length: 29\r\nContent-Length: 3\r\n",
        HOST + b"Content-Length: 29\r\nContent-Length: 29\r\n",
        HOST + b"Content-Length: 29\r\nTransfer-Encoding: chunked\r\n",
        HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 29\r\n",
        HOST + HOST + b"Content-Length: 29\r\n",
        b"Host: a b\r\nContent-Length: 29\r\n",
        b"Host:\r\nContent-Length: 29\r\n",
        HOST + b"Content-Length : 29\r\n",
        HOST + b"Content-Length: 29\r\nX-Folded: a\r\n b\r\n",
        HOST + b"Content-Length: 29\r\nX-Bare: a\rb\r\n",
        HOST + b"Content-Length: 29\r\nX-Nul: a\0b\r\n",
        HOST + b"Content-Length: 29\r\nno colon\r\n",
        HOST + b"Content-Length: 29\n",
    ],
)
def test_ambiguous_framing_is_refused_and_nothing_after_it_is_read(server: Server, headers: bytes) -> None:
    answers = server.send(post(headers, BUY) + b"GET /v1/things HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert len(re.findall(rb"HTTP/1.1 \d", answers)) == 1
    answer = Answer(answers)
    assert answer.problem == (400, "request.bad_framing")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"GET /v1/things", (400, "request.bad_framing")),
        (b"GET  /v1/things HTTP/1.1", (400, "request.bad_framing")),
        (b"GET /v1/things HTTP/1.1 ", (400, "request.bad_framing")),
        (b"G(T /v1/things HTTP/1.1", (400, "request.bad_framing")),
        (b"GET /v1/th\xc3\xa4ngs HTTP/1.1", (400, "request.bad_framing")),
        (b"GET /v1/things HTTP/2.0", (505, "request.http_version")),
        (b"BREW /v1/things HTTP/1.1", (501, "request.unknown_method")),
        (b"get /v1/things HTTP/1.1", (501, "request.unknown_method")),
        (b"CONNECT shop:443 HTTP/1.1", (501, "request.unknown_method")),
        (b"GET v1/things HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/things#part HTTP/1.1", (400, "request.bad_target")),
        (b"GET * HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/things/%00 HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/things/%ff HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/things/%zz HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/things/%0d%0a HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/things/a%2Fb HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/../things HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/%2e%2e/things HTTP/1.1", (400, "request.bad_target")),
        (b"GET /v1/things/. HTTP/1.1", (400, "request.bad_target")),
        (b"GET //evil.example/v1/things HTTP/1.1", (404, "request.no_such_path")),
        (b"GET /v1//things HTTP/1.1", (404, "request.no_such_path")),
        (b"GET /v1/things/ HTTP/1.1", (404, "request.no_such_path")),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1", (414, "request.uri_too_long")),
    ],
)
def test_an_odd_request_line_is_refused(server: Server, request_line: bytes, expected: tuple[int, str]) -> None:
    answer = Answer(server.send(request_line + b"\r\n" + CLOSE + b"\r\n"))
    assert answer.problem == expected
    assert "location" not in answer.headers


def test_the_absolute_form_of_a_target_is_understood(server: Server) -> None:
    answer = Answer(server.send(b"GET http://shop/v1/things/a%20b HTTP/1.1\r\n" + CLOSE + b"\r\n"))
    assert (answer.status, answer.json) == (200, {"id": "a b"})


def test_a_host_with_a_very_long_label_does_no_harm(server: Server) -> None:
    assert server.ask("GET", "/v1/things", headers={"Host": "a" * 70 + ".example"}).status == 200


def test_a_path_in_utf_8_reaches_its_method(server: Server) -> None:
    assert server.ask("GET", "/v1/things/gr%C3%BCn").json == {"id": "grün"}


def test_a_header_with_an_underscore_cannot_pose_as_another(server: Server) -> None:
    answer = server.ask("GET", "/v1/cart", headers={"Cart_Token": "guest-1"})
    assert answer.problem == (401, "auth.unauthenticated")


@pytest.mark.parametrize(
    "headers",
    [b"X-Long: " + b"a" * 40_000 + b"\r\n", b"X-Many: a\r\n" * 101, (b"X: " + b"a" * 4000 + b"\r\n") * 9],
    ids=["one long", "many", "together too long"],
)
def test_too_many_or_too_large_headers_are_refused(server: Server, headers: bytes) -> None:
    answer = Answer(server.send(b"GET /v1/things HTTP/1.1\r\n" + CLOSE + headers + b"\r\n"))
    assert answer.problem == (431, "request.headers_too_large")


def test_http_1_0_without_a_host_is_answered_and_closed(server: Server) -> None:
    answer = Answer(server.send(b"GET /v1/things HTTP/1.0\r\n\r\n"))
    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_http_1_0_may_keep_its_connection(server: Server) -> None:
    asked = b"GET /v1/things HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answers = server.send(asked + b"GET /v1/things HTTP/1.0\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_pipelined_requests_are_answered_in_turn(server: Server) -> None:
    answers = server.send(
        b"GET /v1/things/1 HTTP/1.1\r\n" + HOST + b"\r\nGET /v1/things/2 HTTP/1.1\r\n" + CLOSE + b"\r\n"
    )
    assert answers.index(b'{"id":"1"}') < answers.index(b'{"id":"2"}')


# --- methods and paths


def test_head_is_get_without_its_body(server: Server) -> None:
    got, head = server.ask("GET", "/v1/things"), server.ask("HEAD", "/v1/things")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] == "12"


def test_options_tells_what_a_path_allows(server: Server) -> None:
    answer = server.ask("OPTIONS", "/v1/things")
    assert (answer.status, answer.body, answer.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS")
    assert server.ask("OPTIONS", "/v1/nothing").problem == (404, "request.no_such_path")
    assert server.ask("OPTIONS", "*").status == 204


def test_another_method_is_refused_with_those_allowed(server: Server) -> None:
    for method in ("DELETE", "GET", "TRACE", "QUERY"):
        answer = server.ask(method, "/v1/purchases")
        assert answer.problem == (405, "request.method_not_allowed")
        assert answer.headers["allow"] == "OPTIONS, POST"


def test_an_unknown_path_is_a_problem_document(server: Server) -> None:
    assert server.ask("GET", "/v2").problem == (404, "request.no_such_path")


# --- errors


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("refused", (409, "shop.sold_out")),
        ("unlisted", (409, "shop.unheard_of")),
        ("throttled", (429, "shop.too_fast")),
        ("down", (503, "service.unavailable")),
        ("late", (504, "service.unknown_outcome")),
        ("bug", (500, "internal")),
    ],
)
def test_a_failure_becomes_a_problem_that_tells_no_secret(
    server: Server, how: str, expected: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = server.ask("GET", f"/v1/fails/{how}")
    assert answer.problem == expected
    assert b"secret" not in answer.body


def test_a_refusal_carries_its_details_and_says_when_to_try_again(server: Server) -> None:
    assert server.ask("GET", "/v1/fails/refused").json["details"] == {"sku": "S-1"}
    assert server.ask("GET", "/v1/fails/throttled").headers["retry-after"] == "7"
    down = server.ask("GET", "/v1/fails/down")
    assert (down.json["service"], down.headers["retry-after"]) == ("orders", "1")


def test_an_answer_cannot_be_split_by_a_header(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    answer = server.ask("GET", "/v1/split")
    assert answer.problem == (500, "internal")
    assert "set-cookie" not in answer.headers


def test_a_page_has_its_headers_and_ignores_parameters_it_does_not_know(server: Server) -> None:
    answer = server.ask("GET", "/?utm_source=x")
    assert answer.body.decode() == "<p>Grüezi</p>"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; object-src 'none';")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ({"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", "X-Request-Id": "mine"}, "ab" * 16),
        ({"traceparent": "00-" + "0" * 32 + "-" + "cd" * 8 + "-01", "X-Request-Id": "mine"}, "mine"),
        ({"traceparent": "junk", "X-Request-Id": "a.b_c-9"}, "a.b_c-9"),
    ],
)
def test_a_trace_is_continued(server: Server, headers: dict[str, str], trace_id: str) -> None:
    assert server.ask("GET", "/v1/things", headers=headers).headers["x-request-id"] == trace_id


@pytest.mark.parametrize("request_id", ["a" * 65, "a b", "ä", "${jndi}", ""])
def test_a_request_id_unfit_for_a_log_is_replaced(server: Server, request_id: str) -> None:
    answered = server.ask("GET", "/v1/things", headers={"X-Request-Id": request_id}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", answered)


def test_each_request_is_one_line_in_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rialto.http"):
        server.ask("GET", "/v1/things/7", headers={"X-Request-Id": "t-1"})
        server.send(b"nonsense\r\n\r\n")
    lines = [(record.method, record.route, record.status) for record in caplog.records if hasattr(record, "route")]
    assert lines == [("GET", "/v1/things/{thing_id}", 200), ("-", "-", 400)]
    assert caplog.records[0].trace_id == "t-1"
