"""A minute of chaos, played once, whose leavings the tests of this folder look at."""

import faulthandler
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.processes import ROOT
from tests.chaos import ledger, money, verdict
from tests.children import start

SEED = os.environ.get("SEED") or "rialto"
SECONDS, ALL_SECONDS = "60", "300"
ENDS_WITHIN_S = 1200
Left = tuple[Path, int, str]
"""What a run leaves: its folder, its exit code and its report."""


@pytest.fixture(scope="session")
def minute(tmp_path_factory: pytest.TempPathFactory, everything: bool) -> Left:
    """A minute of chaos on SQLite; five of them with --everything."""
    return play(tmp_path_factory.mktemp("chaos"), "sqlite", ALL_SECONDS if everything else SECONDS)


def play(var: Path, database: str, seconds: str) -> Left:
    faulthandler.cancel_dump_traceback_later()  # it takes longer than a test may, and has limits of its own
    wishes = {"SECONDS": seconds, "SEED": SEED, "VAR": str(var), "DB": database, "CUSTOMERS": "12", "KEEP": ""}
    wishes["PYTHONPATH"] = str(ROOT)
    with (var / "printed").open("wb") as log:
        chaos = start((sys.executable, "-m", "tests.chaos"), wishes, log, signal="TERM")
    try:
        chaos.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        chaos.terminate()
        chaos.wait(60)
    return var / SEED, chaos.returncode, (var / "printed").read_text()


@pytest.fixture
def copied(minute: Left, tmp_path: Path) -> Path:
    """A copy of the databases and mails; as the run left them nothing is found in it."""
    copy(minute[0], tmp_path, "*")
    assert not any(ledger.check(ledger.read(ledger.Source(tmp_path))).values())
    return tmp_path


@pytest.fixture
def copied_money(minute: Left, tmp_path: Path) -> Path:
    """The same of what there is about customers' money."""
    copy(minute[0], tmp_path, "accounts", "transactions", "acquirer", "bank")
    assert not any(money.check(money.read(ledger.Source(tmp_path))).values())
    return tmp_path


def copy(left: Path, to: Path, *databases: str) -> None:
    for name in databases:
        for file in left.glob(f"{name}.db*"):
            shutil.copy(file, to)
    shutil.copytree(left / "mail", to / "mail")


@pytest.fixture
def run(minute: Left) -> verdict.Run:
    """That minute's; as it was, nothing is found in it."""
    run = verdict.Run.read(ledger.Source(minute[0]))
    assert not any(verdict.check(run).values())
    return run
