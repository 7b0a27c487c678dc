"""Events from the commit to their effect, over a real broker: none lost, each once, whatever dies in between."""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta

import eventlet
import kombu
import pytest
from kombu.exceptions import OperationalError
from nameko.standalone.events import event_dispatcher
from nameko.testing.services import entrypoint_hook
from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.orm import DeclarativeBase

from chassis import events, outbox
from chassis.commands import command
from chassis.context import Call
from chassis.db import Database, Sessions, WorkerDatabase, new_engine, now, shift_clock
from chassis.events import Handler, handles
from chassis.migrate import migrate
from chassis.outbox import Relay, publish
from chassis.provide import provided
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.tables import dead_letter, handled, lease
from chassis.tables import outbox as outbox_table
from chassis.types import Event, event
from tests.sandboxes import wait_until

LAMP_QUEUE = "evt-source-lamp_lit--sink.on_lamp"
BELL_QUEUE = "evt-source-bell_rung--sink.on_bell"
effect = Table(
    "effect",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("handler", String),
    Column("aggregate", String),
    Column("sequence", Integer),
    Column("trace", String),
)


class Base(DeclarativeBase):
    pass


@event("source", "lamp_lit", subscribers=("sink.on_lamp", "sink.on_lamp_too"))
class LampLit(Event):
    pass


@event("source", "bell_rung", subscribers=("sink.on_bell",))
class BellRung(Event):
    pass


KINDS = {"lamp": LampLit, "bell": BellRung}


class SourceService:
    name = "source"
    call = provided(Call, CallContext())
    db = provided(WorkerDatabase, Database(Base))
    relay = Relay()

    @command
    def tell(self, facts: list[tuple[str, str, int]], fail: bool = False, *, key: str) -> None:
        """facts: (kind, aggregate, sequence)"""
        for kind, aggregate, sequence in facts:
            fact = KINDS[kind](
                event_id=f"{kind}-{aggregate}-{sequence}",
                occurred_at=now(self.db.session),
                aggregate_id=aggregate,
                sequence=sequence,
            )
            publish(self.db.session, fact)
        if fail:
            raise ZeroDivisionError


class Failures:
    """How often each (handler, event) fails before it succeeds."""

    def __init__(self) -> None:
        self.left: dict[tuple[str, str], int] = {}
        self.tried: list[tuple[str, str]] = []

    def check(self, handler: str, event_id: str) -> None:
        self.tried.append((handler, event_id))
        if self.left.get((handler, event_id), 0) > 0:
            self.left[handler, event_id] -= 1
            raise ZeroDivisionError(f"{handler} failed")


failures = Failures()


class SinkService:
    name = "sink"
    call = provided(Call, CallContext())
    db = provided(WorkerDatabase, Database(Base))

    @handles(LampLit)
    def on_lamp(self, fact: LampLit) -> None:
        self.take("on_lamp", fact)

    @handles(LampLit)
    def on_lamp_too(self, fact: LampLit) -> None:
        self.take("on_lamp_too", fact)

    @handles(BellRung)
    def on_bell(self, fact: BellRung) -> None:
        self.take("on_bell", fact)

    @rpc
    def ping(self) -> int:
        return 1

    def take(self, handler: str, fact: Event) -> None:
        row = dict(handler=handler, aggregate=fact.aggregate_id, sequence=fact.sequence, trace=self.call.trace_id)
        self.db.session.execute(effect.insert().values(row))
        failures.check(handler, fact.event_id)


class Stage:
    """A source and a sink, each with a database of its own; any number of instances of each."""

    def __init__(self, settings, container_factory, databases):
        self.settings, self.container_factory = settings, container_factory
        self.source_db, self.sink_db = databases

    def run(self, service, **more):
        container = self.container_factory(service, {**self.settings, **more})
        container.start()
        return container

    def tell(self, source, *facts, context=None, **more):
        with entrypoint_hook(source, "tell", context_data=context, timeout=20) as hook:
            hook([list(fact) for fact in facts], key=uuid.uuid4().hex, **more)

    def effects(self, handler="on_lamp"):
        """(aggregate, sequence) in the order in which they had their effect."""
        with self.sink_db.read() as session:
            rows = session.execute(select(effect).where(effect.c.handler == handler).order_by(effect.c.id))
            return [(row.aggregate, row.sequence) for row in rows]

    def waiting(self):
        """Rows of the outbox: event id -> attention."""
        with self.source_db.read() as session:
            rows = session.execute(select(outbox_table).order_by(outbox_table.c.id))
            return {row.event_id: row.attention for row in rows}

    def dead(self):
        with self.sink_db.read() as session:
            return session.execute(select(dead_letter).order_by(dead_letter.c.id)).all()


