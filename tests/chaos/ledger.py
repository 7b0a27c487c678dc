"""An accountant who does not trust the services: reads their databases and the companies' own, and adds up.

It shares no code with what it checks, only the names of tables and columns. `python -m tests.chaos.ledger FOLDER` reads
the SQLite files of a state folder; PG_URI names a server with the databases rialto_<service> instead.
"""

import json
import os
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

SERVICES = ("orders", "inventory", "payments", "shipping", "notifications", "carts", "risk", "products", "users")
COMPANIES = ("acquirer", "carrier")
UNSETTLED = ("pending", "rejecting", "cancelling")
KEPT = ("confirmed", "shipped", "delivered")
ENDED = ("completed", "compensated")
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where the databases are: files in a folder, or on a server; the companies' are files always."""

    folder: Path
    pg_uri: str | None = None

    def rows(self, database: str, query: str) -> list[Row]:
        if self.pg_uri and database not in COMPANIES:
            uri = f"{self.pg_uri.rpartition('/')[0]}/rialto_{database}"
            with closing(psycopg2.connect(uri, connect_timeout=10)) as connection, connection.cursor() as cursor:
                cursor.execute(query)
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        with closing(sqlite3.connect(self.folder / f"{database}.db", timeout=10)) as connection:
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@dataclass
class Books:
    """All that was written down, read once."""

    orders: dict[str, Row] = field(default_factory=dict)
    sagas: list[Row] = field(default_factory=list)
    keys: list[Row] = field(default_factory=list)  # which order was made under which key of a client
    stock: dict[str, Row] = field(default_factory=dict)
    received: Counter[str] = field(default_factory=Counter)  # units by sku, from the notes of what came and went
    restocked: Counter[str] = field(default_factory=Counter)
    reservations: list[Row] = field(default_factory=list)
    payments: list[Row] = field(default_factory=list)
    moved: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # order -> kind -> cents
    authorizations: list[Row] = field(default_factory=list)
    shipments: dict[str, Row] = field(default_factory=dict)
    bookings: list[Row] = field(default_factory=list)
    mails: Counter[str] = field(default_factory=Counter)  # subjects, as delivered
    leftovers: dict[str, Counter[str]] = field(default_factory=dict)


def read(source: Source) -> Books:
    books = Books()
    books.orders = {row["id"]: row for row in source.rows("orders", "SELECT * FROM orders")}
    books.sagas = source.rows("orders", "SELECT * FROM saga")
    for saga in books.sagas:
        saga["cause"] = _json(saga["cause"])
        saga["created_at"], saga["updated_at"] = _moment(saga["created_at"]), _moment(saga["updated_at"])
    books.keys = source.rows("orders", "SELECT key, result FROM inbox WHERE command = 'place' AND state = 'ok'")
    books.stock = {row["sku"]: row for row in source.rows("inventory", "SELECT * FROM stock")}
    for row in source.rows("inventory", "SELECT sku, kind, quantity FROM movement"):
        {"restock": books.restocked}.get(row["kind"], books.received)[row["sku"]] += _signed(row)
    books.reservations = source.rows("inventory", "SELECT * FROM reservation")
    for row in books.reservations:
        row["lines"] = _json(row["lines"])
    books.payments = source.rows("payments", "SELECT * FROM part")
    books.authorizations = source.rows("acquirer", "SELECT * FROM authorizations")
    movements = "SELECT m.kind, m.amount, a.reference FROM movements m JOIN authorizations a ON a.payment = m.payment"
    for row in source.rows("acquirer", movements):
        books.moved[row["reference"]][row["kind"]] += row["amount"]
    books.shipments = {row["order_id"]: row for row in source.rows("shipping", "SELECT * FROM shipment")}
    books.bookings = source.rows("carrier", "SELECT * FROM bookings")
    books.mails = Counter(_subjects(source.folder / "mail"))
    for service in SERVICES:
        books.leftovers[service] = _leftovers(source, service)
    return books


def _signed(row: Row) -> int:
    return -abs(row["quantity"]) if row["kind"] in ("write_off", "discard") else int(row["quantity"])


