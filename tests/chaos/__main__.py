"""`make chaos`: the real system, two instances of each service, buying customers, and everything broken meanwhile.

    make chaos SECONDS=300 SEED=... DB=sqlite|postgresql CUSTOMERS=12 VAR=var/chaos KEEP=1

Exit code 0 if afterwards everything holds. What happened is in VAR/<seed>/: acts.jsonl, journal.jsonl, report.md and
the system's own files. KEEP=1 also puts the report into bench/results/.
"""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from scripts.plan import SERVICES
from scripts.postgresql import cluster
from scripts.processes import CannotStart, wait_until
from tests.chaos import ledger, money, nemesis, report, verdict
from tests.chaos.customers import Customer
from tests.chaos.pauses import Pauses
from tests.chaos.person import Journal, Person
from tests.chaos.savers import Saver, in_a_circle
from tests.chaos.wishes import ON_GIFT_CARD
from tests.e2e.system import OPERATOR, System

LEASE_S = 9.0  # shorter than usual, so that a run of a minute has sagas that are taken over
SETTINGS = {
    "SAGA_LEASE_MS": f"{LEASE_S * 1000:.0f}",
    "SAGA_STEP_TIMEOUT_MS": "4000",
    "CARRIER_AUTO_S": "2",
    "BANK_AUTO_S": "2",
    "LOG_LEVEL": "INFO",
}
INSTANCES = 2
OFTEN = ("orders", "orders", "payments", "inventory")
"""Who is hit more often than others: once more for each time that they stand here."""
SCARCE, PLENTY = (6, 8), (8, 100_000)
PRICES = {"A": 1999, "B": 2349}
"""Articles, and units of each: some that run out during a run, and some that do not."""
ENDS_S = 180.0  # after the last act, until every saga has ended and every mail is sent
LEAVES_S = 150.0  # until the customers have followed their last orders
AUDIT_S = 120.0


@dataclass(frozen=True)
class Wishes:
    seconds: float
    seed: str
    database: str
    customers: int
    folder: Path
    keep: bool

    @classmethod
    def read(cls, env: dict[str, str]) -> "Wishes":
        seed = env.get("SEED") or secrets.token_hex(4)
        database = env.get("DB") or "sqlite"
        if database not in ("sqlite", "postgresql"):
            raise CannotStart(f"DB is {database}; it can be sqlite or postgresql.")
        return cls(
            seconds=float(env.get("SECONDS") or 300),
            seed=seed,
            database=database,
            customers=int(env.get("CUSTOMERS") or 12),
            folder=Path(env.get("VAR") or "var/chaos").absolute() / seed,
            keep=env.get("KEEP") == "1",
        )


@dataclass
class Facts:
    """What a run leaves, for the report."""

    wishes: Wishes
    run: verdict.Run
    found: dict[str, list[str]] = field(default_factory=dict)
    settled_s: float | None = None
    pauses: dict[str, float] = field(default_factory=dict)


def main() -> int:
    wishes = Wishes.read(dict(os.environ))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    print(f"SEED={wishes.seed} SECONDS={wishes.seconds:g} DB={wishes.database}: {wishes.folder}", flush=True)
    shutil.rmtree(wishes.folder, ignore_errors=True)
    wishes.folder.mkdir(parents=True)
    with ExitStack() as undo:
        source = undo.enter_context(_databases(wishes))
        system = System(wishes.folder)
        (wishes.folder / "run").mkdir()
        (wishes.folder / "run/demo-data").touch()  # its articles are not wanted
        undo.callback(_stop, system)
        facts = _play(wishes, system, source)
    text = report.write(facts)
    (wishes.folder / "report.md").write_text(text)
    if wishes.keep:
        report.keep(facts, text)
    print(text)
    return 1 if any(facts.found.values()) else 0


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


