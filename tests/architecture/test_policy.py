"""Who may call a route, and what it takes, is said in its decorator. Every refusal has a status."""

import msgspec
import pytest

from chassis.openapi import routes_of
from chassis.routes import UNSAFE
from chassis.types import CUSTOMER, OPERATOR, STAFF
from edge.errors import STATUS
from gateway import GatewayService
from tests.contract.services import SERVICES, promised

PUBLIC = {
    "POST /v1/users",
    "POST /v1/sessions",
    "POST /v1/sessions/refresh",
    "POST /v1/carts",
    "POST /v1/conversations",
    "GET /v1/articles",
    "GET /v1/articles/{topic}",
    "POST /v1/hooks/acquirer",
    "POST /v1/hooks/carrier",
    "POST /v1/hooks/bank",
    "GET /v1/erasures/{erasure_id}",
    "GET /v1/products",
    "GET /v1/products/{product_id}",
    "GET /v1/categories",
    "GET /v1/health",
    "GET /v1/ready",
    "GET /v1/openapi.json",
    "GET /",
    "GET /web/{name}",
}
"""Open to everybody, on purpose."""
SIGNED = {"POST /v1/hooks/acquirer", "POST /v1/hooks/carrier", "POST /v1/hooks/bank"}
ROUTES = {f"{route.method} {route.path}": (route, function) for route, function in routes_of(GatewayService)}
UNSAFE_ROUTES = [name for name, (route, _) in ROUTES.items() if route.method in UNSAFE]
CODES = {code for service in SERVICES for method in promised(service).values() for code in method.__refusals__}


def structs_in(described):
    """Every Struct that a type consists of."""
    found = {}
    waiting = [described]
    while waiting:
        each = waiting.pop()
        if isinstance(each, msgspec.inspect.StructType):
            if each.cls in found:
                continue
            found[each.cls] = each
            waiting += [field.type for field in each.fields]
        elif isinstance(each, msgspec.inspect.UnionType):
            waiting += each.types
        elif isinstance(each, msgspec.inspect.CollectionType):
            waiting.append(each.item_type)
        elif isinstance(each, msgspec.inspect.DictType):
            waiting += [each.key_type, each.value_type]
    return found


def test_what_needs_no_caller_is_what_was_meant_to_need_none():
    assert {name for name, (route, _) in ROUTES.items() if route.role is None and not route.guest} == PUBLIC


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_asks_for_a_role_that_there_is(name):
    assert ROUTES[name][0].role in (None, CUSTOMER, STAFF, OPERATOR)


@pytest.mark.parametrize("name", ROUTES)
def test_a_guest_may_do_only_what_a_customer_may(name):
    route, _ = ROUTES[name]
    assert not route.guest or route.role == CUSTOMER


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_is_explained(name):
    assert (ROUTES[name][1].__doc__ or "").strip()


@pytest.mark.parametrize("name", UNSAFE_ROUTES)
def test_a_route_that_changes_something_takes_a_described_body_or_none(name):
    route, _ = ROUTES[name]
    assert route.raw == (name in SIGNED)
    assert not (route.body and route.raw)


@pytest.mark.parametrize("name", [name for name in ROUTES if name not in UNSAFE_ROUTES])
def test_a_route_that_only_reads_takes_no_body(name):
    route, _ = ROUTES[name]
    assert (route.method, route.body, route.raw, route.idempotent) == ("GET", None, False, False)


@pytest.mark.parametrize("name", [name for name in UNSAFE_ROUTES if ROUTES[name][0].body])
def test_a_body_refuses_fields_that_it_does_not_know_at_every_depth(name):
    body = msgspec.inspect.type_info(ROUTES[name][0].body)
    assert [cls.__name__ for cls, struct in structs_in(body).items() if not struct.forbid_unknown_fields] == []


@pytest.mark.parametrize("name", [name for name in ROUTES if ROUTES[name][0].query])
def test_a_query_refuses_parameters_that_it_does_not_know(name):
    assert msgspec.inspect.type_info(ROUTES[name][0].query).forbid_unknown_fields


def test_no_body_is_read_beyond_a_mebibyte(config):
    assert config["http"]["max_body_bytes"] == 2**20


def test_placing_an_order_and_moving_money_need_a_key_of_the_clients():
    moving = {"POST /v1/orders", "POST /v1/deposits", "POST /v1/withdrawals", "POST /v1/transfers"}
    assert {name for name, (route, _) in ROUTES.items() if route.idempotent is True} == moving


def test_amending_an_order_talking_and_what_moves_money_take_a_key_of_the_clients():
    taken = {name for name, (route, _) in ROUTES.items() if route.idempotent == "optional"}
    amending = {name for name in UNSAFE_ROUTES if name.split()[1].startswith("/v1/orders/")}
    money = {name for name in UNSAFE_ROUTES if name.split()[1].startswith(("/v1/accounts", "/v1/ledger/"))}
    talking = {name for name in UNSAFE_ROUTES if name.split()[1].startswith("/v1/conversations")}
    assert taken == {
        *amending,
        *money,
        *talking,
        "POST /v1/desk/conversations/{conversation_id}/reply",
        "POST /v1/desk/conversations/{conversation_id}/note",
        "POST /v1/desk/conversations/{conversation_id}/actions",
        "POST /v1/customers/{customer_id}/erasure",
        "POST /v1/gift-cards",
        "POST /v1/me/erasure",
        "POST /v1/me/exports",
        "POST /v1/transactions/{transaction_id}/reversal",
    }


def test_every_refusal_of_a_contract_has_a_status():
    assert sorted(CODES - set(STATUS)) == []


def test_every_status_is_of_a_refusal_that_there_is():
    assert sorted(set(STATUS) - CODES) == []


@pytest.mark.parametrize("code", STATUS)
def test_a_refusal_is_the_clients_matter(code):
    assert 400 <= STATUS[code] < 500


def test_what_a_route_may_refuse_with_comes_from_contracts():
    methods = {method for service in SERVICES for method in promised(service).values()}
    named = {method for route, _ in ROUTES.values() for method in route.refuses}
    assert {method.__qualname__ for method in named - methods} == set()
