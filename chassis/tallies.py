"""How often each entry point ran, with what outcome, and how long it took: as metrics, and in short."""

import time
from typing import Any

from prometheus_client import Counter, Histogram

from chassis.announcement import Tally

HANDLED = Counter("rialto_handled", "Entry points that ran", ["service", "method", "outcome"])
SECONDS = Histogram("rialto_handled_seconds", "How long entry points took", ["service", "method"])


def note(service: str, method: str, outcome: str, begun: float) -> None:
    """Count a call that has ended: `ok`, `refused` or `failed`. `begun` is on time.perf_counter()."""
    HANDLED.labels(service, method, outcome).inc()
    SECONDS.labels(service, method).observe(time.perf_counter() - begun)


def tallies(service: str, methods: list[str]) -> list[Tally]:
    """One for each of these methods, in their order."""
    counts: dict[str, dict[str, Any]] = {method: {} for method in methods}
    for collector, field in ((HANDLED, "outcome"), (SECONDS, None)):
        for sample in next(iter(collector.collect())).samples:
            of = counts.get(sample.labels["method"]) if sample.labels["service"] == service else None
            if of is None:
                continue
            if field is not None and sample.name.endswith("_total"):
                of[sample.labels[field]] = int(sample.value)
            elif field is None and sample.name.endswith("_sum"):
                of["ms"] = round(sample.value * 1000)
    return [Tally(name=method, **counted) for method, counted in counts.items()]
