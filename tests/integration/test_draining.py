"""Instances that leave, over a real broker: they finish what they have, and nothing is lost or done twice by it."""

import time
from collections import Counter
from typing import Any

import eventlet
import kombu
import pytest
from eventlet.event import Event
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.amqp import QueueConsumer
from chassis.context import Call
from chassis.periodic import every
from chassis.provide import provided
from chassis.pulse import Probe, Pulse
from chassis.rpc import RpcClient, rpc
from chassis.saga_engine import ROUND_S
from chassis.service import CallContext
from services.orders.service import OrdersService
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, running_companies, running_shop, service_class

QUEUE, LAMP = "rpc-work", "LAMP-1"


class World:
    """What the workers of a test share with it. A job waits while its gate is shut."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.done: list[Any] = []
        self.gates: dict[Any, Event] = {}

    def shut(self, *jobs: Any) -> None:
        self.gates.update({job: Event() for job in jobs})

    def open(self) -> None:
        for gate in self.gates.values():
            if not gate.ready():
                gate.send()

    def work(self, job: Any) -> Any:
        self.begun.append(job)
        if job in self.gates:
            self.gates[job].wait()
        self.done.append(job)
        return job


world = World()


class WorkService:
    name = "work"
    call = provided(Call, CallContext())

    @rpc
    def do(self, job: int) -> int:
        return int(world.work(job))


class TickService:
    name = "tick"
    call = provided(Call, CallContext())

    @every("tick_s")
    def tick(self) -> None:
        world.work("tick")


class AskerService:
    name = "asker"
    call = provided(Call, CallContext())
    pulse = provided(Pulse, Probe())

    @rpc
    def nothing(self) -> None: ...


@pytest.fixture(autouse=True)
def _world():
    global world
    world = World()
    yield
    world.open()


@pytest.fixture
def settings(rabbit_config):
    return {
        **rabbit_config,
        "SERVICE_CONTAINER_CLS": "chassis.container.Container",
        "max_workers": 2,
        "prefetch": None,
        "drain_ms": 20_000,
        "announce_every_ms": 2000,
    }


@pytest.fixture
def start(container_factory, settings):
    def run(service=WorkService, **more):
        container = container_factory(service, {**settings, **more})
        container.start()
        return container

    return run


class Jobs:
    """Requests that wait for their answers, without a time limit of their own."""

    def __init__(self, settings):
        self.proxy = ServiceRpcProxy("work", settings, timeout=60)
        self.work = self.proxy.start()
        self.replies: list[Any] = []

    def send(self, *jobs):
        self.replies += [self.work.do.call_async(job) for job in jobs]

    def answers(self):
        return [reply.result() for reply in self.replies]


@pytest.fixture
def jobs(settings):
    made = Jobs(settings)
    yield made
    made.proxy.stop()


def counts(settings, queue=QUEUE):
    """Messages that wait in the queue, and its consumers."""
    with kombu.Connection(settings["AMQP_URI"]) as connection, connection.channel() as channel:
        declared = channel.queue_declare(queue, passive=True)
        return declared.message_count, declared.consumer_count


def leaving(container, settings):
    """A container's stop, under way: it takes no more messages."""
    stopping = eventlet.spawn(container.stop)
    wait_until(lambda: counts(settings)[1] == 0)
    return stopping


def stays(look, value, for_s=1.5):
    """Longer than a consumer takes to notice that it has nothing left to read."""
    over = time.monotonic() + for_s
    while time.monotonic() < over:
        assert look() == value
        eventlet.sleep(0.05)


def took_s(fn):
    begun = time.monotonic()
    fn()
    return time.monotonic() - begun


# --- what it has


