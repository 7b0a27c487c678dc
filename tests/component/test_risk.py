"""risk on a real database: every order is assessed once, and the reasons stay, also of a refusal."""

from datetime import timedelta

import msgspec
import pytest
from nameko.exceptions import ConfigurationError
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.services import worker_factory
from sqlalchemy import select

from chassis.context import Call
from chassis.db import shift_clock
from chassis.errors import ServiceError
from chassis.types import Caller, Money
from contracts.risk import Assessment
from services.risk.models import Assessment as Row
from services.risk.service import RiskService, RiskSettings

SETTINGS = msgspec.convert(
    {
        "risk_rules": [
            {"kind": "deny", "name": "deny_list", "decision": "refuse", "countries": ["KP"]},
            {"kind": "amount", "name": "too_large", "decision": "refuse", "over_minor": 5000, "message": "Too large."},
            {"kind": "velocity", "name": "many", "decision": "review", "window_s": 3600, "orders_over": 2},
            {"kind": "velocity", "name": "much", "decision": "review", "window_s": 600, "sum_over_minor": 9000},
        ]
    },
    RiskSettings,
)


@pytest.fixture
def database(open_database):
    return open_database("risk")


@pytest.fixture
def risk(database):
    return worker_factory(RiskService, db=database, call=Call(trace_id="t"), settings=SETTINGS)


def order(order_id, amount=1000, customer_id="anna", country="DE", currency="EUR"):
    return dict(
        order_id=order_id,
        customer_id=customer_id,
        email=f"{customer_id}@x.example",
        amount=Money(amount=amount, currency=currency),
        country=country,
        key=f"saga-{order_id}:assess_risk",
    )


def rows(database):
    with database.read() as session:
        return list(session.execute(select(Row.order_id, Row.decision, Row.reasons, Row.counts).order_by(Row.id)))


def test_an_ordinary_order_is_accepted_and_its_facts_are_kept(risk, database):
    assert risk.assess(**order("o1")) == Assessment(order_id="o1", decision="accept", reasons=[])
    assert rows(database) == [("o1", "accept", [], True)]
    with database.read() as session:
        kept = session.scalar(select(Row.facts))
    assert kept == {
        "order_id": "o1",
        "customer_id": "anna",
        "email": "anna@x.example",
        "country": "DE",
        "amount": {"amount": 1000, "currency": "EUR"},
        "before": {"3600": {"orders": 0, "total": 0}, "600": {"orders": 0, "total": 0}},
    }


def test_a_refusal_gives_its_reasons_and_stays_for_staff_to_see(risk, database):
    for _ in range(2):
        with pytest.raises(ServiceError) as refusal:
            risk.assess(**order("o1", amount=5001, country="KP"))
        assert refusal.value.code == "risk.refused"
        assert refusal.value.message.startswith("We cannot accept this order.")
        assert refusal.value.details == {"reasons": ["deny_list", "too_large"]}
    assert rows(database) == [("o1", "refuse", ["deny_list", "too_large"], False)]
    assert risk.get("o1").decision == "refuse"


def test_a_refused_orders_message_is_its_rules(risk):
    with pytest.raises(ServiceError) as refusal:
        risk.assess(**order("o1", amount=5001))
    assert refusal.value.message == "Too large."


def test_a_repeat_answers_the_same_and_counts_once(risk, database):
    first = risk.assess(**order("o1"))
    risk.assess(**order("o2"))
    assert risk.assess(**order("o1")) == first
    assert len(rows(database)) == 2
    with pytest.raises(ServiceError) as refusal:
        risk.assess(**order("o1", amount=7))
    assert refusal.value.code == "command.key_reused"


def test_many_orders_of_one_customer_are_marked_for_review(risk):
    decisions = [risk.assess(**order(f"o{n}")).decision for n in range(3)]
    assert decisions == ["accept", "accept", "review"]
    assert risk.assess(**order("o9", customer_id="berta")).decision == "accept"


def test_money_counts_within_its_window_and_currency(risk):
    risk.assess(**order("o1", amount=5000))
    risk.assess(**order("o2", amount=5000, currency="JPY"))
    assert risk.assess(**order("o3", amount=4000)).reasons == ["many"]
    assert risk.assess(**order("o4", amount=1)).reasons == ["many", "much"]
    shift_clock(timedelta(seconds=601))
    assert risk.assess(**order("o5", amount=1)).reasons == ["many"]
    shift_clock(timedelta(seconds=4300))
    assert risk.assess(**order("o6", amount=1)).reasons == []


def test_refused_and_forgotten_orders_do_not_count(risk, database):
    with pytest.raises(ServiceError):
        risk.assess(**order("o0", amount=5001))
    risk.assess(**order("o1"))
    risk.assess(**order("o2"))
    risk.forget(**order("o2"))
    risk.forget(**order("o2"))
    assert risk.assess(**order("o3")).decision == "accept"
    assert [(row.order_id, row.counts) for row in rows(database)] == [
        ("o0", False),
        ("o1", True),
        ("o2", False),
        ("o3", True),
    ]


def test_a_late_assessment_after_its_undo_is_refused_and_leaves_no_row(risk, database):
    risk.forget(**order("o1"))
    with pytest.raises(ServiceError) as refusal:
        risk.assess(**order("o1"))
    assert refusal.value.code == "saga.fenced"
    assert rows(database) == []


def test_an_undo_after_a_refusal_changes_nothing_and_the_refusal_stays(risk, database):
    for expected in ("risk.refused", "risk.refused"):
        with pytest.raises(ServiceError) as refusal:
            risk.assess(**order("o1", amount=5001))
        assert refusal.value.code == expected
        risk.forget(**order("o1", amount=5001))
    assert rows(database) == [("o1", "refuse", ["too_large"], False)]


def test_customers_may_not_ask(database, risk):
    risk.assess(**order("o1"))
    caller = Caller(customer_id="anna", roles=("customer",))
    anna = worker_factory(RiskService, db=database, call=Call(trace_id="t", caller=caller), settings=SETTINGS)
    asked = order("o2")
    for call in (lambda: anna.assess(**asked), lambda: anna.forget(**order("o1")), lambda: anna.get("o1")):
        with pytest.raises(ServiceError) as refusal:
            call()
        assert refusal.value.code == "auth.forbidden"
    assert rows(database) == [("o1", "accept", [], True)]


def test_an_order_that_nobody_assessed_is_not_found(risk):
    with pytest.raises(ServiceError) as refusal:
        risk.get("o1")
    assert refusal.value.code == "risk.not_found"


def test_a_stock_client_uses_it_over_the_broker(container_factory, migrated_config):
    container_factory(RiskService, migrated_config).start()
    with ServiceRpcProxy("risk", migrated_config, timeout=10) as proxy:
        asked = order("o1", amount=200_001) | {"amount": {"amount": 200_001, "currency": "EUR"}}
        assert proxy.assess(**asked) == {"order_id": "o1", "decision": "review", "reasons": ["amount_large"]}
        with pytest.raises(ServiceError) as refusal:
            proxy.assess(**asked | {"order_id": "o2", "email": "Blocked@rialto.example", "key": "k2"})
        assert refusal.value.details == {"reasons": ["deny_list", "amount_large"]}
        proxy.forget(**asked)


def test_a_mistake_in_the_rules_is_a_sentence_at_start(container_factory, migrated_config):
    migrated_config["risk_rules"] = [{"kind": "amount", "name": "large", "decision": "revue", "over_minor": 1}]
    with pytest.raises(ConfigurationError, match=r"as risk reads it: Invalid enum value 'revue' .*risk_rules\[0\]"):
        container_factory(RiskService, migrated_config).start()
