"""shipping on real databases, against the carrier's real process: a parcel's state never goes back, nor tells twice."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import select, update

from chassis.context import Call
from chassis.db import shift_clock
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.hooks import HookReader
from chassis.outside import OutsideClient, sign
from chassis.tables import outbox
from chassis.types import Caller, Money
from contracts.common import Address
from contracts.shipping import OrderDelivered, OrderShipped, ShipmentMoved, ShippingQuote
from services.shipping import quotes
from services.shipping.adapters import CarrierClient
from services.shipping.models import Shipment
from services.shipping.quotes import Quotes
from services.shipping.service import ShippingService
from tests.sandboxes import receiving_hooks, running_carrier, wait_until

BERLIN = Address(name="Ada", line1="Street 1", city="Berlin", postal_code="10115", country="DE")
PARIS = Address(name="Ada", line1="Rue 1", city="Paris", postal_code="75001", country="FR")
NOWHERE = Address(name="Ada", line1="Street 1", city="Nowhere", postal_code="1", country="XX")
HOOKS = HookReader("shipping.bad_signature", "hook-secret", 300)
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def carrier(tmp_path_factory):
    with receiving_hooks() as hooks, running_carrier(tmp_path_factory.mktemp("carrier"), hooks) as sandbox:
        yield sandbox


@pytest.fixture
def database(open_database):
    return open_database("shipping")


@pytest.fixture
def shipping_as(carrier, database):
    def make(caller=None, url=None, kept=None):
        client = CarrierClient(OutsideClient("carrier", url or carrier.url, 5.0))
        call = Call(trace_id="t", caller=caller)
        return worker_factory(
            ShippingService, db=database, carrier=client, hooks=HOOKS, call=call, quotes=kept or Quotes()
        )

    return make


@pytest.fixture
def shipping(shipping_as):
    return shipping_as()


@pytest.fixture
def order():
    return f"o-{uuid.uuid4().hex[:12]}"


def refusal(call):
    with pytest.raises(ServiceError) as error:
        call()
    return error.value


def unknown(call):
    with pytest.raises(OutcomeUnknown):
        call()


def book(shipping, order, address=BERLIN, key="b", items=2):
    return shipping.book(order, address, items, "ada@example.com", key=f"{order}:{key}")


def state(shipping, order):
    shipment = shipping.get(order)
    return shipment.status, shipment.tracking


def told(shipping):
    """What was published, in order, as (kind, sequence, status)."""
    kinds = {kind.__event__: kind for kind in (ShipmentMoved, OrderShipped, OrderDelivered)}
    with shipping.db.read() as session:
        rows = session.execute(select(outbox.c.event, outbox.c.payload).order_by(outbox.c.id)).all()
    return [msgspec.json.decode(payload, type=kinds[event]) for event, payload in rows]


def summary(shipping):
    return [(type(each).__name__, each.sequence) for each in told(shipping)]


ON_ITS_WAY = [("ShipmentMoved", 1), ("OrderShipped", 2)]
ALL = [*ON_ITS_WAY, ("ShipmentMoved", 3), ("ShipmentMoved", 4), ("OrderDelivered", 5)]


def hook(order, status, sequence, tracking="RT1", key="b", event_id=None, kind="parcel.moved"):
    data = dict(tracking=tracking, key=f"{order}:{key}", reference=order, status=status, sequence=sequence)
    event = dict(id=event_id or uuid.uuid4().hex, type=kind, at="2026-01-01T00:00:00Z", data=data)
    return msgspec.json.encode(event).decode()


def tell(shipping, body, secret="hook-secret", at=None):
    shipping.carrier_hook(sign(secret, body.encode(), at or time.time()), body)


# --- quotes


def test_a_quote_has_a_price_and_an_end(shipping):
    quote = shipping.quote(BERLIN, 2)
    assert quote.price == Money(amount=540, currency="EUR")
    left = quote.expires_at - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)


def test_a_country_that_is_not_served_is_refused_and_asked_again(shipping):
    for _ in range(2):
        assert refusal(lambda: shipping.quote(NOWHERE, 1)).code == "shipping.not_serviceable"


def test_a_quote_is_kept_for_its_place_and_number_of_items_and_not_for_others(shipping, shipping_as):
    kept = Quotes()
    first = shipping_as(kept=kept).quote(BERLIN, 2)
    alone = shipping_as(url=NOBODY, kept=kept)
    assert alone.quote(BERLIN, 2) == first
    for other in ((BERLIN, 3), (PARIS, 2)):
        unknown(lambda other=other: alone.quote(*other))
    assert shipping_as(kept=kept).quote(PARIS, 2).price == Money(amount=1090, currency="EUR")


def test_a_quote_that_ends_soon_is_asked_for_anew(shipping_as):
    kept = Quotes()
    first = shipping_as(kept=kept).quote(BERLIN, 2)
    shift_clock(timedelta(minutes=24))
    assert shipping_as(kept=kept).quote(BERLIN, 2) == first
    shift_clock(timedelta(minutes=26))
    unknown(lambda: shipping_as(url=NOBODY, kept=kept).quote(BERLIN, 2))
    assert shipping_as(kept=kept).quote(BERLIN, 2).expires_at > first.expires_at


def test_no_more_quotes_are_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(quotes, "MOST", 2)
    kept, at = Quotes(), datetime(2026, 1, 1, tzinfo=UTC)
    for items in (1, 2, 3):
        price = Money(amount=items, currency="EUR")
        kept.keep(BERLIN, items, ShippingQuote(price=price, expires_at=at + timedelta(hours=1)))
    assert [kept.find(BERLIN, items, at) is not None for items in (1, 2, 3)] == [False, True, True]


# --- booking


def test_a_booking_has_a_tracking_number_and_is_made_once(shipping, order):
    booked = book(shipping, order)
    assert (booked.status, booked.order_id) == ("booked", order)
    assert book(shipping, order) == booked == shipping.get(order)
    found = [each for each in _all_bookings(shipping) if each.reference == order]
    assert [(each.key, each.tracking) for each in found] == [(f"{order}:b", booked.tracking)]
    assert told(shipping) == []


def _all_bookings(shipping):
    after, items = 0, []
    while after is not None:
        page = shipping.carrier.bookings(after)
        items += page.items
        after = page.next
    return items


def test_a_booking_whose_reply_was_lost_is_found_by_the_same_key(shipping, shipping_as, order):
    unknown(lambda: book(shipping_as(url=NOBODY), order))
    assert state(shipping, order) == ("none", None)
    arrived = shipping.carrier.book(f"{order}:b", BERLIN, order)
    assert book(shipping, order).tracking == arrived.tracking


def test_an_order_has_one_parcel(shipping, order):
    book(shipping, order)
    assert refusal(lambda: book(shipping, order, key="other")).code == "shipping.exists"


def test_a_refused_booking_is_not_kept_and_asks_the_carrier_again_under_the_same_key(shipping, order):
    for _ in range(2):
        assert refusal(lambda: book(shipping, order, NOWHERE)).code == "shipping.not_serviceable"
    assert state(shipping, order) == ("none", None)
    booked = book(shipping, order, BERLIN)
    assert booked.status == "booked"
    assert shipping.carrier.status(f"{order}:b#3").tracking == booked.tracking
    shipping.advance(booked.tracking, key=f"{order}:adv")
    assert shipping.get(order).status == "handed_over"


def test_unknown_orders_have_no_shipment(shipping, order):
    assert refusal(lambda: shipping.get(order)).code == "shipping.not_found"
    for ask in (shipping.hold, partial(shipping.amend, address=BERLIN, items=1)):
        assert refusal(lambda ask=ask: ask(order, key=f"{order}:{uuid.uuid4().hex}")).code == "shipping.not_booked"
    assert refusal(lambda: shipping.refresh(order)).code == "shipping.not_found"
    assert refusal(lambda: shipping.advance("RT0", key=f"{order}:y")).code == "shipping.not_found"


# --- cancelling


def test_a_booking_is_cancelled_at_the_carrier_and_does_not_come_back(shipping, order):
    booked = book(shipping, order)
    for key in ("c1", "c1", "c2"):
        assert shipping.cancel(order, key=f"{order}:{key}").status == "cancelled"
    assert shipping.carrier.parcel(booked.tracking).status == "cancelled"
    moved = refusal(lambda: shipping.advance(booked.tracking, key=f"{order}:adv"))
    assert moved.code == "shipping.cancelled"
    tell(shipping, hook(order, "handed_over", 2, booked.tracking))
    assert state(shipping, order) == ("cancelled", booked.tracking)
    assert told(shipping) == []


def test_a_booking_in_doubt_is_cancelled_before_it_comes(shipping, shipping_as, order):
    unknown(lambda: book(shipping_as(url=NOBODY), order))
    assert shipping.cancel(order, key=f"{order}:c").status == "cancelled"
    assert refusal(lambda: book(shipping, order)).code == "shipping.cancelled"
    late = refusal(lambda: shipping.carrier.book(f"{order}:b", BERLIN, order))
    assert late.code == "shipping.cancelled"


def test_a_booking_that_the_carrier_knows_as_cancelled_is_refused_and_kept_as_such(shipping, order):
    shipping.carrier.cancel(f"{order}:b")
    assert refusal(lambda: book(shipping, order)).code == "shipping.cancelled"
    assert state(shipping, order) == ("cancelled", None)


def test_a_parcel_that_was_handed_over_is_not_cancelled_whether_we_know_it_or_not(shipping, order):
    booked = book(shipping, order)
    shipping.carrier.advance(booked.tracking)
    for _ in range(2):
        assert refusal(lambda: shipping.cancel(order, key=f"{order}:c1")).code == "shipping.handed_over"
    assert shipping.get(order).status == "booked"
    tell(shipping, hook(order, "handed_over", 2, booked.tracking))
    assert refusal(lambda: shipping.cancel(order, key=f"{order}:c2")).code == "shipping.handed_over"
    assert shipping.get(order).status == "handed_over"


def test_an_order_that_was_never_booked_is_cancelled_and_a_late_booking_refused(shipping, order):
    for key in ("c1", "c1", "c2"):
        assert shipping.cancel(order, key=f"{order}:{key}").status == "cancelled"
    for key in ("b", "other"):
        assert refusal(lambda key=key: book(shipping, order, key=key)).code == "shipping.cancelled"
    assert shipping.carrier.status(f"{order}:b") is None
    assert state(shipping, order) == ("cancelled", None)
    for ask in (shipping.hold, partial(shipping.amend, address=PARIS, items=1)):
        assert refusal(lambda ask=ask: ask(order, key=f"{order}:{uuid.uuid4().hex}")).code == "shipping.cancelled"


class Meddled(CarrierClient):
    """The carrier, with something that happens just before or just after a call to it."""

    before = after = staticmethod(lambda: None)

    def __init__(self, client, of):
        self._company, self._of = client._company, of

    def _post(self, path, kind, body):
        if path != self._of:
            return super()._post(path, kind, body)
        self.before()
        answer = super()._post(path, kind, body)
        self.after()
        return answer


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_booking_that_is_under_way_when_its_order_is_cancelled_loses(shipping, shipping_as, order, moment):
    slow = shipping_as()
    slow.carrier = Meddled(shipping.carrier, "/bookings")
    setattr(slow.carrier, moment, lambda: shipping.cancel(order, key=f"{order}:c"))
    assert refusal(lambda: book(slow, order)).code == "shipping.cancelled"
    assert shipping.get(order).status == "cancelled"
    assert shipping.carrier.status(f"{order}:b").status == "cancelled"
    assert refusal(lambda: book(shipping, order)).code == "shipping.cancelled"


def test_a_booking_that_is_tried_anew_while_its_order_is_cancelled_loses_too(shipping, shipping_as, order):
    unknown(lambda: book(shipping_as(url=NOBODY), order, NOWHERE))
    slow = shipping_as()
    slow.carrier = Meddled(shipping.carrier, "/cancellations")
    slow.carrier.before = lambda: refusal(lambda: book(shipping, order, NOWHERE))  # it goes by a second key from now on
    unknown(lambda: slow.cancel(order, key=f"{order}:c"))
    assert shipping.get(order).status == "none"
    assert shipping.cancel(order, key=f"{order}:c").status == "cancelled"
    for key in (f"{order}:b", f"{order}:b#2"):
        assert shipping.carrier.status(key).status == "cancelled"
    assert refusal(lambda: book(shipping, order, NOWHERE)).code == "shipping.cancelled"


def test_a_cancellation_in_doubt_ends_by_what_the_carrier_says_whatever_we_heard_meanwhile(
    shipping, shipping_as, order
):
    booked = book(shipping, order)
    unknown(lambda: shipping_as(url=NOBODY).cancel(order, key=f"{order}:c"))
    shipping.carrier.advance(booked.tracking)
    tell(shipping, hook(order, "handed_over", 2, booked.tracking))
    for _ in range(2):
        assert refusal(lambda: shipping.cancel(order, key=f"{order}:c")).code == "shipping.handed_over"
    assert shipping.get(order).status == "handed_over"


def test_a_cancellation_whose_answer_was_lost_is_done_once_asked_again(shipping, shipping_as, order):
    book(shipping, order)
    unknown(lambda: shipping_as(url=NOBODY).cancel(order, key=f"{order}:c"))
    shipping.carrier.cancel(f"{order}:b")
    assert shipping.cancel(order, key=f"{order}:c").status == "cancelled"


# --- holding and amending


def on_hold(shipping, order):
    """What we say, and what the carrier says."""
    return shipping.get(order).on_hold, shipping.carrier.status(f"{order}:b").on_hold


def test_a_parcel_on_hold_is_not_handed_over_until_it_is_let_go(shipping, order):
    tracking = book(shipping, order).tracking
    for _ in range(2):
        assert shipping.hold(order, key=f"{order}:h").on_hold
    assert refusal(lambda: shipping.advance(tracking, key=f"{order}:adv")).code == "shipping.on_hold"
    assert on_hold(shipping, order) == (True, True)
    for _ in range(2):
        shipping.unhold(order, key=f"{order}:h")
    assert on_hold(shipping, order) == (False, False)
    assert shipping.advance(tracking, key=f"{order}:adv2").status == "handed_over"


def test_a_parcel_that_was_handed_over_is_not_held_whether_we_know_it_or_not(shipping, order):
    tracking = book(shipping, order).tracking
    shipping.carrier.advance(tracking)
    assert refusal(lambda: shipping.hold(order, key=f"{order}:h1")).code == "shipping.handed_over"
    tell(shipping, hook(order, "handed_over", 2, tracking))
    assert refusal(lambda: shipping.hold(order, key=f"{order}:h2")).code == "shipping.handed_over"
    assert on_hold(shipping, order) == (False, False)


def test_a_hold_in_doubt_is_taken_back_before_it_comes(shipping, shipping_as, order):
    book(shipping, order)
    unknown(lambda: shipping_as(url=NOBODY).hold(order, key=f"{order}:h"))
    shipping.unhold(order, key=f"{order}:h")
    assert refusal(lambda: shipping.hold(order, key=f"{order}:h")).code == "saga.fenced"
    late = refusal(lambda: shipping.carrier.hold(f"{order}:h", f"{order}:b"))
    assert late.code == "shipping.released"
    assert on_hold(shipping, order) == (False, False)


def test_a_hold_that_is_under_way_when_it_is_taken_back_loses(shipping, shipping_as, order):
    book(shipping, order)
    slow = shipping_as()
    slow.carrier = Meddled(shipping.carrier, "/holds")
    slow.carrier.after = lambda: shipping.unhold(order, key=f"{order}:h")
    assert refusal(lambda: slow.hold(order, key=f"{order}:h")).code == "saga.fenced"
    assert on_hold(shipping, order) == (False, False)


def test_a_hold_is_ended_by_its_own_key_alone(shipping, order):
    book(shipping, order)
    shipping.hold(order, key=f"{order}:h")
    shipping.unhold(order, key=f"{order}:another")
    assert on_hold(shipping, order) == (True, True)


def addressed(shipping, order):
    parcels = shipping.carrier._company.call("GET", "/bookings?limit=1000").result(dict, {})["items"]
    return next((each["address"]["city"], each["parcels"]) for each in parcels if each["reference"] == order)


def test_an_amendment_sends_the_parcel_elsewhere_ends_its_hold_and_a_repeat_changes_nothing(shipping, order):
    tracking = book(shipping, order).tracking
    shipping.hold(order, key=f"{order}:h")
    paris = msgspec.structs.replace(PARIS, name="Grace")
    for _ in range(2):
        amended = shipping.amend(order, paris, 201, key=f"{order}:a")
        assert (amended.status, amended.tracking, amended.on_hold) == ("booked", tracking, False)
    assert addressed(shipping, order) == ("Paris", 3)
    assert on_hold(shipping, order) == (False, False)
    shipping.hold(order, key=f"{order}:h2")
    shipping.amend(order, paris, 201, key=f"{order}:a")
    shipping.carrier.amend(f"{order}:a", f"{order}:b", paris, 3)
    assert on_hold(shipping, order) == (True, True)
    shipping.unhold(order, key=f"{order}:h2")
    shipping.advance(tracking, key=f"{order}:adv")
    assert [each.name for each in told(shipping) if isinstance(each, OrderShipped)] == ["Grace"]


def test_an_amendment_whose_answer_was_lost_is_made_once(shipping, shipping_as, order):
    book(shipping, order)
    unknown(lambda: shipping_as(url=NOBODY).amend(order, PARIS, 1, key=f"{order}:a"))
    assert addressed(shipping, order) == ("Berlin", 1)
    assert not shipping.amend(order, PARIS, 1, key=f"{order}:a").on_hold
    assert addressed(shipping, order) == ("Paris", 1)


def test_an_amendment_before_its_booking_is_known_is_refused_and_may_succeed_later(shipping, shipping_as, order):
    unknown(lambda: book(shipping_as(url=NOBODY), order))
    assert refusal(lambda: shipping.hold(order, key=f"{order}:h")).code == "shipping.not_booked"
    assert refusal(lambda: shipping.amend(order, PARIS, 1, key=f"{order}:a")).code == "shipping.not_booked"
    book(shipping, order)
    assert addressed(shipping, order) == ("Berlin", 1)
    shipping.amend(order, PARIS, 1, key=f"{order}:a")
    assert addressed(shipping, order) == ("Paris", 1)


def test_a_parcel_that_has_left_is_not_sent_elsewhere(shipping, order):
    tracking = book(shipping, order).tracking
    assert refusal(lambda: shipping.amend(order, NOWHERE, 1, key=f"{order}:a0")).code == "shipping.not_serviceable"
    shipping.carrier.advance(tracking)
    assert refusal(lambda: shipping.amend(order, PARIS, 1, key=f"{order}:a")).code == "shipping.handed_over"
    assert addressed(shipping, order) == ("Berlin", 1)


def test_an_exchange_has_a_parcel_of_its_own_beside_its_orders(shipping, order):
    first = book(shipping, order)
    other = shipping.book(order, PARIS, 1, "ada@example.com", f"{order}-x", key=f"{order}:x")
    assert (other.order_id, other.parcel_id) == (order, f"{order}-x")
    assert other.tracking != first.tracking
    assert shipping.get(order) == first
    assert shipping.get(order, f"{order}-x") == other
    shipping.advance(other.tracking, key=f"{order}:adv")
    assert [(each.order_id, each.parcel_id, each.aggregate_id, each.sequence) for each in told(shipping)] == [
        (order, f"{order}-x", f"{order}-x", 1),
        (order, f"{order}-x", f"{order}-x", 2),
    ]
    assert state(shipping, order) == ("booked", first.tracking)


# --- compared with the carrier


def differences(shipping):
    """Those of the carrier's bookings that this database should know: the process serves all of these tests."""
    found = shipping.reconcile()
    mine = {each.booking_key for each in found.differences if each.parcel_id}
    return {each.booking_key: each for each in found.differences if each.booking_key in mine}


