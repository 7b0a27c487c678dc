"""Calls between services over a real broker: three outcomes and no fourth, whatever is slow, broken or malformed."""

import gc
import json
import logging
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import eventlet
import kombu
import pytest
import yaml
from eventlet.event import Event
from nameko.cli.main import setup_yaml_parser
from nameko.exceptions import MethodNotFound, RemoteError, registry
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.rabbit import HTTPError
from nameko.testing.services import entrypoint_hook
from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.orm import DeclarativeBase

from chassis import rpc as rpc_module
from chassis.amqp import Presence, Publisher
from chassis.commands import command
from chassis.context import Call
from chassis.db import Database, Sessions, WorkerDatabase, new_engine
from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.migrate import migrate
from chassis.provide import provided
from chassis.rpc import RpcClient, call_async, remote, rpc
from chassis.service import CallContext
from chassis.types import Caller, Message, Money, api, refuses
from tests.conftest import ROOT
from tests.sandboxes import wait_until

NOBODY = {"customer_id": None, "roles": [], "service": None, "saga_id": None, "session_id": None}


class Parcel(Message):
    price: Money
    at: datetime


PARCEL = Parcel(price=Money(amount=1999, currency="EUR"), at=datetime(2024, 2, 29, 12, 0, 0, 123456, UTC))


@api("echo")
class EchoApi(Protocol):
    def echo(self, parcel: Parcel) -> Parcel: ...
    @refuses("echo.listed")
    def refuse(self, code: str) -> None: ...
    def fail(self, times: int, *, key: str) -> int: ...
    def wait(self) -> str: ...
    def meet(self) -> int: ...
    def deadline(self) -> float | None: ...
    def who(self) -> Caller | None: ...
    def odd(self, what: str) -> int: ...


class World:
    """What the services of a test share with it."""

    def __init__(self) -> None:
        self.gate = Event()
        self.asked: list[str] = []

    def count(self, what: str) -> int:
        return self.asked.count(what)


world = World()


class EchoService:
    name = "echo"
    call = provided(Call, CallContext())

    @rpc
    def echo(self, parcel: Parcel) -> Parcel:
        return parcel

    @rpc
    def refuse(self, code: str) -> None:
        world.asked.append("refuse")
        raise ServiceError(code, "Not so.", {"limits": [1, {"of": "two"}], "none": None})

    @rpc
    def fail(self, times: int, *, key: str) -> int:
        world.asked.append(key)
        if world.count(key) <= times:
            raise ZeroDivisionError
        return world.count(key)

    @rpc
    def wait(self) -> str:
        world.asked.append("wait")
        world.gate.wait()
        return "done"

    @rpc
    def meet(self) -> int:
        world.asked.append("meet")
        with eventlet.Timeout(5):
            while world.count("meet") < 2:
                eventlet.sleep(0.005)
        return world.count("meet")

    @rpc
    def deadline(self) -> float | None:
        return self.call.deadline

    @rpc
    def who(self) -> Caller | None:
        return self.call.caller

    @rpc
    def odd(self, what: str) -> Any:
        endless: list[Any] = []
        endless.append(endless)
        results = {"object": object(), "endless": endless, "text": "no integer", "half": "\ud800"}
        if what == "error":
            raise ValueError("half of a pair: \ud800", object())
        return results[what]


class AskerService:
    """Calls echo on behalf of the test."""

    name = "asker"
    call = provided(Call, CallContext())
    other: EchoApi = remote(EchoApi)

    @rpc
    def ask(self, method: str, kwargs: dict[str, Any]) -> Any:
        return getattr(self.other, method)(**kwargs)

    @rpc
    def ask_two(self) -> list[int]:
        both = [call_async(self.other.meet), call_async(self.other.meet)]
        return [each.result() for each in both]


@pytest.fixture(autouse=True)
def _world():
    global world
    world = World()
    yield
    if not world.gate.ready():
        world.gate.send()


