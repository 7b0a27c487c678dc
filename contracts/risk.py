"""risk: may this order go through, and why (not)."""

from typing import Annotated, Protocol

import msgspec

from chassis.types import Message, Money, api, refuses
from contracts.operations import DeadLettersApi

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]


class Assessment(Message):
    """`decision`: accept, review or refuse; `reasons` are the names of the rules that fired."""

    order_id: str
    decision: str
    reasons: list[str]


@api("risk")
class RiskApi(DeadLettersApi, Protocol):
    """For other services and for staff."""

    name: str

    @refuses("risk.refused")
    def assess(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> Assessment:
        """Decide by the rule table. *Review* lets the order pass, marked for staff.

        A refusal's message is for the customer; its details.reasons are the rules that fired.
        """
        ...

    def forget(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> None:
        """Undo of `assess`: the order no longer counts towards the customer's velocity."""
        ...

    @refuses("risk.not_found")
    def get(self, order_id: Id) -> Assessment:
        """What was decided about an order, also if it was refused (staff)."""
        ...
