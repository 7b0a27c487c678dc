"""What must hold of orders' database at every moment, and with the other services' own books where an order rests."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from chassis.db import Sessions
from chassis.saga import Saga
from chassis.tables import inbox, outbox, saga
from services.orders.models import Amendment, Order
from tests.machines.ordered import Ordered
from tests.machines.others import Moved, Others

MOVES = {
    "pending": {"rejecting", "confirmed", "shipped", "delivered", "cancelling"},
    "rejecting": {"rejected"},
    "confirmed": {"shipped", "delivered", "cancelling"},
    "shipped": {"delivered"},
    "delivered": {"returned"},
    "cancelling": {"cancelled", "confirmed", "shipped", "delivered"},
    "rejected": set(),
    "cancelled": set(),
    "returned": set(),
}
"""From each state of an order, the states to which one commit may take it."""
AMENDMENT_MOVES = {
    "": {"pending", "waiting"},
    "pending": {"waiting", "settled", "rejected"},
    "waiting": {"settling", "expired"},
    "settling": {"settled"},
    "settled": set(),
    "rejected": set(),
    "expired": set(),
}
ENDED = ("completed", "compensated")
FAILED = ("rejected", "expired")
LAST = ("rejected", "cancelled")
EVENTS = {"change": "order_changed", "return": "return_settled", "exchange": "exchange_settled"}
TOLD_OF = {"change": ("settled",), "return": ("settled",), "exchange": ("waiting", "settling", "settled", "expired")}


@dataclass
class Books:
    """All rows of orders' database."""

    orders: dict[str, Row[Any]]
    amendments: list[Row[Any]]
    sagas: dict[str, Row[Any]]
    events: list[Row[Any]]
    keys: list[Row[Any]]

    def amendments_of(self, order_id: str) -> list[Row[Any]]:
        return [row for row in self.amendments if row.order_id == order_id]

    def sagas_of(self, order_id: str) -> list[Row[Any]]:
        return [row for row in self.sagas.values() if json.loads(row.context)["order_id"] == order_id]

    def rests(self, order_id: str, definitions: Mapping[tuple[str, int], Saga[Any]]) -> bool:
        """Whether nobody works on an order: its sagas have ended, or wait for somebody or for another saga."""
        parents = {row.parent_id for row in self.sagas.values()}
        for row in self.sagas_of(order_id):
            stage = definitions[row.name, row.version].stages[row.stage].kind
            parked = stage == "wait" or (stage == "sub" and row.id in parents)
            if row.status not in ENDED and not (row.status == "running" and parked and row.cancel_reason is None):
                return False
        return True


def read(sessions: Sessions) -> Books:
    orders, amendments = Order.__table__, Amendment.__table__
    with sessions.read() as session:

        def all_of(table: Any, *by: Any) -> list[Row[Any]]:
            return list(session.connection().execute(select(table).order_by(*by)))

        return Books(
            orders={row.id: row for row in all_of(orders, orders.c.created_at)},
            amendments=all_of(amendments, amendments.c.created_at),
            sagas={row.id: row for row in all_of(saga, saga.c.created_at)},
            events=all_of(outbox, outbox.c.id),
            keys=all_of(inbox, inbox.c.created_at),
        )


def moved_for(others: Others, sagas: list[Row[Any]]) -> Moved:
    """What truly happened for some sagas."""
    moved: Moved = Counter()
    for row in sagas:
        moved.update(others.moved[row.id])
    return moved


# --- at every moment


def one_amendment_of_an_order_is_open(books: Books) -> None:
    open_ones = Counter(row.order_id for row in books.amendments if row.closed_at is None)
    assert max(open_ones.values(), default=0) <= 1, open_ones


def no_more_is_given_back_than_was_paid(books: Books, others: Others) -> None:
    for row in books.orders.values():
        moved = moved_for(others, books.sagas_of(row.id))
        assert 0 <= row.refunded_amount <= row.paid_amount
        assert 0 <= moved["refunded", ""] <= moved["captured", ""]
        assert row.paid_amount <= moved["captured", ""], "it says that more was paid than was taken"
        assert row.refunded_amount <= moved["refunded", ""], "it says that more was given back than was"


def lines_add_up_to_the_totals(books: Books) -> None:
    for row in books.orders.values():
        for line in row.lines:
            assert 0 <= line.get("returned", 0) <= line["quantity"] > 0
            assert line["line_total"]["amount"] == line["unit_price"]["amount"] * line["quantity"]
            assert 0 <= line["tax"]["amount"] <= line["line_total"]["amount"]
        assert row.items_amount == sum(line["line_total"]["amount"] for line in row.lines)
        assert row.tax_amount == sum(line["tax"]["amount"] for line in row.lines)
        assert row.total_amount == row.items_amount + row.shipping_amount


def events_of_an_order_are_numbered_without_gap_or_repeat(books: Books) -> None:
    for row in books.orders.values():
        numbers = [event.sequence for event in books.events if event.aggregate_id == row.id]
        assert numbers == list(range(1, row.sequence + 1))
    assert {event.aggregate_id for event in books.events} <= books.orders.keys()


