"""A system of the bench's own, what it uses, and the conditions that a bench waits for."""

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kombu
import psutil
import psycopg2

from scripts.processes import wait_until

ROOT = Path(__file__).resolve().parent.parent
START_S = 180.0
WAIT_S = 120.0
COUNTED_EVERY_S = 6.0
ENDED = "saga WHERE status IN ('completed', 'compensated')"
MAILS_SENT = "mail WHERE status = 'sent' AND kind IN ('order_confirmed', 'order_rejected', 'order_cancelled')"


class System:
    """`make run` on a state folder of its own, without the demo's purchases. `wishes` are variables of `make run`."""

    def __init__(self, var: Path, port: int, module: str = "scripts.up", **wishes: str) -> None:
        self.var, self.port, self.module = var, port, module
        own = {"VAR": str(var), "PORT": str(port), "DEMO": "0", "LOG_LEVEL": "WARNING", "DB": "sqlite"}
        self.wishes = {**own, **wishes}

    def __enter__(self) -> "System":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> float:
        """Bring it up; answers the seconds until it was ready."""
        env = {**os.environ, **self.wishes}
        begun = time.monotonic()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 it lives as long as the system
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module], cwd=ROOT, env=env, stdout=self.log, stderr=subprocess.STDOUT
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
        return {name: sum(map(cpu_s_of, processes)) for name, processes in self.processes().items()}

    def memory_mb(self) -> dict[str, float]:
        """Memory of each, shared pages counted once over all (PSS), in MB."""
        return {
            name: sum(process.memory_full_info().pss for process in processes) / 1e6
            for name, processes in self.processes().items()
        }

    def counters(self) -> dict[str, float]:
        """RPC requests and events handled, and transactions committed so far, over all services."""
        handled = sum(
            float(value)
            for text in self.metrics().values()
            for service, value in re.findall(r'^rialto_handled_total\{.*service="(\w+)".*\} (\S+)$', text, re.M)
            if service != "gateway"
        )
        return {"rpcs": handled, "commits": float(sum(self.commits().values()))}

    def commits(self) -> Counter[str]:
        """Transactions committed so far, by service."""
        counts = Counter[str]()
        for unit, text in self.metrics().items():
            for value in re.findall(r"^rialto_commits_total (\S+)$", text, re.M):
                counts[unit.rpartition("-")[0]] += int(float(value))
        return counts

    def pauses_ms(self) -> dict[str, float]:
        """The longest pause of each process' hub in the last minute or two."""
        found = {
            unit: re.search(r"^rialto_hub_pause_seconds (\S+)$", text, re.M) for unit, text in self.metrics().items()
        }
        return {unit: float(match[1]) * 1000 for unit, match in found.items() if match}

    def metrics(self) -> dict[str, str]:
        """What each instance says of itself."""
        texts = {}
        for unit, processes in self.processes().items():
            port = _metrics_port(processes[0])
            if port is not None:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    texts[unit] = answer.read().decode()
        return texts

    # --- what a bench waits for

    def count(self, service: str, rows: str) -> int:
        """How many rows a service's database has: a table, perhaps with a condition."""
        return int(self.ask(service, f"SELECT count(*) FROM {rows}")[0][0])

    def ask(self, service: str, query: str) -> list[tuple[Any, ...]]:
        """Ask a service's database."""
        if self.wishes["DB"] == "sqlite":
            with closing(sqlite3.connect(self.var / f"{service}.db", timeout=10)) as file:
                return file.execute(query).fetchall()
        uri = urlsplit(self.wishes["PG_URI"])._replace(path=f"/rialto_{service}")
        with closing(psycopg2.connect(uri.geturl())) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def wait_until_told(self) -> None:
        """Until nothing is on its way any more: each saga has ended, and a customer was told of each end."""

        def told() -> bool:
            ends, mails = self.count("orders", ENDED), self.count("notifications", MAILS_SENT)
            waiting = sum(self.count(service, "outbox") for service in ("orders", "inventory"))
            return ends == mails == self.count("orders", "saga") and not waiting

        wait_for("the events to be handled", told)

    def published(self) -> int:
        """Messages that the broker has taken so far. It counts them every 5 s; this waits until it has counted all."""
        server = urlsplit(self.setting("MANAGEMENT_URI"))
        request = urllib.request.Request(f"http://{server.hostname}:{server.port}/api/overview")
        secret = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {secret}")
        last, since = -1, time.monotonic()

        def counted() -> bool:
            nonlocal last, since
            with urllib.request.urlopen(request, timeout=5) as answer:
                stats = json.load(answer)["message_stats"]
            count = int(stats["publish"]) if "publish" in stats else 0  # before the first one it has no statistics
            if count != last:
                last, since = count, time.monotonic()
            return time.monotonic() - since > COUNTED_EVERY_S

        wait_for("the broker to count", counted)
        return last


def cpu_s_of(process: psutil.Process) -> float:
    """What a process has used so far; nothing if it is gone, as the broker's own short-lived ones soon are."""
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    if not wait_until(condition, WAIT_S):
        raise SystemExit(f"waited {WAIT_S:g} s for {what}, in vain")


def wait_for_consumer(amqp_uri: str, queue: str) -> None:
    """Until somebody consumes this queue."""

    def consumed() -> bool:
        with kombu.Connection(amqp_uri) as connection:
            try:
                return bool(connection.default_channel.queue_declare(queue, passive=True).consumer_count)
            except connection.channel_errors:  # it is not there yet
                return False

    wait_for(f"a consumer of {queue}", consumed)


def _metrics_port(process: psutil.Process) -> str | None:
    return process.environ().get("METRICS_PORT")
