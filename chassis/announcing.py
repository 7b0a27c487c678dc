"""Instances tell who they are: when they start, every announce_every_ms, when they drain, and when they leave.

Nobody needs to hear it for a call to be made. An announcement goes to RabbitMQ's own exchange amq.topic, transient and
unconfirmed: without a listener it is gone, and while the broker is away nothing is told. Each one says everything, so
that whoever begins to listen knows all after one interval.
"""

import hashlib
import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from logging import getLogger
from typing import Annotated, Any, TypeVar

import eventlet
import kombu
import msgspec
from nameko.constants import AMQP_URI_CONFIG_KEY
from nameko.events import EventHandler
from nameko.extensions import SharedExtension
from nameko.messaging import Consumer
from nameko.rpc import Rpc, RpcConsumer

from chassis.amqp import BROKEN, Publisher, QueueConsumer, SafeHeaders, connect, drop, prefetch_of
from chassis.announcement import DRAINING, LEFT, LONGEST_MS, UP, Announcement, Binding
from chassis.described import events_of, fingerprint
from chassis.errors import Unavailable
from chassis.masking import masked
from chassis.saga import Saga
from chassis.settings import read_settings
from chassis.tallies import tallies
from chassis.types import Message, service_of
from chassis.version import VERSION

EXCHANGE, KEY = "amq.topic", "rialto.announced"
PUBLISH_TIMEOUT_S, LAST_WORD_S = 1.0, 2.0
UNHEARD = {"x-expires": 60_000, "x-max-length": 10_000}
"""Of a listener's queue: it goes a minute after its listener, and keeps the latest so many announcements."""

OF_ALL = ("DB_URIS", "LOGGING", "services")
"""Settings that say something of every service; of the databases an instance tells its own."""
DIGEST_LENGTH = 12

F = TypeVar("F", bound=Callable[..., Any])

_encode = msgspec.json.Encoder(order="deterministic").encode

log = getLogger("rialto.announcing")


class Pace(Message):
    """See config.yaml."""

    announce_every_ms: Annotated[int, msgspec.Meta(ge=50, le=LONGEST_MS)] = 2_000


