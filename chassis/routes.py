"""The `route` entry point: one line of HTTP for one line of business, its policy in the decorator.

    @route("POST", "/v1/orders", body=PlaceOrder, role=CUSTOMER, idempotent=True, success=202, refuses=OrdersApi.place)
    def place_order(self, request: Request[PlaceOrder]) -> Reply[Order]:
        \"\"\"Start an order. Poll `GET /v1/orders/{id}`.\"\"\"

What the decorator says is checked before the method's worker starts, and is what `chassis.openapi` documents.
"""

import inspect
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, ParamSpec, cast

import eventlet
import msgspec
from eventlet.event import Event
from nameko.exceptions import ContainerBeingKilled
from nameko.extensions import Entrypoint
from typing_extensions import TypeVar
from werkzeug.routing import Rule

from chassis.auth import TokenVerifier, forbidden, invalid_token, satisfies, unauthenticated
from chassis.context import Call, to_context_data
from chassis.errors import Failure
from chassis.http import HttpServer, Response, overloaded
from chassis.input import Query, header_parameters, parse_query, read_body, require_json, unknown_parameter
from chassis.problems import Problem
from chassis.types import Caller

B = TypeVar("B", default=Any)
Q = TypeVar("Q", default=Any)
T = TypeVar("T", default=Any)
F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_BARE_KEY = re.compile(r"[\x21\x23-\x7e][\x21-\x7e]{0,254}")
_QUOTED_KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_GUEST_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,255}")
_ETAG = re.compile(r'"([1-9][0-9]{0,9})"')
_WAIT = re.compile(r"[0-9]{1,6}")


class Request(Generic[B, Q]):
    """What a route's method gets. `body` and `query` are the decorator's Structs, decoded; None without one.

    `key` is the client's Idempotency-Key where the route takes one (its own name space: scope it by caller), else
    one made up for an unsafe method, else None. `guest_token` is what a guest brought, on a route for guests. `ver` is
    the version in If-Match where the route is fenced. `prefer_wait_s` is 0.0 unless the client asked to wait.
    """

    body: B
    query: Q

    def __init__(self, environ: Mapping[str, Any], trace_id: str, max_wait_s: float) -> None:
        self._environ, self._max_wait_s = environ, max_wait_s
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ["PATH_INFO"].encode("latin-1").decode()
        self.client_ip: str = environ["REMOTE_ADDR"]
        self.trace_id = trace_id
        self.caller = Caller()
        self.guest_token: str | None = None
        self.key: str | None = None
        self.ver = 0
        self.raw_body = b""
        self.body = None  # type: ignore[assignment]
        self.query = None  # type: ignore[assignment]

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """All headers but Content-Type and Content-Length, by lower-case name."""
        return {
            name[5:].replace("_", "-").lower(): value
            for name, value in self._environ.items()
            if name.startswith("HTTP_")
        }

    @property
    def prefer_wait_s(self) -> float:
        wait = header_parameters(self._environ.get("HTTP_PREFER", "")).get("wait", "")
        return float(min(int(wait), self._max_wait_s)) if _WAIT.fullmatch(wait) else 0.0


Csv = Annotated[str, msgspec.Meta(title="CSV")]
"""A table as text, for the annotation of a route that answers with one."""


