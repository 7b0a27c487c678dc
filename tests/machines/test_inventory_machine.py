"""inventory against a plain count: any order of holds, sales, returns and repeats keeps the books to the unit."""

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import ServiceError
from contracts.common import Line
from services.inventory.service import InventoryService

numbers = itertools.count()
HOLDS, KEYS, QUANTITIES = st.integers(0, 3), st.integers(0, 99), st.integers(1, 4)
COUNTS = ("received", "available", "reserved", "sold")
MOVES = {
    "restock": dict(sold=-1, available=1),
    "discard": dict(sold=-1, received=-1),
    "write_off": dict(available=-1, received=-1),
    "receive": dict(available=1, received=1),
}


class Shelf(RuleBasedStateMachine):
    """Two articles; `counts` is what must be there, `holds` what became of each hold."""

    def __init__(self, database: WorkerDatabase) -> None:
        super().__init__()
        self.service = worker_factory(InventoryService, db=database, call=Call(trace_id="t"))
        self.name = f"m{next(numbers)}"
        self.skus = [f"{self.name}-{letter}" for letter in "AB"]
        self.counts = {sku: dict(received=5, available=5, reserved=0, sold=0) for sku in self.skus}
        self.holds: dict[int, tuple[str, list[Line]]] = {}
        self.fenced: set[int] = set()
        self.moved: set[str] = set()
        self.service.receive(lines=self.lines(5, 5), reason="first", key=f"{self.name}:first")

    def lines(self, *quantities: int) -> list[Line]:
        return [Line(sku=sku, quantity=many) for sku, many in zip(self.skus, quantities, strict=False) if many]

    def enough(self, lines: list[Line], change: dict[str, int]) -> bool:
        less = [name for name, sign in change.items() if sign < 0]
        return all(self.counts[line.sku][name] >= line.quantity for line in lines for name in less)

    def apply(self, lines: list[Line], change: dict[str, int]) -> None:
        for line in lines:
            for name, sign in change.items():
                self.counts[line.sku][name] += sign * line.quantity

    @staticmethod
    def said(call: Any) -> str:
        try:
            call()
        except ServiceError as exc:
            return exc.code
        return "ok"

    @rule(hold=HOLDS, first=QUANTITIES, second=st.integers(0, 3))
    def reserve(self, hold: int, first: int, second: int) -> None:
        state, lines = self.holds.get(hold, ("", self.lines(first, second)))
        name = f"{self.name}-o{hold}"
        said = self.said(lambda: self.service.reserve(order_id=name, lines=lines, key=f"{name}:r"))
        if hold in self.fenced:
            assert said == "saga.fenced"
        elif state:
            assert said == ("inventory.insufficient" if state == "refused" else "ok")
        elif self.enough(lines, dict(available=-1)):
            assert said == "ok"
            self.apply(lines, dict(available=-1, reserved=1))
            self.holds[hold] = ("held", lines)
        else:
            assert said == "inventory.insufficient"
            self.holds[hold] = ("refused", lines)

    @rule(hold=HOLDS)
    def release(self, hold: int) -> None:
        """As sagas do: never after the sale."""
        state, lines = self.holds.get(hold, ("", self.lines(1, 1)))
        if state == "committed":
            return
        name = f"{self.name}-o{hold}"
        assert self.said(lambda: self.service.release(order_id=name, lines=lines, key=f"{name}:r")) == "ok"
        if state == "held":
            self.apply(lines, dict(available=1, reserved=-1))
            self.holds[hold] = ("released", lines)
        if state != "refused":
            self.fenced.add(hold)

    @rule(hold=HOLDS)
    def commit(self, hold: int) -> None:
        state, lines = self.holds.get(hold, ("", []))
        name = f"{self.name}-o{hold}"
        said = self.said(lambda: self.service.commit(order_id=name, key=f"{name}:c"))
        assert said == ("ok" if state in ("held", "committed") else "inventory.not_reserved")
        if state == "held":
            self.apply(lines, dict(reserved=-1, sold=1))
            self.holds[hold] = ("committed", lines)

    @rule(kind=st.sampled_from(sorted(MOVES)), first=QUANTITIES, second=st.integers(0, 2), again=st.booleans(), n=KEYS)
    def move(self, kind: str, first: int, second: int, again: bool, n: int) -> None:
        key = f"{self.name}:{kind}:{n}"
        if key in self.moved:
            return
        self.moved.add(key)
        lines, change = self.lines(first, second), MOVES[kind]
        call = getattr(self.service, kind)
        said = self.said(lambda: call(lines=lines, reason="because", key=key))
        assert (said == "ok") == self.enough(lines, change)
        if said == "ok":
            self.apply(lines, change)
        if again and said == "ok":
            assert self.said(lambda: call(lines=lines, reason="because", key=key)) == "ok"

    @invariant()
    def every_count_is_right_to_the_unit(self) -> None:
        for sku in self.skus:
            stock = self.service.stock_of(sku)
            assert {name: getattr(stock, name) for name in COUNTS} == self.counts[sku]

    @invariant()
    def what_is_reserved_is_held_by_somebody(self) -> None:
        audit = self.service.audit()
        assert [sku for sku in audit.broken if sku in self.skus] == []
        held = {each.order_id for each in audit.open if each.order_id.startswith(f"{self.name}-")}
        assert held == {f"{self.name}-o{hold}" for hold, (state, _) in self.holds.items() if state == "held"}


def test_the_books_of_stock_are_right_to_the_unit(open_database: Any, walk: Any) -> None:
    database = open_database("inventory")
    walk(lambda: Shelf(database))
