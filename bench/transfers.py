"""Transfers a second through the saga: `make bench ARGS="transfers"`, into bench/results/transfers-<when>.md.

Each goes by HTTP to the gateway, is screened by risk, held and settled in the ledger, and is timed to its end; on
SQLite and on PostgreSQL. Beside it, in the same run, on the same kind of database with the same safety of commits: a
plain transfer, which is two updates and an insert in one transaction of one process. With --quick all of it is short.
"""

import random
import secrets
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2

from bench.report import machine, write
from bench.sagas import OPERATOR, SILENT, shown
from bench.scaling import load_now
from bench.shop import PASSWORD, Client, Figures, figures_of, in_threads
from bench.system import System, wait_for
from scripts.postgresql import cluster, create_databases
from scripts.processes import free_port

CONNECTIONS = 16
GOAL_PER_S = 60.0
FUNDS = 150_000
"""Minor units that each customer deposits: below what risk has staff look at, above all that they transfer."""
PLAIN = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0))"
PLAIN_LOG = "CREATE TABLE transfer (id TEXT PRIMARY KEY, payer INTEGER, payee INTEGER, amount BIGINT)"
PLAIN_ACCOUNTS = 1_000
YES = {True: "yes", False: "**no**"}


@dataclass(frozen=True)
class Size:
    """Customers of each connection, transfers of each of them, and seconds of the plain ones."""

    customers: int
    each: int
    seconds: float


FULL, QUICK = Size(6, 5, 4), Size(2, 4, 1)


@dataclass(frozen=True)
class Measured:
    """With one connection and with all; `cpu_ms` and `commits` of one transfer, by service; `plain` ones a second, by
    how many writers."""

    alone: Figures
    many: Figures
    cpu_ms: Counter[str]
    commits: Counter[str]
    plain: dict[int, float]


def main(quick: bool) -> None:
    size = QUICK if quick else FULL
    found: dict[str, Measured] = {}
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="rialto-bench-")))
        folder.chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        plain = {count: plain_on_sqlite(folder / f"plain-{count}.db", count, size) for count in (1, CONNECTIONS)}
        found["SQLite, WAL, synchronous=FULL"] = measured(folder / "sqlite", plain, size)
        uri = undo.enter_context(cluster(folder / "postgresql", durable=True))
        create_databases(uri, ["plain"])
        plain = {
            count: plain_on_postgresql(f"{uri.rpartition('/')[0]}/plain", count, size) for count in (1, CONNECTIONS)
        }
        wishes = {"DB": "postgresql", "PG_URI": uri}
        found["PostgreSQL, fsync, synchronous_commit"] = measured(folder / "pg", plain, size, **wishes)
    report(found, quick)


def measured(var: Path, plain: dict[int, float], size: Size, **wishes: str) -> Measured:
    (var / "run").mkdir(parents=True)
    (var / "run/demo-data").touch()  # articles are not wanted
    with System(var, free_port(), **{**OPERATOR, **SILENT, **wishes}) as system:
        savers = Savers(system.port, size)
        savers.transfer_all(1, size.each)  # warm
        alone = savers.transfer_all(1, size.each)
        settle(system)
        cpu, commits = by_service(system.cpu_s()), system.commits()
        many = savers.transfer_all(CONNECTIONS, size.each)
        used = by_service(system.cpu_s())
        settle(system)
        made = system.commits()
        require_booked(system)
    cpu_ms = Counter({name: 1000 * (seconds - cpu[name]) / many.count for name, seconds in used.items()})
    per_transfer = Counter({name: (count - commits[name]) / many.count for name, count in made.items()})
    print(f"{var.name}: {shown(many)}, {sum(cpu_ms.values()):.1f} ms CPU, plain {plain}", flush=True)
    return Measured(alone, many, cpu_ms, per_transfer, plain)


def by_service(units: dict[str, float]) -> Counter[str]:
    """Sums of all instances of each."""
    sums: Counter[str] = Counter()
    for unit, value in units.items():
        sums[unit.rpartition("-")[0]] += value  # type: ignore[assignment] # seconds
    return sums


