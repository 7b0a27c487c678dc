"""A payment of several parts: gift cards here, one card at the acquirer, and either all of it or nothing."""

import msgspec
import pytest
from sqlalchemy import select

from chassis.tables import outbox
from chassis.types import Caller
from contracts.common import PaymentMethod, PaymentPart
from contracts.payments import GiftCardIssued, Part, Payment, Refund, RefundPart
from tests.payments import (
    NOWHERE,
    TWENTY,
    Money,
    at_once,
    balance,
    by_gift_card,
    captured,
    card,
    euro,
    hook,
    movements,
    part,
    refusal,
    shares,
    split,
    state_of,
    sums,
    tell,
    unknown,
    wallet_part,
)


@pytest.fixture
def ada(order):
    return f"ada-{order}"


@pytest.fixture
def gift(payments, ada):
    """Issue a gift card of Ada's; answers its id."""

    def issue(amount=500, customer=ada, currency="EUR", key=None):
        money = Money(amount=amount, currency=currency)
        return payments.issue_gift_card(customer, money, key=key or f"{customer}:{amount}:{currency}").id

    return issue


def ways(payments, order):
    """What is kept of an order by card, by gift card, and from an account."""
    (kept,) = [each for each in payments.balances(limit=1000).items if each.order_id == order]
    assert kept.card + kept.gift_card + kept.wallet == kept.captured - kept.refunded
    return kept.card, kept.gift_card, kept.wallet


def authorize(payments, order, ada, method, amount=2000, **more):
    return payments.authorize(order, euro(amount), method, ada, key=f"{order}:a", **more)


# --- gift cards


def test_a_gift_card_is_issued_once_and_listed(payments, ada):
    first = payments.issue_gift_card(ada, euro(700), key=f"{ada}:k")
    assert payments.issue_gift_card(ada, euro(700), key=f"{ada}:k") == first
    assert (first.balance, first.issued, first.held) == (euro(700), euro(700), euro(0))
    assert payments.gift_cards(ada) == [first]
    assert payments.gift_cards("nobody") == []
    assert payments.audit_gift_cards().broken == []


def test_a_gift_card_that_staff_issue_is_told_of_once_and_one_that_a_refund_makes_is_not(
    payments, payments_database, acquirer, order, ada, gift
):
    first = gift(700)
    gift(700)
    paid(payments, order, ada, None, card(), 2000)
    payments.refund(order, euro(500), "gift_card", key=f"{order}:r")
    with payments_database.read() as session:
        rows = session.execute(select(outbox.c.payload).where(outbox.c.event == "gift_card_issued"))
        told = [msgspec.json.decode(payload, type=GiftCardIssued) for (payload,) in rows]
    assert [
        (each.aggregate_id, each.gift_card_id, each.customer_id, each.amount)
        for each in told
        if each.customer_id == ada
    ] == [(first, first, ada, euro(700))]


def test_what_is_on_all_gift_cards_is_summed_by_currency(payments, order, ada, gift):
    before = payments.audit_gift_cards()
    voucher, _ = gift(1000), gift(50, currency="CHF")
    authorize(payments, order, ada, by_gift_card(voucher), amount=600)  # held: it is owed still
    payments.authorize(f"{order}-2", euro(300), by_gift_card(voucher), ada, key=f"{order}:2")
    payments.capture(f"{order}-2", euro(300), key=f"{order}:2c")
    after = payments.audit_gift_cards()
    assert after.sums["EUR"] - before.sums.get("EUR", 0) == 700
    assert after.sums["CHF"] - before.sums.get("CHF", 0) == 50
    assert after.moved_at is not None


