"""A whole process dies by `os._exit` at each point that a flow passes; the next one goes on from the databases.

A death takes a second or more. So the shorter run tries a flow where it is new: at the points of places that no flow
above it in the table goes through, and of its sagas if they go a way of their own; of the others at a sample, and on
PostgreSQL at a sample of all. FAULTS_SEED, which is printed, draws them. `--everything` leaves none out; nor does
test_crashes.py in any run.
"""

import faulthandler
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.children import start
from tests.conftest import Templates
from tests.faults.flows import FLOWS
from tests.faults.nursery import Job
from tests.faults.points import RELAY, SAGA, miscounted, place_of
from tests.faults.world import PATIENT, Flow
from tests.sandboxes import Sandbox
from tests.shop import running_companies

SEED = int(os.environ.get("FAULTS_SEED", "1"))
SAMPLE = 12
SIDE_BY_SIDE = 2
LIMIT_S = 600
"""For all of a flow's deaths together. Those of all points take minutes where other lanes run beside them."""


@pytest.fixture
def nurseries(
    config: dict[str, Any], vhost_pipeline: Any, templates: Templates, tmp_path: Path
) -> Iterator[Callable[[str, str, int], list["Nursery"]]]:
    """(flow, database, count) -> so many places for processes, each with vhost, databases and companies of its own."""
    with ExitStack() as stack:

        def prepare(flow: str, database: str, count: int) -> list[Nursery]:
            folders = [tmp_path / str(number) for number in range(count)]
            return [Nursery(flow, folder, config_for(folder, database), companies_in(folder)) for folder in folders]

        def companies_in(folder: Path) -> tuple[Sandbox, Sandbox]:
            return stack.enter_context(running_companies(folder))

        def config_for(folder: Path, database: str) -> dict[str, Any]:
            folder.mkdir()
            vhost = stack.enter_context(vhost_pipeline.get())
            uris = {}
            for key in config["DB_URIS"]:
                service = key.split(":")[0]
                on_sqlite = database == "sqlite"
                path = folder / f"{service}.db"
                uris[key] = templates.sqlite(service, path) if on_sqlite else templates.postgresql(service)
            amqp_uri = f"{config['AMQP_URI'].rpartition('/')[0]}/{vhost}"
            return {**config, **PATIENT, "DB_URIS": uris, "AMQP_URI": amqp_uri, "mail_dir": str(folder / "mail")}

        yield prepare


class Nursery:
    def __init__(self, flow: str, folder: Path, config: dict[str, Any], companies: tuple[Sandbox, Sandbox]) -> None:
        self.path, self.log = folder / "job.json", folder / "log"
        acquirer, carrier = ((each.url, str(each.db)) for each in companies)
        self.job = Job(config=config, acquirer=acquirer, carrier=carrier, flow=flow)

    def begin(self, points: list[str]) -> subprocess.Popen[bytes]:
        self.job.points = points
        self.path.write_bytes(msgspec.json.encode(self.job))
        with self.log.open("ab") as log:
            return start((sys.executable, "-m", "tests.faults.nursery", str(self.path)), {}, log)

    def end(self, process: subprocess.Popen[bytes], give_up_at: float) -> Job:
        """Its job when it is done. Fails with the end of its log, also when it is not done by then."""
        code: int | str = "not done in time"
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(max(0.0, give_up_at - time.monotonic()))
        kill(process)
        assert code == 0, f"{code}\n{self.log.read_text()[-6000:]}"
        return msgspec.json.decode(self.path.read_bytes(), type=Job)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a nursery that has not ended, and the child that it has at the moment."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def die(places: list[Nursery], choose: Callable[[list[str]], list[str]]) -> list[str]:
    """Count the points, then die at those that are chosen of them; answers the names of all."""
    faulthandler.cancel_dump_traceback_later()  # it may take longer than other tests, and has a limit of its own
    give_up_at = time.monotonic() + LIMIT_S
    first = places[0]
    names = first.end(first.begin([]), give_up_at).points
    chosen = choose(names)
    print(f"{first.job.flow}: {len(chosen)} of {len(names)} points, FAULTS_SEED={SEED}: {chosen}")
    shares = [chosen[number :: len(places)] for number in range(len(places))]
    under_way = [(place, place.begin(share)) for place, share in zip(places, shares, strict=True) if share]
    try:
        for place, process in under_way:
            place.end(process, give_up_at)
    finally:
        for _, process in under_way:
            kill(process)
    return names


def all_of(names: list[str]) -> list[str]:
    return names


def sample_of(names: list[str]) -> list[str]:
    """The same ones for the same seed, in whatever order green threads passed them."""
    return random.Random(SEED).sample(sorted(names), min(SAMPLE, len(names)))


def new_in(flow: Flow, names: list[str]) -> list[str]:
    """The points of places that no flow above this one goes through, and a sample of the others. Its sagas are new if
    they go another way than those above."""
    above = FLOWS[: FLOWS.index(flow)]
    known = {place for each in above for place in (*each.through, f"orders.{RELAY}")}
    if all(each.end.timeline != flow.end.timeline for each in above):
        known.discard(SAGA)
    seen = [name for name in names if place_of(name) in known]
    return [name for name in names if name not in seen] + sample_of(seen)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_ends_as_it_should_wherever_its_process_dies(
    nurseries: Callable[[str, str, int], list[Nursery]], flow: Flow, everything: bool
) -> None:
    places = nurseries(flow.name, "sqlite", SIDE_BY_SIDE)
    names = die(places, all_of if everything else partial(new_in, flow))
    assert miscounted(flow, names) == set()
    assert f"orders.{RELAY}" in map(place_of, names)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_on_postgresql_ends_as_it_should_where_its_process_dies(
    nurseries: Callable[[str, str, int], list[Nursery]], flow: Flow, everything: bool
) -> None:
    places = nurseries(flow.name, "postgresql", SIDE_BY_SIDE if everything else 1)
    names = die(places, all_of if everything else sample_of)
    assert miscounted(flow, names) == set()
