"""carts on a real database: nobody else's cart, nothing lost at log-in, nothing kept that was ordered."""

from datetime import timedelta

import eventlet
import pytest
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.services import worker_factory
from sqlalchemy import func, select, text

from chassis.context import Call
from chassis.db import WorkerDatabase, shift_clock
from chassis.errors import ServiceError
from chassis.tables import inbox
from chassis.types import Caller
from contracts.common import CartRef, Line
from services.carts.models import Cart
from services.carts.service import CartSettings, CartsService

LAMP, DESK = "LAMP-1", "DESK-1"
ANNA = CartRef(customer_id="anna")
SETTINGS = CartSettings(guest_cart_s=3600, cart_sweep_s=300)


def service_of(database, caller=None):
    return worker_factory(CartsService, db=database, call=Call(trace_id="t", caller=caller), settings=SETTINGS)


@pytest.fixture
def database(open_database):
    return open_database("carts")


@pytest.fixture
def carts(database):
    return service_of(database)


@pytest.fixture
def guest(carts):
    return CartRef(token=carts.create_guest(key="g").cart_token)


def pairs(cart):
    return [(line.sku, line.quantity) for line in cart.lines]


def rows(database):
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Cart))


def test_a_customer_who_never_put_anything_has_an_empty_cart(carts, database):
    cart = carts.get(ANNA)
    assert (cart.id, cart.lines, cart.version) == ("", [], 0)
    assert carts.put_item(ANNA, LAMP, 0, key="k") == cart
    assert rows(database) == 0


def test_put_makes_one_cart_and_counts_its_versions(carts, database):
    first = carts.put_item(ANNA, LAMP, 2, key="k1")
    second = carts.put_item(ANNA, DESK, 1, key="k2")
    third = carts.put_item(ANNA, LAMP, 5, key="k3")
    assert first.id == second.id == third.id != ""
    assert [first.version, second.version, third.version] == [1, 2, 3]
    assert pairs(third) == [(LAMP, 5), (DESK, 1)]
    assert carts.get(ANNA) == third
    assert rows(database) == 1


def test_a_put_that_changes_nothing_keeps_the_version(carts):
    carts.put_item(ANNA, LAMP, 2, key="k1")
    assert carts.put_item(ANNA, LAMP, 2, key="k2").version == 1
    assert carts.put_item(ANNA, DESK, 0, key="k3").version == 1


def test_a_repeated_put_answers_the_same_and_does_not_come_back_over_a_later_one(carts):
    first = carts.put_item(ANNA, LAMP, 2, key="k1")
    later = carts.put_item(ANNA, LAMP, 9, key="k2")
    assert carts.put_item(ANNA, LAMP, 2, key="k1") == first
    assert carts.get(ANNA) == later


def test_quantity_zero_removes_and_a_line_put_again_goes_to_the_end(carts):
    for number, (sku, quantity) in enumerate([(LAMP, 1), (DESK, 1), (LAMP, 0), (LAMP, 3)]):
        cart = carts.put_item(ANNA, sku, quantity, key=f"k{number}")
    assert pairs(cart) == [(DESK, 1), (LAMP, 3)]


@pytest.mark.parametrize("quantity", [-1, 1000, 1.5, "2", True, None])
def test_a_quantity_that_is_no_count_up_to_999_is_refused(carts, quantity):
    with pytest.raises(ServiceError) as refusal:
        carts.put_item(ANNA, LAMP, quantity, key="k")
    assert refusal.value.code == "request.invalid"
    assert carts.get(ANNA).lines == []


def test_the_hundred_and_first_line_is_refused_and_changes_nothing(carts):
    for number in range(100):
        full = carts.put_item(ANNA, f"S-{number}", 1, key=f"k{number}")
    with pytest.raises(ServiceError) as refusal:
        carts.put_item(ANNA, "S-100", 1, key="k100")
    assert refusal.value.code == "carts.too_many_lines"
    assert carts.get(ANNA) == full


