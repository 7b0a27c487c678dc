"""What the ledger does a second: `make bench ARGS="ledger"`, into bench/results/ledger-<when>.md. Some five minutes.

Entries booked one by one and in batches, between customers' accounts and with one of the house's in each of them, whose
rows are one or many; then sealing and verifying all that. On SQLite and on PostgreSQL, beside pgbench on the same
server. With --quick all of it is short, for trying out.

The service is called through its class, with real sessions and without RPC, by green threads of processes of their own:
`python -m bench.ledger` is one, on the database of ACCOUNTS_DB. It is asked, and answers, by lines of JSON.
"""

import sys

if __name__ == "__main__":
    import eventlet

    eventlet.monkey_patch()  # before anything else is imported; only there: the bench itself waits for processes

import gc
import itertools
import json
import os
import random
import re
import secrets
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil
import psycopg2
from nameko.testing.services import worker_factory
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from bench.report import machine, write
from bench.scaling import load_now
from bench.system import ROOT
from chassis.context import Call
from chassis.db import Sessions, WorkerDatabase, new_engine
from chassis.migrate import migrate
from chassis.service import GC_ALLOCATIONS
from chassis.types import Money
from contracts.accounts import KeyedEntry, NewEntry, Posting
from scripts.postgresql import cluster, create_databases, programs
from services.accounts import holders
from services.accounts.service import AccountsService, AccountsSettings

CORES = psutil.cpu_count() or 1
BATCH = 100
BATCHES_GOAL = 5_000.0
VERIFIED, VERIFY_GOAL_S = 100_000, 5.0
ACCOUNTS = 4_000
"""Of customers. Each writer posts to a part of them that is its own."""
FUNDS = 10**9
YES = {True: "yes", False: "**no**"}
HOT = "sales.EUR"
PGBENCH_SCALE = 10
CONNECTIONS = 8
"""Of each process to a server, as an instance of the service has; so it has no more writers than these."""


@dataclass(frozen=True)
class Size:
    """Seconds of each measurement, and how many entries are verified at least."""

    seconds: float
    entries: int


FULL, QUICK = Size(4, VERIFIED), Size(0.7, 10_000)


@dataclass(frozen=True)
class Way:
    """How is booked: entries of a call, and writers."""

    entries: int
    writers: int

    def __str__(self) -> str:
        call = "`book`" if self.entries == 1 else f"`book_batch` of {self.entries}"
        return f"{call}, {self.writers} writer{'s' * (self.writers > 1)}"


@dataclass(frozen=True)
class Case:
    """What is booked: `hot` entries have a posting to the house's account, which has so many stripes."""

    name: str
    hot: bool
    stripes: int


WAYS = (Way(1, 1), Way(1, 16), Way(BATCH, 1), Way(BATCH, 4))
CASES = (
    Case("customers' accounts", False, 16),
    Case(f"{HOT}, 1 stripe (before)", True, 1),
    Case(f"{HOT}, 16 stripes (after)", True, 16),
)


@dataclass(frozen=True)
class Rate:
    """Entries a second, and milliseconds of a call."""

    per_s: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.per_s:,.0f}/s  p50 {self.p50:.1f} ms  p99 {self.p99:.1f} ms"


@dataclass
class Found:
    """What was measured on one database. `transactions`: pgbench's a second, by its clients."""

    about: str
    rates: dict[tuple[Way, Case], Rate] = field(default_factory=dict)
    transactions: dict[int, float] = field(default_factory=dict)
    entries: int = 0
    seal_s: float = 0.0
    verify_s: float = 0.0

    def best(self, case: Case) -> float:
        """Entries a second in batches, with the number of writers that does most."""
        return max(rate.per_s for (way, of), rate in self.rates.items() if of is case and way.entries == BATCH)


def main(quick: bool) -> None:
    size, begun = QUICK if quick else FULL, time.monotonic()
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="rialto-bench-")))
        folder.chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        found = {"SQLite": on_sqlite(folder, size)}
        uri = make_url(undo.enter_context(cluster(folder / "postgresql", durable=True)))
        found["PostgreSQL"] = on_postgresql(uri, size)
    report(found, time.monotonic() - begun, quick)