def test_one_that_drains_takes_no_more_and_finishes_what_it_has_once(start, settings, jobs):
    world.shut(0, 1, 2, 3)
    old = start(prefetch=4)
    jobs.send(*range(7))
    wait_until(lambda: counts(settings) == (3, 1) and world.begun == [0, 1])
    stopping = leaving(old, settings)
    stays(lambda: (counts(settings), stopping.dead), ((3, 0), False))
    world.open()
    stopping.wait()
    assert sorted(world.done) == [0, 1, 2, 3]
    assert counts(settings) == (3, 0)
    start()
    assert jobs.answers() == list(range(7))
    assert Counter(world.begun) == Counter(range(7))  # the broker delivered nothing a second time


def test_another_instance_serves_while_one_drains(start, settings, jobs):
    world.shut(0)
    old = start()
    jobs.send(0)
    wait_until(lambda: world.begun == [0])
    stopping = leaving(old, settings)
    start()
    jobs.send(1, 2, 3)
    wait_until(lambda: sorted(world.done) == [1, 2, 3])
    world.open()
    stopping.wait()
    assert jobs.answers() == [0, 1, 2, 3]
    assert Counter(world.begun) == Counter(range(4))


def test_one_that_has_nothing_to_do_leaves_soon(start, settings):
    old = start()
    assert took_s(old.stop) < 5
    assert counts(settings) == (0, 0)
    assert took_s(old.stop) < 1  # once more does nothing


def test_one_that_is_told_twice_to_stop_finishes_all_the_same(start, settings, jobs):
    world.shut(0)
    old = start()
    jobs.send(0)
    wait_until(lambda: world.begun == [0])
    stopping, again = leaving(old, settings), eventlet.spawn(old.stop)
    eventlet.sleep(0)
    assert (stopping.dead, again.dead) == (False, False)
    world.open()
    stopping.wait()
    again.wait()
    assert jobs.answers() == [0]


# --- its time


def test_what_is_not_done_in_its_time_is_done_by_another_instance(start, settings, jobs):
    world.shut(0)
    old = start(drain_ms=300, max_workers=1, prefetch=3)
    jobs.send(0, 1, 2)
    wait_until(lambda: world.begun == [0] and counts(settings) == (0, 1))
    assert 0.3 <= took_s(old.stop) < 8
    wait_until(lambda: counts(settings) == (3, 0))  # the broker takes back what a closed channel held in its own time
    assert world.begun == [0]  # what waited for its turn has not even begun
    world.gates.clear()
    start()
    assert sorted(jobs.answers()) == [0, 1, 2]
    assert Counter(world.begun) == {0: 2, 1: 1, 2: 1}


def test_a_periodic_job_that_hangs_holds_nobody_beyond_that_time(start):
    world.shut("tick")
    container = start(TickService, tick_s=0.05, drain_ms=300)
    wait_until(lambda: world.begun == ["tick"])
    assert 0.3 <= took_s(container.stop) < 8
    assert world.done == []


def test_a_periodic_job_is_finished_first(start):
    world.shut("tick")
    container = start(TickService, tick_s=0.05)
    wait_until(lambda: world.begun == ["tick"])
    stopping = eventlet.spawn(container.stop)
    eventlet.sleep(0)
    world.open()
    stopping.wait()
    assert world.done == world.begun


# --- a broker that is away


