"""payments on real databases, against the acquirer's real process: right whatever answer was lost, late or doubled."""

import sqlite3
import time
from datetime import timedelta

import pytest

from chassis.db import shift_clock
from chassis.outside import sign
from chassis.types import Caller, Money
from contracts.common import PaymentMethod
from contracts.payments import Balance, Difference, Part, Payment, Reconciliation, Refund, RefundPart
from services.payments import reconciliation
from tests.payments import (
    NOWHERE,
    TWENTY,
    at_once,
    captured,
    card,
    euro,
    hook,
    movements,
    refusal,
    state_of,
    sums,
    tell,
    unknown,
)
from tests.sandboxes import wait_until

# --- the way of a payment


def test_a_payment_is_authorized_captured_and_refunded_in_parts(payments, acquirer, order):
    assert payments.authorize(order, TWENTY, card(), key=f"{order}:a") == Payment(
        id=order,
        order_id=order,
        status="authorized",
        method="card",
        amount=2000,
        captured=0,
        refunded=0,
        currency="EUR",
        parts=[Part(method="card", status="authorized", amount=2000, captured=0, refunded=0)],
    )
    assert payments.capture(order, TWENTY, key=f"{order}:c").status == "captured"
    assert payments.refund(order, euro(500), key=f"{order}:r1") == Refund(
        order_id=order, amount=euro(500), parts=[RefundPart(payment_id=order, amount=500)], left=1500
    )
    assert sums(payments, order) == ("captured", 2000, 500)
    assert payments.refund(order, euro(1500), key=f"{order}:r2").left == 0
    assert sums(payments, order) == ("refunded", 2000, 2000)
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000), ("refund", 500), ("refund", 1500)]


def test_repeats_of_each_step_change_nothing(payments, acquirer, order):
    first = payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    assert payments.authorize(order, TWENTY, card(), key=f"{order}:a") == first
    taken = payments.capture(order, TWENTY, key=f"{order}:c")
    assert payments.capture(order, TWENTY, key=f"{order}:c") == taken
    back = payments.refund(order, euro(700), key=f"{order}:r")
    assert payments.refund(order, euro(700), key=f"{order}:r") == back
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000), ("refund", 700)]


@pytest.mark.parametrize(
    ("token", "code", "reason"),
    [
        ("tok_declined", "payments.declined", "declined"),
        ("tok_insufficient_funds", "payments.declined", "insufficient_funds"),
        ("tok_nobody", "payments.unknown_token", "unknown_token"),
    ],
)
def test_a_decline_is_kept_with_its_reason(payments, acquirer, order, token, code, reason):
    for _ in range(2):
        assert refusal(lambda: payments.authorize(order, TWENTY, card(token), key=f"{order}:a")).code == code
    kept = payments.get(order)
    assert (kept.status, kept.reason, kept.captured) == ("declined", reason, 0)
    assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.not_authorized"
    assert movements(acquirer, order) == []


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (PaymentMethod(type="cheque", token="g"), "payments.unsupported_method"),
        (PaymentMethod(type="card"), "request.invalid"),
    ],
)
def test_a_method_that_cannot_be_charged_is_refused_and_leaves_no_payment(payments, order, method, code):
    assert refusal(lambda: payments.authorize(order, TWENTY, method, key=f"{order}:a")).code == code
    assert refusal(lambda: payments.get(order)).code == "payments.not_found"


@pytest.mark.parametrize("amount", [0, -1, 10**12 + 1])
def test_an_amount_that_no_one_can_move_is_refused(payments, acquirer, order, amount):
    assert refusal(lambda: payments.authorize(order, euro(amount), card(), key=f"{order}:0")).code == "request.invalid"
    payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    assert refusal(lambda: payments.capture(order, euro(amount), key=f"{order}:1")).code == "request.invalid"
    payments.capture(order, TWENTY, key=f"{order}:c")
    assert refusal(lambda: payments.refund(order, euro(amount), key=f"{order}:r")).code == "request.invalid"
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000)]


def test_an_order_has_one_payment(payments, acquirer, order):
    payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    again = refusal(lambda: payments.authorize(order, TWENTY, card(), key=f"{order}:other"))
    assert again.code == "payments.exists"
    assert movements(acquirer, order) == [("authorize", 2000)]


def test_a_capture_that_the_bank_refuses_leaves_the_payment_authorized_and_the_void_lets_it_go(
    payments, acquirer, order
):
    method = card("tok_capture_fails")
    payments.authorize(order, TWENTY, method, key=f"{order}:a")
    for _ in range(2):
        assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.capture_refused"
    assert (payments.get(order).status, payments.get(order).captured) == ("authorized", 0)
    payments.void(order, TWENTY, method, key=f"{order}:a")
    assert payments.get(order).status == "voided"
    assert movements(acquirer, order) == [("authorize", 2000), ("void", 2000)]


