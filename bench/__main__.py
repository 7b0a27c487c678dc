"""`make bench`: every figure in one run, on one machine, into one table and bench/results/.

What is compared with a peer is a ratio of the same run. ARGS="--quick" makes it short, for trying it out.
ARGS="sagas" measures what the safety of orders costs instead (sagas.py), ARGS="scaling" what more instances bring,
ARGS="risk" how long a decision of risk takes, ARGS="transfers" how many transfers go through the saga,
ARGS="support" how fast the assistant answers.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import ledger, risk, sagas, scaling, support, transfers
from bench.report import machine, write
from bench.shop import Customers, Figures, read_product
from bench.system import ROOT, System, wait_for_consumer
from scripts.processes import free_port

Row = Callable[[str, str], None]
GOALS = {
    "RPC, 1 caller, ours / stock nameko": ("ratio", 1.0),
    "RPC, 32 callers, ours / stock nameko": ("ratio", 1.0),
    "GET product, 16 connections": ("per_s", 300.0),
    "POST order to its end, 16 connections": ("per_s", 30.0),
    "memory of the whole system": ("mb_at_most", 2000.0),
    "warm start": ("s_at_most", 25.0),
}


SUBJECTS = {each.__name__.rpartition(".")[2]: each for each in (sagas, ledger, scaling, risk, transfers, support)}
"""What is measured alone, by its name in ARGS."""


def rpc(amqp_uri: str, side: str, callers: int, seconds: float) -> dict[str, float]:
    """Calls a second of one side, with a service process of its own."""
    env = {**os.environ, "AMQP_URI": amqp_uri, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "MAX_WORKERS": "50"}
    target = {"ours": "bench.rpc:OursService", "stock": "bench.rpc:StockService"}[side]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(f"AMQP_URI: {amqp_uri}\nmax_workers: 50\n")
        config.flush()
        command = [sys.executable, "-m", "nameko", "run", "--config", config.name, target]
        service = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_consumer(amqp_uri, f"rpc-bench_{side}")  # and the caller's first call is not timed
            caller = [sys.executable, "-m", "bench.rpc", side, str(callers), str(seconds)]
            done = subprocess.run(
                caller, cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds + 60, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            return dict(json.loads(done.stdout))
        finally:
            service.terminate()
            service.wait(timeout=30)


def main() -> None:
    quick = "--quick" in sys.argv
    for name, subject in SUBJECTS.items():
        if name in sys.argv:
            subject.main(quick)
            return
    seconds, each = (2, 4) if quick else (8, 12)
    rows: list[tuple[str, str]] = []
    reached: dict[str, float] = {}

    def row(name: str, value: str) -> None:
        rows.append((name, value))
        print(f"{name:<46} {value}", flush=True)

    with tempfile.TemporaryDirectory(prefix="rialto-bench-") as folder:
        system = System(Path(folder) / "var", free_port())
        row("cold start (databases, demo data)", f"{system.start():.1f} s")
        row("stop", f"{system.stop():.1f} s")
        reached["warm start"] = system.start()
        row("warm start", f"{reached['warm start']:.1f} s")
        try:
            measure_rpc(system, seconds, row, reached)
            measure_shop(system, seconds, each, row, reached)
        finally:
            system.stop()
    report(rows, reached)
    return


def measure_rpc(system: System, seconds: float, row: Row, reached: dict[str, float]) -> None:
    uri = system.setting("AMQP_URI")
    for callers in (1, 32):
        ours, stock = (rpc(uri, side, callers, seconds) for side in ("ours", "stock"))
        plural = "s" if callers > 1 else ""
        for name, figures in (("ours", ours), ("stock nameko", stock)):
            row(
                f"RPC, {callers} caller{plural}, {name}",
                f"{figures['per_s']:.0f}/s  p50 {figures['p50_ms']:.1f} ms  p99 {figures['p99_ms']:.1f} ms",
            )
        name = f"RPC, {callers} caller{plural}, ours / stock nameko"
        reached[name] = ours["per_s"] / stock["per_s"]
        row(name, f"{reached[name]:.2f}")


def measure_shop(system: System, seconds: int, each: int, row: Row, reached: dict[str, float]) -> None:
    for connections in (1, 16):
        name = f"GET product, {connections} connection{'s' * (connections > 1)}"
        figures = read_product(system.port, connections, seconds)
        reached[name] = figures.per_s
        row(name, f"{shown(figures, '90%')}  (wrk: {figures.cpu_s:.1f} s CPU)")
    for connections, of_each in ((1, 2 * each), (16, each)):
        name = f"POST order to its end, {connections} connection{'s' * (connections > 1)}"
        customers = Customers(system.port, connections, of_each)
        customers.fill_carts()
        customers.order_all()  # warm
        customers.fill_carts()
        cpu, counters = system.cpu_s(), system.counters()
        figures = customers.order_all()
        reached[name] = figures.per_s
        row(name, f"{shown(figures, 'p95')}  (client: {figures.cpu_s:.1f} s CPU, {figures.count} orders)")
        used = {unit: seconds - cpu.get(unit, 0.0) for unit, seconds in system.cpu_s().items()}
        system.wait_until_told()
        after = system.counters()
        per_order = {kind: (after[kind] - counters[kind]) / figures.count for kind in after}
        row("  RPCs and events handled, commits per order", f"{per_order['rpcs']:.1f}, {per_order['commits']:.1f}")
        row("  CPU per order, all processes", f"{1000 * sum(used.values()) / figures.count:.1f} ms")
        most = sorted(used.items(), key=lambda item: -item[1])[:6]
        row("  of it", ", ".join(f"{unit} {1000 * cpu_s / figures.count:.1f}" for unit, cpu_s in most))
    memory = system.memory_mb()
    reached["memory of the whole system"] = sum(memory.values())
    row("memory of the whole system", f"{sum(memory.values()):.0f} MB (PSS), {len(memory)} processes")


def shown(figures: Figures, middle: str) -> str:
    return f"{figures.per_s:.0f}/s  p50 {figures.p50:.1f} ms  {middle} {figures.p95:.1f} ms  p99 {figures.p99:.1f} ms"


def report(rows: list[tuple[str, str]], reached: dict[str, float]) -> None:
    """Write the table, with the machine it was measured on and the goals beside it."""
    lines = [
        f"{machine()} SQLite, WAL, synchronous=FULL; one instance of each service;",
        "broker, databases and load on the same machine. GET by wrk with one thread; orders by a client of ours.",
        "",
        "| what | figure |",
        "|---|---|",
        *(f"| {name.strip()} | {value} |" for name, value in rows),
        "",
        "| goal | wanted | reached |",
        "|---|---|---|",
    ]
    for name, (kind, wanted) in GOALS.items():
        fine = reached[name] <= wanted if kind.endswith("at_most") else reached[name] >= wanted
        lines.append(f"| {name} | {wanted:g} | {reached[name]:.2f} {'yes' if fine else '**no**'} |")
    print("\n".join(lines[-len(GOALS) - 2 :]))
    write("", lines)


if __name__ == "__main__":
    main()
