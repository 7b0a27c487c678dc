"""Programs that tests start. They die with us, however we die."""

import os
import subprocess
from collections.abc import Mapping
from typing import IO

from scripts.processes import ROOT


def dying(*argv: str, signal: str = "KILL") -> tuple[str, ...]:
    """The command of a program that gets `signal` when we are gone.

    By setpriv, not by code between fork and exec as in scripts/: eventlet's patches forbid that here.
    """
    return ("setpriv", "--pdeathsig", signal, *argv)


def start(
    argv: tuple[str, ...], env: Mapping[str, str], log: IO[bytes], signal: str = "KILL"
) -> subprocess.Popen[bytes]:
    """Run a program in a session of its own; it gets `signal` when we are gone. `env` is added to ours."""
    return subprocess.Popen(
        dying(*argv, signal=signal),
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