def test_no_more_is_captured_than_was_authorized(payments, acquirer, order):
    payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    assert refusal(lambda: payments.capture(order, euro(2001), key=f"{order}:c1")).code == "payments.capture_refused"
    assert payments.capture(order, euro(1200), key=f"{order}:c2").captured == 1200
    assert refusal(lambda: payments.capture(order, euro(800), key=f"{order}:c3")).code == "payments.captured"
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 1200)]


# --- lost, slow and late


def test_a_lost_reply_is_unknown_and_the_same_key_finds_what_was_done(payments, acquirer, order):
    authorize = lambda: payments.authorize(order, TWENTY, card("tok_lost_reply"), key=f"{order}:a")  # noqa: E731
    capture = lambda: payments.capture(order, TWENTY, key=f"{order}:c")  # noqa: E731
    unknown(authorize)
    assert payments.get(order).status == "none"
    assert authorize().status == "authorized"
    unknown(capture)
    assert payments.get(order).status == "authorized"
    assert capture().status == "captured"
    assert (capture().captured, payments.get(order).captured) == (2000, 2000)
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000)]


def test_a_slow_answer_is_unknown_and_the_same_key_finds_what_was_done(payments, payments_as, acquirer, order):
    impatient = payments_as(timeout_s=0.2)
    unknown(lambda: impatient.authorize(order, TWENTY, card("tok_slow"), key=f"{order}:a"))
    assert payments.authorize(order, TWENTY, card("tok_slow"), key=f"{order}:a").status == "authorized"
    assert movements(acquirer, order) == [("authorize", 2000)]


def test_an_unreachable_acquirer_is_unknown_and_the_same_key_is_done_once_it_is_back(payments, payments_as, order):
    cut_off = payments_as(url=NOWHERE)
    unknown(lambda: cut_off.authorize(order, TWENTY, card(), key=f"{order}:a"))
    assert captured(payments, order).status == "captured"


def test_a_void_of_an_authorization_whose_reply_was_lost_gives_back_what_nobody_knew_of(payments, acquirer, order):
    method = card("tok_lost_reply")
    unknown(lambda: payments.authorize(order, TWENTY, method, key=f"{order}:a"))
    for _ in range(2):
        payments.void(order, TWENTY, method, key=f"{order}:a")
    assert payments.get(order).status == "voided"
    late = refusal(lambda: payments.authorize(order, TWENTY, method, key=f"{order}:a"))
    assert late.code == "saga.fenced"
    assert movements(acquirer, order) == [("authorize", 2000), ("void", 2000)]


def test_a_void_of_an_authorization_that_never_arrived_fences_it_at_the_acquirer_too(
    payments, payments_as, acquirer, order
):
    cut_off = payments_as(url=NOWHERE)
    unknown(lambda: cut_off.authorize(order, TWENTY, card(), key=f"{order}:a"))
    unknown(lambda: cut_off.void(order, TWENTY, card(), key=f"{order}:a"))
    payments.void(order, TWENTY, card(), key=f"{order}:a")
    assert payments.get(order).status == "voided"
    assert refusal(lambda: payments.acquirer.authorize(f"{order}:a", TWENTY, "tok_visa", order)).code == (
        "payments.voided"
    )
    assert movements(acquirer, order) == []


def test_a_void_that_comes_first_fences_the_late_authorization_without_asking_the_acquirer(payments, acquirer, order):
    payments.void(order, TWENTY, card(), key=f"{order}:a")
    late = refusal(lambda: payments.authorize(order, TWENTY, card(), key=f"{order}:a"))
    assert late.code == "saga.fenced"
    assert payments.acquirer.status(f"{order}:a") is None
    assert movements(acquirer, order) == []


def test_a_void_after_a_capture_is_refused_and_the_money_stays_refundable(payments, payments_database, acquirer, order):
    captured(payments, order)
    for _ in range(2):
        assert refusal(lambda: payments.void(order, TWENTY, card(), key=f"{order}:a")).code == "payments.captured"
    assert state_of(payments_database, f"{order}:a") == "undoing"
    assert payments.get(order).status == "captured"
    payments.refund(order, TWENTY, key=f"{order}:r")
    assert sums(payments, order) == ("refunded", 2000, 2000)
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000), ("refund", 2000)]


