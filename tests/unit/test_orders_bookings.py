"""What orders are booked as: every entry sums to zero, says nothing of nothing, and all parts of an order add up."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.types import Money
from contracts.amendments import Decision, ReturnLine
from contracts.common import Line, Totals
from contracts.payments import Part, Payment, Refund, RefundPart
from contracts.products import Offer
from services.orders.bookings import Booking, difference, entry_of, gave, is_due, sale, taken_back, took
from services.orders.domain import price, totals
from services.orders.terms import ReturnTerms, is_all_back, retaxed, settle_return, take_out
from tests.unit.test_orders_terms import AT

RATES = {"default": {"default": 200}, "NL": {"default": 210}, "DE": {"default": 190}}
WAYS = ("card", "gift_card", "wallet")
ROLES = {"card": "acquirer_receivable", "gift_card": "gift_cards", "wallet": "wallet_payments"}


def euros(amount):
    return Money(amount=amount, currency="EUR")


def sums(items, tax, shipping):
    return Totals(items=euros(items), shipping=euros(shipping), tax=euros(tax), total=euros(items + shipping))


def payment(*parts):
    """Of (method, captured)."""
    of = [Part(method=way, status="captured", amount=n, captured=n, refunded=0) for way, n in parts]
    total = sum(n for _, n in parts)
    return Payment(
        id="o1",
        order_id="o1",
        status="captured",
        method="split",
        amount=total,
        captured=total,
        refunded=0,
        currency="EUR",
        parts=of,
    )


def refund(*parts):
    """Of (method, amount)."""
    of = [RefundPart(payment_id="o1", amount=n, method=way) for way, n in parts]
    return Refund(order_id="o1", amount=euros(sum(n for _, n in parts)), parts=of, left=0)


def posted(booking):
    """By role; each posting is of something, and all sum to zero."""
    entry = entry_of("o1", booking, "test")
    assert all(each.amount.amount and each.amount.currency == "EUR" for each in entry.postings)
    found = Counter()
    for each in entry.postings:
        found[each.account_id.removesuffix(".EUR")] += each.amount.amount
    assert sum(found.values()) == 0
    return {role: amount for role, amount in found.items() if amount}


SOLD = sums(items=16898, tax=2932, shipping=590)


@pytest.mark.parametrize(
    ("parts", "debits"),
    [
        ([("card", 17488)], {"acquirer_receivable": 17488}),
        ([("gift_card", 17488)], {"gift_cards": 17488}),
        ([("wallet", 17488)], {"wallet_payments": 17488}),
        ([("gift_card", 1000), ("card", 16488)], {"gift_cards": 1000, "acquirer_receivable": 16488}),
        ([("gift_card", 17488), ("card", 0)], {"gift_cards": 17488}),
        (
            [("gift_card", 1000), ("gift_card", 2000), ("wallet", 3000), ("card", 11488)],
            {"gift_cards": 3000, "wallet_payments": 3000, "acquirer_receivable": 11488},
        ),
    ],
)
def test_a_sale_is_debited_where_the_money_came_from_and_credited_by_what_it_is_for(parts, debits):
    booking = took(sale(SOLD), payment(*parts))
    assert posted(booking) == {**debits, "sales": -13966, "tax_payable": -2932, "shipping_income": -590}


def test_an_entry_says_what_it_is_about():
    booking = msgspec.structs.replace(took(sale(SOLD), payment(("card", 17488))), corrects="7")
    entry = entry_of("o1", booking, "cancel", "a1")
    assert (entry.subject, entry.kind, entry.memo, entry.corrects) == ("order:o1", "cancel", "a1", "7")


@pytest.mark.parametrize(
    ("parts", "credited"),
    [
        ([("card", 1999)], {"acquirer_receivable": -1999}),
        ([("gift_card", 1999)], {"gift_cards": -1999}),
        (
            [("gift_card", 1000), ("wallet", 400), ("card", 599)],
            {"gift_cards": -1000, "wallet_payments": -400, "acquirer_receivable": -599},
        ),
    ],
)
def test_a_refund_is_credited_where_the_money_went(parts, credited):
    booking = gave(taken_back(euros(1999), tax=347, shipping=0, corrects="7"), refund(*parts))
    assert posted(booking) == {**credited, "sales": 1652, "tax_payable": 347}


def test_an_order_that_costs_nothing_or_moves_nothing_is_not_booked():
    free = took(sale(sums(0, 0, 0)), payment())
    same = difference(SOLD, SOLD, "7")
    assert [is_due(None), is_due(free), is_due(same)] == [False, False, False]


def test_what_is_half_known_is_not_booked():
    """An operator left a refund out, or settled it by hand."""
    booking = taken_back(euros(1999), tax=347, shipping=0, corrects="7")
    assert not is_due(booking)
    assert not is_due(gave(booking, refund(("card", 1998))))
    assert is_due(gave(booking, refund(("card", 1999))))
    with pytest.raises(AssertionError):
        entry_of("o1", booking, "return")


def test_an_order_that_is_sent_to_another_country_at_the_same_price_moves_tax_alone():
    booking = difference(SOLD, sums(items=16898, tax=2698, shipping=590), "7")
    assert posted(booking) == {"sales": -234, "tax_payable": 234}


def test_an_order_that_is_paid_anew_moves_money_from_where_it_was_and_no_income():
    booking = gave(took(difference(SOLD, SOLD, "7"), payment(("gift_card", 17488))), refund(("card", 17488)))
    assert posted(booking) == {"gift_cards": 17488, "acquirer_receivable": -17488}
    by_the_same = gave(took(difference(SOLD, SOLD, "7"), payment(("card", 17488))), refund(("card", 17488)))
    assert [each.amount.amount for each in entry_of("o1", by_the_same, "change").postings] == [17488, -17488]


def split(amount, chance):
    """Some ways that an amount is paid, or given back, in."""
    parts, left = [], amount
    while left:
        part = chance.randint(1, left)
        parts.append((chance.choice(WAYS), part))
        left -= part
    return parts


PRICED = st.lists(st.tuples(st.integers(1, 99_999), st.integers(1, 9)), min_size=1, max_size=5)


def sold_at(priced):
    offers = {
        f"sku-{n}": Offer(
            sku=f"sku-{n}",
            product_id="p",
            name="n",
            options={},
            price=euros(amount),
            available=True,
            tax_class="home",
        )
        for n, (amount, _) in enumerate(priced)
    }
    return price([Line(sku=f"sku-{n}", quantity=count) for n, (_, count) in enumerate(priced)], offers, "NL", RATES)


@given(PRICED, st.integers(0, 2000), st.randoms())
def test_returns_in_any_parts_take_back_each_cent_of_goods_tax_and_shipping_once(priced, shipping, chance):
    lines = sold_at(priced)
    bought = totals(lines, euros(shipping))
    books = Counter(posted(took(sale(bought), payment(*split(bought.total.amount, chance)))))
    kept = bought.total.amount
    while not is_all_back(lines):
        there = [line for line in lines if line.quantity > line.returned]
        chosen = chance.sample(there, chance.randint(1, len(there)))
        asked = [
            ReturnLine(sku=line.sku, quantity=chance.randint(1, line.quantity - line.returned), reason="r")
            for line in chosen
        ]
        terms = ReturnTerms(lines=asked, refund_to="original", expires_at=AT)
        decided = [Decision(sku=line.sku, accept=chance.random() < 0.7) for line in asked]
        lines, settled = settle_return(lines, terms, decided, shipping, kept)
        kept -= settled.refund.amount
        booking = taken_back(settled.refund, settled.tax, settled.shipping, "7")
        booking = gave(booking, refund(*split(settled.refund.amount, chance)))
        assert booking.sales <= 0
        assert booking.tax <= 0
        if is_due(booking):
            books.update(posted(booking))
        else:
            assert settled.refund.amount == 0
    earned = {role: books[role] for role in ("sales", "tax_payable", "shipping_income")}
    assert earned == {"sales": 0, "tax_payable": 0, "shipping_income": 0}
    assert sum(books.values()) == 0


@given(PRICED, st.integers(0, 2000), st.integers(0, 2000), st.sampled_from(["NL", "DE"]), st.randoms())
def test_what_is_earned_after_a_change_is_what_the_order_comes_to_then(priced, before, after, country, chance):
    lines = sold_at(priced)
    bought = totals(lines, euros(before))
    books = Counter(posted(took(sale(bought), payment(*split(bought.total.amount, chance)))))
    gone = {line.sku: chance.randint(0, line.quantity) for line in lines[1:]}
    there = totals(retaxed(take_out(lines, gone), country, RATES), euros(after))
    more = there.total.amount - bought.total.amount
    booking = difference(bought, there, "7")
    if more > 0:
        booking = took(booking, payment(*split(more, chance)))
    if more < 0:
        booking = gave(booking, refund(*split(-more, chance)))
    if is_due(booking):
        books.update(posted(booking))
    assert -books["sales"] == there.items.amount - there.tax.amount
    assert (-books["tax_payable"], -books["shipping_income"]) == (there.tax.amount, after)
    assert sum(books[role] for role in ROLES.values()) == there.total.amount


@given(st.builds(Booking, currency=st.just("EUR"), sales=st.integers(), tax=st.integers(), shipping=st.integers()))
def test_what_is_not_balanced_is_never_an_entry(booking):
    if is_due(booking):
        posted(booking)
    elif booking.sales or booking.tax or booking.shipping:
        with pytest.raises(AssertionError):
            entry_of("o1", booking, "test")
