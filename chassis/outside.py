"""Calls to other companies over HTTP, with the three outcomes of every call, and the signatures on theirs to us.

An answer below 500 is the company's word: a result, or a refusal for the adapter to name. Nothing is ever sent twice.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import eventlet
import msgspec
import urllib3
from urllib3.exceptions import ConnectTimeoutError, EmptyPoolError, HTTPError, NewConnectionError

from chassis import faults
from chassis.context import time_left
from chassis.errors import OutcomeUnknown, ServiceError, Unavailable

T = TypeVar("T")
NOT_SENT = (ConnectTimeoutError, NewConnectionError, EmptyPoolError)
MOST_BYTES = 16 << 20
"""Of an answer, unpacked."""
READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What `company` said. `status` is below 500, and no redirection; `media_type` is what it calls its body."""

    company: str
    status: int
    body: dict[str, Any]
    media_type: str = ""

    def result(self, kind: type[T], refusals: Mapping[str, str]) -> T:
        """The body as a `kind`, or the ServiceError that `refusals` names for the company's `code`.

        `details.reason` is the company's own code. Whatever the table does not name, or does not fit `kind`, was not
        agreed on with the company, so raises OutcomeUnknown.
        """
        if self.status >= 400:
            reason = self.body.get("code")
            if not isinstance(reason, str) or reason not in refusals:
                raise OutcomeUnknown(self.company, f"answered {self.status} {reason}")
            raise ServiceError(refusals[reason], str(self.body.get("message", reason)), {"reason": reason})
        try:
            return msgspec.convert(self.body, kind)
        except msgspec.ValidationError as e:
            raise OutcomeUnknown(self.company, f"answered {self.status} without its fields: {e}") from e


class OutsideClient:
    """Keep-alive connections to one company, at most `pool` of them: who finds none free in time was never sent.

    `headers` go with every request. An answer of more than `most_bytes` is not read to its end, and counts as none.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        timeout_s: float,
        pool: int = 10,
        *,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        url = urllib3.util.parse_url(base_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{name}: {base_url!r} is not an http(s) URL")
        self.name, self.timeout_s, self.prefix = name, timeout_s, (url.path or "").rstrip("/")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        self._most_bytes = most_bytes
        self._pool = urllib3.connection_from_url(base_url, maxsize=pool, block=True)

    def call(self, method: str, path: str, body: Any = None, *, deadline: float | None = None) -> Answer:
        """Send once; `body` is whatever msgspec encodes. Waits as long as the client's timeout, the deadline of the
        call that is being served and `deadline` (epoch seconds) all allow.

        Raises Unavailable when certainly nothing was sent, OutcomeUnknown when it may have been: time ran out, the
        connection broke, the answer was a 5xx, a redirection, too long or no JSON object.
        """
        timeout = time_left(self.timeout_s)
        if deadline is not None:
            timeout = min(timeout, deadline - time.time())
        if timeout <= 0:
            raise Unavailable(self.name, "no time left to ask")
        faults.before(faults.OUTSIDE)
        expired = eventlet.Timeout(timeout)  # urllib3's own hold for each read, not for all of them together
        try:
            answer = self._send(method, path, body, timeout)
            data = self._read(answer)
        except eventlet.Timeout as e:
            if e is not expired:
                raise
            raise OutcomeUnknown(self.name, f"no answer in {timeout:.3f} s") from e
        except NOT_SENT as e:
            raise Unavailable(self.name, f"cannot be reached: {e}") from e
        except HTTPError as e:
            raise OutcomeUnknown(self.name, f"{type(e).__name__}: {e}") from e
        finally:
            expired.cancel()
        faults.after(faults.OUTSIDE)
        return self._answer(answer.status, data, answer.headers.get("Content-Type", ""))

    def _send(self, method: str, path: str, body: Any, timeout: float) -> urllib3.BaseHTTPResponse:
        return self._pool.urlopen(
            method,
            self.prefix + path,
            body=None if body is None else msgspec.json.encode(body),
            headers=self._headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=timeout / 2, read=timeout),
            pool_timeout=timeout / 2,  # type: ignore[arg-type]  # fractions are waited for too
            preload_content=False,
        )

    def _read(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        data = bytearray()
        try:
            for part in answer.stream(READ_BYTES):
                data += part
                if len(data) > self._most_bytes:
                    raise OutcomeUnknown(self.name, f"answered more than {self._most_bytes} bytes")
        except BaseException:
            answer.close()  # the rest is not waited for, so the connection is of no more use
            raise
        finally:
            answer.release_conn()
        return bytes(data)

    def _answer(self, status: int, data: bytes, content_type: str) -> Answer:
        if status >= 500 or 300 <= status < 400:
            raise OutcomeUnknown(self.name, f"answered {status}")
        try:
            body = msgspec.json.decode(data, type=dict[str, Any])
            return Answer(self.name, status, body, content_type.partition(";")[0].strip().lower())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise OutcomeUnknown(self.name, f"answered {status} without a JSON object") from e


def sign(secret: str, body: bytes, now: float) -> str:
    """An X-Signature: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`."""
    at = int(now)
    return f"t={at},v1={_digest(secret, at, body)}"


def verify_signature(secret: str, header: str, body: bytes, now: float, tolerance_s: float = 300.0) -> bool:
    """Whether `header` signs exactly these bytes, within `tolerance_s` of now. Any of several `v1` will do.

    The time alone keeps nobody from sending the same call twice: dedupe by the event's id.
    """
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        return False
    at = int(times[0])
    wanted = _digest(secret, at, body).encode()
    matches = [hmac.compare_digest(wanted, value.encode()) for name, _, value in parts if name == "v1"]
    return any(matches) and abs(now - at) <= tolerance_s


def _digest(secret: str, at: int, body: bytes) -> str:
    return hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