def test_a_voided_payment_is_not_captured(payments, acquirer, order):
    payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    payments.void(order, TWENTY, card(), key=f"{order}:a")
    assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.voided"
    assert movements(acquirer, order) == [("authorize", 2000), ("void", 2000)]


# --- refunds


def test_no_more_is_refunded_than_is_left_and_a_refusal_is_not_kept(payments, acquirer, order):
    payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    early = refusal(lambda: payments.refund(order, euro(500), key=f"{order}:r1"))
    assert early.code == "payments.not_captured"
    payments.capture(order, TWENTY, key=f"{order}:c")
    assert payments.refund(order, euro(500), key=f"{order}:r1").left == 1500
    too_much = refusal(lambda: payments.refund(order, euro(1501), key=f"{order}:r2"))
    assert (too_much.code, too_much.details["left"]) == ("payments.refund_exceeds_capture", 1500)
    assert payments.get(order).refunded == 500
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000), ("refund", 500)]


def test_a_refund_in_doubt_holds_its_amount_once_until_its_end_is_known(payments, payments_as, acquirer, order):
    captured(payments, order)
    cut_off = payments_as(url=NOWHERE)
    for _ in range(2):
        unknown(lambda: cut_off.refund(order, euro(1500), key=f"{order}:r1"))
    assert payments.get(order).refunded == 0
    too_much = refusal(lambda: payments.refund(order, euro(501), key=f"{order}:r2"))
    assert (too_much.code, too_much.details["left"]) == ("payments.refund_exceeds_capture", 500)
    assert payments.refund(order, euro(1500), key=f"{order}:r1").left == 500
    assert payments.refund(order, euro(500), key=f"{order}:r2").left == 0
    assert movements(acquirer, order)[2:] == [("refund", 1500), ("refund", 500)]


def test_a_refund_that_the_acquirer_refuses_gives_back_its_hold_and_may_succeed_under_the_same_key(
    payments, acquirer, order
):
    captured(payments, order)
    elsewhere = payments.acquirer.refund(f"{order}:foreign", f"{order}:a", euro(1500))
    assert elsewhere.amount == 1500
    refund = lambda: payments.refund(order, euro(1000), key=f"{order}:r")  # noqa: E731
    for _ in range(2):
        assert refusal(refund).code == "payments.refund_exceeds_capture"
    assert payments.get(order).refunded == 0
    asked = [payments.acquirer.status(f"{order}:r{suffix}") for suffix in ("", "#2", "#3")]
    assert [each and each.status for each in asked] == ["refused", "refused", None]
    assert payments.refund(order, euro(500), key=f"{order}:r").left == 1500
    assert payments.get(order).refunded == 500
    assert movements(acquirer, order)[2:] == [("refund", 1500), ("refund", 500)]


def test_refunds_at_once_give_back_no_more_than_was_taken(payments, payments_database, acquirer, order):
    captured(payments, order)
    refunds = [lambda each, n=n: each.refund(order, euro(800), key=f"{order}:r{n}") for n in range(4)]
    answers = at_once(payments_database, acquirer.url, refunds)
    assert answers == ["ok"] * 2 + ["payments.refund_exceeds_capture"] * 2
    assert payments.get(order).refunded == 1600
    assert movements(acquirer, order)[2:] == [("refund", 800), ("refund", 800)]


def test_a_refund_in_another_currency_is_refused(payments, order):
    captured(payments, order)
    other = refusal(lambda: payments.refund(order, Money(amount=5, currency="USD"), key=f"{order}:r"))
    assert other.code == "request.invalid"


# --- the acquirer's calls


def test_its_own_signed_hooks_are_taken_and_confirm_what_is_known(payments, acquirer, order):
    captured(payments, order)
    payments.refund(order, TWENTY, key=f"{order}:r")
    known = payments.get(order)
    mine = lambda: [each for each in acquirer.hooks.received if each.json["data"]["reference"] == order]  # noqa: E731
    wait_until(lambda: len(mine()) == 3)
    for each in [*reversed(mine()), *mine()]:
        payments.acquirer_hook(each.signature, each.body.decode())
    assert payments.get(order) == known
    assert (known.status, known.captured, known.refunded) == ("refunded", 2000, 2000)


def test_a_hook_tells_of_an_authorization_and_a_capture_whose_replies_were_lost(payments, order):
    unknown(lambda: payments.authorize(order, TWENTY, card("tok_lost_reply"), key=f"{order}:a"))
    tell(payments, hook("payment.authorized", order, f"{order}:a"))
    assert payments.get(order).status == "authorized"
    unknown(lambda: payments.capture(order, TWENTY, key=f"{order}:c"))
    tell(payments, hook("payment.captured", order, f"{order}:c"))
    assert (payments.get(order).status, payments.get(order).captured) == ("captured", 2000)
    assert payments.authorize(order, TWENTY, card("tok_lost_reply"), key=f"{order}:a").status == "captured"
    assert payments.capture(order, TWENTY, key=f"{order}:c").captured == 2000
    assert payments.get(order).captured == 2000