@pytest.fixture
def settings(rabbit_config):
    return {**rabbit_config, "rpc_timeout_ms": 5000, "max_workers": 5}


@pytest.fixture
def start(container_factory, settings):
    def run(service, **more):
        container = container_factory(service, {**settings, **more})
        container.start()
        return container

    return run


@pytest.fixture
def echo(start):
    return start(EchoService)


@pytest.fixture
def asker(start):
    return start(AskerService)


@pytest.fixture
def ask(echo, asker):
    return partial(asked_by, asker)


def asked_by(asker, method, context=None, **kwargs):
    with entrypoint_hook(asker, "ask", context_data=context, timeout=30) as hook:
        return hook(method, kwargs)


def client_of(container):
    return next(each for each in container.extensions if isinstance(each, RpcClient))


def send_raw(settings, body, headers=None, routing_key="echo.who", content_type="application/json", **more):
    """A request as any stranger could write it."""
    with kombu.Connection(settings["AMQP_URI"]) as connection, connection.channel() as channel:
        message = channel.prepare_message(body, content_type=content_type, content_encoding="utf-8", headers=headers)
        channel.basic_publish(message, exchange="nameko-rpc", routing_key=routing_key, **more)


def answers(settings):
    """Whether the service echo is alive, asked by stock nameko."""
    with ServiceRpcProxy("echo", settings, timeout=10) as proxy:
        return proxy.fail(0, key="alive") >= 1


# --- three outcomes


def test_a_result_comes_back_in_the_types_of_the_contract(ask):
    assert ask("echo", parcel=PARCEL) == PARCEL


def test_a_refusal_comes_back_whole_and_is_not_asked_again(ask):
    with pytest.raises(ServiceError) as refusal:
        ask("refuse", code="echo.listed")
    assert (refusal.value.code, refusal.value.message) == ("echo.listed", "Not so.")
    assert refusal.value.details == {"limits": [1, {"of": "two"}], "none": None}
    assert world.asked == ["refuse"]


def test_a_code_that_the_contract_does_not_list_is_an_unknown_outcome(ask):
    with pytest.raises(OutcomeUnknown, match=r"does not list: echo\.other"):
        ask("refuse", code="echo.other")


def test_an_argument_that_does_not_fit_is_refused_by_its_name(ask):
    with pytest.raises(ServiceError) as refusal:
        ask("echo", parcel={"price": {"amount": "19.99", "currency": "EUR"}, "at": "2024-02-29T12:00:00Z"})
    assert (refusal.value.code, refusal.value.details) == ("request.invalid", {"field": "parcel.price.amount"})


def test_a_bug_is_an_unknown_outcome_that_names_the_service(ask):
    with pytest.raises(OutcomeUnknown) as lost:
        ask("fail", times=9, key="k")
    assert (type(lost.value), lost.value.target) == (OutcomeUnknown, "echo")
    assert "ZeroDivisionError" in lost.value.reason


@pytest.mark.parametrize("what", ["text", "object", "endless", "half", "error"])
def test_an_answer_that_cannot_be_sent_or_read_is_an_unknown_outcome_and_harms_nobody(ask, settings, what):
    with pytest.raises(OutcomeUnknown):
        ask("odd", what=what)
    assert answers(settings)


# --- unknown outcomes


def test_an_unknown_outcome_that_came_quickly_is_asked_again_with_the_same_key(ask):
    assert ask("fail", times=2, key="k") == 3
    assert world.asked == ["k", "k", "k"]


def test_asking_again_ends(ask):
    with pytest.raises(OutcomeUnknown):
        ask("fail", times=9, key="k")
    assert world.asked == ["k"] * 3


def test_a_time_out_is_not_asked_again_and_takes_as_long_as_it_may(echo, start):
    asker = start(AskerService, rpc_timeout_ms=300)
    begun = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="did not answer in time"):
        asked_by(asker, "wait")
    assert 0.25 < time.monotonic() - begun < 3
    assert world.asked == ["wait"]