def settle(system: System) -> None:
    """Until each transaction has ended and every mail about it was sent."""

    def quiet() -> bool:
        moving = system.count("transactions", "transactions WHERE status IN ('pending', 'in_review')")
        return not moving and not system.count("transactions", "outbox") and not unsent(system)

    wait_for("the transactions' mails", quiet)


def unsent(system: System) -> int:
    return system.count("notifications", "mail WHERE status <> 'sent'")


def require_booked(system: System) -> None:
    """That each was booked once, and nothing else was: a figure of what did not happen is worth nothing."""
    completed = system.count("transactions", "transactions WHERE status = 'completed'")
    settled = system.count("accounts", "entry WHERE phase = 'settled'")
    if completed != settled or system.count("transactions", "transactions") != completed:
        raise SystemExit(f"{completed} transactions are completed, {settled} were booked")


class Savers:
    """Customers with money, some for each connection. Each pays the one after them, and nobody else."""

    def __init__(self, port: int, size: Size) -> None:
        everybody: list[tuple[Client, str]] = []
        open_all = partial(self._open, port, size.customers, everybody)
        in_threads([open_all for _ in range(CONNECTIONS)])
        payees = [account for _, account in (*everybody[1:], everybody[0])]
        payers = [(client, account, payee) for (client, account), payee in zip(everybody, payees, strict=True)]
        self.of_connections = [payers[number::CONNECTIONS] for number in range(CONNECTIONS)]

    def _open(self, port: int, count: int, everybody: list[tuple[Client, str]]) -> None:
        for _ in range(count):
            client, name = Client(port), f"bench-{secrets.token_hex(6)}"
            person = {"email": f"{name}@rialto.example", "password": PASSWORD, "name": "Bench"}
            client.call("POST", "/v1/users", person)
            client.log_in(person["email"], PASSWORD)
            account = client.call("POST", "/v1/accounts", {"currency": "EUR", "name": "wallet"})["id"]
            card = {"type": "card", "token": f"tok_visa.{name}"}
            asked = {"account_id": account, "amount": euro(FUNDS), "payment_method": card}
            completed(client, "/v1/deposits", asked)
            everybody.append((client, account))

    def transfer_all(self, connections: int, each: int) -> Figures:
        """Time transfers to their ends: so many of each customer of so many connections, all of these at once."""
        latencies: list[float] = []

        def transfer(payers: list[tuple[Client, str, str]]) -> None:
            for _ in range(each):
                for client, account, payee in payers:
                    amount = euro(random.randint(1, 100))
                    begun = time.perf_counter()
                    completed(client, "/v1/transfers", {"from_account": account, "to_account": payee, "amount": amount})
                    latencies.append(time.perf_counter() - begun)

        cpu = time.process_time()
        took = in_threads([partial(transfer, payers) for payers in self.of_connections[:connections]])
        return figures_of(latencies, took, time.process_time() - cpu)


def completed(client: Client, path: str, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(12), "Prefer": "wait=10"}
    done = client.call("POST", path, body, **headers)
    if done["status"] != "completed":
        raise RuntimeError(f"{path} ended as {done['status']}: {done.get('reason_code')}")


