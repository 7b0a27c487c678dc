"""What must hold inside one database at every moment, however many are at work: read by SQL, in one snapshot each.

It shares no code with what it checks, only the names of tables and columns. What must hold between the databases when
all is over is in tests/chaos/ledger.py.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg2

Row = dict[str, Any]
Rows = Callable[[str], list[Row]]
"""Rows of one snapshot, by a query."""

AFTER = {
    "pending": {"rejecting", "rejected", "cancelling", "cancelled", "confirmed", "shipped", "delivered", "returned"},
    "rejecting": {"rejected"},
    "confirmed": {"shipped", "delivered", "returned", "cancelling", "cancelled"},
    "cancelling": {"cancelled", "confirmed", "shipped", "delivered", "returned"},
    "shipped": {"delivered", "returned"},
    "delivered": {"returned"},
}
"""What an order may have become since it was seen in a state."""
ONCE = ("order_confirmed", "order_rejected", "order_cancelled", "order_shipped", "order_delivered")
"""The kinds of mails of which an order has one."""
OUTBOX = "SELECT aggregate_id, sequence FROM outbox ORDER BY id"


class Database:
    """A connection of one's own, which writes nothing."""

    def __init__(self, uri: str) -> None:
        self.connection: Any
        if uri.startswith("sqlite"):
            self.begin = "BEGIN"
            self.connection = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
        else:
            self.begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            server = urlsplit(uri)
            self.connection = psycopg2.connect(
                host=server.hostname,
                port=server.port,
                user=server.username,
                password=server.password,
                dbname=server.path.removeprefix("/"),
            )
            self.connection.autocommit = True

    @contextmanager
    def snapshot(self) -> Iterator[Rows]:
        cursor = self.connection.cursor()

        def rows(query: str) -> list[Row]:
            cursor.execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        cursor.execute(self.begin)
        try:
            yield rows
        finally:
            cursor.execute("ROLLBACK")

    def close(self) -> None:
        self.connection.close()


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


# --- the checks: each gives what does not hold


def stock(rows: Rows) -> Iterator[str]:
    """available + reserved + sold = received, nothing below zero, and each count is the sum of what made it."""
    noted, reserved = defaultdict[str, Counter[str]](Counter), defaultdict[str, Counter[str]](Counter)
    for row in rows("SELECT sku, kind, quantity FROM movement"):
        noted[row["sku"]][row["kind"]] += abs(row["quantity"])
    for row in rows("SELECT status, lines FROM reservation"):
        for sku, quantity in _json(row["lines"]):
            reserved[sku][row["status"]] += quantity
    for row in rows("SELECT sku, available, reserved, sold, received FROM stock"):
        sku = row.pop("sku")
        notes, held = noted[sku], reserved[sku]
        if min(row.values()) < 0 or row["available"] + row["reserved"] + row["sold"] != row["received"]:
            yield f"{sku} does not add up: {row}"
        made = dict(
            received=notes["receive"] - notes["discard"] - notes["write_off"],
            reserved=held["held"],
            sold=held["committed"] - notes["restock"] - notes["discard"],
        )
        if made.items() - row.items():
            yield f"{sku} is {row}, what happened makes {made}"


def payments(rows: Rows) -> Iterator[str]:
    """refunded <= captured <= authorised, and each is the sum of what moved."""
    moved: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows("SELECT payment_id, kind, state, amount FROM movement"):
        moved[row["payment_id"]][f"{row['kind']} {row['state']}"] += row["amount"]
    for row in rows(
        "SELECT payment_id, amount FROM gift_card_movement WHERE kind = 'issue' AND payment_id IS NOT NULL"
    ):
        moved[row["payment_id"]]["to gift cards"] += row["amount"]
    for row in rows("SELECT payment_id, amount, captured, refunding, refunded FROM part"):
        payment = row.pop("payment_id")
        of = moved[payment]
        if min(row.values()) < 0 or not row["refunded"] + row["refunding"] <= row["captured"] <= row["amount"]:
            yield f"payment {payment} does not add up: {row}"
        made = dict(
            captured=of["capture done"],
            refunding=of["refund asked"],
            refunded=of["refund done"] + of["to gift cards"],
        )
        if made.items() - row.items():
            yield f"payment {payment} is {row}, what moved makes {made}"
    for row in rows("SELECT id, issued, available, held, spent FROM gift_card"):
        card = row.pop("id")
        if min(row.values()) < 0 or row["available"] + row["held"] + row["spent"] != row["issued"]:
            yield f"gift card {card} does not add up: {row}"


