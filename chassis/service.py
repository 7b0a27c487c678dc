"""`call = CallContext(XApi)`: what each service has besides its own: who calls, log lines with ids, metrics, its name
told to whoever listens."""

import gc
import time
from logging import getLogger
from typing import Any

from nameko.extensions import DependencyProvider

from chassis.announcing import Announcer
from chassis.context import Call, bind, from_context_data
from chassis.db import Database
from chassis.errors import ServiceError
from chassis.gauges import STATE
from chassis.logs import bind_service
from chassis.metrics import MetricsServer
from chassis.tallies import note

log = getLogger("rialto.worker")

GC_ALLOCATIONS = 20_000


class CallContext(DependencyProvider):
    """Worker attribute: the Call that is being served. `contract` is what the service promises, if anything."""

    metrics = MetricsServer()
    announcer = Announcer()

    def __init__(self, contract: type | None = None) -> None:
        super().__init__()
        self.contract = contract
        self._started: dict[Any, float] = {}

    def setup(self) -> None:
        self.announcer.contract = self.contract
        bind_service(self.container.service_name)
        gc.freeze()  # what is imported by now stays; looking through it again and again costs a tenth of the CPU
        gc.set_threshold(GC_ALLOCATIONS)

    def start(self) -> None:
        for database in self._databases():
            STATE.watch(self.container.service_name, database.sessions)

    def stop(self) -> None:
        for _ in self._databases():
            STATE.forget(self.container.service_name)

    kill = stop

    def _databases(self) -> list[Database]:
        return [each for each in self.container.dependencies if isinstance(each, Database)]

    def get_dependency(self, worker_ctx: Any) -> Call:
        call = from_context_data(worker_ctx.data)
        worker_ctx.data["trace_id"] = call.trace_id  # whatever this call leads to has the same one
        return call

    def worker_setup(self, worker_ctx: Any) -> None:
        self._started[worker_ctx] = time.perf_counter()
        bind(from_context_data(worker_ctx.data))

    def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
        begun = self._started.pop(worker_ctx, time.perf_counter())
        method = worker_ctx.entrypoint.method_name
        refused = exc_info is not None and isinstance(exc_info[1], ServiceError)
        outcome = "ok" if exc_info is None else "refused" if refused else "failed"
        note(worker_ctx.service_name, method, outcome, begun)
        if refused:
            log.info("refused", extra={"method": method, "code": exc_info[1].code})

    def worker_teardown(self, worker_ctx: Any) -> None:
        self._started.pop(worker_ctx, None)
