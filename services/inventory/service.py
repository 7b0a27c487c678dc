"""inventory: how many units of each sku there are, and for whom they are held."""

from chassis.commands import command, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.outbox import Relay
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from contracts.common import Line, Sku, Text
from contracts.inventory import Difference, InventoryApi, Lines, OrderId, Reservation, Stock, StockAudit
from contracts.orders import SagasForgotten
from services.inventory import store
from services.inventory.domain import merged
from services.inventory.models import Base


class InventoryService(DeadLetterOperations):
    name = "inventory"

    call = provided(Call, CallContext(InventoryApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    relay = Relay()

    @rpc
    def stock_of(self, sku: str) -> Stock:
        self.call.require_staff()
        with self.db.read() as session:
            return store.stock_of(session, sku)

    @command
    def reserve(self, order_id: OrderId, lines: Lines, *, key: str) -> Reservation:
        self.call.require_trusted()
        wanted = merged(lines)
        held = store.keep_reservation(self.db.session, order_id, wanted)
        store.move(self.db.session, wanted, kind="reserve", available=-1, reserved=1)
        return held

    @undo
    def release(self, order_id: OrderId, lines: Lines, *, key: str) -> None:
        held = store.end_reservation(self.db.session, order_id, "released")
        if held:
            store.move(self.db.session, held, kind="release", available=1, reserved=-1)

    @command(retriable=True)
    def commit(self, order_id: OrderId, *, key: str) -> Reservation:
        self.call.require_trusted()
        held = store.end_reservation(self.db.session, order_id, "committed")
        if held is None:
            raise ServiceError("inventory.not_reserved", f"Nothing is held for order {order_id!r}.")
        store.move(self.db.session, held, kind="commit", reserved=-1, sold=1)
        return Reservation(
            order_id=order_id, status="committed", lines=[Line(sku=sku, quantity=count) for sku, count in held]
        )

    @command(retriable=True)
    def restock(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        self.call.require_staff()
        return self._came_back(lines, "restock", reason, sold=-1, available=1)

    @command(retriable=True)
    def discard(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        self.call.require_staff()
        return self._came_back(lines, "discard", reason, sold=-1, received=-1)

    @command
    def write_off(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        self.call.require_staff()
        lost = merged(lines)
        store.move(self.db.session, lost, kind="write_off", available=-1, received=-1)
        return self._noted(lost, "write_off", reason)

    @command
    def adjust(self, sku: Sku, quantity: Difference, reason: Text, *, key: str) -> Stock:
        self.call.require_staff()
        if quantity < 0:
            store.move(self.db.session, [(sku, -quantity)], kind="adjust", available=-1, received=-1)
        else:
            store.receive(self.db.session, sku, quantity)
        return self._noted([(sku, quantity)], "adjust", reason)[0]

    @command
    def receive(self, lines: Lines, reason: Text, *, key: str) -> list[Stock]:
        self.call.require_staff()
        goods = merged(lines)
        for sku, quantity in goods:
            store.receive(self.db.session, sku, quantity)
        return self._noted(goods, "receive", reason)

    @rpc
    def audit(self) -> StockAudit:
        self.call.require_operator()
        with self.db.read() as session:
            return store.audit(session)

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)

    def _came_back(self, lines: Lines, kind: str, reason: Text, **change: int) -> list[Stock]:
        back = merged(lines)
        try:
            store.move(self.db.session, back, kind=kind, **change)
        except ServiceError as exc:
            if exc.code == "inventory.insufficient":
                raise ServiceError("inventory.not_sold", "More came back than was sold.", exc.details) from None
            raise
        return self._noted(back, kind, reason)

    def _noted(self, lines: store.Lines, kind: str, reason: Text) -> list[Stock]:
        caller = self.call.caller
        author = (caller and (caller.customer_id or caller.service)) or "operator"
        store.note(self.db.session, lines, kind, reason, author)
        self.db.session.flush()
        return [store.stock_of(self.db.session, sku) for sku, _ in lines]
