"""Metrics of one instance, in Prometheus' text form, on a port of its own (METRICS_PORT; none without it)."""

import faulthandler
import os
import socket
import time
from logging import getLogger
from typing import Any

import eventlet
from eventlet import wsgi
from nameko.extensions import SharedExtension
from prometheus_client import Gauge, make_wsgi_app

from chassis.amqp import QueueConsumer

HUB_PAUSE_S = Gauge(
    "rialto_hub_pause_seconds", "Longest time that this process's hub did not turn, in this minute and the one before"
)
PROBE_EVERY_S = 0.05
WINDOW_S = 60.0
TOLD_ABOVE_S = 0.1
BACKLOG = 50

log = getLogger("rialto.hub")


class Longest:
    """The longest pause of this minute and the one before, which a scrape each minute cannot miss."""

    def __init__(self, at: float) -> None:
        self._since, self._now, self._before = at, 0.0, 0.0

    def note(self, pause_s: float, at: float) -> float:
        """Take a pause into account that ended at this monotonic time; answers the longest."""
        if at - self._since >= WINDOW_S:
            missed_one = at - self._since >= 2 * WINDOW_S
            self._since, self._now, self._before = at, 0.0, 0.0 if missed_one else self._now
        self._now = max(self._now, pause_s)
        return max(self._now, self._before)


def _bound(port: int) -> socket.socket:
    """Whose port is taken from now on, but does not listen yet. Raises OSError if somebody else has it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


class MetricsServer(SharedExtension):
    """Serves /metrics on loopback, and watches the hub: code that does not yield starves heartbeats.

    Its port is open as soon as the instance takes messages: by that a supervisor knows that it serves.

    With HUB_TRACE_MS the stack that holds the hub up for longer than that is written to stderr.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads: list[Any] = []
        self._socket: Any = None

    def start(self) -> None:
        if self._threads:
            return
        self._threads = [eventlet.spawn(self._probe, int(os.environ.get("HUB_TRACE_MS") or 0) / 1000)]
        port = int(os.environ.get("METRICS_PORT") or 0)
        if port:
            self._socket = _bound(port)
            consumers = [each for each in self.container.subextensions if isinstance(each, QueueConsumer)]
            if not all(each.wait_until_it_consumes() for each in consumers):
                return
            self._socket.listen(BACKLOG)
            quiet = getLogger("rialto.metrics")
            self._threads.append(
                eventlet.spawn(wsgi.server, self._socket, make_wsgi_app(), log=quiet, log_output=False)
            )

    def _probe(self, trace_s: float) -> None:
        longest = Longest(time.monotonic())
        while True:
            before, cpu = time.monotonic(), time.process_time()
            if trace_s:
                faulthandler.dump_traceback_later(PROBE_EVERY_S + trace_s)
            eventlet.sleep(PROBE_EVERY_S)
            at = time.monotonic()
            pause_s = at - before - PROBE_EVERY_S
            HUB_PAUSE_S.set(longest.note(pause_s, at))
            if pause_s > TOLD_ABOVE_S:  # little CPU: it waited, for a disk or for a processor
                used_ms = round((time.process_time() - cpu) * 1000)
                log.info("the hub paused", extra={"ms": round(pause_s * 1000), "cpu_ms": used_ms})

    def stop(self) -> None:
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.kill()
        if self._socket is not None:
            self._socket.close()

    kill = stop
