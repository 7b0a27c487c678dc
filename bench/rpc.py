"""RPC calls a second: ours beside stock nameko's, the same method, the same broker, one after the other.

Each side is a service process (`nameko run`) and a caller process; only the caller's loop is timed. Run by `bench`:
`python -m bench.rpc ours|stock CALLERS SECONDS` is the caller and prints one JSON line.
"""

import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from typing import Any, Protocol  # noqa: E402

import nameko.rpc  # noqa: E402
from nameko.runners import ServiceRunner  # noqa: E402
from nameko.testing.services import entrypoint_hook  # noqa: E402

from chassis.rpc import remote, rpc  # noqa: E402
from chassis.service import CallContext  # noqa: E402
from chassis.types import Message, api  # noqa: E402


class Echoed(Message):
    sku: str
    quantity: int


@api("bench_ours")
class BenchApi(Protocol):
    def echo(self, sku: str, quantity: int) -> Echoed: ...


class OursService:
    name = "bench_ours"
    call = CallContext()

    @rpc
    def echo(self, sku: str, quantity: int) -> Echoed:
        return Echoed(sku=sku, quantity=quantity)


class StockService:
    name = "bench_stock"

    @nameko.rpc.rpc
    def echo(self, sku: str, quantity: int) -> dict[str, Any]:
        return {"sku": sku, "quantity": quantity}


def hammer(target: Any, callers: int, seconds: float) -> dict[str, float]:
    """Calls from so many green threads for so long."""
    latencies: list[float] = []
    target.echo("LAMP-1", 1)
    begun = time.perf_counter()

    def caller() -> None:
        while time.perf_counter() - begun < seconds:
            sent = time.perf_counter()
            target.echo("LAMP-1", 1)
            latencies.append(time.perf_counter() - sent)

    threads = [eventlet.spawn(caller) for _ in range(callers)]
    for thread in threads:
        thread.wait()
    took = time.perf_counter() - begun
    latencies.sort()
    return {
        "per_s": len(latencies) / took,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
    }


class OursCaller:
    name = "bench_caller_ours"
    call = CallContext()
    target: BenchApi = remote(BenchApi)

    @rpc
    def run(self, callers: int, seconds: float) -> dict[str, float]:
        return hammer(self.target, callers, seconds)


class StockCaller:
    name = "bench_caller_stock"
    target = nameko.rpc.RpcProxy("bench_stock")

    @nameko.rpc.rpc
    def run(self, callers: int, seconds: float) -> dict[str, float]:
        return hammer(self.target, callers, seconds)


def main() -> None:
    side, callers, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    caller = {"ours": OursCaller, "stock": StockCaller}[side]
    # workers and kombu's pools as nameko has them, but enough of them for 32 callers at once
    config = {"AMQP_URI": os.environ["AMQP_URI"], "max_workers": 50}
    runner = ServiceRunner(config)
    runner.add_service(caller)
    runner.start()
    (container,) = runner.containers
    with entrypoint_hook(container, "run", timeout=seconds + 30) as run:
        print(json.dumps(run(callers=callers, seconds=seconds)), flush=True)
    runner.stop()


if __name__ == "__main__":
    main()
