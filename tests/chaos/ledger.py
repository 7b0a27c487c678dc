"""An accountant who does not trust the services: reads their databases and the companies' own, and adds up.

It shares no code with what it checks, only the names of tables and columns. `python -m tests.chaos.ledger FOLDER` reads
the SQLite files of a state folder; PG_URI names a server with the databases rialto_<service> instead.
"""

import json
import os
import re
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

SERVICES = (
    "orders",
    "inventory",
    "payments",
    "shipping",
    "notifications",
    "carts",
    "risk",
    "products",
    "users",
    "accounts",
    "transactions",
    "support",
)
COMPANIES = ("acquirer", "carrier", "bank")
UNSETTLED = ("pending", "rejecting", "cancelling")
KEPT = ("confirmed", "shipped", "delivered", "returned")
"""States in which an order stands: what of it was not given back is paid, and the customer has it."""
ENDED = ("completed", "compensated")
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where the databases are: files in a folder, or on a server; the companies' are files always. `names` are those on
    the server, where they are not rialto_<service>."""

    folder: Path
    pg_uri: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def rows(self, database: str, query: str) -> list[Row]:
        if self.pg_uri and database not in COMPANIES:
            uri = f"{self.pg_uri.rpartition('/')[0]}/{self.names.get(database, f'rialto_{database}')}"
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
    came_back: Counter[str] = field(default_factory=Counter)  # units that were sold, and are not any more
    reservations: list[Row] = field(default_factory=list)
    amendments: list[Row] = field(default_factory=list)
    payments: list[Row] = field(default_factory=list)  # their parts
    moved: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # order -> kind -> cents
    gift_cards: dict[str, Row] = field(default_factory=dict)
    gifts: list[Row] = field(default_factory=list)  # movements of gift cards
    posted: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # subject -> account -> cents
    authorizations: list[Row] = field(default_factory=list)
    bookings: list[Row] = field(default_factory=list)
    mails: Counter[str] = field(default_factory=Counter)  # subjects, as delivered
    leftovers: dict[str, Counter[str]] = field(default_factory=dict)


POSTED = """
    SELECT e.subject, p.account_id, sum(p.amount) AS amount FROM entry e JOIN posting p ON p.entry_id = e.id
    WHERE e.phase IN ('posted', 'settled') GROUP BY e.subject, p.account_id
"""


def read(source: Source) -> Books:
    books = Books()
    books.orders = {row["id"]: row for row in source.rows("orders", "SELECT * FROM orders")}
    for order in books.orders.values():
        order["lines"] = from_json(order["lines"])
    books.sagas = source.rows("orders", "SELECT * FROM saga")
    for saga in books.sagas:
        saga["cause"], saga["context"] = from_json(saga["cause"]), from_json(saga["context"])
        saga["created_at"], saga["updated_at"] = moment(saga["created_at"]), moment(saga["updated_at"])
    books.keys = source.rows("orders", "SELECT key, result FROM inbox WHERE command = 'place' AND state = 'ok'")
    books.stock = {row["sku"]: row for row in source.rows("inventory", "SELECT * FROM stock")}
    for row in source.rows("inventory", "SELECT sku, kind, quantity FROM movement"):
        _note(books, **row)
    books.reservations = source.rows("inventory", "SELECT * FROM reservation")
    for row in books.reservations:
        row["lines"] = from_json(row["lines"])
    books.amendments = source.rows("orders", "SELECT * FROM amendment")
    for row in books.amendments:
        row["data"] = from_json(row["data"])
    others = {row["id"] for row in source.rows("transactions", "SELECT id FROM transactions")}  # money.py counts these
    books.payments = _orders_own(source.rows("payments", "SELECT * FROM part"), "order_id", others)
    books.gift_cards = {row["id"]: row for row in source.rows("payments", "SELECT * FROM gift_card")}
    books.gifts = source.rows("payments", "SELECT * FROM gift_card_movement")
    for row in source.rows("accounts", POSTED):
        books.posted[row["subject"]][row["account_id"]] += int(row["amount"])
    authorizations = source.rows("acquirer", "SELECT * FROM authorizations")
    books.authorizations = _orders_own(authorizations, "reference", others)
    movements = "SELECT m.kind, m.amount, a.reference FROM movements m JOIN authorizations a ON a.payment = m.payment"
    for row in _orders_own(source.rows("acquirer", movements), "reference", others):
        books.moved[row["reference"]][row["kind"]] += row["amount"]
    books.bookings = source.rows("carrier", "SELECT * FROM bookings")
    books.mails = Counter(subjects(source.folder / "mail"))
    for service in SERVICES:
        books.leftovers[service] = _leftovers(source, service)
    return books


def _orders_own(rows: list[Row], name: str, others: set[str]) -> list[Row]:
    """Those that are not about a transaction."""
    return [row for row in rows if row[name] not in others]


def _note(books: Books, sku: str, kind: str, quantity: int) -> None:
    """Count a line of inventory's notes: units that came in or went, and sold ones that came back."""
    if kind in ("restock", "discard"):
        books.came_back[sku] += quantity
    if kind != "restock":
        books.received[sku] += -abs(quantity) if kind in ("write_off", "discard") else quantity


