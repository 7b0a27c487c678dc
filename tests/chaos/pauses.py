"""The longest pause of each process' hub during a run, from their metrics; what a stop caused does not count."""

import re
import time
from urllib.error import URLError
from urllib.request import urlopen

from scripts.control import ask
from scripts.processes import CannotStart
from tests.chaos.nemesis import Nemesis
from tests.e2e.system import System

LOOK_EVERY_S = 20.0
REMEMBERED_S = 130.0  # the metric is the longest of this minute and the one before


class Pauses:
    def __init__(self, system: System, breaker: Nemesis) -> None:
        self.system, self.breaker = system, breaker
        self.longest: dict[str, float] = {}
        self.looked_at = 0.0

    def look(self, now: bool = False) -> None:
        """Read the metrics of all, if it is time."""
        if not now and time.monotonic() - self.looked_at < LOOK_EVERY_S:
            return
        self.looked_at = time.monotonic()
        try:
            units = ask(self.system.var, "status")["units"]
        except CannotStart:
            return
        stopped = {act.unit for act, _ in self.breaker.stopped}
        stopped |= {a.unit for a in self.breaker.done if a.kind == "stop" and a.until > time.time() - REMEMBERED_S}
        for unit in units:
            name = f"{unit['service']}-{unit['instance']}"
            if unit["pid"] and unit["metrics_port"] and name not in stopped:
                pause = _pause(unit["metrics_port"])
                self.longest[unit["service"]] = max(self.longest.get(unit["service"], 0.0), pause)


def _pause(port: int) -> float:
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            found = re.search(r"^rialto_hub_pause_seconds (\S+)$", answer.read().decode(), re.MULTILINE)
    except (URLError, OSError):  # it starts, or has just been killed
        return 0.0
    return float(found[1]) if found else 0.0