class Announcer(SharedExtension):
    """Tells of its container's instance. `contract` is what the instance promises, set before the start."""

    publisher = Publisher()

    def __init__(self) -> None:
        super().__init__()
        self.contract: type | None = None
        self.id = uuid.uuid4().hex[:12]
        self._started_at = datetime.now(UTC)
        self._state, self._beat, self._thread = UP, 0, None

    def setup(self) -> None:
        self._every_ms = read_settings(self.container, Pace).announce_every_ms

    def start(self) -> None:
        if self._thread is None:
            self._facts = facts_of(self.container, self.contract)
            self._methods = sorted(each.method_name for each in self.container.entrypoints if isinstance(each, Rpc))
            self._thread = eventlet.spawn(self._go_on)

    def container_leaves(self) -> None:
        """Say that it drains, unless it never said that it is up, or has said its last word."""
        if self._thread is not None:
            self._state = DRAINING
            self._tell()

    def _tell(self) -> None:
        """Announce now. Nothing is said while the broker is away."""
        try:
            self.publisher.publish(EXCHANGE, KEY, self._next(), timeout_s=PUBLISH_TIMEOUT_S)
        except Unavailable as exc:
            log.debug("nobody was told of this instance: %s", exc)

    def stop(self) -> None:
        """The last word, when all work is done; by a connection of its own, for the other one may be closed. A broker
        in alarm reads nothing: then nobody is told."""
        if self._thread is None:
            return
        self.kill()
        self._state, connection = LEFT, None
        try:
            with eventlet.Timeout(LAST_WORD_S, False):
                connection = connect(self.container.config[AMQP_URI_CONFIG_KEY])
                kombu.Producer(connection).publish(
                    self._next(),
                    exchange=EXCHANGE,
                    routing_key=KEY,
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode=1,
                )
                connection.close()
                connection = None
        except BROKEN as exc:
            log.debug("this instance leaves without a word: %s", exc)
        finally:
            drop(connection)

    def kill(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.kill()

    def _go_on(self) -> None:
        while True:
            self._tell()
            eventlet.sleep(self._every_ms / 1000)

    def _next(self) -> bytes:
        self._beat += 1
        return msgspec.json.encode(
            Announcement(
                **self._facts,
                id=self.id,
                state=self._state,
                beat=self._beat,
                every_ms=self._every_ms,
                started_at=self._started_at,
                methods=tallies(self.container.service_name, self._methods),
            )
        )


def facts_of(container: Any, contract: type | None) -> dict[str, Any]:
    """What stays the same as long as an instance runs."""
    settings = settings_of(container)
    handlers = [each for each in container.entrypoints if isinstance(each, EventHandler)]
    sagas = [each for provider in container.dependencies for each in getattr(provider, "definitions", {}).values()]
    port = os.environ.get("METRICS_PORT")
    return dict(
        service=container.service_name,
        version=VERSION,
        host=socket.gethostname(),
        pid=os.getpid(),
        slot=os.environ.get("INSTANCE", ""),
        contract=fingerprint(contract) if contract else "",
        settings=masked(settings),
        settings_digest=hashlib.sha256(_encode(settings)).hexdigest()[:DIGEST_LENGTH],
        workers=container.max_workers,
        prefetch=prefetch_of(container),
        metrics=f"127.0.0.1:{port}" if port else "",
        events_in=sorted(f"{each.source_service}.{each.event_type}" for each in handlers),
        events_out=sorted(each.__event__ for each in events_of(contract)) if contract else [],  # type: ignore[attr-defined]
        sagas=sorted(f"{each.name}/{each.version}" for each in sagas),
        commands=sorted({name for each in sagas for name in commands_of(each)}),
        bindings=[binding_of(queue) for queue in queues_of(container)],
    )


def settings_of(container: Any) -> dict[str, Any]:
    """What config.yaml says to this service, as plain JSON values; of the databases its own alone."""
    own = {name: value for name, value in container.config.items() if name not in OF_ALL}
    uris = {
        key: uri
        for key, uri in container.config.get("DB_URIS", {}).items()
        if key.startswith(f"{container.service_name}:")
    }
    settings: dict[str, Any] = msgspec.to_builtins({**own, **({"DB_URIS": uris} if uris else {})}, enc_hook=str)
    return settings


def commands_of(saga: Saga[Any]) -> set[str]:
    """The methods that a saga sends, undos among them, as `service.method`."""
    methods = [method for stage in saga.stages for step in stage.steps for method in (step.action, step.undo)]
    return {f"{service_of(method)}.{method.__name__}" for method in methods if method is not None}


def queues_of(container: Any) -> list[kombu.Queue]:
    """The queues that outlive an instance: of its methods, and of its events."""
    found = [each.queue for each in container.subextensions if isinstance(each, RpcConsumer)]
    found += [each.queue for each in container.entrypoints if isinstance(each, EventHandler)]
    return [queue for queue in found if queue is not None]


def binding_of(queue: kombu.Queue) -> Binding:
    return Binding(queue=queue.name, exchange=queue.exchange.name, key=queue.routing_key)


# --- listening


class Announcements(SafeHeaders, Consumer):
    """Entry point: every announcement of every instance, to each listener. The queue lives on for a minute."""

    queue_consumer = QueueConsumer()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(queue=None, **kwargs)

    def setup(self) -> None:
        self.queue = kombu.Queue(
            f"announcements-{self.container.service_name}-{uuid.uuid4().hex}",
            exchange=kombu.Exchange(EXCHANGE, type="topic", durable=True, no_declare=True),
            routing_key=KEY,
            durable=True,
            queue_arguments=UNHEARD,
        )
        super().setup()

    def handle_message(self, body: Any, message: Any) -> None:
        try:
            told = msgspec.convert(body, Announcement)
        except msgspec.ValidationError as exc:  # of another age, or no announcement at all
            log.info("an announcement is not understood", extra={"reason": str(exc)})
            self.queue_consumer.ack_message(message)
            return
        super().handle_message(told, message)


announced: Callable[[F], F] = Announcements.decorator
"""Serve a method as a listener: it gets each Announcement, at most once, in no order that it may rely on."""