def _leftovers(source: Source, service: str) -> Counter[str]:
    counts = {
        "event not sent": "SELECT count(*) AS n FROM outbox",
        "event given up": "SELECT count(*) AS n FROM dead_letter",
        "command without an end": "SELECT count(*) AS n FROM inbox WHERE state IN ('started', 'undoing')",
    }
    if service == "notifications":
        counts["mail not sent"] = "SELECT count(*) AS n FROM mail WHERE status <> 'sent'"
    return Counter({what: source.rows(service, query)[0]["n"] for what, query in counts.items()})


def subjects(folder: Path) -> Iterator[str]:
    for name in ("new", "cur"):
        for path in (folder / name).glob("*"):
            yield " ".join(str(message_from_bytes(path.read_bytes())["Subject"]).split())


def from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def moment(value: Any) -> datetime:
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


MAY_BE = {"completed": (*KEPT, "cancelled"), "compensated": ("rejected", "cancelled")}
"""What an order may be when the saga that placed it ended so."""


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
        elif saga["status"] in ENDED and order["status"] not in MAY_BE[saga["status"]]:
            yield f"order {order_id} is {order['status']}, its saga {saga['status']}"


def amendments_and_sagas_agree(books: Books) -> Iterator[str]:
    """What was begun with an order has ended, unless it waits for a customer's goods; who is cancelled is it once."""
    for row in books.amendments:
        if row["closed_at"] is None and row["status"] != "waiting":
            yield f"{row['kind']} {row['id']} of order {row['order_id']} is {row['status']}"
    for saga in books.sagas:
        order = books.orders.get(saga["context"].get("order_id", ""))
        if saga["name"] != "cancel_order" or order is None or saga["status"] not in ENDED:
            continue
        if (order["status"] == "cancelled") != (saga["status"] == "completed"):
            yield f"order {order['id']} is {order['status']}, the saga that cancels it {saga['status']}"


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
        if counts["sold"] != committed[sku] - books.came_back[sku]:
            yield f"{sku}: {counts['sold']} sold, {committed[sku]} committed, {books.came_back[sku]} came back"


def nothing_oversold(books: Books) -> Iterator[str]:
    """What was promised to customers is what there was, and was taken from it."""
    have = _customers_have(books)
    taken = {each["order_id"]: each["status"] for each in books.reservations}
    for order in books.orders.values():
        wanted = {"rejected": ("missing", "released"), "cancelled": ("missing", "released", "committed")}
        status = taken.get(order["id"], "missing")
        if order["status"] not in UNSETTLED and status not in wanted.get(order["status"], ("committed",)):
            yield f"order {order['id']} is {order['status']}, its reservation {status}"
    known = books.orders.keys() | {row["id"] for row in books.amendments}
    going = {saga["key"] for saga in books.sagas if saga["status"] not in ENDED}
    for reservation in books.reservations:
        if reservation["order_id"] not in known and reservation["status"] != "released":
            yield f"a reservation for {reservation['order_id']}, which nobody ordered, is {reservation['status']}"
        if reservation["order_id"] not in going and reservation["status"] == "held":
            yield f"units stay held for {reservation['order_id']}, of which no saga runs"
    for sku in have.keys() | books.stock.keys():
        sold = books.stock[sku]["sold"] if sku in books.stock else 0
        if have[sku] != sold:
            yield f"{sold} of {sku} are sold, customers have {have[sku]}"
        if have[sku] > books.received[sku]:
            yield f"{have[sku]} of {sku} were sold, {books.received[sku]} had come in"


