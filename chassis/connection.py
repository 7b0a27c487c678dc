"""One HTTP connection: requests in, answers of a WSGI application out, until one side has had enough."""

import logging
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any

from chassis.limits import HttpSettings
from chassis.problems import MEDIA_TYPE, STATUS_LINES, Problem, broken
from chassis.wire import Body, Gone, Head, Wire, head_of_response, read_head

Headers = list[tuple[str, str]]
Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], None]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_log = logging.getLogger("rialto.http")


def log_access(method: str, route: str, status: int, started: float, trace_id: str) -> None:
    """One line for each request. `route` is the path's template, so that ids do not flood whoever counts them."""
    ms = round((time.monotonic() - started) * 1000, 1)
    fields = {"method": method, "route": route, "status": status, "ms": ms, "trace_id": trace_id}
    _log.info("%s %s %s %s ms", method, route, status, ms, extra=fields)


class Connection:
    """Serves one socket. `busy` while a request is being answered; `finish()` ends it after that one."""

    def __init__(self, sock: socket.socket, address: tuple[Any, ...], app: Application, limits: HttpSettings) -> None:
        self._wire = Wire(sock, limits.read_timeout_ms / 1000)
        self._sock, self._app, self._limits = sock, app, limits
        host, port = sock.getsockname()[:2]
        self._environ: Environ = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "REMOTE_ADDR": address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            # Bodies end by themselves, chunked ones too: without this Werkzeug takes a chunked body for an empty one.
            "wsgi.input_terminated": True,
        }
        self.busy = self._finishing = False

    def serve(self) -> None:
        """Answer requests until the client leaves, errs, stays idle, or `finish` is called. Closes the socket."""
        clean = True
        idle_s = self._limits.read_timeout_ms / 1000
        try:
            while clean:
                self._wire.await_request(idle_s)
                idle_s = self._limits.keepalive_ms / 1000
                clean = self._serve_one()
                if self._finishing:
                    break
        except Gone:
            pass
        finally:
            self._wire.close(linger=not clean)

    def finish(self) -> None:
        """Close as soon as the request that is being answered, or whose bytes are here already, has its answer."""
        self._finishing = True
        if not self.busy:
            try:
                self._sock.shutdown(socket.SHUT_RD)  # what was received stays readable, then comes the end
            except OSError:
                pass

    def refuse(self, problem: Problem) -> None:
        """Answer without having read a whole request, and say that the connection ends."""
        started, trace_id = time.monotonic(), uuid.uuid4().hex
        document = problem.document(trace_id)
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(document))),
            ("X-Request-Id", trace_id),
            ("Date", formatdate(usegmt=True)),
            ("Connection", "close"),
            *problem.headers.items(),
        ]
        log_access("-", "-", problem.status, started, trace_id)
        self._wire.send(head_of_response(STATUS_LINES[problem.status], headers) + document)

    def turn_away(self, problem: Problem) -> None:
        """Refuse whatever the client is about to ask, and close."""
        try:
            self.refuse(problem)
        except Gone:
            pass
        finally:
            self._wire.close(linger=True)

    def _serve_one(self) -> bool:
        """Answer one request; whether another one can follow on this connection without closing it first."""
        try:
            head = read_head(self._wire, self._limits.max_header_bytes)
        except Problem as problem:
            self.refuse(problem)
            return False
        self.busy = True
        try:
            return self._respond(head)
        finally:
            self.busy = False

    def _respond(self, head: Head) -> bool:
        body = Body(self._wire, head.length, expects_continue="EXPECT" in head.headers)
        answer: list[Any] = []
        written: list[bytes] = []

        def start_response(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
            answer[:] = status, headers
            return written.append

        result = self._app(self._environ_of(head, body), start_response)
        try:
            status, headers = answer
            keep_alive = head.keep_alive and body.settle() and not self._finishing
            bodyless = head.method == "HEAD" or status[:3] in ("204", "304")
            whole = b"".join([*written, *result]) if isinstance(result, list | tuple) else None
            framing: Headers = []
            if whole is not None:
                if not bodyless and not any(name.lower() == "content-length" for name, _ in headers):
                    framing = [("Content-Length", str(len(whole)))]
            elif not bodyless and head.http_1_1:
                framing = [("Transfer-Encoding", "chunked")]
            elif not bodyless:
                keep_alive = False  # the end of the connection is the end of the body
            try:
                start = head_of_response(status, [*headers, *framing, *_connection_headers(keep_alive, head.http_1_1)])
            except ValueError:
                _log.exception("%s %s: the answer's headers cannot be sent", head.method, head.path)
                self.refuse(broken())
                return False
            if bodyless or whole is not None:
                self._wire.send(start if bodyless or whole is None else start + whole)
            else:
                self._stream(start, result, chunked=bool(framing))
        finally:
            if hasattr(result, "close"):
                result.close()
        self._finishing |= not keep_alive
        return body.finished

    def _stream(self, start: bytes, parts: Iterable[bytes], *, chunked: bool) -> None:
        """Send each part as it comes, not when there is enough of it."""
        self._wire.send(start)
        for part in parts:
            if part:
                self._wire.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self._wire.send(b"0\r\n\r\n")

    def _environ_of(self, head: Head, body: Body) -> Environ:
        environ = self._environ | {
            "REQUEST_METHOD": head.method,
            "PATH_INFO": head.path.encode().decode("latin-1"),
            "QUERY_STRING": head.query,
            "SERVER_PROTOCOL": "HTTP/1.1" if head.http_1_1 else "HTTP/1.0",
            "wsgi.input": body,
        }
        for name, value in head.headers.items():
            environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + name] = value
        return environ


def _connection_headers(keep_alive: bool, http_1_1: bool) -> Headers:
    headers = [("Date", formatdate(usegmt=True))]
    if not keep_alive:
        headers.append(("Connection", "close"))
    elif not http_1_1:
        headers.append(("Connection", "keep-alive"))
    return headers