def test_a_reply_slot_is_free_after_its_time_out_and_a_late_answer_harms_nobody(echo, asker):
    client = client_of(asker)
    client.send("echo", "who").result()
    with pytest.raises(OutcomeUnknown):
        client.send("echo", "wait", timeout_s=0.1).result()
    assert len(client.replies._reply_events) == 0
    world.gate.send()
    assert asked_by(asker, "fail", times=0, key="k") == 1


def test_a_reply_that_nobody_waits_for_takes_no_slot(echo, asker):
    client = client_of(asker)
    reply = client.send("echo", "wait")
    assert len(client.replies._reply_events) == 1
    del reply
    gc.collect()
    assert len(client.replies._reply_events) == 0


def test_calls_that_do_not_need_one_another_overlap(ask, asker):
    with entrypoint_hook(asker, "ask_two", timeout=30) as hook:
        assert hook() == [2, 2]


# --- deadlines


def test_the_time_out_of_a_call_travels_as_its_deadline(ask):
    before = time.time()
    assert before + 4.9 < ask("deadline") < time.time() + 5


def test_an_earlier_deadline_of_the_caller_goes_on_unchanged(ask):
    soon = int((time.time() + 2.5) * 1000)
    assert ask("deadline", {"deadline": soon}) == soon / 1000


def test_a_later_deadline_of_the_caller_gives_no_more_time_than_the_call_has(ask):
    assert ask("deadline", {"deadline": int((time.time() + 3600) * 1000)}) < time.time() + 5


def test_a_call_with_no_time_left_is_not_sent(ask):
    with pytest.raises(Unavailable, match="no time"):
        ask("fail", {"deadline": int(time.time() * 1000) - 1}, times=0, key="k")
    assert world.asked == []


def test_a_server_drops_a_request_that_is_past_its_deadline(echo, settings):
    late = {"nameko.deadline": int(time.time() * 1000) - 1}
    send_raw(settings, json.dumps({"args": [0], "kwargs": {"key": "late"}}), late, "echo.fail")
    send_raw(settings, json.dumps({"args": [0], "kwargs": {"key": "in time"}}), None, "echo.fail")
    wait_until(lambda: "in time" in world.asked)
    assert world.asked == ["in time"]


def test_a_request_that_was_not_fetched_in_time_never_runs(start):
    start(EchoService, max_workers=1)
    asker = start(AskerService, rpc_timeout_ms=300)
    client = client_of(asker)
    busy = client.send("echo", "wait", timeout_s=20)
    wait_until(lambda: world.count("wait") == 1)
    for number in range(3):
        with pytest.raises(OutcomeUnknown):
            client.send("echo", "fail", (), {"times": 0, "key": f"late {number}"}).result()
    world.gate.send()
    assert busy.result() == "done"
    assert client.send("echo", "fail", (), {"times": 0, "key": "k"}, timeout_s=10).result() == 1
    assert world.asked == ["wait", "k"]


# --- nobody there


def test_a_service_that_never_ran_is_unavailable_at_once(asker):
    begun = time.monotonic()
    with pytest.raises(Unavailable) as nobody:
        asked_by(asker, "who")
    assert (nobody.value.target, time.monotonic() - begun < 3) == ("echo", True)


def test_a_stopped_service_is_unavailable_at_once_and_nothing_is_left_for_its_return(
    echo, asker, rabbit_manager, settings
):
    asked_by(asker, "fail", times=0, key="k")
    echo.stop()
    client_of(asker).presence._known.clear()  # what it knows holds for a second
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        asked_by(asker, "fail", times=0, key="late")
    assert time.monotonic() - begun < 3
    with kombu.Connection(settings["AMQP_URI"]) as connection, connection.channel() as channel:
        assert channel.queue_declare("rpc-echo", passive=True).message_count == 0
    assert world.asked == ["k"]


def test_a_service_is_found_soon_after_it_came(asker, start):
    with pytest.raises(Unavailable):
        asked_by(asker, "who")
    start(EchoService)

    def found():
        try:
            return asked_by(asker, "fail", times=0, key="k")
        except Unavailable:
            return None

    assert wait_until(found) == 1