@pytest.fixture
def stage(rabbit_config, container_factory, tmp_path):
    global failures
    failures = Failures()
    uris = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("source", "sink")}
    for uri in uris.values():
        migrate("inventory", uri)
    databases = [Sessions(new_engine(uri, 2)) for uri in uris.values()]
    with databases[1].write() as session:
        effect.metadata.create_all(session.connection())
    settings = {**rabbit_config, "DB_URIS": {f"{name}:Base": uri for name, uri in uris.items()}, "max_workers": 5}
    yield Stage(settings, container_factory, databases)
    for database in databases:
        database.engine.dispose()


@pytest.fixture
def deliveries(monkeypatch):
    """Every delivery of an event to a handler: its message id."""
    seen = []
    handle = Handler.handle_message

    def noting(self, body, message):
        seen.append((self.method_name, message.properties.get("message_id")))
        handle(self, body, message)

    monkeypatch.setattr(Handler, "handle_message", noting)
    return seen


def queue_call(stage, method, *args, **kwargs):
    with kombu.Connection(stage.settings["AMQP_URI"]) as connection, connection.channel() as channel:
        return getattr(channel, method)(*args, **kwargs)


def messages_in(stage, queue):
    return queue_call(stage, "queue_declare", queue, passive=True).message_count


# --- once


def test_a_committed_event_has_its_effect_once_in_each_handler(stage, deliveries):
    stage.run(SinkService)
    source = stage.run(SourceService)
    stage.tell(source, ("lamp", "a", 1), ("bell", "a", 1))
    wait_until(lambda: stage.effects("on_bell") and stage.effects("on_lamp_too") and stage.effects())
    assert [stage.effects(each) for each in ("on_lamp", "on_lamp_too", "on_bell")] == [[("a", 1)]] * 3
    wait_until(lambda: stage.waiting() == {})
    assert sorted(deliveries) == [("on_bell", "bell-a-1"), ("on_lamp", "lamp-a-1"), ("on_lamp_too", "lamp-a-1")]


def test_an_event_is_sent_at_once_not_at_the_next_poll(stage, monkeypatch):
    monkeypatch.setattr(outbox, "POLL_S", 60.0)
    stage.run(SinkService)
    source = stage.run(SourceService)
    for number in range(1, 4):
        stage.tell(source, ("lamp", "a", number))
        wait_until(lambda count=number: len(stage.effects()) == count, 20)


def test_an_event_of_what_was_undone_is_never_sent(stage, deliveries):
    stage.run(SinkService)
    source = stage.run(SourceService)
    with pytest.raises(ZeroDivisionError):
        stage.tell(source, ("lamp", "undone", 1), fail=True)
    stage.tell(source, ("lamp", "a", 1))
    wait_until(stage.effects)
    assert stage.effects() == [("a", 1)]
    assert "lamp-undone-1" not in [message_id for _, message_id in deliveries]


def test_an_event_that_comes_twice_has_its_effect_once(stage, deliveries):
    stage.run(SinkService)
    fact = {"event_id": "e1", "occurred_at": "2024-02-29T12:00:00Z", "aggregate_id": "a", "sequence": 1}
    dispatch = event_dispatcher(stage.settings)
    for _ in range(3):
        dispatch("source", "lamp_lit", fact)
    wait_until(lambda: len(deliveries) == 6)
    wait_until(lambda: messages_in(stage, LAMP_QUEUE) == 0 and stage.effects() and stage.effects("on_lamp_too"))
    assert (stage.effects(), stage.effects("on_lamp_too")) == ([("a", 1)], [("a", 1)])


