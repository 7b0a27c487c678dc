"""Whether a run was well: the books, what customers were told, and what the nemesis' record explains."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.chaos import money
from tests.chaos.ledger import Books, Source, read
from tests.chaos.nemesis import Act

JOURNAL, ACTS = "journal.jsonl", "acts.jsonl"
ENDS_WITHIN_S = 120.0
"""The longest that a saga may take besides the time in which an act held it up."""
RECOVERY_S = 30.0
"""How long after a process came back what it broke may still come out as unknown."""
UNKNOWN_CODES = ("saga.deadline", "saga.attempts", "orders.not_screened", "transactions.not_screened")
"""Causes that say that something did not answer: only an act explains them."""

AFTER = {
    "pending": {"rejecting", "rejected", "cancelling", "cancelled", "confirmed", "shipped", "delivered"},
    "rejecting": {"rejected"},
    "confirmed": {"shipped", "delivered", "cancelling", "cancelled"},
    "cancelling": {"cancelled", "confirmed", "shipped", "delivered"},
    "shipped": {"delivered"},
    "delivered": {"returned"},
}
"""What an order may become once a customer was told that it is this; written down here, not imported."""


@dataclass(frozen=True)
class Run:
    """What is known of a run when it is over. `scarce`: skus of which there may be too few."""

    books: Books
    money: money.MoneyBooks
    journal: list[dict[str, Any]]
    acts: list[Act]
    scarce: frozenset[str]
    stops_hold_up_all: bool  # with SQLite a process that was stopped inside a write holds up the whole database

    @classmethod
    def read(cls, source: Source) -> "Run":
        """From the databases, and the files that a run leaves beside them."""
        journal = _lines(source.folder / JOURNAL)
        scarce = frozenset(sku for line in journal if line["what"] == "stocked" for sku in line["scarce"])
        acts = [Act(**line) for line in _lines(source.folder / ACTS)]
        return cls(read(source), money.read(source), journal, acts, scarce, stops_hold_up_all=source.pg_uri is None)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(run: Run, what: str) -> list[dict[str, Any]]:
    return [line for line in run.journal if line["what"] == what]


def overlapping(run: Run, begin: float, end: float) -> list[Act]:
    return [act for act in run.acts if not act.missed and act.at <= end and act.until + RECOVERY_S >= begin]


# --- what customers were told


def answers_were_true(run: Run) -> Iterator[str]:
    """An answer with an order leads to this one order, under this key; what was refused for good was not made."""
    made = {row["key"].rpartition(":place:")[2]: row["result"].strip('"') for row in run.books.keys}
    answered = Counter(line["key"] for line in told(run, "placed"))
    for line in told(run, "placed"):
        if line["order"] and made.get(line["key"]) != line["order"]:
            yield f"key {line['key']} was answered with order {line['order']}, the books say {made.get(line['key'])}"
        if not line["order"] and line["key"] in made:
            yield f"key {line['key']} was refused ({line['code']}), and made order {made[line['key']]}"
        if line["status"] not in (201, 202, 409, 422):
            yield f"key {line['key']} was answered with status {line['status']}"
    for key, count in answered.items():
        if count > 1:
            yield f"key {key} was answered {count} times"
    wanted = {line["key"] for line in told(run, "wants")}
    for key, order in made.items():
        if key not in wanted:
            yield f"order {order} was made under a key that no customer sent: {key}"


def states_only_moved_on(run: Run) -> Iterator[str]:
    """What customers saw of an order, and what it is in the end, follow each other."""
    seen: dict[str, list[str]] = {}
    for line in told(run, "seen"):
        seen.setdefault(line["order"], []).append(line["status"])
    for order_id, states in seen.items():
        order = run.books.orders.get(order_id)
        ways = [*states, order["status"] if order else "nothing"]
        for before, after in pairwise(ways):
            if before != after and after not in AFTER.get(before, ()):
                yield f"order {order_id} was {before}, then {after}"


def cancels_were_answered_truly(run: Run) -> Iterator[str]:
    """What was refused to be cancelled was not, and what is cancelled had been asked for."""
    asked = {line["order"] for line in told(run, "cancels")}
    for line in told(run, "cancelled"):
        order = run.books.orders[line["order"]]
        if line["status"] == 409 and order["status"] == "cancelled":
            yield f"order {order['id']} is cancelled, which the customer was refused ({line['code']})"
        if line["status"] not in (202, 409):
            yield f"cancelling order {order['id']} was answered with status {line['status']} ({line['code']})"
    for order in run.books.orders.values():
        if order["status"] == "cancelled" and order["id"] not in asked:
            yield f"order {order['id']} is cancelled, and nobody asked for that"


def amendments_were_answered_truly(run: Run) -> Iterator[str]:
    """What was answered as begun is there, once; what was refused is not."""
    there = {row["id"]: row for row in run.books.amendments}
    kinds = Counter((row["order_id"], row["kind"]) for row in run.books.amendments)
    for line in told(run, "amended"):
        what, begun = f"{line['kind']} of order {line['order']}", line["status"] == 202
        if line["status"] not in (202, 409, 422):
            yield f"a {what} was answered with status {line['status']} ({line['code']})"
        if kinds[line["order"], line["kind"]] != begun:
            yield f"a {what} was answered with status {line['status']}, there are {kinds[line['order'], line['kind']]}"
        if line["id"] and there.get(line["id"], {}).get("order_id") != line["order"]:
            yield f"a {what} was answered as {line['id']}, which is not one of this order"
    for line in told(run, "came back"):
        if line["status"] != 200:
            yield f"the decision on {line['id']} was answered with status {line['status']}: {line['text']}"


def nothing_failed_inside(run: Run) -> Iterator[str]:
    """A fault is answered by 503 or 504, which say what to do; 500 is a defect."""
    for line in told(run, "trouble"):
        if line["status"] == 500:
            yield f"{line['asked']} was answered with 500: {line['text']}"


# --- why orders ended as they did


def causes_are_explained(run: Run) -> Iterator[str]:
    """Each refusal was meant by the load, or follows from an act; and what had to be refused was refused."""
    cards = {line["key"]: line for line in told(run, "wants")}
    keys = {row["result"].strip('"'): row["key"].rpartition(":place:")[2] for row in run.books.keys}
    for saga in run.books.sagas:
        why = _unexplained_amendment(run, saga)
        if why:
            yield f"{saga['name']} of order {saga['context']['order_id']} was refused with {why}"
        wish = cards.get(keys.get(saga["key"], ""))
        if saga["name"] != "place_order" or wish is None:
            continue
        if saga["status"] == "completed" and "confirmed" not in wish["comes_to"]:
            yield f"order {saga['key']} was confirmed, though {wish['card']} had to be refused"
        if saga["status"] == "compensated":
            why = _unexplained(run, saga, wish)
            if why:
                yield f"order {saga['key']} was rejected with {why}"


def _unexplained_amendment(run: Run, saga: dict[str, Any]) -> str | None:
    """The cause of an amendment that turned round, if nothing explains it."""
    if saga["name"] == "place_order" or saga["status"] != "compensated":
        return None
    code, kind = (saga["cause"] or {}).get("code"), saga["name"].removesuffix("_order")
    for line in told(run, "amends"):
        if (line["order"], line["kind"]) == (saga["context"]["order_id"], kind) and code != "shipping.handed_over":
            return _unexplained_cause(run, saga, line["comes_to"], {sku[:-1] + "B" for sku in line["lines"]})
    return None if kind in ("cancel", "change") and code == "shipping.handed_over" else code


def _unexplained_cause(run: Run, saga: dict[str, Any], comes_to: str, skus: set[str]) -> str | None:
    code = (saga["cause"] or {}).get("code")
    if code == "inventory.insufficient":
        return None if run.scarce & skus else f"{code}, of what there was enough"
    if code in UNKNOWN_CODES:
        begin, end = saga["created_at"].timestamp(), saga["updated_at"].timestamp()
        return None if overlapping(run, begin, end) else f"{code}, while nothing was broken"
    return None if code == comes_to else f"{code}, by a card that comes to {comes_to}"


def _unexplained(run: Run, saga: dict[str, Any], wish: dict[str, Any]) -> str | None:
    """The cause, if nothing explains it."""
    code = (saga["cause"] or {}).get("code")
    if code == "saga.cancelled":
        asked = any(line["order"] == saga["key"] for line in told(run, "cancels"))
        return None if asked else f"{code}, and nobody asked for that"
    if code == "inventory.insufficient":
        return None if run.scarce & wish["lines"].keys() else f"{code}, of what there was enough"
    if code == "risk.refused":
        return None if wish["who"] == "customer-0" else f"{code}, of a customer whom no rule names"
    if code in UNKNOWN_CODES:
        begin, end = saga["created_at"].timestamp(), saga["updated_at"].timestamp()
        return None if overlapping(run, begin, end) else f"{code}, while nothing was broken"
    return None if code in wish["comes_to"] else f"{code}, by a card whose orders come to {wish['comes_to'][0]}"


# --- how long it took


def saga_seconds(run: Run) -> list[float]:
    """How long each ended saga took, shortest first."""
    return sorted((saga["updated_at"] - saga["created_at"]).total_seconds() for saga in _ended(run))


def sagas_ended_in_time(run: Run) -> Iterator[str]:
    """Within the bound, not counting, on SQLite, the time in which a process was stopped: it may have been writing."""
    for saga in _ended(run):
        took_s = (saga["updated_at"] - saga["created_at"]).total_seconds() - _held_up_s(run, saga)
        if took_s > ENDS_WITHIN_S:
            yield f"saga {saga['id']} of {saga['key']} took {took_s:.1f} s"


def _ended(run: Run) -> list[dict[str, Any]]:
    return [saga for saga in (*run.books.sagas, *run.money.sagas) if saga["status"] in ("completed", "compensated")]


def _held_up_s(run: Run, saga: dict[str, Any]) -> float:
    begin, end = saga["created_at"].timestamp(), saga["updated_at"].timestamp()
    spans = sorted(
        (max(act.at, begin), min(act.until, end))
        for act in run.acts
        if run.stops_hold_up_all and act.kind == "stop" and act.at < end and act.until > begin
    )
    held_up, last = 0.0, begin
    for start, stop in spans:
        held_up += max(0.0, stop - max(start, last))
        last = max(last, stop)
    return held_up


# --- money


MONEY_AFTER = {
    "": {"pending", "in_review", *money.FINAL},
    "pending": {"in_review", *money.FINAL},
    "in_review": {*money.FINAL},
    "completed": {"reversed"},
}
"""What a transaction may become once a customer was told that it is this."""


def money_answers_were_true(run: Run) -> Iterator[str]:
    """Each key that a customer sent led to one transaction, however often it was sent; nobody else began any."""
    made = {row["key"].rpartition(":")[2]: row["result"].strip('"') for row in run.money.keys}
    for line in told(run, "moved"):
        if line["status"] not in (201, 202):
            yield f"key {line['key']} was answered with status {line['status']} ({line['code']})"
        elif made.get(line["key"]) != line["transaction"]:
            yield f"key {line['key']} was answered with {line['transaction']}, the books say {made.get(line['key'])}"
    wanted = {line["key"] for line in told(run, "moves")}
    for key, transaction in made.items():
        if key not in wanted:
            yield f"transaction {transaction} was made under a key that no customer sent: {key}"
    for line in told(run, "reversed"):
        reverses = run.money.transactions.get(line["transaction"], {}).get("reverses")
        if line["status"] not in (201, 202) or reverses != line["of"]:
            yield f"the reversal of {line['of']} was answered with {line['status']}, {line['transaction']}"


def money_only_moved_on(run: Run) -> Iterator[str]:
    """What customers saw of a transaction, and what it is in the end, follow each other."""
    ways: dict[str, list[str]] = {}
    for line in told(run, "watched"):
        ways.setdefault(line["transaction"], [""]).append(line["status"])
    for transaction_id, way in ways.items():
        row = run.money.transactions.get(transaction_id)
        for before, after in pairwise([*way, row["status"] if row else "nothing"]):
            if before != after and after not in MONEY_AFTER.get(before, ()):
                yield f"transaction {transaction_id} was {before}, then {after}"


def money_causes_are_explained(run: Run) -> Iterator[str]:
    """Each rejection was meant by the load, or follows from an act; and what had to be rejected was."""
    moves = {line["key"]: line for line in told(run, "moves")}
    keys = {row["result"].strip('"'): row["key"].rpartition(":")[2] for row in run.money.keys}
    sagas = {saga["key"]: saga for saga in run.money.sagas}
    for row in run.money.transactions.values():
        move = moves.get(keys.get(row["id"], ""))
        comes_to = move["comes_to"] if move else ["completed", "accounts.insufficient_funds"]
        came_to = row["reason_code"] if row["status"] == "rejected" else "completed"
        if came_to in comes_to:
            continue
        saga = sagas.get(row["id"])
        if came_to in UNKNOWN_CODES and saga is not None:
            if overlapping(run, saga["created_at"].timestamp(), saga["updated_at"].timestamp()):
                continue
            yield f"{row['kind']} {row['id']} came to {came_to}, while nothing was broken"
        else:
            yield f"{row['kind']} {row['id']} came to {came_to}, meant was {comes_to[0]}"


CHECKS = {
    "answers were true": answers_were_true,
    "states only moved on": states_only_moved_on,
    "cancels were answered truly": cancels_were_answered_truly,
    "amendments were answered truly": amendments_were_answered_truly,
    "no answer was an internal error": nothing_failed_inside,
    "every refusal is explained": causes_are_explained,
    "answers about money were true": money_answers_were_true,
    "transactions only moved on": money_only_moved_on,
    "every rejection of a transaction is explained": money_causes_are_explained,
    f"every saga ended within {ENDS_WITHIN_S:.0f} s": sagas_ended_in_time,
}


def check(run: Run) -> dict[str, list[str]]:
    """What does not hold, by check; an empty list for each that does."""
    return {name: list(find(run)) for name, find in CHECKS.items()}
