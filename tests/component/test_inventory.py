"""inventory on a real database: nothing is sold twice, and the books always add up."""

import pytest
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.errors import ServiceError
from contracts.common import Line
from contracts.inventory import Stock
from services.inventory.service import InventoryService

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
