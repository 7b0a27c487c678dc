"""Mails from before they knew what they are about stay, and code from before goes on writing them."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.db import Sessions, UtcDateTime, WorkerDatabase, new_engine
from chassis.errors import ServiceError
from chassis.migrate import ROOT
from services.notifications.service import MailSettings, NotificationsService

TEXTS = ("id", "kind", "to_address", "subject", "text", "html", "status", "attempts")
MAIL = sa.table("mail", *map(sa.column, TEXTS), sa.column("due_at", UtcDateTime), sa.column("created_at", UtcDateTime))


def bring(engine, revision, move=command.upgrade):
    config = Config()
    config.set_main_option("script_location", str(ROOT / "chassis" / "migrations"))
    config.set_main_option("version_locations", str(ROOT / "services" / "notifications" / "migrations" / "versions"))
    config.set_main_option("path_separator", "newline")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        move(config, revision)
        connection.commit()


def write(engine, mail_id):
    """As code from before does."""
    at = datetime.now(UTC)
    words = dict.fromkeys(TEXTS, "x") | dict(id=mail_id, to_address="anna@x.example", status="sent", attempts=1)
    with engine.begin() as connection:
        connection.execute(sa.insert(MAIL), [dict(words, due_at=at, created_at=at)])


@pytest.fixture
def engine(database_uri):
    made = sa.create_engine(database_uri("notifications"))
    yield made
    made.dispose()


@pytest.fixture
def service(engine):
    opened = new_engine(engine.url.render_as_string(hide_password=False), pool_size=3)
    database = WorkerDatabase(Sessions(opened).factory)
    settings = MailSettings(mail_dir="unused", mail_from="shop@rialto.example")
    yield worker_factory(NotificationsService, db=database, call=Call(trace_id="t"), settings=settings)
    database.close()
    opened.dispose()


def test_mails_from_before_stay_and_code_from_before_still_writes(engine, service):
    bring(engine, "notifications_0001", command.downgrade)
    write(engine, "before")
    bring(engine, "head")
    write(engine, "meanwhile")
    assert {(mail.id, mail.about, mail.copy_of) for mail in service.find()} == {
        ("before", None, None),
        ("meanwhile", None, None),
    }
    with pytest.raises(ServiceError) as refusal:
        service.resend("o1", key="k")
    assert refusal.value.code == "notifications.not_found"
