"""What shipping and notifications keep about customers: whose it is, also where only the address tells."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import insert, select, update

from chassis.context import Call
from chassis.db import now, shift_clock
from chassis.tables import dead_letter, outbox
from contracts.shipping import OrderDelivered, OrderShipped
from services.notifications.models import Mail
from services.shipping import store
from services.shipping.models import Shipment
from services.shipping.service import ShippingService
from tests.component.test_notifications import cancelled, confirmed, fact, handle, service_of
from tests.privacy import ANNA, BEN, code_of, counted, erased, person, pruner, told

MOVED = person("anna", "anna@new.example")
"""Anna, since she has another address."""


# --- shipping


@pytest.fixture
def parcels(open_database):
    shipping = worker_factory(ShippingService, db=open_database("shipping"), call=Call(trace_id="t"))
    for who in (ANNA, BEN):
        parcel(shipping, f"{who.customer_id}-new", who.email, who.customer_id)
    parcel(shipping, "anna-old", ANNA.email, None)
    return shipping


def parcel(shipping, order_id, email, customer_id):
    named = store.Parcel(order_id, order_id, email, "Their Name", customer_id)
    with shipping.db.write() as session:
        store.begin(session, named, f"key-{order_id}")
        store.apply(session, f"key-{order_id}", f"T-{order_id}", "booked", 1)


def row(shipping, order_id):
    with shipping.db.read() as session:
        return session.execute(select(Shipment.__table__).where(Shipment.parcel_id == order_id)).one()


def test_parcels_are_told_by_their_customer_and_older_ones_by_the_address(parcels):
    assert [data["order_id"] for data in told(parcels, ANNA)["parcel"]] == ["anna-new", "anna-old"]
    assert [data["order_id"] for data in told(parcels, MOVED)["parcel"]] == ["anna-new"]
    assert counted(parcels, person("somebody", ANNA.email)) == {"parcel": 1}  # has the address now; of the old one


def test_a_parcel_stays_with_its_number_and_names_nobody(parcels):
    bens = row(parcels, "ben-new")
    assert erased(parcels, ANNA) == {"parcel": 2}
    for order_id in ("anna-new", "anna-old"):
        after = row(parcels, order_id)
        assert (after.email, after.name, after.status, after.tracking) == ("", "", "booked", f"T-{order_id}")
    assert row(parcels, "ben-new") == bens
    assert parcels.erase(ANNA, key="again").rows == {"parcel": 0}


def test_nobody_is_told_of_the_parcels_of_those_who_left(parcels):
    erased(parcels, ANNA)
    assert counted(parcels, person("nobody", "")) == {}


def test_what_a_parcel_tells_says_whose_it_is(parcels):
    with parcels.db.write() as session:
        store.apply(session, "key-anna-new", "T", "handed_over", 2)
        store.apply(session, "key-anna-new", "T", "delivered", 3)
        rows = session.execute(select(outbox.c.event, outbox.c.payload)).all()
    kinds = {"order_shipped": OrderShipped, "order_delivered": OrderDelivered}
    events = [msgspec.json.decode(payload, type=kinds[event]) for event, payload in rows if event in kinds]
    assert [(each.customer_id, each.email) for each in events] == [("anna", ANNA.email)] * 2


def test_parcels_that_are_over_name_nobody_after_their_days(parcels):
    with parcels.db.write() as session:
        over = update(Shipment).where(Shipment.parcel_id == "ben-new")
        session.execute(over.values(status="delivered", updated_at=now(session)))
    prune = pruner(parcels.db, parcels, parcel=5)
    shift_clock(timedelta(days=4, hours=23))
    assert prune.prune() == 0
    shift_clock(timedelta(days=5, hours=1))
    assert prune.prune() == 1
    assert (row(parcels, "ben-new").email, row(parcels, "anna-new").email) == ("", ANNA.email)


# --- notifications


@pytest.fixture
def mails(open_database):
    return service_of(open_database("notifications"))


def shipped(event_id, customer_id="anna", **values):
    known = dict(order_id="o1", parcel_id="o1", tracking="T1", customer_id=customer_id)
    return fact(OrderShipped, event_id, **known | values)


def from_before(mails, mail_id, to):
    """A mail that does not tell whose it is."""
    at = datetime.now(UTC)
    words = dict(kind="order_confirmed", subject="s", text="t", html="h", status="sent", attempts=1)
    with mails.db.write() as session:
        session.execute(insert(Mail).values(id=mail_id, to_address=to, due_at=at, created_at=at, **words))


def ids(mails):
    return sorted(mail.id for mail in mails.find(limit=100))


def test_mails_are_told_by_their_customer_and_older_ones_by_the_address(mails):
    handle(mails, confirmed("e1"))
    handle(mails, shipped("e2", email="older@x.example"))
    handle(mails, confirmed("e3", customer_id="ben", email=BEN.email))
    from_before(mails, "before", ANNA.email)
    assert sorted(data["id"] for data in told(mails, ANNA)["mail"]) == ["before", "e1", "e2"]
    assert [data["id"] for data in told(mails, person("somebody", ANNA.email))["mail"]] == ["before"]
    assert told(mails, BEN)["mail"][0]["text"].startswith("Hello Anna")


def test_a_customers_mails_go_and_nobody_elses(mails):
    handle(mails, confirmed("e1"))
    handle(mails, confirmed("e3", customer_id="ben", email=BEN.email))
    from_before(mails, "before", ANNA.email)
    assert erased(mails, ANNA) == {"mail": 2}
    assert ids(mails) == ["e3"]
    assert mails.erase(ANNA, key="again").rows == {"mail": 0}


def test_news_of_who_was_erased_are_no_mail_and_no_dead_letter(mails):
    erased(mails, ANNA)
    handle(mails, cancelled(event_id="late"))  # on its way since before
    handle(mails, cancelled(event_id="blank", customer_id="carl", email="", name="-"))
    handle(mails, shipped("blank too", customer_id=None, email="", name=""))
    with mails.db.read() as session:
        assert session.execute(select(dead_letter)).all() == []
    assert ids(mails) == []


def test_who_stays_after_all_gets_mails_again(mails):
    mails.begin_erasure(ANNA, key="e")
    handle(mails, confirmed("e1"))
    mails.cancel_erasure(person=ANNA, key="e")
    handle(mails, confirmed("e2"))
    assert ids(mails) == ["e2"]


def test_a_mail_is_not_sent_again_to_who_is_leaving(mails):
    handle(mails, confirmed("e1"))
    mails.begin_erasure(ANNA, key="e")
    assert code_of(lambda: mails.resend("o1", key="k")) == "privacy.leaving"
    assert ids(mails) == ["e1"]


def test_a_copy_is_its_customers_too(mails):
    handle(mails, confirmed("e1"))
    mails.resend("o1", key="k")
    assert erased(mails, ANNA) == {"mail": 2}


def test_mails_go_after_their_days_and_not_before(mails):
    from_before(mails, "before", ANNA.email)
    prune = pruner(mails.db, mails, mail=5)
    shift_clock(timedelta(days=4, hours=23))
    assert prune.prune() == 0
    shift_clock(timedelta(days=5, hours=1))
    assert (prune.prune(), ids(mails)) == (1, [])