class Line:
    """The way to the broker: it can be cut, mended, and held so that nothing passes."""

    def __init__(self, uri: str) -> None:
        client = kombu.Connection(uri)
        self.target = (client.hostname, client.port)
        self.socket = eventlet.listen(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.uri = uri.replace(f":{client.port}", f":{self.port}", 1)
        self.open_ = Event()
        self.ends: list[Any] = []
        self.threads = [eventlet.spawn(self._accept)]

    def _accept(self) -> None:
        while True:
            near, _ = self.socket.accept()
            far = eventlet.connect(self.target)
            self.ends += [near, far]
            self.threads += [eventlet.spawn(self._pass, *pair) for pair in ((near, far), (far, near))]

    def _pass(self, source: Any, target: Any) -> None:
        try:
            while data := source.recv(65536):
                while self.held:
                    eventlet.sleep(0.01)
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()
            source.close()

    held = False

    def hold(self) -> None:
        self.held = True

    def cut(self) -> None:
        for thread in self.threads:
            thread.kill()
        self.socket.close()
        for end in self.ends:
            end.close()
        self.threads, self.ends = [], []

    def mend(self) -> None:
        self.socket = eventlet.listen(("127.0.0.1", self.port))
        self.threads = [eventlet.spawn(self._accept)]


@pytest.fixture
def line(settings):
    made = Line(settings["AMQP_URI"])
    yield made
    made.cut()


def consumer_of(container):
    return next(each for each in container.extensions if isinstance(each, QueueConsumer))


def test_a_stop_while_the_broker_is_away_ends_soon(start, line):
    container = start(AMQP_URI=line.uri)
    line.cut()
    wait_until(lambda: not consumer_of(container)._connected)
    assert took_s(container.stop) < 5


def test_a_broker_that_goes_away_while_an_instance_drains_holds_it_no_longer(start, line, settings, jobs):
    world.shut(0)
    container = start(AMQP_URI=line.uri)
    jobs.send(0)
    wait_until(lambda: world.begun == [0])
    stopping = leaving(container, settings)
    line.cut()
    wait_until(lambda: not consumer_of(container)._connected)
    world.open()
    begun = time.monotonic()
    stopping.wait()
    assert time.monotonic() - begun < 5
    start()
    assert jobs.answers() == [0]  # by the other one: the first answer was lost with its line


def test_one_that_drains_when_its_line_is_mended_still_takes_no_more(start, line, settings, jobs):
    world.shut(0)
    container = start(AMQP_URI=line.uri)
    jobs.send(0)
    wait_until(lambda: world.begun == [0])
    stopping = leaving(container, settings)
    line.cut()
    wait_until(lambda: not consumer_of(container)._connected)
    line.mend()
    wait_until(lambda: counts(settings) == (1, 0))
    wait_until(lambda: consumer_of(container)._gt.dead or consumer_of(container)._connected)
    assert counts(settings) == (1, 0)
    world.open()
    stopping.wait()
    assert (counts(settings), world.begun) == ((1, 0), [0])
    start()
    assert jobs.answers() == [0]


def test_a_broker_that_says_nothing_any_more_is_waited_for_as_long_as_a_drain_may_take(start, line):
    container = start(AMQP_URI=line.uri, drain_ms=300)
    line.hold()
    assert took_s(container.stop) < 20


def test_a_stop_while_it_starts_without_a_broker_ends(container_factory, settings, line):
    line.cut()
    container = container_factory(WorkService, {**settings, "AMQP_URI": line.uri})
    starting = eventlet.spawn(container.start)
    wait_until(lambda: container.started and consumer_of(container)._gt is not None)
    assert took_s(container.stop) < 5
    starting.wait()
    assert container._died.ready()
    container.wait()  # which tells of no failure


# --- coming and going under load


def test_while_instances_come_and_go_no_request_is_lost_and_none_done_twice(start, settings):
    asker = start(AskerService, max_workers=5)
    client = next(each for each in asker.extensions if isinstance(each, RpcClient))
    there = [start(max_workers=5, prefetch=10) for _ in range(2)]
    asked: list[int] = []
    over = Event()

    def ask(caller):
        answered = []
        while not over.ready():
            number = caller * 1_000_000 + len(answered)
            asked.append(number)
            answered.append(client.send("work", "do", (number,), timeout_s=30).result())
            assert answered[-1] == number
        return len(answered)

    askers = [eventlet.spawn(ask, caller) for caller in range(8)]
    for _ in range(6):
        before = len(world.done)
        there.append(start(max_workers=5, prefetch=10))
        wait_until(lambda before=before: len(world.done) > before + 20, 30)
        there.pop(0).stop()
    over.send()
    assert sum(thread.wait() for thread in askers) == len(asked)
    assert Counter(world.done) == Counter(asked)
    assert len(asked) > 120


# --- sagas

HELD_AT = [("payments", "authorize"), ("payments", "capture"), ("shipping", "book")]


@pytest.fixture
def patient_shop(migrated_config, tmp_path):
    """A saga's lease is a minute, and its steps may take half of one: nobody goes on because time ran out."""
    patience = dict(saga_lease_ms=60_000, saga_step_timeout_ms=30_000, saga_poll_ms=500, drain_ms=10_000)
    with running_companies(tmp_path) as companies, running_shop(migrated_config, *companies, **patience) as running:
        running.sell(LAMP, 1999, stock=100)
        yield running


@pytest.fixture
def more_orders(patient_shop, container_factory):
    def start():
        container = container_factory(OrdersService, patient_shop.config)
        container.start()
        return container

    return start


def hold_first(monkeypatch, service, method):
    """The first call of a method waits at its service until the gate opens. Answers when calls came, and the gate."""
    cls, came, gate = service_class(service), [], Event()
    act = getattr(cls, method)

    def hold(self, *args, **kwargs):
        came.append(time.monotonic())
        if len(came) == 1:
            gate.wait()
        return act(self, *args, **kwargs)

    monkeypatch.setattr(cls, method, hold)
    return came, gate


def assert_bought_once(shop, order):
    total = order["totals"]["total"]["amount"]
    assert order["status"] == "confirmed"
    assert shop.movements() == [("authorize", total), ("capture", total)]
    assert shop.stock(LAMP) == (99, 0, 1)
    assert shop.mails(1) == {"order_confirmed": 1}
    lines = [line["step"] for line in order["timeline"]]
    assert sorted(lines) == sorted(set(lines))


@pytest.mark.parametrize(("service", "method"), HELD_AT)
def test_another_instance_goes_on_with_a_saga_whose_call_is_still_under_way(
    patient_shop, more_orders, monkeypatch, service, method
):
    came, gate = hold_first(monkeypatch, service, method)
    shop, old = patient_shop, patient_shop.runner.service_map["orders"]
    order_id = shop.place(shop.customer((LAMP, 1)))["id"]
    wait_until(lambda: came)
    more_orders()
    leaves_at = time.monotonic()
    stopping = eventlet.spawn(old.stop)
    wait_until(lambda: len(came) == 2)
    assert came[1] - leaves_at < ROUND_S + 4  # a poll later; it would be 30 s, or the lease's 60
    order = shop.ended(order_id)
    stopping.wait()
    assert_bought_once(shop, order)
    gate.send()  # the old call ends, and its instance is no more
    wait_until(lambda: shop.mails(1) == {"order_confirmed": 1})
    assert_bought_once(shop, shop.rpc.orders.get(order_id))


def test_orders_that_are_under_way_go_on_elsewhere_while_instances_come_and_go(patient_shop, more_orders):
    shop = patient_shop
    there = [shop.runner.service_map["orders"], more_orders()]
    buyers, card = [shop.customer((LAMP, 1)) for _ in range(8)], {"type": "card", "token": "tok_visa"}
    placed = [shop.rpc.orders.place.call_async(buyer, ADDRESS, card, key=f"of {buyer}") for buyer in buyers]
    begun = time.monotonic()
    for _ in range(2):
        there.append(more_orders())
        there.pop(0).stop()
    orders = [shop.ended(reply.result()["id"], 50) for reply in placed]
    assert time.monotonic() - begun < 50  # nobody waited for a lease
    assert {order["status"] for order in orders} == {"confirmed"}
    assert shop.stock(LAMP) == (92, 0, 8)
    assert Counter(kind for kind, _ in shop.movements()) == {"authorize": 8, "capture": 8}
    assert shop.mails(8) == {"order_confirmed": 8}
