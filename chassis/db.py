"""Databases: nameko-sqlalchemy's provider, mended for SQLite under eventlet and for SQLAlchemy 2.

SQLite waits for a lock in C, which would stop the whole process. So it never waits (busy timeout 0), and a write
begins by trying BEGIN IMMEDIATE again and again, yielding in between, until the call's deadline.
"""

import functools
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import eventlet
import msgspec
import nameko_sqlalchemy
from nameko_sqlalchemy.database import DatabaseWrapper
from prometheus_client import Counter
from sqlalchemy import (
    Connection,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    Executable,
    Table,
    Transaction,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from chassis import faults
from chassis.context import time_left
from chassis.errors import OutcomeUnknown

BUSY_LIMIT_S = 5.0
BUSY_PAUSE_S = (0.001, 0.02)
POOL_WAIT_S = 5.0
COMMITS = Counter("rialto_commits", "Write transactions that were committed")
POSTGRES_POOL = 8
_WRITE, _CLOCK, _ON_COMMIT = "rialto_write", "rialto_clock", "rialto_on_commit"
_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_clock_offset = timedelta()


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always aware and in UTC; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: say which zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now(session: Session) -> datetime:
    """The database's time: the only clock of sagas, leases and rows. Tests move it with `shift_clock`.

    SQLite's is this machine's. A server is asked once for each session, which counts on from there by itself.
    """
    if dialect_of(session) == "sqlite":
        return datetime.now(UTC) + _clock_offset
    if _CLOCK not in session.info:
        moment = session.scalar(text("SELECT clock_timestamp()"))
        session.info[_CLOCK] = (moment.astimezone(UTC), time.monotonic())
    asked: datetime
    asked, at = session.info[_CLOCK]
    return asked + timedelta(seconds=time.monotonic() - at) + _clock_offset


def shift_clock(offset: timedelta) -> None:
    """For tests: what `now` adds to the database's time, in this process."""
    global _clock_offset
    _clock_offset = offset


def new_engine(uri: str, pool_size: int) -> Engine:
    """An engine with the settings that this platform's promises rest on. Side effect: none until it connects."""
    # hide_parameters: an exception's text goes to the log, and the values are customers'
    options: dict[str, Any] = {"max_overflow": 0, "pool_timeout": POOL_WAIT_S, "hide_parameters": True}
    options |= {"json_serializer": _to_json, "json_deserializer": msgspec.json.decode}
    if not uri.startswith("sqlite"):  # a server's connections are shared by all instances of all services
        options["executemany_mode"] = "values_plus_batch"  # psycopg2 would go to the server once for each row
        return create_engine(uri, **options, pool_size=min(pool_size, POSTGRES_POOL), pool_pre_ping=True)
    own_waiting = {"timeout": 0, "check_same_thread": False}
    engine = create_engine(uri, **options, pool_size=pool_size, connect_args=own_waiting)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours to say
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=0"):
        _until_free(partial(connection.execute, f"PRAGMA {pragma}"))


def _begin_sqlite(connection: Any) -> None:
    """A write takes its lock at once. Any other transaction cannot write: it might have to wait in the middle."""
    raw = connection.connection.dbapi_connection
    if connection.get_execution_options().get(_WRITE):
        raw.execute("PRAGMA query_only=OFF")
        _until_free(partial(raw.execute, "BEGIN IMMEDIATE"))
    else:
        raw.execute("PRAGMA query_only=ON")
        raw.execute("BEGIN")


def _until_free(attempt: Callable[[], Any]) -> None:
    give_up = eventlet.hubs.get_hub().clock() + time_left(BUSY_LIMIT_S)
    while True:
        try:
            attempt()
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc):
                raise
            if eventlet.hubs.get_hub().clock() >= give_up:
                raise OutcomeUnknown("database", "it stayed locked by another writer") from exc
        eventlet.sleep(random.uniform(*BUSY_PAUSE_S))


@contextmanager
def writing(session: Session) -> Iterator[Session]:
    """One write transaction, committed at the end of the block and undone by an exception.

    Do not call another service and do not yield inside. Raises OutcomeUnknown when the database stays locked.
    """
    if session.info.get(_WRITE):
        raise RuntimeError("a write transaction is open already, and would be undone by a second one")
    session.info[_WRITE] = True
    try:
        with _transaction(session, {_WRITE: True}) as transaction:
            yield session
            faults.before(faults.COMMIT)
            if session.in_transaction():
                session.commit()  # what its objects still have to write
            transaction.commit()
        COMMITS.inc()
        for name, do in _notes(session):
            do(session.info.pop(name))
        faults.after(faults.COMMIT)
    finally:
        _forget_notes(session)
        del session.info[_WRITE]