def _customers_have(books: Books) -> Counter[str]:
    """Units by sku that were sold and did not come back."""
    have = Counter[str]()
    for order in books.orders.values():
        if order["status"] in KEPT:
            for line in order["lines"]:
                have[line["sku"]] += line["quantity"] - line.get("returned", 0)
    for row in books.amendments:
        for swap in _not_back(row):
            have[swap["sku"]] += swap["quantity"]
    return have


def _not_back(amendment: Row) -> Iterator[Row]:
    """The units of an exchange that the customer got new ones for, and did not send back so that they were accepted."""
    data = amendment["data"]
    if amendment["kind"] == "exchange" and amendment["status"] in EXCHANGED:
        accepted = {each["sku"] for each in data["decisions"] or () if each["accept"]}
        yield from (swap for swap in data["swaps"] if swap["sku"] not in accepted or amendment["status"] != "settled")


EXCHANGED = ("waiting", "settling", "settled", "expired")
"""States of an exchange in which the new units are on their way to the customer, or with them."""


def money_adds_up(books: Books) -> Iterator[str]:
    """Every captured cent is an order's or was given back, and nothing stays set aside: by the acquirer's own books."""
    kept, ours = _kept(books), Counter[str]()
    for part in books.payments:
        ours[part["order_id"]] += part["captured"] - part["refunded"]
    for order_id in books.orders.keys() | kept.keys() | ours.keys():
        order = books.orders.get(order_id)
        due = _due(books, order) if order and order["status"] in KEPT else 0
        if kept[order_id] != due:
            yield f"order {order_id} ({_status(order)}): {kept[order_id]} are kept, due are {due}"
        if kept[order_id] != ours[order_id]:
            yield f"order {order_id}: payments say that {ours[order_id]} are kept, it is {kept[order_id]}"
    for each in books.authorizations:
        order = books.orders.get(each["reference"])
        approved = each["challenge"] in ("none", "approved")
        if approved and not each["voided"] and not each["captured"] and _status(order) not in UNSETTLED:
            yield f"{each['amount']} stay set aside for order {each['reference']}"


def _kept(books: Books) -> Counter[str]:
    """What is kept of each order's money: by the acquirer, and of gift cards; those issued for it are given back."""
    kept, order_of = Counter[str](), {part["payment_id"]: part["order_id"] for part in books.payments}
    for order_id, moved in books.moved.items():
        kept[order_id] += moved["capture"] - moved["refund"]
    for gift in books.gifts:
        if gift["payment_id"] is not None:
            sign = {"spend": 1, "refund": -1, "issue": -1}.get(gift["kind"], 0)
            kept[order_of.get(gift["payment_id"], gift["payment_id"])] += sign * gift["amount"]
    return kept


def _due(books: Books, order: Row) -> int:
    """What an order that stands costs: what it came to, less what was given back for goods that came back."""
    refunds = [
        row["data"]["refund"]["amount"]
        for row in books.amendments
        if (row["order_id"], row["kind"], row["status"]) == (order["id"], "return", "settled") and row["data"]["refund"]
    ]
    return int(order["total_amount"]) - sum(refunds)


