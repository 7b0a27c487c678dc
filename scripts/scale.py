"""Instances of a running system come and go: `make scale orders=3 inventory=1`, `make restart SERVICE=orders`.

    python -m scripts.scale to orders=3 inventory=1    add instances, or drain some, until there are so many
    python -m scripts.scale restart orders             replace each instance, one at a time, by one with today's code

VAR names the system's state folder. It waits until the new ones serve and the old ones have left; exit code 1 if not.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scripts.control import ask
from scripts.processes import CannotStart, wait_until

SERVES_WITHIN_S = 60.0
LEAVES_WITHIN_S = 40.0
"""Above what the supervisor gives: it gives up a replacement after a minute, and kills who drains for half of one."""
LOOK_EVERY_S = 0.2
MOST = 99

Unit = dict[str, Any]


class System:
    """The system that runs on a state folder, by its supervisor's socket."""

    def __init__(self, var: Path) -> None:
        self.var = var

    def units(self, service: str) -> list[Unit]:
        """A service's instances, those that leave among them, by their numbers."""
        found = [unit for unit in ask(self.var, "status")["units"] if unit["service"] == service]
        return sorted(found, key=lambda unit: int(unit["instance"]))

    def staying(self, service: str) -> list[Unit]:
        return [unit for unit in self.units(service) if unit["state"] != "draining"]

    def scale(self, service: str, count: int) -> None:
        """Add instances, or drain those with the highest numbers, and wait for it."""
        there = self.staying(service)
        for _ in range(count - len(there)):
            ask(self.var, "add", service)
        for unit in there[count:]:
            ask(self.var, "drain", service, str(unit["instance"]))
        self._wait(service, SERVES_WITHIN_S, lambda units: len(units) == count and all(map(serves, units)))

    def restart(self, service: str) -> None:
        """Replace one instance after the other: each leaves when its successor serves."""
        for old in self.staying(service):
            ask(self.var, "replace", service, str(old["instance"]))
            self._wait(service, SERVES_WITHIN_S + LEAVES_WITHIN_S, partial(has_left, old["instance"]))

    def _wait(self, service: str, limit_s: float, done: Callable[[list[Unit]], bool]) -> None:
        if not wait_until(lambda: done(self.units(service)), limit_s, every_s=LOOK_EVERY_S):
            logs = f"{self.var}/log/{service}-*"
            raise CannotStart(f"{service} is not as it should be after {limit_s:g} s: see `make status` and {logs}.")


def serves(unit: Unit) -> bool:
    return bool(unit["serves"]) and unit["state"] == "running"


def has_left(number: int, units: list[Unit]) -> bool:
    return all(map(serves, units)) and number not in [unit["instance"] for unit in units]


def wishes(words: list[str]) -> dict[str, int]:
    """Instances by service, from `orders=3 inventory=1`. Raises CannotStart, with the mend."""
    found = {}
    for word in words:
        service, _, count = word.partition("=")
        if not (service.isidentifier() and service.islower() and count.isdecimal() and int(count) <= MOST):
            raise CannotStart(f"{word!r} is no wish: write a service and how many, up to {MOST}, as in orders=3.")
        found[service] = int(count)
    if not found:
        raise CannotStart("Say which service and how many: make scale orders=3 inventory=1.")
    return found


def main(argv: list[str]) -> None:
    system = System(Path(os.environ.get("VAR") or "var").absolute())
    match argv:
        case ["to", *words]:
            for service, count in wishes(words).items():
                told(f"{service}: {count} now", partial(system.scale, service, count))
        case ["restart", service] if service:
            told(f"{service}: every instance is a new one", partial(system.restart, service))
        case _:
            raise CannotStart("Say: make scale orders=3, or make restart SERVICE=orders.")


def told(what: str, do: Callable[[], None]) -> None:
    begun = time.monotonic()
    do()
    print(f"{what} ({time.monotonic() - begun:.1f} s)")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CannotStart as problem:
        sys.exit(str(problem))