def test_books_that_agree_with_the_carriers_show_no_difference(shipping, shipping_as, order):
    tracking = book(shipping, order).tracking
    shipping.advance(tracking, key=f"{order}:adv")
    book(shipping, f"{order}-c")
    shipping.cancel(f"{order}-c", key=f"{order}:c")
    shipping.cancel(f"{order}-n", key=f"{order}:n")
    unknown(lambda: book(shipping_as(url=NOBODY), f"{order}-u"))
    assert differences(shipping) == {}
    assert shipping.reconcile().complete


def test_a_parcel_whose_news_were_lost_is_behind_and_is_refreshed(shipping, order):
    tracking = book(shipping, order).tracking
    for _ in range(3):
        shipping.carrier.advance(tracking)
    (found,) = differences(shipping).values()
    assert (found.parcel_id, found.order_id, found.ours, found.theirs, found.behind) == (
        order,
        order,
        "booked",
        "delivered",
        True,
    )
    assert found.since >= shipping.get(order).updated_at
    for _ in range(2):
        assert shipping.refresh(order).status == "delivered"
    assert differences(shipping) == {}
    assert summary(shipping) == ALL


def test_what_the_carrier_does_on_its_own_is_a_difference_and_is_not_glossed_over(shipping, order):
    for name in ("called-off", "held", "not-theirs"):
        book(shipping, f"{order}-{name}")
    shipping.carrier.cancel(f"{order}-called-off:b")
    shipping.carrier.hold(f"{order}:h", f"{order}-held:b")
    with shipping.db.write() as session:
        session.execute(
            update(Shipment).where(Shipment.parcel_id == f"{order}-not-theirs").values(booking_key=f"{order}:gone")
        )
    found = differences(shipping)
    assert {key: (each.ours, each.theirs, each.behind) for key, each in found.items()} == {
        f"{order}-called-off:b": ("booked", "cancelled", False),
        f"{order}-held:b": ("booked", "booked, on hold", False),
        f"{order}:gone": ("booked", None, False),
    }
    assert f"{order}-not-theirs:b" in [each.booking_key for each in _unknown_here(shipping)]


