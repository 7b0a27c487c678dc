"""Metrics of one instance, in Prometheus' text form, on a port of its own (METRICS_PORT; none without it)."""

import os
import time
from logging import getLogger
from typing import Any

import eventlet
from eventlet import wsgi
from nameko.extensions import SharedExtension
from prometheus_client import Gauge, make_wsgi_app

HUB_PAUSE_S = Gauge("rialto_hub_longest_pause_seconds", "Longest time that this process's hub did not turn")
PROBE_EVERY_S = 0.1

log = getLogger(__name__)


class MetricsServer(SharedExtension):
    """Serves /metrics on loopback, and watches the hub: code that does not yield starves heartbeats."""

    def __init__(self) -> None:
        super().__init__()
        self._threads: list[Any] = []
        self._socket: Any = None

    def start(self) -> None:
        if self._threads:
            return
        self._threads = [eventlet.spawn(self._probe)]
        port = int(os.environ.get("METRICS_PORT") or 0)
        if port:
            self._socket = eventlet.listen(("127.0.0.1", port), reuse_port=False)
            quiet = getLogger("rialto.metrics")
            self._threads.append(
                eventlet.spawn(wsgi.server, self._socket, make_wsgi_app(), log=quiet, log_output=False)
            )

    def _probe(self) -> None:
        longest = 0.0
        while True:
            before = time.monotonic()
            eventlet.sleep(PROBE_EVERY_S)
            pause = time.monotonic() - before - PROBE_EVERY_S
            if pause > longest:
                longest = pause
                HUB_PAUSE_S.set(longest)

    def stop(self) -> None:
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.kill()
        if self._socket is not None:
            self._socket.close()

    kill = stop
