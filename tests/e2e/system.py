"""The system that `make run` starts, as a test sees it: its processes, its state folder, what it says."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import psutil

from scripts.processes import ROOT, free_port, stop, wait_until
from tests.children import dying, start

STARTS_WITHIN_S = 180
STOPS_WITHIN_S = 15
OPERATOR = {"OPERATOR_EMAIL": "operator@rialto.example", "OPERATOR_PASSWORD": "operator-password"}


class System:
    """One system on one state folder and port, with a broker of its own. It can be started again after its end."""

    def __init__(self, var: Path) -> None:
        self.var, self.port = var, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.wishes = {"VAR": str(var), "PORT": str(self.port), "DEMO": "0", "AMQP_URI": "", **OPERATOR}
        self.output = var / "output"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What its processes were told at the last start, and the operator's address and password."""
        exports = [word for word in shlex.split((self.var / "env").read_text()) if word != "export"]
        return dict(word.split("=", 1) for word in exports) | OPERATOR

    # --- life

    def begin(self, *args: str, **wishes: str) -> "subprocess.Popen[bytes]":
        """Run `scripts.up` without waiting for anything."""
        with self.output.open("wb") as log:
            argv = (sys.executable, "-m", "scripts.up", *args)
            self.process = start(argv, {**self.wishes, **wishes}, log, signal="TERM")
        return self.process

    def start(self, **wishes: str) -> None:
        process = self.begin(**wishes)
        wait_until(lambda: self.said(f"ready {self.url}\n") or process.poll() is not None, STARTS_WITHIN_S)
        assert self.said(f"ready {self.url}\n"), self.output.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask for the end with one signal; answers the seconds until it had come."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        try:
            self.process.wait(STOPS_WITHIN_S + 15)
        finally:
            stop(self.process, grace_s=2)
        return time.monotonic() - begun

    def said(self, text: str) -> bool:
        return text in self.output.read_text()

    def processes(self) -> list[str]:
        """Every process that was told of this state folder, children of children too."""
        return [shlex.join(process.cmdline()) for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("VAR") == str(self.var)
        except psutil.Error:  # it has just ended, or is a zombie, which has no environment
            return False

    # --- its parts

    def control(self, *request: str, **env: str) -> str:
        """`python -m scripts.control`, which has to succeed; what it prints."""
        argv = ("-m", "scripts.control", *request)
        done = run(*argv, env={"VAR": str(self.var), **env})
        assert done.returncode == 0, done.stdout
        return done.stdout

    def status(self) -> list[dict[str, Any]]:
        units: list[dict[str, Any]] = json.loads(self.control("status", JSON="1"))
        return units

    def pid(self, name: str) -> int:
        """Of `orders-1`, `broker`, ..."""
        return int((self.var / "run" / f"{name}.pid").read_text())

    def signal(self, name: str, number: signal.Signals) -> None:
        psutil.Process(self.pid(name)).send_signal(number)

    def handled(self) -> dict[str, float]:
        """Calls and events that each instance has handled so far, by its own count."""
        counts = {}
        for unit in self.status():
            if unit["metrics_port"]:
                text = httpx.get(f"http://127.0.0.1:{unit['metrics_port']}/metrics").text
                values = re.findall(r"^rialto_handled_total\{.*\} (\S+)$", text, re.MULTILINE)
                counts[f"{unit['service']}-{unit['instance']}"] = sum(map(float, values))
        return counts

    def readiness(self) -> tuple[int, dict[str, bool]]:
        """Status of GET /v1/ready, and which services answer; status 0 when the gateway does not."""
        try:
            answer = httpx.get(f"{self.url}/v1/ready", timeout=10)
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json()["services"]

    def wait_ready(self) -> None:
        assert wait_until(lambda: self.readiness()[0] == 200, 90), self.readiness()

    def wait_learned(self) -> None:
        """Until customer service answers from its articles: it learns for a while after its start."""

        def answers() -> bool:
            return httpx.get(f"{self.url}/v1/articles", params={"query": "refund"}, timeout=30).is_success

        assert wait_until(answers, 90)

    def mails_to(self, address: str) -> list[str]:
        """The subjects of all mails to somebody."""
        mails = [message_from_bytes(path.read_bytes()) for path in (self.var / "mail/new").iterdir()]
        return [mail["Subject"] for mail in mails if mail["To"] == address]


def run(*argv: str, env: dict[str, str], timeout_s: float = 30) -> "subprocess.CompletedProcess[str]":
    """Our interpreter to its end; stdout has what it printed on either stream."""
    return subprocess.run(
        dying(sys.executable, *argv),
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
