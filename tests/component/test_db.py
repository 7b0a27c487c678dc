"""Databases under green threads: waiting that lets others run, one clock, reads that cannot write."""

import time
from datetime import UTC, datetime, timedelta, timezone

import eventlet
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import DeclarativeBase

from chassis import db
from chassis.commands import command
from chassis.context import Call, bound
from chassis.db import (
    Database,
    Sessions,
    UtcDateTime,
    WorkerDatabase,
    affected,
    insert_new,
    new_engine,
    now,
    shift_clock,
)
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.leases import give_back_lease, take_lease

moment = Table("moment", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime))
NOON = datetime(2024, 2, 29, 12, 0, 0, 123456, UTC)


class Base(DeclarativeBase):
    pass


@pytest.fixture
def database(sessions):
    opened = sessions("inventory")
    with opened.write() as session:
        moment.metadata.create_all(session.connection())
    return opened


@pytest.fixture
def sqlite(tmp_path):
    """Two processes' views of one SQLite file."""
    engines = [new_engine(f"sqlite:///{tmp_path}/shared.db", pool_size=5) for _ in range(2)]
    views = [Sessions(engine) for engine in engines]
    with views[0].write() as session:
        moment.metadata.create_all(session.connection())
    yield views
    for engine in engines:
        engine.dispose()


def count(sessions):
    with sessions.read() as session:
        return len(session.execute(select(moment)).all())


def put(session, number=1):
    session.execute(insert(moment).values(id=number, at=NOON))


# --- waiting for SQLite's lock


def test_a_write_waits_for_another_writer_while_the_hub_goes_on(sqlite):
    mine, other = sqlite
    turns, waited = [], []

    def write():
        with mine.write() as session:
            waited.append(len(turns))
            put(session, 2)

    with other.write() as session:
        put(session, 1)
        waiting = eventlet.spawn(write)
        while len(turns) < 20:
            turns.append(eventlet.sleep(0.005))
        assert waited == []
    with eventlet.Timeout(5):
        waiting.wait()
    assert waited == [20]
    assert count(mine) == 2


def test_a_write_that_cannot_begin_in_time_is_an_unknown_outcome_and_the_next_one_works(sqlite, monkeypatch):
    mine, other = sqlite
    monkeypatch.setattr(db, "BUSY_LIMIT_S", 0.1)
    worker = WorkerDatabase(mine.factory)
    with other.write() as session:
        put(session, 1)
        with pytest.raises(OutcomeUnknown, match="locked"), worker.write():
            pytest.fail("it must not begin")
    with worker.write() as session:
        put(session, 2)
    worker.close()
    assert count(mine) == 2


def test_waiting_for_the_lock_ends_with_the_deadline_of_the_call(sqlite):
    mine, other = sqlite
    with other.write() as session:
        put(session)
        begun = time.monotonic()
        with bound(Call(trace_id="t", deadline=time.time() + 0.1)), pytest.raises(OutcomeUnknown), mine.write():
            pytest.fail("it must not begin")
        assert 0.05 < time.monotonic() - begun < 3


def test_a_reader_does_not_wait_for_a_writer(sqlite):
    mine, other = sqlite
    with other.write() as session:
        put(session)
        assert count(mine) == 0
    assert count(mine) == 1


def test_writers_at_once_lose_nothing(database):
    def add(number):
        with database.write() as session:
            seen = len(session.execute(text("SELECT id FROM moment")).all())
            eventlet.sleep(0)
            put(session, number)
            return seen

    threads = [eventlet.spawn(add, number) for number in range(8)]
    with eventlet.Timeout(20):
        for thread in threads:
            thread.wait()
    assert count(database) == 8


# --- transactions


def test_an_exception_undoes_a_write(database):
    def fail():
        with database.write() as session:
            put(session)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count(database) == 0


def test_a_read_sees_one_state_of_the_data(database):
    with database.read() as reader:
        assert reader.execute(select(moment)).all() == []
        with database.write() as writer:
            put(writer)
        assert reader.execute(select(moment)).all() == []
    assert count(database) == 1


def test_nothing_can_be_written_in_a_read(database):
    with pytest.raises(DBAPIError, match=r"read-?only"), database.read() as session:
        put(session)
    assert count(database) == 0
    with database.write() as session:
        put(session)
    assert count(database) == 1


def test_a_read_inside_a_write_sees_it_and_does_not_undo_it(database):
    worker = WorkerDatabase(database.factory)
    with worker.write() as session:
        put(session)
        with worker.read() as same:
            assert len(same.execute(select(moment)).all()) == 1
    worker.close()
    assert count(database) == 1


