"""Disputes on real databases, against the acquirer's real process: whatever is heard twice, late or never."""

import itertools
import uuid

import httpx
import msgspec
import pytest
from sqlalchemy import select

from chassis.db import WorkerDatabase
from chassis.tables import outbox
from chassis.types import Caller
from contracts.payments import Difference, DisputeMoved, RefundPart
from services.payments.models import Dispute
from tests.payments import (
    NOWHERE,
    TWENTY,
    at_once,
    captured,
    euro,
    movements,
    part,
    refusal,
    split,
    sums,
    tell,
    unknown,
)
from tests.sandboxes import wait_until

STAFF = Caller(customer_id="s1", roles=("staff",))
SALE = [("authorize", 2000), ("capture", 2000)]


def at_acquirer(acquirer, path, **body):
    answer = httpx.post(f"{acquirer.url}{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json()


def disputed(acquirer, order, amount=None, key="d"):
    asked = dict(key=f"{order}:{key}", authorization_key=f"{order}:a", reason="fraudulent")
    return at_acquirer(acquirer, "/disputes", **asked, **({} if amount is None else {"amount": amount}))["id"]


def decided(acquirer, dispute_id, outcome):
    at_acquirer(acquirer, f"/disputes/{dispute_id}/decide", outcome=outcome)


def hook(order, dispute_id, status, event_id=None, amount=700, **more):
    """The body of a call that the acquirer could make."""
    data = dict(id=dispute_id, key=f"{order}:d", authorization_key=f"{order}:a", reference=order, reason="fraudulent")
    event = dict(id=event_id or uuid.uuid4().hex, type=f"dispute.{status}", at="2026-01-01T00:00:00Z")
    data |= dict(status=status, amount=amount, currency="EUR")
    return msgspec.json.encode({**event, "data": {**data, **more}}).decode()


def hear(payments, order, *statuses, dispute_id=None, **more):
    name = dispute_id or f"dp_{order}"
    for status in statuses:
        tell(payments, hook(order, name, status, **more))
    return name


def told(database):
    """What was published of disputes, in its order."""
    with database.read() as session:
        query = select(outbox.c.payload).where(outbox.c.event == "dispute_moved").order_by(outbox.c.id)
        return [msgspec.json.decode(payload, type=DisputeMoved) for payload in session.scalars(query)]


def steps(database):
    return [(each.dispute_id, each.sequence, each.status) for each in told(database)]


# --- what is heard


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_the_acquirers_own_calls_open_and_decide_a_dispute_and_each_is_told(
    payments, payments_database, acquirer, order, outcome
):
    captured(payments, order)
    dispute_id = disputed(acquirer, order, 700)
    decided(acquirer, dispute_id, outcome)

    def mine():
        found = [each for each in acquirer.hooks.received if dispute_id in each.body.decode()]
        return found if len(found) == 2 else None

    for each in wait_until(mine):
        payments.acquirer_hook(each.signature, each.body.decode())
    kept = payments.dispute(dispute_id)
    assert (kept.status, kept.order_id, kept.payment_id, kept.amount) == (outcome, order, order, euro(700))
    assert (kept.reason, kept.customer_id) == ("fraudulent", None)
    opened, after = told(payments_database)
    assert (opened.sequence, opened.status, after.sequence, after.status) == (1, "opened", 2, outcome)
    assert {(each.aggregate_id, each.order_id, each.amount.amount, each.reason) for each in (opened, after)} == {
        (dispute_id, order, 700, "fraudulent")
    }


@pytest.mark.parametrize("outcome", ["won", "lost"])
@pytest.mark.parametrize("news", sorted({*itertools.permutations(("opened", "opened", "end", "end"))}))
def test_in_whatever_order_and_however_often_it_is_heard_each_step_is_told_once(
    payments, payments_database, order, outcome, news
):
    captured(payments, order)
    name = hear(payments, order, *(outcome if each == "end" else each for each in news))
    assert payments.dispute(name).status == outcome
    assert steps(payments_database) == [(name, 1, "opened"), (name, 2, outcome)]


def test_the_very_same_call_changes_nothing_the_second_time(payments, payments_database, order):
    captured(payments, order)
    for _ in range(2):
        name = hear(payments, order, "opened", event_id=f"e-{order}")
    assert steps(payments_database) == [(name, 1, "opened")]


@pytest.mark.parametrize(("first", "second"), [("won", "lost"), ("lost", "won")])
def test_what_is_decided_stays_decided(payments, payments_database, order, first, second):
    captured(payments, order)
    name = hear(payments, order, "opened", first, second, "opened")
    assert payments.dispute(name).status == first
    assert steps(payments_database) == [(name, 1, "opened"), (name, 2, first)]


def test_calls_at_once_are_told_once(payments, payments_database, acquirer, order):
    captured(payments, order)
    bodies = [hook(order, f"dp_{order}", status) for status in ("opened", "won", "won", "opened", "won")]
    calls = [lambda service, body=body: tell(service, body) for body in bodies]
    assert at_once(payments_database, acquirer.url, calls) == ["ok"] * 5
    assert steps(payments_database) == [(f"dp_{order}", 1, "opened"), (f"dp_{order}", 2, "won")]


def test_a_dispute_of_what_nobody_authorised_changes_nothing(payments, payments_database, order):
    name = hear(payments, order, "opened", "lost")
    assert refusal(lambda: payments.dispute(name)).code == "payments.not_found"
    assert steps(payments_database) == []


@pytest.mark.parametrize("wrong", [{"status": "unheard of"}, {"amount": 0}, {"amount": "7"}, {"id": ""}])
def test_a_signed_body_that_is_no_dispute_is_refused(payments, payments_database, order, wrong):
    captured(payments, order)
    body = msgspec.json.decode(hook(order, f"dp_{order}", "opened"))
    body["data"] |= wrong
    assert refusal(lambda: tell(payments, msgspec.json.encode(body).decode())).code == "request.invalid"
    assert steps(payments_database) == []


def test_a_badly_signed_call_changes_nothing(payments, payments_database, order):
    captured(payments, order)
    forged = hook(order, f"dp_{order}", "opened")
    assert refusal(lambda: tell(payments, forged, secret="a guess")).code == "payments.bad_signature"
    assert steps(payments_database) == []


# --- refunds beside it


@pytest.mark.parametrize(
    ("news", "left"), [(("opened",), 1300), (("opened", "lost"), 1300), (("lost",), 1300), (("opened", "won"), 2000)]
)
def test_what_is_disputed_or_was_lost_is_not_refunded_as_well(payments, acquirer, order, news, left):
    captured(payments, order)
    hear(payments, order, *news)
    refused = refusal(lambda: payments.refund(order, euro(left + 1), key=f"{order}:r"))
    assert (refused.code, refused.details) == ("payments.refund_exceeds_capture", {"left": left})
    assert (movements(acquirer, order), sums(payments, order)) == (SALE, ("captured", 2000, 0))
    assert payments.refund(order, euro(left - 100), key=f"{order}:r").left == 100
    assert payments.refund(order, euro(100), key=f"{order}:r2").left == 0
    assert movements(acquirer, order) == [*SALE, ("refund", left - 100), ("refund", 100)]


def test_nor_does_it_go_to_a_gift_card(payments, order):
    payments.authorize(order, TWENTY, split(part("tok_visa")), f"{order}-c", key=f"{order}:a")
    payments.capture(order, TWENTY, key=f"{order}:c")
    hear(payments, order, "opened")
    refused = refusal(lambda: payments.refund(order, euro(1301), "gift_card", key=f"{order}:r"))
    assert (refused.code, payments.gift_cards(f"{order}-c")) == ("payments.refund_exceeds_capture", [])
    payments.refund(order, euro(1300), "gift_card", key=f"{order}:r2")
    assert [each.balance for each in payments.gift_cards(f"{order}-c")] == [euro(1300)]


def test_what_other_parts_gave_can_still_be_refunded(payments, acquirer, order):
    customer = f"{order}-c"
    gift = payments.issue_gift_card(customer, euro(500), key=f"{order}:g").id
    method = split(part("tok_visa", 1500), part(gift))
    payments.authorize(order, TWENTY, method, customer, key=f"{order}:a")
    payments.capture(order, TWENTY, key=f"{order}:c")
    hear(payments, order, "opened", amount=1500)
    assert refusal(lambda: payments.refund(order, euro(501), key=f"{order}:r")).details == {"left": 500}
    back = payments.refund(order, euro(500), key=f"{order}:r")
    assert [(each.gift_card_id, each.amount) for each in back.parts] == [(gift, 500)]
    assert movements(acquirer, order) == [("authorize", 1500), ("capture", 1500)]


def test_a_refund_that_the_acquirer_refuses_for_a_dispute_that_is_not_heard_of_yet_holds_nothing(
    payments, acquirer, order
):
    captured(payments, order)
    dispute_id = disputed(acquirer, order, 700)
    assert refusal(lambda: payments.refund(order, TWENTY, key=f"{order}:r")).code == "payments.refund_exceeds_capture"
    hear(payments, order, "opened", dispute_id=dispute_id)
    assert refusal(lambda: payments.refund(order, TWENTY, key=f"{order}:r")).details == {"left": 1300}
    decided(acquirer, dispute_id, "won")
    hear(payments, order, "won", dispute_id=dispute_id)
    assert payments.refund(order, TWENTY, key=f"{order}:r").left == 0
    assert movements(acquirer, order) == [*SALE, ("refund", 2000)]


def test_a_refund_in_doubt_is_finished_beside_a_dispute_of_the_rest(payments, payments_as, acquirer, order):
    captured(payments, order)
    cut_off = payments_as(url=NOWHERE)
    unknown(lambda: cut_off.refund(order, euro(1500), key=f"{order}:r"))
    hear(payments, order, "opened", amount=500)
    assert refusal(lambda: payments.refund(order, euro(1), key=f"{order}:more")).details == {"left": 0}
    back = payments.refund(order, euro(1500), key=f"{order}:r")
    assert (back.parts, back.left) == ([RefundPart(payment_id=order, amount=1500)], 0)
    assert sums(payments, order) == ("captured", 2000, 1500)


def test_a_dispute_of_all_while_a_refund_is_in_doubt_leaves_the_refund_to_the_acquirer(
    payments, payments_as, acquirer, order
):
    captured(payments, order)
    unknown(lambda: payments_as(url=NOWHERE).refund(order, euro(1500), key=f"{order}:r"))
    hear(payments, order, "opened", dispute_id=disputed(acquirer, order), amount=2000)
    for _ in range(2):
        refused = refusal(lambda: payments.refund(order, euro(1500), key=f"{order}:r"))
        assert refused.code == "payments.refund_exceeds_capture"
    assert (sums(payments, order), movements(acquirer, order)) == (("captured", 2000, 0), SALE)


# --- reconciliation


def differences(report):
    return [(each.kind, each.key, each.ours, each.theirs) for each in report.differences]


def test_books_agree_with_the_acquirers_statement_once_every_step_is_known(payments_as, fresh_acquirer, order):
    payments = payments_as(url=fresh_acquirer.url)
    captured(payments, order)
    names = [disputed(fresh_acquirer, order, 100, key) for key in ("d1", "d2", "d3")]
    decided(fresh_acquirer, names[1], "won")
    decided(fresh_acquirer, names[2], "lost")
    report = payments.reconcile()
    assert sorted(differences(report)) == sorted(
        [
            *(("dispute", name, None, 100) for name in names),
            ("dispute_won", names[1], None, 100),
            ("dispute_lost", names[2], None, 100),
        ]
    )
    assert {each.order_id for each in report.differences} == {order}
    statuses = [payments.refresh_dispute(name).status for name in names]
    assert statuses == ["opened", "won", "lost"]
    after = payments.reconcile()
    assert (after.compared, after.count) == (7, 0)


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_decision_that_only_the_acquirer_knows_is_shown_since_it_fell(payments_as, fresh_acquirer, order, outcome):
    payments = payments_as(url=fresh_acquirer.url)
    captured(payments, order)
    name = disputed(fresh_acquirer, order)
    assert payments.refresh_dispute(name).status == "opened"
    assert payments.reconcile().count == 0
    decided(fresh_acquirer, name, outcome)
    (found,) = payments.reconcile().differences
    assert found == Difference(
        key=name, kind=f"dispute_{outcome}", ours=None, theirs=2000, order_id=order, since=found.since
    )
    assert found.since > payments.dispute(name).opened_at


def test_a_dispute_that_only_we_believe_in_is_shown(payments_as, fresh_acquirer, order):
    payments = payments_as(url=fresh_acquirer.url)
    captured(payments, order)
    name = hear(payments, order, "lost")
    assert differences(payments.reconcile()) == [("dispute", name, 700, None), ("dispute_lost", name, 700, None)]
    assert refusal(lambda: payments.refresh_dispute(name)).code == "payments.not_found"


# --- who may look


def test_staff_read_disputes_by_status_and_in_pages_and_customers_do_not(payments_as, payments_database, order):
    payments = payments_as()
    captured(payments, order)
    names = [hear(payments, order, "opened", dispute_id=f"dp_{n}_{order}", amount=100) for n in range(3)]
    hear(payments, order, "lost", dispute_id=names[1], amount=100)
    staff = payments_as(STAFF)
    first = staff.disputes(limit=2)
    rest = staff.disputes(limit=2, cursor=first.next_cursor)
    assert [each.id for each in (*first.items, *rest.items)] == names[::-1]
    assert rest.next_cursor is None
    assert [each.id for each in staff.disputes("lost").items] == [names[1]]
    assert staff.disputes("won").items == []
    assert staff.dispute(names[1]).status == "lost"
    assert refusal(lambda: staff.disputes(cursor="nonsense")).code == "payments.bad_cursor"
    assert refusal(lambda: staff.dispute("dp_other")).code == "payments.not_found"
    assert refusal(lambda: staff.refresh_dispute(names[0])).code == "auth.forbidden"
    customer = payments_as(Caller(customer_id="c1", roles=("customer",)))
    for look in (customer.disputes, lambda: customer.dispute(names[0]), lambda: customer.refresh_dispute(names[0])):
        assert refusal(look).code == "auth.forbidden"


def test_a_dispute_keeps_the_customer_of_its_payment(payments, payments_database, order):
    payments.authorize(order, TWENTY, split(part("tok_visa")), "c-1", f"{order}-p", key=f"{order}:a")
    payments.capture(order, TWENTY, f"{order}-p", key=f"{order}:c")
    name = hear(payments, order, "opened")
    (moved,) = told(payments_database)
    assert (moved.order_id, moved.payment_id, moved.customer_id) == (order, f"{order}-p", "c-1")
    opened = WorkerDatabase(payments_database.Session)
    with opened.read() as session:
        row = session.get(Dispute, name)
        assert (row.order_id, row.payment_id, row.customer_id, row.sequence) == (order, f"{order}-p", "c-1", 1)
    opened.close()
