"""The live API against its own document: whatever is sent, what comes back is in the document, and never a 5xx.

That a request which fits the document is accepted, and one that does not refused, is not checked here: an empty cart or
an unknown sku is no matter of a schema, and half of the examples are mended so that they are about things that exist.
"""

import secrets
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.shopping import PASSWORD, Customer, Desk, Person
from tests.e2e.system import System

SEED = 20_240_229
EXAMPLES = 15
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
CHECKS: list[Callable[..., Any]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


SENSIBLE: dict[str, Any] = {
    "currency": "EUR",
    "country": "NL",
    "payment_method": {"type": "card", "token": "tok_visa"},
    "expected_total": None,
}


@pytest.mark.parametrize("who", ["anonymous", "customer", "operator"])
def test_every_answer_is_in_the_document(shop: System, desk: Desk, who: str) -> None:
    print(f"seed {SEED}")
    schema = schemathesis.openapi.from_url(f"{shop.url}/v1/openapi.json")
    sku = desk.sell(1_000_000)
    with Customer(shop.url) as somebody, Person(shop.url) as nobody:
        known = things(somebody, desk, sku)
        if who == "operator":  # not the desk's own account, which may lose its address and its roles here
            desk.call("PATCH", f"/v1/users/{known['user_id']}", json={"roles": ["customer", "operator"]})
            somebody.log_in(somebody.email, PASSWORD)
        somebody.fill(sku, 9)
        person = nobody if who == "anonymous" else somebody
        for found in schema.get_all_operations():
            explore(found.ok(), person, known)


def things(customer: Customer, desk: Desk, sku: str) -> dict[str, str]:
    """A value for each parameter of a path that leads to something."""
    order = customer.end_of(customer.order(sku))
    product = desk.call("GET", "/v1/products", params={"query": sku})["items"][0]["id"]
    sagas = desk.call("GET", "/v1/sagas")["items"]
    return {
        "order_id": order["id"],
        "tracking": order["shipment"]["tracking"],
        "product_id": product,
        "saga_id": next(saga["id"] for saga in sagas if saga["key"] == order["id"]),
        "sku": sku,
        "user_id": customer.call("GET", "/v1/me")["id"],
        "name": "home",
        "method_id": "none",
        "conversation_id": customer.call("POST", "/v1/conversations", json={"message": "Hello"})["id"],
        "action_id": "none",
        "export_id": customer.call("POST", "/v1/me/exports")["id"],
        "erasure_id": "none",
        "customer_id": "none",
    }


def explore(operation: Any, person: Person, known: dict[str, str]) -> None:
    """Send examples of one operation, valid and not, about things that are there and that are not."""

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(*(operation.as_strategy(mode) for mode in MODES)), real=st.booleans())
    def send(case: Any, real: bool) -> None:
        extra = {}
        if real:
            case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
            case.body = sensible(case.body)
            extra = {"Idempotency-Key": secrets.token_hex(8)} if "Idempotency-Key" in case.headers else {}
            if operation.label == "POST /v1/orders" and isinstance(person, Customer):
                person.fill(known["sku"])
        case.call_and_validate(headers={**person.http.headers, **extra}, checks=CHECKS, timeout=30)

    send()


def sensible(value: Any) -> Any:
    """The same value, about this shop: so that more of what is tried gets past the first refusal."""
    if isinstance(value, dict):
        return {name: SENSIBLE.get(name, sensible(part)) for name, part in value.items()}
    return [sensible(part) for part in value] if isinstance(value, list) else value
