"""The terms of amendments: what may be asked, and that every unit and cent is accounted for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import ServiceError
from chassis.types import Money
from contracts.amendments import Decision, ReturnLine, SwapLine
from contracts.common import Address, Line, PaymentMethod
from contracts.products import Offer
from services.orders.domain import price, totals
from services.orders.terms import (
    ReturnTerms,
    accepted_units,
    give_back,
    is_all_back,
    require_all_decided,
    require_in_order,
    require_in_window,
    require_method,
    require_one_line_each,
    require_swaps,
    require_variants,
    retaxed,
    settle_return,
    share,
    swap_terms,
    swapped,
    take_out,
)

RATES = {"default": {"default": 200}, "NL": {"default": 210}, "DE": {"default": 190}}
ADDRESS = Address(name="Ada", line1="1 Street", city="Delft", postal_code="2611", country="NL")
AT = datetime(2026, 3, 1, tzinfo=UTC)
MONTH = timedelta(days=30)


def euros(amount):
    return Money(amount=amount, currency="EUR")


def offer(sku, amount, product_id="lamp"):
    return Offer(
        sku=sku, product_id=product_id, name=sku, options={}, price=euros(amount), available=True, tax_class="home"
    )


OFFERS = {each.sku: each for each in (offer("S", 1000), offer("M", 1250), offer("L", 1500), offer("D", 900, "desk"))}


def sold(*lines):
    """Lines of an order: (sku, quantity) at the prices of OFFERS."""
    return price([Line(sku=sku, quantity=count) for sku, count in lines], OFFERS, "NL", RATES)


def back(sku, quantity):
    return ReturnLine(sku=sku, quantity=quantity, reason="too small")


def terms(*lines):
    return ReturnTerms(lines=list(lines), refund_to="original", expires_at=AT)


def swap(sku, new_sku, quantity):
    return SwapLine(sku=sku, new_sku=new_sku, quantity=quantity)


@given(st.integers(0, 10**9), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_shares_of_a_total_add_up_to_it_however_it_is_divided(total, parts):
    of, before, shares = sum(parts), 0, []
    for part in parts:
        shares.append(share(total, of, before, part))
        before += part
    assert sum(shares) == total
    assert all(each >= 0 for each in shares)


@given(st.lists(st.tuples(st.integers(1, 99_999), st.integers(1, 9)), min_size=1, max_size=5), st.randoms())
def test_returns_in_any_parts_give_back_each_cent_once_and_never_more_than_was_paid(priced, chance):
    offers = {f"sku-{number}": offer(f"sku-{number}", amount) for number, (amount, _) in enumerate(priced)}
    lines = price(
        [Line(sku=f"sku-{number}", quantity=count) for number, (_, count) in enumerate(priced)], offers, "NL", RATES
    )
    sums = totals(lines, euros(495))
    kept, refunds = sums.total.amount, []
    while not is_all_back(lines):
        there = [line for line in lines if line.quantity > line.returned]
        chosen = chance.sample(there, chance.randint(1, len(there)))
        asked = [back(line.sku, chance.randint(1, line.quantity - line.returned)) for line in chosen]
        decisions = [Decision(sku=line.sku, accept=chance.random() < 0.7) for line in asked]
        lines, settled = settle_return(lines, terms(*asked), decisions, 495, kept)
        refunds.append(settled.refund.amount)
        kept -= settled.refund.amount
        assert kept >= 0
    assert sum(refunds) == sums.total.amount
    assert kept == 0


def test_a_part_that_comes_back_is_refunded_without_shipping_and_the_last_part_with_it():
    lines = sold(("S", 2), ("M", 1))
    yes = [Decision(sku="S", accept=True, restock=True)]
    lines, first = settle_return(lines, terms(back("S", 1)), yes, 495, 3745)
    assert (first.refund, first.refunds) == (euros(1000), {"S": 1000})
    both = [*yes, Decision(sku="M", accept=True)]
    lines, last = settle_return(lines, terms(back("S", 1), back("M", 1)), both, 495, 2745)
    assert (last.refund, last.refunds) == (euros(1000 + 1250 + 495), {"S": 1000, "M": 1250})
    assert is_all_back(lines)
    assert accepted_units(last.lines, both, restock=True) == [Line(sku="S", quantity=1)]
    assert accepted_units(last.lines, both, restock=False) == [Line(sku="M", quantity=1)]


def test_a_return_that_is_not_accepted_gives_nothing_back_and_leaves_the_units_with_the_customer():
    lines = sold(("S", 2))
    after, settled = settle_return(lines, terms(back("S", 2)), [Decision(sku="S", accept=False)], 495, 2495)
    assert (settled.refund, settled.refunds, after) == (euros(0), {}, lines)


def test_a_refund_never_exceeds_what_the_shop_has_of_the_customers_money():
    _, settled = settle_return(sold(("S", 2)), terms(back("S", 2)), [Decision(sku="S", accept=True)], 495, 1800)
    assert settled.refund == euros(1800)


def test_more_than_is_left_of_a_sku_is_refused_and_says_how_many_there_are():
    lines, _ = give_back(sold(("S", 3)), {"S": 2})
    require_in_order(lines, {"S": 1})
    for sku, count, left in (("S", 2, 1), ("X", 1, 0)):
        with pytest.raises(ServiceError) as refusal:
            require_in_order(lines, {sku: count})
        assert refusal.value.code == "orders.not_in_order"
        assert refusal.value.details == {"field": "lines", "sku": sku, "left": left}


@pytest.mark.parametrize(
    ("status", "delivered_at", "at", "fits"),
    [
        ("delivered", AT, AT, True),
        ("delivered", AT, AT + MONTH - timedelta(seconds=1), True),
        ("delivered", AT, AT + MONTH, False),
        ("confirmed", None, AT, False),
        ("shipped", None, AT, False),
        ("returned", AT, AT, False),
    ],
)
def test_only_what_was_delivered_within_the_window_can_go_back(status, delivered_at, at, fits):
    def ask():
        require_in_window("orders.not_returnable", status, delivered_at, at, MONTH, "returned")

    if fits:
        ask()
        return
    with pytest.raises(ServiceError) as refusal:
        ask()
    assert refusal.value.code == "orders.not_returnable"
    assert refusal.value.details["state"] == status


def test_a_sku_is_named_once_in_a_return():
    with pytest.raises(ServiceError) as refusal:
        require_one_line_each([back("S", 1), back("M", 1), back("S", 1)])
    assert (refusal.value.code, refusal.value.details) == ("request.invalid", {"field": "lines"})


@pytest.mark.parametrize("skus", [["S"], ["S", "M", "L"], ["S", "M", "M"], ["S", "S"]])
def test_decisions_are_one_for_each_line(skus):
    require_all_decided(["S", "M"], [Decision(sku="M", accept=True), Decision(sku="S", accept=False)])
    with pytest.raises(ServiceError) as refusal:
        require_all_decided(["S", "M"], [Decision(sku=sku, accept=True) for sku in skus])
    assert (refusal.value.code, refusal.value.details) == ("request.invalid", {"field": "decisions"})


def test_units_that_stay_keep_their_price_and_new_ones_have_that_of_now():
    lines = sold(("S", 3))
    now = {**OFFERS, "S": offer("S", 9999), "M": offer("M", 1250)}
    after = swapped(lines, [swap("S", "M", 1)], now, "NL", RATES)
    assert [(line.sku, line.quantity, line.line_total) for line in after] == [
        ("S", 2, euros(2000)),
        ("M", 1, euros(1250)),
    ]


def test_units_swapped_into_a_sku_of_the_order_join_its_line_at_one_price_and_not_at_two():
    lines = sold(("S", 1), ("M", 1))
    same = swapped(lines, [swap("S", "M", 1)], OFFERS, "NL", RATES)
    assert [(line.sku, line.quantity, line.line_total) for line in same] == [("M", 2, euros(2500))]
    dearer = swapped(lines, [swap("S", "M", 1)], {**OFFERS, "M": offer("M", 1300)}, "NL", RATES)
    assert [(line.sku, line.quantity, line.unit_price) for line in dearer] == [
        ("M", 1, euros(1250)),
        ("M", 1, euros(1300)),
    ]


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9), st.sampled_from(["M", "L", "D"]))
def test_a_swap_keeps_the_number_of_units_and_its_difference_is_the_totals(quantity, returned, count, new_sku):
    lines, _ = give_back(sold(("S", quantity)), {"S": min(returned, quantity)})
    asked = [swap("S", new_sku, count)]
    if count > quantity - min(returned, quantity):
        with pytest.raises(ServiceError):
            swapped(lines, asked, OFFERS, "NL", RATES)
        return
    after = swapped(lines, asked, OFFERS, "NL", RATES)
    assert sum(line.quantity for line in after) == quantity
    before = totals(lines, euros(495))
    found = swap_terms(asked, after, euros(495), ADDRESS, before.total.amount, None)
    assert found.totals.total.amount == before.total.amount + found.charge.amount - found.refund.amount
    assert 0 in (found.charge.amount, found.refund.amount)
    assert found.charge.amount - found.refund.amount == count * (OFFERS[new_sku].price.amount - 1000)
    assert all(line.line_total.amount == line.unit_price.amount * line.quantity for line in after)


@given(st.integers(1, 20), st.data())
def test_what_is_taken_out_and_what_stays_are_the_line(quantity, data):
    lines = sold(("S", quantity))
    count = data.draw(st.integers(1, quantity))
    kept = take_out(lines, {"S": count})
    assert sum(line.quantity for line in kept) == quantity - count
    assert sum(line.line_total.amount for line in kept) == (quantity - count) * 1000
    assert 0 <= sum(line.tax.amount for line in kept) <= lines[0].tax.amount


def test_another_country_changes_the_tax_in_the_prices_and_not_the_prices():
    lines = sold(("S", 1))
    german = retaxed(lines, "DE", RATES)
    assert (german[0].line_total, german[0].tax) == (euros(1000), euros(160))
    assert lines[0].tax == euros(174)


def test_an_exchange_is_for_another_variant_of_the_same_product():
    lines = sold(("S", 1))
    require_variants(lines, [swap("S", "M", 1)], OFFERS)
    with pytest.raises(ServiceError) as refusal:
        require_variants(lines, [swap("S", "D", 1)], OFFERS)
    assert refusal.value.code == "orders.not_a_variant"
    with pytest.raises(ServiceError) as refusal:
        require_swaps([swap("S", "S", 1)])
    assert refusal.value.details == {"field": "lines"}


def test_what_costs_more_needs_a_way_to_pay_and_what_costs_less_does_not():
    lines = sold(("M", 1))
    dearer = swap_terms([], swapped(lines, [swap("M", "L", 1)], OFFERS, "NL", RATES), euros(0), ADDRESS, 1250, None)
    with pytest.raises(ServiceError) as refusal:
        require_method(dearer, None)
    assert refusal.value.code == "orders.payment_method_required"
    assert refusal.value.details == {"field": "payment_method", "difference": {"amount": 250, "currency": "EUR"}}
    require_method(dearer, PaymentMethod(token="tok_visa"))
    cheaper = swap_terms([], swapped(lines, [swap("M", "S", 1)], OFFERS, "NL", RATES), euros(0), ADDRESS, 1250, None)
    require_method(cheaper, None)