def test_the_trace_goes_on_from_the_call_to_the_effect(stage):
    stage.run(SinkService)
    stage.tell(stage.run(SourceService), ("lamp", "a", 1), context={"trace_id": "trace-7"})
    wait_until(stage.effects)
    with stage.sink_db.read() as session:
        assert session.scalars(select(effect.c.trace).where(effect.c.handler == "on_lamp")).all() == ["trace-7"]


def test_a_relay_that_dies_after_sending_is_followed_by_one_that_sends_again_and_nothing_is_doubled(
    stage, deliveries, monkeypatch
):
    stage.run(SinkService)
    send, sent = Relay._send, []

    def send_and_die(self, rows):
        send(self, rows)
        sent.append([row.event_id for row in rows])
        eventlet.spawn(self.container.kill)
        eventlet.sleep(60)

    monkeypatch.setattr(Relay, "_send", send_and_die)
    first = stage.run(SourceService)
    stage.tell(first, ("lamp", "a", 1), ("lamp", "a", 2))
    wait_until(first._died.ready)
    assert (sent, list(stage.waiting())) == ([["lamp-a-1", "lamp-a-2"]], ["lamp-a-1", "lamp-a-2"])
    monkeypatch.setattr(Relay, "_send", send)
    shift_clock(timedelta(seconds=outbox.LEASE_S + 1))  # the dead one's lease is over
    stage.run(SourceService)
    wait_until(lambda: stage.waiting() == {} and len(deliveries) == 8)
    wait_until(lambda: messages_in(stage, LAMP_QUEUE) == 0 and len(stage.effects("on_lamp_too")) == 2)
    assert sorted(stage.effects()) == [("a", 1), ("a", 2)]


# --- nobody there, broker away


def test_an_event_waits_in_the_queue_of_a_subscriber_that_never_ran_yet(stage):
    source = stage.run(SourceService)
    stage.tell(source, ("lamp", "a", 1))
    wait_until(lambda: stage.waiting() == {})
    assert messages_in(stage, LAMP_QUEUE) == 1
    stage.run(SinkService)
    wait_until(stage.effects)
    assert stage.effects() == [("a", 1)]


def test_events_written_while_no_relay_ran_are_sent_by_the_next_one(stage):
    with stage.source_db.write() as session:
        fact = LampLit(event_id="e1", occurred_at=datetime.now(UTC), aggregate_id="a", sequence=1)
        publish(session, fact)
    stage.run(SinkService)
    stage.run(SourceService)
    wait_until(stage.effects)
    assert stage.effects() == [("a", 1)]


def test_an_event_that_no_queue_takes_stays_with_attention_and_goes_when_one_does(stage, monkeypatch):
    source = stage.run(SourceService)
    with monkeypatch.context() as nobody:
        nobody.setattr(Relay, "_declare", lambda self, row: None)
        stage.tell(source, ("lamp", "a", 1))
        wait_until(lambda: stage.waiting() == {"lamp-a-1": "no queue of a subscriber took it"})
    wait_until(lambda: stage.waiting() == {})
    assert messages_in(stage, LAMP_QUEUE) == 1


def test_a_queue_that_somebody_took_away_is_made_again(stage):
    source = stage.run(SourceService)
    stage.tell(source, ("bell", "a", 1))
    wait_until(lambda: stage.waiting() == {})
    queue_call(stage, "queue_delete", BELL_QUEUE)
    stage.tell(source, ("bell", "a", 2))
    wait_until(lambda: stage.waiting() == {})
    stage.run(SinkService)
    wait_until(lambda: stage.effects("on_bell"))
    assert stage.effects("on_bell") == [("a", 2)]


def test_an_event_that_is_held_up_holds_up_its_aggregate_and_no_other(stage, monkeypatch):
    source = stage.run(SourceService)
    declare = Relay._declare
    with monkeypatch.context() as no_lamps:
        no_lamps.setattr(Relay, "_declare", lambda self, row: row.event == "bell_rung" and declare(self, row))
        stage.tell(source, ("lamp", "a", 1))
        wait_until(lambda: stage.waiting().get("lamp-a-1"))
        stage.tell(source, ("bell", "a", 2), ("bell", "b", 1))
        wait_until(lambda: list(stage.waiting()) == ["lamp-a-1", "bell-a-2"])
        assert messages_in(stage, BELL_QUEUE) == 1
    wait_until(lambda: stage.waiting() == {})
    assert (messages_in(stage, LAMP_QUEUE), messages_in(stage, BELL_QUEUE)) == (1, 2)


