"""What tests stand on: a patched runtime, real databases, a broker's vhost of their own."""

import eventlet

eventlet.monkey_patch()  # before anything else is imported

import os  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import psycopg2  # noqa: E402
import pytest  # noqa: E402
import yaml  # noqa: E402
from nameko.cli.main import setup_yaml_parser  # noqa: E402
from sqlalchemy.engine import make_url  # noqa: E402

from chassis.db import Sessions, WorkerDatabase, new_engine, shift_clock  # noqa: E402
from chassis.migrate import migrate  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: Any) -> None:
    if "AMQP_URI" in os.environ:
        config.option.RABBIT_AMQP_URI = os.environ["AMQP_URI"]
        config.option.RABBIT_API_URI = os.environ["RABBIT_CTL_URI"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_uri(request: Any, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """service -> the URI of its migrated, empty database: once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        yield lambda service: _migrated(service, f"sqlite:///{tmp_path}/{service}.db")
        return
    server = make_url(os.environ["PG_URI"])
    made: list[str] = []

    def create(service: str) -> str:
        name = f"t_{service}_{uuid.uuid4().hex[:12]}"
        _on_server(server, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        made.append(name)
        uri = server.set(drivername="postgresql+psycopg2", database=name)
        return _migrated(service, uri.render_as_string(hide_password=False))

    yield create
    for name in made:
        _on_server(server, f"DROP DATABASE {name} WITH (FORCE)")


def _on_server(server: Any, statement: str) -> None:
    connection = psycopg2.connect(
        host=server.host, port=server.port, user=server.username, password=server.password, dbname=server.database
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def _migrated(service: str, uri: str) -> str:
    migrate(service, uri)
    return uri


@pytest.fixture
def sessions(database_uri: Callable[[str], str]) -> Iterator[Callable[[str], Sessions]]:
    """service -> Sessions on its database."""
    engines = []

    def open_sessions(service: str) -> Sessions:
        engines.append(new_engine(database_uri(service), pool_size=10))
        return Sessions(engines[-1])

    yield open_sessions
    for engine in engines:
        engine.dispose()


@pytest.fixture
def open_database(sessions: Callable[[str], Sessions]) -> Iterator[Callable[[str], WorkerDatabase]]:
    """service -> its database as a worker sees it: for `worker_factory(XService, db=open_database("x"), ...)`."""
    opened: list[WorkerDatabase] = []

    def open_one(service: str) -> WorkerDatabase:
        opened.append(WorkerDatabase(sessions(service).factory))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def config(rabbit_config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """config.yaml as it is, with a vhost of the test's own and migrated SQLite files below tmp_path."""
    setup_yaml_parser()
    settings: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings.update(rabbit_config)
    del settings["LOGGING"]
    settings["mail_dir"] = str(tmp_path / "mail")
    services = [key.split(":")[0] for key in settings["DB_URIS"]]
    there = [name for name in services if (ROOT / "services" / name / "service.py").exists()]
    settings["DB_URIS"] = {f"{name}:Base": f"sqlite:///{tmp_path}/{name}.db" for name in there}
    return settings


@pytest.fixture
def migrated_config(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with all its databases migrated."""
    for key, uri in config["DB_URIS"].items():
        migrate(key.split(":")[0], uri)
    return config


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    from datetime import timedelta

    shift_clock(timedelta())
