"""Repair by reconciliation on a real database: what is safe is mended once, the rest is an incident, once each."""

import contextlib
import uuid
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import insert, update

from chassis.context import Call
from chassis.db import WorkerDatabase, now, shift_clock
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.leases import take_lease
from chassis.tables import saga as saga_table
from chassis.types import Caller, Money
from contracts import payments, shipping
from contracts.common import Address, Line, PaymentMethod
from contracts.inventory import OpenReservation, StockAudit
from services.orders import amendments, store
from services.orders.domain import Placed
from services.orders.models import Order
from services.orders.repair import DIFFERENCES, RepairSettings
from services.orders.saga import PLACE_ORDER
from services.orders.service import OrdersService
from services.orders.terms import CancelTerms

SETTLE = timedelta(seconds=60)
SETTINGS = RepairSettings(
    repair_interval_s=300,
    repair_settle_s=SETTLE.total_seconds(),
    repair_limit_s=60,
    repair_call_timeout_ms=1000,
    repair_keep_s=86_400,
)
LAMPS = [Line(sku="LAMP-1", quantity=2)]
ADDRESS = Address(name="Ada", line1="Street 1", city="Berlin", postal_code="10115", country="DE")
EUROS = Money(amount=4488, currency="EUR")


def long_ago():
    return datetime.now(UTC) - timedelta(days=1)


class Asked:
    """A service that orders asks. `fails` makes every call an unknown outcome; `calls` are those that mend."""

    def __init__(self):
        self.differences, self.complete, self.fails, self.calls, self.on_ask = [], True, False, [], lambda: None

    def tuned(self, caller, timeout_s=None):
        assert caller.service == "orders"
        return self

    def _ask(self):
        self.on_ask()
        if self.fails:
            raise OutcomeUnknown("test", "no answer")


class Payments(Asked):
    refusal = None
    in_vain = False
    broken = ()

    def orphan(self, key="a1", order_id=None, since=None):
        self.differ(key=key, kind="authorize", ours=None, theirs=4488, order_id=order_id, since=since)

    def differ(self, since=None, order_id=None, **values):
        self.differences.append(payments.Difference(since=since or long_ago(), order_id=order_id, **values))

    def reconcile(self):
        self._ask()
        return payments.Reconciliation(
            compared=9, count=len(self.differences), differences=list(self.differences), complete=self.complete
        )

    def audit_gift_cards(self):
        return payments.GiftCardAudit(cards=1, broken=list(self.broken))

    def void_unowned(self, authorize_key, *, key):
        if self.refusal:
            raise ServiceError(self.refusal, "refused by the test")
        self.calls.append((authorize_key, key))
        self._mended(authorize_key)

    def refresh_dispute(self, dispute_id):
        self.calls.append(dispute_id)
        self._mended(dispute_id)

    def _mended(self, key):
        if not self.in_vain:
            self.differences = [each for each in self.differences if each.key != key]


class Inventory(Asked):
    broken = ()

    def hold(self, order_id, since=None):
        self.differences.append(OpenReservation(order_id=order_id, lines=LAMPS, created_at=since or long_ago()))

    def audit(self):
        self._ask()
        return StockAudit(skus=1, broken=list(self.broken), open=list(self.differences))

    def release(self, order_id, lines, *, key):
        self.calls.append((order_id, lines, key))
        self.differences = [each for each in self.differences if each.order_id != order_id]


class Shipping(Asked):
    def differ(self, **values):
        known = dict(parcel_id=None, order_id=None, booking_key="b1", ours=None, theirs="booked", since=long_ago())
        self.differences.append(shipping.Difference(**known | values))

    def reconcile(self):
        self._ask()
        return shipping.Reconciliation(
            compared=9, count=len(self.differences), differences=list(self.differences), complete=self.complete
        )

    def refresh(self, parcel_id):
        self.calls.append(parcel_id)
        self.differences = [each for each in self.differences if each.parcel_id != parcel_id]


class Sagas:
    definitions = {(PLACE_ORDER.name, PLACE_ORDER.version): PLACE_ORDER}