def test_a_guests_token_cannot_be_guessed_and_is_nowhere_at_rest(carts, database):
    token = carts.create_guest(key="k").cart_token
    assert len(token) == 43
    assert carts.create_guest(key="k").cart_token != token
    carts.put_item(CartRef(token=token), LAMP, 1, key="p")
    with database.read() as session:
        tables = [session.execute(select(Cart.__table__)).all(), session.execute(select(inbox)).all()]
    assert (len(tables[0]), len(tables[1])) == (2, 1)
    assert token not in repr(tables)


def test_an_unknown_token_is_not_found(carts):
    for call in (
        lambda: carts.get(CartRef(token="nobody's")),
        lambda: carts.put_item(CartRef(token="nobody's"), LAMP, 1, key="k"),
        lambda: carts.get(CartRef(token="é" * 10_000)),
    ):
        with pytest.raises(ServiceError) as refusal:
            call()
        assert refusal.value.code == "carts.not_found"


@pytest.mark.parametrize("ref", [CartRef(), CartRef(customer_id="anna", token="t")])
def test_a_reference_says_either_customer_or_token(carts, ref):
    for call in (lambda: carts.get(ref), lambda: carts.put_item(ref, LAMP, 1, key="k")):
        with pytest.raises(ServiceError) as refusal:
            call()
        assert refusal.value.code == "request.invalid"


def test_another_customers_cart_is_not_found_and_stays_as_it_was(carts, database, guest):
    before = carts.put_item(ANNA, LAMP, 2, key="k1")
    carts.put_item(guest, LAMP, 1, key="k2")
    berta = service_of(database, Caller(customer_id="berta", roles=("customer",)))
    for call in (
        lambda: berta.get(ANNA),
        lambda: berta.put_item(ANNA, LAMP, 1, key="k3"),
        lambda: berta.merge("anna", guest.token, key="k4"),
    ):
        with pytest.raises(ServiceError) as refusal:
            call()
        assert refusal.value.code == "carts.not_found"
    with pytest.raises(ServiceError) as refusal:
        berta.remove_ordered("berta", [], key="k5")
    assert refusal.value.code == "auth.forbidden"
    assert carts.get(ANNA) == before
    assert pairs(carts.get(guest)) == [(LAMP, 1)]


@pytest.mark.parametrize("customer_id", ["", "x" * 65])
def test_an_id_that_no_customer_can_have_has_no_cart(carts, customer_id):
    with pytest.raises(ServiceError) as refusal:
        carts.get(CartRef(customer_id=customer_id))
    assert refusal.value.code == "carts.not_found"


def test_customers_and_guests_reach_their_own(database):
    anna = service_of(database, Caller(customer_id="anna", roles=("customer",)))
    nobody = service_of(database, Caller())
    guest = CartRef(token=nobody.create_guest(key="g").cart_token)
    assert nobody.put_item(guest, DESK, 1, key="k1").version == 1
    assert pairs(anna.put_item(ANNA, LAMP, 2, key="k2")) == [(LAMP, 2)]
    assert pairs(anna.merge("anna", guest.token, key="k3")) == [(LAMP, 2), (DESK, 1)]


def test_merge_adds_up_and_the_guests_cart_is_gone(carts, database, guest):
    mine = carts.put_item(ANNA, LAMP, 998, key="k1")
    carts.put_item(guest, DESK, 2, key="k2")
    carts.put_item(guest, LAMP, 5, key="k3")
    both = carts.merge("anna", guest.token, key="m")
    assert (both.id, both.version, pairs(both)) == (mine.id, mine.version + 1, [(LAMP, 999), (DESK, 2)])
    assert carts.merge("anna", guest.token, key="m") == both
    assert carts.merge("anna", guest.token, key="m2") == both
    with pytest.raises(ServiceError, match=r"carts\.not_found"):
        carts.get(guest)
    assert rows(database) == 1


def test_merge_of_an_unknown_cart_changes_nothing(carts, database):
    assert (carts.merge("anna", "nobody's", key="m1").id, rows(database)) == ("", 0)
    mine = carts.put_item(ANNA, LAMP, 1, key="k1")
    assert carts.merge("anna", "nobody's", key="m2") == mine


