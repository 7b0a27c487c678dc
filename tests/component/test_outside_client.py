"""What the client makes of whatever another company does with a request."""

import gzip
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import eventlet
import msgspec
import pytest

from chassis.context import Call, bound
from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.outside import Answer, OutsideClient, sign, verify_signature
from chassis.types import Message

BODY = b'{"id":"evt_1"}'


class Company:
    """A peer that does with each connection what the test says, and counts the requests that reached it."""

    def __init__(self, answer: bytes, hold_s: float, drip_s: float) -> None:
        self.answer, self.hold_s, self.drip_s = answer, hold_s, drip_s
        self.requests: list[bytes] = []
        self.listener = eventlet.listen(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/base"

    def serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            eventlet.spawn_n(self.handle, connection)

    def handle(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (part := connection.recv(65536)):
                    return
                request += part
            self.requests.append(request)
            eventlet.sleep(self.hold_s)
            pieces = [self.answer[i : i + 1] for i in range(len(self.answer))] if self.drip_s else [self.answer]
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    eventlet.sleep(self.drip_s)
            except OSError:
                return


@contextmanager
def company(answer: bytes, hold_s: float = 0.0, drip_s: float = 0.0) -> Iterator[Company]:
    it = Company(answer, hold_s, drip_s)
    server = eventlet.spawn(it.serve)
    try:
        yield it
    finally:
        server.kill()
        it.listener.close()


def http(status: int, body: bytes, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{head}\r\n".encode() + body


def test_a_result_and_a_refusal_are_both_answers() -> None:
    with company(http(201, b'{"id":"p1"}')) as it:
        assert OutsideClient("bank", it.url, 2).call("POST", "/x", {"key": "k"}) == Answer("bank", 201, {"id": "p1"})
        assert it.requests[0].startswith(b"POST /base/x HTTP/1.1\r\n")
    with company(http(402, b'{"code":"declined"}')) as it:
        assert OutsideClient("bank", it.url, 2).call("POST", "/x", {}) == Answer("bank", 402, {"code": "declined"})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="dropped without a byte"),
        pytest.param(http(200, b'{"id":"p1"}')[:-4], id="dropped in the middle of the body"),
        pytest.param(b"hello?\r\n\r\n", id="not HTTP"),
        pytest.param(http(500, b'{"code":"x"}'), id="500"),
        pytest.param(http(503, b""), id="503"),
        pytest.param(http(307, b"", "Location: /elsewhere\r\n"), id="redirected"),
        pytest.param(http(200, b'{"id":'), id="broken JSON"),
        pytest.param(http(200, b'["p1"]'), id="not an object"),
        pytest.param(http(200, b""), id="empty"),
        pytest.param(http(200, b'{"a":' + b"[" * 100_000), id="nested without an end"),
    ],
)
def test_what_cannot_be_understood_leaves_the_outcome_unknown_and_is_not_sent_again(answer: bytes) -> None:
    with company(answer) as it, pytest.raises(OutcomeUnknown) as caught:
        OutsideClient("bank", it.url, 2).call("POST", "/x", {"key": "k"})
    assert (caught.value.target, isinstance(caught.value, Unavailable), len(it.requests)) == ("bank", False, 1)


@pytest.mark.parametrize(("hold_s", "drip_s"), [(5.0, 0.0), (0.0, 0.05)], ids=["silent", "a byte at a time"])
def test_the_timeout_covers_the_whole_call_also_when_bytes_keep_coming(hold_s: float, drip_s: float) -> None:
    with company(http(200, b'{"id":"p1"}'), hold_s, drip_s) as it:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown) as caught:
            OutsideClient("bank", it.url, 0.3).call("POST", "/x", {})
        assert not isinstance(caught.value, Unavailable)
        assert 0.25 < time.monotonic() - started < 1.0


def test_the_serving_calls_deadline_and_an_explicit_one_shorten_the_timeout() -> None:
    with company(http(200, b"{}"), hold_s=5.0) as it:
        client = OutsideClient("bank", it.url, 4)
        started = time.monotonic()
        with bound(Call(trace_id="t", deadline=time.time() + 0.2)), pytest.raises(OutcomeUnknown):
            client.call("POST", "/x", {})
        with pytest.raises(OutcomeUnknown):
            client.call("POST", "/x", {}, deadline=time.time() + 0.2)
        assert time.monotonic() - started < 1.5
        with pytest.raises(Unavailable):
            client.call("POST", "/x", {}, deadline=time.time() - 1)
        assert len(it.requests) == 2


def test_a_company_that_nobody_runs_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unavailable):
            OutsideClient("bank", url, 2).call("GET", "/x")


def test_who_finds_no_free_connection_in_time_was_never_sent() -> None:
    with company(http(200, b"{}"), hold_s=1.0) as it:
        client = OutsideClient("bank", it.url, 2, pool=1)
        first = eventlet.spawn(client.call, "GET", "/x")
        eventlet.sleep(0.1)
        with pytest.raises(Unavailable):
            client.call("GET", "/x", deadline=time.time() + 0.3)
        assert (first.wait().status, len(it.requests)) == (200, 1)


