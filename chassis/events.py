"""Handlers of events: each event has its effect once, and a failing one is tried again, then kept for an operator.

nameko would drop an event whose handler failed, or spin with it. Here it waits in a delay queue and comes back, at
most ATTEMPTS times; then it is a row in `dead_letter`.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from typing import Annotated, Any, Protocol, TypeVar, cast

import eventlet
import kombu
import msgspec
from kombu.pools import producers
from nameko.constants import AMQP_URI_CONFIG_KEY
from nameko.events import EventHandler
from sqlalchemy.orm import Session

from chassis.amqp import QueueConsumer, SafeHeaders
from chassis.db import Database, WorkerDatabase, insert_new, now
from chassis.tables import dead_letter, handled
from chassis.types import Event

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound="HasDatabase")

ATTEMPTS = 8
RETRY_AFTER_MS = 2000
CONFIRM_TIMEOUT_S = 5
ATTEMPT_HEADER = "x-rialto-attempt"

log = getLogger("rialto.events")


class HasDatabase(Protocol):
    db: WorkerDatabase


@dataclass(frozen=True)
class Handles:
    """Of a handler: the event's type, and `once(service, session, fact)`, which has the effect inside a transaction
    that is open already, unless this event had it before: then it answers False."""

    kind: type[Event]
    once: Callable[[Any, Session, Any], bool]


class Handler(SafeHeaders, EventHandler):
    """nameko's event handler on the same queues, with retries that end."""

    queue_consumer = QueueConsumer()

    def handle_result(self, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> Any:
        if exc_info is not None and not self._put_off(message, exc_info[1]):
            eventlet.sleep(RETRY_AFTER_MS / 1000)
            self.queue_consumer.requeue_message(message)
        else:
            self.queue_consumer.ack_message(message)
        return result, exc_info

    def _put_off(self, message: Any, exc: BaseException) -> bool:
        """Have the event come back later, or keep it as a dead letter. False if neither could be done now."""
        try:
            attempt = int(message.headers.get(ATTEMPT_HEADER, 1))
            if attempt >= ATTEMPTS:
                self._keep_dead(message, exc, attempt)
            else:
                self._delay(message, attempt + 1)
        except Exception as again:  # whatever it was, the message must not be lost: the broker keeps it
            log.warning("an event could not be put off", extra={"queue": self.queue.name, "reason": str(again)})
            return False
        return True

    def _delay(self, message: Any, attempt: int) -> None:
        waiting = kombu.Queue(
            f"delay-{self.queue.name}",
            durable=True,
            queue_arguments={
                "x-message-ttl": RETRY_AFTER_MS,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.queue.name,
            },
        )
        connection = kombu.Connection(
            self.container.config[AMQP_URI_CONFIG_KEY], transport_options={"confirm_publish": True}
        )
        with producers[connection].acquire(block=True, timeout=5) as producer:
            producer.publish(
                message.body,
                exchange="",
                routing_key=waiting.name,
                declare=[waiting],
                headers={**message.headers, ATTEMPT_HEADER: attempt},
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                delivery_mode=2,
                retry=False,
                confirm_timeout=CONFIRM_TIMEOUT_S,
            )

    def _keep_dead(self, message: Any, exc: BaseException, attempts: int) -> None:
        body = message.body if isinstance(message.body, str) else bytes(message.body).decode()
        with Database.of(self.container).sessions.write() as session:
            row = dict(
                handler=self.method_name,
                event_id=_id_of(body),
                payload=body,
                error=f"{type(exc).__name__}: {exc}",
                attempts=attempts,
                at=now(session),
            )
            insert_new(session, dead_letter, row)
        log.error("an event is dead", extra={"handler": self.method_name, "event_id": row["event_id"]})


def _id_of(body: str) -> str:
    """The event's id; for what is no event of ours, such as a stranger's, one made from its content."""
    try:
        return msgspec.json.decode(body, type=_Identified).event_id
    except msgspec.DecodeError:
        return hashlib.sha256(body.encode()).hexdigest()


class _Identified(msgspec.Struct):
    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


_entrypoint = Handler.decorator


def handles(kind: type[E]) -> Callable[[Callable[[S, E], None]], Callable[[S, E], None]]:
    """Serve a method as a durable handler of an event, in a pool of its service's instances.

    It runs in a write transaction (`self.db.session`) together with the note that this event was handled: a repeat
    changes nothing. It is tried again after an exception.
    """

    def decorate(fn: Callable[[S, E], None]) -> Callable[[S, E], None]:
        def in_transaction(self: S, session: Session, fact: E) -> bool:
            first = insert_new(session, handled, dict(handler=fn.__name__, event_id=fact.event_id, at=now(session)))
            if first:
                fn(self, fact)
            return first

        @functools.wraps(fn)
        def handle_once(self: S, payload: Any) -> None:
            fact = msgspec.convert(payload, kind)
            with self.db.write() as session:
                in_transaction(self, session, fact)

        handle_once.__handles__ = Handles(kind, in_transaction)  # type: ignore[attr-defined]
        source, name = kind.__source__, kind.__event__  # type: ignore[attr-defined]
        return cast(Callable[[S, E], None], _entrypoint(source, name)(handle_once))

    return decorate
