"""orders as it runs, one round of a saga at a time, and what the shop and the others do without being asked."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from nameko.testing.services import worker_factory
from sqlalchemy import delete, select

from chassis import tables
from chassis.context import Call
from chassis.db import Sessions, WorkerDatabase, shift_clock
from chassis.rpc import Proxy
from contracts.carts import CartsApi
from contracts.products import ProductsApi
from contracts.risk import WithoutRisk
from contracts.shipping import ShippingApi
from contracts.users import UsersApi
from services.orders.flows import CANCEL, RETURN
from services.orders.models import Amendment, Order
from services.orders.saga import PLACE_ORDER
from services.orders.service import OrdersService
from services.orders.swaps import CHANGE, EXCHANGE, TAKE_BACK
from tests.machines.order_checks import AMENDMENT_MOVES, MOVES, Books, follow
from tests.machines.ordered import WINDOW, Ordered
from tests.machines.others import PRICES, WAY, Others
from tests.sagas import engine

MOMENT, LEASE = timedelta(milliseconds=50), timedelta(seconds=17)
DEADLINE, MONTH = timedelta(minutes=16), timedelta(days=31)
"""Longer, by more than an example takes, than a back-off, a lease, a saga's deadline and the time for goods to come."""
CONFIG = {
    "tax_rates_permille": {"default": {"default": 200}, "NL": {"default": 210}, "DE": {"default": 190}},
    "return_window_days": 30,
    "refund_shipping_when_all_returned": True,
}
WITHOUT_RISK = WithoutRisk(risk_open_below_minor={"order": {"EUR": 5000}})
REMOTES = {"users": UsersApi, "carts": CartsApi, "products": ProductsApi, "shipping": ShippingApi}
CHASSIS = (tables.saga, tables.saga_log, tables.saga_signal, tables.inbox, tables.handled, tables.outbox)
TABLES = (*CHASSIS, Amendment.__table__, Order.__table__)

seen: Counter[str] = Counter()
"""In which states orders and amendments were, over all examples."""


class Hands(list[Any]):
    """The sagas that the instance holds, in place of the engine's pool: they are driven when a rule says so."""

    def free(self) -> int:
        return 20

    def spawn_n(self, _drive: Callable[[Any], None], held: Any) -> None:
        self.append(held)


