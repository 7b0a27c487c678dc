"""A service with HTTP entry points and nothing else, so that the web server can be tried without a broker."""

import base64
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import eventlet
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eventlet.event import Event
from nameko.containers import ServiceContainer
from nameko.extensions import SharedExtension

from chassis.auth import Verifier
from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.http import HttpServer
from chassis.routes import Reply, Request, Route, decorator_of
from chassis.types import CUSTOMER, OPERATOR, STAFF

HOST = b"Host: shop\r\n"
CLOSE = HOST + b"Connection: close\r\n"
BUY = b'{"sku": "S-1", "quantity": 2}'
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(b"rialto's key for its own tests.."[:32])
PUBLIC_KEY = PRIVATE_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def token(sub: str = "c-1", roles: Any = (CUSTOMER,), *, kid: Any = "k1", key: Any = PRIVATE_KEY, **claims: Any) -> str:
    """An access token as users makes them; a claim given as None is left out."""
    now = int(time.time())
    claims = {"iss": "rialto", "aud": "rialto", "use": "access", "exp": now + 300, "nbf": now} | claims
    claims |= {"sub": sub, "roles": list(roles) if isinstance(roles, tuple) else roles}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm="EdDSA", headers={"kid": kid})


class LocalTokens(SharedExtension):
    """Tokens checked against one key that needs no fetching."""

    def setup(self) -> None:
        self.caller_of = Verifier(lambda: {"k1": PUBLIC_KEY}).caller_of


class LocalRoute(Route):
    tokens = LocalTokens()


route = decorator_of(LocalRoute)


class Card(msgspec.Struct, forbid_unknown_fields=True):
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Purchase(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=0, le=999)]
    card: Card | None = None


class Search(msgspec.Struct, forbid_unknown_fields=True):
    query: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    in_stock: bool | None = None


class Echo(msgspec.Struct):
    method: str
    body: Any = None
    query: Any = None
    key: str | None = None
    caller: Any = None
    guest_token: str | None = None
    wait_s: float = 0.0
    context: Any = None


def _echo(request: Request, **more: Any) -> Echo:
    return Echo(
        request.method,
        request.body,
        request.query,
        request.key,
        request.caller,
        request.guest_token,
        request.prefer_wait_s,
        **more,
    )


class EdgeService:
    name = "edge_test"
    http_status: Mapping[str, int] = {"shop.sold_out": 409, "shop.too_fast": 429, "shop.nothing": 404}
    gate: Event | None = None
    entered = 0

    @route("GET", "/v1/health", inline=True)
    def health(self, request: Request) -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "ok"}

    @route("GET", "/v1/things")
    def things(self, request: Request) -> dict[str, int]:
        return {"things": 3}

    @route("GET", "/v1/things/{thing_id}")
    def thing(self, request: Request, thing_id: str) -> dict[str, str]:
        return {"id": thing_id}

    @route("GET", "/v1/search", query=Search)
    def search(self, request: Request[None, Search]) -> Echo:
        return _echo(request)

    @route("POST", "/v1/purchases", body=Purchase, success=201)
    def purchase(self, request: Request[Purchase]) -> Reply[Echo]:
        return Reply(_echo(request), headers={"Location": "/v1/purchases/1"})

    @route("POST", "/v1/orders", body=Purchase, role=CUSTOMER, idempotent=True, success=202)
    def order(self, request: Request[Purchase]) -> Echo:
        return _echo(request)

    @route("GET", "/v1/cart", role=CUSTOMER, guest="Cart-Token")
    def cart(self, request: Request) -> Echo:
        return _echo(request)

    @route("GET", "/v1/talk", role=CUSTOMER, guest="Talk-Token")
    def talk(self, request: Request) -> Echo:
        return _echo(request)

    @route("GET", "/v1/stock", role=STAFF)
    def stock(self, request: Request) -> Echo:
        return _echo(request)

    @route("GET", "/v1/sagas", role=OPERATOR)
    def sagas(self, request: Request) -> Echo:
        return _echo(request)

    @route("POST", "/v1/hooks", raw=True, success=204)
    def hook(self, request: Request) -> Reply[None]:
        return Reply(headers={"X-Body": base64.b64encode(request.raw_body).decode()})

    @route("GET", "/v1/fails/{how}")
    def fails(self, request: Request, how: str) -> None:
        raise {
            "refused": ServiceError("shop.sold_out", "The last one is gone.", {"sku": "S-1"}),
            "unlisted": ServiceError("shop.unheard_of", "No."),
            "throttled": ServiceError("shop.too_fast", "Slow down.", {"retry_after_s": 7}),
            "down": Unavailable("orders", "amqp://user:secret@broker"),
            "late": OutcomeUnknown("orders", "secret"),
            "bug": ValueError("secret"),
        }[how]

    @route("GET", "/v1/waits")
    def waits(self, request: Request) -> dict[str, int]:
        type(self).entered += 1
        assert self.gate is not None
        self.gate.wait()
        return {"waited": 1}

    @route("GET", "/", any_query=True)
    def page(self, request: Request) -> Reply[str]:
        return Reply("<p>Grüezi</p>", content_type="text/html; charset=utf-8")

    @route("GET", "/v1/split")
    def split(self, request: Request) -> Reply[None]:
        return Reply(headers={"Location": "/x\r\nSet-Cookie: a=b"})


class Server:
    """A running container; `connect()` gives raw sockets."""

    def __init__(self, container: ServiceContainer) -> None:
        self.container = container
        self.http: HttpServer = next(ext for ext in container.extensions if isinstance(ext, HttpServer))
        self.host, self.port = self.http.address

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=10)

    def send(self, request: bytes) -> bytes:
        """Send the bytes on a connection of their own, and read until the server closes it."""
        with self.connect() as sock:
            sock.sendall(request)
            return read_to_end(sock)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> "Answer":
        """One well-formed request on a connection of its own."""
        lines = {"Host": "shop", "Connection": "close"} | (dict(headers or {}))
        if body:
            lines = {"Content-Length": str(len(body)), "Content-Type": "application/json"} | lines
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return Answer(self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body))


def post(headers: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST /v1/purchases HTTP/" + version + b"\r\nContent-Type: application/json\r\n" + headers + b"\r\n" + body


class Answer:
    """A response, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        """Status and code of what must be a whole problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        assert int(self.headers["content-length"]) == len(self.body)
        document = self.json
        assert document["status"] == self.status
        assert all(document[name] for name in ("type", "title", "detail"))
        assert document["trace_id"] == self.headers["x-request-id"]
        return self.status, document["code"]


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def until(condition: Any, limit_s: float = 5.0) -> None:
    """Poll until `condition()` holds."""
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit, "it did not come true in time"
        eventlet.sleep(0.01)


@contextmanager
def serving(service: type = EdgeService, *, max_workers: int = 10, **http: int) -> Iterator[Server]:
    """A container of the service on a free port of loopback, stopped in the end."""
    config = {"WEB_SERVER_ADDRESS": "127.0.0.1:0", "max_workers": max_workers, "http": http}
    container = ServiceContainer(service, config)
    container.start()
    try:
        yield Server(container)
    finally:
        container.stop()
        container.wait()