def _unknown_here(shipping):
    return [each for each in shipping.reconcile().differences if each.ours is None]


# --- on its way


def test_a_parcel_advances_state_by_state_and_tells_of_each_once(shipping, order):
    tracking = book(shipping, order).tracking
    seen = []
    for n in range(3):
        for _ in range(2):
            shipment = shipping.advance(tracking, key=f"{order}:adv{n}")
        seen.append(shipment.status)
    assert seen == ["handed_over", "in_transit", "delivered"]
    assert refusal(lambda: shipping.advance(tracking, key=f"{order}:adv3")).code == "shipping.delivered"
    assert summary(shipping) == ALL
    moved = [each.status for each in told(shipping) if isinstance(each, ShipmentMoved)]
    assert moved == ["handed_over", "in_transit", "delivered"]
    shipped = told(shipping)[1]
    assert (shipped.aggregate_id, shipped.order_id, shipped.tracking) == (order, order, tracking)
    assert (shipped.email, shipped.name) == ("ada@example.com", "Ada")


def test_its_own_signed_hooks_repeat_what_advance_told_and_change_nothing(shipping, carrier, order):
    tracking = book(shipping, order).tracking
    for n in range(3):
        shipping.advance(tracking, key=f"{order}:adv{n}")
    mine = lambda: [each for each in carrier.hooks.received if each.json["data"]["reference"] == order]  # noqa: E731
    wait_until(lambda: len(mine()) == 3)
    before = shipping.get(order)
    for each in [*reversed(mine()), *mine()]:
        shipping.carrier_hook(each.signature, each.body.decode())
    assert shipping.get(order) == before
    assert summary(shipping) == ALL


