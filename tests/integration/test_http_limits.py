"""The web server under slow clients, too many clients, and when it starts and stops."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import eventlet
import pytest
from eventlet.event import Event
from nameko.containers import ServiceContainer

from tests.edge_service import BUY, HOST, Answer, EdgeService, Server, post, read_to_end, serving, until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def gate() -> Iterator[Event]:
    EdgeService.gate, EdgeService.entered = Event(), 0
    yield EdgeService.gate
    if not EdgeService.gate.ready():
        EdgeService.gate.send(None)


def test_a_client_that_drips_its_headers_is_cut_off() -> None:
    with serving(read_timeout_ms=400) as server, server.connect() as sock:
        started = time.monotonic()
        drip(sock, b"GET /v1/things HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1000)
        answer = Answer(read_to_end(sock))
        took_s = time.monotonic() - started
    assert answer.problem == (408, "request.timeout")
    assert 0.3 < took_s < 3


def test_a_client_that_drips_its_body_is_cut_off() -> None:
    with serving(read_timeout_ms=400) as server, server.connect() as sock:
        drip(sock, post(HOST + b"Content-Length: 1000\r\n", b" " * 900))
        assert Answer(read_to_end(sock)).problem == (408, "request.timeout")


def drip(sock: socket.socket, data: bytes) -> None:
    """Send the first half at once, and then a byte every 20 ms until the server has had enough."""
    sock.sendall(data[: len(data) // 2])
    limit = time.monotonic() + 5
    sock.settimeout(0.02)
    for byte in data[len(data) // 2 :]:
        assert time.monotonic() < limit, "it was not cut off"
        try:
            sock.sendall(bytes([byte]))
            if sock.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    sock.settimeout(5)


def test_a_connection_on_which_nothing_comes_is_closed_without_an_answer() -> None:
    with serving(read_timeout_ms=200) as server, server.connect() as sock:
        assert read_to_end(sock) == b""


def test_an_idle_connection_is_closed() -> None:
    with serving(keepalive_ms=200) as server, server.connect() as sock:
        sock.sendall(b"GET /v1/things HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = Answer(read_to_end(sock))
        assert (answer.status, answer.json) == (200, {"things": 3})


def test_a_request_that_takes_too_long_is_answered_as_unknown_and_keeps_its_place(gate: Event) -> None:
    with serving(timeout_ms=1100, max_wait_s=1, max_at_work=1) as server:
        assert server.ask("GET", "/v1/waits").problem == (504, "service.unknown_outcome")
        assert server.ask("GET", "/v1/things").problem == (503, "request.overloaded")
        gate.send(None)
        until(lambda: server.ask("GET", "/v1/things").status == 200)


# --- load


def test_above_the_bound_requests_are_refused_and_health_still_answers(gate: Event) -> None:
    with serving(max_at_work=2) as server:
        waiting = [eventlet.spawn(server.ask, "GET", "/v1/waits") for _ in range(2)]
        until(lambda: EdgeService.entered == 2)
        refused = server.ask("GET", "/v1/things")
        assert refused.problem == (503, "request.overloaded")
        assert refused.headers["retry-after"] == "1"
        assert server.ask("GET", "/v1/health").json == {"status": "ok"}
        gate.send(None)
        assert [thread.wait().status for thread in waiting] == [200, 200]
        assert server.ask("GET", "/v1/things").status == 200


def test_requests_beyond_the_workers_queue_for_one(gate: Event) -> None:
    with serving(max_workers=1) as server:
        waiting = [eventlet.spawn(server.ask, "GET", "/v1/waits") for _ in range(3)]
        until(lambda: EdgeService.entered == 1)
        gate.send(None)
        assert [thread.wait().status for thread in waiting] == [200, 200, 200]


def test_connections_above_the_cap_are_refused() -> None:
    with serving(max_connections=1) as server, server.connect() as first:
        first.sendall(b"GET /v1/things HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"200 OK" in first.recv(1000)
        answer = server.ask("GET", "/v1/things")
        assert answer.problem == (503, "request.overloaded")
        first.close()
        until(lambda: server.ask("GET", "/v1/things").status == 200)


def test_an_error_on_a_connection_does_not_end_the_container(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as server:
        with monkeypatch.context() as patch:
            patch.setattr("chassis.connection.read_head", lambda *_: 1 / 0)
            assert server.send(b"GET / HTTP/1.1\r\n\r\n") == b""
        assert server.ask("GET", "/v1/things").status == 200
    assert "a connection ended by an error" in caplog.text


def test_clients_that_hang_up_at_any_moment_do_no_harm(server: Server) -> None:
    whole = post(HOST + b"Content-Length: %d\r\n" % len(BUY), BUY)
    for cut in range(0, len(whole), 7):
        with server.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(whole[:cut])
    assert server.ask("GET", "/v1/things").status == 200
    until(lambda: not server.http._connections)


# --- start and stop


def test_a_taken_port_is_said_in_a_sentence(server: Server) -> None:
    container = ServiceContainer(EdgeService, {"WEB_SERVER_ADDRESS": f"127.0.0.1:{server.port}"})
    with pytest.raises(OSError, match=f"127.0.0.1:{server.port} is taken by another process"):
        container.start()
    container.kill()


def test_stopping_answers_what_is_under_way_and_takes_nothing_new(gate: Event) -> None:
    with serving() as server, server.connect() as idle, server.connect() as busy:
        idle.sendall(b"GET /v1/things HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"200 OK" in idle.recv(1000)
        busy.sendall(b"GET /v1/waits HTTP/1.1\r\n" + HOST + b"\r\n")
        until(lambda: EdgeService.entered == 1)
        stopping = eventlet.spawn(server.container.stop)
        until(lambda: server.http.draining)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert read_to_end(idle) == b""
        gate.send(None)
        answer = Answer(read_to_end(busy))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        stopping.wait()


def test_stopping_gives_up_on_a_request_that_does_not_end(gate: Event) -> None:
    with serving(drain_ms=300) as server, server.connect() as busy:
        busy.sendall(b"GET /v1/waits HTTP/1.1\r\n" + HOST + b"\r\n")
        until(lambda: EdgeService.entered == 1)
        started = time.monotonic()
        server.http.drain()
        assert 0.3 <= time.monotonic() - started < 2
        gate.send(None)


def test_an_idle_process_ends_soon_after_sigterm(tmp_path: Path) -> None:
    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    config = tmp_path / "config.yaml"
    config.write_text(f"WEB_SERVER_ADDRESS: 127.0.0.1:{port}\n")
    nameko = [sys.executable, "-W", "ignore", "-c", "from nameko.cli.main import main; main()"]
    process = subprocess.Popen(
        [*nameko, "run", "--config", str(config), "tests.edge_service:EdgeService"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(port), limit_s=30)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - started < 2
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
