"""Bring the databases of services up to date: `python -m chassis.migrate inventory orders ...` (none named: all).

Each service has its URI in config.yaml's DB_URIS, and its revisions in services/<name>/migrations/versions.
Instances may start at once: on PostgreSQL an advisory lock, on SQLite a lock file lets one migrate at a time.
"""

import fcntl
import sys
from pathlib import Path

import yaml
from alembic import command
from alembic.config import Config
from nameko.cli.main import setup_yaml_parser
from sqlalchemy import Connection, create_engine, text

ROOT = Path(__file__).resolve().parent.parent
ADVISORY_LOCK = 7_201_955


def migrate(service: str, uri: str) -> None:
    """Run a service's revisions up to the newest. Repeating it changes nothing."""
    engine = create_engine(uri)
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database or "")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.connect() as connection:
                connection.execute(text("PRAGMA journal_mode=WAL"))
                _upgrade(service, connection)
    else:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": ADVISORY_LOCK})
            connection.commit()
            _upgrade(service, connection)
    engine.dispose()


def _upgrade(service: str, connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "chassis" / "migrations"))
    config.set_main_option("version_locations", str(ROOT / "services" / service / "migrations" / "versions"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def main() -> None:
    setup_yaml_parser()  # ${ENV:default} in config.yaml, as `nameko run` reads it
    uris = yaml.safe_load((ROOT / "config.yaml").read_text())["DB_URIS"]
    known = {key.split(":")[0]: uri for key, uri in uris.items()}
    names = sys.argv[1:] or [name for name in known if (ROOT / "services" / name).is_dir()]
    for name in names:
        if name not in known:
            sys.exit(f"config.yaml has no DB_URIS entry for {name!r}; it has: {', '.join(known)}.")
        migrate(name, known[name])


if __name__ == "__main__":
    main()
