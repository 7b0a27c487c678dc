"""Dead letters in the hands of operators: listed, replayed once, dropped; on SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta

import eventlet
import msgspec
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import select

from chassis.context import Call
from chassis.db import Database, WorkerDatabase, insert_new, now
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.provide import provided
from chassis.service import CallContext
from chassis.tables import dead_letter, handled, lease
from chassis.types import CUSTOMER, OPERATOR, Caller, Event, event
from services.notifications.models import Base

WHY = "the handler is mended"
OPERATORS_CALL = Call(trace_id="t", caller=Caller(customer_id="op-1", roles=(OPERATOR,)))


@event("bank", "card_seen", subscribers=("sink.on_card",))
class CardSeen(Event):
    email: str
    token: str


class SinkService(DeadLetterOperations):
    """Its effect is a row in the table of leases, which every service has."""

    name = "sink"
    call = provided(Call, CallContext())
    db = provided(WorkerDatabase, Database(Base))
    broken: Exception | None = None

    @handles(CardSeen)
    def on_card(self, fact: CardSeen) -> None:
        at = now(self.db.session)
        insert_new(self.db.session, lease, dict(name=fact.event_id, owner=fact.token, until=at))
        if self.broken is not None:
            raise self.broken


@pytest.fixture
def db(open_database):
    return open_database("notifications")


@pytest.fixture
def sink(db):
    return worker_factory(SinkService, db=db, call=OPERATORS_CALL)


def keep(db, number=1, handler="on_card", at=None, payload=None):
    """A letter as the handler's entry point leaves it; its id."""
    fact = CardSeen(
        event_id=f"e-{number}",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        aggregate_id="a",
        sequence=number,
        email="ada@rialto.example",
        token="tok_visa",
    )
    text = payload if payload is not None else msgspec.json.encode(fact).decode()
    with db.write() as session:
        row = dict(handler=handler, event_id=f"e-{number}", payload=text, error="ValueError: of ada@rialto.example")
        insert_new(session, dead_letter, {**row, "attempts": 8, "at": at or now(session)})
        return session.scalars(select(dead_letter.c.id).where(dead_letter.c.event_id == f"e-{number}")).one()


def rows_of(db):
    with db.read() as session:
        return {
            "letters": session.execute(select(dead_letter).order_by(dead_letter.c.id)).all(),
            "effects": session.scalars(select(lease.c.name).order_by(lease.c.name)).all(),
            "handled": session.scalars(select(handled.c.event_id)).all(),
        }


def refusal(ask, *args, **kwargs):
    with pytest.raises(ServiceError) as refused:
        ask(*args, **kwargs)
    return refused.value


def test_a_replayed_letter_has_its_effect_and_says_who_did_it(sink, db):
    letter_id = keep(db)
    letter = sink.replay_dead_letter(letter_id, WHY)
    assert (letter.state, letter.author, letter.reason, letter.service) == ("replayed", "op-1", WHY, "sink")
    after = rows_of(db)
    assert (after["effects"], after["handled"]) == (["e-1"], ["e-1"])
    assert [(row.state, row.attempts) for row in after["letters"]] == [("replayed", 8)]
    assert sink.find_dead_letters().items == []
    assert [each.id for each in sink.find_dead_letters(state="replayed").items] == [letter_id]


def test_replayed_again_it_has_no_second_effect(sink, db):
    letter_id = keep(db)
    first = sink.replay_dead_letter(letter_id, WHY)
    before = rows_of(db)
    assert sink.replay_dead_letter(letter_id, "once more") == first
    assert rows_of(db) == before


def test_an_event_that_was_handled_meanwhile_only_ends_its_letter(sink, db):
    letter_id = keep(db)
    with db.write() as session:
        insert_new(session, handled, dict(handler="on_card", event_id="e-1", at=now(session)))
    assert sink.replay_dead_letter(letter_id, WHY).state == "replayed"
    assert rows_of(db)["effects"] == []


@pytest.mark.parametrize("broken", [ZeroDivisionError("of ada@rialto.example"), ServiceError("sink.no", "tok_visa")])
def test_a_handler_that_fails_again_leaves_the_letter_with_one_more_attempt_and_no_effect(sink, db, broken):
    letter_id = keep(db)
    sink.broken = broken
    refused = refusal(sink.replay_dead_letter, letter_id, WHY)
    assert (refused.code, refused.details) == ("dead_letters.failed_again", {"attempts": 9})
    assert "ada@" not in refused.message
    assert "tok_visa" not in refused.message
    after = rows_of(db)
    assert (after["effects"], after["handled"]) == ([], [])
    (row,) = after["letters"]
    assert (row.state, row.attempts, row.author, row.closed_at) == ("dead", 9, None, None)
    sink.broken = None
    assert sink.replay_dead_letter(letter_id, WHY).state == "replayed"


