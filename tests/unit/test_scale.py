"""`make scale` and `make restart` on a supervisor of small processes: what they wait for, and what they say."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import eventlet
import pytest

from scripts.control import Control
from scripts.processes import ROOT, CannotStart, Command, wait_until
from scripts.scale import System, wishes_of
from scripts.supervisor import Rank, Supervisor, Unit
from tests.children import dying

PATIENT = "import time; time.sleep(60)"
# The tests' process is patched by eventlet, which warns of forks; the supervisor's own is not.
pytestmark = pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")


class Shop:
    """A supervisor that works beside the test. `serves` answers for each unit, `program` is what a new one runs."""

    def __init__(self, var: Path) -> None:
        (var / "log").mkdir()
        (var / "run").mkdir()
        self.var, self.program = var, PATIENT
        self.serves: Callable[[str], bool] = lambda name: True
        self.said: list[str] = []
        self.told: list[str] = []
        self.supervisor = Supervisor(var / "log", var / "run", self.told.append)
        self.control = Control(self.supervisor, self.build, ("orders", "carts"))
        self.supervisor.poll = self.control.poll
        self.system = System(var, self.said.append)

    def build(self, service: str, number: int) -> Unit:
        command = Command(service, (sys.executable, "-S", "-c", self.program))
        return Unit(service, number, Rank.SERVICE, command, up=lambda: self.serves(f"{service}-{number}"))

    def work(self) -> None:
        self.supervisor.wait_for(lambda: False, 60)

    def pids(self) -> dict[str, int]:
        return {unit.name: unit.process.pid for unit in self.supervisor.units if unit.process}

    def run(self, *argv: str) -> "subprocess.Popen[str]":
        """`python -m scripts.scale` on this system."""
        env = {**os.environ, "VAR": str(self.var)}
        argv = dying(sys.executable, "-m", "scripts.scale", *argv)
        return subprocess.Popen(
            argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    worker = eventlet.spawn(shop.work)
    yield shop
    worker.kill()
    shop.supervisor.stop_signals = 2
    shop.supervisor.stop()
    shop.control.close()


def without_seconds(lines: list[str]) -> list[str]:
    return [line.rpartition(" (")[0] for line in lines]


def test_scaling_waits_until_the_new_ones_serve_and_the_others_have_left(shop: Shop) -> None:
    shop.system.scale({"orders": 3, "carts": 1})
    assert set(shop.pids()) == {"orders-1", "orders-2", "orders-3", "carts-1"}
    shop.system.scale({"orders": 1, "carts": 0})
    assert set(shop.pids()) == {"orders-1"}
    assert without_seconds(shop.said) == ["orders: 3", "carts: 1", "orders: 1", "carts: 0"]


def test_a_process_that_dies_meanwhile_is_waited_for_until_it_serves_again(shop: Shop) -> None:
    shop.serves = lambda name: name != "orders-2" or (bool(dead) and shop.pids().get(name, dead[0]) not in dead)
    dead: list[int] = []
    waiting = eventlet.spawn(shop.system.scale, {"orders": 2})
    assert wait_until(lambda: "orders-2" in shop.pids(), 10)
    first = shop.pids()["orders-2"]
    os.kill(first, signal.SIGKILL)
    dead.append(first)
    waiting.wait()
    assert shop.pids()["orders-2"] != first
    assert without_seconds(shop.said) == ["orders: 2"]


def test_what_does_not_come_up_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.scale.SERVES_WITHIN_S", 0.5)
    monkeypatch.setattr("scripts.scale.DRAIN_S", 0.5)
    monkeypatch.setattr("scripts.scale.FURTHER_S", 0.0)
    shop.serves = lambda name: name == "orders-1"
    with pytest.raises(CannotStart) as problem:
        shop.system.scale({"orders": 2})
    assert str(problem.value) == f"After 0.5 s: orders-2 does not serve; see `make status` and {shop.var}/log."


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"orders": 2, "order": 1}, "There is no service order to scale; there are: orders, carts."),
        ({"broker": 0}, "There is no service broker to scale; there are: orders, carts."),
        ({"orders": 0, "gateway": 2}, "There is one gateway, which holds the shop's port: it cannot be scaled"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_whole(shop: Shop, wishes: dict[str, int], sentence: str) -> None:
    shop.system.scale({"orders": 1})
    there = shop.pids()
    with pytest.raises(CannotStart) as problem:
        shop.system.scale(wishes)
    assert str(problem.value).startswith(sentence)
    assert shop.pids() == there


def test_a_restart_replaces_one_after_the_other(shop: Shop) -> None:
    shop.system.scale({"orders": 3})
    before, most = shop.pids(), []
    shop.serves = lambda name: most.append(len(shop.pids())) is None
    shop.system.restart("orders")
    assert not set(before.values()) & set(shop.pids().values())
    assert set(shop.pids()) == {"orders-4", "orders-1", "orders-2"}
    assert without_seconds(shop.said)[1:] == [
        "orders-4 has replaced orders-1",
        "orders-1 has replaced orders-2",
        "orders-2 has replaced orders-3",
    ]
    assert max(most) == 4


def test_a_restart_ends_at_the_first_replacement_that_does_not_serve(shop: Shop) -> None:
    shop.system.scale({"orders": 2})
    before = shop.pids()
    shop.program = "raise SystemExit('this code is broken')"
    shop.serves = lambda name: name in before
    with pytest.raises(CannotStart) as problem:
        shop.system.restart("orders")
    log = shop.var / "log/orders-3.log"
    assert str(problem.value) == f"orders-3 does not serve, and was given up; orders-1 stays. See {log}."
    assert log.read_text() == "this code is broken\n"
    assert shop.pids() == before


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        ("orders", "orders has no instance to replace: `make scale orders=1` starts one."),
        ("order", "There is no service order to scale; there are: orders, carts."),
        ("gateway", "There is one gateway, which holds the shop's port: it cannot be scaled, nor replaced"),
    ],
)
def test_a_restart_of_nobody_is_refused_in_one_sentence(shop: Shop, service: str, sentence: str) -> None:
    with pytest.raises(CannotStart) as problem:
        shop.system.restart(service)
    assert str(problem.value).startswith(sentence)


def test_whoever_stops_waiting_stops_nothing(shop: Shop) -> None:
    may_serve: list[bool] = []
    shop.serves = lambda name: bool(may_serve)
    client = shop.run("to", "orders=2")
    assert wait_until(lambda: len(shop.pids()) == 2, 10)
    client.send_signal(signal.SIGINT)
    said = client.communicate(timeout=10)[0]
    assert said == "\nNot waited for any longer. What was asked for goes on, and is seen in `make status`.\n"
    assert client.returncode == 130
    may_serve.append(True)
    assert shop.system.has("orders", 2)


def test_a_system_that_is_stopped_meanwhile_is_told_in_one_sentence(shop: Shop) -> None:
    shop.serves = lambda name: False
    client = shop.run("to", "orders=1")
    assert wait_until(lambda: len(shop.pids()) == 1, 10)
    shop.control.close()
    assert client.communicate(timeout=10)[0] == f"Nothing runs on {shop.var}.\n"
    assert client.returncode == 1


def test_a_supervisor_that_does_not_answer_is_told_in_one_sentence(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.control.ANSWER_S", 0.2)
    shop.supervisor.ask_to_stop()
    with pytest.raises(CannotStart) as problem:
        shop.system.scale({"orders": 1})
    assert str(problem.value) == f"The system on {shop.var} does not answer: it is about to stop, or is stopped."


@pytest.mark.parametrize("words", [["orders"], ["orders="], ["orders=x"], ["orders=-1"], ["orders=100"], ["=1"], []])
def test_what_is_no_wish_is_refused(words: list[str]) -> None:
    with pytest.raises(CannotStart):
        wishes_of(["carts=1", *words] if words else [])


def test_the_variables_of_make_are_no_wishes() -> None:
    assert wishes_of(["orders=3", "VAR=elsewhere", "inventory=0"]) == {"orders": 3, "inventory": 0}
