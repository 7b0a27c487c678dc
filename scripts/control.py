"""Talking to the supervisor of a running system, over a socket in its state folder: one JSON request, one JSON answer.

    python -m scripts.control status | stop | add SERVICE | drain SERVICE NUMBER | replace SERVICE NUMBER

VAR names the state folder; JSON=1 prints the status for a machine.
"""

import json
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from scripts.processes import CannotStart, wait_until
from scripts.supervisor import Rank, Supervisor, Unit

STOP_S = 20.0


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

    def __init__(self, supervisor: Supervisor, build: Callable[[str, int], Unit]) -> None:
        """`build(service, number)` makes a unit of a service that may be scaled; raises CannotStart for others."""
        self.supervisor, self.build = supervisor, build
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

    def answer(self, request: list[str]) -> dict[str, Any]:
        match request:
            case ["status"]:
                return {"units": [describe(unit) for unit in self.supervisor.units]}
            case ["stop"]:
                self.supervisor.ask_to_stop()
                return {"done": "stopping"}
            case ["add", service]:
                unit = self.next_unit(service)
                self.supervisor.add(unit)
                return {"done": f"started {unit.name}"}
            case ["drain", service, number]:
                self.supervisor.drain(self.find(service, number))
                return {"done": f"draining {service}-{number}"}
            case ["replace", service, number]:
                old, unit = self.find(service, number), self.next_unit(service)
                self.supervisor.replace(old, unit)
                return {"done": f"started {unit.name}; {old.name} is drained when it serves"}
        raise CannotStart("Say one of: status, stop, add SERVICE, drain SERVICE NUMBER, replace SERVICE NUMBER.")

    def next_unit(self, service: str) -> Unit:
        used = {unit.number for unit in self.supervisor.units if unit.service == service}
        return self.build(service, next(number for number in range(1, 1000) if number not in used))

    def find(self, service: str, number: str) -> Unit:
        for unit in self.supervisor.units:
            if unit.name == f"{service}-{number}" and unit.rank is Rank.SERVICE:
                return unit
        raise CannotStart(f"No instance {number} of a service {service} runs here; `make status` lists them.")


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


def ask(var: Path, *request: str) -> dict[str, Any]:
    """One request to the system of a state folder. Raises CannotStart when none runs there, or it refuses."""
    try:
        with socket.socket(socket.AF_UNIX) as connection, address(var / "run") as path:
            connection.settimeout(10)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            answer: dict[str, Any] = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")) or b"{}")
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise CannotStart(f"Nothing runs on {var}.") from None
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
    elif request == ["status"]:
        units = ask(var, "status")["units"]
        print(json.dumps(units, indent=2) if os.environ.get("JSON") == "1" else table(units))
    else:
        print(ask(var, *request)["done"])


if __name__ == "__main__":
    try:
        main()
    except CannotStart as problem:
        sys.exit(str(problem))