def test_its_own_signed_hooks_move_a_parcel_that_moves_by_itself(shipping, carrier, order):
    tracking = book(shipping, order).tracking
    for _ in range(2):
        shipping.carrier.advance(tracking)
    mine = lambda: [each for each in carrier.hooks.received if each.json["data"]["reference"] == order]  # noqa: E731
    wait_until(lambda: len(mine()) == 2)
    for each in mine():
        shipping.carrier_hook(each.signature, each.body.decode())
    assert state(shipping, order) == ("in_transit", tracking)
    assert summary(shipping) == [*ON_ITS_WAY, ("ShipmentMoved", 3)]


def test_a_hook_that_overtakes_another_tells_of_what_was_skipped_and_the_late_one_changes_nothing(shipping, order):
    tracking = book(shipping, order).tracking
    tell(shipping, hook(order, "delivered", 4, tracking))
    assert state(shipping, order) == ("delivered", tracking)
    assert summary(shipping) == ALL
    for status, sequence in (("in_transit", 3), ("handed_over", 2), ("booked", 1)):
        tell(shipping, hook(order, status, sequence, tracking))
    assert state(shipping, order) == ("delivered", tracking)
    assert summary(shipping) == ALL


def test_the_same_hook_again_changes_nothing_even_with_a_new_signature(shipping, order):
    tracking = book(shipping, order).tracking
    body = hook(order, "handed_over", 2, tracking, event_id="evt-1")
    for age in (0, -1, -2):
        tell(shipping, body, at=time.time() + age)
    assert summary(shipping) == ON_ITS_WAY


