"""What services keep about customers: told, erased, and outlived, on SQLite and PostgreSQL."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from nameko.exceptions import ConfigurationError

from chassis.db import shift_clock
from chassis.errors import ServiceError
from chassis.privacy_types import Erased, Person
from chassis.prune import Pruner
from contracts.common import CartRef
from services.carts.privacy import KINDS
from tests.component.test_carts import LAMP, pairs, service_of

ANNA, BEN = Person(customer_id="anna", email="anna@x.example"), Person(customer_id="ben", email="ben@x.example")


def cart_of(person):
    return CartRef(customer_id=person.customer_id)


@pytest.fixture
def database(open_database):
    return open_database("carts")


@pytest.fixture
def carts(database):
    carts = service_of(database)
    for person in (ANNA, BEN):
        carts.put_item(cart_of(person), LAMP, 2, key=person.customer_id)
    return carts


def refusal(call):
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value.code


def pruner(database, **days):
    made = Pruner(kinds=KINDS)
    made.container = SimpleNamespace(config={"retention_days": {"carts": days}}, service_name="carts")
    made.setup()
    made.sessions = database
    return made


def test_a_customer_is_told_what_is_kept_about_them_alone(carts):
    page = carts.personal_data(ANNA)
    assert [(item.kind, item.data["lines"]) for item in page.items] == [("cart", [[LAMP, 2]])]
    assert page.next_after is None


def test_pages_go_on_where_the_last_one_ended(carts):
    page = carts.personal_data(ANNA, limit=1)
    assert len(page.items) == 1
    assert carts.personal_data(ANNA, after=page.next_after).items == []
    assert refusal(lambda: carts.personal_data(ANNA, after="nonsense")) == "privacy.bad_cursor"


def test_nothing_new_begins_for_who_is_leaving_until_they_stay(carts):
    carts.begin_erasure(ANNA, key="e")
    assert refusal(lambda: carts.put_item(cart_of(ANNA), LAMP, 1, key="k")) == "privacy.leaving"
    assert pairs(carts.put_item(cart_of(BEN), LAMP, 1, key="b")) == [(LAMP, 1)]
    carts.cancel_erasure(person=ANNA, key="e")
    assert pairs(carts.put_item(cart_of(ANNA), LAMP, 3, key="k2")) == [(LAMP, 3)]


def test_who_is_erased_is_gone_and_nobody_else(carts):
    carts.begin_erasure(ANNA, key="e")
    assert carts.erase(ANNA, key="e2") == Erased(rows={"cart": 1})
    assert carts.erase(ANNA, key="e3") == Erased(rows={"cart": 0})
    assert carts.personal_data(ANNA).items == []
    assert len(carts.personal_data(BEN).items) == 1
    assert refusal(lambda: carts.put_item(cart_of(ANNA), LAMP, 1, key="k")) == "privacy.leaving"


def test_what_is_old_goes_by_the_days_of_its_kind(carts, database):
    prune = pruner(database, cart=20)
    assert prune.prune() == 0
    shift_clock(timedelta(days=21))
    assert prune.prune() == 2
    assert carts.personal_data(ANNA).items == []


def test_days_for_what_is_not_kept_are_refused_with_a_sentence(database):
    with pytest.raises(ConfigurationError, match="carts keeps nothing for some days that is called trolley"):
        pruner(database, trolley=30)
