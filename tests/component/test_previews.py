"""What a wish would come to, told by orders on a real database: as it would be done, and with nothing written."""

import uuid
from collections import Counter
from datetime import timedelta

import pytest

from chassis.context import Call
from chassis.db import WorkerDatabase, now
from chassis.errors import ServiceError
from chassis.types import Caller
from contracts.common import Address
from services.orders.domain import contained_tax
from tests.machines import order_checks as checks
from tests.machines.order_desk import OrderDesk, address, card
from tests.machines.ordered import WINDOW
from tests.machines.others import DESK, HUGE, LARGE, POSTAGE, PRICES, SMALL

BOUGHT = 2 * PRICES[SMALL] + PRICES[LARGE] + PRICES[DESK]
TOTAL = BOUGHT + POSTAGE["NL"]


@pytest.fixture
def desk(sessions):
    """A customer with two small lamps, a large one and a desk, as far as a test takes them."""
    opened = sessions("orders")
    databases = [WorkerDatabase(opened.factory) for _ in range(2)]
    yield OrderDesk(opened, databases)
    for database in databases:
        database.close()


def bought(desk, way="confirmed"):
    desk.buy("c0", way)
    return list(desk.ordered)[-1]


def preview(desk, order_id, kind, **wish):
    """Asked by who only wants to know: whatever is answered, no row is written and nobody is told to do anything."""
    before, asked = checks.read(desk.sessions), dict(desk.others.commands)
    try:
        return desk.workers[0].preview(order_id, dict(kind=kind, **wish))
    finally:
        assert checks.read(desk.sessions) == before
        assert desk.others.commands == asked


def refused(desk, order_id, kind, **wish):
    with pytest.raises(ServiceError) as refusal:
        preview(desk, order_id, kind, **wish)
    return refusal.value


def act(desk, door, order_id, **arguments):
    try:
        return getattr(desk.workers[0], door)(order_id, **arguments, key=uuid.uuid4().hex)
    finally:
        desk.look()


def refusal_of(desk, door, order_id, **arguments):
    with pytest.raises(ServiceError) as refusal:
        act(desk, door, order_id, **arguments)
    return refusal.value


def same(one, other):
    return (one.code, one.message, one.details) == (other.code, other.message, other.details)


def swaps(*each):
    return [dict(sku=sku, new_sku=new, quantity=count) for sku, new, count in each]


def back(*each):
    return [dict(sku=sku, quantity=count, reason="too small") for sku, count in each]


def units(lines):
    return [(line.sku, line.quantity, line.returned) for line in lines]


# --- what it comes to


def test_a_cancel_gives_back_what_was_paid_and_the_order_is_told_as_it_is(desk):
    order_id = bought(desk)
    seen = preview(desk, order_id, "cancel")
    assert (seen.kind, seen.order_id, seen.status) == ("cancel", order_id, "confirmed")
    assert (seen.charge.amount, seen.refund.amount, seen.refund.currency) == (0, TOTAL, "EUR")
    assert units(seen.lines) == units(seen.lines_before) == [(SMALL, 2, 0), (LARGE, 1, 0), (DESK, 1, 0)]
    assert seen.totals == seen.totals_before
    act(desk, "cancel", order_id, reason="no more")
    assert preview(desk, order_id, "cancel").status == "cancelling"
    desk.run([])
    cancelled = desk.workers[0].get(order_id)
    assert (cancelled.status, cancelled.payment.refunded) == ("cancelled", seen.refund)
    again = preview(desk, order_id, "cancel")
    assert (again.status, again.refund.amount) == ("cancelled", 0)


def test_of_an_order_in_the_making_nothing_was_paid_that_a_cancel_could_give_back(desk):
    seen = preview(desk, bought(desk, "placed"), "cancel")
    assert (seen.status, seen.refund.amount, seen.charge.amount) == ("pending", 0, 0)