class OrdersShop:
    """An instance of orders, with two workers and the sagas that it holds. `ordered` is what each order must come to.

    It begins with no rows: sagas are found by their time, so one shop is at a time on a database.
    """

    def __init__(self, sessions: Sessions, databases: list[WorkerDatabase]) -> None:
        shift_clock(timedelta())
        self.sessions, self.others, self.hands, self.clock = sessions, Others(), Hands(), timedelta()
        with sessions.write() as session:
            for table in TABLES:
                session.execute(delete(table))
        sessions.on_commit("sagas", self.hands.extend)
        self.engine = engine(
            sessions,
            self.others,
            PLACE_ORDER,
            CANCEL,
            CHANGE,
            RETURN,
            EXCHANGE,
            TAKE_BACK,  # type: ignore[arg-type]
        )
        self.engine.pool = self.hands
        self.ends: Counter[str] = Counter()
        self.engine.rounds = replace(
            self.engine.rounds, ended=lambda saga_id: self.ends.update([saga_id]), soon=lambda in_s: None
        )
        self.workers = [self.worker(database) for database in databases]
        self.changed = True
        self.ordered: dict[str, Ordered] = {}
        self.states: dict[str, str] = {}
        self.amendments: dict[str, Any] = {}
        self.waits_until: dict[str, timedelta] = {}

    def worker(self, database: WorkerDatabase) -> Any:
        nobody = SimpleNamespace(context_data={})
        remotes = {name: Proxy(self.others, contract, nobody) for name, contract in REMOTES.items()}  # type: ignore[arg-type]
        return worker_factory(
            OrdersService,
            db=database,
            call=Call(trace_id="t"),
            config=CONFIG,
            without_risk=WITHOUT_RISK,
            sagas=self.engine,
            **remotes,
        )

    def look(self) -> None:
        """After each commit: orders and amendments went where they may go from where they were."""
        self.changed = True
        with self.sessions.read() as session:
            orders = session.execute(select(Order.id, Order.status)).all()
            amendments = session.connection().execute(select(Amendment.__table__)).all()
        for order_id, status in orders:
            before = self.states.get(order_id, "pending")
            assert status == before or status in MOVES[before], f"an order went from {before} to {status}"
            self.states[order_id] = status
            seen[status] += status != before
        for row in amendments:
            before = self.amendments[row.id].status if row.id in self.amendments else ""
            assert row.status == before or row.status in AMENDMENT_MOVES[before], f"from {before} to {row.status}"
            if row.status == "waiting" != before:
                self.waits_until[row.id] = self.clock + WINDOW
            self.amendments[row.id] = row
            seen[f"{row.kind} {row.status}"] += row.status != before

    def follow(self, books: Books) -> list[Any]:
        """The orders on which nobody works now; what they must come to is as of now."""
        resting = [row for row in books.orders.values() if books.rests(row.id, self.engine.definitions)]
        for row in resting:
            follow(books, row, self.ordered[row.id], self.others)
        return resting

    # --- the sagas

    def drive(self, held: Any) -> None:
        """One round of a saga that is held, and its commit."""
        definition = self.engine.definitions[held.name, held.version]
        if not self.engine.rounds.go(definition, held):
            self.hands[:] = [each for each in self.hands if each is not held]
        self.look()

    def rounds(self, turns: list[int], fates: list[str]) -> None:
        """Some rounds of what is held, of one saga or of several in turn."""
        self.others.script = list(fates)
        for turn in turns:
            if self.hands:
                self.drive(self.hands[turn % len(self.hands)])
        self.others.script = []

    def run(self, fates: list[str]) -> None:
        """All that is held or due goes on until it is let go."""
        self.wait(MOMENT)
        self.engine._claim_due()
        self.others.script = list(fates)
        while self.hands:
            self.drive(self.hands[0])
        self.others.script = []

    def overtake(self, turns: list[int], fates: list[str]) -> None:
        """Who holds a saga is slower than its lease: another one takes it over, and both go on."""
        self.wait(LEASE)
        self.engine._claim_due()
        self.rounds(turns, fates)

    def die(self, number: int) -> None:
        """Nobody drives this saga any more, until its lease is over."""
        if self.hands:
            del self.hands[number % len(self.hands)]

    def wait(self, by: timedelta) -> None:
        self.clock += by
        shift_clock(self.clock)

    # --- the others

    def move_parcel(self, number: int, moves: int, told: bool) -> None:
        parcels = self.others.movable()
        if parcels:
            self.move(parcels[number % len(parcels)], moves, told)

    def move(self, parcel_id: str, moves: int, told: bool) -> None:
        before = len(self.others.news)
        for _ in range(moves):
            self.others.go_on(parcel_id)
        for fresh in range(before, len(self.others.news) if told else before):
            self.hear(fresh)

    def decide_at_the_bank(self, number: int, approved: bool, told: bool) -> None:
        challenged = self.others.challenged()
        if challenged:
            self.others.decide(challenged[number % len(challenged)], approved)
            if told:
                self.hear(len(self.others.news) - 1)

    def hear(self, number: int) -> None:
        """News come in any order, and again."""
        if not self.others.news:
            return
        fact = self.others.news[number % len(self.others.news)]
        getattr(self.workers[0], f"on_{fact['event_id'].partition('-')[0]}")(fact)
        self.look()
        ordered = self.ordered.get(fact.get("parcel_id", ""))
        if ordered is not None:
            ordered.hears(WAY.index(fact["status"]), self.clock)

    def price_anew(self, sku: str, by: int) -> None:
        self.others.prices[sku] = PRICES[sku] + by
