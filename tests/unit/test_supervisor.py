"""The supervisor on real processes, and the wishes that the scripts read from the environment."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts import plan
from scripts.control import Control
from scripts.processes import ROOT, CannotStart, Command, free_port, taken, wait_until
from scripts.supervisor import GRACE_S, Interrupted, Rank, Supervisor, Unit

PATIENT = "import time; time.sleep(60)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
# The tests' process is patched by eventlet, which warns of forks; the supervisor's own is not.
pytestmark = pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")


def unit(
    service: str,
    program: str = PATIENT,
    number: int = 1,
    rank: Rank = Rank.SERVICE,
    up: Callable[[], bool] = lambda: True,
) -> Unit:
    return Unit(service, number, rank, Command(service, (sys.executable, "-S", "-c", program)), up=up)


class Bench:
    """A supervisor and what it said."""

    def __init__(self, folder: Path) -> None:
        (folder / "log").mkdir()
        (folder / "run").mkdir()
        self.said: list[str] = []
        self.supervisor = Supervisor(folder / "log", folder / "run", self.said.append)

    def until(self, condition: Callable[[], bool]) -> None:
        assert self.supervisor.wait_for(condition, 10), self.said

    def log(self, name: str) -> str:
        return (self.supervisor.log / f"{name}.log").read_text()

    def pid_files(self) -> list[str]:
        return sorted(path.name for path in self.supervisor.run.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.supervisor.stop_signals = 2
    bench.supervisor.stop()


def pid(of: Unit) -> int:
    assert of.process is not None
    return of.process.pid


def test_a_killed_unit_is_started_again_after_half_a_second_and_the_user_is_told(bench: Bench) -> None:
    orders = unit("orders")
    bench.supervisor.add(orders)
    first = pid(orders)
    os.kill(first, signal.SIGKILL)
    bench.until(lambda: orders.restarts == 1)
    assert pid(orders) != first
    log = bench.supervisor.log / "orders-1.log"
    assert bench.said == [f"orders-1 was killed by SIGKILL (see {log}); starting it again in 0.5 s"]
    assert (bench.supervisor.run / "orders-1.pid").read_text() == f"{pid(orders)}\n"


def test_a_unit_that_keeps_failing_is_started_ever_more_slowly(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.supervisor.BACK_OFF_S", (0.01, 0.04))
    bench.supervisor.add(unit("orders", "print('no'); raise SystemExit(3)"))
    bench.until(lambda: len(bench.said) == 4)
    assert [line.split("; ")[1] for line in bench.said] == [
        "starting it again in 0.01 s",
        "starting it again in 0.02 s",
        "starting it again in 0.04 s",
        "starting it again in 0.04 s",
    ]
    assert all(line.startswith("orders-1 ended with exit code 3 (see ") for line in bench.said)
    assert bench.log("orders-1").count("no\n") == 4


def test_after_a_steady_run_the_pause_is_the_first_again(bench: Bench) -> None:
    orders = unit("orders")
    bench.supervisor.add(orders)
    orders.quick_ends, orders.since = 5, orders.since - 60
    os.kill(pid(orders), signal.SIGKILL)
    bench.until(lambda: bool(bench.said))
    assert bench.said[0].endswith("starting it again in 0.5 s")


def test_a_drained_unit_ends_by_itself_and_is_not_started_again(bench: Bench) -> None:
    orders = unit("orders")
    bench.supervisor.add(orders)
    bench.supervisor.drain(orders)
    bench.until(lambda: orders not in bench.supervisor.units)
    assert (bench.said, bench.pid_files()) == (["orders-1 has left"], [])


def test_a_drained_unit_that_hangs_is_killed_when_its_time_is_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.supervisor.DRAIN_S", 0.1)
    orders = unit("orders", STUBBORN)
    bench.supervisor.add(orders)
    bench.until(lambda: "deaf" in bench.log("orders-1"))
    bench.supervisor.drain(orders)
    bench.until(lambda: orders not in bench.supervisor.units)
    assert bench.said == ["orders-1 was killed: it had not left after 0.1 s"]


def test_who_drains_already_is_not_asked_again_and_gets_no_more_time(bench: Bench) -> None:
    trace = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("set", flush=True)
while True:
    time.sleep(60)
"""
    orders = unit("orders", trace)
    bench.supervisor.add(orders)
    bench.until(lambda: "set" in bench.log("orders-1"))
    bench.supervisor.drain(orders)
    until = orders.leaving
    bench.until(lambda: "asked" in bench.log("orders-1"))
    bench.supervisor.drain(orders)
    bench.supervisor.tick()
    assert orders.leaving == until
    assert bench.log("orders-1").count("asked") == 1