def test_a_request_that_no_queue_takes_is_unavailable_not_a_time_out(asker):
    client = client_of(asker)
    client.presence._known["ghost"] = (time.monotonic() + 60, 1)  # it was there a moment ago
    with pytest.raises(Unavailable, match="ever run"):
        client.send("ghost", "who", timeout_s=20).result()
    assert len(client.replies._reply_events) == 0


# --- the breaker


def test_the_breaker_opens_after_time_outs_in_a_row_and_closes_with_the_first_answer(echo, asker, monkeypatch):
    monkeypatch.setattr(rpc_module, "BREAKER_FAILURES", 3)
    monkeypatch.setattr(rpc_module, "BREAKER_OPEN_S", 0.5)
    client = client_of(asker)
    client.send("echo", "who").result()
    for _ in range(3):
        with pytest.raises(OutcomeUnknown, match="in time"):
            client.send("echo", "wait", timeout_s=0.05).result()
    with pytest.raises(Unavailable, match="lately"):
        client.send("echo", "wait")
    assert world.count("wait") == 3
    opened = client.breaker("echo").retry_at
    wait_until(lambda: time.monotonic() > opened)
    trying = client.send("echo", "wait", timeout_s=20)
    wait_until(lambda: world.count("wait") == 4)
    for _ in range(3):
        with pytest.raises(Unavailable, match="lately"):  # one tries it, the others wait for what becomes of that
            client.send("echo", "wait")
    world.gate.send()
    assert trying.result() == "done"
    assert [client.send("echo", "wait").result() for _ in range(3)] == ["done"] * 3


def test_the_breaker_opens_again_when_the_try_fails(echo, asker, monkeypatch):
    monkeypatch.setattr(rpc_module, "BREAKER_FAILURES", 1)
    monkeypatch.setattr(rpc_module, "BREAKER_OPEN_S", 0.2)
    client = client_of(asker)
    client.send("echo", "who").result()
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match="in time"):
            client.send("echo", "wait", timeout_s=0.05).result()
        with pytest.raises(Unavailable, match="lately"):
            client.send("echo", "wait")
        opened = client.breaker("echo").retry_at
        wait_until(lambda until=opened: time.monotonic() > until)
    assert world.count("wait") == 2


def test_refusals_and_bugs_are_answers_to_the_breaker(ask, asker, monkeypatch):
    monkeypatch.setattr(rpc_module, "BREAKER_FAILURES", 1)
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            ask("fail", times=99, key="k")
        with pytest.raises(ServiceError):
            ask("refuse", code="echo.listed")
    assert ask("fail", times=0, key="other") == 1


# --- callers, strangers


def test_the_caller_goes_on_with_a_call(ask):
    ann = {"customer_id": "ann", "roles": ["customer"]}
    assert ask("who", {"caller": ann}) == Caller(customer_id="ann", roles=("customer",))
    assert ask("who") is None


@pytest.mark.parametrize("caller", ["operator", 7, [], {}, {"roles": "operator"}, {"service": 1}])
def test_a_malformed_caller_is_nobody(echo, settings, caller):
    with ServiceRpcProxy("echo", settings, context_data={"caller": caller}, timeout=10) as proxy:
        assert proxy.who() == NOBODY


@pytest.mark.parametrize(
    "headers",
    [
        {"nameko.call_id_stack": 5},
        {"nameko.call_id_stack": "abc"},
        {"nameko.call_id_stack": [1, 2]},
        {"nameko.call_id_stack": {"a": 1}},
        {"nameko.deadline": "soon"},
        {"nameko.deadline": datetime(2024, 1, 1, tzinfo=UTC)},
        {"nameko.trace_id": [1]},
        {"nameko.trace_id": "x" * 5000},
        {"nameko.caller": b"\xff\xfe"},
        None,
    ],
)
def test_malformed_headers_end_no_container(echo, settings, headers):
    send_raw(settings, json.dumps({"args": [0], "kwargs": {"key": "odd"}}), headers, "echo.fail")
    wait_until(lambda: "odd" in world.asked)
    assert answers(settings)