def test_a_gift_card_pays_in_part_and_again(payments, acquirer, order, ada, gift):
    voucher = gift(1000)
    paid = authorize(payments, order, ada, by_gift_card(voucher), amount=600)
    assert paid == Payment(
        id=order,
        order_id=order,
        status="authorized",
        method="gift_card",
        amount=600,
        captured=0,
        refunded=0,
        currency="EUR",
        parts=[Part(method="gift_card", status="authorized", amount=600, captured=0, refunded=0, gift_card_id=voucher)],
    )
    assert balance(payments, ada) == [(1000, 400, 600)]
    assert payments.capture(order, euro(600), key=f"{order}:c").status == "captured"
    assert balance(payments, ada) == [(1000, 400, 0)]
    payments.authorize(f"{order}-2", euro(400), by_gift_card(voucher), ada, key=f"{order}:2")
    assert balance(payments, ada) == [(1000, 0, 400)]
    assert movements(acquirer, order) == []


def test_an_empty_amount_and_a_strange_one_are_no_gift_card(payments, ada):
    for amount in (0, -5, 10**12 + 1):
        assert refusal(
            lambda amount=amount: payments.issue_gift_card(ada, euro(amount), key=f"{ada}:{amount}")
        ).code == ("request.invalid")
    assert payments.gift_cards(ada) == []


@pytest.mark.parametrize(
    ("customer", "currency", "amount", "code"),
    [
        ("eve", "EUR", 100, "payments.unknown_gift_card"),
        (None, "EUR", 100, "payments.unknown_gift_card"),
        ("ada", "USD", 100, "request.invalid"),
        ("ada", "EUR", 501, "payments.gift_card_insufficient"),
    ],
)
def test_a_gift_card_that_does_not_fit_is_refused_and_nothing_is_held(
    payments, acquirer, order, ada, gift, customer, currency, amount, code
):
    voucher = gift(500)
    who = ada if customer == "ada" else customer
    for method, total, field in (
        (by_gift_card(voucher), amount, "method.id"),
        (split(part("tok_visa", 50, currency), part(voucher)), amount + 50, "method.parts[1].id"),
    ):
        money = Money(amount=total, currency=currency)
        key = f"{order}:{field}"
        refused = refusal(lambda m=method, t=money, k=key: payments.authorize(order, t, m, who, key=k))
        assert (refused.code, refused.details["field"]) == (code, field)
        assert refusal(lambda m=method, t=money: payments.check(t, m, who)).details["field"] == field
    assert refusal(lambda: payments.get(order)).code == "payments.not_found"
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order) == []


def test_an_unknown_gift_card_is_refused_as_anothers_is(payments, order, ada):
    assert refusal(lambda: authorize(payments, order, ada, by_gift_card("nobody"))).code == "payments.unknown_gift_card"


def test_two_payments_at_once_spend_a_gift_card_once(payments, payments_database, acquirer, order, ada, gift):
    voucher = gift(1000)
    orders = [f"{order}-{n}" for n in range(4)]
    asked = [lambda each, o=o: each.authorize(o, euro(400), by_gift_card(voucher), ada, key=f"{o}:a") for o in orders]
    answers = at_once(payments_database, acquirer.url, asked)
    assert answers == ["ok"] * 2 + ["payments.gift_card_insufficient"] * 2
    assert balance(payments, ada) == [(1000, 200, 800)]


def test_payments_that_take_two_gift_cards_in_opposite_order_do_not_wait_for_each_other(
    payments, payments_database, acquirer, order, ada, gift
):
    one, two = gift(1000), gift(1001)
    asked = []
    for n in range(6):
        first, second = (one, two) if n % 2 else (two, one)
        method, own = split(part(first, 100), part(second, 100)), f"{order}-{n}"
        asked.append(lambda each, o=own, m=method: each.authorize(o, euro(200), m, ada, key=f"{o}:a"))
    assert at_once(payments_database, acquirer.url, asked) == ["ok"] * 6
    assert sorted(balance(payments, ada)) == [(1000, 400, 600), (1001, 401, 600)]


# --- what a method may say


