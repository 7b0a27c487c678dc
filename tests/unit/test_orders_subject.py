"""An order as risk sees it."""

import pytest

from chassis.types import Money
from contracts.common import Address, Line, PaymentMethod, PaymentPart
from contracts.risk import Subject, WithoutRisk
from services.orders.domain import Placed, subject_of

TOTAL = Money(amount=4500, currency="EUR")


def placed(method):
    return Placed(
        order_id="o1",
        customer_id="anna",
        email="anna@x.example",
        name="Anna",
        lines=[Line(sku="LAMP", quantity=1)],
        total=TOTAL,
        method=method,
        address=Address(name="Anna", line1="1 Street", city="Delft", postal_code="2611", country="NL"),
        items=1,
    )


def test_an_order_is_told_with_all_that_is_known_of_it():
    assert subject_of(placed(PaymentMethod(token="tok_visa"))) == Subject(
        kind="order",
        id="o1",
        customer_id="anna",
        amount=TOTAL,
        email="anna@x.example",
        country="NL",
        card="tok_visa",
        address="1 Street, 2611, Delft, NL",
    )


@pytest.mark.parametrize(
    ("method", "card"),
    [
        (PaymentMethod(type="gift_card", id="g1"), None),
        (PaymentMethod(type="split", parts=[PaymentPart(type="gift_card", id="g1")]), None),
        (
            PaymentMethod(
                type="split", parts=[PaymentPart(type="gift_card", id="g1"), PaymentPart(type="card", token="tok_1")]
            ),
            "tok_1",
        ),
    ],
)
def test_the_card_is_that_of_the_part_that_a_card_pays(method, card):
    assert subject_of(placed(method)).card == card


@pytest.mark.parametrize(
    ("kind", "amount", "currency", "passes"),
    [
        ("order", 19_999, "EUR", True),
        ("order", 20_000, "EUR", False),
        ("order", 29_999, "JPY", True),
        ("order", 1, "KWD", False),
        ("deposit", 1, "EUR", False),
    ],
)
def test_what_passes_without_risk_is_below_the_amount_of_its_kind_and_currency(kind, amount, currency, passes):
    policy = WithoutRisk(risk_open_below_minor={"order": {"EUR": 20_000, "JPY": 30_000}})
    assert policy.passes(kind, Money(amount=amount, currency=currency)) is passes