@pytest.mark.parametrize("payload", ["no json", '{"event_id": "e-1"}'])
def test_what_is_no_event_of_ours_fails_again_and_can_be_dropped(sink, db, payload):
    letter_id = keep(db, payload=payload)
    assert refusal(sink.replay_dead_letter, letter_id, WHY).code == "dead_letters.failed_again"
    assert sink.drop_dead_letter(letter_id=letter_id, reason="a stranger's", key="k").state == "dropped"


def test_a_dropped_letter_is_never_handled(sink, db):
    letter_id = keep(db)
    letter = sink.drop_dead_letter(letter_id=letter_id, reason="a test message", key="k-1")
    assert (letter.state, letter.author, letter.reason) == ("dropped", "op-1", "a test message")
    before = rows_of(db)
    refused = refusal(sink.replay_dead_letter, letter_id, WHY)
    assert refused.code == "dead_letters.closed"
    assert refused.message == "It was dropped before, by op-1: a test message"
    assert rows_of(db) == before
    assert sink.drop_dead_letter(letter_id=letter_id, reason="again", key="k-2").reason == "a test message"


def test_a_replayed_letter_cannot_be_dropped(sink, db):
    letter_id = keep(db)
    sink.replay_dead_letter(letter_id, WHY)
    before = rows_of(db)
    refused = refusal(sink.drop_dead_letter, letter_id=letter_id, reason="too late", key="k")
    assert refused.code == "dead_letters.closed"
    assert rows_of(db) == before


def test_a_letter_whose_handler_is_gone_says_so(sink, db):
    letter_id = keep(db, handler="on_nothing")
    before = rows_of(db)
    assert refusal(sink.replay_dead_letter, letter_id, WHY).code == "dead_letters.no_handler"
    assert rows_of(db) == before


def test_a_letter_that_is_not_there_says_so(sink, db):
    assert refusal(sink.replay_dead_letter, 7, WHY).code == "dead_letters.not_found"
    assert refusal(sink.drop_dead_letter, letter_id=7, reason=WHY, key="k").code == "dead_letters.not_found"


def test_of_operators_at_once_one_replays_and_the_effect_is_there_once(sessions):
    sessions = sessions("notifications")
    workers = [worker_factory(SinkService, db=WorkerDatabase(sessions.factory), call=OPERATORS_CALL) for _ in range(3)]
    letter_id = keep(workers[0].db)
    threads = [
        eventlet.spawn(worker.replay_dead_letter, letter_id, f"{WHY} {number}") for number, worker in enumerate(workers)
    ]
    answers = {thread.wait().reason for thread in threads}
    assert len(answers) == 1
    assert rows_of(workers[0].db)["effects"] == ["e-1"]
    for worker in workers:
        worker.db.close()


def test_letters_are_shown_masked_newest_first_and_once_over_all_pages(sink, db):
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(5):
        keep(db, number, at=begun + timedelta(seconds=number // 2))
    keep(db, 9, handler="on_bell", at=begun)
    seen, cursor = [], None
    while True:
        page = sink.find_dead_letters(limit=2, cursor=cursor)
        seen += [each.event_id for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["e-4", "e-3", "e-2", "e-9", "e-1", "e-0"]
    (bell,) = sink.find_dead_letters(handler="on_bell").items
    assert bell.payload["email"] == "a***@rialto.example"
    assert bell.payload["token"] == "***"
    assert bell.error == "ValueError: of a***@rialto.example"
    assert refusal(sink.find_dead_letters, cursor="tampered").code == "dead_letters.bad_cursor"


def test_only_operators_may(sink, db):
    letter_id = keep(db)
    before = rows_of(db)
    sink.call = Call(trace_id="t", caller=Caller(customer_id="c", roles=(CUSTOMER, "staff")))
    assert refusal(sink.find_dead_letters).code == "auth.forbidden"
    assert refusal(sink.replay_dead_letter, letter_id, WHY).code == "auth.forbidden"
    assert refusal(sink.drop_dead_letter, letter_id=letter_id, reason=WHY, key="k").code == "auth.forbidden"
    assert rows_of(db) == before