@pytest.mark.parametrize(
    ("method", "code", "field"),
    [
        (PaymentMethod(type="cheque"), "payments.unsupported_method", "method.type"),
        (PaymentMethod(type="card"), "request.invalid", "method.token"),
        (PaymentMethod(type="gift_card"), "request.invalid", "method.id"),
        (PaymentMethod(type="split"), "request.invalid", "method.parts"),
        (PaymentMethod(type="card", token="tok_visa", parts=[part("g")]), "request.invalid", "method.parts"),
        (split(part("tok_visa", 500), part("tok_visa")), "payments.one_card", "method.parts[1].type"),
        (
            split(part("tok_visa", 500), PaymentPart(type="split")),
            "payments.unsupported_method",
            "method.parts[1].type",
        ),
        (split(part("g", 500), part("g")), "request.invalid", "method.parts[1].id"),
        (PaymentMethod(type="wallet", id="g", token="g"), "request.invalid", "method.account_id"),
        (split(wallet_part("a", 5), wallet_part("a")), "request.invalid", "method.parts[1].account_id"),
        (split(part("g"), part("h", 5), part("tok_visa")), "request.invalid", "method.parts[2].amount"),
        (split(part("g", 2000), part("tok_visa")), "request.invalid", "method.parts[1].amount"),
        (split(part("g", 2001), part("tok_visa")), "request.invalid", "method.parts[1].amount"),
        (split(part("g", 0), part("tok_visa")), "request.invalid", "method.parts[0].amount.amount"),
        (split(part("g", -1), part("tok_visa")), "request.invalid", "method.parts[0].amount.amount"),
        (split(part("g", 500), part("tok_visa", 1499)), "request.invalid", "method.parts"),
        (split(part("g", 500, "USD"), part("tok_visa")), "request.invalid", "method.parts[0].amount.currency"),
    ],
)
def test_a_method_that_cannot_be_is_refused_with_its_field_and_leaves_no_payment(
    payments, acquirer, order, ada, method, code, field
):
    for ask in (
        lambda: authorize(payments, order, ada, method),
        lambda: payments.check(TWENTY, method, ada),
    ):
        refused = refusal(ask)
        assert (refused.code, refused.details["field"]) == (code, field)
    assert refusal(lambda: payments.get(order)).code == "payments.not_found"
    assert movements(acquirer, order) == []


def test_a_check_says_nothing_of_what_would_be_taken_and_holds_nothing(payments, acquirer, order, ada, gift):
    payments.check(TWENTY, split(part(gift(500)), part("tok_declined", 1500)), ada)
    payments.check(TWENTY, card(), None)
    assert balance(payments, ada) == [(500, 500, 0)]


# --- both halves


def test_a_split_is_held_captured_and_refunded_part_by_part_in_its_order(payments, acquirer, order, ada, gift):
    voucher = gift(500)
    method = split(part(voucher, 500), part("tok_visa"))
    first = authorize(payments, order, ada, method)
    assert (first.status, first.method, first.amount) == ("authorized", "split", 2000)
    assert shares(payments, order) == [("authorized", 500, 0, 0), ("authorized", 1500, 0, 0)]
    assert balance(payments, ada) == [(500, 0, 500)]
    assert authorize(payments, order, ada, method) == first
    taken = payments.capture(order, TWENTY, key=f"{order}:c")
    assert (taken.status, taken.captured) == ("captured", 2000)
    assert payments.capture(order, TWENTY, key=f"{order}:c") == taken
    assert balance(payments, ada) == [(500, 0, 0)]
    one = payments.refund(order, euro(700), key=f"{order}:r1")
    assert one == Refund(
        order_id=order,
        amount=euro(700),
        parts=[
            RefundPart(payment_id=order, amount=500, gift_card_id=voucher, method="gift_card"),
            RefundPart(payment_id=order, amount=200),
        ],
        left=1300,
    )
    assert payments.refund(order, euro(700), key=f"{order}:r1") == one
    assert payments.refund(order, euro(1300), key=f"{order}:r2").left == 0
    assert shares(payments, order) == [("refunded", 500, 500, 500), ("refunded", 1500, 1500, 1500)]
    assert sums(payments, order) == ("refunded", 2000, 2000)
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order) == [
        ("authorize", 1500),
        ("capture", 1500),
        ("refund", 200),
        ("refund", 1300),
    ]