LONG = b'{"a":"' + b"x" * 200_000 + b'"}'
PACKED = gzip.compress(LONG)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(http(200, LONG), id="plain"),
        pytest.param(http(200, PACKED, "Content-Encoding: gzip\r\n"), id="packed"),
        pytest.param(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + LONG, id="in pieces"),
    ],
)
def test_an_answer_that_is_too_long_is_none_and_gives_its_connection_back(answer: bytes) -> None:
    assert len(PACKED) < 1000
    with company(answer) as it:
        client = OutsideClient("bank", it.url, 2, pool=1, most_bytes=1000)
        for _ in range(3):
            with pytest.raises(OutcomeUnknown) as caught:
                client.call("POST", "/x", {})
            assert not isinstance(caught.value, Unavailable)
        it.answer = http(200, b'{"id":"p1"}')
        assert client.call("POST", "/x", {}) == Answer("bank", 200, {"id": "p1"})


def test_headers_of_ours_go_with_every_request_and_the_answers_media_type_is_told() -> None:
    with company(http(200, b"{}", "Content-Type: Application/JSON; charset=utf-8\r\n")) as it:
        answer = OutsideClient("bank", it.url, 2, headers={"Authorization": "Bearer b"}).call("POST", "/x", {})
    assert answer == Answer("bank", 200, {}, "application/json")
    assert b"\r\nAuthorization: Bearer b\r\n" in it.requests[0]
    assert b"\r\nContent-Type: application/json\r\n" in it.requests[0]


def test_a_call_that_timed_out_gives_its_connection_back() -> None:
    with company(http(200, b"{}"), hold_s=0.3) as it:
        client = OutsideClient("bank", it.url, 2, pool=1)
        for _ in range(3):
            with pytest.raises(OutcomeUnknown):
                client.call("GET", "/x", deadline=time.time() + 0.05)
        assert client.call("GET", "/x").status == 200


class Receipt(Message):
    id: str
    at: datetime


def test_an_answer_becomes_a_typed_result_or_the_refusal_that_the_adapter_names() -> None:
    good = Answer("bank", 200, {"id": "r1", "at": "2026-01-02T03:04:05Z", "new_field": 1})
    assert good.result(Receipt, {}) == Receipt(id="r1", at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    refusal = Answer("bank", 402, {"code": "declined", "message": "No."})
    with pytest.raises(ServiceError) as caught:
        refusal.result(Receipt, {"declined": "payments.declined"})
    assert caught.value.args == ("payments.declined", "No.", {"reason": "declined"})


@pytest.mark.parametrize(
    ("status", "body"), [(402, {"code": "surprise"}), (404, {}), (422, {"code": ["x"]}), (200, {"id": "r1"})]
)
def test_an_answer_that_was_not_agreed_on_leaves_the_outcome_unknown(status: int, body: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        Answer("bank", status, body).result(Receipt, {"declined": "payments.declined"})


def test_a_url_that_is_none_is_said_at_start() -> None:
    with pytest.raises(ValueError, match="bank: 'localhost' is not an http"):
        OutsideClient("bank", "localhost", 1)


def test_a_signature_holds_for_exactly_these_bytes_this_secret_and_about_this_time() -> None:
    header = sign("s", BODY, 1000.9)
    assert header.startswith("t=1000,v1=")
    assert verify_signature("s", header, BODY, 1300.0)
    assert verify_signature("s", header, BODY, 990.0, tolerance_s=10)
    assert not verify_signature("s", header, BODY, 1300.1)
    assert not verify_signature("s", header, BODY, 989.9, tolerance_s=10)
    assert not verify_signature("other", header, BODY, 1000.0)
    assert not verify_signature("s", header, BODY + b" ", 1000.0)
    assert not verify_signature("s", header.replace("t=1000", "t=1001"), BODY, 1000.0)


def test_any_of_several_signatures_will_do_while_a_secret_is_changed() -> None:
    old, new = sign("old", BODY, 1000), sign("new", BODY, 1000)
    assert verify_signature("new", f"{old},{new.split(',')[1]}", BODY, 1000)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1000",
        "v1=00",
        "t=x,v1=00",
        "t=1000,t=1000,v1=00",
        "t=1000,v1=\u00e9",
        "t=" + "9" * 5000 + ",v1=0",
        "t=²,v1=0",
    ],
)
def test_a_malformed_signature_is_false_and_no_crash(header: str) -> None:
    assert verify_signature("s", header, BODY, 1000) is False


def test_bodies_are_encoded_from_messages_as_they_are() -> None:
    with company(http(200, b"{}")) as it:
        at = datetime(2026, 1, 2, tzinfo=UTC)
        OutsideClient("bank", it.url, 2).call("POST", "/x", {"receipt": Receipt(id="r1", at=at)})
        eventlet.sleep(0)
    sent = it.requests[0].split(b"\r\n\r\n")[1]
    assert msgspec.json.decode(sent) == {"receipt": {"id": "r1", "at": "2026-01-02T00:00:00Z"}}
