"""Talking to the supervisor of a running system, over a socket in its state folder: one JSON request, one JSON answer.

    python -m scripts.control status [SERVICE] | stop | add SERVICE | drain SERVICE NUMBER | replace SERVICE NUMBER

VAR names the state folder; JSON=1 prints the status for a machine. scripts/scale.py asks for many at once, and waits.
"""

import itertools
import json
import os
import select
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from scripts.processes import CannotStart, wait_until
from scripts.supervisor import Supervisor, Unit

ANSWER_S = 10.0
STOP_S = 20.0
MOST = 99
"""Instances of one service."""
GATEWAY = (
    "There is one gateway, which holds the shop's port: it cannot be scaled, nor replaced while it serves. "
    "`. {var}/env; kill $(cat $VAR/run/gateway-1.pid)` ends it when it has answered what it was asked; it is started "
    "again at once, with the code of now, and nobody is served for those seconds."
)


@contextmanager
def address(run: Path) -> Iterator[str]:
    """The socket's path, short however deep the folder: the kernel takes 107 characters of a socket's path."""
    folder = os.open(run, os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/control"
    finally:
        os.close(folder)


class Control:
    """The supervisor's end. `poll` waits, and answers whoever calls meanwhile."""

    def __init__(self, supervisor: Supervisor, build: Callable[[str, int], Unit], services: Collection[str]) -> None:
        """`build(service, number)` makes a further instance of one of `services`, which may be scaled."""
        self.supervisor, self.build, self.services = supervisor, build, services
        self.listener = socket.socket(socket.AF_UNIX)
        (supervisor.run / "control").unlink(missing_ok=True)
        with address(supervisor.run) as path:
            self.listener.bind(path)
        (supervisor.run / "control").chmod(0o600)
        self.listener.listen()

    def poll(self, timeout_s: float) -> None:
        if not select.select([self.listener], [], [], timeout_s)[0]:
            return
        caller, _ = self.listener.accept()
        with caller:
            caller.settimeout(1)
            try:
                answer = self.answer(json.loads(caller.recv(4096)))
            except (CannotStart, ValueError) as problem:
                answer = {"error": str(problem)}
            except OSError:
                return
            try:
                caller.sendall(json.dumps(answer).encode())
            except OSError:  # the caller left; nothing of ours depends on that
                return

    def close(self) -> None:
        self.listener.close()
        (self.supervisor.run / "control").unlink(missing_ok=True)

    def answer(self, request: list[Any]) -> dict[str, Any]:
        match request:
            case ["status"] | ["status", str()]:
                units = self.instances(request[1]) if request[1:] else self.supervisor.units
                return {"units": [describe(unit) for unit in units]}
            case ["stop"]:
                self.supervisor.ask_to_stop()
                return {"done": "stopping"}
            case ["add", str(service)]:
                return {"done": f"started {self.add(service).name}"}
            case ["drain", str(service), str(number)]:
                self.supervisor.drain(self.find(service, number))
                return {"done": f"draining {service}-{number}"}
            case ["replace", str(service), str(number)]:
                return self.replace(self.find(service, number))
            case ["scale", dict(wishes)]:
                return self.scale(wishes)
        raise CannotStart("Say one of: status, stop, add SERVICE, drain SERVICE NUMBER, replace SERVICE NUMBER.")

    def add(self, service: str) -> Unit:
        (unit,) = self.further(service, 1)
        self.supervisor.add(unit)
        return unit

    def replace(self, old: Unit) -> dict[str, Any]:
        if old.leaving:
            raise CannotStart(f"{old.name} is leaving already.")
        for unit in self.instances(old.service):
            if unit.replaces and old in (unit, unit.replaces):
                raise CannotStart(f"{unit.name} is about to replace {unit.replaces.name}: wait until it has.")
        (new,) = self.further(old.service, 1)
        self.supervisor.replace(old, new)
        return {"done": f"started {new.name}; {old.name} is drained when it serves", "instance": new.number}

    def scale(self, wishes: dict[str, int]) -> dict[str, Any]:
        """Start instances, or drain some, until so many stay of each service; all of it or, for a mistake, nothing.

        First those leave that do not run, then those with the highest numbers.
        """
        come: list[Unit] = []
        leave: list[Unit] = []
        for service, count in wishes.items():
            stay = [unit for unit in self.instances(service) if not unit.leaving]
            if type(count) is not int or not 0 <= count <= MOST:
                raise CannotStart(f"{service} cannot have {count!r} instances; it can have 0 to {MOST}.")
            stay.sort(key=lambda unit: (unit.process is None, unit.number))
            leave += stay[count:]
            come += self.further(service, count - len(stay))
        for unit in leave:
            self.supervisor.drain(unit)
        for unit in come:
            self.supervisor.add(unit)
        return {"done": f"{len(come)} start, {len(leave)} leave"}

    def further(self, service: str, count: int) -> list[Unit]:
        """So many units more, not started yet, with the lowest numbers that are free."""
        used = {unit.number for unit in self.instances(service)}
        free = (number for number in itertools.count(1) if number not in used)
        return [self.build(service, number) for number in itertools.islice(free, max(count, 0))]

    def instances(self, service: str) -> list[Unit]:
        """Those of a service, who leave among them. Raises CannotStart for what is no service that may be scaled."""
        if service == "gateway":
            raise CannotStart(GATEWAY.format(var=self.supervisor.run.parent))
        if service not in self.services:
            raise CannotStart(f"There is no service {service} to scale; there are: {', '.join(self.services)}.")
        return [unit for unit in self.supervisor.units if unit.service == service]

    def find(self, service: str, number: str) -> Unit:
        for unit in self.instances(service):
            if str(unit.number) == number:
                return unit
        raise CannotStart(f"No instance {number} of {service} runs here; `make status` lists them.")


def describe(unit: Unit) -> dict[str, Any]:
    """What `status` says of a unit: memory is the resident set in bytes; a unit between two starts has no pid."""
    pid = unit.process.pid if unit.process else None
    try:
        memory = psutil.Process(pid).memory_info().rss if pid else 0
    except psutil.NoSuchProcess:
        memory = 0
    return {
        "service": unit.service,
        "instance": unit.number,
        "pid": pid,
        "up_since": datetime.fromtimestamp(unit.since, UTC).isoformat(timespec="seconds") if pid else None,
        "memory": memory,
        "restarts": unit.restarts,
        "serves": pid is not None and unit.up(),
        "state": "draining" if unit.leaving else "running" if pid else "waiting to start again",
        "metrics_port": unit.metrics_port,
    }


def ask(var: Path, *request: Any) -> dict[str, Any]:
    """One request to the system of a state folder. Raises CannotStart when none runs there, or it refuses."""
    try:
        with socket.socket(socket.AF_UNIX) as connection, address(var / "run") as path:
            connection.settimeout(ANSWER_S)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            told = b"".join(iter(lambda: connection.recv(65536), b""))
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise CannotStart(f"Nothing runs on {var}.") from None
    except OSError:  # a time-out, too
        told = b""
    if not told:
        raise CannotStart(f"The system on {var} does not answer: it is about to stop, or is stopped.")
    answer: dict[str, Any] = json.loads(told)
    if "error" in answer:
        raise CannotStart(answer["error"])
    return answer


def table(units: list[dict[str, Any]]) -> str:
    heads = ("service", "instance", "pid", "up since", "memory", "restarts")
    rows = [
        (unit["service"], unit["instance"], unit["pid"] or unit["state"], unit["up_since"] or "-",
         f"{unit['memory'] / 2**20:.0f} MB", unit["restarts"])
        for unit in units
    ]  # fmt: skip
    lines = [tuple(map(str, row)) for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    total = sum(unit["memory"] for unit in units) / 2**20
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, f"{len(units)} processes, {total:.0f} MB"])


def stop(var: Path) -> None:
    """Ask for the end and wait for it: the socket goes last."""
    ask(var, "stop")
    if not wait_until(lambda: not (var / "run/control").exists(), STOP_S):
        raise CannotStart(f"The system on {var} has not stopped within {STOP_S:g} s.")
    print(f"stopped what ran on {var}")


def main() -> None:
    var = Path(os.environ.get("VAR") or "var").absolute()
    request = sys.argv[1:]
    if request == ["stop"]:
        stop(var)
    elif request[:1] == ["status"]:
        units = ask(var, *request)["units"]
        print(json.dumps(units, indent=2) if os.environ.get("JSON") == "1" else table(units))
    else:
        print(ask(var, *request)["done"])


if __name__ == "__main__":
    try:
        main()
    except CannotStart as problem:
        sys.exit(str(problem))