@pytest.mark.parametrize("token", ["tok_declined", "tok_nobody"])
def test_a_card_that_is_declined_gives_the_gift_cards_back(payments, acquirer, order, ada, gift, token):
    method = split(part(gift(500)), part(token, 1500))
    for _ in range(2):
        assert refusal(lambda: authorize(payments, order, ada, method)).code in (
            "payments.declined",
            "payments.unknown_token",
        )
    assert shares(payments, order) == [("voided", 500, 0, 0), ("declined", 1500, 0, 0)]
    assert payments.get(order).status == "declined"
    assert balance(payments, ada) == [(500, 500, 0)]
    payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    assert payments.get(order).status == "declined"
    assert balance(payments, ada) == [(500, 500, 0)]


def test_a_void_releases_both_halves_once(payments, acquirer, order, ada, gift):
    method = split(part("tok_visa", 1500), part(gift(500)))
    authorize(payments, order, ada, method)
    for _ in range(2):
        payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    assert shares(payments, order) == [("voided", 1500, 0, 0), ("voided", 500, 0, 0)]
    assert balance(payments, ada) == [(500, 500, 0)]
    assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.voided"
    assert refusal(lambda: authorize(payments, order, ada, method)).code == "saga.fenced"
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order) == [("authorize", 1500), ("void", 1500)]


def test_a_void_of_a_gift_card_alone_asks_nobody(payments_as, order, ada, gift):
    payments, method = payments_as(url=NOWHERE), by_gift_card(gift(500))
    authorize(payments, order, ada, method, amount=300)
    for _ in range(2):
        payments.void(order, euro(300), method, ada, key=f"{order}:a")
    assert payments.get(order).status == "voided"
    assert balance(payments, ada) == [(500, 500, 0)]
    assert refusal(lambda: payments.capture(order, euro(300), key=f"{order}:c")).code == "payments.voided"


def test_a_gift_card_that_was_captured_is_not_voided(payments, payments_database, order, ada, gift):
    method = by_gift_card(gift(500))
    authorize(payments, order, ada, method, amount=300)
    payments.capture(order, euro(300), key=f"{order}:c")
    for _ in range(2):
        undo = refusal(lambda: payments.void(order, euro(300), method, ada, key=f"{order}:a"))
        assert undo.code == "payments.captured"
    assert sums(payments, order) == ("captured", 300, 0)
    assert balance(payments, ada) == [(500, 200, 0)]
    assert refusal(lambda: payments.capture(order, euro(300), key=f"{order}:c2")).code == "payments.captured"


def test_a_capture_that_the_bank_refuses_takes_neither_half_and_leaves_both_for_the_void(
    payments, acquirer, order, ada, gift
):
    method = split(part(gift(500)), part("tok_capture_fails", 1500))
    authorize(payments, order, ada, method)
    for _ in range(2):
        assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.capture_refused"
    assert shares(payments, order) == [("authorized", 500, 0, 0), ("authorized", 1500, 0, 0)]
    assert balance(payments, ada) == [(500, 0, 500)]
    payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order) == [("authorize", 1500), ("void", 1500)]


@pytest.mark.parametrize(
    ("amount", "parts", "kept", "moved"),
    [
        (1800, [("captured", 500, 500, 0), ("captured", 1500, 1300, 0)], (500, 0, 0), ("capture", 1300)),
        (500, [("captured", 500, 500, 0), ("voided", 1500, 0, 0)], (500, 0, 0), ("void", 1500)),
        (200, [("captured", 500, 200, 0), ("voided", 1500, 0, 0)], (500, 300, 0), ("void", 1500)),
    ],
)
def test_a_capture_of_less_takes_the_first_parts_and_lets_go_the_rest(
    payments, acquirer, order, ada, gift, amount, parts, kept, moved
):
    authorize(payments, order, ada, split(part(gift(500)), part("tok_visa", 1500)))
    for _ in range(2):
        taken = payments.capture(order, euro(amount), key=f"{order}:c")
        assert (taken.status, taken.captured) == ("captured", amount)
    assert shares(payments, order) == parts
    assert balance(payments, ada) == [kept]
    assert movements(acquirer, order) == [("authorize", 1500), moved]
    assert refusal(lambda: payments.capture(order, euro(1), key=f"{order}:c2")).code == "payments.captured"
    assert payments.refund(order, euro(amount), key=f"{order}:r").left == 0
    assert balance(payments, ada) == [(500, 500, 0)]


