"""What has sagas or handlers can be operated, and the gateway knows all who are."""

import pytest
from nameko.events import EventHandler

from chassis.dead_letters import DeadLetterOperations
from chassis.saga_engine import Sagas
from chassis.saga_operations import SagaOperations
from gateway import GatewayService
from tests.contract.services import SERVICES, entrypoints, service_class


def having(mixin):
    return {service for service in SERVICES if issubclass(service_class(service), mixin)}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_with_handlers_has_its_dead_letters_operated(service):
    assert bool(entrypoints(service, EventHandler)) == issubclass(service_class(service), DeadLetterOperations)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_with_sagas_has_them_operated(service):
    found = service_class(service)
    has_sagas = any(isinstance(value, Sagas) for value in vars(found).values())
    assert has_sagas == issubclass(found, SagaOperations)


def test_the_gateway_asks_all_of_them():
    gateway = GatewayService()
    assert set(gateway._with_sagas()) == having(SagaOperations)
    assert set(gateway._with_letters()) == having(DeadLetterOperations)