@pytest.mark.parametrize(
    "body",
    ["[]", "7", "null", "{}", "not json", '{"args": 5, "kwargs": {}}', '{"args": [], "kwargs": 5}', b"\xff"],
)
def test_malformed_requests_end_no_container(echo, settings, body):
    send_raw(settings, body)
    send_raw(settings, body, content_type="application/x-python-serialize")
    assert answers(settings)


def test_a_stranger_is_told_of_a_method_that_is_not_there_and_of_arguments_that_do_not_fit(echo, settings):
    with ServiceRpcProxy("echo", settings, timeout=10) as proxy:
        with pytest.raises(MethodNotFound, match="nothing"):
            proxy.nothing()
        for call in (proxy.fail, partial(proxy.fail, 0), partial(proxy.fail, 0, key="k", more=1)):
            with pytest.raises(ServiceError, match=r"request\.invalid"):
                call()
        assert proxy.fail(0, key="k") == 1


def test_a_stranger_without_our_classes_reads_code_and_sentence(echo, settings, monkeypatch):
    monkeypatch.delitem(registry, "chassis.errors.ServiceError")
    with ServiceRpcProxy("echo", settings, timeout=10) as proxy, pytest.raises(RemoteError) as told:
        proxy.refuse("echo.listed")
    assert (told.value.exc_type, told.value.value) == ("ServiceError", "echo.listed: Not so.")


# --- what is logged


def test_a_refusal_is_one_quiet_line_and_a_bug_is_an_error(echo, settings, caplog):
    setup_yaml_parser()
    for name, logger in yaml.safe_load((ROOT / "config.yaml").read_text())["LOGGING"]["loggers"].items():
        if name.startswith("nameko"):
            caplog.set_level(logger["level"], name)
    with ServiceRpcProxy("echo", settings, timeout=10) as proxy:
        with caplog.at_level(logging.INFO, "rialto.worker"), pytest.raises(ServiceError):
            proxy.refuse("echo.listed")
        wait_until(lambda: caplog.records)
        assert [(each.name, each.levelname, each.code) for each in caplog.records] == [
            ("rialto.worker", "INFO", "echo.listed")
        ]
        caplog.clear()
        with pytest.raises(RemoteError):
            proxy.fail(9, key="k")
        assert [(each.name, each.levelname) for each in caplog.records] == [("nameko.containers", "ERROR")]


# --- connections that break


class Base(DeclarativeBase):
    pass


done = Table("done", MetaData(), Column("id", Integer, primary_key=True), Column("what", String))


class LedgerService:
    name = "ledger"
    call = provided(Call, CallContext())
    db = provided(WorkerDatabase, Database(Base))

    @rpc
    def ping(self) -> int:
        return 1

    @rpc
    def enter(self, what: str, *, key: str) -> str:
        world.asked.append(key)
        if world.count(key) == 1:
            world.gate.wait()
        return self.write(what, key=key)

    @command
    def write(self, what: str, *, key: str) -> str:
        self.db.session.execute(done.insert().values(what=what))
        return what


@pytest.fixture
def ledger(tmp_path, start):
    uri = f"sqlite:///{tmp_path}/ledger.db"
    migrate("inventory", uri)
    engine = new_engine(uri, 2)
    sessions = Sessions(engine)
    with sessions.write() as session:
        done.metadata.create_all(session.connection())
    yield start(LedgerService, DB_URIS={"ledger:Base": uri}), sessions
    engine.dispose()


@pytest.fixture
def cut(rabbit_manager, settings):
    """Close every connection of this test's vhost, as often as it takes until `condition` holds."""

    def until(condition):
        def close():
            for connection in rabbit_manager.get_connections() or ():
                if connection.get("vhost") == settings["vhost"]:
                    with suppress(HTTPError):  # it is gone already
                        rabbit_manager.delete_connection(connection["name"])
            eventlet.sleep(0.2)
            return condition()

        wait_until(close, 40)

    return until


