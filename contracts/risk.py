"""risk: may this order go through, and why (not)."""

from typing import Protocol

from chassis.types import Message, Money, api, refuses


class Assessment(Message):
    """`decision`: accept, review or refuse; `reasons` are the rules that fired."""

    order_id: str
    decision: str
    reasons: list[str]


@api("risk")
class RiskApi(Protocol):
    name: str

    @refuses("risk.refused")
    def assess(
        self, order_id: str, customer_id: str, email: str, amount: Money, country: str, *, key: str
    ) -> Assessment:
        """Decide by the rule table. *Review* lets the order pass, marked for staff."""
        ...

    def forget(self, order_id: str, customer_id: str, email: str, amount: Money, country: str, *, key: str) -> None:
        """Undo of `assess`: the order no longer counts towards the customer's velocity."""
        ...
