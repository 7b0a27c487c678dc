"""inventory on a real database: nothing is sold twice, and the books always add up."""

import functools

import pytest
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import ServiceError
from contracts.common import Line
from contracts.inventory import Stock
from services.inventory import store
from services.inventory.service import InventoryService
from tests.shop import in_green_threads

LAMP, DESK = "LAMP-1", "DESK-1"


@pytest.fixture
def inventory(open_database):
    service = worker_factory(InventoryService, db=open_database("inventory"), call=Call(trace_id="t"))
    service.receive([Line(sku=LAMP, quantity=5), Line(sku=DESK, quantity=2)], "first delivery", key="receive")
    return service


def counts(service, sku=LAMP):
    stock = service.stock_of(sku)
    return stock.received, stock.available, stock.reserved, stock.sold


def test_reserve_moves_units_from_available_to_reserved(inventory):
    inventory.reserve("o1", [Line(sku=LAMP, quantity=3)], key="k1")
    assert counts(inventory) == (5, 2, 3, 0)


def test_reserve_refuses_all_lines_when_one_is_short(inventory):
    with pytest.raises(ServiceError) as refusal:
        inventory.reserve("o1", [Line(sku=LAMP, quantity=1), Line(sku=DESK, quantity=3)], key="k1")
    assert refusal.value.code == "inventory.insufficient"
    assert refusal.value.details["sku"] == DESK
    assert (counts(inventory), counts(inventory, DESK)) == ((5, 5, 0, 0), (2, 2, 0, 0))


def test_a_repeated_reserve_answers_the_same_and_holds_once(inventory):
    first = inventory.reserve("o1", [Line(sku=LAMP, quantity=3)], key="k1")
    assert inventory.reserve("o1", [Line(sku=LAMP, quantity=3)], key="k1") == first
    assert counts(inventory) == (5, 2, 3, 0)


def test_lines_of_one_sku_count_together(inventory):
    with pytest.raises(ServiceError, match="insufficient"):
        inventory.reserve("o1", [Line(sku=LAMP, quantity=3), Line(sku=LAMP, quantity=3)], key="k1")
    assert counts(inventory) == (5, 5, 0, 0)


def test_release_gives_back_once(inventory):
    lines = [Line(sku=LAMP, quantity=3)]
    inventory.reserve("o1", lines, key="k1")
    inventory.release("o1", lines, key="k1")
    inventory.release("o1", lines, key="k1")
    assert counts(inventory) == (5, 5, 0, 0)


def test_release_before_reserve_fences_the_late_reserve(inventory):
    lines = [Line(sku=LAMP, quantity=3)]
    inventory.release("o1", lines, key="k1")
    with pytest.raises(ServiceError) as refusal:
        inventory.reserve("o1", lines, key="k1")
    assert refusal.value.code == "saga.fenced"
    assert counts(inventory) == (5, 5, 0, 0)


def test_commit_sells_what_was_held(inventory):
    inventory.reserve("o1", [Line(sku=LAMP, quantity=3)], key="k1")
    inventory.commit("o1", key="k2")
    inventory.commit("o1", key="k2")
    assert counts(inventory) == (5, 2, 0, 3)


def test_a_refused_commit_is_not_kept_so_the_same_key_can_succeed(inventory):
    with pytest.raises(ServiceError, match="not_reserved"):
        inventory.commit("o1", key="k2")
    inventory.reserve("o1", [Line(sku=LAMP, quantity=1)], key="k1")
    assert inventory.commit("o1", key="k2").status == "committed"


def test_restock_takes_back_no_more_than_was_sold(inventory):
    inventory.reserve("o1", [Line(sku=LAMP, quantity=2)], key="k1")
    inventory.commit("o1", key="k2")
    with pytest.raises(ServiceError, match=r"inventory\.not_sold"):
        inventory.restock([Line(sku=LAMP, quantity=3)], "return", key="k3")
    assert inventory.restock([Line(sku=LAMP, quantity=2)], "return", key="k4") == [
        Stock(sku=LAMP, received=5, available=5, reserved=0, sold=0)
    ]


