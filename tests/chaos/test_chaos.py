"""A minute of chaos, and that the checks which it has to pass see what they are for.

The checks are tried on copies of what that minute left, each with one damage in it.
"""

import itertools
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scripts.processes import ROOT
from tests.chaos import ledger, nemesis, verdict
from tests.chaos.conftest import ALL_SECONDS, Left, play
from tests.chaos.nemesis import Act


def test_a_minute_of_chaos_loses_nothing(minute: Left) -> None:
    folder, code, printed = minute
    print(printed)
    assert code == 0, printed
    # and it was one in which things were broken, sold and refused
    run = verdict.Run.read(ledger.Source(folder))
    assert {act.kind for act in run.acts if not act.missed} >= {"kill", "stop"}
    statuses = {order["status"] for order in run.books.orders.values()}
    assert statuses >= {"delivered", "rejected"}, statuses


def test_chaos_on_postgresql_loses_nothing(tmp_path: Path, everything: bool) -> None:
    if not everything:
        pytest.skip("five minutes more: they are part of `make test-all`")
    _, code, printed = play(tmp_path, "postgresql", ALL_SECONDS)
    print(printed)
    assert code == 0, printed


# --- the accountant


AN_ORDERS = "token NOT LIKE '%.%'"
"""Of an authorization: savers' cards have names behind a dot."""
A_REJECTED = (
    "SELECT reference FROM authorizations "
    f"WHERE voided AND challenge IN ('none', 'approved') AND {AN_ORDERS} ORDER BY key LIMIT 1"
)
"""Of those that set money aside: one whose challenge was not approved never did."""
DAMAGE = {
    "a lost refund": (
        "acquirer",
        (
            f"UPDATE authorizations SET voided = 0, captured = amount WHERE reference = ({A_REJECTED});"
            "INSERT INTO movements (kind, key, payment, amount, currency, at) "
            "SELECT 'capture', 'x', payment, captured, currency, '' FROM authorizations "
            "WHERE captured AND payment NOT IN (SELECT payment FROM movements WHERE kind = 'capture')"
        ),
        "every captured cent is an order's or given back",
    ),
    "money that stays set aside": (
        "acquirer",
        f"UPDATE authorizations SET voided = 0 WHERE reference = ({A_REJECTED})",
        "every captured cent is an order's or given back",
    ),
    "a second charge": (
        "acquirer",
        (
            "INSERT INTO movements (kind, key, payment, amount, currency, at) "
            "SELECT kind, 'x', payment, amount, currency, at FROM movements WHERE kind = 'capture' "
            f"AND payment IN (SELECT payment FROM authorizations WHERE {AN_ORDERS}) LIMIT 1"
        ),
        "every captured cent is an order's or given back",
    ),
    "a charge that payments forgot": (
        "payments",
        "UPDATE part SET captured = captured - 1 WHERE captured > 0",
        "every captured cent is an order's or given back",
    ),
    "more sold than came in": (
        "inventory",
        "UPDATE movement SET quantity = 1 WHERE sku = (SELECT sku FROM stock ORDER BY sold DESC LIMIT 1)",
        "nothing oversold",
    ),
    "an oversold unit": (
        "inventory",
        "UPDATE stock SET available = -1, sold = sold + available + 1 WHERE sold",
        "stock adds up",
    ),
    "a unit that went missing": (
        "inventory",
        "UPDATE stock SET available = available - 1 WHERE available",
        "stock adds up",
    ),
    "sales without goods": (
        "inventory",
        "UPDATE reservation SET status = 'released' WHERE status = 'committed'",
        "nothing oversold",
    ),
    "units that stay held": (
        "inventory",
        "UPDATE reservation SET status = 'held' WHERE status = 'released'",
        "nothing oversold",
    ),
    "a saga without an end": (
        "orders",
        "UPDATE saga SET status = 'compensating' WHERE status = 'compensated'",
        "every saga ended",
    ),
    "an order without an end": (
        "orders",
        "UPDATE orders SET status = 'pending' WHERE id = (SELECT max(id) FROM orders)",
        "every saga ended",
    ),
    "an order without a saga": (
        "orders",
        "DELETE FROM saga WHERE key = (SELECT max(key) FROM saga WHERE name = 'place_order')",
        "orders and sagas agree",
    ),
    "an amendment without an end": (
        "orders",
        "UPDATE amendment SET closed_at = NULL, status = 'pending' WHERE id = (SELECT max(id) FROM amendment)",
        "amendments and sagas agree",
    ),
    "goods that came back and are sold still": (
        "inventory",
        "DELETE FROM movement WHERE id = (SELECT max(id) FROM movement WHERE kind = 'restock')",
        "stock adds up",
    ),
    "a gift card with more on it than was put there": (
        "payments",
        "INSERT INTO gift_card VALUES ('x', 'x', 'EUR', 100, 100, 0, 0, '', '')",
        "gift cards add up",
    ),
    "a sale that is not in the ledger": (
        "accounts",
        "DELETE FROM posting WHERE entry_id = (SELECT max(id) FROM entry WHERE kind = 'sale')",
        "the ledger has each order",
    ),
    "a sale that was booked twice": (
        "accounts",
        (
            "INSERT INTO posting (entry_id, position, account_id, stripe, amount) "
            "SELECT entry_id, position + 50, account_id, stripe, amount FROM posting "
            "WHERE entry_id = (SELECT max(id) FROM entry WHERE kind = 'sale')"
        ),
        "the ledger has each order",
    ),
    "a gift card that was granted and not booked": (
        "accounts",
        "DELETE FROM posting WHERE entry_id = (SELECT max(id) FROM entry WHERE kind = 'gift_card')",
        "the ledger has each order",
    ),
    "an order that ended otherwise than its saga": (
        "orders",
        "UPDATE saga SET status = 'completed' WHERE status = 'compensated'",
        "orders and sagas agree",
    ),
    "a second order under a key": (
        "orders",
        "DELETE FROM inbox WHERE key = (SELECT max(key) FROM inbox WHERE command = 'place')",
        "one order for each key",
    ),
    "a second parcel": (
        "carrier",
        (
            "INSERT INTO bookings (key, tracking, reference, status, address, parcels, booked_at, moved_at) "
            "SELECT 'x', 'x', reference, 'delivered', address, parcels, booked_at, moved_at FROM bookings LIMIT 1"
        ),
        "one parcel for each order",
    ),
    "a parcel that was never booked": ("carrier", "DELETE FROM bookings WHERE id = 1", "one parcel for each order"),
    "an event that was given up": (
        "notifications",
        "INSERT INTO dead_letter (handler, event_id, payload, error, attempts, at) VALUES ('x', 'x', '', '', 8, '')",
        "nothing left over",
    ),
    "a command without an end": (
        "payments",
        "UPDATE inbox SET state = 'started' WHERE key = (SELECT max(key) FROM inbox)",
        "nothing left over",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_accountant_finds(damage: str, copied: Path) -> None:
    database, statements, check = DAMAGE[damage]
    with closing(sqlite3.connect(copied / f"{database}.db")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(statements)
    found = ledger.check(ledger.read(ledger.Source(copied)))
    assert found[check], found


def test_the_accountant_finds_a_doubled_and_a_missing_mail(copied: Path) -> None:
    def found() -> list[str]:
        return ledger.check(ledger.read(ledger.Source(copied)))["one mail for each end"]

    mail = next(path for path in (copied / "mail/new").iterdir() if b"is confirmed" in path.read_bytes())
    twice = shutil.copy(mail, mail.with_name("again"))
    (problem,) = found()
    assert problem.startswith("2 mails instead of 1: Your order ")
    mail.unlink()
    assert found() == []
    Path(twice).unlink()
    (problem,) = found()
    assert problem.startswith("0 mails instead of 1: Your order ")


@pytest.mark.parametrize(("name", "but"), [("ledger", ()), ("money", ("tests.chaos.ledger",))])
def test_the_accountant_shares_no_code_with_what_it_checks(name: str, but: tuple[str, ...]) -> None:
    source = (ROOT / f"tests/chaos/{name}.py").read_text()
    ours = ("chassis", "services", "contracts", "edge", "sandbox", "scripts", "tests.")
    imported = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert len(imported) > 5
    assert [line for line in imported if line.split()[1].startswith(ours) and line.split()[1] not in but] == []


# --- the verdict on what customers were told, and why orders ended so


def saga_with(run: verdict.Run, status: str, card: str) -> dict[str, object]:
    """One of the sagas of orders by this card that ended so."""
    keys = {line["order"]: line["key"] for line in verdict.told(run, "placed")}
    cards = {line["key"]: line["card"] for line in verdict.told(run, "wants") if line["way"] == "card"}
    return next(
        saga for saga in run.books.sagas if saga["status"] == status and cards.get(keys.get(saga["key"], "")) == card
    )


def test_an_answer_that_names_another_order_is_found(run: verdict.Run) -> None:
    first, second = [line for line in verdict.told(run, "placed") if line["order"]][:2]
    first["order"] = second["order"]
    (problem,) = verdict.answers_were_true(run)
    assert problem.startswith(f"key {first['key']} was answered with order {second['order']}, the books say ")


def test_a_refusal_of_what_was_done_is_found(run: verdict.Run) -> None:
    line = next(line for line in verdict.told(run, "placed") if line["order"])
    order = line["order"]
    line.update(order=None, code="orders.cart_empty", status=409)
    assert list(verdict.answers_were_true(run)) == [
        f"key {line['key']} was refused (orders.cart_empty), and made order {order}"
    ]


def test_an_order_that_went_back_is_found(run: verdict.Run) -> None:
    order = next(order for order in run.books.orders.values() if order["status"] == "delivered")
    order["status"] = "rejected"
    problems = list(verdict.states_only_moved_on(run))
    assert len(problems) == 1
    assert problems[0].startswith(f"order {order['id']} was ")
    assert problems[0].endswith(", then rejected")


def test_a_cancel_that_was_refused_and_done_is_found(run: verdict.Run) -> None:
    order = next(order for order in run.books.orders.values() if order["status"] == "rejected")
    order["status"] = "cancelled"
    asked = {"what": "cancels", "order": order["id"], "at": 0.0}
    told = {**asked, "what": "cancelled", "status": 409, "code": "orders.not_cancellable"}
    refused = replace(run, journal=[asked, told])
    assert next(iter(verdict.cancels_were_answered_truly(refused))) == (
        f"order {order['id']} is cancelled, which the customer was refused (orders.not_cancellable)"
    )
    unasked = replace(run, journal=[])
    assert f"order {order['id']} is cancelled, and nobody asked for that" in list(
        verdict.cancels_were_answered_truly(unasked)
    )


def test_an_amendment_that_was_refused_and_done_is_found(run: verdict.Run) -> None:
    row = next(row for row in run.books.amendments if row["kind"] != "cancel")
    told = {"what": "amended", "order": row["order_id"], "kind": row["kind"], "id": None, "code": "x", "at": 0.0}
    assert list(verdict.amendments_were_answered_truly(replace(run, journal=[{**told, "status": 409}]))) == [
        f"a {row['kind']} of order {row['order_id']} was answered with status 409, there are 1"
    ]
    assert list(verdict.amendments_were_answered_truly(replace(run, journal=[{**told, "status": 202}]))) == []


def test_an_internal_error_is_found(run: verdict.Run) -> None:
    run.journal.append({"what": "trouble", "asked": "GET /v1/cart", "status": 500, "text": "?", "at": 0.0})
    assert list(verdict.nothing_failed_inside(run)) == ["GET /v1/cart was answered with 500: ?"]


def test_a_refusal_that_nothing_explains_is_found(run: verdict.Run) -> None:
    saga = saga_with(run, "compensated", "tok_capture_fails")
    saga["cause"] = {"step": "authorize_payment", "code": "payments.declined", "message": ""}
    assert list(verdict.causes_are_explained(run)) == [
        (
            f"order {saga['key']} was rejected with payments.declined, by a card whose orders come to "
            "payments.capture_refused"
        )
    ]


def test_a_deadline_is_explained_by_an_act_alone(run: verdict.Run) -> None:
    saga = saga_with(run, "compensated", "tok_declined")
    saga["cause"] = {"step": "deadline", "code": "saga.deadline", "message": ""}
    begin = saga["created_at"].timestamp()
    quiet = replace(run, acts=[Act("kill", "orders-1", begin - 1000, begin - 1000)])
    assert list(verdict.causes_are_explained(quiet)) == [
        f"order {saga['key']} was rejected with saga.deadline, while nothing was broken"
    ]
    missed = replace(run, acts=[Act("kill", "orders-1", begin, begin, missed=True)])
    assert len(list(verdict.causes_are_explained(missed))) == 1
    broken = replace(run, acts=[Act("kill", "orders-1", begin, begin)])
    assert list(verdict.causes_are_explained(broken)) == []


def test_a_confirmed_order_by_a_card_that_fails_is_found(run: verdict.Run) -> None:
    saga = saga_with(run, "compensated", "tok_declined")
    saga["status"] = "completed"
    assert list(verdict.causes_are_explained(run)) == [
        f"order {saga['key']} was confirmed, though tok_declined had to be refused"
    ]


def test_a_saga_that_took_too_long_is_found_unless_a_stopped_writer_held_it_up(run: verdict.Run) -> None:
    saga = saga_with(run, "completed", "tok_visa")
    begin = saga["created_at"].timestamp()
    saga["updated_at"] = saga["created_at"] + timedelta(seconds=verdict.ENDS_WITHIN_S + 10)
    free = replace(run, acts=[])
    assert list(verdict.sagas_ended_in_time(free)) == [
        f"saga {saga['id']} of {saga['key']} took {verdict.ENDS_WITHIN_S + 10:.1f} s"
    ]
    # two stops that overlap hold it up for 11 s together
    stops = [Act("stop", "orders-1", begin + 5, begin + 14), Act("stop", "orders-2", begin + 8, begin + 16)]
    assert list(verdict.sagas_ended_in_time(replace(run, acts=stops))) == []
    assert len(list(verdict.sagas_ended_in_time(replace(run, acts=stops, stops_hold_up_all=False)))) == 1


# --- the plan


def test_the_acts_follow_from_the_seed() -> None:
    units = ["orders-1", "orders-2", "payments-1"]
    first = nemesis.plan("a", 600, 9, units)
    assert first == nemesis.plan("a", 600, 9, units)
    assert first != nemesis.plan("b", 600, 9, units)
    assert {act.kind for act in first} == set(nemesis.KINDS)
    assert {act.unit for act in first} == {*units, *nemesis.COMPANIES, nemesis.BROKER}


def test_each_stop_is_longer_than_the_lease_and_over_in_time() -> None:
    acts = nemesis.plan("a", 600, 9, ["orders-1"])
    stops = [act for act in acts if act.kind == "stop"]
    assert stops
    assert all(act.until - act.at > 9 for act in stops)
    assert max(act.until for act in acts) <= 600
    # who is stopped is left alone until it goes on
    hit = [act for act in acts if act.unit == "orders-1"]
    assert all(before.until <= after.at for before, after in itertools.pairwise(hit))
