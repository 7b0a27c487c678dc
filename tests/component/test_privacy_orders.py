"""What orders keeps about customers: told, open business, erased with the books as they were, and outlived."""

from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select

from chassis.db import WorkerDatabase, shift_clock
from chassis.tables import outbox, saga
from chassis.types import Money
from contracts.orders import OrderDisputed, SagasForgotten
from contracts.payments import DisputeMoved
from services.orders import disputes
from services.orders.models import Amendment, Order
from tests.machines.order_desk import OrderDesk, address, card
from tests.machines.others import SMALL
from tests.privacy import code_of, counted, erased, person, pruner, still_open, told

ADA, BEN = person("c0"), person("c1")


@pytest.fixture
def desk(sessions):
    opened = sessions("orders")
    databases = [WorkerDatabase(opened.factory) for _ in range(2)]
    yield OrderDesk(opened, databases)
    for database in databases:
        database.close()


@pytest.fixture
def orders(desk):
    return desk.workers[0]


def bought(desk, whose="c0", way="delivered"):
    desk.buy(whose, way)
    return list(desk.ordered)[-1]


def returned(desk, order_id):
    """A return that was decided on, with words of the customer's and of staff's."""
    orders = desk.workers[0]
    lines = [dict(sku=SMALL, quantity=1, reason="Ada does not like it")]
    begun = orders.begin_return(order_id, lines, key=f"return {order_id}")
    desk.look()
    orders.decide_return(begun.id, [dict(sku=SMALL, accept=True, note="Ada's dog had it")], key="d")
    desk.run([])
    return begun.id


def row(desk, table, row_id):
    with desk.sessions.read() as session:
        return session.execute(select(table.__table__).where(table.id == row_id)).one()


def test_a_customer_is_told_their_orders_amendments_and_sagas(desk, orders):
    order_id = bought(desk)
    bought(desk, "c1")
    returned(desk, order_id)
    kept = told(orders, ADA)
    assert {kind: len(rows) for kind, rows in kept.items()} == {"order": 1, "amendment": 1, "saga": 2}
    assert (kept["order"][0]["id"], kept["order"][0]["address"]["name"]) == (order_id, "Ada")
    assert kept["amendment"][0]["data"]["lines"][0]["reason"] == "Ada does not like it"
    assert counted(orders, BEN) == {"order": 1, "saga": 1}


def test_who_leaves_is_taken_out_of_what_stays_and_nobody_else_is(desk, orders):
    order_id, other = bought(desk), bought(desk, "c1")
    amendment_id = returned(desk, order_id)
    money, others = orders.money(), row(desk, Order, other)
    before = row(desk, Order, order_id)
    assert erased(orders, ADA) == {"order": 1, "amendment": 1, "saga": 2}
    after, amendment = row(desk, Order, order_id), row(desk, Amendment, amendment_id)
    gone = dict(name="-", line1="-", city="-", postal_code="-", country=before.address["country"])
    assert (after.email, after.name, after.address) == ("", "", gone)
    blanked = {"email", "name", "address", "reason"}
    assert all(getattr(after, name) == value for name, value in before._mapping.items() if name not in blanked)
    assert (amendment.data["lines"][0]["reason"], amendment.data["decisions"][0]["note"]) == ("-", "")
    assert orders.money() == money
    assert row(desk, Order, other) == others
    assert orders.get(order_id).shipping_address.country == before.address["country"]
    assert orders.get_return(order_id, amendment_id).lines[0].accepted
    assert orders.erase(ADA, key="again").rows == {"order": 0, "amendment": 0, "saga": 0}


def test_ended_sagas_which_know_the_address_go_at_the_next_turn_and_nobody_elses(desk, orders):
    order_id, other = bought(desk), bought(desk, "c1")
    returned(desk, order_id)
    erased(orders, ADA)
    pruner(desk.sessions, orders, SagasForgotten).prune()
    with desk.sessions.read() as session:
        assert session.scalars(select(saga.c.key)).all() == [other]
    assert orders.get(order_id).timeline == []


@pytest.mark.parametrize("way", ["placed", "confirmed"])
def test_an_order_that_is_not_over_refuses(desk, orders, way):
    order_id = bought(desk, way=way)
    words = still_open(orders, ADA)
    assert f"order {order_id}" in words
    assert any(word.startswith("saga ") for word in words) == (way == "placed")
    orders.begin_erasure(BEN, key="another's")


def test_an_open_return_refuses(desk, orders):
    order_id = bought(desk)
    begun = orders.begin_return(order_id, [dict(sku=SMALL, quantity=1, reason="no")], key="r")
    assert f"amendment {begun.id}" in still_open(orders, ADA)


def test_nothing_new_begins_for_who_is_leaving_until_they_stay(desk, orders):
    order_id, lines = bought(desk), [dict(sku=SMALL, quantity=1, reason="no")]
    orders.begin_erasure(ADA, key="e")
    doors = (
        lambda: orders.place("c0", address("DE"), card("tok_visa"), key="p"),
        lambda: orders.cancel(order_id, "no", key="c"),
        lambda: orders.begin_return(order_id, lines, key="r"),
    )
    desk.others.carts["c0"] = {SMALL: 1}
    assert [code_of(door) for door in doors] == ["privacy.leaving"] * 3
    orders.cancel_erasure(person=ADA, key="e")
    assert orders.begin_return(order_id, lines, key="r2").status == "waiting"


def test_a_dispute_that_is_opened_later_tells_an_address_of_nobody(desk, orders):
    order_id = bought(desk)
    erased(orders, ADA)
    moved = DisputeMoved(
        event_id="e1",
        occurred_at=row(desk, Order, order_id).created_at,
        aggregate_id="dp",
        sequence=1,
        dispute_id="dp",
        order_id=order_id,
        payment_id=order_id,
        customer_id="c0",
        amount=Money(amount=1, currency="EUR"),
        status="opened",
        reason="fraudulent",
    )
    with desk.sessions.write() as session:
        disputes.follow(session, moved)
        payload = session.scalar(select(outbox.c.payload).where(outbox.c.event == "order_disputed"))
    event = msgspec.json.decode(payload, type=OrderDisputed)
    assert (event.email, event.name) == ("", "-")


def test_orders_lose_who_bought_when_their_days_are_over_and_not_before(desk, orders):
    over, confirmed = bought(desk), bought(desk, "c1", "confirmed")
    prune = pruner(desk.sessions, orders, order=10)
    shift_clock(timedelta(days=9, hours=23))
    assert prune.prune() == 0
    shift_clock(timedelta(days=10, hours=1))
    assert prune.prune() == 1
    assert prune.prune() == 0
    assert (row(desk, Order, over).email, row(desk, Order, confirmed).email != "") == ("", True)
