"""risk on a database, for the files that test it."""

import msgspec
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.types import Caller, Money
from contracts.risk import Draft, Rule, Subject
from services.risk.service import RiskService, RiskSettings

SETTINGS = RiskSettings(risk_review_s=3600, risk_claim_s=600, risk_expire_every_s=10, risk_four_eyes_over_minor=10_000)


def service_on(database, caller=None):
    call = Call(trace_id="t", caller=caller)
    return worker_factory(RiskService, db=database, call=call, settings=SETTINGS)


def staff(name):
    return Caller(customer_id=name, roles=("staff",))


def operator(name):
    return Caller(customer_id=name, roles=("operator",))


def subject(of="s1", amount=1000, currency="EUR", customer_id="anna", **more):
    given = dict(kind="order", id=of, customer_id=customer_id, amount=Money(amount=amount, currency=currency))
    return Subject(**(given | more))


def rule(name, condition, **more):
    return Rule(name=name, condition=condition, text=f"It is {name}.", **more)


def rules(*them, **more):
    return Draft(rules=list(them), note="For a test.", **more)


def enact(risk, *them, **more):
    """Have these rules decide; answers their version."""
    version = risk.draft(content=rules(*them, **more), key=f"draft-{msgspec.json.encode(them).hex()[:200]}").version
    risk.advance(version=version, state="shadow", key=f"shadow-{version}")
    risk.advance(version=version, state="live", key=f"live-{version}")
    return version
