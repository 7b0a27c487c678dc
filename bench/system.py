"""A system of the bench's own, and what it uses."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_S = 180.0


class System:
    """`make run` on a state folder of its own, without the demo's purchases."""

    def __init__(self, var: Path, port: int) -> None:
        self.var, self.port = var, port

    def start(self) -> float:
        """Bring it up; answers the seconds until it was ready."""
        env = {**os.environ, "VAR": str(self.var), "PORT": str(self.port), "DEMO": "0", "LOG_LEVEL": "WARNING"}
        begun = time.monotonic()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 it lives as long as the system
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.up"], cwd=ROOT, env=env, stdout=self.log, stderr=subprocess.STDOUT
        )
        while time.monotonic() - begun < START_S:
            self.log.seek(0)
            if "ready http://" in self.log.read():
                return time.monotonic() - begun
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.log.seek(0)
        raise SystemExit(f"the system did not come up:\n{self.log.read()}")

    def stop(self) -> float:
        """End it; answers the seconds that this took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return time.monotonic() - begun

    def setting(self, name: str) -> str:
        found = re.search(rf"^export {name}='?([^'\n]*)'?$", (self.var / "env").read_text(), re.MULTILINE)
        assert found is not None, name
        return found[1]

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Every process of the system, by the name of its pid file, children included."""
        found: dict[str, list[psutil.Process]] = {}
        for file in sorted((self.var / "run").glob("*-[0-9]*.pid")):
            process = psutil.Process(int(file.read_text()))
            found[file.stem] = [process, *process.children(recursive=True)]
        return found

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds that each has used so far."""
        return {
            name: sum(sum(process.cpu_times()[:2]) for process in processes)
            for name, processes in self.processes().items()
        }

    def memory_mb(self) -> dict[str, float]:
        """Memory of each, shared pages counted once over all (PSS), in MB."""
        return {
            name: sum(process.memory_full_info().pss for process in processes) / 1e6
            for name, processes in self.processes().items()
        }

    def counters(self) -> dict[str, float]:
        """RPC requests handled and transactions committed so far, over all services."""
        handled = commits = 0.0
        for processes in self.processes().values():
            port = _metrics_port(processes[0])
            if port is None:
                continue
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            handled += sum(
                float(value)
                for service, value in re.findall(r'^rialto_handled_total\{.*service="(\w+)".*\} (\S+)$', text, re.M)
                if service != "gateway"
            )
            commits += sum(float(value) for value in re.findall(r"^rialto_commits_total (\S+)$", text, re.M))
        return {"rpcs": handled, "commits": commits}


def _metrics_port(process: psutil.Process) -> str | None:
    return process.environ().get("METRICS_PORT")