class Orders:
    """refunded <= paid, lines add up, one amendment is open at a time, and no order goes back."""

    def __init__(self) -> None:
        self.before: dict[str, str] = {}

    def __call__(self, rows: Rows) -> Iterator[str]:
        for row in rows("SELECT * FROM orders"):
            yield from self._order(row)
        open_ones = Counter(row["order_id"] for row in rows("SELECT order_id FROM amendment WHERE closed_at IS NULL"))
        yield from (f"{count} amendments of {order_id} are open" for order_id, count in open_ones.items() if count > 1)
        placed = Counter(row["key"] for row in rows("SELECT key FROM saga WHERE name = 'place_order'"))
        if placed != Counter(list(self.before)):
            yield f"sagas placed {placed}, orders are {self.before}"

    def _order(self, row: Row) -> Iterator[str]:
        order_id, status = row["id"], row["status"]
        if not 0 <= row["refunded_amount"] <= row["paid_amount"]:
            yield f"order {order_id}: {row['refunded_amount']} of {row['paid_amount']} are given back"
        lines = _json(row["lines"])
        items, tax = (sum(line[name]["amount"] for line in lines) for name in ("line_total", "tax"))
        if (items, tax, items + row["shipping_amount"]) != (
            row["items_amount"],
            row["tax_amount"],
            row["total_amount"],
        ) or any(not 0 <= line.get("returned", 0) <= line["quantity"] for line in lines):
            yield f"order {order_id} does not add up: {row}"
        before = self.before.get(order_id, "pending")
        if status != before and status not in AFTER.get(before, ()):
            yield f"order {order_id} was {before} and is {status}"
        self.before[order_id] = status


def mails(rows: Rows) -> Iterator[str]:
    """Each end of an order is told once."""
    told = Counter((row["kind"], row["subject"]) for row in rows("SELECT kind, subject FROM mail"))
    yield from (f"{count} mails: {subject}" for (kind, subject), count in told.items() if kind in ONCE and count > 1)


def outbox(counters: str) -> Callable[[Rows], Iterator[str]]:
    """Events that wait to be sent are the last ones of their aggregate, in their order, without a gap. `counters`
    selects how many events each aggregate (`of`) has had."""

    def check(rows: Rows) -> Iterator[str]:
        waiting: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows(OUTBOX):
            waiting[row["aggregate_id"]].append(row["sequence"])
        last = {row["of"]: row["sequence"] for row in rows(counters)}
        for of, numbers in waiting.items():
            if of not in last or numbers != list(range(last[of] - len(numbers) + 1, last[of] + 1)):
                yield f"of {of} the events {numbers} wait, its last one is {last.get(of)}"

    return check


CHECKS: dict[str, Callable[[], list[Callable[[Rows], Iterator[str]]]]] = {
    "inventory": lambda: [stock, outbox("SELECT sku AS of, sequence FROM stock")],
    "payments": lambda: [payments],
    "orders": lambda: [Orders(), outbox("SELECT id AS of, sequence FROM orders")],
    "shipping": lambda: [outbox("SELECT parcel_id AS of, sequence FROM shipment")],
    "notifications": lambda: [mails],
}
"""What is checked of which service's database; each run makes its own."""