def test_merge_keeps_the_customers_lines_where_both_do_not_fit(carts, guest):
    carts.put_item(ANNA, LAMP, 1, key="k1")
    for number in range(100):
        carts.put_item(guest, f"S-{number}", 1, key=f"g{number}")
    both = carts.merge("anna", guest.token, key="m")
    assert pairs(both) == [(LAMP, 1), *((f"S-{number}", 1) for number in range(99))]


def test_a_guest_merged_by_two_log_ins_at_once_counts_once(carts, database, guest):
    carts.put_item(ANNA, LAMP, 1, key="k1")
    carts.put_item(guest, LAMP, 2, key="k2")

    def merge(key):
        own = WorkerDatabase(database.Session)
        try:
            return service_of(own).merge("anna", guest.token, key=key)
        finally:
            own.close()

    threads = [eventlet.spawn(merge, f"m{number}") for number in range(5)]
    assert [pairs(thread.wait()) for thread in threads] == [[(LAMP, 3)]] * 5


def test_first_puts_at_once_end_up_in_one_cart(database):
    def put(number):
        own = WorkerDatabase(database.Session)
        try:
            return service_of(own).put_item(ANNA, f"S-{number}", 1, key=f"k{number}")
        finally:
            own.close()

    threads = [eventlet.spawn(put, number) for number in range(6)]
    assert sorted(thread.wait().version for thread in threads) == [1, 2, 3, 4, 5, 6]
    assert rows(database) == 1


def test_what_was_ordered_goes_once_and_what_came_since_stays(carts):
    carts.put_item(ANNA, LAMP, 3, key="k1")
    carts.put_item(ANNA, DESK, 1, key="k2")
    ordered = [Line(sku=LAMP, quantity=3), Line(sku=DESK, quantity=1)]
    carts.put_item(ANNA, LAMP, 5, key="k3")
    carts.remove_ordered("anna", ordered, key="o1:clear_cart")
    carts.remove_ordered("anna", ordered, key="o1:clear_cart")
    cart = carts.get(ANNA)
    assert (pairs(cart), cart.version) == ([(LAMP, 2)], 4)


def test_clearing_the_cart_of_somebody_without_one_does_nothing(carts, database):
    carts.remove_ordered("anna", [Line(sku=LAMP, quantity=1)], key="o1:clear_cart")
    assert rows(database) == 0


def test_the_sweep_removes_guests_carts_that_nobody_changed(carts, database, guest):
    carts.put_item(ANNA, LAMP, 1, key="k1")
    shift_clock(timedelta(seconds=3000))
    carts.put_item(guest, LAMP, 1, key="k2")
    carts.create_guest(key="g2")
    shift_clock(timedelta(seconds=3700))
    carts.sweep()
    assert rows(database) == 3
    shift_clock(timedelta(seconds=6605))
    carts.sweep()
    assert rows(database) == 1
    assert pairs(carts.get(ANNA)) == [(LAMP, 1)]


def test_there_is_one_sweep_in_its_time(carts, database, guest):
    shift_clock(timedelta(seconds=3601))
    carts.sweep()
    assert rows(database) == 0
    carts.create_guest(key="g2")
    with database.write() as session:
        session.execute(text("UPDATE cart SET changed_at = '2020-01-01 00:00:00+00:00'"))
    carts.sweep()
    assert rows(database) == 1
    shift_clock(timedelta(seconds=3905))
    carts.sweep()
    assert rows(database) == 0


def test_a_stock_client_uses_it_over_the_broker(container_factory, migrated_config):
    container_factory(CartsService, migrated_config).start()
    with ServiceRpcProxy("carts", migrated_config, timeout=10) as proxy:
        token = proxy.create_guest(key="g")["cart_token"]
        proxy.put_item({"token": token}, LAMP, 2, key="k1")
        cart = proxy.merge("anna", token, key="m")
        assert cart["lines"] == [{"sku": LAMP, "quantity": 2}]
        assert proxy.get({"customer_id": "anna"}) == cart