def euro(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


# --- plain transfers


def plain_on_sqlite(path: Path, writers: int, size: Size) -> float:
    """Writers are threads with a connection each; SQLite lets one of them write at a time."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    with closing(connect()) as connection:
        connection.execute(PLAIN)
        connection.execute(PLAIN_LOG)
        rows = [(number, 10**9) for number in range(PLAIN_ACCOUNTS)]
        connection.executemany("INSERT INTO account VALUES (?, ?)", rows)

    def write(over: Callable[[], bool]) -> Iterator[None]:
        with closing(connect()) as connection:
            while not over():
                payer, payee = random.sample(range(PLAIN_ACCOUNTS), 2)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE account SET balance = balance - 1 WHERE id = ?", (payer,))
                connection.execute("UPDATE account SET balance = balance + 1 WHERE id = ?", (payee,))
                connection.execute("INSERT INTO transfer VALUES (?, ?, ?, 1)", (secrets.token_hex(16), payer, payee))
                connection.execute("COMMIT")
                yield

    return rate(write, writers, size.seconds)


def plain_on_postgresql(uri: str, writers: int, size: Size) -> float:
    """Rows are taken in the order of their ids, so that no two wait for each other."""
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS account, transfer")
        cursor.execute(PLAIN)
        cursor.execute(PLAIN_LOG)
        cursor.execute("INSERT INTO account SELECT n, 1000000000 FROM generate_series(0, %s) n", (PLAIN_ACCOUNTS,))

    def write(over: Callable[[], bool]) -> Iterator[None]:
        with closing(psycopg2.connect(uri)) as connection:
            while not over():
                first, second = sorted(random.sample(range(PLAIN_ACCOUNTS), 2))
                with connection, connection.cursor() as cursor:
                    cursor.execute("UPDATE account SET balance = balance - 1 WHERE id = %s", (first,))
                    cursor.execute("UPDATE account SET balance = balance + 1 WHERE id = %s", (second,))
                    cursor.execute(
                        "INSERT INTO transfer VALUES (%s, %s, %s, 1)", (secrets.token_hex(16), first, second)
                    )
                yield

    return rate(write, writers, size.seconds)


def rate(write: Callable[[Callable[[], bool]], Iterator[None]], writers: int, seconds: float) -> float:
    """How many a second `writers` threads do together."""
    counts, begun = list[int](), time.perf_counter()

    def go() -> None:
        counts.append(sum(1 for _ in write(lambda: time.perf_counter() - begun > seconds)))

    took = in_threads([go] * writers)
    return sum(counts) / took


# --- the page


def report(found: dict[str, Measured], quick: bool) -> None:
    lines = [machine(), *(["**Tried out with small sizes: no figures to go by.**"] if quick else []), ""]
    lines += ["Broker, databases, load and one instance of each service on the same machine, whose load average is"]
    lines += [
        f"{load_now()} at the end. A transfer goes by HTTP through the gateway, and is timed to its end. A *plain*"
    ]
    lines += ["one is two updates and an insert in one transaction of one process, by as many writers.", ""]
    for name, each in found.items():
        lines += [f"## {name}", "", "| what | figure |", "|---|---|", *rows(each), ""]
    lines += ["## Goal", "", "| goal | wanted | reached | |", "|---|---|---|---|"]
    for name, each in found.items():
        what, reached = f"{name}: transfers/s, {CONNECTIONS} connections", each.many.per_s
        lines.append(f"| {what} | {GOAL_PER_S:g} | {reached:.0f} | {YES[reached >= GOAL_PER_S]} |")
    print("\n" + "\n".join(lines))
    write("Transfers a second, ", lines, name="transfers-quick-" if quick else "transfers-")


def rows(found: Measured) -> Iterator[str]:
    for name, figures, writers in (
        ("1 connection", found.alone, 1),
        (f"{CONNECTIONS} connections", found.many, CONNECTIONS),
    ):
        plain = found.plain[writers]
        yield f"| transfers, {name} | {shown(figures)} ({figures.count} of them) |"
        yield f"| plain ones, {writers} writer{'s' * (writers > 1)} | {plain:,.0f}/s |"
        yield f"| transfers / plain ones | 1 : {plain / figures.per_s:,.0f} |"
    yield f"| CPU of one transfer, all processes | {sum(found.cpu_ms.values()):.1f} ms |"
    yield f"| of it | {most(found.cpu_ms)} |"
    yield f"| commits of one transfer | {sum(found.commits.values()):.1f} ({most(found.commits)}) |"


def most(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:.1f}" for name, count in counts.most_common(8) if count >= 0.05)


if __name__ == "__main__":
    main("--quick" in sys.argv)
