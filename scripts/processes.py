"""What the scripts know about processes: a command, a free port, a child that cannot outlive its parent."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1
_chosen: set[int] = set()
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class CannotStart(Exception):
    """Something is missing or in the way; the text is the one sentence that the user reads."""


@dataclass(frozen=True)
class Command:
    """A program to run. `env` is added to the environment that it inherits."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    """A TCP port that nobody listens on, below the range that the kernel hands to outgoing connections, and that this
    process was not given before: what it is for may not listen yet.
    """
    while True:
        port = random.randrange(20000, 32768)
        if port not in _chosen and not taken(port):
            _chosen.add(port)
            return port


def taken(port: int) -> bool:
    """Whether `port` of this machine is taken, on any of its addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return True
    return False


def connects(port: int) -> bool:
    """Whether somebody accepts connections on `port` of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def dies_with_us() -> Callable[[], None]:
    """What a new child has to do so that the kernel kills it when we die, however we die.

    Start it from the main thread: the kernel watches the thread that forked.
    """
    parent = os.getpid()

    def in_the_child() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return in_the_child


def start(command: Command, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Run a command in a session of its own, with its output in `log`. It dies with us."""
    return subprocess.Popen(
        command.argv,
        cwd=ROOT,
        env={**os.environ, **command.env},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=dies_with_us(),  # noqa: PLW1509 - the scripts have no threads
    )


def kill_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signal a child and its own children; one that has gone already is no error."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def stop(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """SIGTERM, and SIGKILL for the whole group when that has not ended it within `grace_s`."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
    kill_group(process, signal.SIGKILL)
    process.wait()


def wait_until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.1) -> bool:
    """Poll until `condition` holds; False when it does not within `timeout_s`."""
    limit = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(every_s)
    return True