@contextmanager
def _databases(wishes: Wishes) -> Iterator[ledger.Source]:
    """Files in the run's folder, or a server of the run's own."""
    if wishes.database == "sqlite":
        yield ledger.Source(wishes.folder)
        return
    with tempfile.TemporaryDirectory(prefix="rialto-chaos-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        with cluster(Path(folder) / "postgresql") as uri:
            yield ledger.Source(wishes.folder, uri)


def _stop(system: System) -> None:
    if system.process is not None:
        system.stop()


def _play(wishes: Wishes, system: System, source: ledger.Source) -> Facts:
    scale = " ".join(f"{service}={INSTANCES}" for service in SERVICES)
    system.start(SCALE=scale, DB=wishes.database, PG_URI=source.pg_uri or "", **SETTINGS)
    services = [*SERVICES, *OFTEN]
    units = [f"{service}-{number}" for service in services for number in range(1, INSTANCES + 1)] + ["gateway-1"]
    print(f"started; {len(set(units))} processes may be hit", flush=True)
    journal = Journal(wishes.folder / verdict.JOURNAL)
    desk = Person("desk", OPERATOR["OPERATOR_EMAIL"], OPERATOR["OPERATOR_PASSWORD"], system.url, journal)
    desk.log_in()
    skus = _stock_up(desk, journal)
    customers = [Customer(wishes.seed, n, system.url, skus, desk, journal) for n in range(wishes.customers)]
    for customer in customers:
        gift = {"customer_id": customer.sign_up(), "amount": {"amount": ON_GIFT_CARD, "currency": "EUR"}}
        customer.gift_card = desk.ask("POST", "/v1/gift-cards", f"gift-{customer.name}", json=gift).json()["id"]
    savers = [Saver(wishes.seed, number, system.url, desk, journal) for number in range(-(-wishes.customers // 2))]
    for saver in savers:
        saver.open_account()
    in_a_circle(savers)
    acts = nemesis.plan(wishes.seed, wishes.seconds, LEASE_S, units)
    breaker = nemesis.Nemesis(system, acts, wishes.folder / verdict.ACTS)
    pauses = Pauses(system, breaker)
    with _going_on([*customers, *savers]):
        breaker.play(wishes.seconds, meanwhile=pauses.look)
    print(f"{len(breaker.done)} acts done; waiting for the ends", flush=True)
    settled_s = _settle(source)
    pauses.look(now=True)
    audit = _audit(desk)
    run = verdict.Run.read(source)
    books = {**ledger.check(run.books), **money.check(run.money)}
    found = {**books, **verdict.check(run), "GET /v1/audit holds": audit, "GET /v1/ledger/verify holds": _verify(desk)}
    return Facts(wishes, run, found, settled_s, pauses.longest)


def _stock_up(desk: Person, journal: Journal) -> list[str]:
    """Put articles on sale, each in two variants; answers the skus of the first ones, which customers order."""
    skus, scarce = [], []
    for name, (count, units) in {"SCARCE": SCARCE, "PLENTY": PLENTY}.items():
        for number in range(count):
            variants = [_variant(f"{name}-{number}-{end}", end, price) for end, price in PRICES.items()]
            product = {"name": f"{name} {number}", "description": "For chaos.", "category": "home"}
            desk.ask("POST", "/v1/products", json={**product, "variants": variants})
            for sku in (variant["sku"] for variant in variants):
                desk.ask("POST", f"/v1/stock/{sku}/adjustments", sku, json={"quantity": units, "reason": "delivery"})
                scarce += [sku] if name == "SCARCE" else []
            skus.append(variants[0]["sku"])
    journal.note("stocked", scarce=scarce)
    return skus


def _variant(sku: str, size: str, price: int) -> dict[str, Any]:
    return {"sku": sku, "options": {"size": size}, "price": {"amount": price, "currency": "EUR"}}


@contextmanager
def _going_on(people: list[Customer | Saver]) -> Iterator[None]:
    """People in threads of their own; at the end they follow what they have begun."""
    closing = threading.Event()
    threads = [threading.Thread(target=each.go_on_until, args=(closing,), daemon=True) for each in people]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        closing.set()
    limit = time.monotonic() + LEAVES_S
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))


def _settle(source: ledger.Source) -> float | None:
    """Seconds until every saga had ended and nothing was on its way; None if that was not within ENDS_S."""
    begun = time.monotonic()

    def settled() -> bool:
        books = ledger.read(source)
        moving = ledger.sagas_ended(books), ledger.nothing_left_over(books), ledger.mails_agree(books)
        on_the_road = any(each["status"] not in ("delivered", "cancelled") for each in books.bookings)
        return not on_the_road and not any(any(found) for found in moving) and _money_settled(source)

    return time.monotonic() - begun if wait_until(settled, ENDS_S, every_s=0.5) else None


def _money_settled(source: ledger.Source) -> bool:
    books = money.read(source)
    moving = money.transactions_ended(books), money.nothing_on_its_way(books), money.mails_agree(books)
    return not any(any(found) for found in moving)


def _verify(desk: Person) -> list[str]:
    """What the ledger finds in itself, and whether debits equal credits."""
    found = desk.ask("GET", "/v1/ledger/verify").json()
    broken = [f"{each['what']} {each['id']}: {each['text']}" for each in found["broken"]]
    return broken if desk.ask("GET", "/v1/ledger/trial-balance").json()["holds"] else [*broken, "trial balance"]


def _audit(desk: Person) -> list[str]:
    """What the system's own audit says, once nothing is in flight any more."""
    answer: dict[str, Any] = {}

    def done() -> bool:
        answer.update(desk.ask("GET", "/v1/audit").json())
        return not any(check["in_flight"] for check in answer["checks"])

    wait_until(done, AUDIT_S, every_s=1.0)
    return [f"{check['name']}: {check['detail']}" for check in answer["checks"] if not check["holds"]]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotStart as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit(130)