def test_a_dearer_change_is_told_without_a_way_to_pay_and_is_what_is_then_done(desk):
    order_id, wanted = bought(desk), dict(lines=swaps((SMALL, LARGE, 1)), shipping_address=address("DE"))
    seen = preview(desk, order_id, "change", **wanted)
    dearer = PRICES[LARGE] - PRICES[SMALL] + POSTAGE["DE"] - POSTAGE["NL"]
    assert (seen.charge.amount, seen.refund.amount, seen.replaces) == (dearer, 0, False)
    assert (seen.shipping_address.country, seen.shipping_address_before.country) == ("DE", "NL")
    assert (seen.totals.total.amount, seen.totals_before.total.amount) == (TOTAL + dearer, TOTAL)
    assert refusal_of(desk, "change", order_id, **wanted).code == "orders.payment_method_required"
    act(desk, "change", order_id, **wanted, payment_method=card("tok_visa"))
    desk.run([])
    changed = desk.workers[0].get(order_id)
    assert changed.amendments[-1].status == "settled"
    assert (changed.lines, changed.totals, changed.shipping_address) == (
        seen.lines,
        seen.totals,
        seen.shipping_address,
    )
    assert changed.payment.paid.amount == TOTAL + dearer


def test_what_goes_to_another_country_is_told_with_its_tax_and_its_postage(desk):
    seen = preview(desk, bought(desk), "change", shipping_address=address("FR"))
    assert seen.shipping_address == Address(**address("FR"))
    assert seen.totals.items == seen.totals_before.items
    assert seen.totals.shipping.amount == POSTAGE["FR"]
    taxes = [contained_tax(amount, 200) for amount in (2 * PRICES[SMALL], PRICES[LARGE], PRICES[DESK])]
    assert [line.tax.amount for line in seen.lines] == taxes
    assert seen.totals.tax.amount == sum(taxes) != seen.totals_before.tax.amount


def test_another_way_to_pay_takes_all_anew_and_gives_back_what_was_paid(desk):
    seen = preview(desk, bought(desk), "change", payment_method=card("tok_other"))
    assert (seen.charge.amount, seen.refund.amount, seen.replaces) == (TOTAL, TOTAL, True)
    assert (seen.lines, seen.totals) == (seen.lines_before, seen.totals_before)


def test_new_units_are_told_at_the_price_of_now_and_those_that_stay_at_theirs(desk):
    order_id = bought(desk)
    desk.price_anew(LARGE, 500)
    seen = preview(desk, order_id, "change", lines=swaps((SMALL, LARGE, 1)))
    assert [(line.sku, line.quantity, line.unit_price.amount) for line in seen.lines] == [
        (SMALL, 1, PRICES[SMALL]),
        (LARGE, 1, PRICES[LARGE]),
        (DESK, 1, PRICES[DESK]),
        (LARGE, 1, PRICES[LARGE] + 500),
    ]
    assert seen.charge.amount == PRICES[LARGE] + 500 - PRICES[SMALL]


def test_a_return_comes_to_what_is_refunded_if_all_is_accepted_and_all_of_it_brings_the_postage(desk):
    order_id = bought(desk, "delivered")
    with desk.sessions.read() as session:
        began = now(session)
    part = preview(desk, order_id, "return", returns=back((SMALL, 1)), refund_to="gift_card")
    assert (part.refund.amount, part.refund_shipping.amount, part.refund_to) == (PRICES[SMALL], 0, "gift_card")
    assert units(part.lines) == [(SMALL, 2, 1), (LARGE, 1, 0), (DESK, 1, 0)]
    assert began <= part.expires_at - timedelta(days=30) <= began + timedelta(minutes=1)
    whole = back((SMALL, 2), (LARGE, 1), (DESK, 1))
    seen = preview(desk, order_id, "return", returns=whole)
    assert (seen.refund.amount, seen.refund_shipping.amount, seen.charge.amount) == (TOTAL, POSTAGE["NL"], 0)
    begun = act(desk, "begin_return", order_id, lines=whole)
    decisions = [dict(sku=sku, accept=True) for sku in (SMALL, LARGE, DESK)]
    decided = act(desk, "decide_return", begun.id, decisions=decisions)
    assert decided.refund == seen.refund
    desk.run([])
    assert desk.workers[0].get(order_id).lines == seen.lines