def test_a_handler_whose_connection_was_cut_runs_again_with_one_effect(ledger, asker, cut):
    container, sessions = ledger
    client = client_of(asker)
    reply = client.send("ledger", "enter", (), {"what": "x", "key": "k"}, timeout_s=60)
    wait_until(lambda: world.count("k") == 1)
    cut(lambda: world.count("k") == 2)
    world.gate.send()
    assert reply.result() == "x"
    with sessions.read() as session:
        wait_until(lambda: session.scalars(select(done.c.what)).all() == ["x"])
    assert not container._died.ready()
    assert wait_until(lambda: pinged(client), 30) == 1
    with sessions.read() as session:
        assert session.scalars(select(done.c.what)).all() == ["x"]


def pinged(client):
    try:
        return client.send("ledger", "ping", timeout_s=1).result()
    except OutcomeUnknown:
        return None


def test_the_publishing_connection_comes_back_by_itself(ledger, asker, cut):
    client = client_of(asker)
    assert client.send("ledger", "ping").result() == 1
    broken = client.publisher._connection
    cut(lambda: client.publisher._connection is not broken)
    assert wait_until(lambda: pinged(client), 30) == 1
    assert client.publisher._connection is not broken


def test_a_broker_in_alarm_makes_calls_unavailable_until_it_is_over(echo, asker):
    client = client_of(asker)
    client.send("echo", "who").result()
    client.publisher._set_blocked(True)
    with pytest.raises(Unavailable, match="alarm"):
        client.send("echo", "who")
    client.publisher._set_blocked(False)
    assert client.send("echo", "who").result() is None


class SilentBroker:
    """Takes connections, and never says a word. `config` is that of a container that would use it."""

    def __init__(self) -> None:
        self.socket = eventlet.listen(("127.0.0.1", 0))
        self.config = {"AMQP_URI": f"pyamqp://guest:guest@127.0.0.1:{self.socket.getsockname()[1]}/"}
        self.shared_extensions: dict[Any, Any] = {}


@pytest.fixture
def silent():
    broker = SilentBroker()
    yield broker
    broker.socket.close()


@pytest.mark.parametrize("how", ["presence", "publish"])
def test_a_silent_broker_holds_nobody_beyond_their_time(silent, how):
    presence, publisher = Presence().bind(silent), Publisher().bind(silent)
    asking = {
        "presence": partial(presence.require, "echo", 0.3),
        "publish": partial(publisher.publish, "e", "r", b"{}", timeout_s=0.3),
    }

    def ask():
        with pytest.raises(Unavailable, match="broker"):
            asking[how]()

    begun = time.monotonic()
    threads = [eventlet.spawn(ask) for _ in range(5)]
    for thread in threads:
        thread.wait()
    assert time.monotonic() - begun < 2
    presence.stop()
    publisher.stop()


def test_a_broker_that_is_not_there_is_unavailable_at_once(silent):
    port = silent.socket.getsockname()[1]
    silent.socket.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="no connection"):
        Presence().bind(silent).require("echo", 10)
    with pytest.raises(Unavailable, match="no connection"):
        Publisher().bind(silent).publish("e", "r", b"{}", timeout_s=10)
    assert time.monotonic() - begun < 2


def test_messages_of_many_green_threads_do_not_mix(echo, asker):
    client = client_of(asker)
    sizes = [1, 50_000, 300_000, 7, 200_000] * 4

    def send(size):
        parcel = {"price": {"amount": size, "currency": "EUR"}, "at": "2024-02-29T12:00:00Z", "pad": "x" * size}
        return client.send("echo", "echo", (), {"parcel": parcel}, timeout_s=30).result()["price"]["amount"]

    threads = [eventlet.spawn(send, size) for size in sizes]
    assert [thread.wait() for thread in threads] == sizes