@contextmanager
def reading(session: Session) -> Iterator[Session]:
    """One read transaction: a consistent view, which must not be kept while another service is called.

    Nothing can be written in it. Inside of a write transaction it is a part of that one.
    """
    if session.info.get(_WRITE):
        yield session
        return
    with _transaction(session, _SNAPSHOT if dialect_of(session) == "postgresql" else {}):
        yield session


@contextmanager
def _transaction(session: Session, options: dict[str, Any]) -> Iterator[Transaction]:
    """A transaction, undone at the end unless it was committed. The session joins it when it is itself asked."""
    session.rollback()
    engine = cast(Engine, session.bind)
    with engine.connect() as connection:
        connection.execution_options(**options)
        transaction = connection.begin()
        session.bind = connection
        try:
            yield transaction
        finally:
            session.rollback()
            session.bind = engine
            transaction.close()


def _notes(session: Session) -> list[tuple[str, Callable[[Any], None]]]:
    hooks: dict[str, Callable[[Any], None]] = session.info.get(_ON_COMMIT, {})
    return [(name, do) for name, do in hooks.items() if name in session.info]


def _forget_notes(session: Session) -> None:
    for name, _ in _notes(session):
        del session.info[name]


def dialect_of(session: Session) -> str:
    """`sqlite` or `postgresql`."""
    return cast(Engine | Connection, session.bind).dialect.name


def insert_new(session: Session, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless its key is taken; False if it is (on PostgreSQL after waiting for the other's commit)."""
    statement = _insert_new(table, dialect_of(session))
    return run(session, statement, **row).rowcount == 1


@functools.cache
def _insert_new(table: Table, dialect: str) -> Executable:
    return (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table).on_conflict_do_nothing()


def run(session: Session, statement: Executable, **values: Any) -> CursorResult[Any]:
    """Execute a Core statement that was built once, with these values, in the transaction of `writing` or `reading`.

    A fifth of the cost of building it anew; what the session's objects have not written yet it does not see.
    """
    return cast(Connection, session.bind).execute(statement, values)


def run_many(session: Session, statement: Executable, rows: list[dict[str, Any]]) -> None:
    """As `run`, once for each row, in as few round trips as the database can."""
    if rows:
        cast(Connection, session.bind).execute(statement, rows)


def table_of(entity: type[DeclarativeBase]) -> Table:
    """The table of a declared class, for the statements of its store that are built once."""
    return cast(Table, entity.__table__)


def affected(session: Session, statement: Any) -> int:
    """Run an UPDATE, INSERT or DELETE; answers how many rows it touched: the outcome of a guarded update."""
    return cast(int, session.execute(statement).rowcount)  # type: ignore[attr-defined]


class Sessions:
    """Sessions of one database outside of a worker: for sagas, relays, timers and tests."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._hooks: dict[str, Callable[[Any], None]] = {}
        self.factory = sessionmaker(bind=engine, join_transaction_mode="rollback_only", info={_ON_COMMIT: self._hooks})

    def on_commit(self, name: str, do: Callable[[Any], None]) -> None:
        """Call `do(value)` after each commit of a transaction in which `session.info[name] = value` was set."""
        self._hooks[name] = do

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self.factory() as session, writing(session):
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self.factory() as session, reading(session):
            yield session


class WorkerDatabase(DatabaseWrapper):
    """A worker's database. Inside `write()` and `read()`, `session` is the open one."""

    session: Session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with writing(self.session):
            yield self.session

    @contextmanager
    def read(self) -> Iterator[Session]:
        with reading(self.session):
            yield self.session


class Database(nameko_sqlalchemy.Database):
    """The service's own database, `DB_URIS["<service>:Base"]`. Worker attribute: a WorkerDatabase."""

    sessions: Sessions

    @classmethod
    def of(cls, container: Any) -> "Database":
        """The one database of a service, for other extensions, from their `start` on."""
        return next(provider for provider in container.dependencies if isinstance(provider, cls))

    def setup(self) -> None:
        service = self.container.service_name
        uri = self.container.config["DB_URIS"][f"{service}:{self.declarative_base.__name__}"]
        self.db_uri = uri
        # one connection for each worker, and as many for sagas, relay and timers
        self.engine = new_engine(uri, pool_size=2 * self.container.max_workers + 4)
        self.sessions = Sessions(self.engine)
        self.Session = self.sessions.factory

    def get_dependency(self, worker_ctx: Any) -> WorkerDatabase:
        database = WorkerDatabase(self.Session)
        self.dbs[worker_ctx] = database
        return database