def test_an_exchange_comes_to_the_difference_and_no_postage(desk):
    order_id = bought(desk, "delivered")
    seen = preview(desk, order_id, "exchange", lines=swaps((SMALL, HUGE, 2)))
    assert (seen.charge.amount, seen.refund.amount) == (0, 2 * (PRICES[SMALL] - PRICES[HUGE]))
    dearer = preview(desk, order_id, "exchange", lines=swaps((SMALL, LARGE, 1)))
    assert (dearer.charge.amount, dearer.totals.shipping.amount) == (PRICES[LARGE] - PRICES[SMALL], POSTAGE["NL"])
    act(desk, "begin_exchange", order_id, lines=swaps((SMALL, HUGE, 2)))
    desk.run([])
    exchanged = desk.workers[0].get(order_id)
    assert (exchanged.lines, exchanged.totals) == (seen.lines, seen.totals)


def test_stock_is_neither_held_nor_looked_at(desk):
    order_id = bought(desk)
    desk.others.moved["elsewhere"] = Counter({("sold", HUGE): desk.others.shelf[HUGE]})
    assert preview(desk, order_id, "change", lines=swaps((SMALL, HUGE, 1))).refund.amount > 0
    assert [order for order in desk.others.holds if order != order_id] == []


# --- why not


KINDS = {
    "cancel": ("cancel", {}, dict(reason="no more")),
    "change": ("change", dict(lines=swaps((SMALL, HUGE, 1))), {}),
    "return": ("begin_return", dict(returns=back((SMALL, 1))), {}),
    "exchange": ("begin_exchange", dict(lines=swaps((SMALL, HUGE, 1))), {}),
}
"""Each kind with its door, a wish of it, and what its door wants besides."""


def both(desk, order_id, kind):
    """How a wish is refused, and how its door is."""
    door, wish, more = KINDS[kind]
    arguments = {"lines" if name == "returns" else name: value for name, value in wish.items()}
    return refused(desk, order_id, kind, **wish), refusal_of(desk, door, order_id, **arguments, **more)


@pytest.mark.parametrize(
    ("kind", "way", "code"),
    [
        ("cancel", "delivered", "orders.not_cancellable"),
        ("change", "placed", "orders.in_progress"),
        ("change", "delivered", "orders.not_changeable"),
        ("return", "confirmed", "orders.not_returnable"),
        ("exchange", "confirmed", "orders.not_exchangeable"),
    ],
)
def test_a_state_in_which_it_is_not_done_is_refused_in_the_words_of_its_door(desk, kind, way, code):
    seen, done = both(desk, bought(desk, way), kind)
    assert (seen.code, same(seen, done)) == (code, True)


@pytest.mark.parametrize(
    ("kind", "code"), [("return", "orders.not_returnable"), ("exchange", "orders.not_exchangeable")]
)
def test_after_the_window_nothing_goes_back(desk, kind, code):
    order_id = bought(desk, "delivered")
    desk.wait(WINDOW + timedelta(minutes=5))
    seen, done = both(desk, order_id, kind)
    assert (seen.code, same(seen, done)) == (code, True)


@pytest.mark.parametrize(("way", "kinds"), [("confirmed", ("cancel", "change")), ("delivered", ("return", "exchange"))])
def test_while_another_amendment_is_open_there_is_nothing_to_be_had(desk, way, kinds):
    order_id = bought(desk, way)
    door, wish, _ = KINDS[kinds[1]]
    act(desk, door, order_id, **wish)
    for kind in ("cancel", "change", "return", "exchange"):
        seen, done = both(desk, order_id, kind)
        assert (seen.code, seen.details["kind"], same(seen, done)) == ("orders.in_progress", kinds[1], True)