def test_a_capture_that_lets_the_card_go_is_repeated_after_a_lost_answer(
    payments, payments_as, acquirer, order, ada, gift
):
    authorize(payments, order, ada, split(part(gift(500)), part("tok_visa", 1500)))
    for _ in range(2):
        unknown(lambda: payments_as(url=NOWHERE).capture(order, euro(500), key=f"{order}:c"))
    assert refusal(lambda: payments.capture(order, euro(500), key=f"{order}:c2")).code == "payments.voided"
    assert payments.capture(order, euro(500), key=f"{order}:c").captured == 500
    assert shares(payments, order) == [("captured", 500, 500, 0), ("voided", 1500, 0, 0)]
    assert movements(acquirer, order) == [("authorize", 1500), ("void", 1500)]


def test_a_capture_of_less_gives_the_rest_of_a_gift_card_back(payments, acquirer, order, ada, gift):
    authorize(payments, order, ada, split(part("tok_visa", 1500), part(gift(500))))
    payments.capture(order, euro(1600), key=f"{order}:c")
    assert shares(payments, order) == [("captured", 1500, 1500, 0), ("captured", 500, 100, 0)]
    assert balance(payments, ada) == [(500, 400, 0)]


# --- lost, late and again


def test_a_lost_reply_of_each_step_of_a_split_is_asked_for_again_and_moves_each_half_once(
    payments, acquirer, order, ada, gift
):
    method = split(part(gift(500)), part("tok_lost_reply", 1500))
    unknown(lambda: authorize(payments, order, ada, method))
    assert payments.get(order).status == "none"
    assert balance(payments, ada) == [(500, 0, 500)]
    assert authorize(payments, order, ada, method).status == "authorized"
    unknown(lambda: payments.capture(order, TWENTY, key=f"{order}:c"))
    assert balance(payments, ada) == [(500, 0, 500)]
    assert payments.capture(order, TWENTY, key=f"{order}:c").captured == 2000
    assert balance(payments, ada) == [(500, 0, 0)]
    assert movements(acquirer, order) == [("authorize", 1500), ("capture", 1500)]


def test_a_void_of_a_split_in_doubt_releases_what_nobody_knew_of(payments, payments_as, acquirer, order, ada, gift):
    method = split(part(gift(500)), part("tok_lost_reply", 1500))
    unknown(lambda: authorize(payments, order, ada, method))
    unknown(lambda: payments_as(url=NOWHERE).void(order, TWENTY, method, ada, key=f"{order}:a"))
    assert balance(payments, ada) == [(500, 0, 500)]
    payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    assert payments.get(order).status == "voided"
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order) == [("authorize", 1500), ("void", 1500)]


def test_a_void_that_comes_first_fences_a_split_and_nothing_is_ever_held(payments, acquirer, order, ada, gift):
    method = split(part(gift(500)), part("tok_visa", 1500))
    payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    assert refusal(lambda: authorize(payments, order, ada, method)).code == "saga.fenced"
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order) == []


def test_a_hook_that_tells_of_the_capture_before_its_answer_leaves_the_gift_card_to_the_repeat(
    payments, acquirer, order, ada, gift
):
    authorize_again = lambda: authorize(payments, order, ada, method)  # noqa: E731
    method = split(part(gift(500)), part("tok_lost_reply", 1500))
    unknown(authorize_again)
    authorize_again()
    unknown(lambda: payments.capture(order, TWENTY, key=f"{order}:c"))
    tell(payments, hook("payment.captured", order, f"{order}:c", amount=1500))
    assert shares(payments, order) == [("authorized", 500, 0, 0), ("captured", 1500, 1500, 0)]
    assert payments.capture(order, TWENTY, key=f"{order}:c").captured == 2000
    assert balance(payments, ada) == [(500, 0, 0)]


