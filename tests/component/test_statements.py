"""Statements on the driver's own cursor answer what SQLAlchemy would: the same values, rows, counts and errors."""

import eventlet
import pytest
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from chassis.db import UtcDateTime, now, run, savepoint

thing = Table(
    "thing",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("kind", String(20)),
    Column("what", JSON),
    Column("at", UtcDateTime),
    Column("label", String(20), default=lambda: "made here"),
)
ADD = insert(thing)
OF_KINDS = select(thing).where(thing.c.kind.in_(("small", "large")), thing.c.id > bindparam("after")).order_by("id")
OF_IDS = select(thing.c.id).where(thing.c.id.in_(bindparam("of", expanding=True))).order_by("id")
RENAME = update(thing).where(thing.c.id == bindparam("of")).values(kind=bindparam("to")).returning(thing)


@pytest.fixture
def database(sessions):
    opened = sessions("inventory")
    with opened.write() as session:
        thing.metadata.create_all(session.connection())
    return opened


def add(session, number, kind="small"):
    row = dict(id=number, kind=kind, what={"n": [number]}, at=now(session), label="given")
    return run(session, ADD, **row), row


def test_values_come_back_as_they_went_in(database):
    with database.write() as session:
        added, row = add(session, 1)
        add(session, 2, "other")
        add(session, 3, "large")
    assert added.rowcount == 1
    with database.read() as session:
        found = run(session, OF_KINDS, after=0).all()
    assert [each._asdict() for each in found] == [row, {**found[1]._asdict(), "id": 3, "kind": "large"}]


def test_a_statement_runs_again_with_other_values_and_with_other_columns(database):
    with database.write() as session:
        run(session, ADD, id=1, kind="a")
        run(session, ADD, id=2, what=None)
        assert run(session, OF_IDS, of=[1, 2, 3]).scalars().all() == [1, 2]
        assert run(session, OF_IDS, of=[2]).scalars().all() == [2]
        assert [row.label for row in session.execute(select(thing.c.label))] == ["made here"] * 2


def test_an_update_tells_what_it_left_and_how_many_it_touched(database):
    with database.write() as session:
        _, row = add(session, 1)
        changed = run(session, RENAME, of=1, to="large")
        assert (changed.rowcount, changed.one()._asdict()) == (1, {**row, "kind": "large"})
        assert run(session, RENAME, of=9, to="large").one_or_none() is None


def test_an_error_has_sqlalchemys_name_and_tells_no_values(database):
    def add_twice():
        with database.write() as session:
            add(session, 1, "a secret")
            add(session, 1, "a secret")

    with pytest.raises(IntegrityError) as caught:
        add_twice()
    assert "a secret" not in str(caught.value)
    with database.read() as session:
        assert run(session, OF_IDS, of=[1]).all() == []


def test_what_the_session_writes_itself_belongs_to_the_same_transaction(database):
    def write_and_fail():
        with database.write() as session:
            add(session, 1)
            assert session.scalar(select(thing.c.id)) == 1
            session.execute(insert(thing).values(id=2))
            assert run(session, OF_IDS, of=[1, 2]).scalars().all() == [1, 2]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with database.read() as session:
        assert session.execute(select(thing)).all() == []


def test_a_savepoint_undoes_its_block_and_no_more(database):
    def fail_in_a_savepoint(session):
        with savepoint(session):
            add(session, 2)
            session.execute(insert(thing).values(id=3))
            raise ZeroDivisionError

    with database.write() as session:
        add(session, 1)
        with pytest.raises(ZeroDivisionError):
            fail_in_a_savepoint(session)
        with savepoint(session):
            add(session, 4)
    with database.read() as session:
        assert session.scalars(select(thing.c.id).order_by("id")).all() == [1, 4]


def test_a_time_out_in_a_statement_undoes_its_transaction_and_spoils_no_other(database):
    def wait_long():
        with database.write() as session:
            add(session, 1)
            run(session, select(func.pg_sleep(5)))

    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite does not wait inside of a statement")
    with pytest.raises(eventlet.Timeout), eventlet.Timeout(0.2):
        wait_long()
    for number in range(20):  # more than there are connections
        with database.write() as session:
            add(session, number + 2)
    with database.read() as session:
        assert session.scalars(select(thing.c.id).order_by("id")).all() == list(range(2, 22))
