"""Which rules fire on an order, and what follows."""

from pathlib import Path

import msgspec
import pytest
import yaml

from chassis.types import Money
from services.risk.domain import REFUSED, Facts, Rules, Spending, Verdict, decide, windows_of

TABLE = msgspec.convert(
    [
        {"kind": "deny", "name": "deny_list", "decision": "refuse", "emails": ["Bad@x.example"], "countries": ["KP"]},
        {"kind": "deny", "name": "known_customer", "decision": "review", "customers": ["c13"]},
        {"kind": "amount", "name": "too_large", "decision": "refuse", "over_minor": 5000, "message": "Too large."},
        {"kind": "amount", "name": "large", "decision": "review", "over_minor": 1000},
        {"kind": "velocity", "name": "many", "decision": "review", "window_s": 3600, "orders_over": 3},
        {"kind": "velocity", "name": "much", "decision": "refuse", "window_s": 60, "sum_over_minor": 8000},
    ],
    Rules,
)


def facts(amount=100, email="anna@x.example", country="DE", customer_id="c1", hour=(0, 0), minute=(0, 0)):
    return Facts(
        order_id="o1",
        customer_id=customer_id,
        email=email,
        country=country,
        amount=Money(amount=amount, currency="EUR"),
        before={3600: Spending(orders=hour[0], total=hour[1]), 60: Spending(orders=minute[0], total=minute[1])},
    )


@pytest.mark.parametrize(
    ("case", "decision", "reasons"),
    [
        (facts(), "accept", []),
        (facts(amount=1000), "accept", []),
        (facts(amount=1001), "review", ["large"]),
        (facts(amount=5000), "review", ["large"]),
        (facts(amount=5001), "refuse", ["too_large", "large"]),
        (facts(email="bad@X.example"), "refuse", ["deny_list"]),
        (facts(email="not-bad@x.example"), "accept", []),
        (facts(country="KP"), "refuse", ["deny_list"]),
        (facts(customer_id="c13"), "review", ["known_customer"]),
        (facts(hour=(2, 9999)), "accept", []),
        (facts(hour=(3, 0)), "review", ["many"]),
        (facts(minute=(900, 7900)), "accept", []),
        (facts(minute=(1, 7901)), "refuse", ["much"]),
    ],
)
def test_the_gravest_rule_that_fires_decides_and_all_are_named(case, decision, reasons):
    verdict = decide(case, TABLE)
    assert (verdict.decision, verdict.reasons) == (decision, reasons)


def test_a_refusal_says_the_first_refusing_rules_message():
    assert decide(facts(amount=5001), TABLE).message == "Too large."
    assert decide(facts(amount=5001, country="KP"), TABLE).message == REFUSED
    assert decide(facts(amount=1001), TABLE).message == ""


def test_without_rules_everything_is_accepted():
    assert decide(facts(amount=10**12), ()) == Verdict(decision="accept", reasons=[])


def test_the_windows_are_those_of_the_velocity_rules():
    assert windows_of(TABLE) == {3600, 60}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "amount", "name": "x", "decision": "accept", "over_minor": 1},
        {"kind": "amount", "name": "x", "decision": "refuse", "over": 1},
        {"kind": "amount", "name": "", "decision": "refuse", "over_minor": 1},
        {"kind": "weather", "name": "x", "decision": "refuse"},
        {"kind": "velocity", "name": "x", "decision": "review", "orders_over": 3},
    ],
)
def test_a_wrong_rule_is_told_at_once(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert([wrong], Rules)


def test_the_shops_own_table_never_refuses_a_customer_for_ordering_often():
    settings = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
    rules = msgspec.convert(settings["risk_rules"], Rules)
    often = facts(amount=20_000).before | {3600: Spending(orders=100_000, total=10**10)}
    verdict = decide(msgspec.structs.replace(facts(amount=20_000), before=often), rules)
    assert (verdict.decision, verdict.reasons) == ("review", ["many_orders", "much_spent"])
    denied = msgspec.structs.replace(facts(email="blocked@rialto.example"), before=often)
    assert decide(denied, rules).decision == "refuse"
