"""What came to nothing is told once, in the commit in which it ends, and what comes to something is not."""

import json
from datetime import timedelta

import pytest

from chassis.db import WorkerDatabase
from services.orders.terms import reason_for
from tests.machines import order_checks as checks
from tests.machines.order_desk import OrderDesk, card
from tests.machines.orders_shop import MOMENT, MONTH
from tests.machines.others import HUGE, LARGE, SMALL

GRACE = timedelta(hours=2)
FAILED = ("rejected", "expired")


@pytest.fixture
def desk(sessions):
    opened = sessions("orders")
    databases = [WorkerDatabase(opened.factory) for _ in range(2)]
    yield OrderDesk(opened, databases)
    for database in databases:
        database.close()


def bought(desk, way):
    desk.buy("c0", way)
    return list(desk.ordered)[-1]


def told(desk):
    return [event for event in checks.read(desk.sessions).events if event.event == "amendment_failed"]


def run(desk, *fates):
    """All sagas go on, one commit at a time; after each, what has failed is what was told."""
    desk.wait(MOMENT)
    desk.engine._claim_due()
    desk.others.script = list(fates)
    while desk.hands:
        desk.drive(desk.hands[0])
        failed = [row.id for row in desk.amendments.values() if row.status in FAILED]
        assert [json.loads(event.payload)["amendment_id"] for event in told(desk)] == failed
    desk.others.script = []


def assert_told(desk, order_id, kind, status, code, key="k"):
    (event,) = told(desk)
    (amended,) = desk.workers[0].get(order_id).amendments
    assert (amended.kind, amended.status) == (kind, status)
    order = checks.read(desk.sessions).orders[order_id]
    assert (event.aggregate_id, event.subscribers, event.sequence) == (
        order_id,
        ["support.on_amendment_failed"],
        order.sequence,
    )
    said = json.loads(event.payload)
    assert {name: said[name] for name in set(said) - {"event_id", "occurred_at"}} == dict(
        aggregate_id=order_id,
        sequence=order.sequence,
        order_id=order_id,
        amendment_id=amended.id,
        kind=kind,
        customer_id="c0",
        key=key,
        reason_code=code,
        message=reason_for(code),
    )


def swaps(sku, new_sku):
    return [dict(sku=sku, new_sku=new_sku, quantity=1)]


def test_a_cancel_that_came_too_late(desk):
    order_id = bought(desk, "confirmed")
    desk.workers[0].cancel(order_id, "no more", key="k")
    run(desk, "refused")
    assert_told(desk, order_id, "cancel", "rejected", "shipping.handed_over")


@pytest.mark.parametrize(
    ("fates", "code"),
    [
        (("refused",), "inventory.insufficient"),
        (("ok", "refused"), "payments.declined"),
        (("ok", "ok", "refused"), "shipping.handed_over"),
        (("ok", "ok", "ok", "refused"), "payments.capture_refused"),
    ],
)
def test_a_change_that_is_refused_at_any_step(desk, fates, code):
    order_id = bought(desk, "confirmed")
    desk.workers[0].change(order_id, lines=swaps(SMALL, LARGE), payment_method=card("tok_visa"), key="k")
    run(desk, *fates)
    assert_told(desk, order_id, "change", "rejected", code)


def test_an_exchange_that_is_refused(desk):
    order_id = bought(desk, "delivered")
    desk.workers[0].begin_exchange(order_id, swaps(SMALL, LARGE), card("tok_visa"), key="k")
    run(desk, "ok", "refused")
    assert_told(desk, order_id, "exchange", "rejected", "payments.declined")


@pytest.mark.parametrize("kind", ["return", "exchange"])
def test_goods_that_did_not_come_back(desk, kind):
    order_id = bought(desk, "delivered")
    if kind == "return":
        desk.workers[0].begin_return(order_id, [dict(sku=SMALL, quantity=1, reason="too small")], key="k")
    else:
        desk.workers[0].begin_exchange(order_id, swaps(SMALL, HUGE), key="k")
    run(desk)
    assert told(desk) == []
    desk.wait(MONTH + GRACE)
    for _ in range(3):
        run(desk)
    assert_told(desk, order_id, kind, "expired", "orders.return_expired")


def test_a_changed_order_tells_by_which_change_and_under_which_key(desk):
    order_id = bought(desk, "confirmed")
    desk.workers[0].change(order_id, lines=swaps(SMALL, HUGE), key="k")
    run(desk)
    (amended,) = desk.workers[0].get(order_id).amendments
    (event,) = [each for each in checks.read(desk.sessions).events if each.event == "order_changed"]
    said = json.loads(event.payload)
    assert (said["amendment_id"], said["key"]) == (amended.id, "k")


@pytest.mark.parametrize("kind", ["cancel", "change", "return", "exchange"])
def test_of_what_is_done_nothing_of_the_kind_is_told(desk, kind):
    order_id = bought(desk, "confirmed" if kind in ("cancel", "change") else "delivered")
    worker, back = desk.workers[0], [dict(sku=SMALL, quantity=1, reason="too small")]
    {
        "cancel": lambda: worker.cancel(order_id, "no more", key="k"),
        "change": lambda: worker.change(order_id, lines=swaps(SMALL, HUGE), key="k"),
        "return": lambda: worker.begin_return(order_id, back, key="k"),
        "exchange": lambda: worker.begin_exchange(order_id, swaps(SMALL, HUGE), key="k"),
    }[kind]()
    run(desk)
    (amended,) = worker.get(order_id).amendments
    if amended.status == "waiting":
        worker.decide_return(amended.id, [dict(sku=SMALL, accept=False)], key="d")
        desk.look()
        for _ in range(3):
            run(desk)
    assert worker.get(order_id).amendments[0].status == "settled"
    assert told(desk) == []
