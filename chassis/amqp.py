"""The broker, as the chassis uses it: one publishing connection per process, and a count of a queue's consumers.

Publishing has a connection of its own because RabbitMQ, under a memory or disk alarm, stops reading from connections
that publish. Requests and replies go without confirms: a deadline tells their callers what confirms would.
"""

import time
from collections.abc import Callable
from logging import getLogger
from typing import Any

import eventlet
import kombu
from amqp import Message, spec
from amqp.exceptions import AMQPError, NotFound
from eventlet.semaphore import Semaphore
from nameko.constants import AMQP_URI_CONFIG_KEY
from nameko.extensions import SharedExtension
from nameko.messaging import QueueConsumer as NamekoQueueConsumer

from chassis.errors import Unavailable

CONNECT_TIMEOUT_S = 3
HEARTBEAT_S = 20
PRESENCE_TTL_S = 1.0
BROKEN = (AMQPError, OSError, kombu.exceptions.OperationalError)
"""What a lost or refused connection raises: the broker is away, which callers see as Unavailable."""

log = getLogger(__name__)


def connect(uri: str, **transport_options: Any) -> kombu.Connection:
    """A connected kombu Connection, or one of BROKEN."""
    connection = kombu.Connection(
        uri, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=HEARTBEAT_S, transport_options=transport_options
    )
    connection.connect()
    return connection


class QueueConsumer(NamekoQueueConsumer):
    """nameko's, with an acknowledgement that a dead channel cannot turn into the death of the container."""

    def ack_message(self, message: Any) -> None:
        try:
            super().ack_message(message)
        except BROKEN as exc:  # the broker delivers it again; the barrier makes that harmless
            log.info("acknowledgement lost with its connection: %s", exc)

    def requeue_message(self, message: Any) -> None:
        try:
            super().requeue_message(message)
        except BROKEN as exc:
            log.info("requeue lost with its connection: %s", exc)


class Publisher(SharedExtension):
    """Publishes transient messages, without confirms. Reconnects by itself.

    `on_return` is told the correlation id of each mandatory message that no queue took.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_return: Callable[[str], None] = lambda correlation_id: None
        self._lock = Semaphore()
        self._connection: kombu.Connection | None = None
        self._channel: Any = None
        self._threads: list[Any] = []
        self._blocked = False

    @property
    def uri(self) -> str:
        uri: str = self.container.config[AMQP_URI_CONFIG_KEY]
        return uri

    def publish(self, exchange: str, routing_key: str, body: bytes, mandatory: bool = False, **properties: Any) -> None:
        """Send one JSON message. Raises Unavailable when it was certainly not sent, or the broker is in alarm.

        A write that fails on a connection that had gone stale is repeated once on a new one; a request that went out
        twice is made harmless by its key.
        """
        if self._blocked:
            raise Unavailable("broker", "it is in alarm and takes no messages")
        message = Message(
            body, content_type="application/json", content_encoding="utf-8", delivery_mode=1, **properties
        )
        arguments = (0, exchange, routing_key, mandatory, False)
        with self._lock:
            for attempt in (1, 2):
                try:
                    if self._channel is None:
                        self._open()
                    # basic_publish would read from the socket, which belongs to the reading thread
                    self._channel.send_method(spec.Basic.Publish, "Bssbb", arguments, message)
                    return
                except BROKEN as exc:
                    self._close()
                    if attempt == 2:
                        raise Unavailable("broker", f"no connection: {type(exc).__name__}") from exc

    def _open(self) -> None:
        self._connection = connect(
            self.uri, on_blocked=lambda reason: self._set_blocked(True), on_unblocked=lambda: self._set_blocked(False)
        )
        self._channel = self._connection.channel()
        self._channel.events["basic_return"].add(self._on_basic_return)
        self._threads = [eventlet.spawn(self._read, self._connection), eventlet.spawn(self._beat, self._connection)]

    def _close(self) -> None:
        connection, self._connection, self._channel, self._blocked = self._connection, None, None, False
        for thread in self._threads:
            if thread is not eventlet.getcurrent():
                thread.kill()
        self._threads = []
        if connection is not None:
            try:
                connection.collect(socket_timeout=0.1)
            except BROKEN as exc:
                log.debug("closing a broken connection: %s", exc)

    def _read(self, connection: kombu.Connection) -> None:
        try:
            while True:
                connection.connection.drain_events()
        except BROKEN as exc:
            if connection is self._connection:
                log.info("publishing connection lost: %s", exc)
                self._close()

    def _beat(self, connection: kombu.Connection) -> None:
        try:
            while True:
                eventlet.sleep(HEARTBEAT_S / 4)
                connection.heartbeat_check()
        except BROKEN as exc:
            if connection is self._connection:
                log.info("publishing connection silent: %s", exc)
                self._close()

    def _on_basic_return(self, exc: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self.on_return(message.properties.get("correlation_id", ""))

    def _set_blocked(self, blocked: bool) -> None:
        log.warning("broker is in alarm" if blocked else "broker's alarm is over")
        self._blocked = blocked

    def stop(self) -> None:
        with self._lock:
            self._close()

    kill = stop


class Presence(SharedExtension):
    """Tells whether anybody consumes a service's queue: a stopped service keeps its queue, and would keep us waiting.

    Asked by a passive declare on a connection of its own; an answer holds for PRESENCE_TTL_S.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = Semaphore()
        self._connection: kombu.Connection | None = None
        self._known: dict[str, tuple[float, int]] = {}

    def require(self, service: str) -> None:
        """Raise Unavailable unless the service has an instance."""
        asked_at, consumers = self._known.get(service, (0.0, 0))
        if time.monotonic() - asked_at > PRESENCE_TTL_S:
            consumers = self._ask(service)
        if not consumers:
            raise Unavailable(service, "no instance of it is running")

    def _ask(self, service: str) -> int:
        with self._lock:
            asked_at, consumers = self._known.get(service, (0.0, 0))
            if time.monotonic() - asked_at <= PRESENCE_TTL_S:
                return consumers
            for attempt in (1, 2):
                try:
                    consumers = self._count(service)
                    break
                except BROKEN as exc:
                    self._close()
                    if attempt == 2:
                        raise Unavailable("broker", f"no connection: {type(exc).__name__}") from exc
            self._known[service] = (time.monotonic(), consumers)
            return consumers

    def _count(self, service: str) -> int:
        if self._connection is None:
            uri = self.container.config[AMQP_URI_CONFIG_KEY]
            self._connection = kombu.Connection(uri, connect_timeout=CONNECT_TIMEOUT_S)
            self._connection.connect()
            self._connection.connection.sock.settimeout(CONNECT_TIMEOUT_S)
        with self._connection.channel() as channel:  # a missing queue closes its channel
            try:
                consumers: int = channel.queue_declare(f"rpc-{service}", passive=True).consumer_count
            except NotFound:
                return 0
        return consumers

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.collect(socket_timeout=0.1)
            except (TimeoutError, *BROKEN) as exc:
                log.debug("closing a broken connection: %s", exc)

    def stop(self) -> None:
        with self._lock:
            self._close()

    kill = stop