def test_a_hook_tells_of_a_refund_in_doubt_once(payments, payments_as, order):
    captured(payments, order)
    unknown(lambda: payments_as(url=NOWHERE).refund(order, euro(600), key=f"{order}:r"))
    for _ in range(2):
        tell(payments, hook("payment.refunded", order, f"{order}:r", event_id="evt-same", amount=600))
        tell(payments, hook("payment.refunded", order, f"{order}:r", amount=600))
    assert payments.get(order).refunded == 600
    assert payments.refund(order, euro(1400), key=f"{order}:r2").left == 0


def test_an_older_hook_does_not_move_a_state_back(payments, order):
    captured(payments, order)
    known = payments.get(order)
    tell(payments, hook("payment.authorized", order, f"{order}:a"))
    assert payments.get(order) == known


def test_a_hook_of_a_void_also_tells_of_the_authorization_whose_own_hook_was_lost(payments, payments_as, order):
    method = card("tok_lost_reply")
    unknown(lambda: payments.authorize(order, TWENTY, method, key=f"{order}:a"))
    unknown(lambda: payments_as(url=NOWHERE).void(order, TWENTY, method, key=f"{order}:a"))
    tell(payments, hook("payment.voided", order, f"{order}:a"))
    tell(payments, hook("payment.authorized", order, f"{order}:a"))
    assert payments.get(order).status == "voided"
    payments.void(order, TWENTY, method, key=f"{order}:a")
    assert payments.get(order).status == "voided"


@pytest.mark.parametrize("kind", ["payment.captured", "payment.refunded"])
def test_a_hook_of_a_movement_that_we_did_not_ask_for_changes_nothing(payments, order, kind):
    payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    known = payments.get(order)
    tell(payments, hook(kind, order, f"{order}:foreign"))
    assert payments.get(order) == known


def test_a_hook_of_an_unknown_type_is_taken_and_changes_nothing(payments, order):
    payments.authorize(order, TWENTY, card(), key=f"{order}:a")
    tell(payments, hook("payment.disputed", order, f"{order}:a"))
    assert payments.get(order).status == "authorized"


@pytest.mark.parametrize("forged", ["secret", "body", "stale", "ahead", "empty", "garbage", "not ascii"])
def test_a_hook_that_is_not_surely_the_acquirers_is_refused_and_changes_nothing(payments, order, forged):
    unknown(lambda: payments.authorize(order, TWENTY, card("tok_lost_reply"), key=f"{order}:a"))
    body = hook("payment.authorized", order, f"{order}:a")
    ages = {"stale": -301, "ahead": 301}
    good = sign("other" if forged == "secret" else "hook-secret", body.encode(), time.time() + ages.get(forged, 0))
    signature = {"empty": "", "garbage": "t=x,v1=y", "not ascii": "t=1,v1=\u00e9"}.get(forged, good)
    asked = body.replace("EUR", "USD") if forged == "body" else body
    assert refusal(lambda: payments.acquirer_hook(signature, asked)).code == "payments.bad_signature"
    assert payments.get(order).status == "none"


def test_a_signature_ages_by_the_databases_clock(payments, order):
    body = hook("payment.disputed", order, f"{order}:a")
    signature = sign("hook-secret", body.encode(), time.time())
    payments.acquirer_hook(signature, body)
    shift_clock(timedelta(seconds=400))
    assert refusal(lambda: payments.acquirer_hook(signature, body)).code == "payments.bad_signature"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"id": "e", "type": "payment.captured"}',
        '{"id": "e", "type": "payment.captured", "data": {"key": 1}}',
    ],
)
def test_a_signed_body_that_is_no_hook_is_refused(payments, body):
    assert refusal(lambda: tell(payments, body)).code == "request.invalid"


# --- for the audit


def differences(report):
    return [(each.kind, each.ours, each.theirs) for each in report.differences]


def test_reconciliation_finds_no_difference_once_all_is_known(payments_as, fresh_acquirer, order):
    payments = payments_as(url=fresh_acquirer.url)
    captured(payments, order)
    payments.refund(order, euro(500), key=f"{order}:r")
    voided, method = f"{order}-v", card("tok_lost_reply")
    unknown(lambda: payments.authorize(voided, TWENTY, method, key=f"{voided}:a"))
    payments.void(voided, TWENTY, method, key=f"{voided}:a")
    assert payments.reconcile() == Reconciliation(compared=5, count=0, differences=[])