def _leftovers(source: Source, service: str) -> Counter[str]:
    counts = {
        "event not sent": "SELECT count(*) AS n FROM outbox",
        "event given up": "SELECT count(*) AS n FROM dead_letter",
        "command without an end": "SELECT count(*) AS n FROM inbox WHERE state IN ('started', 'undoing')",
    }
    if service == "notifications":
        counts["mail not sent"] = "SELECT count(*) AS n FROM mail WHERE status <> 'sent'"
    return Counter({what: source.rows(service, query)[0]["n"] for what, query in counts.items()})


def _subjects(folder: Path) -> Iterator[str]:
    for name in ("new", "cur"):
        for path in (folder / name).glob("*"):
            yield " ".join(str(message_from_bytes(path.read_bytes())["Subject"]).split())


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _status(order: Row | None) -> str:
    return order["status"] if order else "unknown"


# --- what has to hold: each check answers what does not


def sagas_ended(books: Books) -> Iterator[str]:
    """Every saga has an end, and its order with it."""
    for saga in books.sagas:
        if saga["status"] not in ENDED:
            yield f"saga {saga['id']} of {saga['key']} is {saga['status']} in stage {saga['stage']}"
    for order in books.orders.values():
        if order["status"] in UNSETTLED:
            yield f"order {order['id']} is {order['status']}"


def orders_and_sagas_agree(books: Books) -> Iterator[str]:
    """One saga placed each order, and their ends agree."""
    placed = [saga for saga in books.sagas if saga["name"] == "place_order"]
    for key, count in Counter(saga["key"] for saga in placed).items():
        if count > 1 or key not in books.orders:
            yield f"{count} sagas for order {key}, which {'is there' if key in books.orders else 'is not there'}"
    by_order = {saga["key"]: saga for saga in placed}
    for order_id, order in books.orders.items():
        saga = by_order.get(order_id)
        if saga is None:
            yield f"order {order_id} has no saga"
        elif (saga["status"] == "compensated") != (order["status"] == "rejected") and saga["status"] in ENDED:
            yield f"order {order_id} is {order['status']}, its saga {saga['status']}"


def stock_adds_up(books: Books) -> Iterator[str]:
    """available + reserved + sold = received, nothing below zero, and each count is the sum of what made it."""
    held, committed = Counter[str](), Counter[str]()
    for reservation in books.reservations:
        into = {"held": held, "committed": committed}.get(reservation["status"], Counter())
        for sku, quantity in reservation["lines"]:
            into[sku] += quantity
    for sku, stock in books.stock.items():
        counts = {name: stock[name] for name in ("available", "reserved", "sold", "received")}
        if counts["available"] + counts["reserved"] + counts["sold"] != counts["received"] or min(counts.values()) < 0:
            yield f"{sku} does not add up: {counts}"
        if counts["received"] != books.received[sku]:
            yield f"{sku}: {counts['received']} received, its notes say {books.received[sku]}"
        if counts["reserved"] != held[sku]:
            yield f"{sku}: {counts['reserved']} reserved, the reservations hold {held[sku]}"
        if counts["sold"] != committed[sku] - books.restocked[sku]:
            yield f"{sku}: {counts['sold']} sold, {committed[sku]} committed, {books.restocked[sku]} came back"


def nothing_oversold(books: Books) -> Iterator[str]:
    """What was promised to customers is what there was, and was taken from it."""
    promised = Counter[str]()
    taken = {each["order_id"]: each for each in books.reservations}
    for order in books.orders.values():
        lines = sorted([line["sku"], line["quantity"]] for line in _json(order["lines"]))
        reservation = taken.get(order["id"])
        status = reservation["status"] if reservation else "missing"
        if order["status"] in KEPT:
            for sku, quantity in lines:
                promised[sku] += quantity
            if reservation is None or status != "committed" or sorted(map(list, reservation["lines"])) != lines:
                yield f"order {order['id']} is {order['status']}, its reservation {status}"
        elif order["status"] == "rejected" and status in ("held", "committed"):
            yield f"order {order['id']} is rejected, its reservation {status}"
    for reservation in books.reservations:
        if reservation["order_id"] not in books.orders and reservation["status"] != "released":
            yield f"a reservation for {reservation['order_id']}, which nobody ordered, is {reservation['status']}"
    for sku, quantity in promised.items():
        if quantity > books.received[sku]:
            yield f"{quantity} of {sku} were sold, {books.received[sku]} had come in"


