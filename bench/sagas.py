"""What it costs that an order cannot be lost: `make bench ARGS="sagas"`, into bench/results/sagas-<when>.md.

Commits, messages and milliseconds of an order; orders a second with more instances and with refusals, on PostgreSQL;
how long 1,000 sagas take to end when all who drive them are killed. Beside it, in the same run, the same calls with
nothing of that (bare.py). With --quick all of it is small, for trying it out.
"""

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from bench.report import machine, write
from bench.shop import Client, Customers, Figures
from bench.system import System, wait_for
from scripts.control import ask
from scripts.postgresql import cluster
from scripts.processes import connects, free_port, wait_until

CARDS = {"card declined": "tok_declined", "capture refused": "tok_capture_fails", "confirmed": "tok_visa"}
CONNECTIONS = 16
INSTANCES = (1, 2, 4)
REFUSED = (0, 1, 10)  # per cent
RECOVERY_GOAL_S = 60.0
RECOVERY_LIMIT_S = 300.0
LEFT_OUT = (
    "no saga rows: the orchestrator keeps an order's progress in memory, writes no log, and nobody could take it over",
    "no barrier: commands have no inbox row, so a repeat would act again, and an undo cannot fence a late action",
    "no outbox: events are not sent at all, so no mail is written either",
    "synchronous=OFF: a commit does not wait for the disk",
)
REFUSABLE = 4  # steps of an order: after the payment was taken, none is
GOING = "saga WHERE status IN ('running', 'compensating')"
OPERATOR = {"OPERATOR_EMAIL": "operator@rialto.example", "OPERATOR_PASSWORD": "operator-password"}
SILENT = {"ANNOUNCE_EVERY_MS": "3600000"}
"""Instances do not announce themselves while messages are counted."""
ARTICLES, UNITS = 20, 100_000


@dataclass(frozen=True)
class Size:
    """`single`: orders of one customer after the other; `each`: orders of each connection; `in_flight`: sagas."""

    single: int
    each: int
    in_flight: int


FULL, QUICK = Size(20, 12, 1000), Size(5, 2, 40)
Rows = list[tuple[str, str]]


def main(quick: bool) -> None:
    size = QUICK if quick else FULL
    parts: dict[str, Rows] = {}

    def say(part: str, rows: Iterator[tuple[str, str]]) -> None:
        for name, figure in rows:
            parts.setdefault(part, []).append((name, figure))
            print(f"{name:<58} {figure}", flush=True)

    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="rialto-bench-")))
        folder.chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        with shop(folder / "safe") as (system, skus):
            say("One order (SQLite)", one_order(system, skus, size))
            say("The price of safety (SQLite)", price(system, skus, "safe", size))
        with shop(folder / "bare", module="bench.bare") as (system, skus):
            say("The price of safety (SQLite)", price(system, skus, "with nothing of it", size))
            require_bare(system)
        uri = undo.enter_context(cluster(folder / "postgresql", durable=True))
        with shop(folder / "pg", DB="postgresql", PG_URI=uri) as (system, skus):
            customers = Customers(system.port, CONNECTIONS, size.each, skus)
            say("Orders a second (PostgreSQL)", instances(system, customers))
            say("Orders a second (PostgreSQL)", refusals(system, customers))
        with shop(folder / "pg2", DB="postgresql", PG_URI=uri, SCALE="orders=2") as (system, skus):
            say("Recovery (PostgreSQL)", recovery(system, skus, size))
    report(parts, quick)


@contextmanager
def shop(var: Path, module: str = "scripts.up", **wishes: str) -> Iterator[tuple[System, list[str]]]:
    """A system with a few articles of which there are plenty, and no others."""
    (var / "run").mkdir(parents=True)
    (var / "run/demo-data").touch()
    with System(var, free_port(), module, **{**OPERATOR, **SILENT, **wishes}) as system:
        operator = Client(system.port)
        operator.log_in(*OPERATOR.values())
        skus = [operator.sell(f"{var.name.upper()}-{number}", UNITS) for number in range(ARTICLES)]
        yield system, skus


def one_order(system: System, skus: list[str], size: Size) -> Iterator[tuple[str, str]]:
    """What an order takes, one after the other, by how it ends."""
    customers = Customers(system.port, 1, size.single, skus)
    for name, card in CARDS.items():
        customers.fill_carts()
        customers.order_all(always(card))  # warm
        customers.fill_carts()
        yield from spent(system, f"order {name}", partial(customers.order_all, always(card)))
        if name == "confirmed":
            yield from spent(system, "its cancel", customers.cancel_all)


def spent(system: System, name: str, do: Callable[[], Figures]) -> Iterator[tuple[str, str]]:
    """What each of these took, by the time of the customer, and by the counts of services and broker."""
    system.wait_until_told()
    commits, messages = system.commits(), system.published()
    figures = do()
    system.wait_until_told()
    more = system.commits() - commits
    by_service = ", ".join(f"{service} {count / figures.count:.1f}" for service, count in more.most_common())
    yield f"{name}: time to its end", f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms"
    yield f"{name}: commits", f"{more.total() / figures.count:.1f} ({by_service})"
    yield f"{name}: messages", f"{(system.published() - messages) / figures.count:.1f}"


