"""What `make test` runs pytest in: a RabbitMQ node and a PostgreSQL cluster that nobody else uses and nothing survives.

Without arguments the folders of tests are shared out to LANES, a pytest each, of which some run at once. (pytest-xdist
is no choice: its workers hang once eventlet has patched their threads.) With arguments one pytest gets them as they
are; with `--everything` alone each of the lanes gets it, and with it the larger bounds and the longer runs
(`make test-all`). It finds AMQP_URI, RABBIT_CTL_URI (the node's management API) and PG_URI (a superuser's) in its
environment.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from scripts.broker import Broker
from scripts.postgresql import cluster
from scripts.processes import ROOT, CannotStart, dies_with_us

LANES = (
    ("tests/unit", "tests/contract", "tests/component", "tests/machines"),
    ("tests/faults",),
    ("tests/integration", "tests/architecture", "tests/model"),
    ("tests/e2e", "tests/chaos"),
)
AT_ONCE = max(2, os.cpu_count() or 1)
POLL_S = 0.2
EVERYTHING = "--everything"
NO_TESTS = 5  # pytest's exit code


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    with ExitStack() as throw_away:
        folder = Path(throw_away.enter_context(tempfile.TemporaryDirectory(prefix="rialto-test-")))
        folder.chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        install_browser()
        pg_uri = throw_away.enter_context(cluster(folder / "postgresql"))
        node = throw_away.enter_context(Broker(folder / "broker"))
        env = {
            "SUPPORT_LEARN_AT_START": "false",  # hundreds of processes, of which few are asked anything
            **{name: value for name, value in os.environ.items() if name not in ("VAR", "PORT", "SCALE", "DB", "DEMO")},
            "AMQP_URI": node.amqp_uri,
            "RABBIT_CTL_URI": node.management_uri,
            "PG_URI": pg_uri,
            "TMPDIR": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        given = sys.argv[1:]
        if given not in ([], [EVERYTHING]):
            return run([given], env, folder)
        lanes = [[path for path in lane if (ROOT / path).exists()] for lane in LANES]
        return run([[*given, *lane] for lane in lanes if lane], env, folder)


def run(lanes: list[list[str]], env: dict[str, str], folder: Path) -> int:
    """A pytest for each lane, the first of them first, as many at once as there are processors: more of them only wait
    for each other, and run into limits. One prints as it goes; each other one when it has ended."""
    waiting, running, codes = list(enumerate(lanes)), list[Lane](), list[int]()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(start(*waiting.pop(0), env, folder))
            time.sleep(POLL_S)
            for lane in [each for each in running if each.pytest.poll() is not None]:
                running.remove(lane)
                codes.append(lane.pytest.returncode)
                if lane.output is not None:
                    lane.output.seek(0)
                    shutil.copyfileobj(lane.output, sys.stdout)
                    sys.stdout.flush()
        if set(codes) == {NO_TESTS}:
            return NO_TESTS
        return 0 if set(codes) <= {0, NO_TESTS} else 1  # one that was killed has a code below zero
    finally:
        for lane in running:
            lane.pytest.terminate()
            lane.pytest.wait()


@dataclass(frozen=True)
class Lane:
    pytest: subprocess.Popen[bytes]
    output: TextIO | None


def start(number: int, lane: list[str], env: dict[str, str], folder: Path) -> Lane:
    output = None if number == 0 else (folder / f"lane-{number}").open("w+")
    argv = [sys.executable, "-m", "pytest", "--basetemp", str(folder / f"tmp-{number}"), *lane]
    return Lane(subprocess.Popen(argv, cwd=ROOT, env=env, stdout=output, preexec_fn=dies_with_us()), output)  # noqa: PLW1509 - no threads here


def end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


def install_browser() -> None:
    """For the page's tests; where it cannot be installed they say so themselves."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        subprocess.run([ROOT / "scripts/apt-install", "chromium", "chromium-driver"], check=False)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotStart as problem:
        sys.exit(str(problem))
