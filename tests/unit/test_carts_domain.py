"""What a cart holds after each change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.common import Line
from services.carts.domain import MAX_LINES, TooManyLines, merged, put, without


def lines(*pairs):
    return [Line(sku=sku, quantity=quantity) for sku, quantity in pairs]


def full_cart(prefix="S"):
    return lines(*((f"{prefix}-{n}", 1) for n in range(MAX_LINES)))


def test_put_keeps_the_order_of_the_first_put():
    assert put(lines(("B", 1), ("A", 2)), "B", 5) == lines(("B", 5), ("A", 2))
    assert put(lines(("B", 1), ("A", 2)), "0", 3) == lines(("B", 1), ("A", 2), ("0", 3))


def test_put_of_zero_removes_the_line_and_only_that():
    assert put(lines(("B", 1), ("A", 2)), "B", 0) == lines(("A", 2))
    assert put(lines(("B", 1)), "A", 0) == lines(("B", 1))


def test_the_hundred_and_first_line_is_refused_but_a_full_cart_can_change():
    with pytest.raises(TooManyLines):
        put(full_cart(), "one-more", 1)
    assert put(full_cart(), "S-99", 7)[-1] == Line(sku="S-99", quantity=7)
    assert len(put(full_cart(), "S-0", 0)) == 99


def test_merge_adds_quantities_and_keeps_both_orders():
    assert merged(lines(("B", 1), ("A", 2)), lines(("C", 4), ("A", 3))) == lines(("B", 1), ("A", 5), ("C", 4))


def test_merge_caps_a_quantity_at_999():
    assert merged(lines(("A", 998)), lines(("A", 2))) == lines(("A", 999))


def test_merge_caps_the_lines_at_100_and_keeps_the_customers():
    assert merged(full_cart(), lines(("G", 1), ("S-0", 1))) == [Line(sku="S-0", quantity=2), *full_cart()[1:]]
    assert merged(lines(("A", 1)), full_cart("G")) == [*lines(("A", 1)), *full_cart("G")[:99]]


def test_what_was_added_after_the_order_stays():
    assert without(lines(("A", 5), ("B", 1), ("C", 2)), lines(("A", 3), ("B", 1), ("D", 1))) == lines(
        ("A", 2), ("C", 2)
    )


def test_ordered_lines_of_one_sku_count_together():
    assert without(lines(("A", 5)), lines(("A", 2), ("A", 2))) == lines(("A", 1))


carts = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 999), max_size=MAX_LINES)


@given(carts, carts)
def test_a_merge_is_a_cart_that_loses_nothing_below_the_limits(ours, guests):
    both = merged(lines(*ours.items()), lines(*guests.items()))
    skus = [line.sku for line in both]
    assert skus == [*ours, *(sku for sku in guests if sku not in ours)][:MAX_LINES]
    assert all(line.quantity == min(999, ours.get(line.sku, 0) + guests.get(line.sku, 0)) for line in both)


@given(carts, carts)
def test_taking_out_everything_that_is_there_empties_a_cart(cart, more):
    assert without(lines(*cart.items()), lines(*cart.items(), *more.items())) == []
