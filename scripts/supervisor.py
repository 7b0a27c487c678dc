"""Keeps processes running: start, restart with back-off, add, drain, replace, and stop in order. One thread, one loop.

A unit is one process of a service. Units stop in the opposite order of their ranks, and all die with the supervisor.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from subprocess import Popen
from types import FrameType

from scripts.processes import Command, kill_group, start

BACK_OFF_S = (0.5, 30.0)  # the first pause before a restart, doubled each time, and the longest
REPLACE_S = 60.0  # a replacement that does not serve by then is given up
STEADY_S = 20.0  # who ran this long is taken to be well: the next pause is the first again
DRAIN_S = 30.0  # a drained unit may finish its work this long
TICK_S = 0.1


class Rank(IntEnum):
    BROKER = 0
    SANDBOX = 1
    SERVICE = 2
    GATEWAY = 3


GRACE_S = {Rank.GATEWAY: 5.0, Rank.SERVICE: 4.0, Rank.SANDBOX: 1.0, Rank.BROKER: 3.0}
"""From SIGTERM to SIGKILL for each rank: under 15 s in all. RabbitMQ closes its stores at once, then dawdles."""


class Interrupted(Exception):
    """The user, or `make stop`, asked us to end."""


@dataclass(eq=False)
class Unit:
    """One process of a service. `up` tells whether it serves yet. It `replaces` another until it serves."""

    service: str
    number: int
    rank: Rank
    command: Command
    up: Callable[[], bool]
    metrics_port: int | None = None
    process: "Popen[bytes] | None" = None
    since: float = 0.0  # time.time() of the last start
    restarts: int = 0
    quick_ends: int = 0  # in a row, without a steady run between
    due: float = 0.0  # time.monotonic() of the next start, while process is None
    leaving: float | None = None  # time.monotonic() at which a draining unit is killed
    replaces: "Unit | None" = None
    replace_by: float = 0.0  # time.monotonic()

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"


@dataclass
class Supervisor:
    """Owns the units. `log` and `run` are folders; `say` shows a line to the user; `poll` waits up to so many seconds
    and serves whoever wants something from us meanwhile.
    """

    log: Path
    run: Path
    say: Callable[[str], None]
    poll: Callable[[float], None] = time.sleep
    units: list[Unit] = field(default_factory=list)
    stop_signals: int = 0

    def listen_to_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.ask_to_stop)

    def ask_to_stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Once: stop in order, which `wait_for` notices. Twice: kill."""
        self.stop_signals += 1

    def add(self, unit: Unit) -> None:
        (self.log / f"{unit.name}.log").unlink(missing_ok=True)
        self.units.append(unit)
        self._start(unit)

    def drain(self, unit: Unit) -> None:
        """Let a unit finish its work, and forget it when it has ended. Whom it was to replace stays."""
        unit.replaces = None
        if unit.leaving is None:
            unit.leaving = time.monotonic() + DRAIN_S
            if unit.process:
                unit.process.terminate()

    def replace(self, old: Unit, new: Unit) -> None:
        """Start `new`; drain `old` as soon as `new` serves. If `new` does not, or ends before it does, `old` stays."""
        new.replaces, new.replace_by = old, time.monotonic() + REPLACE_S
        self.add(new)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Keep everything running until `condition` holds; False after `timeout_s`. Raises Interrupted."""
        limit = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > limit:
                return False
            self.tick()
            self.poll(TICK_S)
            if self.stop_signals:
                raise Interrupted
        return True

    def tick(self) -> None:
        """Look after each unit once."""
        for unit in list(self.units):
            if unit.process and unit.process.poll() is not None:
                self._ended(unit, unit.process)
            elif not unit.process and unit.leaving:
                self._leaves(unit, "has left")
            elif not unit.process and time.monotonic() >= unit.due:
                unit.restarts += 1
                self._start(unit)
            elif unit.process and unit.leaving and time.monotonic() > unit.leaving:
                kill_group(unit.process, signal.SIGKILL)
            if unit.replaces:
                self._hand_over(unit, unit.replaces)

    def _hand_over(self, unit: Unit, old: Unit) -> None:
        if unit.process and unit.up():
            self.say(f"{unit.name} serves; draining {old.name}")
            unit.replaces = None
            self.drain(old)
        elif time.monotonic() > unit.replace_by:
            self.say(f"{unit.name} does not serve (see {self.log / unit.name}.log); {old.name} stays")
            self.drain(unit)

    def stop(self) -> None:
        """End everything, rank by rank. A second signal meanwhile kills what is left."""
        for rank in sorted(Rank, reverse=True):
            units = [unit for unit in self.units if unit.rank == rank]
            running = [unit.process for unit in units if unit.process]
            for process in running:
                process.terminate()
            limit = time.monotonic() + GRACE_S[rank]
            while any(process.poll() is None for process in running):
                if time.monotonic() > limit or self.stop_signals > 1:
                    break
                time.sleep(0.05)
            for process in running:
                kill_group(process, signal.SIGKILL)
                process.wait()
            for unit in units:
                self._forget(unit)

    def _start(self, unit: Unit) -> None:
        with (self.log / f"{unit.name}.log").open("ab") as log:
            unit.process = start(unit.command, log)
        unit.since = time.time()
        for path in self._pid_files(unit):
            new = path.with_suffix(".new")
            new.write_text(f"{unit.process.pid}\n")
            new.replace(path)

    def _ended(self, unit: Unit, process: "Popen[bytes]") -> None:
        kill_group(process, signal.SIGKILL)
        unit.process = None
        log, code = self.log / f"{unit.name}.log", process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if unit.leaving:
            late = code == -signal.SIGKILL and time.monotonic() > unit.leaving
            self._leaves(unit, f"was killed: it had not left after {DRAIN_S:g} s" if late else "has left")
        elif unit.replaces:
            self._leaves(unit, f"{how} before it served (see {log}); {unit.replaces.name} stays")
        else:
            unit.quick_ends = 0 if time.time() - unit.since > STEADY_S else unit.quick_ends + 1
            pause_s = min(BACK_OFF_S[0] * 2 ** max(unit.quick_ends - 1, 0), BACK_OFF_S[1])
            unit.due = time.monotonic() + pause_s
            self.say(f"{unit.name} {how} (see {log}); starting it again in {pause_s:g} s")

    def _leaves(self, unit: Unit, how: str) -> None:
        self.say(f"{unit.name} {how}")
        unit.replaces = None
        self._forget(unit)

    def _forget(self, unit: Unit) -> None:
        for path in self._pid_files(unit):
            path.unlink(missing_ok=True)
        self.units.remove(unit)

    def _pid_files(self, unit: Unit) -> list[Path]:
        """`orders-2.pid`; what there is only one of is found as `broker.pid` too."""
        alone = unit.rank in (Rank.BROKER, Rank.SANDBOX)
        return [self.run / f"{name}.pid" for name in ([unit.name, unit.service] if alone else [unit.name])]
