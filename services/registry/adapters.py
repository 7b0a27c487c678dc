"""The broker, as it says itself: by its management API where there is one, else by AMQP."""

from collections.abc import Iterable
from dataclasses import replace
from logging import getLogger
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from chassis.amqp import BROKEN, queue_counts
from chassis.announcement import Binding
from services.registry.domain import RPC, QueueState, Sight

PAGE, PAGES = 500, 20
"""At most so many queues are looked at."""
COLUMNS = "name,messages_ready,messages_unacknowledged,consumers,message_stats.ack"
NOTHING = Sight("none", {})

log = getLogger("rialto.registry")


class _Stats(msgspec.Struct):
    ack: int = 0


class _Queue(msgspec.Struct):
    name: str
    ready: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="messages_ready", default=0)
    unacked: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="messages_unacknowledged", default=0)
    consumers: int = 0
    stats: _Stats | list[object] = msgspec.field(name="message_stats", default_factory=_Stats)
    """A list, which is empty, of a queue that had no message since the broker was started: Erlang has one for both."""

    @property
    def state(self) -> QueueState:
        acked = self.stats.ack if isinstance(self.stats, _Stats) else 0
        return QueueState(self.ready, self.consumers, self.unacked, acked)


class _Page(msgspec.Struct):
    items: list[_Queue]
    page_count: int


class _Binding(msgspec.Struct):
    source: str
    destination: str
    routing_key: str


class Broker:
    """Asks the broker. `management_uri` is http(s) with user and password, "" where there is no management API."""

    def __init__(self, amqp_uri: str, management_uri: str, timeout_s: float) -> None:
        self.amqp_uri = amqp_uri
        self.vhost = quote(unquote(urlsplit(amqp_uri).path[1:]) or "/", safe="")
        self._http: Any = None
        if management_uri:
            url = _parsed(management_uri)
            headers = urllib3.make_headers(basic_auth=unquote(url.auth)) if url.auth else {}
            base = f"{url.scheme}://{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
            self._prefix = (url.path or "").rstrip("/")
            self._http = urllib3.connection_from_url(
                base, headers=headers, retries=False, timeout=urllib3.Timeout(total=timeout_s)
            )

    def look(self, services: Iterable[str]) -> Sight:
        """All queues that there are, or, without the management API, those of these services' methods. Messages and
        consumers of the latter are those of now: the API's own figures are some seconds old.

        NOTHING while the broker does not answer.
        """
        sight = self._by_management()
        names = {f"{RPC}{service}" for service in services} | {name for name in sight.queues if name.startswith(RPC)}
        try:
            counts = queue_counts(self.amqp_uri, names)
        except BROKEN:
            return NOTHING
        now = {name: self._counted(sight.queues.get(name), *count) for name, count in counts.items()}
        return replace(sight, queues={**sight.queues, **now})

    def _by_management(self) -> Sight:
        try:
            if self._http is not None:
                return Sight("management", self._queues(), self._bindings())
        except (HTTPError, msgspec.DecodeError) as exc:  # its plugin may be off, or just starting
            log.info("the management API does not answer", extra={"reason": str(exc)})
        return Sight("amqp", {})

    def _counted(self, known: QueueState | None, ready: int, consumers: int) -> QueueState:
        return replace(known or QueueState(0, 0), ready=ready, consumers=consumers)

    def _queues(self) -> dict[str, QueueState]:
        found: dict[str, QueueState] = {}
        for number in range(1, PAGES + 1):
            path = f"/api/queues/{self.vhost}?page={number}&page_size={PAGE}&columns={COLUMNS}"
            page = msgspec.json.decode(self._get(path), type=_Page)
            for queue in page.items:
                found[queue.name] = queue.state
            if number >= page.page_count:
                break
        return found

    def _bindings(self) -> frozenset[Binding]:
        path = f"/api/bindings/{self.vhost}?columns=source,destination,routing_key"
        rows = msgspec.json.decode(self._get(path), type=list[_Binding])
        return frozenset(Binding(queue=row.destination, exchange=row.source, key=row.routing_key) for row in rows)

    def _get(self, path: str) -> bytes:
        answer = self._http.request("GET", self._prefix + path)
        if answer.status != 200:
            raise HTTPError(f"the management API answered {answer.status}")
        data: bytes = answer.data
        return data


def _parsed(uri: str) -> Any:
    """Raises ValueError, without the password that may be in it."""
    try:
        url = urllib3.util.parse_url(uri)
    except ValueError:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise ValueError("management_uri has to be http(s)://user:password@host:port")
    return url
