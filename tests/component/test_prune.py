"""Removal of old rows, on SQLite and PostgreSQL."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import func, insert, select

from chassis.db import now, shift_clock
from chassis.prune import BATCH, Pruner, forget_sagas
from chassis.saga import Saga, Step
from chassis.tables import handled, inbox, outbox, saga, saga_log
from contracts.orders import SagasForgotten
from tests.sagas import UNKNOWN, Agency, AgencyApi, Trip, arguments, begin, engine, trip_saga

DAY = 86_400


@pytest.fixture
def db(sessions):
    return sessions("orders")


def pruner(db, forgotten=SagasForgotten, **config):
    made = Pruner(forgotten)
    made.container = SimpleNamespace(config=config, service_name="orders")
    made.setup()
    made.sessions = db
    return made


def count(db, table):
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(table))


def keep_row(db, key, state="ok", saga_id=None, owner=None):
    with db.write() as session:
        at = now(session)
        row = dict(key=key, command="buy", input_hash="-", state=state, created_at=at, updated_at=at)
        session.execute(insert(inbox).values(**row, saga_id=saga_id, saga_owner=owner))


def test_ended_sagas_go_after_their_time_with_their_logs_and_it_is_told(db):
    trip = trip_saga()
    ended = [begin(engine(db, Agency(), trip), trip, key) for key in ("a", "b")]
    running = begin(engine(db, Agency(pay=[UNKNOWN]), trip), trip, "c")
    prune = pruner(db, saga_retention_s=DAY)
    assert prune.prune() == 0
    shift_clock(timedelta(days=2))
    assert prune.prune() == 2
    with db.read() as session:
        assert session.scalars(select(saga.c.id)).all() == [running]
        assert set(session.scalars(select(saga_log.c.saga_id))) == {running}
        (told,) = session.execute(select(outbox.c.event, outbox.c.payload)).all()
    assert told.event == "sagas_forgotten"
    assert all(saga_id in told.payload for saga_id in ended)
    assert prune.prune() == 0


def test_an_ended_saga_stays_while_its_parent_has_not_ended(db):
    inner = Saga("inner", version=1, data=Trip, deadline_s=60).pivot(Step("pay", AgencyApi.pay, arguments))
    sagas = engine(db, Agency(), inner)
    child, parent = begin(sagas, inner, "child"), begin(engine(db, Agency(pay=[UNKNOWN]), inner), inner, "parent")
    with db.write() as session:
        session.execute(saga.update().where(saga.c.id == child).values(parent_id=parent))
    shift_clock(timedelta(days=2))
    prune = pruner(db, saga_retention_s=DAY)
    assert prune.prune() == 0
    with db.write() as session:
        session.execute(saga.update().where(saga.c.id == parent).values(status="completed", wake_at=now(session)))
    assert prune.prune() == 1


def test_rows_of_clients_go_by_age_and_those_of_sagas_or_in_doubt_stay(db):
    for key, state in (("ok", "ok"), ("failed", "failed"), ("started", "started"), ("undoing", "undoing")):
        keep_row(db, key, state)
    keep_row(db, "saga's", saga_id="s1", owner="orders")
    with db.write() as session:
        session.execute(insert(handled).values(handler="h", event_id="e", at=now(session)))
    prune = pruner(db, inbox_retention_s=DAY, handled_retention_s=3 * DAY)
    shift_clock(timedelta(days=2))
    keep_row(db, "young")
    assert prune.prune() == 2
    with db.read() as session:
        assert set(session.scalars(select(inbox.c.key))) == {"started", "undoing", "saga's", "young"}
    shift_clock(timedelta(days=2, hours=25))
    assert prune.prune() == 2  # what was young, and the note
    assert count(db, handled) == 0


def test_more_than_a_batch_goes_in_several_transactions(db):
    with db.write() as session:
        at = now(session)
        rows = [dict(handler="h", event_id=str(n), at=at) for n in range(2 * BATCH + 1)]
        session.execute(insert(handled), rows)
    shift_clock(timedelta(days=40))
    assert pruner(db).prune() == 2 * BATCH + 1
    assert count(db, handled) == 0


def test_one_instance_prunes_at_a_time(db):
    with db.write() as session:
        session.execute(insert(handled).values(handler="h", event_id="e", at=now(session)))
    shift_clock(timedelta(days=40))
    first, second = pruner(db), pruner(db)
    assert (first.prune(), second.prune()) == (1, 0)
    with db.write() as session:
        session.execute(insert(handled).values(handler="h", event_id="f", at=now(session) - timedelta(days=40)))
    assert second.prune() == 0
    assert first.prune() == 1


def test_told_of_forgotten_sagas_a_service_removes_what_it_kept_for_them(db):
    keep_row(db, "one", saga_id="s1", owner="orders")
    keep_row(db, "two", saga_id="s2", owner="orders")
    keep_row(db, "other", saga_id="s1", owner="transactions")
    keep_row(db, "client's")
    with db.write() as session:
        assert forget_sagas(session, "orders", ["s1", "s9"]) == 1
    with db.read() as session:
        assert set(session.scalars(select(inbox.c.key))) == {"two", "other", "client's"}
