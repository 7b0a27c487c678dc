"""What the sandbox companies are made of: an HTTP+JSON server on the loopback, over one SQLite file.

A request is one transaction, committed before it is answered. Nothing yields inside of it, so none interleave.
synchronous=NORMAL: killing the process loses nothing that was answered; cutting the power may lose the last moments.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # eventlet's about itself; docs/adr/ has the plan
    import eventlet

eventlet.monkey_patch()  # before whatever takes names from socket or threading

import argparse  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sqlite3  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterable, Iterator, Mapping  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from typing import Annotated, Any, ClassVar, NamedTuple  # noqa: E402

import msgspec  # noqa: E402
from eventlet import wsgi  # noqa: E402
from werkzeug.exceptions import HTTPException  # noqa: E402
from werkzeug.routing import Map, Rule  # noqa: E402
from werkzeug.wrappers import Request, Response  # noqa: E402

from sandbox.hooks import Hooks  # noqa: E402

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
"""Minor units."""
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
Query = dict[str, str]

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, input TEXT NOT NULL, status INTEGER NOT NULL, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS undone (key TEXT PRIMARY KEY, at TEXT NOT NULL);
"""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A request's body. Fields that it does not name are ignored."""


class Keyed(Input, frozen=True, kw_only=True):
    key: Key


@dataclass(frozen=True)
class Answer:
    """What is answered, and how: after `delay_s`, or never, by closing the connection; a `page` of HTML to a person."""

    status: int
    body: dict[str, Any]
    delay_s: float = 0.0
    drop: bool = False
    page: str | None = None


def refused(status: int, code: str, message: str, **more: Any) -> Answer:
    """A decision against the request: `code` is for machines."""
    return Answer(status, {"code": code, "message": message, **more})


def rfc3339(at: float) -> str:
    """Epoch seconds as a moment in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Route(NamedTuple):
    """`handler(company, body, **path)` for a POST, in a transaction; `handler(company, query, **path)` for a GET.

    The body is JSON, or, with `form`, what a page's form sends.
    """

    method: str
    path: str
    handler: Callable[..., Answer]
    body: type[Input] = Input
    form: bool = False


@dataclass
class Company:
    """A WSGI application over one database file. `undone_code` is how it refuses an action that was undone, where
    that has no code of its own. `public_url` is where people's browsers find it, without a slash at its end.
    `latency_s` passes before each answer, as if the company were far away.
    """

    name: ClassVar[str]
    schema: ClassVar[str]
    undone_code: ClassVar[str]

    db_path: str
    hooks: Hooks | None = None
    public_url: str = ""
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = eventlet.sleep
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        self.db = sqlite3.connect(self.db_path, isolation_level=None, timeout=5)
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + SCHEMA + self.schema)
        rules = [Rule(r.path, methods=[r.method], endpoint=r) for r in self.routes()]
        self.url_map = Map(rules, strict_slashes=False, merge_slashes=False)  # keys may hold any character
        if self.hooks:
            self.hooks.attach(self.db)

    def routes(self) -> tuple[Route, ...]:
        return (Route("GET", "/health", lambda company, query: Answer(200, {"status": "ok", "name": company.name})),)

    def stamp(self, ahead_s: float = 0.0) -> str:
        """Now, or so much later, as RFC 3339 in UTC."""
        return rfc3339(self.now() + ahead_s)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One commit. Its hooks are sent afterwards. Do not yield to other green threads inside."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")
        if self.hooks:
            self.hooks.wake()

    def emit(self, subject: str, kind: str, data: dict[str, Any]) -> None:
        """Leave a hook in the outbox, in the running transaction; those of one subject arrive in order."""
        if self.hooks:
            self.hooks.add(subject, kind, self.stamp(), data)

    def once(self, kind: str, request: Keyed, decide: Callable[[], Answer], undone_code: str | None = None) -> Answer:
        """Decide a key once. A repeat gets the stored answer, refusals too, and none of its delays.

        A key that was undone is refused whatever its input, also when it was done before.
        """
        if self.is_forbidden(request.key):
            code = undone_code or self.undone_code
            return refused(409, code, f"this key was {code}")
        asked = msgspec.json.encode(request).decode()
        known = self.db.execute(
            "SELECT kind, input, status, answer FROM operations WHERE key = ?", (request.key,)
        ).fetchone()
        if known is None:
            answer = decide()
            self.db.execute(
                "INSERT INTO operations VALUES (?, ?, ?, ?, ?)",
                (request.key, kind, asked, answer.status, msgspec.json.encode(answer.body).decode()),
            )
            return answer
        if known[:2] != (kind, asked):
            return refused(422, "key_reused", "this key was used for something else")
        return Answer(known[2], msgspec.json.decode(known[3]))

    def is_forbidden(self, key: str) -> bool:
        """Whether a key was undone, seen or not."""
        return self.db.execute("SELECT 1 FROM undone WHERE key = ?", (key,)).fetchone() is not None

    def forbid(self, key: str) -> None:
        """Remember that a key is undone, seen or not: `once` refuses it from now on."""
        self.db.execute("INSERT OR IGNORE INTO undone VALUES (?, ?)", (key, self.stamp()))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ, populate_request=False)
        try:
            answer = self._answer(request)
        except HTTPException as e:
            headers = [h for h in e.get_headers() if h[0] == "Allow"]
            answer = refused(e.code or 500, e.name.lower().replace(" ", "_"), e.description or e.name)
            return self._response(answer, headers)(environ, start_response)
        if wait_s := self.latency_s + answer.delay_s:
            self.sleep(wait_s)
        if answer.drop:
            wsgi.WSGI_LOCAL.already_handled = True  # eventlet then closes the connection without a byte
            return []
        return self._response(answer)(environ, start_response)

    def _response(self, answer: Answer, headers: list[tuple[str, str]] | None = None) -> Response:
        if answer.page is not None:
            return Response(answer.page, answer.status, PAGE_HEADERS, content_type="text/html; charset=utf-8")
        return Response(msgspec.json.encode(answer.body), answer.status, headers, content_type="application/json")

    def _answer(self, request: Request) -> Answer:
        found: tuple[Route, Mapping[str, Any]] = self.url_map.bind("sandbox").match(request.path, request.method)
        route, path = found
        if request.method != "POST":
            return route.handler(self, request.args.to_dict(), **path)
        request.max_content_length = 1 << 16
        try:
            body = _body_of(request, route)
        except msgspec.ValidationError as e:
            return refused(422, "invalid", str(e))
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            return refused(400, "malformed", str(e))
        with self.transaction():
            return route.handler(self, body, **path)

    def page(self, query: Query) -> tuple[int, int]:
        """`after` and `limit` of a listing; what is not a number counts as not given."""
        after, limit = query.get("after", ""), query.get("limit", "")
        return int(after) if after.isdecimal() else 0, min(int(limit) if limit.isdecimal() else 100, 1000)


def _body_of(request: Request, route: Route) -> Input:
    if route.form:
        return msgspec.convert(request.form.to_dict(), route.body)
    return msgspec.json.decode(request.get_data() or b"{}", type=route.body)


class _Log:
    """eventlet's log without its line for every request: what remains are tracebacks."""

    def info(self, text: str) -> None:
        if text:
            print(text, file=sys.stderr, flush=True)

    error = info

    def debug(self, text: str) -> None:
        pass


