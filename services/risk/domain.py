"""The rule table: what fires on the facts of an order, and what follows. Pure."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from chassis.types import Message, Money

REFUSED = "We cannot accept this order. Please contact our customer service."

Decision = Literal["accept", "review", "refuse"]
GRAVITY: dict[Decision, int] = {"accept": 0, "review": 1, "refuse": 2}
Count = Annotated[int, msgspec.Meta(ge=0)]


class Spending(Message):
    """What a customer ordered within a window before this order. `total` is in minor units."""

    orders: int = 0
    total: int = 0


class Facts(Message):
    """What is known of an order. `before` has an entry for each window, in seconds, of the velocity rules."""

    order_id: str
    customer_id: str
    email: str
    country: str
    amount: Money
    before: dict[int, Spending]


class Rule(Message, tag_field="kind", forbid_unknown_fields=True):
    """One row of `risk_rules` in config.yaml. `name` is the reason given; `message` is what the customer reads."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
    decision: Literal["review", "refuse"]
    message: str = REFUSED

    def fires(self, facts: Facts) -> bool:
        raise NotImplementedError


class AmountRule(Rule, tag="amount", kw_only=True):
    """An order of more than `over_minor`."""

    over_minor: Count

    def fires(self, facts: Facts) -> bool:
        return facts.amount.amount > self.over_minor


class VelocityRule(Rule, tag="velocity", kw_only=True):
    """More than so many orders, or more than so much money, of one customer within `window_s`, this order included."""

    window_s: Annotated[int, msgspec.Meta(ge=1)]
    orders_over: Count | None = None
    sum_over_minor: Count | None = None

    def fires(self, facts: Facts) -> bool:
        before = facts.before[self.window_s]
        too_many = self.orders_over is not None and before.orders + 1 > self.orders_over
        too_much = self.sum_over_minor is not None and before.total + facts.amount.amount > self.sum_over_minor
        return too_many or too_much


class DenyRule(Rule, tag="deny"):
    """Somebody, or a country, that nothing is sold to. Upper and lower case of e-mails are the same."""

    emails: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()

    def fires(self, facts: Facts) -> bool:
        denied = {email.casefold() for email in self.emails}
        return (
            facts.email.casefold() in denied or facts.country in self.countries or facts.customer_id in self.customers
        )


Rules = tuple[AmountRule | VelocityRule | DenyRule, ...]


class Verdict(Message):
    """`reasons` are the names of the rules that fired; `message` is for the customer, empty unless refused."""

    decision: Decision
    reasons: list[str]
    message: str = ""


def windows_of(rules: Rules) -> set[int]:
    """The windows, in seconds, over which a customer's orders must be known."""
    return {rule.window_s for rule in rules if isinstance(rule, VelocityRule)}


def decide(facts: Facts, rules: Rules) -> Verdict:
    """Ask every rule; the gravest decision counts, and the first refusing rule's message is said."""
    fired = [rule for rule in rules if rule.fires(facts)]
    reasons = [rule.name for rule in fired]
    decision = _gravest(rule.decision for rule in fired)
    if decision != "refuse":
        return Verdict(decision=decision, reasons=reasons)
    message = next(rule.message for rule in fired if rule.decision == "refuse")
    return Verdict(decision=decision, reasons=reasons, message=message)


def _gravest(decisions: Iterable[Decision]) -> Decision:
    return max(decisions, key=GRAVITY.__getitem__, default="accept")