def test_the_same_capture_at_once_takes_each_half_once(payments, payments_database, acquirer, order, ada, gift):
    authorize(payments, order, ada, split(part(gift(500)), part("tok_visa", 1500)))
    asked = [lambda each: each.capture(order, TWENTY, key=f"{order}:c")] * 4
    assert at_once(payments_database, acquirer.url, asked) == ["ok"] * 4
    assert sums(payments, order) == ("captured", 2000, 0)
    assert balance(payments, ada) == [(500, 0, 0)]
    assert movements(acquirer, order) == [("authorize", 1500), ("capture", 1500)]


def test_the_acquirers_statement_agrees_with_splits_that_were_taken_let_go_and_given_back(
    payments_as, fresh_acquirer, order, ada
):
    payments = payments_as(url=fresh_acquirer.url)
    voucher = payments.issue_gift_card(ada, euro(2000), key=f"{ada}:g").id
    for name, amount in (("whole", 2000), ("less", 1200), ("no-card", 300)):
        own = f"{order}-{name}"
        authorize(payments, own, ada, split(part(voucher, 500), part("tok_visa")))
        payments.capture(own, euro(amount), key=f"{own}:c")
        payments.refund(own, euro(amount), "gift_card" if name == "less" else "original", key=f"{own}:r")
    method = split(part(voucher, 500), part("tok_lost_reply"))
    unknown(lambda: authorize(payments, order, ada, method))
    payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    report = payments.reconcile()
    assert (report.compared, report.count) == (9, 0)
    assert balance(payments, ada) == [(2000, 2000, 0), (700, 700, 0)]


# --- several payments of an order


def paid(payments, order, ada, payment_id, method, amount):
    payments.authorize(order, euro(amount), method, ada, payment_id, key=f"{order}:{payment_id}:a")
    return payments.capture(order, euro(amount), payment_id, key=f"{order}:{payment_id}:c")


def test_an_order_has_several_payments_and_a_refund_goes_over_them_as_they_were_paid(
    payments, acquirer, order, ada, gift
):
    voucher, late = gift(300), f"{order}-later"
    paid(payments, order, ada, None, split(part("tok_visa", 1000), part(voucher, 100)), 1100)
    paid(payments, order, ada, late, split(part(voucher, 200), part("tok_visa", 400)), 600)
    assert payments.get(order, late).id == late
    first = payments.refund(order, euro(1250), key=f"{order}:r1")
    assert first.parts == [
        RefundPart(payment_id=order, amount=100, gift_card_id=voucher, method="gift_card"),
        RefundPart(payment_id=late, amount=150, gift_card_id=voucher, method="gift_card"),
        RefundPart(payment_id=order, amount=1000),
    ]
    assert (sums(payments, order), sums(payments, order, late)) == (("refunded", 1100, 1100), ("captured", 600, 150))
    rest = payments.refund(order, euro(450), key=f"{order}:r2")
    assert [(each.payment_id, each.amount) for each in rest.parts] == [(late, 50), (late, 400)]
    assert balance(payments, ada) == [(300, 300, 0)]
    again = refusal(lambda: payments.refund(order, euro(1), key=f"{order}:r3"))
    assert (again.code, again.details["left"]) == ("payments.refund_exceeds_capture", 0)
    (kept,) = [each for each in payments.balances(limit=1000).items if each.order_id == order]
    assert (kept.captured, kept.refunded, kept.currency) == (1700, 1700, "EUR")
    assert (kept.card, kept.gift_card, kept.wallet) == (0, 0, 0)


def test_what_is_kept_of_an_order_is_told_by_the_ways_in_which_it_was_paid(payments, acquirer, order, ada, gift):
    voucher = gift(300)
    paid(payments, order, ada, None, split(part("tok_visa", 1000), part(voucher, 100)), 1100)
    assert ways(payments, order) == (1000, 100, 0)
    paid(payments, order, ada, f"{order}-later", split(part(voucher, 200), part("tok_visa", 400)), 600)
    assert ways(payments, order) == (1400, 300, 0)
    payments.refund(order, euro(1250), key=f"{order}:r1")
    assert ways(payments, order) == (400, 50, 0)


