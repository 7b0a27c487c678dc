"""A whole process dies by `os._exit` at each point that a flow passes; the next one goes on from the databases."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.children import start
from tests.conftest import Templates
from tests.faults.flows import FLOWS, PATIENT, Flow
from tests.faults.nursery import Job
from tests.faults.points import RELAY, not_counted
from tests.sandboxes import Sandbox
from tests.shop import running_companies

SEED = int(os.environ.get("FAULTS_SEED", "1"))
SAMPLE = 12
SIDE_BY_SIDE = 2
LIMIT_S = 220
"""For all of a flow's deaths together; a test that takes longer than `faulthandler_timeout` would end the whole run."""


@pytest.fixture
def nurseries(
    config: dict[str, Any], vhost_pipeline: Any, templates: Templates, tmp_path: Path
) -> Iterator[Callable[[str, str], list["Nursery"]]]:
    """(flow, database) -> places for processes side by side, each with a vhost, databases and companies of its own."""
    with ExitStack() as stack:

        def prepare(flow: str, database: str) -> list[Nursery]:
            folders = [tmp_path / str(number) for number in range(SIDE_BY_SIDE)]
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
        process.kill()
        process.wait()
        assert code == 0, f"{code}\n{self.log.read_text()[-6000:]}"
        return msgspec.json.decode(self.path.read_bytes(), type=Job)


def die_everywhere(places: list[Nursery], sample: int | None) -> list[str]:
    """Count the points, then die at each, or at so many; answers their names."""
    give_up_at = time.monotonic() + LIMIT_S
    first = places[0]
    names = first.end(first.begin([]), give_up_at).points
    if sample is not None:
        names = sorted(random.Random(SEED).sample(names, min(sample, len(names))))
        print(f"FAULTS_SEED={SEED}: {names}")
    print(f"{first.job.flow}: {len(names)} deaths")
    shares = [names[number :: len(places)] for number in range(len(places))]
    under_way = [(place, place.begin(share)) for place, share in zip(places, shares, strict=True) if share]
    try:
        for place, process in under_way:
            place.end(process, give_up_at)
    finally:
        for _, process in under_way:
            process.kill()
            process.wait()
    return names


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_ends_as_it_should_wherever_its_process_dies(
    nurseries: Callable[[str, str], list[Nursery]], flow: Flow
) -> None:
    names = die_everywhere(nurseries(flow.name, "sqlite"), sample=None)
    assert not_counted(names, {*flow.through, f"orders.{RELAY}"}) == set()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_on_postgresql_ends_as_it_should_where_its_process_dies(
    nurseries: Callable[[str, str], list[Nursery]], flow: Flow, everything: bool
) -> None:
    names = die_everywhere(nurseries(flow.name, "postgresql"), sample=None if everything else SAMPLE)
    assert len(names) >= SAMPLE
