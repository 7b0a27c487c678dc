"""Events that are sent if, and only if, what they tell of was committed.

`publish(session, event)` writes a row in the business transaction; a relay sends the rows in their order with
publisher confirms, and removes what the broker has taken. One relay per database works at a time, by a lease.
"""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from logging import getLogger
from typing import Any

import eventlet
import kombu
import msgspec
from amqp import Message, spec
from eventlet.event import Event as GreenEvent
from nameko.constants import AMQP_URI_CONFIG_KEY, HEADER_PREFIX
from nameko.extensions import DependencyProvider
from nameko.standalone.events import get_event_exchange
from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from chassis import faults
from chassis.amqp import BROKEN, connect, drop
from chassis.context import current_call
from chassis.db import Database, now, run
from chassis.errors import Failure
from chassis.leases import give_back_lease, take_lease
from chassis.tables import outbox
from chassis.types import Event

BATCH = 100
POLL_S = 0.5
GATHER_S = 0.02
"""So long events of other transactions may join those that are about to be sent: a batch costs as much as one."""
CONFIRM_TIMEOUT_S = 5.0
LEASE_S = 10.0

_KEEP = insert(outbox)
_returned = outbox.c.attention.is_not(None)
_NEXT = (
    select(outbox)
    .where(outbox.c.attention.is_(None), outbox.c.aggregate_id.not_in(select(outbox.c.aggregate_id).where(_returned)))
    .order_by(outbox.c.id)
    .limit(BATCH)
)
"""What nothing holds up; an event that was returned holds up the later ones of its aggregate."""
_STUCK = select(outbox).where(_returned).order_by(outbox.c.id).limit(10)
_THESE = outbox.c.id.in_(bindparam("these", expanding=True))
_REMOVE = delete(outbox).where(_THESE)
_MARK = update(outbox).where(_THESE).values(attention="no queue of a subscriber took it")

log = getLogger("rialto.outbox")


def publish(session: Session, fact: Event) -> None:
    """Have an event sent once this transaction commits. It is sent at least once; its event_id tells repeats."""
    kind = type(fact)
    run(
        session,
        _KEEP,
        event_id=fact.event_id,
        event=kind.__event__,  # type: ignore[attr-defined]
        aggregate_id=fact.aggregate_id,
        sequence=fact.sequence,
        subscribers=list(kind.__subscribers__),  # type: ignore[attr-defined]
        payload=msgspec.json.encode(fact).decode(),
        trace_id=getattr(current_call(), "trace_id", None),
        created_at=now(session),
    )
    session.info["outbox"] = True


def queue_of(source: str, event_name: str, subscriber: str) -> str:
    """The durable queue of a subscriber `service.method`, as nameko names it."""
    return f"evt-{source}-{event_name}--{subscriber}"