def on_sqlite(folder: Path, size: Size) -> Found:
    uri = f"sqlite:///{folder / 'accounts.db'}"
    migrate("accounts", uri)
    found = Found(f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL; the writers are green threads of 1 process")
    measure(found, uri, 1, size)
    return found


def on_postgresql(server: URL, size: Size) -> Found:
    create_databases(server.render_as_string(hide_password=False), ["accounts", "pgbench"])
    uri = server.set(drivername="postgresql+psycopg2", database="accounts").render_as_string(hide_password=False)
    migrate("accounts", uri)
    writers = f"the writers are green threads of {CORES} processes, as many as there are cores"
    found = Found(f"PostgreSQL {', '.join(settings(server))}; {writers}")
    found.transactions.update(pgbench(server, sorted({way.writers for way in WAYS}), size))
    measure(found, uri, CORES, size)
    return found


def measure(found: Found, uri: str, processes: int, size: Size) -> None:
    print(f"\n{found.about}", flush=True)
    with running(uri, processes) as desks:
        desks[0].do("open")
        for case, way in itertools.product(CASES, WAYS):
            rate = found.rates[way, case] = booked(desks, way, case, size.seconds)
            print(f"{way!s:<32} {case.name:<32} {rate}", flush=True)
        while desks[0].do("count") < size.entries:
            booked(desks, WAYS[-1], CASES[-1], 1)
        found.seal_s = desks[0].do("seal")
        found.verify_s, found.entries = desks[0].do("verify")
    per_s = found.entries / found.seal_s, found.entries / found.verify_s
    print(f"{found.entries:,} entries: sealed {per_s[0]:,.0f}/s, verified {per_s[1]:,.0f}/s", flush=True)


# --- a process that books


class Desk:
    """One such process, from outside."""

    def __init__(self, uri: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "bench.ledger"],
            cwd=ROOT,
            env={**os.environ, "ACCOUNTS_DB": uri},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        print(json.dumps([what, arguments]), file=self.process.stdin, flush=True)

    def answer(self) -> Any:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise SystemExit("a process that booked has ended; it says above why")
        return json.loads(line)

    def do(self, what: str, **arguments: Any) -> Any:
        self.ask(what, **arguments)
        return self.answer()

    def end(self) -> None:
        self.process.communicate(timeout=30)


@contextmanager
def running(uri: str, processes: int) -> Iterator[list[Desk]]:
    desks = [Desk(uri) for _ in range(processes)]
    try:
        yield desks
    finally:
        for desk in desks:
            desk.end()


def booked(desks: list[Desk], way: Way, case: Case, seconds: float) -> Rate:
    """Have the writers, dealt out to the processes, book for so long."""
    busy = [(desk, list(range(way.writers))[number :: len(desks)]) for number, desk in enumerate(desks)]
    busy = [(desk, writers) for desk, writers in busy if writers]
    for desk, writers in busy:
        desk.ask("book", way=asdict(way), case=asdict(case), writers=writers, seconds=seconds)
    answers = [desk.answer() for desk, _ in busy]
    per_s = sum(way.entries * len(took) / whole_s for took, whole_s in answers)
    ordered = sorted(each * 1000 for took, _ in answers for each in took)
    return Rate(per_s, *(ordered[int(len(ordered) * share)] for share in (0.5, 0.99)))


class Ledger:
    """The service in this process."""

    def __init__(self, uri: str) -> None:
        self.sessions = Sessions(new_engine(uri, CONNECTIONS))

    def service(self, stripes: int = 16) -> AccountsService:
        made = worker_factory(
            AccountsService,
            db=WorkerDatabase(self.sessions.factory),
            call=Call(trace_id="bench"),
            settings=AccountsSettings(accounts_stripes=stripes),
        )
        return cast(AccountsService, made)

    def open(self) -> None:
        """Customers' accounts, with money."""
        with self.sessions.write() as session:
            ids = [holders.open_account(session, f"c{number}", "EUR", "wallet") for number in range(ACCOUNTS)]
        funds = [KeyedEntry(key=key(), kind="fund", postings=moved("bank.EUR", account, FUNDS)) for account in ids]
        service = self.service()
        for start in range(0, ACCOUNTS, 1000):
            require_booked(service.book_batch(funds[start : start + 1000]))

    def book(
        self, way: dict[str, Any], case: dict[str, Any], writers: list[int], seconds: float
    ) -> tuple[list[float], float]:
        """The seconds of each call, and of all of them."""
        acts = [self.writer(Way(**way), Case(**case), number) for number in writers]
        acts[0]()  # warm
        took: list[float] = []
        failures: list[Exception] = []
        begun = time.perf_counter()

        def repeat(act: Callable[[], None]) -> None:
            try:
                while (sent := time.perf_counter()) - begun < seconds and not failures:
                    act()
                    took.append(time.perf_counter() - sent)
                    time.sleep(0)
            except Exception as exc:  # noqa: BLE001 it is raised below
                failures.append(exc)

        threads = [threading.Thread(target=repeat, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return took, time.perf_counter() - begun

    def writer(self, way: Way, case: Case, number: int) -> Callable[[], None]:
        """Books once, when it is called. Its customers are its own."""
        customers, service = self.customers()[number :: way.writers], self.service(case.stripes)

        def postings() -> list[Posting]:
            payer, payee = random.sample(customers, 2)
            return moved(payer, HOT if case.hot else payee, random.randint(1, 100))

        def one() -> None:
            service.book(NewEntry(postings=postings(), kind="bench", subject="order:4711"), key=key())

        def many() -> None:
            entries = [
                KeyedEntry(key=key(), postings=postings(), kind="bench", subject="order:4711")
                for _ in range(way.entries)
            ]
            require_booked(service.book_batch(entries))

        return one if way.entries == 1 else many

    def customers(self) -> list[str]:
        with self.sessions.read() as session:
            found = session.execute(text("SELECT id FROM account WHERE customer_id IS NOT NULL ORDER BY id"))
            return list(found.scalars())

    def count(self, only: str = "") -> int:
        with self.sessions.read() as session:
            return int(session.execute(text(f"SELECT count(*) FROM entry {only}")).scalar_one())

    def seal(self) -> float:
        """The seconds until everything is sealed, as the timer of one instance does it."""
        service, begun = self.service(), time.perf_counter()
        while self.count("WHERE block IS NULL"):
            service.seal()
        return time.perf_counter() - begun

    def verify(self) -> tuple[float, int]:
        """Its seconds, and how many entries there are. Ends the bench if the books do not hold."""
        service, begun = self.service(), time.perf_counter()
        found = service.verify()
        took_s = time.perf_counter() - begun
        if not found.holds or found.unsealed:
            raise SystemExit(f"the books do not hold after the bench: {found.broken[:3]}, {found.unsealed} not sealed")
        return took_s, found.entries


def key() -> str:
    return secrets.token_hex(16)


def moved(debit: str, credit: str, amount: int) -> list[Posting]:
    """`amount` cents from what is debited to what is credited."""
    sides = ((debit, amount), (credit, -amount))
    return [Posting(account_id=name, amount=Money(amount=cents, currency="EUR")) for name, cents in sides]


def require_booked(results: Any) -> None:
    for each in results:
        if each.code != "ok":
            raise RuntimeError(f"an entry was refused: {each.code} {each.message}")


def serve() -> None:
    """Do what is asked on each line, and answer on a line, until nothing more comes."""
    ledger = Ledger(os.environ["ACCOUNTS_DB"])
    gc.freeze()  # as CallContext does in an instance
    gc.set_threshold(GC_ALLOCATIONS)
    for line in sys.stdin:
        what, arguments = json.loads(line)
        print(json.dumps(getattr(ledger, what)(**arguments)), flush=True)


# --- PostgreSQL beside it


def settings(server: URL) -> list[str]:
    with closing(psycopg2.connect(server.render_as_string(hide_password=False))) as connection:
        cursor = connection.cursor()
        values = []
        for name in ("server_version", "fsync", "synchronous_commit"):
            cursor.execute(f"SHOW {name}")
            (value,) = cursor.fetchone() or ("",)
            values.append(value.split()[0] if name == "server_version" else f"{name}={value}")
        return values


def pgbench(server: URL, clients: list[int], size: Size) -> Iterator[tuple[int, float]]:
    """Transactions a second of its simple update (-N), by how many clients it has. Nothing where it is missing."""
    program = programs() / "pgbench"
    if not program.exists():
        return
    env = {"PGHOST": server.host or "", "PGPORT": str(server.port), "PGUSER": server.username or ""}
    env |= {"PGPASSWORD": str(server.password), "PGDATABASE": "pgbench"}

    def run(*arguments: str) -> str:
        command = [str(program), *arguments]
        done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"pgbench: {done.stderr}")
        return done.stdout

    run("-i", "-q", "-s", str(PGBENCH_SCALE))
    for count in clients:
        seconds = str(max(1, round(size.seconds)))
        said = run("-N", "-c", str(count), "-j", str(min(count, CORES)), "-T", seconds)
        tps = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
        assert tps is not None, said
        print(f"pgbench -N -c {count:<3} {float(tps[1]):,.0f} transactions/s", flush=True)
        yield count, float(tps[1])


# --- the page


def report(found: dict[str, Found], took_s: float, quick: bool) -> None:
    lines = [machine(), *(["**Tried out with small sizes: no figures to go by.**"] if quick else []), ""]
    lines += ["The service is called in process, through its class, with real sessions: no RPC, no broker. Load and"]
    lines += [f"databases are on the same machine, whose load average is {load_now()} at the end; the whole took"]
    lines += [f"{took_s / 60:.1f} minutes. Entries have two postings. Each writer has customers of its own,"]
    lines += [f"{ACCOUNTS:,} in all. Figures are entries a second, and the time of one call.", ""]
    for name, each in found.items():
        lines += [f"## {name}", "", f"{each.about}.", "", *booking_table(each), *reading_table(each)]
    lines += goals(found)
    print("\n" + "\n".join(lines))
    write("What the ledger does a second, ", lines, name="ledger-quick-" if quick else "ledger-")


def booking_table(found: Found) -> Iterator[str]:
    beside = bool(found.transactions)
    if beside:
        yield f"*pgbench*: transactions a second of `pgbench -N -s {PGBENCH_SCALE}` on the same server, by as many"
        yield from ("clients as there are writers; behind each figure: x entries / transactions.", "")
    elif found.about.startswith("PostgreSQL"):
        yield from ("pgbench is not there beside initdb, so nothing is beside these.", "")
    yield f"| call |{' pgbench |' * beside} {' | '.join(case.name for case in CASES)} |"
    yield f"|{'---|' * (1 + beside + len(CASES))}"
    for way in WAYS:
        cells = [str(found.rates[way, case]) for case in CASES]
        if beside:
            tps = found.transactions[way.writers]
            cells = [
                f"{cell}  x{found.rates[way, case].per_s / tps:.2f}" for cell, case in zip(cells, CASES, strict=True)
            ]
            cells.insert(0, f"{tps:,.0f}/s")
        yield f"| {way} | {' | '.join(cells)} |"
    yield ""


def reading_table(found: Found) -> Iterator[str]:
    yield from (f"| all {found.entries:,} entries | a second | time |", "|---|---|---|")
    for name, took_s in (("`seal`, blocks of 1,000", found.seal_s), ("`verify`, all of them sealed", found.verify_s)):
        yield f"| {name} | {found.entries / took_s:,.0f} | {took_s:.1f} s |"
    yield ""


def goals(found: dict[str, Found]) -> Iterator[str]:
    yield from ("## Goals", "", "| goal | wanted | reached | |", "|---|---|---|---|")
    for name, each in found.items():
        for case in (CASES[0], CASES[-1]):
            what, reached = f"{name}: entries/s in batches of {BATCH}, {case.name}", each.best(case)
            yield f"| {what} | {BATCHES_GOAL:,.0f} | {reached:,.0f} | {YES[reached >= BATCHES_GOAL]} |"
        verify_s = each.verify_s / each.entries * VERIFIED
        what = f"{name}: {VERIFIED:,} entries verified"
        yield f"| {what} | under {VERIFY_GOAL_S:g} s | {verify_s:.1f} s | {YES[verify_s < VERIFY_GOAL_S]} |"


if __name__ == "__main__":
    serve()