def test_a_payment_that_is_excepted_is_left_alone(payments, acquirer, order, ada):
    later = f"{order}-later"
    captured(payments, order)
    paid(payments, order, ada, later, card(), 500)
    too_much = refusal(lambda: payments.refund(order, euro(2001), except_payment=later, key=f"{order}:r"))
    assert too_much.details["left"] == 2000
    payments.refund(order, TWENTY, except_payment=later, key=f"{order}:r")
    assert (sums(payments, order), sums(payments, order, later)) == (("refunded", 2000, 2000), ("captured", 500, 0))


def test_a_payment_is_known_by_its_own_id_and_order(payments, acquirer, order, ada):
    captured(payments, order)
    other = refusal(lambda: payments.authorize("other", euro(5), card(), ada, order, key=f"{order}:x"))
    assert other.code == "payments.exists"
    assert (
        refusal(lambda: payments.capture("other", euro(5), order, key=f"{order}:y")).code == "payments.not_authorized"
    )
    assert refusal(lambda: payments.get("other", order)).code == "payments.not_found"
    assert refusal(lambda: payments.refund("other", euro(5), key=f"{order}:z")).code == "payments.not_captured"
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000)]


# --- refunds


def test_a_refund_to_a_gift_card_makes_one_of_all_that_cards_paid_and_gives_gift_cards_their_own(
    payments, acquirer, order, ada, gift
):
    voucher, later = gift(500), f"{order}-later"
    paid(payments, order, ada, None, split(part(voucher), part("tok_visa", 1500)), 2000)
    paid(payments, order, ada, later, card(), 400)
    for _ in range(2):
        refund = payments.refund(order, euro(2200), "gift_card", key=f"{order}:r")
        new = refund.parts[-1].gift_card_id
        assert refund.parts == [
            RefundPart(payment_id=order, amount=500, gift_card_id=voucher, method="gift_card"),
            RefundPart(payment_id=order, amount=1500, gift_card_id=new, method="gift_card"),
            RefundPart(payment_id=later, amount=200, gift_card_id=new, method="gift_card"),
        ]
        assert new != voucher
    assert balance(payments, ada) == [(500, 500, 0), (1700, 1700, 0)]
    assert (sums(payments, order), sums(payments, order, later)) == (("refunded", 2000, 2000), ("captured", 400, 200))
    assert [kind for kind, _ in movements(acquirer, order)] == ["authorize", "capture"] * 2
    assert ways(payments, order) == (1900, -1700, 0)  # the cards' money is still here, and owed on the new gift card
    left = refusal(lambda: payments.refund(order, euro(201), key=f"{order}:r2"))
    assert left.details["left"] == 200
    spent = payments.authorize(f"{order}-3", euro(1700), by_gift_card(new), ada, key=f"{order}:3")
    assert spent.status == "authorized"


def test_a_refund_to_a_gift_card_needs_to_know_whose(payments, acquirer, order):
    captured(payments, order)
    assert (
        refusal(lambda: payments.refund(order, euro(5), "gift_card", key=f"{order}:r")).code == "payments.no_customer"
    )
    assert sums(payments, order) == ("captured", 2000, 0)
    assert payments.refund(order, euro(5), key=f"{order}:r").left == 1995


def test_a_refund_of_a_split_in_doubt_does_exactly_the_same_when_it_comes_again(
    payments, payments_as, payments_database, acquirer, order, ada, gift
):
    later = f"{order}-later"
    paid(payments, order, ada, None, split(part(gift(500)), part("tok_visa", 1500)), 2000)
    cut_off = payments_as(url=NOWHERE)
    for _ in range(2):
        unknown(lambda: cut_off.refund(order, euro(800), key=f"{order}:r"))
    assert shares(payments, order) == [("refunded", 500, 500, 500), ("captured", 1500, 1500, 0)]
    paid(payments, order, ada, later, card(), 100)
    payments.refund(order, euro(1200), key=f"{order}:r2")
    assert payments.refund(order, euro(800), key=f"{order}:r").parts[-1] == RefundPart(payment_id=order, amount=300)
    assert (sums(payments, order), sums(payments, order, later)) == (("refunded", 2000, 2000), ("captured", 100, 0))
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order)[-2:] == [("refund", 1200), ("refund", 300)]