class Shop:
    """Orders' instances on one database, with the services that they ask."""

    def __init__(self, sessions):
        self.sessions = sessions
        self.payments, self.inventory, self.shipping = Payments(), Inventory(), Shipping()
        self.open = contextlib.ExitStack()

    def instance(self, caller=None, settings=SETTINGS):
        database = WorkerDatabase(self.sessions.factory)
        self.open.callback(database.close)
        return worker_factory(
            OrdersService,
            db=database,
            call=Call(trace_id="t", caller=caller),
            sagas=Sagas(),
            repairs=settings,
            payments=self.payments,
            inventory=self.inventory,
            shipping=self.shipping,
        )

    def order(self, status, saga_status=None):
        """An order in a state, which it has had for long; answers its id and its saga's."""
        order_id, saga_id = uuid.uuid4().hex, uuid.uuid4().hex
        row = dict(
            id=order_id,
            customer_id="c",
            cart_id=uuid.uuid4().hex,
            saga_id=saga_id,
            status=status,
            email="ada@x.example",
            name="Ada",
            address={},
            lines=[],
            currency="EUR",
            items_amount=1,
            shipping_amount=1,
            tax_amount=0,
            total_amount=2,
            payment_method="card",
        )
        with self.sessions.write() as session:
            store.add(session, row)
            session.execute(update(Order).where(Order.id == order_id).values(updated_at=long_ago()))
            if saga_status:
                self._saga(session, order_id, saga_id, saga_status)
        return order_id, saga_id

    def _saga(self, session, order_id, saga_id, status):
        data = Placed(
            order_id=order_id,
            customer_id="c",
            email="ada@x.example",
            name="Ada",
            lines=LAMPS,
            total=EUROS,
            method=PaymentMethod(token="tok_visa"),
            address=ADDRESS,
            items=2,
        )
        at = long_ago()
        of = dict(name=PLACE_ORDER.name, version=PLACE_ORDER.version, key=order_id)
        row = dict(of, id=saga_id, status=status, stage=0, trace_id="t", ver=1)
        more = dict(context=msgspec.json.encode(data).decode(), steps={}, deadline=at, wake_at=at)
        session.execute(insert(saga_table).values(**row, **more, created_at=at, updated_at=at))

    def amendment(self, order_id, status):
        amendment_id = uuid.uuid4().hex
        with self.sessions.write() as session:
            terms = CancelTerms(reason="no more")
            amendments.add(session, amendment_id, order_id, "cancel", uuid.uuid4().hex, terms, status)
            amendments.change(session, amendment_id)
            session.execute(
                update(amendments.Amendment)
                .where(amendments.Amendment.id == amendment_id)
                .values(updated_at=long_ago(), closed_at=None)
            )
        return amendment_id


@pytest.fixture
def shop(sessions):
    shop = Shop(sessions("orders"))
    with shop.open:
        yield shop


def seen(service, *states):
    found = [each for state in states or ("open", "mended", "gone") for each in service.incidents(state)]
    return sorted((each.kind, each.subject, each.state) for each in found)


# --- what is mended


def test_an_authorisation_that_nobody_owns_is_voided_once(shop):
    shop.payments.orphan("a1", order_id="of-nobody")
    service = shop.instance()
    first = service.repair()
    assert [(each.kind, each.subject, each.order_id) for each in first.mended] == [
        ("payment", "authorize a1", "of-nobody")
    ]
    assert first.mended[0].detail == "nothing in our books, 4488 in the acquirer's"
    assert first.mended[0].mended_at is not None
    again = service.repair()
    assert (first.incidents, again.incidents, again.mended, again.unasked) == ([], [], [], [])
    assert [key for key, _ in shop.payments.calls] == ["a1"]
    assert seen(service) == [("payment", "authorize a1", "mended")]


def test_units_of_a_saga_that_gave_back_all_are_released_by_its_own_undo(shop):
    order_id, saga_id = shop.order("rejected", "compensated")
    shop.inventory.hold(order_id)
    service = shop.instance()
    service.repair()
    assert shop.inventory.calls == [(order_id, LAMPS, f"{saga_id}:reserve_stock")]
    assert seen(service) == [("stock", f"reservation {order_id}", "mended")]


def test_a_parcel_whose_news_were_lost_is_refreshed_each_time_that_it_falls_behind(shop):
    order_id, _ = shop.order("confirmed")
    service = shop.instance()
    for ours, theirs in (("booked", "handed_over"), ("handed_over", "delivered")):
        shop.shipping.differ(parcel_id=order_id, order_id=order_id, ours=ours, theirs=theirs, behind=True)
        service.repair()
    assert shop.shipping.calls == [order_id, order_id]
    assert seen(service) == [("parcel", "booking b1", "mended")]


