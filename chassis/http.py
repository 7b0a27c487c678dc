"""nameko's web server, made fit for strangers: limits, deadlines, problem documents, and an end.

As it comes, it shares its port with whoever asks (SO_REUSEPORT), accepts without bound and until the last worker is
done, reads without a time limit, sees chunked bodies as empty, tells exceptions' texts, and takes a minute to stop.
"""

import errno
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import eventlet
import msgspec
from eventlet.greenio import GreenSocket
from nameko.web.server import WebServer
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from chassis.connection import Connection, Environ, Headers, StartResponse, log_access
from chassis.errors import Failure
from chassis.limits import http_settings
from chassis.problems import MEDIA_TYPE, STATUS_LINES, Problem, broken, problem_of
from chassis.tracing import trace_id_of
from chassis.wire import METHODS, Gone

PAGE_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
BACKLOG = 256
TICK_S = 0.5
ACCEPT_PAUSE_S = 0.1
DRAIN_POLL_S = 0.02
TURNED_AWAY_AT_ONCE = 64

_log = logging.getLogger("rialto.http")


class Response(msgspec.Struct):
    """What goes out. `body` is bytes, or an iterable of parts that are sent as they come."""

    status: int
    headers: Headers
    body: bytes | Iterable[bytes]


class HttpServer(WebServer):
    """The web server of one container. Entry points register with it and offer, besides nameko's `get_url_rule`:
    `path`, `answer(environ, values, trace_id) -> Response`. A service's `http_status` maps error codes to statuses."""

    _starting: bool
    _is_accepting: bool

    def setup(self) -> None:
        self.settings = http_settings(self.container.config)
        self.statuses: Mapping[str, int] = getattr(self.container.service_cls, "http_status", {})
        self._connections: set[Connection] = set()
        self._at_work = self._turned_away = 0

    def start(self) -> None:
        if self._starting:
            return
        self._starting = True
        self._app = self.get_wsgi_app()
        self._sock = self._listen()
        self._gt = self.container.spawn_managed_thread(self.run, identifier="http accept")
        self._ticker = self.container.spawn_managed_thread(_tick, identifier="http tick")

    def get_wsgi_app(self) -> Any:
        return Edge(self)

    def _listen(self) -> GreenSocket:
        address, port = self.bind_addr
        try:
            return eventlet.listen((address, port), backlog=BACKLOG, reuse_port=False)
        except OSError as exc:
            where = f"{address or '0.0.0.0'}:{port}"
            if exc.errno == errno.EADDRINUSE:
                raise OSError(exc.errno, f"{where} is taken by another process; choose another port.") from None
            raise OSError(exc.errno, f"Cannot listen on {where}: {exc.strerror}.") from None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: the port that was given if 0 was asked for."""
        host, port = self._sock.getsockname()[:2]
        return host, port

    def run(self) -> None:
        while self._is_accepting:
            try:
                self._welcome(*self._sock.accept())
            except OSError as exc:  # out of descriptors, or the client was gone at once: neither may end the server
                _log.warning("cannot accept a connection: %s", exc)
                eventlet.sleep(ACCEPT_PAUSE_S)

    def _welcome(self, sock: GreenSocket, address: Any) -> None:
        sock.setsockopt(6, 1, 1)  # TCP_NODELAY: an answer is one write, and nothing follows it
        connection = Connection(sock, address, self._app, self.settings)
        if len(self._connections) < self.settings.max_connections:
            self._connections.add(connection)
            self.container.spawn_managed_thread(lambda: self.process_request(connection), identifier="http connection")
        elif self._turned_away < TURNED_AWAY_AT_ONCE:
            self._turned_away += 1
            self.container.spawn_managed_thread(lambda: self._turn_away(connection), identifier="http refusal")
        else:
            sock.close()

    def process_request(self, connection: Connection) -> None:
        """Serve one connection to its end. Nothing that happens on it may end the container."""
        try:
            connection.serve()
        except (Exception, eventlet.Timeout):
            _log.exception("a connection ended by an error")
        finally:
            self._connections.discard(connection)

    def _turn_away(self, connection: Connection) -> None:
        try:
            connection.turn_away(overloaded("There are too many connections."))
        except (Exception, eventlet.Timeout):
            _log.exception("a connection could not be refused")
        finally:
            self._turned_away -= 1

    def require_room(self) -> None:
        """Raises Problem 503 when as many requests are at work as may be."""
        if self._at_work >= self.settings.max_at_work:
            raise overloaded("Too many requests are being answered.")

    def enter(self) -> None:
        """Count one request as at work, until `leave`. Raises Problem 503 as `require_room`."""
        self.require_room()
        self._at_work += 1

    def leave(self) -> None:
        self._at_work -= 1

    @property
    def draining(self) -> bool:
        return not self._is_accepting

    def drain(self) -> None:
        """Take no more connections, and wait for the requests under way, `drain_ms` at most.

        Entry points call it in their `stop`, while workers and dependencies still run; any number of times.
        """
        if self._is_accepting and self._sock is not None:
            self._is_accepting = False
            self._gt.kill()
            self._accept_pending()
            self._sock.close()
            for connection in list(self._connections):
                connection.finish()
        limit = time.monotonic() + self.settings.drain_ms / 1000
        while self._connections and time.monotonic() < limit:
            eventlet.sleep(DRAIN_POLL_S)

    def _accept_pending(self) -> None:
        """Clients that the kernel has accepted in our name may have sent a request: they are answered too."""
        self._sock.settimeout(0)
        try:
            while True:
                self._welcome(*self._sock.accept())
        except OSError:
            pass

    def stop(self) -> None:
        self.drain()
        self._ticker.kill()
        self.wait_for_providers()

    def kill(self) -> None:
        self._is_accepting = False
        if self._sock is not None:
            self._sock.close()


def overloaded(detail: str) -> Problem:
    return Problem(503, "request.overloaded", f"{detail} Try again shortly.", headers={"Retry-After": "1"})


def _tick() -> None:
    # A signal does not wake eventlet's hub, which may be asleep for a minute when there is only HTTP to wait for.
    while True:
        eventlet.sleep(TICK_S)


class Edge:
    """The WSGI application: finds the entry point, and turns whatever goes wrong into a problem document."""

    def __init__(self, server: HttpServer) -> None:
        self._statuses = server.statuses
        url_map: Map = server.make_url_map()
        self._routes = url_map.bind("")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started = time.monotonic()
        method, trace_id = environ["REQUEST_METHOD"], trace_id_of(environ)
        route = "-"
        try:
            entrypoint, values = self._find(method, environ["PATH_INFO"].encode("latin-1").decode())
            if entrypoint is None:
                response = Response(204, [("Allow", values["allow"])], b"")
            else:
                route = entrypoint.path
                response = entrypoint.answer(environ, values, trace_id)
        except Problem as problem:
            response = problem_response(problem, trace_id)
        except Failure as failure:
            _log.info("%s %s failed: %s", method, route, failure, extra={"trace_id": trace_id})
            response = problem_response(problem_of(failure, self._statuses), trace_id)
        except Gone:
            raise
        except Exception:
            _log.exception("%s %s broke", method, route, extra={"trace_id": trace_id})
            response = problem_response(broken(), trace_id)
        log_access(method, route, response.status, started, trace_id)
        start_response(STATUS_LINES[response.status], _finished_headers(response, trace_id))
        return [response.body] if isinstance(response.body, bytes) else response.body

    def _find(self, method: str, path: str) -> tuple[Any, Mapping[str, Any]]:
        """The entry point and the path's values; for OPTIONS none, and what is allowed."""
        if "//" in path:  # Werkzeug would merge the slashes, or redirect to a place built from the Host
            raise no_such_path()
        try:
            if method == "OPTIONS":
                allowed = METHODS if path == "*" else self._routes.allowed_methods(path)
                if not allowed:
                    raise no_such_path()
                return None, {"allow": _allow(allowed)}
            return self._routes.match(path, method)
        except MethodNotAllowed as exc:
            allow = _allow(exc.valid_methods or ())
            detail = f"This path allows {allow}."
            raise Problem(405, "request.method_not_allowed", detail, headers={"Allow": allow}) from None
        except NotFound:
            raise no_such_path() from None


def _allow(methods: Iterable[str]) -> str:
    return ", ".join(sorted({*methods, "OPTIONS"}))


def no_such_path() -> Problem:
    return Problem(404, "request.no_such_path", "There is nothing at this path.")


def problem_response(problem: Problem, trace_id: str) -> Response:
    headers = [("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store"), *problem.headers.items()]
    return Response(problem.status, headers, problem.document(trace_id))


def _finished_headers(response: Response, trace_id: str) -> Headers:
    headers = response.headers
    if isinstance(response.body, bytes) and response.status != 204:
        headers = [*headers, ("Content-Length", str(len(response.body)))]
    if any(value.startswith("text/html") for name, value in headers if name == "Content-Type"):
        headers = [*headers, ("Content-Security-Policy", PAGE_POLICY)]
    return [
        *headers,
        ("X-Request-Id", trace_id),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ]