class Relay(DependencyProvider):
    """Sends what `publish` wrote. A service that publishes events has one: `relay = Relay()`."""

    def __init__(self) -> None:
        super().__init__()
        self._owner = uuid.uuid4().hex
        self._wanted = GreenEvent()
        self._thread: Any = None
        self._connection: kombu.Connection | None = None
        self._channel: Any = None
        self._declared: set[str] = set()
        self._next_tag = 0
        self._lease_is_fresh_until = 0.0

    def get_dependency(self, worker_ctx: Any) -> "Relay":
        return self

    def start(self) -> None:
        self.sessions = Database.of(self.container).sessions
        self.sessions.on_commit("outbox", lambda _: self.wake())
        self._thread = self.container.spawn_managed_thread(self._run, identifier="outbox relay")

    def stop(self) -> None:
        """Send what is there, for a moment, and leave: another relay may go on from the rows at once."""
        if self._thread is None:
            return
        self._thread.kill()
        self._thread = None
        self._close()  # it may have been killed in the middle of a batch
        try:
            self._send_batch()
            with self.sessions.write() as session:
                give_back_lease(session, "outbox", self._owner)
        except (Failure, SQLAlchemyError, *BROKEN) as exc:
            log.info("left events to the next relay", extra={"reason": str(exc)})
        self._close()

    def kill(self) -> None:
        self._close()

    def wake(self) -> None:
        if not self._wanted.ready():
            self._wanted.send()

    def _run(self) -> None:
        while True:
            try:
                while self._send_batch():
                    pass
            except (Failure, SQLAlchemyError, *BROKEN) as exc:
                log.warning("events wait", extra={"reason": f"{type(exc).__name__}: {exc}"})
                self._close()
            with eventlet.Timeout(POLL_S, False):
                self._wanted.wait()
            eventlet.sleep(GATHER_S)
            self._wanted = GreenEvent()

    def _send_batch(self) -> bool:
        """Send up to BATCH events, and a few that were returned before; True if there may be more."""
        with self.sessions.read() as session:
            rows, stuck = run(session, _NEXT).all(), run(session, _STUCK).all()
        if not (rows or stuck) or not self._has_lease():
            return False
        faults.before(faults.PUBLISH)
        sent, unroutable = self._send([*stuck, *rows])
        faults.after(faults.PUBLISH)
        with self.sessions.write() as session:
            run(session, _REMOVE, these=sent)
            if unroutable:
                run(session, _MARK, these=unroutable)
        return len(rows) == BATCH and bool(sent)

    def _has_lease(self) -> bool:
        """Two relays at once would only send twice and out of order; so half of a lease's time it is not asked for."""
        if time.monotonic() > self._lease_is_fresh_until:
            with self.sessions.write() as session:
                if not take_lease(session, "outbox", self._owner, timedelta(seconds=LEASE_S)):
                    return False
            self._lease_is_fresh_until = time.monotonic() + LEASE_S / 2
        return True

    def _send(self, rows: Sequence[Row[Any]]) -> tuple[list[int], list[int]]:
        """Publish rows; answers the ids that the broker has, and those that it could not route to a subscriber."""
        channel = self._open()
        confirmed: set[int] = set()
        returned: set[str] = set()
        tags: dict[int, Row[Any]] = {}

        def on_ack(tag: int, multiple: bool) -> None:
            confirmed.update([t for t in tags if t <= tag] if multiple else [tag])

        channel.events["basic_ack"] = {on_ack}
        channel.events["basic_return"] = {lambda exc, exchange, key, message: returned.add(message.message_id)}
        exchange = f"{self.container.service_name}.events"
        for row in rows:
            self._declare(row)
            self._next_tag += 1
            tags[self._next_tag] = row
            message = Message(
                row.payload.encode(),
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=2,
                message_id=row.event_id,
                application_headers={f"{HEADER_PREFIX}.trace_id": row.trace_id} if row.trace_id else {},
            )
            arguments = (0, exchange, row.event, bool(row.subscribers), False)
            channel.send_method(spec.Basic.Publish, "Bssbb", arguments, message)
        give_up = time.monotonic() + CONFIRM_TIMEOUT_S
        while len(confirmed) < len(tags) and time.monotonic() < give_up:
            try:
                channel.connection.drain_events(timeout=max(0.05, give_up - time.monotonic()))
            except TimeoutError:
                break
        if len(confirmed) < len(tags):
            self._close()  # late confirms would be taken for those of other rows
        sent, unroutable, held = [], [], set()
        for tag, row in tags.items():
            if row.aggregate_id in held:
                continue  # sent perhaps, but sent again after the one before it: subscribers know repeats
            if tag in confirmed and row.event_id not in returned:
                sent.append(row.id)
            else:
                held.add(row.aggregate_id)
            if row.event_id in returned:
                unroutable.append(row.id)
                self._declared.discard(row.event)  # somebody took the queues away
        return sent, unroutable

    def _open(self) -> Any:
        if self._channel is None:
            self._connection = connect(self.container.config[AMQP_URI_CONFIG_KEY])
            self._connection.connection.sock.settimeout(CONFIRM_TIMEOUT_S)
            channel = self._connection.channel()
            channel.confirm_select()
            get_event_exchange(self.container.service_name, self.container.config)(channel).declare()
            self._next_tag, self._declared, self._channel = 0, set(), channel
        return self._channel

    def _declare(self, row: Row[Any]) -> None:
        """Make the subscribers' queues before the first event of a kind, so that none is lost before they start."""
        if row.event in self._declared:
            return
        service = self.container.service_name
        exchange = get_event_exchange(service, self.container.config)
        for subscriber in row.subscribers:
            name = queue_of(service, row.event, subscriber)
            kombu.Queue(name, exchange=exchange, routing_key=row.event, durable=True)(self._channel).declare()
        self._declared.add(row.event)

    def _close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        drop(connection)