def test_a_write_inside_a_write_is_refused_and_nothing_is_written(database):
    worker = WorkerDatabase(database.factory)

    def nest():
        with worker.write() as session:
            put(session)
            with worker.write():
                pytest.fail("it must not begin")

    with pytest.raises(RuntimeError, match="open already"):
        nest()
    worker.close()
    assert count(database) == 0


def test_insert_new_tells_whether_the_key_was_free(database):
    with database.write() as session:
        assert insert_new(session, moment, {"id": 1, "at": NOON})
        assert not insert_new(session, moment, {"id": 1, "at": NOON + timedelta(days=1)})
        assert session.scalar(select(moment.c.at)) == NOON
        assert affected(session, moment.delete().where(moment.c.id == 2)) == 0


# --- what a commit sets off


def test_a_note_sets_something_off_once_and_only_after_the_commit(database):
    seen = []
    database.on_commit("note", lambda value: seen.append((value, count(database))))
    with database.write() as session:
        put(session)
        session.info["note"] = "n"
        assert seen == []
    with database.write() as session:
        put(session, 2)
    assert seen == [("n", 1)]


@pytest.mark.parametrize("refused", [False, True])
def test_what_was_undone_sets_nothing_off(database, refused):
    seen = []
    database.on_commit("note", seen.append)
    worker = WorkerDatabase(database.factory)

    class NoteService:
        name = "note"
        db = Database(Base)

        @command
        def note(self, *, key: str) -> None:
            self.db.session.info["note"] = "n"
            raise ServiceError("note.no", "No.") if refused else ZeroDivisionError

    service = worker_factory(NoteService, db=worker)
    with pytest.raises((ServiceError, ZeroDivisionError)):
        service.note(key="k")
    with worker.write() as session:
        put(session)
    worker.close()
    assert seen == []


# --- time


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
def test_a_moment_comes_back_as_the_same_one_in_utc(database, zone):
    with database.write() as session:
        session.execute(insert(moment).values(id=1, at=NOON.astimezone(zone)))
        session.execute(insert(moment).values(id=2, at=None))
    with database.read() as session:
        found = session.scalars(select(moment.c.at).order_by(moment.c.id)).all()
    assert found == [NOON, None]
    assert found[0].utcoffset() == timedelta()


def test_a_naive_moment_is_refused(database):
    with pytest.raises(StatementError, match="naive datetime"), database.write() as session:
        session.execute(insert(moment).values(id=1, at=NOON.replace(tzinfo=None)))
    assert count(database) == 0


def test_moments_of_different_zones_compare_as_time_does(database):
    with database.write() as session:
        put(session)
        east = (NOON + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=9)))
        assert session.scalars(select(moment.c.id).where(moment.c.at < east)).all() == [1]
        assert session.scalars(select(moment.c.id).where(moment.c.at > east)).all() == []


def test_now_is_the_databases_time_and_tests_can_move_it(database):
    with database.read() as session:
        assert abs(now(session) - datetime.now(UTC)) < timedelta(seconds=5)
        assert now(session).utcoffset() == timedelta()
        shift_clock(timedelta(days=400))
        assert abs(now(session) - datetime.now(UTC) - timedelta(days=400)) < timedelta(seconds=5)


def test_now_goes_on_within_a_transaction(database):
    with database.write() as session:
        first = now(session)
        with eventlet.Timeout(5):
            while now(session) == first:
                eventlet.sleep(0.002)
        assert now(session) > first


# --- leases


def lease(database, owner):
    with database.write() as session:
        return take_lease(session, "job", owner, timedelta(seconds=10))


def test_one_owner_has_a_lease_and_keeps_it(database):
    assert [lease(database, owner) for owner in ("a", "b", "a", "b")] == [True, False, True, False]


def test_a_lease_that_is_over_goes_to_who_asks_first(database):
    lease(database, "a")
    shift_clock(timedelta(seconds=11))
    assert [lease(database, owner) for owner in ("b", "a")] == [True, False]


def test_a_lease_that_is_given_back_can_be_taken_at_once_but_not_by_giving_back_anothers(database):
    lease(database, "a")
    with database.write() as session:
        give_back_lease(session, "job", "b")
    assert lease(database, "b") is False
    with database.write() as session:
        give_back_lease(session, "job", "a")
    assert lease(database, "b") is True


def test_of_many_who_ask_at_once_one_gets_the_lease(database):
    threads = [eventlet.spawn(lease, database, str(number)) for number in range(6)]
    with eventlet.Timeout(20):
        assert [thread.wait() for thread in threads].count(True) == 1