def test_a_unit_that_is_drained_between_two_starts_is_not_started_again(bench: Bench) -> None:
    orders = unit("orders", "print('started')")
    bench.supervisor.add(orders)
    bench.until(lambda: orders.process is None)
    bench.supervisor.drain(orders)
    bench.until(lambda: orders not in bench.supervisor.units)
    assert (orders.restarts, bench.log("orders-1"), bench.pid_files()) == (0, "started\n", [])
    assert bench.said[-1] == "orders-1 has left"


def test_the_old_unit_is_drained_only_when_its_replacement_serves(bench: Bench) -> None:
    serves: list[bool] = []
    old, new = unit("orders"), unit("orders", number=2, up=lambda: bool(serves))
    bench.supervisor.add(old)
    bench.supervisor.replace(old, new)
    bench.supervisor.tick()
    assert bench.supervisor.units == [old, new]
    assert old.leaving is None
    serves.append(True)
    bench.until(lambda: bench.supervisor.units == [new])
    assert bench.said == ["orders-2 serves; draining orders-1", "orders-1 has left"]


def test_the_old_unit_stays_when_its_replacement_never_serves(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.supervisor.REPLACE_S", 0.1)
    old, new = unit("orders"), unit("orders", number=2, up=lambda: False)
    bench.supervisor.add(old)
    bench.supervisor.replace(old, new)
    bench.until(lambda: bench.supervisor.units == [old])
    log = bench.supervisor.log / "orders-2.log"
    assert bench.said == [f"orders-2 does not serve (see {log}); orders-1 stays", "orders-2 has left"]


def test_a_replacement_that_ends_before_it_serves_is_given_up_at_once(bench: Bench) -> None:
    old, new = unit("orders"), unit("orders", "raise SystemExit(3)", number=2, up=lambda: False)
    bench.supervisor.add(old)
    bench.supervisor.replace(old, new)
    bench.until(lambda: bench.supervisor.units == [old])
    log = bench.supervisor.log / "orders-2.log"
    assert bench.said == [f"orders-2 ended with exit code 3 before it served (see {log}); orders-1 stays"]
    assert (old.leaving, bench.pid_files()) == (None, ["orders-1.pid"])


def test_the_old_unit_stays_when_its_replacement_is_drained_before_it_serves(bench: Bench) -> None:
    serves: list[bool] = []
    old, new = unit("orders"), unit("orders", STUBBORN, number=2, up=lambda: bool(serves))
    bench.supervisor.add(old)
    bench.supervisor.replace(old, new)
    bench.until(lambda: "deaf" in bench.log("orders-2"))
    bench.supervisor.drain(new)
    serves.append(True)
    bench.supervisor.tick()
    assert (old.leaving, bench.said) == (None, [])


def test_an_old_unit_that_dies_meanwhile_is_not_started_beside_its_replacement(bench: Bench) -> None:
    serves: list[bool] = []
    old, new = unit("orders"), unit("orders", number=2, up=lambda: bool(serves))
    bench.supervisor.add(old)
    bench.supervisor.replace(old, new)
    os.kill(pid(old), signal.SIGKILL)
    bench.until(lambda: old.process is None)
    serves.append(True)
    bench.until(lambda: bench.supervisor.units == [new])
    assert old.restarts == 0
    assert bench.said[1:] == ["orders-2 serves; draining orders-1", "orders-1 has left"]


def test_units_stop_gateway_first_then_services_then_the_broker(bench: Bench, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    program = f"""
import signal, sys, time
def end(*_):
    time.sleep(0.05)
    open({str(trace)!r}, "a").write(NAME + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("set", flush=True)
time.sleep(60)
"""
    ranks = {"broker": Rank.BROKER, "acquirer": Rank.SANDBOX, "orders": Rank.SERVICE, "gateway": Rank.GATEWAY}
    for name, rank in ranks.items():
        bench.supervisor.add(unit(name, f"NAME = {name!r}\n{program}", rank=rank))
    bench.until(lambda: all("set" in bench.log(f"{name}-1") for name in ranks))
    assert "broker.pid" in bench.pid_files()
    bench.supervisor.stop()
    assert trace.read_text() == "gateway orders acquirer broker "
    assert (bench.supervisor.units, bench.pid_files()) == ([], [])


def test_a_unit_that_ignores_the_request_to_stop_is_killed_with_its_children(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_S, Rank.SERVICE, 0.1)
    child = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-S', '-c', 'input()'], stdin=-1).pid)\n"
    bench.supervisor.add(unit("orders", child + STUBBORN))
    bench.until(lambda: "deaf" in bench.log("orders-1"))
    grandchild = psutil.Process(int(bench.log("orders-1").split()[0]))
    bench.supervisor.stop()
    assert wait_until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE, 5)


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from scripts.processes import Command
from scripts.supervisor import Rank, Supervisor, Unit
supervisor = Supervisor(Path(sys.argv[1]), Path(sys.argv[1]), print)
command = Command("orders", (sys.executable, "-S", "-c", {PATIENT!r}))
supervisor.add(Unit("orders", 1, Rank.SERVICE, command, up=lambda: True))
print("up", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, cwd=ROOT) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"up\n"
        child = psutil.Process(int((tmp_path / "orders-1.pid").read_text()))
        supervisor.kill()
    assert wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


def test_a_request_to_stop_interrupts_whatever_is_waited_for(bench: Bench) -> None:
    bench.supervisor.ask_to_stop()
    with pytest.raises(Interrupted):
        bench.supervisor.wait_for(lambda: False, 10)


@pytest.fixture
def control(bench: Bench) -> Iterator[Control]:
    control = Control(bench.supervisor, lambda service, number: unit(service, number=number), ("orders", "carts"))
    yield control
    control.close()


def test_the_control_socket_adds_drains_replaces_and_tells_the_status(bench: Bench, control: Control) -> None:
    assert control.answer(["add", "orders"]) == {"done": "started orders-1"}
    assert control.answer(["add", "orders"]) == {"done": "started orders-2"}
    assert control.answer(["drain", "orders", "1"]) == {"done": "draining orders-1"}
    bench.until(lambda: len(bench.supervisor.units) == 1)
    answer = control.answer(["replace", "orders", "2"])
    assert answer == {"done": "started orders-1; orders-2 is drained when it serves", "instance": 1}
    bench.until(lambda: [unit.name for unit in bench.supervisor.units] == ["orders-1"])
    (status,) = control.answer(["status"])["units"]
    assert (status["service"], status["instance"], status["state"], status["restarts"]) == ("orders", 1, "running", 0)
    assert status["pid"] == pid(bench.supervisor.units[0])
    assert status["memory"] > 0


@pytest.mark.parametrize(
    "request_",
    [
        ["add", "gateway"],
        ["add", "order"],
        ["drain", "orders", "9"],
        ["replace", "gateway", "1"],
        ["scale", {"orders": 2, "order": 1}],
        ["scale", {"orders": 2, "carts": -1}],
        ["scale", {"orders": 2, "carts": 100}],
        ["scale", {"orders": 2, "carts": True}],
        ["explode"],
        {"status": 1},
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(bench: Bench, control: Control, request_: Any) -> None:
    with pytest.raises(CannotStart):
        control.answer(request_)
    assert bench.supervisor.units == []


def test_scaling_adds_the_lowest_numbers_and_drains_the_highest(bench: Bench, control: Control) -> None:
    def names() -> list[str]:
        return [each.name for each in bench.supervisor.units]

    assert control.answer(["scale", {"orders": 3, "carts": 1}]) == {"done": "4 start, 0 leave"}
    assert names() == ["orders-1", "orders-2", "orders-3", "carts-1"]
    assert control.answer(["scale", {"orders": 1, "carts": 1}]) == {"done": "0 start, 2 leave"}
    bench.until(lambda: names() == ["orders-1", "carts-1"])
    assert control.answer(["scale", {"orders": 1, "carts": 0}]) == {"done": "0 start, 1 leave"}
    bench.until(lambda: names() == ["orders-1"])
    # who is about to leave is not counted, and keeps its number until it has left
    control.answer(["scale", {"orders": 0}])
    control.answer(["scale", {"orders": 1}])
    assert names() == ["orders-1", "orders-2"]
    bench.until(lambda: names() == ["orders-2"])


def test_scaling_drains_first_who_does_not_run(bench: Bench, control: Control) -> None:
    control.answer(["scale", {"orders": 2}])
    os.kill(pid(bench.supervisor.units[0]), signal.SIGKILL)
    bench.until(lambda: bench.supervisor.units[0].process is None)
    control.answer(["scale", {"orders": 1}])
    bench.until(lambda: [each.name for each in bench.supervisor.units] == ["orders-2"])


def test_who_leaves_or_is_replaced_already_is_not_replaced_once_more(bench: Bench) -> None:
    control = Control(bench.supervisor, lambda service, number: unit(service, STUBBORN, number, up=never), ("orders",))
    control.answer(["scale", {"orders": 2}])
    control.answer(["replace", "orders", "1"])
    for number in ("1", "3"):
        with pytest.raises(CannotStart, match="orders-3 is about to replace orders-1"):
            control.answer(["replace", "orders", number])
    bench.until(lambda: "deaf" in bench.log("orders-2"))
    control.answer(["drain", "orders", "2"])
    with pytest.raises(CannotStart, match="orders-2 is leaving already"):
        control.answer(["replace", "orders", "2"])
    assert len(bench.supervisor.units) == 3
    control.close()


def never() -> bool:
    return False


def test_control_works_in_a_folder_deeper_than_a_socket_path_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    control = Control(Bench(folder).supervisor, lambda service, number: unit(service), ())
    request = ["python", "-m", "scripts.control", "stop"]
    with subprocess.Popen([sys.executable, *request[1:]], cwd=ROOT, env={**os.environ, "VAR": str(folder)}) as client:
        assert wait_until(lambda: (control.poll(0.05), control.supervisor.stop_signals == 1)[1], 10)
        control.close()
        assert client.wait(10) == 0


@pytest.fixture(autouse=True)
def three_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project in which there are only some of the services that the scripts know."""
    for name in ("orders", "inventory", "risk"):
        (tmp_path / "project/services" / name).mkdir(parents=True)
        (tmp_path / "project/services" / name / "service.py").touch()
    monkeypatch.setattr(plan, "ROOT", tmp_path / "project")


def test_scale_gives_each_service_its_instances_and_the_others_one() -> None:
    assert plan.scale("orders=2  inventory=3") == {"orders": 2, "inventory": 3, "risk": 1}


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"PORT": "http"}, "PORT is 'http'; it has to be a port, 1 to 65535."),
        ({"PORT": "70000"}, "PORT is '70000'; it has to be a port, 1 to 65535."),
        ({"DB": "oracle"}, "DB is oracle; it can be sqlite or postgresql."),
        (
            {"DB": "postgresql"},
            "DB=postgresql needs PG_URI, for example postgresql://me:secret@127.0.0.1:5432/postgres.",
        ),
        ({"SCALE": "orders=0"}, "SCALE says orders=0; write a number of instances from 1 to 99, as in orders=2."),
        ({"SCALE": "orders"}, "SCALE says orders; write a number of instances from 1 to 99, as in orders=2."),
    ],
)
def test_a_wrong_wish_is_answered_with_a_sentence(env: dict[str, str], sentence: str) -> None:
    with pytest.raises(CannotStart) as refusal:
        plan.read(env)
    assert str(refusal.value) == sentence


def test_an_unknown_service_in_scale_is_answered_with_those_there_are() -> None:
    with pytest.raises(CannotStart, match=r"^SCALE names shop, which is none of: inventory, orders, risk\.$"):
        plan.read({"SCALE": "shop=2"})


def test_nothing_set_means_port_8000_sqlite_and_a_demo() -> None:
    wishes = plan.read({})
    assert (wishes.port, wishes.var, wishes.amqp_uri, wishes.pg_uri, wishes.demo) == (
        8000, Path("var").absolute(), None, None, True,
    )  # fmt: skip
    assert set(wishes.scale.values()) == {1}


def test_each_service_has_a_database_of_its_own_on_either_engine(tmp_path: Path) -> None:
    files = plan.database_uris(plan.read({"VAR": str(tmp_path)}))
    server = plan.database_uris(plan.read({"DB": "postgresql", "PG_URI": "postgres://me:pw@db:5432/postgres"}))
    assert files["ORDERS_DB"] == f"sqlite:///{tmp_path}/orders.db"
    assert server["ORDERS_DB"] == "postgresql+psycopg2://me:pw@db:5432/rialto_orders"
    assert len(set(files.values())) == len(files) == len(server) == len(set(server.values()))


def test_passwords_are_left_out_of_what_is_shown() -> None:
    assert plan.masked("amqp://me:secret@host:5672/shop") == "amqp://me:***@host:5672/shop"


def test_the_env_file_gives_a_shell_the_exact_values_and_only_to_its_owner(tmp_path: Path) -> None:
    wishes = plan.read({"VAR": str(tmp_path)})
    path = plan.write_env(wishes, {"A": "it's $HOME; `ls`"})
    shown = subprocess.run(["sh", "-c", f'. {path}; printf %s "$A"'], capture_output=True, text=True, check=True)
    assert shown.stdout == "it's $HOME; `ls`"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_free_port_is_given_once_and_is_free() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert not any(map(taken, ports))