class Reply(Generic[T]):
    """An answer with a status or headers of its own. `body` is encoded as JSON, unless it is bytes or a str of
    `content_type`."""

    def __init__(
        self,
        body: T | bytes | str | None = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        self.body, self.status, self.headers, self.content_type = body, status, headers or {}, content_type


class Route(Entrypoint):
    """See `route`. The caller is known by a bearer token; a bad one is 401, on a public route too.

    A subclass can bring `tokens` of its own: an extension with `caller_of(authorization) -> Caller | None`.
    """

    server = HttpServer()
    tokens: Any = TokenVerifier()

    def __init__(  # noqa: PLR0913 a route's whole policy stands in its decorator
        self,
        method: str,
        path: str,
        *,
        body: type[msgspec.Struct] | None = None,
        query: type[msgspec.Struct] | None = None,
        any_query: bool = False,
        role: str | None = None,
        guest: str | None = None,
        idempotent: bool | Literal["optional"] = False,
        fenced: bool = False,
        raw: bool = False,
        inline: bool = False,
        success: int | tuple[int, ...] = 200,
        returns: Any = None,
        refuses: Callable[..., Any] | Iterable[Callable[..., Any]] = (),
        **kwargs: Any,
    ) -> None:
        """
        path        with parameters in braces, each one segment, passed to the method by name
        any_query   let parameters pass that no `query` names, and ignore them (for pages)
        role        what the caller must be; None is public. An operator may do what staff may
        guest       signed in as `role` says, or bringing this header, such as `Cart-Token`
        idempotent  the client must send an Idempotency-Key; "optional": it may
        fenced      the client must send If-Match with the version that it saw, which the method gets as `request.ver`
        raw         the body is `request.raw_body`, unread (for signatures)
        inline      answered without a worker, dependencies, or a place among those at work: it may not wait
        success     the statuses it can answer with; the first is the default
        returns     what the answer holds; None: as the method's annotation says
        refuses     methods of contracts whose codes the answer may carry
        """
        super().__init__(expected_exceptions=(Failure, Problem), **kwargs)
        if inline and (body or raw or idempotent or fenced):
            raise ValueError(f"{path}: an inline route reads no body")
        self.method, self.path = method, path
        self.body, self.query, self.any_query = body, query, any_query
        self.role, self.guest, self.idempotent, self.raw, self.inline = role, guest, idempotent, raw, inline
        self.statuses = (success,) if isinstance(success, int) else tuple(success)
        self.fenced, self.returns = fenced, returns
        self.refuses = (refuses,) if callable(refuses) else tuple(refuses)
        self._query = Query(query) if query else None

    @property
    def parameters(self) -> list[str]:
        """The names of the path's parameters, in order."""
        return _PARAMETER.findall(self.path)

    def get_url_rule(self) -> Rule:
        return Rule(_PARAMETER.sub(r"<\1>", self.path), methods=[self.method], merge_slashes=False)

    def setup(self) -> None:
        function = getattr(self.container.service_cls, self.method_name)
        names = list(inspect.signature(function).parameters)
        if names[2:] != self.parameters:
            raise TypeError(f"{function.__qualname__} takes {names[2:]}, its path gives {self.parameters}")
        if self.inline:
            self._inline = getattr(self.container.service_cls(), self.method_name)
        self.server.register_provider(self)

    def stop(self) -> None:
        self.server.drain()
        self.server.unregister_provider(self)

    def answer(self, environ: Mapping[str, Any], values: Mapping[str, str], trace_id: str) -> Response:
        """Check what the decorator asks for, run the method in a worker, and encode its result.

        Raises Problem or Failure; the server makes documents of them.
        """
        started = time.time()
        settings = self.server.settings
        request = Request[Any, Any](environ, trace_id, settings.max_wait_s)
        self._authorize(request, environ)
        if self.inline:
            self._read(request, environ)
            return self._response(self._inline(request, **values))
        self.server.require_room()
        self._read(request, environ)
        deadline = started + settings.timeout_ms / 1000
        call = Call(trace_id=trace_id, caller=request.caller, deadline=deadline)
        return self._response(self._run(request, values, to_context_data(call), deadline - time.time()))

    def _authorize(self, request: Request[Any, Any], environ: Mapping[str, Any]) -> None:
        caller = self.tokens.caller_of(environ.get("HTTP_AUTHORIZATION"))
        if self.guest and (token := environ.get(f"HTTP_{self.guest.upper().replace('-', '_')}")) is not None:
            if not _GUEST_TOKEN.fullmatch(token):
                raise invalid_token()
            request.guest_token = token
        if caller is not None:
            request.caller = caller
            if self.role and not satisfies(caller, self.role):
                raise forbidden(self.role)
        elif (self.role or self.guest) and request.guest_token is None:
            raise unauthenticated()

    def _read(self, request: Request[Any, Any], environ: Mapping[str, Any]) -> None:
        if self._query is not None:
            request.query = self._query.read(environ["QUERY_STRING"])
        elif environ["QUERY_STRING"] and not self.any_query:
            for name in parse_query(environ["QUERY_STRING"]):
                raise unknown_parameter(name)
        if self.idempotent is True or (self.idempotent and "HTTP_IDEMPOTENCY_KEY" in environ):
            request.key = _idempotency_key(environ.get("HTTP_IDEMPOTENCY_KEY"))
        elif request.method in UNSAFE:
            request.key = uuid.uuid4().hex
        if self.fenced:
            request.ver = _version(environ.get("HTTP_IF_MATCH"))
        self._read_body(request, environ)

    def _read_body(self, request: Request[Any, Any], environ: Mapping[str, Any]) -> None:
        if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
            detail = "The body may not be compressed."
            raise Problem(415, "request.unsupported_encoding", detail, headers={"Accept-Encoding": "identity"})
        content = environ["wsgi.input"]
        if content.length != 0:
            if self.body is not None:
                require_json(environ.get("CONTENT_TYPE", ""))
            request.raw_body = content.read_all(self.server.settings.max_body_bytes)
        if (self.body is not None or self.raw) and not request.raw_body:
            raise Problem(400, "request.missing_body", "A body is required.")
        if self.body is not None:
            request.body = read_body(request.raw_body, self.body)

    def _run(
        self, request: Request[Any, Any], values: Mapping[str, str], context: dict[str, Any], timeout_s: float
    ) -> Any:
        """The method's result. Its worker keeps its place among those at work until it is done, however late."""
        done = Event()

        def handle_result(worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            self.server.leave()
            done.send((result, exc_info))
            return result, exc_info

        self.server.enter()
        running = False
        try:
            with eventlet.Timeout(timeout_s) as late:
                self.container.spawn_worker(self, (request,), values, context_data=context, handle_result=handle_result)
                running = True
                result, exc_info = done.wait()
        except eventlet.Timeout as timeout:
            if timeout is not late:
                raise
            raise _too_late() if running else overloaded("No worker was free in time.") from None
        except ContainerBeingKilled:
            raise overloaded("The server is stopping.") from None
        finally:
            if not running:
                self.server.leave()
        if exc_info is not None:
            raise exc_info[1]
        return result

    def _response(self, result: Any) -> Response:
        reply = result if isinstance(result, Reply) else Reply(result)
        headers = list(reply.headers.items())
        if not any(name.lower() == "cache-control" for name in reply.headers):
            headers.append(("Cache-Control", "no-store"))
        status = reply.status or self.statuses[0]
        if reply.body is None:
            return Response(status, headers, b"")
        body = reply.body
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = _encoder.encode(body)
        headers.append(("Content-Type", reply.content_type))
        return Response(status, headers, body)


_encoder = msgspec.json.Encoder()


def decorator_of(entrypoint: Callable[P, Route]) -> Callable[P, Callable[[F], F]]:
    """nameko's decorator of an entry point class, with the types that it keeps."""
    return cast(Any, entrypoint).decorator  # type: ignore[no-any-return]


route = decorator_of(Route)


def _idempotency_key(value: str | None) -> str:
    """The key of a header that is bare or, as the draft says, a quoted structured-field string."""
    if value is None:
        detail = "An Idempotency-Key header is required, so that a repeat of this request cannot act twice."
        raise Problem(400, "request.missing_key", detail)
    if quoted := _QUOTED_KEY.fullmatch(value):
        return re.sub(r'\\(["\\])', r"\1", quoted[1])
    if _BARE_KEY.fullmatch(value):
        return value
    raise Problem(400, "request.bad_key", "The Idempotency-Key must be 1 to 255 visible ASCII characters.")


def etag(ver: int) -> str:
    """The entity tag of something at this version."""
    return f'"{ver}"'


def _version(if_match: str | None) -> int:
    """The version that a client saw. One tag of ours, not weak and not `*`: who did not look may not decide."""
    if if_match is None:
        detail = "An If-Match header with the ETag that you saw is required, so that you change what you looked at."
        raise Problem(428, "request.missing_version", detail)
    if found := _ETAG.fullmatch(if_match.strip()):
        return int(found[1])
    raise Problem(412, "request.bad_version", "If-Match must be one ETag of this resource, as it was answered.")


def _too_late() -> Problem:
    detail = "The answer took too long; whether it acted is not known. Repeat with the same Idempotency-Key."
    return Problem(504, "service.unknown_outcome", detail)