def money_adds_up(books: Books) -> Iterator[str]:
    """Every captured cent is an order's or was given back, and nothing stays set aside: by the acquirer's own books."""
    for order_id in books.orders.keys() | books.moved.keys():
        order, moved = books.orders.get(order_id), books.moved.get(order_id, Counter())
        due = order["total_amount"] if order and order["status"] in KEPT else 0
        kept = moved["capture"] - moved["refund"]
        if kept != due:
            yield f"order {order_id} ({_status(order)}): the acquirer keeps {kept}, due are {due}"
    for authorization in books.authorizations:
        order = books.orders.get(authorization["reference"])
        ended = order is None or order["status"] not in UNSETTLED
        if ended and not authorization["voided"] and not authorization["captured"]:
            yield f"{authorization['amount']} stay set aside for order {authorization['reference']}"
    theirs = Counter[str]()
    for order_id, moved in books.moved.items():
        theirs[order_id] = moved["capture"] - moved["refund"]
    ours = Counter[str]()
    for payment in books.payments:
        ours[payment["order_id"]] += payment["captured"] - payment["refunded"]
    for order_id in theirs.keys() | ours.keys():
        if theirs[order_id] != ours[order_id]:
            yield f"order {order_id}: payments say {ours[order_id]} kept, the acquirer {theirs[order_id]}"


def parcels_agree(books: Books) -> Iterator[str]:
    """Each order that is kept has one parcel, and no other has one that is not called off."""
    live = Counter(each["reference"] for each in books.bookings if each["status"] != "cancelled")
    for order_id in books.orders.keys() | live.keys():
        order = books.orders.get(order_id)
        due = 1 if order and order["status"] in KEPT else 0
        if live[order_id] != due:
            yield f"order {order_id} ({_status(order)}) has {live[order_id]} parcels instead of {due}"


def mails_agree(books: Books) -> Iterator[str]:
    """Each customer was told of the end once."""
    wanted = Counter[str]()
    for order in books.orders.values():
        if order["status"] in KEPT:
            wanted[f"Your order {order['id']} is confirmed"] += 1
        elif order["status"] == "rejected":
            wanted[f"We could not accept your order {order['id']}"] += 1
    told = Counter({subject: n for subject, n in books.mails.items() if " confirmed" in subject or "accept" in subject})
    for subject in wanted.keys() | told.keys():
        if wanted[subject] != told[subject]:
            yield f"{told[subject]} mails instead of {wanted[subject]}: {subject}"


def keys_agree(books: Books) -> Iterator[str]:
    """Each order was made under one key, and each key made one order."""
    orders = Counter(_json(row["result"]) for row in books.keys)
    for order_id in orders.keys() | books.orders.keys():
        if orders[order_id] != 1 or order_id not in books.orders:
            there = "is there" if order_id in books.orders else "is not there"
            yield f"order {order_id} {there}; {orders[order_id]} keys led to it"


def nothing_left_over(books: Books) -> Iterator[str]:
    """No event, mail or command is still on its way."""
    for service, counts in books.leftovers.items():
        for what, count in counts.items():
            if count:
                yield f"{service}: {what}, {count} times"


CHECKS: dict[str, Callable[[Books], Iterator[str]]] = {
    "every saga ended": sagas_ended,
    "orders and sagas agree": orders_and_sagas_agree,
    "stock adds up": stock_adds_up,
    "nothing oversold": nothing_oversold,
    "every captured cent is an order's or given back": money_adds_up,
    "one parcel for each order": parcels_agree,
    "one mail for each end": mails_agree,
    "one order for each key": keys_agree,
    "nothing left over": nothing_left_over,
}


def check(books: Books) -> dict[str, list[str]]:
    """What does not hold, by check; an empty list for each that does."""
    return {name: list(find(books)) for name, find in CHECKS.items()}


if __name__ == "__main__":
    found = check(read(Source(Path(sys.argv[1]), os.environ.get("PG_URI"))))
    for name, problems in found.items():
        print(f"{'holds ' if not problems else 'BROKEN'}  {name}")
        for problem in problems:
            print(f"        {problem}")
    sys.exit(any(found.values()))
