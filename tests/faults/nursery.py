"""Processes that die: `python -m tests.faults.nursery <job.json>`, started by test_deaths.py.

A warm parent, which has imported everything and touched nothing, forks one child after the other. Each child is the
whole shop. It recovers the flow that the child before it left behind, checks it, and begins the next one, in which it
ends by `os._exit` at the point that it was given. The broker and the databases see what they see when a machine dies.
"""

import eventlet

eventlet.monkey_patch()  # before anything else is imported

import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from datetime import timedelta  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

import msgspec  # noqa: E402
from argon2 import PasswordHasher  # noqa: E402
from nameko.cli.main import setup_yaml_parser  # noqa: E402

from chassis.errors import Failure  # noqa: E402
from services.users import passwords  # noqa: E402
from tests.faults.flows import FLOWS  # noqa: E402
from tests.faults.points import RELAY, Points, armed, begin  # noqa: E402
from tests.faults.world import Case, Flow, World, settled  # noqa: E402
from tests.sandboxes import Sandbox  # noqa: E402
from tests.shop import SERVICES, running_shop, service_class  # noqa: E402

DIED, DONE, FAILED = 77, 0, 1
STEP = timedelta(seconds=11)
"""How far the clock goes on from child to child: past the leases of sagas and relays."""


class Job(msgspec.Struct):
    """What one nursery does. Without `points` it runs the flow once, and writes all its points there."""

    config: dict[str, Any]
    acquirer: tuple[str, str]
    carrier: tuple[str, str]
    flow: str
    points: list[str] = []
    cases: list[Case] = []


def main(path: Path) -> None:
    setup_yaml_parser()
    for name in SERVICES:
        service_class(name)
    gc.collect()
    gc.freeze()
    system: Any = eventlet.patcher.original("os")
    count = len(msgspec.json.decode(path.read_bytes(), type=Job).points)
    for number in range(-1, count + 1):
        pid = system.fork()
        if pid == 0:
            _child(path, number)
        status = os.waitstatus_to_exitcode(system.waitpid(pid, 0)[1])
        print(f"child {number} of {count} ended with {status}", flush=True)
        if status != (DIED if 0 <= number < count else DONE):
            sys.exit(f"child {number} ended with {status}")
        if number == -1 and not count:
            return


def _child(path: Path, number: int) -> NoReturn:
    """Number -1 prepares, or counts; the last one only recovers."""
    try:
        _live(path, number)
    except (AssertionError, Failure):
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FAILED)
    os._exit(DONE)


def _live(path: Path, number: int) -> None:
    job = msgspec.json.decode(path.read_bytes(), type=Job)
    flow = next(each for each in FLOWS if each.name == job.flow)
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    companies = [Sandbox(url, Path(db), None, None) for url, db in (job.acquirer, job.carrier)]  # type: ignore[arg-type]
    points = armed(SimpleNamespace(setattr=setattr), lambda name: os._exit(DIED))
    with running_shop(job.config, *companies) as shop:
        world = World(shop)
        world.later(STEP * (number + 1))
        if number == -1:
            job.cases = world.cases(flow, len(job.points) or 2)
            if not job.points:
                job.points = points_of(world, points, flow, *job.cases)
            path.write_bytes(msgspec.json.encode(job))
            return
        if number > 0:
            _recover(world, flow, job.cases[number - 1], job.points[number - 1])
        if number == len(job.points):
            world.assert_adds_up()
            return
        case, name = job.cases[number], job.points[number]
        points.watch(RELAY if RELAY in name else case.trace, dies_at=name)
        begin(points, world, flow, case)
        world.ended(case)
        eventlet.sleep(2)
        raise AssertionError(f"it never came to {name}")


def _recover(world: World, flow: Flow, case: Case, died_at: str) -> None:
    """The customer, who got no answer perhaps, asks once more; then what was left behind must end as it should."""
    flow.begin(world, case)
    world.ended(case)
    world.assert_holds(flow, case, died_at)


def points_of(world: World, points: Points, flow: Flow, first: Case, case: Case) -> list[str]:
    """The names of all points that the flow passes, by running it; those of relays too, which have their lease then."""
    flow.begin(world, first)
    world.ended(first)
    world.assert_holds(flow, first, "undisturbed")
    points.watch(case.trace)
    points.watch(RELAY)
    begin(points, world, flow, case)
    world.ended(case)
    world.assert_holds(flow, case, "undisturbed")
    return settled(lambda: [*points.named[case.trace], *points.named[RELAY]])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