def test_reconciliation_shows_what_only_the_acquirer_knows_until_we_do(payments_as, fresh_acquirer, order):
    payments = payments_as(url=fresh_acquirer.url)
    authorize = lambda: payments.authorize(order, TWENTY, card("tok_lost_reply"), key=f"{order}:a")  # noqa: E731
    unknown(authorize)
    report = payments.reconcile()
    assert (report.compared, report.count) == (1, 1)
    (difference,) = report.differences
    assert difference == Difference(
        key=f"{order}:a", kind="authorize", ours=None, theirs=2000, order_id=order, since=difference.since
    )
    assert difference.since is not None
    authorize()
    assert payments.reconcile().count == 0


def test_reconciliation_shows_what_only_we_believe(payments_as, payments, fresh_acquirer, order):
    captured(payments, order)
    report = payments_as(url=fresh_acquirer.url).reconcile()
    assert (report.compared, report.count) == (0, 2)
    assert differences(report) == [("authorize", 2000, None), ("capture", 2000, None)]


def test_reconciliation_shows_an_amount_that_differs(payments_as, fresh_acquirer, order):
    payments = payments_as(url=fresh_acquirer.url)
    captured(payments, order)
    db = sqlite3.connect(fresh_acquirer.db)
    with db:
        db.execute("UPDATE movements SET amount = 1999 WHERE kind = 'capture'")
    db.close()
    assert differences(payments.reconcile()) == [("capture", 2000, 1999)]


def test_reconciliation_reads_every_page_and_lists_no_more_than_a_hundred(
    payments_as, fresh_acquirer, order, monkeypatch
):
    payments = payments_as(url=fresh_acquirer.url)
    for n in range(101):
        payments.acquirer.authorize(f"{order}:{n}", TWENTY, "tok_visa", order)
    monkeypatch.setattr(reconciliation, "PAGE", 25)
    report = payments.reconcile()
    assert (report.compared, report.count, len(report.differences)) == (101, 101, 100)


def test_reconciliation_that_reads_no_further_says_so_and_blames_nobody(
    payments_as, fresh_acquirer, order, monkeypatch
):
    payments = payments_as(url=fresh_acquirer.url)
    for n in range(3):
        captured(payments, f"{order}-{n}")
    monkeypatch.setattr(reconciliation, "PAGE", 2)
    monkeypatch.setattr(reconciliation, "MOST", 2)
    assert payments.reconcile() == Reconciliation(compared=2, count=0, differences=[], complete=False)


def test_balances_come_in_pages_by_order(payments, order):
    orders = [f"{order}-{n}" for n in range(3)]
    for each in orders:
        captured(payments, each, amount=1000)
    first = payments.balances(limit=2)
    assert [each.order_id for each in first.items] == orders[:2]
    assert first.next_after == orders[1]
    last = payments.balances(after=first.next_after, limit=2)
    assert last.next_after is None
    (only,) = last.items
    kept = dict(captured=1000, refunded=0, currency="EUR", card=1000)
    assert only == Balance(order_id=orders[2], updated_at=only.updated_at, **kept)


# --- who may


CUSTOMER = Caller(customer_id="c1", roles=("customer",))
STAFF = Caller(customer_id="s1", roles=("staff",))
OPERATOR = Caller(customer_id="op", roles=("operator",))


def test_a_customer_moves_no_money_and_sees_no_payment(payments_as, acquirer, order):
    captured(payments_as(), order)
    before = movements(acquirer, order)
    payments = payments_as(CUSTOMER)
    assert refusal(lambda: payments.get(order)).code == "payments.not_found"
    for attempt in (
        lambda: payments.authorize(f"{order}-x", TWENTY, card(), key=f"{order}:x"),
        lambda: payments.capture(order, TWENTY, key=f"{order}:y"),
        lambda: payments.refund(order, TWENTY, key=f"{order}:z"),
        payments.balances,
        payments.reconcile,
    ):
        assert refusal(attempt).code == "auth.forbidden"
    assert movements(acquirer, order) == before


def test_staff_see_a_payment_and_operators_the_balances(payments_as, order):
    captured(payments_as(), order)
    assert payments_as(STAFF).get(order).status == "captured"
    assert refusal(lambda: payments_as(STAFF).balances()).code == "auth.forbidden"
    assert [each.order_id for each in payments_as(OPERATOR).balances().items] == [order]