def test_discard_takes_sold_units_that_came_back_broken_out_of_the_books_once(inventory):
    inventory.reserve("o1", [Line(sku=LAMP, quantity=2)], key="k1")
    inventory.commit("o1", key="k2")
    broken = [Line(sku=LAMP, quantity=1), Line(sku=LAMP, quantity=1)]
    for _ in range(2):
        left = inventory.discard(broken, "return", key="k3")
        assert left == [Stock(sku=LAMP, received=3, available=3, reserved=0, sold=0)]
    assert inventory.audit().broken == []


def test_discard_takes_no_more_than_was_sold_and_may_succeed_later(inventory):
    inventory.reserve("o1", [Line(sku=LAMP, quantity=1)], key="k1")
    for lines in ([Line(sku=LAMP, quantity=1)], [Line(sku="NEVER-1", quantity=1)]):
        with pytest.raises(ServiceError) as refusal:
            inventory.discard(lines, "return", key=f"d-{lines[0].sku}")
        assert refusal.value.code == ("inventory.not_sold" if lines[0].sku == LAMP else "inventory.unknown_sku")
    assert counts(inventory) == (5, 4, 1, 0)
    inventory.commit("o1", key="k2")
    inventory.discard([Line(sku=LAMP, quantity=1)], "return", key=f"d-{LAMP}")
    assert counts(inventory) == (4, 4, 0, 0)


def test_units_are_held_once_for_an_id_whatever_the_key(inventory):
    lines = [Line(sku=LAMP, quantity=1)]
    inventory.reserve("o1", lines, key="k1")
    for again in (lines, [Line(sku=LAMP, quantity=99)]):
        with pytest.raises(ServiceError) as refusal:
            inventory.reserve("o1", again, key=f"k2-{again[0].quantity}")
        assert refusal.value.code == "inventory.reserved_already"
    assert counts(inventory) == (5, 4, 1, 0)
    inventory.release("o1", lines, key="k1")
    with pytest.raises(ServiceError, match=r"inventory\.reserved_already"):
        inventory.reserve("o1", lines, key="k3")
    assert counts(inventory) == (5, 5, 0, 0)


def test_an_amendments_units_are_held_beside_those_of_its_order(inventory):
    for held in ("order", "amendment"):
        inventory.reserve(held, [Line(sku=LAMP, quantity=2)], key=f"{held}:reserve")
    assert counts(inventory) == (5, 1, 4, 0)
    assert [each.order_id for each in inventory.audit().open] == ["order", "amendment"]
    inventory.commit("order", key="order:commit")
    inventory.release("amendment", [Line(sku=LAMP, quantity=2)], key="amendment:reserve")
    assert counts(inventory) == (5, 3, 0, 2)
    assert inventory.audit().broken == []


def test_the_first_units_of_a_new_sku_may_come_from_several_at_once(sessions):
    shared = sessions("inventory")

    def adjust(n):
        database = WorkerDatabase(shared.factory)
        try:
            service = worker_factory(InventoryService, db=database, call=Call(trace_id="t"))
            return service.adjust("NEW-1", n, "counted", key=f"k{n}").received
        finally:
            database.close()

    seen = in_green_threads([functools.partial(adjust, n) for n in (1, 2, 3, 4)])
    assert max(seen) == 10
    with shared.read() as session:
        stock = store.stock_of(session, "NEW-1")
        assert stock == Stock(sku="NEW-1", received=10, available=10, reserved=0, sold=0)


def test_adjust_below_zero_is_refused_and_changes_nothing(inventory):
    with pytest.raises(ServiceError, match=r"inventory\.insufficient"):
        inventory.adjust(LAMP, -6, "counted", key="k1")
    assert counts(inventory) == (5, 5, 0, 0)
    assert inventory.adjust(LAMP, -5, "counted", key="k2").available == 0


def test_write_off_leaves_the_books_balanced(inventory):
    inventory.write_off([Line(sku=LAMP, quantity=2)], "broken", key="k1")
    assert counts(inventory) == (3, 3, 0, 0)
    audit = inventory.audit()
    assert (audit.skus, audit.broken, audit.open) == (2, [], [])


def test_a_key_with_other_input_is_refused(inventory):
    inventory.reserve("o1", [Line(sku=LAMP, quantity=1)], key="k1")
    with pytest.raises(ServiceError) as refusal:
        inventory.reserve("o1", [Line(sku=LAMP, quantity=2)], key="k1")
    assert refusal.value.code == "command.key_reused"
    assert counts(inventory) == (5, 4, 1, 0)