@pytest.mark.parametrize(
    ("kind", "way", "wish", "code"),
    [
        ("change", "confirmed", dict(lines=swaps((SMALL, LARGE, 3))), "orders.not_in_order"),
        ("change", "confirmed", dict(lines=swaps((HUGE, LARGE, 1))), "orders.not_in_order"),
        ("change", "confirmed", dict(lines=swaps((SMALL, SMALL, 1))), "request.invalid"),
        ("change", "confirmed", dict(payment_method=dict(type="card", id="nobodys")), "orders.unknown_payment_method"),
        ("exchange", "delivered", dict(lines=swaps((SMALL, DESK, 1))), "orders.not_a_variant"),
        ("exchange", "delivered", dict(lines=swaps((SMALL, LARGE, 3))), "orders.not_in_order"),
        ("exchange", "delivered", dict(lines=swaps((LARGE, LARGE, 1))), "request.invalid"),
        ("return", "delivered", dict(returns=back((SMALL, 3))), "orders.not_in_order"),
        ("return", "delivered", dict(returns=back((HUGE, 1))), "orders.not_in_order"),
        ("return", "delivered", dict(returns=back((SMALL, 1), (SMALL, 1))), "request.invalid"),
    ],
)
def test_what_the_order_does_not_allow_is_refused_in_the_words_of_its_door(desk, kind, way, wish, code):
    order_id = bought(desk, way)
    seen = refused(desk, order_id, kind, **wish)
    arguments = {"lines" if name == "returns" else name: value for name, value in wish.items()}
    assert (seen.code, same(seen, refusal_of(desk, KINDS[kind][0], order_id, **arguments))) == (code, True)


@pytest.mark.parametrize("kind", ["change", "exchange"])
def test_what_is_not_sold_any_more_is_refused_in_the_words_of_its_door(desk, monkeypatch, kind):
    order_id = bought(desk, "delivered" if kind == "exchange" else "confirmed")
    monkeypatch.setattr(desk.others, "tell_offers", lambda skus: [])
    seen, done = both(desk, order_id, kind)
    assert (seen.code, seen.details["skus"], same(seen, done)) == ("orders.not_sold_any_more", [HUGE], True)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (dict(kind="change"), "shipping_address"),
        (dict(kind="return"), "returns"),
        (dict(kind="exchange"), "lines"),
        (dict(kind="cancel", lines=swaps((SMALL, HUGE, 1))), "lines"),
        (dict(kind="change", lines=swaps((SMALL, HUGE, 1)), refund_to="gift_card"), "refund_to"),
        (dict(kind="return", returns=back((SMALL, 1)), shipping_address=address("DE")), "shipping_address"),
        (dict(kind="exchange", lines=swaps((SMALL, HUGE, 1)), returns=back((SMALL, 1))), "returns"),
    ],
)
def test_a_wish_says_what_its_kind_needs_and_nothing_that_would_not_be_done(desk, wish, field):
    refusal = refused(desk, bought(desk), **wish)
    assert (refusal.code, refusal.details["field"]) == ("request.invalid", field)


def test_somebody_elses_order_is_none(desk):
    order_id, worker = bought(desk), desk.workers[0]
    worker.call = Call(trace_id="t", caller=Caller(customer_id="c1", roles=("customer",)))
    stranger = refused(desk, order_id, "cancel")
    assert (stranger.code, same(stranger, refusal_of(desk, "cancel", order_id, reason="mine"))) == (
        "orders.not_found",
        True,
    )
    for caller in (
        Caller(customer_id="c0", roles=("customer",)),
        Caller(customer_id="s", roles=("staff",)),
        Caller(service="support"),
    ):
        worker.call = Call(trace_id="t", caller=caller)
        assert preview(desk, order_id, "cancel").refund.amount == TOTAL
    assert refused(desk, "none", "cancel").code == "orders.not_found"