def test_hooks_may_come_before_the_answer_to_the_booking(shipping, shipping_as, order):
    unknown(lambda: book(shipping_as(url=NOBODY), order))
    tracking = shipping.carrier.book(f"{order}:b", BERLIN, order).tracking
    shipping.carrier.advance(tracking)
    tell(shipping, hook(order, "handed_over", 2, tracking))
    assert state(shipping, order) == ("handed_over", tracking)
    booked = book(shipping, order)
    assert (booked.status, booked.tracking) == ("handed_over", tracking)
    assert summary(shipping) == ON_ITS_WAY


def test_a_hook_of_a_parcel_that_is_not_ours_or_of_an_unknown_type_is_taken_and_changes_nothing(shipping, order):
    tracking = book(shipping, order).tracking
    tell(shipping, hook(order, "handed_over", 2, "RT9", key="somebody-elses"))
    tell(shipping, hook(order, "handed_over", 2, tracking, kind="parcel.weighed"))
    assert state(shipping, order) == ("booked", tracking)
    assert told(shipping) == []


@pytest.mark.parametrize("forged", ["secret", "body", "stale", "ahead", "empty"])
def test_a_hook_that_is_not_surely_the_carriers_is_refused_and_changes_nothing(shipping, order, forged):
    tracking = book(shipping, order).tracking
    body = hook(order, "handed_over", 2, tracking)
    at = time.time() + {"stale": -301, "ahead": 301}.get(forged, 0)
    signature = "" if forged == "empty" else sign("other" if forged == "secret" else "hook-secret", body.encode(), at)
    sent = body.replace("handed_over", "delivered") if forged == "body" else body
    assert refusal(lambda: shipping.carrier_hook(signature, sent)).code == "shipping.bad_signature"
    assert state(shipping, order) == ("booked", tracking)
    assert told(shipping) == []


