"""Services keep their contracts: each method as it is declared and nothing besides, each event with its handlers."""

import inspect
from collections.abc import Generator
from typing import get_origin, get_type_hints

import pytest
from nameko.events import SERVICE_POOL, EventHandler
from nameko.rpc import Rpc

from tests.contract.services import SERVICES, all_events, api, entrypoints, promised, service_class

METHODS = [(service, name) for service in SERVICES for name in promised(service)]
SUBSCRIPTIONS = [(event, subscriber) for event in all_events() for subscriber in event.__subscribers__]


def parameters_of(method):
    """name, kind, default and type of each parameter, constraints included."""
    hints = get_type_hints(inspect.unwrap(method), include_extras=True)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return [(each.name, each.kind.name, each.default, hints[each.name]) for each in parameters]


def result_of(method):
    """What a caller gets: an outside command is a generator, which ends in it."""
    result = get_type_hints(inspect.unwrap(method), include_extras=True)["return"]
    return result.__args__[2] if get_origin(result) is Generator else result


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_name_of_its_contract(service):
    assert service_class(service).name == api(service).name == service


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_serves_what_its_contract_promises_and_nothing_else(service):
    assert set(entrypoints(service, Rpc)) == set(promised(service))


@pytest.mark.parametrize(("service", "name"), METHODS)
def test_a_method_takes_and_gives_what_its_contract_says(service, name):
    promise, method = promised(service)[name], getattr(service_class(service), name)
    assert parameters_of(method) == parameters_of(promise)
    assert result_of(method) == result_of(promise)


@pytest.mark.parametrize(("service", "name"), METHODS)
def test_a_promise_is_explained(service, name):
    assert (promised(service)[name].__doc__ or "").strip()


@pytest.mark.parametrize(("event", "subscriber"), SUBSCRIPTIONS, ids=lambda each: getattr(each, "__event__", each))
def test_a_subscriber_handles_its_event_in_a_pool_of_its_instances(event, subscriber):
    service, _, method = subscriber.partition(".")
    handler = entrypoints(service, EventHandler)[method]
    heard = (handler.source_service, handler.event_type, handler.handler_type)
    assert heard == (event.__source__, event.__event__, SERVICE_POOL)


@pytest.mark.parametrize("service", SERVICES)
def test_a_handler_is_listed_as_a_subscriber_so_that_its_queue_is_there_before_it(service):
    handlers = entrypoints(service, EventHandler)
    listening = {(each.source_service, each.event_type, f"{service}.{method}") for method, each in handlers.items()}
    listed = {(event.__source__, event.__event__, subscriber) for event, subscriber in SUBSCRIPTIONS}
    assert listening <= listed
