"""What was paid before accounts could pay is still there after the migration, and goes back to where it came from."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from chassis.db import Sessions, UtcDateTime, WorkerDatabase, new_engine
from chassis.migrate import ROOT
from contracts.payments import RefundPart
from tests.payments import TWENTY, card, euro, movements, refusal, service_on, sums


def bring(engine, revision, move=command.upgrade):
    config = Config()
    config.set_main_option("script_location", str(ROOT / "chassis" / "migrations"))
    config.set_main_option("version_locations", str(ROOT / "services" / "payments" / "migrations" / "versions"))
    config.set_main_option("path_separator", "newline")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        move(config, revision)
        connection.commit()


@pytest.fixture
def engine(database_uri):
    made = sa.create_engine(database_uri("payments"))
    bring(made, "payments_0002", command.downgrade)
    yield made
    made.dispose()


@pytest.fixture
def upgraded(engine, acquirer):
    """-> payments on the same database, brought up to date."""
    opened = []

    def upgrade():
        bring(engine, "head")
        uri = engine.url.render_as_string(hide_password=False)
        opened.append(WorkerDatabase(Sessions(new_engine(uri, pool_size=3)).factory))
        return service_on(opened[-1], acquirer.url)

    yield upgrade
    for database in opened:
        engine_of = database.session.bind
        database.close()
        engine_of.dispose()


def test_a_payment_of_before_is_captured_and_refunded_after_it(engine, upgraded, acquirer, order):
    upgraded().acquirer.authorize(f"{order}:a", TWENTY, card().token, order)
    bring(engine, "payments_0002", command.downgrade)
    at, key = datetime.now(UTC), f"{order}:a"
    part = dict(payment_id=order, position=0, parts=1, order_id=order, customer_id="ada", method="card", amount=2000)
    sums_of = dict(status="authorized", captured=0, refunding=0, refunded=0, currency="EUR", authorize_key=key)
    moved = dict(kind="authorize", key=key, command_key=key, payment_id=order, amount=2000, state="done")
    with engine.begin() as connection:
        for table, row in (
            ("part", {**part, **sums_of, "created_at": at, "updated_at": at}),
            ("movement", {**moved, "at": at}),
        ):
            columns = [sa.column(name, UtcDateTime if value is at else None) for name, value in row.items()]
            connection.execute(sa.insert(sa.table(table, *columns)), row)
    payments = upgraded()
    assert [(each.method, each.account_id) for each in payments.get(order).parts] == [("card", None)]
    assert payments.capture(order, TWENTY, key=f"{order}:c").status == "captured"
    back = payments.refund(order, euro(700), key=f"{order}:r")
    assert back.parts == [RefundPart(payment_id=order, amount=700)]
    assert sums(payments, order) == ("captured", 2000, 700)
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000), ("refund", 700)]
    assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c2")).code == "payments.captured"
