"""What goes wrong during a chaos run: processes killed, or stopped for longer than a lease, by a schedule of the seed.

The schedule depends on the seed, the seconds and the names of the units alone, so a run can be repeated act by act.
What truly happened, and when, is recorded: the verdict may only excuse what an act explains.
"""

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.e2e.system import System

KINDS = {"kill": 8, "stop": 5, "broker": 2, "company": 2}
"""How often each kind of act is chosen, relative to the others."""
PAUSE_S = (1.0, 6.0)  # between two acts
STOP_BEYOND_LEASE_S = (1.0, 5.0)
BROKER_REST_S = 40.0  # the least time between two ends of the broker
FIRST_ACT_S = 3.0
COMPANIES = ("acquirer-1", "carrier-1", "bank-1")
BROKER = "broker-1"


@dataclass(frozen=True)
class Act:
    """`at` and `until` are seconds from the run's begin in a plan, Unix times in the record. A killed process is away
    until it serves again. `missed`: the process was not there at that moment.
    """

    kind: str  # kill stop broker company
    unit: str
    at: float
    until: float
    missed: bool = False


def plan(seed: str, seconds: float, lease_s: float, units: list[str]) -> list[Act]:
    """The acts of a run. Every stop is longer than the lease, over when the run is, and nothing else hits its unit."""
    chance = random.Random(f"{seed}:nemesis")
    acts: list[Act] = []
    at, free_at = FIRST_ACT_S, {BROKER: 0.0}
    while at < seconds:
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        unit = {"broker": BROKER, "company": chance.choice(COMPANIES)}.get(kind, chance.choice(units))
        length = lease_s + chance.uniform(*STOP_BEYOND_LEASE_S) if kind == "stop" else 0.0
        if at + length <= seconds and at >= free_at.get(unit, 0.0):
            acts.append(Act(kind, unit, at, at + length))
            free_at[unit] = at + (BROKER_REST_S if unit == BROKER else length)
        at += chance.uniform(*PAUSE_S)
    return acts


class Nemesis:
    """Plays a plan against a running system; `record` is a file of JSON lines."""

    def __init__(self, system: System, acts: list[Act], record: Path) -> None:
        self.system, self.acts, self.record = system, acts, record
        self.done: list[Act] = []
        self.stopped: list[tuple[Act, psutil.Process]] = []

    def play(self, seconds: float, meanwhile: Callable[[], None]) -> None:
        """Do each act at its time. `meanwhile` is called some times a second. At the end everything runs again."""
        begun = time.time()
        with self._going_on():
            for act in self.acts:
                self._wait_until(begun + act.at, meanwhile)
                self._do(act)
            self._wait_until(begun + seconds, meanwhile)

    def _wait_until(self, moment: float, meanwhile: Callable[[], None]) -> None:
        while (left_s := moment - time.time()) > 0:
            self._continue_due(time.time())
            meanwhile()
            time.sleep(min(0.1, left_s))

    def _do(self, act: Act) -> None:
        process, now = self._process(act.unit), time.time()
        if process is None:
            self._note(Act(act.kind, act.unit, now, now, missed=True))
        elif act.kind == "stop":
            process.send_signal(signal.SIGSTOP)
            self.stopped.append((Act("stop", act.unit, now, now + act.until - act.at), process))
        else:
            process.send_signal(signal.SIGKILL)
            self._note(Act(act.kind, act.unit, now, now))

    def _process(self, unit: str) -> psutil.Process | None:
        """The unit's process, if it is one of this system for certain: a pid may have gone to somebody else."""
        try:
            process = psutil.Process(self.system.pid(unit))
            return process if process.environ().get("VAR") == str(self.system.var) else None
        except (psutil.Error, FileNotFoundError):
            return None

    def _continue_due(self, moment: float) -> None:
        for act, process in [each for each in self.stopped if each[0].until <= moment]:
            self.stopped.remove((act, process))
            try:
                process.send_signal(signal.SIGCONT)  # psutil knows a pid that came to be another process
            except psutil.NoSuchProcess:
                pass
            self._note(Act(act.kind, act.unit, act.at, time.time()))

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._continue_due(float("inf"))

    def _note(self, act: Act) -> None:
        self.done.append(act)
        with self.record.open("a") as file:
            file.write(json.dumps(asdict(act)) + "\n")