def what_came_to_nothing_is_told_as_it_ends(books: Books) -> None:
    told = [json.loads(event.payload) for event in books.events if event.event == "amendment_failed"]
    failed = [row for row in books.amendments if row.status in FAILED]
    said = sorted((each["order_id"], each["amendment_id"], each["kind"]) for each in told)
    assert said == sorted((row.order_id, row.id, row.kind) for row in failed)
    codes = {each["amendment_id"]: each["reason_code"] for each in told}
    assert all(row.reason_code == codes[row.id] for row in failed if row.kind != "exchange" or row.status != "expired")


def each_key_began_one_thing_and_each_order_has_one_key(books: Books) -> None:
    begun = Counter(json.loads(row.result) for row in books.keys)
    assert max(begun.values(), default=0) <= 1, begun
    assert begun.keys() <= books.orders.keys() | {row.id for row in books.amendments}
    assert books.orders.keys() <= begun.keys()
    assert {row.id for row in books.amendments if row.kind != "cancel"} <= begun.keys()


def no_saga_ends_twice(books: Books, ends: Mapping[str, int]) -> None:
    assert dict(ends) == {row.id: 1 for row in books.sagas.values() if row.status in ENDED}


# --- where nobody works on an order


def follow(books: Books, row: Row[Any], ordered: Ordered, others: Others) -> None:
    """What was meant is done, as far as the order says that it is."""
    if others.moved[row.saga_id]["captured", ""]:
        ordered.is_bought()
    for amendment in books.amendments_of(row.id):
        ordered.follow(amendment.id, amendment.kind, amendment.status)


def what_is_at_rest_agrees_with_everybody(books: Books, row: Row[Any], ordered: Ordered, others: Others) -> None:
    """The order says what was meant, and the others did that, to the unit and the cent."""
    moved = moved_for(others, books.sagas_of(row.id))
    kept = row.status not in (*LAST, "pending")
    parcel = others.parcels.get(row.id)
    called_off = parcel is not None and parcel.state == "cancelled"
    making = books.sagas[row.saga_id].status == "running"
    assert row.status == ("pending" if making else ordered.state(called_off))
    assert (row.paid_amount, row.refunded_amount) == (ordered.paid, ordered.refunded)
    assert (moved["captured", ""], moved["refunded", ""]) == (ordered.paid, ordered.refunded)
    if kept:
        assert _lines_of(row) == [(line.sku, line.price, line.units, line.back) for line in ordered.lines]
        assert (row.total_amount, row.address["country"]) == (ordered.total, ordered.country)
        assert parcel is not None
        assert (parcel.country, parcel.on_hold) == (ordered.country, False)
    else:
        assert row.paid_amount == row.refunded_amount
    units = {
        name: Counter({sku: n for (what, sku), n in moved.items() if what == name}) for name in ("sold", "scrapped")
    }
    assert units == {"sold": ordered.units() if kept else Counter(), "scrapped": ordered.scrapped}
    _the_ledger_has_what_it_comes_to(row, moved, others)
    _each_end_was_told_once(books, row)


def _the_ledger_has_what_it_comes_to(row: Row[Any], moved: Moved, others: Others) -> None:
    """To the cent; by tax and postage where nothing of it came back, or all of it."""
    posted = others.ledger[f"order:{row.id}"]
    earned = [-posted[role] for role in ("sales", "tax_payable", "shipping_income")]
    to_gift_cards = moved["refunded", "gift_card"]
    assert sum(earned) == row.paid_amount - row.refunded_amount
    assert -posted["gift_cards"] == to_gift_cards
    assert posted["acquirer_receivable"] == moved["captured", ""] - moved["refunded", ""] + to_gift_cards
    if row.status in LAST:
        assert +posted == -posted == Counter()
    elif row.paid_amount and not any(line.get("returned", 0) for line in row.lines):
        assert earned == [row.items_amount - row.tax_amount, row.tax_amount, row.shipping_amount]


def nothing_stays_set_aside(books: Books, others: Others) -> None:
    """When all is over."""
    assert [(row.name, row.attention) for row in books.sagas.values() if row.status not in ENDED] == []
    assert [(row.kind, row.status) for row in books.amendments if row.closed_at is None] == []
    assert [name for name, each in others.payments.items() if each.state in ("authorized", "challenged")] == []
    assert [name for name, (state, _) in others.holds.items() if state == "held"] == []
    assert [name for name, each in others.parcels.items() if each.on_hold] == []
    assert min(others.shelf.values()) >= 0


def _lines_of(row: Row[Any]) -> list[tuple[str, int, int, int]]:
    return [
        (line["sku"], line["unit_price"]["amount"], line["quantity"], line.get("returned", 0)) for line in row.lines
    ]


def _each_end_was_told_once(books: Books, row: Row[Any]) -> None:
    told = Counter(event.event for event in books.events if event.aggregate_id == row.id)
    amendments = books.amendments_of(row.id)
    wanted = Counter(EVENTS[each.kind] for each in amendments if each.status in TOLD_OF.get(each.kind, ()))
    wanted["return_requested"] = sum(each.kind == "return" for each in amendments)
    if row.status in LAST:
        wanted[f"order_{row.status}"] = 1
        wanted["order_confirmed"] = min(told["order_confirmed"], row.status == "cancelled")
    elif row.status != "pending":
        wanted["order_confirmed"] = 1
    wanted["amendment_failed"] = sum(each.status in FAILED for each in amendments)
    assert told == +wanted
