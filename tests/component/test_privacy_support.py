"""What support keeps about customers: what was said goes, what reports count stays."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from chassis.db import now, shift_clock
from chassis.tables import inbox
from contracts.support import Who
from services.support.models import Action, Conversation, Happening, Question
from tests.privacy import code_of, counted, erased, person, pruner, still_open, told
from tests.support_desk import ADA, BEN, ORDER, Desk, proposal

ADA_LEAVES, BEN_LEAVES = person("ada"), person("ben")
SECRET = "zebra"
TABLES = (Conversation.__table__, Happening.__table__, Action.__table__, Question.__table__)
STAFFS = ("claim", "mark", "note", "solve")


@pytest.fixture
def desk(open_database, monkeypatch):
    yield Desk(open_database("support"), monkeypatch)
    shift_clock(timedelta())


def kept(desk):
    """All that any table holds, but for staff's own answers, as text."""
    with desk.database.read() as session:
        queries = (*map(select, TABLES), select(inbox).where(inbox.c.command.not_in(STAFFS)))
        return repr([tuple(row) for query in queries for row in session.execute(query)])


def talk(desk, who=ADA, word=SECRET):
    """A conversation with the same word at every place."""
    offered = proposal(reason=word)
    desk.assistant.will(f"Shall I, {word}?", intent="do_cancel", proposals=[offered], memory={"word": word})
    begun = desk.begin(who, f"I am a {word}", subject=word)
    action = begun.messages[-1].actions[0]
    desk.service.decline(who, begun.id, action.id, key=f"no {begun.id}")
    desk.assistant.will(f"No, {word}.", memory={"word": word})
    desk.say(begun, f"{word}!", who)
    desk.service.hand_over(who, begun.id, f"a person for the {word}", key=f"h {begun.id}")
    eve = desk.as_staff("eve")
    eve.claim(begun.id, key=f"c {begun.id}")
    eve.mark(begun.id, tags=[word], key=f"m {begun.id}")
    eve.note(begun.id, f"rude to a {word}", key=f"n {begun.id}")
    eve.solve(begun.id, f"Done, {word}.", key=f"s {begun.id}")
    desk.service.rate(who, begun.id, 4, f"kind to a {word}", key=f"r {begun.id}")
    with desk.database.write() as session:
        question = dict(id=f"q {begun.id}", conversation_id=begun.id, language="en", text=f"a {word}?")
        session.execute(insert(Question).values(**question, at=now(session)))
    return begun


def report(desk):
    with desk.database.read() as session:
        today = now(session).date()
    return desk.service.report(today - timedelta(days=1), today + timedelta(days=1))


def test_a_customer_is_told_what_was_said(desk):
    talk(desk)
    talk(desk, BEN, "lion")
    kinds = told(desk.service, ADA_LEAVES)
    assert {kind: len(rows) for kind, rows in kinds.items() if kind != "message"} == {
        "conversation": 1,
        "action": 1,
        "question": 1,
        "repeatable_answer": 3,
    }
    assert kinds["conversation"][0]["rating_comment"] == "kind to a zebra"
    assert kinds["action"][0]["wish"] == {"reason": "zebra"}
    texts = [data["text"] for data in kinds["message"] if data["text"]]
    assert {"I am a zebra", "zebra!", "rude to a zebra", "Done, zebra."} <= set(texts)
    assert "lion" not in repr(kinds)


def test_what_was_said_goes_and_what_reports_count_stays(desk):
    talk(desk)
    other = talk(desk, BEN, "lion")
    before, bens, rows = report(desk), desk.shown(other, BEN), counted(desk.service, ADA_LEAVES)
    assert SECRET in kept(desk)
    changed = erased(desk.service, ADA_LEAVES)
    assert {kind: count for kind, count in changed.items() if kind != "message"} == {
        "conversation": 1,
        "action": 1,
        "question": 1,
        "repeatable_answer": 3,
    }
    assert SECRET not in kept(desk)
    assert (report(desk), desk.shown(other, BEN)) == (before, bens)
    assert "lion" in kept(desk)
    left = counted(desk.service, ADA_LEAVES)
    assert {kind: left[kind] for kind in ("conversation", "action", "question")} == dict.fromkeys(
        ("conversation", "action", "question"), 1
    )
    assert left["message"] == rows["message"] + 1  # that it was closed
    assert set(desk.service.erase(ADA_LEAVES, key="again").rows.values()) == {0}


def test_an_open_conversation_is_closed_and_its_offers_expire(desk):
    conversation, action = desk.offered()
    bens = desk.begin(BEN)
    erased(desk.service, ADA_LEAVES)
    assert (desk.shown(conversation).status, desk.action(conversation, action.id).status) == ("closed", "expired")
    assert desk.shown(bens, BEN).status == "bot"


def test_a_confirmed_action_refuses_until_it_has_ended(desk):
    conversation, action = desk.offered()
    desk.orders.answers["cancel"] = TimeoutError
    desk.service.drive = lambda action_id: None  # it is not begun
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    assert still_open(desk.service, ADA_LEAVES) == [f"action {action.id}"]
    desk.service.begin_erasure(BEN_LEAVES, key="another's")


def test_nothing_new_begins_for_who_is_leaving(desk):
    conversation, action = desk.offered()
    waits = desk.begin(message="A person please")
    desk.service.hand_over(ADA, waits.id, key="h")
    eve = desk.as_staff("eve")
    eve.claim(waits.id, key="c")
    desk.service.begin_erasure(ADA_LEAVES, key="e")
    before = kept(desk)
    doors = (
        desk.begin,
        lambda: desk.say(conversation),
        lambda: desk.service.confirm(ADA, conversation.id, action.id, key="c"),
        lambda: desk.service.hand_over(ADA, conversation.id, key="h"),
        lambda: eve.act(conversation.id, action.id, key="a"),
    )
    assert [code_of(door) for door in doors] == ["privacy.leaving"] * len(doors)
    assert kept(desk) == before
    desk.begin(BEN)
    desk.as_customer(None).begin(Who(), "Hello", key="guest")
    desk.service.cancel_erasure(person=ADA_LEAVES, key="e")
    desk.say(conversation)


def test_staff_proposes_nothing_to_who_is_leaving(desk, monkeypatch):
    conversation = desk.begin()
    monkeypatch.setattr("services.support.desk.offers.proposed", lambda *args: proposal())
    desk.service.begin_erasure(ADA_LEAVES, key="e")
    assert code_of(lambda: desk.as_staff("eve").propose(conversation.id, "cancel", ORDER, key="p")) == "privacy.leaving"


def test_what_was_said_goes_by_its_days_also_of_guests_and_not_before(desk):
    talk(desk)
    guest = desk.as_customer(None).begin(Who(), "I am a lion", key="guest")
    days = dict(conversation=5, message=5, action=5, question=5)
    prune = pruner(desk.database, desk.service, **days)
    shift_clock(timedelta(days=4, hours=23))
    assert prune.prune() == 0
    shift_clock(timedelta(days=5, hours=1))
    assert prune.prune() > 4
    assert told(desk.service, ADA_LEAVES)["conversation"][0]["subject"] == ""
    assert "I am a lion" in kept(desk)  # nobody ended it
    with desk.database.write() as session:
        session.execute(Conversation.__table__.update().where(Conversation.id == guest.id).values(status="closed"))
    assert prune.prune() > 0
    assert "I am a lion" not in kept(desk)
    assert prune.prune() == 0