# --- who may

CUSTOMER = Caller(customer_id="c1", roles=("customer",))
STAFF = Caller(customer_id="s1", roles=("staff",))


def test_a_customer_may_ask_for_a_quote_and_nothing_else(shipping, shipping_as, order):
    tracking = book(shipping, order).tracking
    customer = shipping_as(CUSTOMER)
    assert customer.quote(BERLIN, 1).price == Money(amount=490, currency="EUR")
    assert refusal(lambda: customer.get(order)).code == "shipping.not_found"
    for attempt in (
        lambda: book(customer, f"{order}-x"),
        lambda: customer.cancel(order, key=f"{order}:c"),
        lambda: shipping_as(STAFF).cancel(order, key=f"{order}:c"),
        lambda: customer.hold(order, key=f"{order}:h"),
        lambda: customer.amend(order, PARIS, 1, key=f"{order}:a"),
        lambda: customer.refresh(order),
        customer.reconcile,
        lambda: customer.advance(tracking, key=f"{order}:adv"),
    ):
        assert refusal(attempt).code == "auth.forbidden"
    assert state(shipping, order) == ("booked", tracking)


def test_staff_see_and_move_a_shipment(shipping, shipping_as, order):
    tracking = book(shipping, order).tracking
    staff = shipping_as(STAFF)
    assert staff.get(order).status == "booked"
    assert staff.advance(tracking, key=f"{order}:adv").status == "handed_over"
