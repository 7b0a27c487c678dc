"""What tests stand on: a patched runtime, real databases, a broker's vhost of their own."""

import eventlet

eventlet.monkey_patch()  # before anything else is imported

import os  # noqa: E402
import shutil  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import psycopg2  # noqa: E402
import pytest  # noqa: E402
import yaml  # noqa: E402
from hypothesis import settings  # noqa: E402
from nameko.cli.main import setup_yaml_parser  # noqa: E402
from sqlalchemy.engine import make_url  # noqa: E402

from chassis.db import Sessions, WorkerDatabase, new_engine, shift_clock  # noqa: E402
from chassis.migrate import migrate  # noqa: E402

settings.register_profile("house", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("house")
pytest.register_assert_rewrite("tests.machines.order_checks", "tests.machines.order_desk")
setup_yaml_parser()  # ${NAME:default} in config.yaml, as `nameko run` reads it
ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--everything", action="store_true", help="larger bounds, where a test has smaller ones for CI")


def pytest_configure(config: Any) -> None:
    if "AMQP_URI" in os.environ:
        config.option.RABBIT_AMQP_URI = os.environ["AMQP_URI"]
        config.option.RABBIT_API_URI = os.environ["RABBIT_CTL_URI"]


@pytest.fixture(scope="session")
def everything(request: pytest.FixtureRequest) -> bool:
    """Whether the run has time for the larger bounds: `pytest --everything`."""
    return bool(request.config.getoption("--everything"))


class Templates:
    """Migrated, empty databases, made once in a run; a test gets a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[str] = []

    def sqlite(self, service: str, path: Path) -> str:
        """Copy the service's file to `path`; answers its URI."""
        template = self.folder / f"{service}.db"
        if not template.exists():
            migrate(service, f"sqlite:///{template}")
        shutil.copyfile(template, path)
        return f"sqlite:///{path}"

    def postgresql(self, service: str) -> str:
        """Make a database like the service's; answers its URI."""
        template = f"t_{service}_{self.folder.name.replace('-', '_')}_{os.getpid()}"
        if template not in self.made:
            on_server(f"CREATE DATABASE {template} ENCODING 'UTF8' TEMPLATE template0")
            self.made.append(template)
            migrate(service, _uri_of(template))
        name = f"t_{service}_{uuid.uuid4().hex[:12]}"
        on_server(f"CREATE DATABASE {name} TEMPLATE {template}")
        self.made.append(name)
        return _uri_of(name)

    def drop(self, *names: str) -> None:
        """These databases; all of them when none is named."""
        for name in names or tuple(self.made):
            on_server(f"DROP DATABASE {name} WITH (FORCE)")
            self.made.remove(name)


def on_server(statement: str) -> None:
    """Run one statement on the server of PG_URI."""
    server = make_url(os.environ["PG_URI"])
    connection = psycopg2.connect(
        host=server.host, port=server.port, user=server.username, password=server.password, dbname=server.database
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def _uri_of(database: str) -> str:
    uri = make_url(os.environ["PG_URI"]).set(drivername="postgresql+psycopg2", database=database)
    return uri.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Templates]:
    made = Templates(tmp_path_factory.mktemp("templates"))
    yield made
    made.drop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_uri(request: Any, tmp_path: Path, templates: Templates) -> Iterator[Callable[[str], str]]:
    """service -> the URI of its migrated, empty database: once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        yield lambda service: templates.sqlite(service, tmp_path / f"{service}.db")
        return
    made: list[str] = []

    def create(service: str) -> str:
        uri = templates.postgresql(service)
        made.append(str(make_url(uri).database))
        return uri

    yield create
    if made:
        templates.drop(*made)


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
    settings: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings.update(rabbit_config)
    del settings["LOGGING"]
    settings["mail_dir"] = str(tmp_path / "mail")
    services = [key.split(":")[0] for key in settings["DB_URIS"]]
    there = [name for name in services if (ROOT / "services" / name / "service.py").exists()]
    settings["DB_URIS"] = {f"{name}:Base": f"sqlite:///{tmp_path}/{name}.db" for name in there}
    return settings


@pytest.fixture
def migrated_config(config: dict[str, Any], templates: Templates) -> dict[str, Any]:
    """`config` with all its databases migrated."""
    for key, uri in config["DB_URIS"].items():
        templates.sqlite(key.split(":")[0], Path(make_url(uri).database))
    return config


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    from datetime import timedelta

    shift_clock(timedelta())