@pytest.mark.parametrize("kind", ["dispute", "dispute_won", "dispute_lost"])
def test_a_dispute_whose_news_were_lost_is_asked_for(shop, kind):
    shop.payments.differ(key="dp_1", kind=kind, ours=None, theirs=700)
    service = shop.instance()
    assert [each.subject for each in service.repair().mended] == [f"{kind} dp_1"]
    assert shop.payments.calls == ["dp_1"]
    assert seen(service) == [("payment", f"{kind} dp_1", "mended")]


def test_a_dispute_that_only_we_believe_in_is_left_to_an_operator(shop):
    shop.payments.differ(key="dp_1", kind="dispute", ours=700, theirs=None)
    service = shop.instance()
    assert service.repair().mended == []
    assert shop.payments.calls == []
    assert seen(service) == [("payment", "dispute dp_1", "open")]


# --- what is not


def test_what_cannot_be_mended_safely_is_one_incident_however_often_it_is_seen(shop):
    confirmed, _ = shop.order("confirmed", "completed")
    shop.payments.differ(key="c1", kind="capture", ours=500, theirs=400)
    shop.payments.broken = ("g1",)
    shop.inventory.hold(confirmed)
    shop.inventory.hold("of-nobody")
    shop.inventory.broken = ("LAMP-1",)
    shop.shipping.differ(booking_key="not-ours")
    shop.shipping.differ(booking_key="b2", parcel_id=confirmed, order_id=confirmed, ours="booked", theirs="cancelled")
    service = shop.instance()
    runs = []
    for hours in range(3):
        shift_clock(timedelta(hours=hours))
        runs.append(service.repair())
    assert seen(service) == sorted(
        [
            ("payment", "capture c1", "open"),
            ("payment", "gift_card g1", "open"),
            ("stock", f"reservation {confirmed}", "open"),
            ("stock", "reservation of-nobody", "open"),
            ("stock", "sku LAMP-1", "open"),
            ("parcel", "booking not-ours", "open"),
            ("parcel", "booking b2", "open"),
        ]
    )
    assert all(each.first_seen < runs[1].at <= runs[2].at <= each.last_seen for each in service.incidents())
    assert (shop.payments.calls, shop.inventory.calls, shop.shipping.calls) == ([], [], [])


@pytest.mark.parametrize("code", ["payments.owned", "payments.captured"])
def test_a_refused_mend_is_an_incident(shop, code):
    shop.payments.orphan()
    shop.payments.refusal = code
    service = shop.instance()
    assert [each.subject for each in service.repair().incidents] == ["authorize a1"]
    shop.payments.refusal = None
    assert [each.subject for each in service.repair().mended] == ["authorize a1"]
    assert seen(service) == [("payment", "authorize a1", "mended")]


def test_what_was_mended_in_vain_is_an_incident_and_not_mended_for_ever(shop):
    shop.payments.orphan()
    shop.payments.in_vain = True
    service = shop.instance()
    states = []
    for _ in range(3):
        service.repair()
        states.append(seen(service))
    assert states == [[("payment", "authorize a1", state)] for state in ("mended", "open", "open")]
    assert len(shop.payments.calls) == 1


def test_an_incident_that_is_not_seen_any_more_is_gone_and_open_again_when_it_comes_back(shop):
    shop.shipping.differ()
    service = shop.instance()
    service.repair()
    shop.shipping.differences.clear()
    service.repair()
    assert seen(service) == [("parcel", "booking b1", "gone")]
    shop.shipping.differ()
    service.repair()
    assert seen(service) == [("parcel", "booking b1", "open")]


# --- what does not count


def test_what_is_younger_than_the_settle_time_does_not_count_yet(shop):
    with shop.sessions.read() as session:
        fresh = now(session)
    shop.payments.orphan(since=fresh)
    shop.inventory.hold("of-nobody", since=fresh)
    shop.shipping.differ(since=fresh)
    service = shop.instance()
    service.repair()
    assert seen(service) == []
    shift_clock(SETTLE + timedelta(seconds=1))
    service.repair()
    assert [state for *_, state in seen(service)] == ["open", "mended", "open"]


@pytest.mark.parametrize("status", ["pending", "rejecting", "cancelling"])
def test_what_a_running_saga_explains_does_not_count(shop, status):
    order_id, _ = shop.order(status, "running")
    shop.payments.orphan(order_id=order_id)
    shop.inventory.hold(order_id)
    shop.shipping.differ(parcel_id=order_id, order_id=order_id, ours="booked", behind=True)
    service = shop.instance()
    service.repair()
    assert seen(service) == []
    assert (shop.payments.calls, shop.inventory.calls, shop.shipping.calls) == ([], [], [])