def parser(name: str) -> argparse.ArgumentParser:
    """The arguments that every sandbox takes."""
    p = argparse.ArgumentParser(prog=f"sandbox.{name}")
    p.add_argument("--host", default="127.0.0.1", help="the address to listen on; default 127.0.0.1")
    p.add_argument("--port", type=int, required=True, help="0 takes a free one and prints it")
    p.add_argument("--public-url", default="", help="where browsers find it; default http://HOST:PORT")
    p.add_argument("--db", required=True, help="its SQLite file, made when missing")
    latency_ms = int(os.environ.get(f"{name.upper()}_LATENCY_MS") or 0)
    p.add_argument("--latency-ms", type=int, default=latency_ms, help="before each answer; default $..._LATENCY_MS")
    p.add_argument("--hook-url", help="where signed hooks are POSTed; without it none are sent")
    p.add_argument("--hook-secret", default=os.environ.get("HOOK_SECRET"), help="signs them; default $HOOK_SECRET")
    return p


def hooks_of(options: argparse.Namespace, name: str, give_up_s: float) -> Hooks | None:
    if not options.hook_url:
        return None
    if not options.hook_secret:
        sys.exit(f"{name}: --hook-url needs --hook-secret")
    return Hooks(options.hook_url, options.hook_secret, give_up_s)


def serve(company: Company, host: str, port: int, *background: Callable[[], None]) -> None:
    """Serve, with `background` in green threads of their own, until SIGTERM or SIGINT.

    They end the process at once: whatever was answered is committed.
    """
    try:
        sock = eventlet.listen((host, port), backlog=256, reuse_port=False)
    except OSError as e:
        sys.exit(f"{company.name}: cannot listen on {host}:{port}: {e.strerror}")

    company.public_url = company.public_url or f"http://{host}:{sock.getsockname()[1]}"

    def stop(signum: int, frame: Any) -> None:
        company.db.close()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for work in (*background, *([company.hooks.run] if company.hooks else [])):
        eventlet.spawn_n(work)
    print(f"{company.name} ready on http://{host}:{sock.getsockname()[1]}", flush=True)
    wsgi.server(sock, company, log=_Log(), log_format="", debug=False, keepalive=75, socket_timeout=30)