def price(system: System, skus: list[str], what: str, size: Size) -> Iterator[tuple[str, str]]:
    """The same orders by one and by many connections."""
    for connections, each in ((1, size.single), (CONNECTIONS, size.each)):
        customers = Customers(system.port, connections, each, skus)
        figures, cpu_ms = measured(system, customers)
        plural = "s" * (connections > 1)
        yield f"{what}: order to its end, {connections} connection{plural}", f"{shown(figures)}  {cpu_ms:.1f} ms CPU"


def require_bare(system: System) -> None:
    """That nothing of it was there indeed."""
    kept = {service: system.count(service, "inbox") for service in ("orders", "inventory", "payments", "shipping")}
    kept |= {"sagas": system.count("orders", "saga"), "events": system.count("notifications", "handled")}
    if any(kept.values()):
        raise SystemExit(f"bare.py left something in: {kept}")


def instances(system: System, customers: Customers) -> Iterator[tuple[str, str]]:
    """With more and more instances of orders."""
    for count in INSTANCES:
        while len(running(system, "orders")) < count:
            ask(system.var, "add", "orders")
        wait_for("all instances of orders", partial(has_instances, system, "orders", count))
        figures, cpu_ms = measured(system, customers)
        yield f"{count} instance{'s' * (count > 1)} of orders", f"{shown(figures)}  {cpu_ms:.1f} ms CPU"


def refusals(system: System, customers: Customers) -> Iterator[tuple[str, str]]:
    """With more and more steps refused: an order ends at the first of those that may be, here by a declined card."""
    for per_cent in REFUSED:
        share = 1 - (1 - per_cent / 100) ** REFUSABLE

        def card_of(number: int, share: float = share) -> str:
            return "tok_declined" if int((number + 1) * share) > int(number * share) else "tok_visa"

        figures, cpu_ms = measured(system, customers, card_of)
        yield f"{per_cent} % of steps, {share:.0%} of orders refused", f"{shown(figures)}  {cpu_ms:.1f} ms CPU"


def measured(
    system: System, customers: Customers, card_of: Callable[[int], str] | None = None
) -> tuple[Figures, float]:
    """Orders to their ends, after a warm round; with the CPU that the whole system used for each, in ms."""
    customers.fill_carts()
    customers.order_all()
    customers.fill_carts()
    before = sum(system.cpu_s().values())
    figures = customers.order_all(card_of or always("tok_visa"))
    return figures, (sum(system.cpu_s().values()) - before) / figures.count * 1000


def recovery(system: System, skus: list[str], size: Size) -> Iterator[tuple[str, str]]:
    """Sagas that wait for payments, which nobody runs; then all who drive them are killed, and payments comes back."""
    customers = Customers(system.port, CONNECTIONS, -(-size.in_flight // CONNECTIONS), skus)
    customers.fill_carts()
    ask(system.var, "drain", "payments", "1")
    wait_for("payments to leave", lambda: not running(system, "payments"))
    customers.begin_all()
    in_flight, drivers = system.count("orders", GOING), running(system, "orders")
    ask(system.var, "add", "payments")
    for pid in drivers:
        psutil.Process(pid).send_signal(signal.SIGKILL)
    killed = time.monotonic()
    ended = wait_until(lambda: not system.count("orders", GOING), RECOVERY_LIMIT_S, every_s=0.2)
    took_s = time.monotonic() - killed
    figure = f"{took_s:.1f} s" if ended else f"not within {RECOVERY_LIMIT_S:g} s"
    goal = f"goal {RECOVERY_GOAL_S:g} s: {'yes' if took_s <= RECOVERY_GOAL_S else '**no**'}"
    yield (
        f"{in_flight} sagas in flight, {len(drivers)} processes of orders (all) killed",
        f"all ended after {figure} ({goal})",
    )
    ends = Counter(status for (status,) in system.ask("orders", "SELECT status FROM saga"))
    yield "  how they ended", ", ".join(f"{status} {count}" for status, count in ends.items())


def running(system: System, service: str) -> list[int]:
    """The pids of a service's instances."""
    units = ask(system.var, "status")["units"]
    return [unit["pid"] for unit in units if unit["service"] == service and unit["pid"]]


def has_instances(system: System, service: str, count: int) -> bool:
    """Whether so many instances of a service have started."""
    units = ask(system.var, "status")["units"]
    started = [unit for unit in units if unit["service"] == service and connects(unit["metrics_port"])]
    return len(started) == count


def always(card: str) -> Callable[[int], str]:
    return lambda number: card


def shown(figures: Figures) -> str:
    return f"{figures.per_s:.0f}/s  p50 {figures.p50:.1f} ms  p99 {figures.p99:.1f} ms"


def report(parts: dict[str, Rows], quick: bool) -> None:
    lines = [machine(), *(["**Tried out with small sizes: no figures to go by.**"] if quick else []), ""]
    lines += ["Load, broker and databases are on the same machine. SQLite with WAL and synchronous=FULL, PostgreSQL"]
    lines += ["with fsync and synchronous_commit. Orders go by HTTP to the gateway and are timed to their ends.", ""]
    for part, rows in parts.items():
        lines += [f"## {part}", "", "| what | figure |", "|---|---|"]
        lines += [f"| {name.strip()} | {figure} |" for name, figure in rows]
        lines.append("")
    lines += ["What is left out in *with nothing of it*, whose other code and calls are the same:", ""]
    lines += [f"- {each}" for each in LEFT_OUT]
    write("What safety costs, ", lines, name="sagas-quick-" if quick else "sagas-")


if __name__ == "__main__":
    main("--quick" in sys.argv)