def test_of_a_refund_over_two_cards_the_one_that_is_refused_is_tried_anew_and_the_other_not_again(
    payments, acquirer, order, ada
):
    later = f"{order}-later"
    captured(payments, order)
    paid(payments, order, ada, later, card(), 1000)
    payments.acquirer.refund(f"{order}:foreign", f"{order}:{later}:a", euro(800))
    refund = lambda: payments.refund(order, euro(2500), key=f"{order}:r")  # noqa: E731
    for _ in range(2):
        assert refusal(refund).code == "payments.refund_exceeds_capture"
    assert (sums(payments, order), sums(payments, order, later)) == (("refunded", 2000, 2000), ("captured", 1000, 0))
    assert movements(acquirer, order)[-2:] == [("refund", 800), ("refund", 2000)]
    assert payments.refund(order, euro(200), key=f"{order}:r2").parts == [RefundPart(payment_id=later, amount=200)]


def test_refunds_of_a_split_at_once_give_back_no_more_than_was_taken(
    payments, payments_database, acquirer, order, ada, gift
):
    paid(payments, order, ada, None, split(part(gift(500)), part("tok_visa", 1500)), 2000)
    ways = ("original", "gift_card")
    asked = [lambda each, n=n: each.refund(order, euro(800), ways[n % 2], key=f"{order}:r{n}") for n in range(4)]
    answers = at_once(payments_database, acquirer.url, asked)
    assert answers == ["ok"] * 2 + ["payments.refund_exceeds_capture"] * 2
    assert sums(payments, order) == ("captured", 2000, 1600)
    to_card = sum(amount for kind, amount in movements(acquirer, order) if kind == "refund")
    to_gift_cards = sum(spendable for _, spendable, _ in balance(payments, ada))
    assert to_card + to_gift_cards == 1600


def test_refunds_over_the_same_two_cards_at_once_do_not_wait_for_each_other(
    payments, payments_database, acquirer, order, ada
):
    later = f"{order}-later"
    paid(payments, order, ada, None, card(), 100)
    paid(payments, order, ada, later, card(), 5000)
    asked = [lambda each, n=n: each.refund(order, euro(60), key=f"{order}:r{n}") for n in range(6)]
    assert at_once(payments_database, acquirer.url, asked) == ["ok"] * 6
    assert (sums(payments, order), sums(payments, order, later)) == (("refunded", 100, 100), ("captured", 5000, 260))


# --- who may


STAFF, EVE = Caller(customer_id="s1", roles=("staff",)), Caller(customer_id="eve", roles=("customer",))


def test_gift_cards_are_issued_by_staff_and_seen_by_their_owner(payments_as, order, ada, gift):
    gift(500)
    own = Caller(customer_id=ada, roles=("customer",))
    assert len(payments_as(own).gift_cards(ada)) == len(payments_as(STAFF).gift_cards(ada)) == 1
    payments_as(own).check(euro(5), card(), ada)
    for attempt in (
        lambda: payments_as(EVE).gift_cards(ada),
        lambda: payments_as(EVE).check(euro(5), card(), ada),
        lambda: payments_as(own).issue_gift_card(ada, euro(5), key=f"{order}:i"),
        lambda: payments_as(own).audit_gift_cards(),
        lambda: payments_as(STAFF).void_unowned("k", key=f"{order}:v"),
    ):
        assert refusal(attempt).code == "auth.forbidden"
    assert len(payments_as(own).gift_cards(ada)) == 1


def test_a_book_that_does_not_balance_is_told(payments, payments_database, order, ada, gift):
    good, bad = gift(500), gift(600)
    with payments_database.write() as session:
        session.connection().exec_driver_sql(f"UPDATE gift_card SET issued = 601, available = 601 WHERE id = '{bad}'")
    found = payments.audit_gift_cards()
    assert bad in found.broken
    assert good not in found.broken
    assert found.cards == 2
    assert state_of(payments_database, f"{ada}:600:EUR") == "ok"
