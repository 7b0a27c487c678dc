"""The broker, as the chassis uses it: one publishing connection per process, and a count of a queue's consumers.

Publishing has a connection of its own because RabbitMQ, under a memory or disk alarm, stops reading from connections
that publish. Requests and replies go without confirms: a deadline tells their callers what confirms would.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from logging import getLogger
from typing import Any

import eventlet
import kombu
import kombu.serialization
import kombu.utils.json
import msgspec
from amqp import Message, spec
from amqp.exceptions import AMQPError, ChannelError, NotFound
from eventlet.semaphore import Semaphore
from nameko.constants import AMQP_URI_CONFIG_KEY, CALL_ID_STACK_CONTEXT_KEY
from nameko.extensions import ProviderCollector, SharedExtension
from nameko.messaging import HeaderDecoder, QueueConsumerStopped
from nameko.messaging import QueueConsumer as NamekoQueueConsumer

from chassis import faults
from chassis.errors import Unavailable

CONNECT_TIMEOUT_S = 3
HEARTBEAT_S = 20
PUBLISH_TIMEOUT_S = 5.0
DRAIN_MS, DRAIN_LOOK_S, STOP_S, KILL_S = 20_000, 0.02, 5.0, 3.0
RECONNECT_S = {"interval_start": 0.5, "interval_step": 0.1, "interval_max": 2.0}
PRESENCE_TTL_S = 1.0
BROKEN = (AMQPError, OSError, kombu.exceptions.OperationalError)
"""What a lost or refused connection raises: the broker is away, which callers see as Unavailable."""

log = getLogger(__name__)


def _decode_json(data: Any) -> Any:
    """As kombu's, at a fifth of its cost; kombu's for what a stock client may send and JSON does not have."""
    if isinstance(data, bytes) and b"__type__" not in data:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return kombu.utils.json.loads(data)


kombu.serialization.register("json", kombu.utils.json.dumps, _decode_json, "application/json", "utf-8")


def connect(uri: str, heartbeat_s: int = 0, **transport_options: Any) -> kombu.Connection:
    """A connected kombu Connection, or one of BROKEN, at once. Who asks for heartbeats has to see to them."""
    connection = kombu.Connection(
        uri, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=heartbeat_s, transport_options=transport_options
    )
    connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
    return connection


def drop(connection: kombu.Connection | None) -> None:
    """Close a connection that may be broken, without a word to the other side."""
    if connection is not None:
        try:
            connection.collect(socket_timeout=0.1)
        except BROKEN as exc:
            log.debug("closing a broken connection: %s", exc)


class SafeHeaders(HeaderDecoder):
    """For entry points: headers of ours that are not what they should be count as absent.

    nameko itself would end the container over them, and the next one, to which the message is delivered again.
    """

    def unpack_message_headers(self, message: Any) -> dict[str, Any]:
        data: dict[str, Any] = super().unpack_message_headers(message)
        stack = data.get(CALL_ID_STACK_CONTEXT_KEY, [])
        if not isinstance(stack, list) or not all(isinstance(each, str) for each in stack):
            del data[CALL_ID_STACK_CONTEXT_KEY]
        if type(data.get("deadline", 0)) is not int:
            del data["deadline"]
        return data


def prefetch_of(container: Any) -> int:
    """How many unacknowledged messages an instance holds of each of its queues: as many as it has workers, unless
    config.yaml says otherwise."""
    return int(container.config.get("prefetch") or container.max_workers)


def drain_s_of(container: Any) -> float:
    """How long an instance that leaves may finish what it has."""
    return float(container.config.get("drain_ms", DRAIN_MS)) / 1000


class QueueConsumer(NamekoQueueConsumer):
    """nameko's, with an acknowledgement that a dead channel cannot turn into the death of the container.

    It may start before the broker: it is there as soon as the broker is. A provider that says `at_once` gets its
    messages in the consuming thread, unacknowledged: it may not wait, and can do without a message that is lost.

    A provider that is unregistered gets no more messages, and has gone only when those that it got are acknowledged,
    at most drain_ms later: nameko would close the connection over them, and the broker deliver them once more. Nobody
    waits for a broker that is away: it has taken them back already.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[Any, Any] = {}  # messages that are not acknowledged, and whose they are
        self._dismissed: set[Any] = set()  # providers that want no more messages
        self._connected = False

    @property
    def prefetch_count(self) -> int:
        return prefetch_of(self.container)

    def wait_until_it_consumes(self) -> bool:
        """However long the broker is away; False when it was stopped before."""
        try:
            self._consumers_ready.wait()
        except Exception:  # whatever ended it, and its container with it
            return False
        return True

    def get_consumers(self, consumer_cls: Any, channel: Any) -> Any:
        """After each connection: one for each provider that still wants messages."""
        self._consumers = {}
        for provider in self._providers - self._dismissed:
            consumer = self._consumers[provider] = consumer_cls(
                queues=[provider.queue],
                callbacks=[partial(self.handle_message, provider)],
                accept=self.accept,
                no_ack=getattr(provider, "at_once", False),
            )
            consumer.qos(prefetch_count=self.prefetch_count)
        return self._consumers.values()

    def handle_message(self, provider: Any, body: Any, message: Any) -> None:
        if getattr(provider, "at_once", False):
            provider.handle_message(body, message)
        else:
            self._held[message] = provider
            super().handle_message(provider, body, message)

    def run(self) -> None:
        try:
            super().run()
        except QueueConsumerStopped as exc:  # it was told to end before it could begin
            if not self._consumers_ready.ready():
                self._consumers_ready.send_exception(exc)

    @contextmanager
    def establish_connection(self) -> Iterator[kombu.Connection]:
        """Connect, however long that takes. kombu's own pauses grow to half a minute."""
        with self.create_connection() as connection:
            connection.ensure_connection(self.on_connection_error, **RECONNECT_S)
            self._connected = True
            try:
                yield connection
            finally:
                self._connected = False
                self._held.clear()  # what is not acknowledged by now, the broker delivers again

    def unregister_provider(self, provider: Any) -> None:
        self._dismissed.add(provider)
        with eventlet.Timeout(drain_s_of(self.container), False):
            while self._connected and (provider in self._consumers or provider in self._held.values()):
                eventlet.sleep(DRAIN_LOOK_S)
        ProviderCollector.unregister_provider(self, provider)

    def on_iteration(self) -> None:
        for provider in self._dismissed & self._consumers.keys():
            self._consumers.pop(provider).cancel()
        if not self._consumers and not self._held:
            self.should_stop = True

    def stop(self) -> None:
        with eventlet.Timeout(STOP_S, False):
            if self._connected:
                self._held.clear()  # the time to finish is over
                super().stop()
                return
        self.kill()

    def kill(self) -> None:
        """As nameko's, which closes the connection; at once where there is none, or none that lets itself be closed."""
        with eventlet.Timeout(KILL_S, False):
            if self._connected or self._gt is None:
                super().kill()
                return
        self._gt.kill(QueueConsumerStopped())

    def ack_message(self, message: Any) -> None:
        faults.before(faults.ACK)
        try:
            super().ack_message(message)
        except BROKEN as exc:  # the broker delivers it again; the barrier makes that harmless
            log.info("acknowledgement lost with its connection: %s", exc)
        self._held.pop(message, None)
        faults.after(faults.ACK)

    def requeue_message(self, message: Any) -> None:
        try:
            super().requeue_message(message)
        except BROKEN as exc:
            log.info("requeue lost with its connection: %s", exc)
        self._held.pop(message, None)


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

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        mandatory: bool = False,
        timeout_s: float = PUBLISH_TIMEOUT_S,
        **properties: Any,
    ) -> None:
        """Send one JSON message. Raises Unavailable when it was certainly not sent, or the broker is in alarm.

        A write that fails on a connection that had gone stale is repeated once on a new one; a request that went out
        twice is made harmless by its key.
        """
        if self._blocked:
            raise Unavailable("broker", "it is in alarm and takes no messages")
        message = Message(
            body, content_type="application/json", content_encoding="utf-8", delivery_mode=1, **properties
        )
        faults.before(faults.PUBLISH)
        too_late = Unavailable("broker", f"it took no message in {timeout_s:.3f} s")
        with eventlet.Timeout(timeout_s, too_late), self._lock:
            try:
                self._write(exchange, routing_key, mandatory, message)
            except BROKEN:
                try:
                    self._write(exchange, routing_key, mandatory, message)
                except BROKEN as exc:
                    raise Unavailable("broker", f"no connection: {type(exc).__name__}") from exc
        faults.after(faults.PUBLISH)

    def _write(self, exchange: str, routing_key: str, mandatory: bool, message: Message) -> None:
        try:
            if self._channel is None:
                self._open()
            # basic_publish would read from the socket, which belongs to the reading thread
            self._channel.send_method(
                spec.Basic.Publish, "Bssbb", (0, exchange, routing_key, mandatory, False), message
            )
        except BaseException:  # also a time-out: half a frame may be out, and nothing may follow it
            self._close()
            raise

    def _open(self) -> None:
        self._connection = connect(
            self.uri,
            HEARTBEAT_S,
            on_blocked=lambda reason: self._set_blocked(True),
            on_unblocked=lambda: self._set_blocked(False),
        )
        channel = self._connection.channel()
        channel.events["basic_return"].add(self._on_basic_return)
        self._threads = [eventlet.spawn(self._read, self._connection), eventlet.spawn(self._beat, self._connection)]
        self._channel = channel

    def _close(self) -> None:
        connection, self._connection, self._channel, self._blocked = self._connection, None, None, False
        threads, self._threads = self._threads, []
        for thread in threads:
            if thread is not eventlet.getcurrent():
                thread.kill()
        drop(connection)

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
        self._asking: dict[str, Any] = {}

    def require(self, service: str, timeout_s: float) -> None:
        """Raise Unavailable unless the service has an instance, or if the broker does not say so in time."""
        asked_at, consumers = self._known.get(service, (0.0, 0))
        if time.monotonic() - asked_at > PRESENCE_TTL_S:
            asking = self._asking.get(service)
            if asking is None:  # a green thread of its own: who has little time does not spoil it for the others
                asking = self._asking[service] = eventlet.spawn(self._ask, service)
            with eventlet.Timeout(timeout_s, Unavailable("broker", "it does not answer")):
                consumers = asking.wait()
        if isinstance(consumers, Unavailable):
            raise consumers
        if not consumers:
            raise Unavailable(service, "no instance of it is running")

    def _ask(self, service: str) -> int | Unavailable:
        try:
            with self._lock:
                consumers = self._count(service)
            self._known[service] = (time.monotonic(), consumers)
            return consumers
        except BROKEN as exc:
            return Unavailable("broker", f"no connection: {type(exc).__name__}")
        finally:
            self._asking.pop(service, None)

    def _count(self, service: str) -> int:
        if self._connection is not None:
            try:
                return self._count_on(self._connection, service)
            except BROKEN:  # it had gone stale
                self._close()
        self._connection = connect(self.container.config[AMQP_URI_CONFIG_KEY])
        self._connection.connection.sock.settimeout(CONNECT_TIMEOUT_S)
        return self._count_on(self._connection, service)

    def _count_on(self, connection: kombu.Connection, service: str) -> int:
        try:
            with connection.channel() as channel:
                consumers: int = channel.queue_declare(f"rpc-{service}", passive=True).consumer_count
                return consumers
        except NotFound:  # which closes the channel, and it alone
            return 0

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        drop(connection)

    def stop(self) -> None:
        for asking in list(self._asking.values()):
            asking.kill()
        self._close()

    kill = stop


def queue_counts(uri: str, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Messages that are ready, and consumers, of each of these queues that there is; over a connection of its own.

    Raises one of BROKEN while the broker is away.
    """
    found = {}
    connection = connect(uri)
    try:
        connection.connection.sock.settimeout(CONNECT_TIMEOUT_S)
        for name in names:
            try:
                with connection.channel() as channel:
                    declared = channel.queue_declare(name, passive=True)
                    found[name] = (int(declared.message_count), int(declared.consumer_count))
            except ChannelError:  # there is none, or it is another one's alone: which closes the channel, and only that
                pass
    finally:
        drop(connection)
    return found