def gift_cards_add_up(books: Books) -> Iterator[str]:
    """What is on each gift card is the sum of its movements, and nothing stays set aside."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for gift in books.gifts:
        sums[gift["gift_card_id"]][gift["kind"]] += gift["amount"]
    for card_id in sums.keys() | books.gift_cards.keys():
        card, of = books.gift_cards.get(card_id, {}), sums[card_id]
        wanted = {
            "issued": of["issue"],
            "available": of["issue"] - of["hold"] + of["release"] + of["refund"],
            "held": 0,
            "spent": of["spend"] - of["refund"],
        }
        has = {name: card.get(name) for name in wanted}
        if has != wanted or min(wanted.values()) < 0:
            yield f"gift card {card_id} has {has}, its movements make {wanted}"


EARNED = ("sales", "tax_payable", "shipping_income")


def ledger_agrees(books: Books) -> Iterator[str]:
    """Debits are credits; of each order it has what the order came to, and where that money is by the acquirer's own
    books; and it owes what is on gift cards."""
    if total := sum(sum(accounts.values()) for accounts in books.posted.values()):
        yield f"debits are {total} more than credits"
    kept = _kept(books)
    subjects = {f"order:{order_id}" for order_id in books.orders.keys() | kept.keys()}
    for subject in subjects | {each for each in books.posted if each.startswith("order:")}:
        order_id, by_role = subject.removeprefix("order:"), Counter[str]()
        for account_id, amount in books.posted[subject].items():
            by_role[account_id.partition(".")[0]] += amount
        order, moved = books.orders.get(order_id), books.moved[order_id]
        due = _due(books, order) if order and order["status"] in KEPT else 0
        by_card = moved["capture"] - moved["refund"]
        wanted = {"earned": due, "by card": by_card, "by gift card": kept[order_id] - by_card}
        has = {
            "earned": -sum(by_role[role] for role in EARNED),
            "by card": by_role["acquirer_receivable"],
            "by gift card": by_role["gift_cards"],
        }
        if has != wanted:
            yield f"order {order_id} ({_status(order)}): the ledger has {has}, it is {wanted}"
    owed = -sum(accounts["gift_cards.EUR"] for accounts in books.posted.values())
    on_cards = sum(card["available"] + card["held"] for card in books.gift_cards.values())
    if owed != on_cards:
        yield f"the ledger owes {owed} on gift cards, there are {on_cards} on them"


def parcels_agree(books: Books) -> Iterator[str]:
    """Each order that is kept has one parcel, and no other has one that is not called off."""
    live = Counter(each["reference"] for each in books.bookings if each["status"] != "cancelled")
    exchanges = [row for row in books.amendments if row["kind"] == "exchange" and row["status"] in EXCHANGED]
    more = Counter(row["order_id"] for row in exchanges)
    for order_id in books.orders.keys() | live.keys():
        order = books.orders.get(order_id)
        due = 1 + more[order_id] if order and order["status"] in KEPT else 0
        if live[order_id] != due:
            yield f"order {order_id} ({_status(order)}) has {live[order_id]} parcels instead of {due}"


ANY = ("waiting", "settling", "settled", "expired")
TOLD = {
    "change": [(("settled",), "Your order {} is changed")],
    "return": [(ANY, "Your return of order {}"), (("settled",), "What became of your return of order {}")],
    "exchange": [(ANY, "Your exchange of order {}")],
}
"""Of which states of an amendment its customer is told, with which subject."""
MOVES = re.compile(r"Your (order \w+ (is on its way|was delivered)|(deposit|withdrawal|transfer|reversal) is \w+)")
"""Subjects of mails that are not counted here: of parcels, and of transactions."""


def mails_agree(books: Books) -> Iterator[str]:
    """Each customer was told of each end once."""
    wanted = Counter[str]()
    unannounced = {  # cancelled before anybody was told that it is confirmed
        saga["context"]["order_id"]
        for saga in books.sagas
        if saga["name"] == "cancel_order" and not saga["context"]["announced"]
    }
    paid = {saga["key"] for saga in books.sagas if saga["name"] == "place_order" and saga["status"] == "completed"}
    for order_id, order in books.orders.items():
        if order["status"] in KEPT or (order["status"] == "cancelled" and order_id in paid - unannounced):
            wanted[f"Your order {order_id} is confirmed"] += 1
        if order["status"] == "rejected":
            wanted[f"We could not accept your order {order_id}"] += 1
        if order["status"] == "cancelled":
            wanted[f"Your order {order_id} is cancelled"] += 1
    for row in books.amendments:
        for states, subject in TOLD.get(row["kind"], ()):
            if row["status"] in states:
                wanted[subject.format(row["order_id"])] += 1
    told = Counter({subject: n for subject, n in books.mails.items() if not MOVES.fullmatch(subject)})
    for subject in wanted.keys() | told.keys():
        if wanted[subject] != told[subject]:
            yield f"{told[subject]} mails instead of {wanted[subject]}: {subject}"


def keys_agree(books: Books) -> Iterator[str]:
    """Each order was made under one key, and each key made one order."""
    orders = Counter(from_json(row["result"]) for row in books.keys)
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
    "amendments and sagas agree": amendments_and_sagas_agree,
    "stock adds up": stock_adds_up,
    "nothing oversold": nothing_oversold,
    "every captured cent is an order's or given back": money_adds_up,
    "gift cards add up": gift_cards_add_up,
    "the ledger has each order": ledger_agrees,
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