@pytest.mark.parametrize(("status", "counted"), [("pending", 0), ("settling", 0), ("waiting", 3), ("settled", 3)])
def test_what_an_amendment_at_work_explains_does_not_count(shop, status, counted):
    order_id, _ = shop.order("confirmed")
    amendment_id = shop.amendment(order_id, status)
    shop.payments.differ(key="c1", kind="capture", ours=1, theirs=2, order_id=order_id)
    shop.inventory.hold(amendment_id)
    shop.shipping.differ(parcel_id=order_id, order_id=order_id, ours="booked", theirs="booked, on hold")
    service = shop.instance()
    service.repair()
    assert len(seen(service)) == counted


def test_what_a_saga_explained_until_lately_does_not_count(shop):
    """The others were asked one after the other: what they said may be older than the order's end."""
    order_id, _ = shop.order("rejected", "compensated")
    shop.inventory.hold(order_id)
    with shop.sessions.write() as session:
        session.execute(update(Order).where(Order.id == order_id).values(updated_at=now(session)))
    service = shop.instance()
    service.repair()
    assert (seen(service), shop.inventory.calls) == ([], [])
    shift_clock(SETTLE + timedelta(seconds=1))
    service.repair()
    assert seen(service) == [("stock", f"reservation {order_id}", "mended")]


def test_a_service_that_does_not_answer_leaves_its_incidents_as_they_are(shop):
    for asked in (shop.payments, shop.shipping):
        asked.differ(**({"key": "c1", "kind": "capture", "ours": 1, "theirs": 2} if asked is shop.payments else {}))
    service = shop.instance()
    service.repair()
    shop.payments.differences.clear()
    shop.shipping.differences.clear()
    shop.payments.fails = True
    assert service.repair().unasked == ["payment"]
    assert seen(service) == [("parcel", "booking b1", "gone"), ("payment", "capture c1", "open")]


def test_a_comparison_that_is_not_whole_closes_nothing(shop):
    shop.shipping.differ()
    service = shop.instance()
    service.repair()
    shop.shipping.differences.clear()
    shop.shipping.complete = False
    service.repair()
    assert seen(service) == [("parcel", "booking b1", "open")]


# --- who does it, and when


def test_two_instances_do_not_repair_at_once(shop):
    shop.payments.orphan()
    one, other = shop.instance(), shop.instance()
    refusals = []

    def meanwhile():
        with pytest.raises(ServiceError) as refusal:
            other.repair()
        refusals.append(refusal.value.code)
        other.repair_in_turn()

    shop.payments.on_ask = meanwhile
    assert len(one.repair().mended) == 1
    assert refusals == ["orders.repair_running"]
    assert len(shop.payments.calls) == 1
    shop.payments.on_ask = lambda: None
    assert other.repair().mended == []


def test_a_run_that_died_is_taken_over_when_its_time_is_up(shop):
    service = shop.instance()
    with shop.sessions.write() as session:
        assert take_lease(session, "repair", "one that died", timedelta(seconds=61))
    with pytest.raises(ServiceError, match=r"orders\.repair_running"):
        service.repair()
    shift_clock(timedelta(seconds=62))
    assert service.repair().unasked == []


def test_in_each_interval_one_instance_repairs_and_all_tell_the_metric(shop):
    shop.shipping.differ()
    asked = []
    shop.payments.on_ask = lambda: asked.append(1)
    instances = [shop.instance(), shop.instance()]
    for turn, seconds in ((1, 0), (2, 300)):
        shift_clock(timedelta(seconds=seconds))
        for service in instances:
            DIFFERENCES.labels("parcel").set(-1)
            service.repair_in_turn()
            assert DIFFERENCES.labels("parcel")._value.get() == 1
        assert len(asked) == turn
    assert DIFFERENCES.labels("payment")._value.get() == 0


def test_incidents_that_are_over_are_forgotten_after_their_time(shop):
    shop.payments.orphan()
    shop.shipping.differ()
    service = shop.instance()
    service.repair()
    shift_clock(timedelta(days=1, seconds=1))
    service.repair()
    assert seen(service) == [("parcel", "booking b1", "open")]


def test_only_an_operator_sees_incidents_and_repairs(shop):
    shop.payments.orphan()
    staff = shop.instance(Caller(customer_id="s", roles=("staff",)))
    for attempt in (staff.repair, staff.incidents):
        with pytest.raises(ServiceError, match=r"auth\.forbidden"):
            attempt()
    assert shop.payments.calls == []
    operator = shop.instance(Caller(customer_id="o", roles=("operator",)))
    assert len(operator.repair().mended) == 1