def test_many_events_that_are_held_up_hold_up_no_others(stage, monkeypatch):
    monkeypatch.setattr(outbox, "BATCH", 5)
    source = stage.run(SourceService)
    declare = Relay._declare
    with monkeypatch.context() as no_lamps:
        no_lamps.setattr(Relay, "_declare", lambda self, row: row.event == "bell_rung" and declare(self, row))
        stage.tell(source, *[("lamp", f"a{number}", 1) for number in range(20)])
        wait_until(lambda: all(stage.waiting().values()) and len(stage.waiting()) == 20)
        stage.tell(source, ("bell", "b", 1))
        wait_until(lambda: "bell-b-1" not in stage.waiting())
    wait_until(lambda: stage.waiting() == {})
    assert messages_in(stage, LAMP_QUEUE) == 20


def test_events_wait_while_the_broker_cannot_be_reached(stage, monkeypatch):
    stage.run(SinkService)
    source = stage.run(SourceService)
    tries = []

    def refuse(*args, **_options):
        tries.append(args)
        raise OperationalError("away")

    with monkeypatch.context() as away:
        away.setattr(outbox, "connect", refuse)
        stage.tell(source, ("lamp", "a", 1))
        wait_until(lambda: len(tries) >= 2)
        assert list(stage.waiting()) == ["lamp-a-1"]
    wait_until(stage.effects)
    assert stage.effects() == [("a", 1)]


def test_a_relay_whose_connection_was_cut_goes_on(stage, rabbit_manager):
    stage.run(SinkService)
    source = stage.run(SourceService)
    stage.tell(source, ("lamp", "a", 1))
    wait_until(stage.effects)
    relay = next(each for each in source.extensions if isinstance(each, Relay))
    relay._connection.connection.sock.shutdown(2)
    stage.tell(source, ("lamp", "a", 2))
    wait_until(lambda: len(stage.effects()) == 2)
    assert stage.effects() == [("a", 1), ("a", 2)]


# --- order, and one relay at a time


def test_events_of_an_aggregate_keep_their_order(stage):
    source = stage.run(SourceService)
    facts = [("lamp", aggregate, number) for number in range(1, 31) for aggregate in ("a", "b", "c")]
    for start in range(0, len(facts), 10):
        stage.tell(source, *facts[start : start + 10])
    stage.run(SinkService, max_workers=1)
    wait_until(lambda: len(stage.effects()) == 90, 30)
    for aggregate in ("a", "b", "c"):
        assert [number for name, number in stage.effects() if name == aggregate] == list(range(1, 31))


def test_more_events_than_a_batch_are_all_sent(stage, monkeypatch):
    monkeypatch.setattr(outbox, "BATCH", 7)
    source = stage.run(SourceService)
    stage.tell(source, *[("bell", "a", number) for number in range(1, 51)])
    wait_until(lambda: stage.waiting() == {}, 20)
    assert messages_in(stage, BELL_QUEUE) == 50


def test_of_two_relays_one_works_and_the_other_takes_over_when_it_stops(stage, deliveries):
    stage.run(SinkService)
    sources = [stage.run(SourceService) for _ in range(2)]
    for number in range(1, 11):
        stage.tell(sources[number % 2], ("bell", "a", number))
    wait_until(lambda: stage.waiting() == {} and len(stage.effects("on_bell")) == 10)
    assert len(deliveries) == 10  # nothing was sent twice
    with stage.source_db.read() as session:
        owner = session.scalars(select(lease.c.owner).where(lease.c.name == "outbox")).one()
    leaders = [each for each in sources if relay_of(each)._owner == owner]
    assert len(leaders) == 1
    leaders[0].stop()
    (other,) = [each for each in sources if each is not leaders[0]]
    begun = time.monotonic()
    stage.tell(other, ("bell", "a", 11))
    wait_until(lambda: len(stage.effects("on_bell")) == 11)
    assert time.monotonic() - begun < outbox.LEASE_S - 2  # without waiting for the lease to run out


def relay_of(container):
    return next(each for each in container.dependencies if isinstance(each, Relay))


