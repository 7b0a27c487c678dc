"""The profile as the gateway answers it: joined with the customer's gift cards, as far as payments can be asked."""

from datetime import UTC, datetime

import pytest

from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.types import Money
from contracts.payments import GiftCard
from contracts.users import Profile
from edge.bodies import Me
from edge.profile import ProfileRoutes

ADA = Profile(id="u1", email="ada@rialto.example", name="Ada", roles=["customer"], addresses={}, payment_methods=[])
EURO = Money(amount=500, currency="EUR")
CARD = GiftCard(id="g1", balance=EURO, issued=EURO, held=EURO, created_at=datetime(2026, 1, 1, tzinfo=UTC))


class Payments:
    def __init__(self, answer):
        self.answer = answer

    def gift_cards(self, customer_id):
        assert customer_id == "u1"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def page_with(answer):
    routes = ProfileRoutes()
    routes.payments = Payments(answer)
    return routes._me(ADA)


@pytest.mark.parametrize("cards", [[], [CARD]])
def test_a_profile_shows_the_customers_gift_cards(cards):
    assert page_with(cards) == Me(
        id="u1",
        email="ada@rialto.example",
        name="Ada",
        roles=["customer"],
        addresses={},
        payment_methods=[],
        gift_cards=cards,
    )


@pytest.mark.parametrize("away", [Unavailable("payments", "nobody"), OutcomeUnknown("payments", "time ran out")])
def test_a_profile_is_answered_while_payments_is_away_and_does_not_say_that_there_are_no_gift_cards(away):
    page = page_with(away)
    assert (page.email, page.gift_cards) == ("ada@rialto.example", None)


def test_a_refusal_is_not_taken_for_an_absence():
    with pytest.raises(ServiceError):
        page_with(ServiceError("auth.forbidden", "No."))
