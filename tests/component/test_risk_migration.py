"""What risk decided before rules were data is still there, and still counts, after the migration."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from chassis.db import Sessions, UtcDateTime, WorkerDatabase, new_engine
from chassis.errors import ServiceError
from chassis.migrate import ROOT
from contracts.risk import Assessment
from tests.risk import service_on, subject

ASSESSMENT = sa.table(
    "assessment",
    *(sa.column(name) for name in ("order_id", "customer_id", "amount", "currency", "decision", "counts")),
    sa.column("facts", sa.JSON),
    sa.column("reasons", sa.JSON),
    sa.column("at", UtcDateTime),
)


def bring(engine, revision, move=command.upgrade):
    config = Config()
    config.set_main_option("script_location", str(ROOT / "chassis" / "migrations"))
    config.set_main_option("version_locations", str(ROOT / "services" / "risk" / "migrations" / "versions"))
    config.set_main_option("path_separator", "newline")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        move(config, revision)
        connection.commit()


def assessed(order_id, decision, counts, reasons):
    facts = {"order_id": order_id, "email": "anna@x.example", "country": "DE"}
    more = dict(facts=facts, reasons=reasons, at=datetime.now(UTC) - timedelta(minutes=5))
    return dict(
        order_id=order_id, customer_id="anna", amount=700, currency="EUR", decision=decision, counts=counts, **more
    )


@pytest.fixture
def engine(database_uri):
    """As migrations have it, on a database as it was before."""
    made = sa.create_engine(database_uri("risk"))
    bring(made, "risk_0001", command.downgrade)
    yield made
    made.dispose()


@pytest.fixture
def upgraded(engine):
    """-> risk on the same database, brought up to date."""
    opened = []

    def upgrade():
        bring(engine, "head")
        opened.append(
            WorkerDatabase(Sessions(new_engine(engine.url.render_as_string(hide_password=False), pool_size=3)).factory)
        )
        return service_on(opened[-1])

    yield upgrade
    for database in opened:
        engine_of = database.session.bind
        database.close()
        engine_of.dispose()


def test_what_was_assessed_before_is_shown_and_counts(engine, upgraded):
    rows = [
        assessed("o1", "accept", True, []),
        assessed("o2", "review", True, ["amount_large"]),
        assessed("o3", "refuse", False, ["deny_list", "amount_large"]),
        assessed("o4", "accept", False, []),
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(ASSESSMENT), rows)
    risk = upgraded()
    assert risk.get("o2") == Assessment(order_id="o2", decision="review", reasons=["amount_large"])
    assert risk.get("o3").reasons == ["deny_list", "amount_large"]
    (before,) = risk.screenings("o2")
    assert before.screening.rules_version == 0
    with pytest.raises(ServiceError) as refusal:
        risk.replay(before.screening.id)
    assert refusal.value.code == "risk.no_such_rules"
    kept = risk.screening(risk.screen(subject=subject("o5", amount=7), key="k").id).inputs
    assert (kept["customer_count_1h"], kept["customer_amount_1h"], kept["customer_failed_1h"]) == (3, 1407, 1)


def test_the_rules_that_come_with_the_shop_are_version_one(upgraded):
    risk = upgraded()
    live = risk.rule_set()
    assert (live.version, live.state, live.author, len(live.content.rules)) == (1, "live", "rialto", 12)
    assert [(each.kind, each.value) for each in risk.denied()] == [("email", "blocked@rialto.example")]
