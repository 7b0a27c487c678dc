"""An instance that starts, and one that leaves, on a real broker: when it takes calls, and what it finishes."""

from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import pytest
from eventlet.event import Event
from nameko.extensions import DependencyProvider
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.utils import find_free_port

from chassis.amqp import QueueConsumer
from chassis.container import Container
from chassis.context import Call
from chassis.periodic import every
from chassis.provide import provided
from chassis.rpc import rpc
from chassis.service import CallContext
from scripts.processes import connects
from tests.sandboxes import wait_until

SOON_S = 5


class World:
    """What the services of a test share with it."""

    ready = False


world = World()


class SlowToStart(DependencyProvider):
    """As a saga engine that waits for its database."""

    def start(self) -> None:
        eventlet.sleep(0.5)
        world.ready = True


class WorkerService:
    name = "worker"
    call = provided(Call, CallContext())
    slow = SlowToStart()

    @rpc
    def found_ready(self) -> bool:
        return world.ready

    @every("tick_s")
    def tick(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _new_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "ready", False)


@pytest.fixture
def instance(rabbit_config: dict[str, Any]) -> Iterator[Callable[[], Container]]:
    """Makes further instances; they are killed at the end."""
    made: list[Container] = []

    def make() -> Container:
        made.append(Container(WorkerService, {**rabbit_config, "tick_s": 60, "announce_every_ms": 200}))
        return made[-1]

    yield make
    for container in made:
        container.kill()


def test_the_first_call_finds_everything_started(
    instance: Callable[[], Container], rabbit_config: dict[str, Any]
) -> None:
    before = instance()
    before.start()  # the queue is there from now on
    before.stop()
    world.ready = False
    with ServiceRpcProxy("worker", rabbit_config, timeout=10) as proxy:
        waiting = proxy.found_ready.call_async()
        instance().start()
        assert waiting.result() is True


def test_metrics_are_served_when_calls_are_taken_and_not_before(
    instance: Callable[[], Container], rabbit_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, broker_is_back = find_free_port(), Event()
    monkeypatch.setenv("METRICS_PORT", str(port))
    connect = QueueConsumer.create_connection

    def connect_later(self: QueueConsumer) -> Any:
        broker_is_back.wait()
        return connect(self)

    monkeypatch.setattr(QueueConsumer, "create_connection", connect_later)
    starting = eventlet.spawn(instance().start)
    wait_until(lambda: world.ready)
    assert not connects(port)
    broker_is_back.send()
    starting.wait()
    assert connects(port)


def test_who_is_told_to_leave_while_it_starts_leaves_when_it_has_started(
    instance: Callable[[], Container], caplog: pytest.LogCaptureFixture
) -> None:
    leaving = instance()
    starting = eventlet.spawn(leaving.start)
    eventlet.sleep(0)
    with eventlet.Timeout(SOON_S):
        leaving.stop()
        starting.wait()
        leaving.wait()
    assert world.ready
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