# --- handlers that fail


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(events, "RETRY_AFTER_MS", 100)
    monkeypatch.setattr(events, "ATTEMPTS", 4)


def test_a_handler_that_fails_twice_is_asked_again_and_has_one_effect(stage, impatient):
    failures.left["on_lamp", "lamp-a-1"] = 2
    stage.run(SinkService)
    stage.tell(stage.run(SourceService), ("lamp", "a", 1))
    wait_until(stage.effects)
    assert failures.tried.count(("on_lamp", "lamp-a-1")) == 3
    assert (stage.effects(), stage.effects("on_lamp_too")) == ([("a", 1)], [("a", 1)])  # the other was not asked again
    assert failures.tried.count(("on_lamp_too", "lamp-a-1")) == 1
    assert stage.dead() == []


def test_a_handler_that_never_succeeds_leaves_a_dead_letter_and_no_effect(stage, impatient):
    failures.left["on_lamp", "lamp-a-1"] = 99
    stage.run(SinkService)
    stage.tell(stage.run(SourceService), ("lamp", "a", 1), ("lamp", "a", 2))
    wait_until(stage.dead)
    (dead,) = stage.dead()
    assert (dead.handler, dead.event_id, dead.attempts) == ("on_lamp", "lamp-a-1", 4)
    assert dead.error == "ZeroDivisionError: on_lamp failed"
    assert json.loads(dead.payload)["aggregate_id"] == "a"
    assert failures.tried.count(("on_lamp", "lamp-a-1")) == 4
    assert stage.effects() == [("a", 2)]
    with stage.sink_db.read() as session:  # so it can be replayed
        noted = session.scalars(select(handled.c.event_id).where(handled.c.handler == "on_lamp")).all()
    assert noted == ["lamp-a-2"]
    wait_until(lambda: messages_in(stage, LAMP_QUEUE) == 0)


def test_a_failing_event_is_not_lost_while_it_can_neither_be_delayed_nor_kept(stage, impatient, monkeypatch):
    failures.left["on_lamp", "lamp-a-1"] = 1
    tried = []

    def broken(self, message, attempt):
        tried.append(attempt)
        raise OperationalError("away")

    with monkeypatch.context() as away:
        away.setattr(Handler, "_delay", broken)
        stage.run(SinkService)
        stage.tell(stage.run(SourceService), ("lamp", "a", 1))
        wait_until(lambda: tried)
        wait_until(stage.effects)  # the broker kept it
    assert stage.effects() == [("a", 1)]


@pytest.mark.parametrize(
    "body", ['"text"', "[1]", "null", "{}", '{"event_id": 5}', '{"event_id": "%s"}' % ("x" * 65), '{"event_id": ""}']
)
def test_what_is_no_event_of_ours_becomes_a_dead_letter_of_its_own_and_ends_nothing(stage, impatient, body):
    container = stage.run(SinkService)
    other = '{"other": 1}'
    for each in (body, other):
        queue_call_publish(stage, each)
    wait_until(lambda: len(stage.dead()) == 2, 20)
    assert {dead.payload for dead in stage.dead()} == {body, other}
    assert all(0 < len(dead.event_id) <= 64 for dead in stage.dead())
    assert not container._died.ready()
    stage.tell(stage.run(SourceService), ("lamp", "a", 1))
    wait_until(stage.effects)


@pytest.mark.parametrize("headers", [{"x-rialto-attempt": "many"}, {"nameko.call_id_stack": 5}, {"nameko.caller": 7}])
def test_malformed_headers_of_an_event_end_no_container(stage, impatient, headers):
    failures.left["on_lamp", "e1"] = 1
    stage.run(SinkService)
    fact = {"event_id": "e1", "occurred_at": "2024-02-29T12:00:00Z", "aggregate_id": "a", "sequence": 1}
    queue_call_publish(stage, json.dumps(fact), headers)
    wait_until(stage.effects)
    assert stage.effects() == [("a", 1)]


def queue_call_publish(stage, body, headers=None):
    with kombu.Connection(stage.settings["AMQP_URI"]) as connection, connection.channel() as channel:
        message = channel.prepare_message(
            body, content_type="application/json", content_encoding="utf-8", headers=headers or {}
        )
        channel.basic_publish(message, exchange="", routing_key=LAMP_QUEUE)
