"""Instances of a running system come and go: `make scale orders=3 inventory=1`, `make restart SERVICE=orders`.

    python -m scripts.scale to orders=3 inventory=1    add instances, or drain some, until there are so many
    python -m scripts.scale restart orders             replace each instance, one at a time, by one with today's code

VAR names the system's state folder. It waits until the new ones serve and the old ones have left; exit code 1 if not.
Whoever stops waiting (Ctrl-C) stops nothing: the supervisor goes on with what it was asked for.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scripts.control import MOST, ask
from scripts.processes import CannotStart, wait_until
from scripts.supervisor import DRAIN_S, REPLACE_S

SERVES_WITHIN_S, FURTHER_S = 60.0, 5.0
"""An instance that starts alone, and more for each further one that starts with it."""
LOOK_EVERY_S = 0.2

Unit = dict[str, Any]


class System:
    """The system that runs on a state folder, by its supervisor's socket. `say` shows a line to the user."""

    def __init__(self, var: Path, say: Callable[[str], None] = print) -> None:
        self.var, self.say = var, say

    def instances(self, service: str) -> dict[str, Unit]:
        """A service's instances by their names, those that leave among them."""
        units = ask(self.var, "status", service)["units"]
        return {f"{service}-{unit['instance']}": unit for unit in sorted(units, key=lambda unit: unit["instance"])}

    def scale(self, wishes: dict[str, int]) -> None:
        """Have so many instances of each service, and wait until they serve, and nobody leaves any more."""
        begun = time.monotonic()
        ask(self.var, "scale", wishes)
        limit_s = max(SERVES_WITHIN_S, DRAIN_S) + FURTHER_S * sum(wishes.values())
        for service, count in wishes.items():
            if not wait_until(partial(self.has, service, count), limit_s, LOOK_EVERY_S):
                lacking = ", ".join(self.lacks(service, count))
                raise CannotStart(f"After {limit_s:g} s: {lacking}; see `make status` and {self.var}/log.")
            self.say(f"{service}: {count} ({time.monotonic() - begun:.1f} s)")

    def has(self, service: str, count: int) -> bool:
        return self.lacks(service, count) == []

    def lacks(self, service: str, count: int) -> list[str]:
        """What is not yet as it should be."""
        units = self.instances(service)
        leave = [f"{name} has not left" for name, unit in units.items() if unit["state"] == "draining"]
        stay = {name: unit for name, unit in units.items() if unit["state"] != "draining"}
        silent = [f"{name} does not serve" for name, unit in stay.items() if not unit["serves"]]
        return leave + silent + ([] if len(stay) == count else [f"{service} has {len(stay)} instances, not {count}"])

    def restart(self, service: str) -> None:
        """Replace one instance after the other: each leaves when its successor serves."""
        there = {name: unit for name, unit in self.instances(service).items() if unit["state"] != "draining"}
        if not there:
            raise CannotStart(f"{service} has no instance to replace: `make scale {service}=1` starts one.")
        for name, unit in there.items():
            begun = time.monotonic()
            new = f"{service}-{ask(self.var, 'replace', service, str(unit['instance']))['instance']}"
            self._wait_for(service, name, new)
            self.say(f"{new} has replaced {name} ({time.monotonic() - begun:.1f} s)")

    def _wait_for(self, service: str, old: str, new: str) -> None:
        limit_s = REPLACE_S + DRAIN_S + FURTHER_S

        def settled() -> bool:
            units = self.instances(service)
            if new not in units or units[new]["state"] == "draining":
                stays = f"{old} stays" if old in units else f"{old} has left"
                raise CannotStart(f"{new} does not serve, and was given up; {stays}. See {self.var}/log/{new}.log.")
            return old not in units and bool(units[new]["serves"])

        if not wait_until(settled, limit_s, LOOK_EVERY_S):
            raise CannotStart(f"{new} has not replaced {old} after {limit_s:g} s: see `make status`.")


def wishes_of(words: list[str]) -> dict[str, int]:
    """Instances by service, from `orders=3 inventory=1`; make's own variables (VAR=...) may stand among them.

    Raises CannotStart, with the mend.
    """
    found = {}
    for word in words:
        service, _, count = word.partition("=")
        if service.isupper():
            continue
        if not (service and count.isdecimal() and int(count) <= MOST):
            raise CannotStart(f"{word!r} is no wish: write a service and how many, up to {MOST}, as in orders=3.")
        found[service] = int(count)
    if not found:
        raise CannotStart("Say which service and how many: make scale orders=3 inventory=1.")
    return found


def main(argv: list[str]) -> None:
    system = System(Path(os.environ.get("VAR") or "var").absolute())
    match argv:
        case ["to", *words]:
            system.scale(wishes_of(words))
        case ["restart", service] if service:
            system.restart(service)
        case _:
            raise CannotStart("Say which service: make scale orders=3, or make restart SERVICE=orders.")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell that runs it aside had it ignored
    try:
        main(sys.argv[1:])
    except CannotStart as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        print("\nNot waited for any longer. What was asked for goes on, and is seen in `make status`.", file=sys.stderr)
        sys.exit(130)
