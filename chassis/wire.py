"""Bytes of one connection: deadlines, a strict reading of requests, and bodies that know where they end.

eventlet's own parser takes what a proxy in front may read otherwise (`Content-Length: +3`, two Hosts, folded lines),
sets no limit to the time or size of a request, and answers its own errors in HTML. So it is not used.
"""

import io
import re
import socket
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from chassis.problems import Problem

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KNOWN_METHODS = (*METHODS, "TRACE", "QUERY")  # the last two no path allows
MAX_REQUEST_LINE_BYTES = 8192
MAX_HEADERS = 100
MAX_CHUNK_LINE_BYTES = 1024
LINGER_S, LINGER_BYTES = 1.0, 1 << 20
MIN_SEND_BYTES_PER_S = 16 << 10
_RECEIVE_BYTES = 64 << 10

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_HEADER = re.compile(rf"({_TOKEN}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_HOST = re.compile(r"[A-Za-z0-9.\-_~%!$&'()*+,;=:\[\]]+")
_ABSOLUTE = re.compile(r"(?i)https?://([^/?#]+)(.*)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BAD_IN_PATH = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.\.?(?:/|$)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e]*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")


class Gone(Exception):
    """The client has left, or never began: there is nobody to answer."""


class Wire:
    """A socket with a buffer and one deadline for all bytes of a request, however slowly they drip."""

    def __init__(self, sock: socket.socket, read_timeout_s: float) -> None:
        self.sock, self._read_timeout_s = sock, read_timeout_s
        self._buffer = bytearray()
        self._deadline = 0.0

    def await_request(self, idle_s: float) -> None:
        """Wait for the first byte of a request, which starts its deadline. Raises Gone after `idle_s` without one."""
        if not self._buffer:
            self._deadline = time.monotonic() + idle_s
            try:
                self._receive()
            except Problem:
                raise Gone from None
        self._deadline = time.monotonic() + self._read_timeout_s

    def read_line(self, limit: int, too_long: Problem) -> bytes:
        """The bytes up to CRLF, without it. Raises `too_long` beyond `limit`, Problem 400 for a bare LF, 408 late."""
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if seen > limit:
                raise too_long
            self._receive()
        if end > limit:
            raise too_long
        if not end or self._buffer[end - 1] != 13:
            raise Problem(400, "request.bad_framing", "A line ends without CRLF.")
        line = bytes(self._buffer[: end - 1])
        del self._buffer[: end + 1]
        return line

    def take(self, most: int) -> bytes:
        """Between 1 and `most` of the next bytes."""
        if not self._buffer:
            self._receive()
        taken = bytes(self._buffer[:most])
        del self._buffer[:most]
        return taken

    def buffered(self) -> int:
        return len(self._buffer)

    def _receive(self) -> None:
        remaining = self._deadline - time.monotonic()
        try:
            if remaining <= 0:
                raise TimeoutError
            self.sock.settimeout(remaining)
            data = self.sock.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise Problem(408, "request.timeout", "The request did not arrive in time.") from None
        except OSError:
            raise Gone from None
        if not data:
            raise Problem(400, "request.truncated", "The request ends before its end.")
        self._buffer += data

    def send(self, data: bytes) -> None:
        """Send all of it. Raises Gone for a client that does not take it in the time that its size allows."""
        deadline = time.monotonic() + max(self._read_timeout_s, len(data) / MIN_SEND_BYTES_PER_S)
        rest = memoryview(data)
        try:
            while rest:
                self.sock.settimeout(max(0.001, deadline - time.monotonic()))
                rest = rest[self.sock.send(rest) :]
        except OSError:
            raise Gone from None

    def close(self, *, linger: bool) -> None:
        """Close. With `linger`, first read what still comes, for a bounded time: unread bytes would make the kernel
        reset the connection, and the client lose the answer."""
        try:
            if linger:
                self.sock.shutdown(socket.SHUT_WR)
                self._deadline = time.monotonic() + LINGER_S
                received = 0
                while received < LINGER_BYTES:
                    self._buffer.clear()
                    self._receive()
                    received += len(self._buffer)
        except (Problem, Gone, OSError):
            pass
        finally:
            self.sock.close()


class Head(msgspec.Struct):
    """A request's line and headers. `path` is decoded; `headers` have upper-case names with `_`, values joined by `,`.

    `length` is the body's, None if it is chunked.
    """

    method: str
    path: str
    query: str
    http_1_1: bool
    headers: dict[str, str]
    length: int | None
    keep_alive: bool


def read_head(wire: Wire, max_header_bytes: int) -> Head:
    """Read one request's head. Raises Problem for whatever a strict reader refuses."""
    method, target, http_1_1 = _read_request_line(wire)
    headers = _read_headers(wire, max_header_bytes)
    path, query = _split_target(method, target)
    if http_1_1 and "HOST" not in headers:
        raise _bad("HTTP/1.1 requires a Host.")
    if not _HOST.fullmatch(headers.get("HOST", "-")):
        raise _bad("The Host is malformed.")
    if headers.get("EXPECT", "100-continue").lower() != "100-continue":
        raise Problem(417, "request.expectation_failed", "Only 100-continue can be expected.")
    options = [option.strip() for option in headers.get("CONNECTION", "").lower().split(",")]
    keep_alive = "close" not in options and (http_1_1 or "keep-alive" in options)
    return Head(method, path, query, http_1_1, headers, _body_length(headers, http_1_1), keep_alive)


def _bad(detail: str) -> Problem:
    return Problem(400, "request.bad_framing", detail)


def _read_request_line(wire: Wire) -> tuple[str, str, bool]:
    too_long = Problem(414, "request.uri_too_long", f"The request line is longer than {MAX_REQUEST_LINE_BYTES} bytes.")
    line = wire.read_line(MAX_REQUEST_LINE_BYTES, too_long)
    if not line:  # RFC 9112 §2.2: one empty line before a request is forgiven
        line = wire.read_line(MAX_REQUEST_LINE_BYTES, too_long)
    found = _REQUEST_LINE.fullmatch(line.decode("latin-1"))
    if found is None:
        raise _bad("The request line is malformed.")
    method, target, major, minor = found.groups()
    if major != "1":
        raise Problem(505, "request.http_version", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if method not in KNOWN_METHODS:
        raise Problem(501, "request.unknown_method", f"The methods known here are {', '.join(METHODS)}.")
    return method, target, minor != "0"


def _read_headers(wire: Wire, max_bytes: int) -> dict[str, str]:
    too_large = Problem(431, "request.headers_too_large", f"The headers are larger than {max_bytes} bytes.")
    headers: dict[str, str] = {}
    remaining = max_bytes
    for _ in range(MAX_HEADERS + 1):
        line = wire.read_line(remaining, too_large)
        if not line:
            return headers
        remaining -= len(line) + 2
        found = _HEADER.fullmatch(line.decode("latin-1"))
        if found is None:
            raise _bad("A header line is malformed.")
        name, value = found[1].upper(), found[2]
        if "_" in name:  # `X_Y` and `X-Y` would become one variable: the one a client cannot be trusted with is dropped
            continue
        name = name.replace("-", "_")
        if name in headers:
            if name in ("HOST", "CONTENT_LENGTH", "TRANSFER_ENCODING"):
                raise _bad(f"{name.title().replace('_', '-')} stands more than once.")
            value = f"{headers[name]},{value}"
        headers[name] = value
    raise Problem(431, "request.headers_too_large", f"There are more than {MAX_HEADERS} headers.")


def _split_target(method: str, target: str) -> tuple[str, str]:
    if absolute := _ABSOLUTE.fullmatch(target):
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if target == "*" and method == "OPTIONS":
        return target, ""
    path, _, query = target.partition("?")
    if not path.startswith("/") or "#" in target or _BAD_ESCAPE.search(target):
        raise Problem(400, "request.bad_target", "The request target is malformed.")
    if "%" not in path:
        decoded = path
    else:
        if "%2f" in path.lower():
            raise Problem(400, "request.bad_target", "An escaped slash in a path is not accepted.")
        try:
            decoded = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise Problem(400, "request.bad_target", "The path is not UTF-8.") from None
    if _BAD_IN_PATH.search(decoded):
        raise Problem(400, "request.bad_target", "The path holds a control character, or a `.` or `..` segment.")
    return decoded, query


def _body_length(headers: dict[str, str], http_1_1: bool) -> int | None:
    coding, length = headers.get("TRANSFER_ENCODING"), headers.get("CONTENT_LENGTH")
    if coding is None:
        if length is None:
            return 0
        if not _LENGTH.fullmatch(length):
            raise _bad("The Content-Length is not a number of bytes.")
        return int(length)
    if length is not None:
        raise _bad("Content-Length and Transfer-Encoding exclude each other.")
    if not http_1_1:
        raise _bad("HTTP/1.0 has no Transfer-Encoding.")
    if coding.lower() != "chunked":
        raise Problem(501, "request.unknown_coding", "The only transfer coding known here is chunked.")
    return None


class Body(io.RawIOBase):
    """A request's body (`wsgi.input`). `length` None means chunked. Reading it tells a client that waits to go on."""

    def __init__(self, wire: Wire, length: int | None, *, expects_continue: bool) -> None:
        super().__init__()
        self._wire, self.length = wire, length
        self._expects_continue = expects_continue
        self._chunked = length is None
        self._left = length or 0
        self.finished = length == 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As io.RawIOBase. Raises Problem 400 for bad chunks or an early end, 408 when late."""
        if self.finished or not len(buffer):
            return 0
        if self._expects_continue:
            self._expects_continue = False
            self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._chunked and not self._left and not self._next_chunk():
            return 0
        data = self._wire.take(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        if not self._left:
            if self._chunked:
                self._expect_line_end()
            else:
                self.finished = True
        return len(data)

    def read_all(self, limit: int) -> bytes:
        """The whole body. Raises Problem 413 beyond `limit` bytes, before reading any if its length says so."""
        too_large = Problem(413, "request.too_large", f"The body is larger than {limit} bytes.")
        if self.length is not None and self.length > limit:
            raise too_large
        parts: list[bytes] = []
        size = 0
        while part := self.read(_RECEIVE_BYTES):
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
        return b"".join(parts)

    def settle(self) -> bool:
        """Whether the connection can go on to the next request: nothing of this body is, or has to be, awaited."""
        if not self.finished and not self._chunked and 0 < self._left <= self._wire.buffered():
            self._wire.take(self._left)
            self.finished = True
        return self.finished

    def _next_chunk(self) -> bool:
        found = _CHUNK.fullmatch(self._read_line())
        if found is None:
            raise _bad("A chunk's size is malformed.")
        self._left = int(found[1], 16)
        if self._left:
            return True
        for _ in range(MAX_HEADERS):
            if not self._read_line():
                self.finished = True
                return False
        raise _bad("The body has too many trailers.")

    def _expect_line_end(self) -> None:
        if self._read_line():
            raise _bad("A chunk is longer than its size.")

    def _read_line(self) -> bytes:
        return self._wire.read_line(MAX_CHUNK_LINE_BYTES, _bad("A line between chunks is too long."))


def head_of_response(status: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A status line and header lines, with the empty line. Raises ValueError for what would break out of its line."""
    lines = [f"HTTP/1.1 {status}\r\n", *(f"{name}: {value}\r\n" for name, value in headers), "\r\n"]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError("a response header holds a line break")
    return text.encode("latin-1")
