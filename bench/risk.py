"""How long risk takes to decide, over RPC: `make bench ARGS=risk`, into bench/results/risk-<when>.md.

With 1, 100 and 1,000 rules, on a system of its own whose risk database was filled with kept events first: on SQLite
and on PostgreSQL. One caller, stock nameko's client, customers by chance. With --quick there are few events.
"""

import random
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nameko.standalone.rpc import ServiceRpcProxy
from sqlalchemy import Engine, create_engine, insert, text

from bench.report import machine, write
from bench.system import System
from chassis.db import table_of
from scripts.postgresql import cluster
from scripts.processes import free_port
from services.risk.models import Footprint

RULES = (1, 100, 1000)
EVENTS, QUICK_EVENTS = 1_000_000, 20_000
CALLS, QUICK_CALLS = 1000, 50
CUSTOMERS = 20_000
DIMENSIONS = ("customer", "card", "address")
BATCH = 5_000
GOAL_P99_MS, GOAL_RULES = 50.0, 100
CONDITIONS = (
    "customer_count_1h > {n} && amount > 100",
    "card_customers_24h > {n} || country in ['KP', 'IR']",
    "amount > 100000 + {n} && hour < 5",
    "customer_amount_24h > 1000000 + {n} && !denied",
)


def main(quick: bool) -> None:
    events, calls = (QUICK_EVENTS, QUICK_CALLS) if quick else (EVENTS, CALLS)
    lines = ["| | p50 | p99 |", "|---|---|---|"]
    missed = []
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="rialto-bench-")))
        folder.chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        uri = undo.enter_context(cluster(folder / "postgresql", durable=True))
        for database, wishes in (("SQLite", {}), ("PostgreSQL", {"DB": "postgresql", "PG_URI": uri})):
            for rules, p50, p99 in measured(folder / database, wishes, events, calls):
                name = f"{database}, {rules} rules, {events:,} kept events"
                print(f"{name:<58} p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)
                lines.append(f"| {name} | {p50:.1f} ms | {p99:.1f} ms |")
                if rules <= GOAL_RULES and p99 > GOAL_P99_MS:
                    missed.append(f"{name}: p99 is {p99:.1f} ms, to reach were {GOAL_P99_MS:g} ms.")
    write("risk decides, ", [machine(), "", *lines, "", *missed], "risk-")
    if missed and not quick:
        raise SystemExit("\n".join(missed))


def measured(var: Path, wishes: dict[str, str], events: int, calls: int) -> Iterator[tuple[int, float, float]]:
    """Rules, p50 and p99 in milliseconds, one after the other on one system."""
    with ExitStack() as undo:
        system = undo.enter_context(System(var, free_port(), **wishes))
        engine = create_engine(system.setting("RISK_DB"))
        undo.callback(engine.dispose)
        fill(engine, events)
        config = {"AMQP_URI": system.setting("AMQP_URI"), "serializer": "json"}
        risk = undo.enter_context(ServiceRpcProxy("risk", config, timeout=30))
        for count in RULES:
            enact(risk, count)
            latencies = sorted(decided(risk, calls))
            yield count, latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]


def fill(engine: Engine, events: int) -> None:
    """Kept events of the last 30 days: each leaves a footprint for its customer, its card and its address."""
    chance, at = random.Random(7), datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    with engine.begin() as connection:
        for number in range(events):
            of = chance.randrange(CUSTOMERS)
            shared = dict(screening_id=f"bench-{number}", customer_id=f"customer-{of}", amount=chance.randrange(9000))
            when = at - timedelta(seconds=chance.randrange(30 * 86_400))
            rows += [
                dict(shared, dimension=name, value=f"{name}-{of}", currency="EUR", state="counts", at=when)
                for name in DIMENSIONS
            ]
            if len(rows) >= BATCH or number == events - 1:
                connection.execute(insert(table_of(Footprint)), rows)
                rows = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def enact(risk: Any, count: int) -> None:
    """So many rules decide from now on; none of them fires on what is asked here."""
    rules = [
        {
            "name": f"r{n}",
            "condition": CONDITIONS[n % len(CONDITIONS)].format(n=10**6 + n),
            "score": 1,
            "text": "Bench.",
        }
        for n in range(count)
    ]
    version = risk.draft({"rules": rules, "note": "Bench."}, key=uuid.uuid4().hex)["version"]
    for state in ("shadow", "live"):
        risk.advance(version, state, key=uuid.uuid4().hex)


def decided(risk: Any, calls: int) -> Iterator[float]:
    """Milliseconds of each decision, after one that compiles the rules."""
    chance = random.Random(11)
    for number in range(calls + 1):
        of = chance.randrange(CUSTOMERS)
        subject: dict[str, Any] = dict(kind="order", id=uuid.uuid4().hex, customer_id=f"customer-{of}", country="NL")
        subject |= dict(amount={"amount": 1999, "currency": "EUR"}, card=f"card-{of}", address=f"address-{of}")
        begun = time.perf_counter()
        risk.screen(subject, key=uuid.uuid4().hex)
        if number:
            yield (time.perf_counter() - begun) * 1000
