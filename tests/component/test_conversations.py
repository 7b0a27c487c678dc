"""Conversations on a real database: whose they are, what becomes of each word and yes, and that it happens once."""

import uuid
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import func, select

from chassis.db import shift_clock
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.tables import inbox, outbox
from chassis.types import Caller, Money
from contracts.amendments import Exchange, Return
from contracts.orders import (
    AmendmentFailed,
    ExchangeSettled,
    OrderCancelled,
    OrderChanged,
    OrderRejected,
    ReturnSettled,
)
from contracts.support import NewArticle, Who
from services.support import articles, handing, store
from services.support.answers import articles_of_the_house
from services.support.domain import STATES
from services.support.models import Conversation, Happening, Question, Reading
from services.support.talk import memory
from services.support.talk.memory import Memory, Suggestion
from tests.support_desk import ADA, BEN, ORDER, SETTINGS, Desk, fact, proposal

EUR = dict(currency="EUR")
LATER = timedelta(seconds=901)


@pytest.fixture
def desk(open_database, monkeypatch):
    return Desk(open_database("support"), monkeypatch)


class Answered:
    """What a service's answer has that is looked at."""

    def __init__(self, **values):
        self.__dict__.update(values)


PENDING = Answered(id=ORDER, status="cancelling")


def refused(code, call, *args, **kwargs):
    with pytest.raises(ServiceError) as refusal:
        call(*args, **kwargs)
    assert refusal.value.code == code
    return refusal.value


def key():
    return uuid.uuid4().hex


def rows(desk, table):
    with desk.database.read() as session:
        return session.execute(select(table)).all()


def count(desk, model):
    with desk.database.read() as session:
        return session.scalar(select(func.count()).select_from(model))


def put(desk, conversation, status, **values):
    """Have a conversation in a state, as the desk would."""
    with desk.database.write() as session:
        store.change(session, conversation.id, status=status, **values)


def told_events(desk):
    return [msgspec.json.decode(row.payload) for row in rows(desk, outbox)]


def hear(handler, told):
    handler(msgspec.to_builtins(told))


# --- beginning


def test_a_customer_begins_and_is_answered(desk):
    desk.assistant.will("Good day!", memory={"seen": 1}, sources=[])
    begun = desk.begin(message="Hello, my order is late", subject="Late")
    assert (begun.status, begun.language, begun.subject, begun.token) == ("bot", "en", "Late", None)
    assert [(each.sender, each.text) for each in begun.messages] == [
        ("customer", "Hello, my order is late"),
        ("assistant", "Good day!"),
    ]
    assert desk.shown(begun) == begun
    (turn,) = desk.assistant.heard
    assert (turn.customer_id, turn.language, turn.memory, turn.open_actions) == ("ada", "en", {}, [])
    desk.say(begun)
    assert desk.assistant.heard[1].memory == {"seen": 1}


def test_a_repeated_begin_begins_one(desk):
    begun = [desk.service.begin(ADA, "Hello", key="k") for _ in range(3)]
    assert begun[0] == begun[1] == begun[2]
    assert (count(desk, Conversation), len(desk.assistant.heard)) == (1, 1)
    refused("command.key_reused", desk.service.begin, ADA, "Something else", key="k")


def test_what_has_no_subject_is_called_as_it_begins(desk):
    assert desk.begin(message="x" * 300).subject == "x" * 79 + "…"


def test_a_guest_has_a_token_that_is_nowhere_at_rest(desk):
    nobody = desk.as_customer(None)
    begun = nobody.begin(Who(), "Hello", key="k")
    guest = Who(token=begun.token)
    assert len(begun.token) == 43
    assert nobody.get(guest, begun.id).token is None
    assert nobody.begin(Who(), "Hello", key="k").id != begun.id
    nobody.say(guest, begun.id, "And now?", key="k")
    held = [rows(desk, table) for table in (Conversation.__table__, Happening.__table__, inbox)]
    assert all(held)
    assert begun.token not in repr(held)
    refused("request.invalid", nobody.begin, guest, "Hello", key="k2")


def test_a_guest_is_offered_nothing(desk):
    desk.assistant.will("Shall I?", proposals=[proposal()])
    begun = desk.as_customer(None).begin(Who(), "Cancel", key="k")
    assert [each.actions for each in begun.messages] == [[], []]


def test_an_order_has_to_be_the_customers(desk):
    desk.orders.answers["get"] = ServiceError("orders.not_found", "No.")
    refused("support.order_not_found", desk.begin, order_id=ORDER)
    refused("support.order_not_found", desk.begin, who=Who(), order_id=ORDER)
    assert count(desk, Conversation) == 0
    desk.orders.answers["get"] = object()
    assert desk.begin(order_id=ORDER).order_id == ORDER
    assert set(desk.orders.callers) == {Caller(customer_id="ada", roles=("customer",))}
    assert desk.assistant.heard[0].order_id == ORDER


def test_a_customer_has_twenty_open_ones_also_if_many_begin_at_once(desk):
    for _ in range(18):
        desk.begin()
    begun = desk.at_once(*[lambda on: on.begin(ADA, "Hello", key=key()) for _ in range(4)])
    assert sorted(getattr(each, "code", "begun") for each in begun) == ["begun"] * 2 + ["support.too_many"] * 2
    assert count(desk, Conversation) == 20
    assert desk.begin(BEN).status == "bot"
    one = desk.service.find("ada", limit=1).items[0]
    desk.service.rate(ADA, one.id, 5, key="r")
    desk.begin()


# --- whose


def test_nobody_elses_conversation_is_found(desk):
    conversation, action = desk.offered()
    guests = desk.as_customer(None).begin(Who(), "Hello", key="k")
    before = desk.shown(conversation)
    ben, nobody = desk.as_customer("ben"), desk.as_customer(None)
    tries = [
        (ben, BEN),
        (ben, ADA),
        (ben, Who()),
        (ben, Who(token="x" * 43)),
        (nobody, Who()),
        (nobody, Who(token=guests.token)),
        (nobody, ADA),
        (nobody, Who(customer_id="ada", token=guests.token)),
    ]
    for service, who in tries:
        refused("support.not_found", service.get, who, conversation.id)
        refused("support.not_found", service.events, who, conversation.id)
        refused("support.not_found", service.say, who, conversation.id, "Hello", key=key())
        refused("support.not_found", service.confirm, who, conversation.id, action.id, key=key())
        refused("support.not_found", service.decline, who, conversation.id, action.id, key=key())
        refused("support.not_found", service.hand_over, who, conversation.id, key=key())
        refused("support.not_found", service.rate, who, conversation.id, 1, key=key())
    refused("support.not_found", desk.service.get, ADA, "nothing")
    refused("auth.forbidden", ben.find, "ada")
    refused("auth.forbidden", ben.begin, ADA, "Hello", key="k")
    assert desk.shown(conversation) == before
    assert [call for call, *_ in desk.orders.calls] == []


def test_staff_reads_any_and_that_is_written_down(desk):
    conversation = desk.begin()
    sam = desk.as_staff("sam")
    for _ in range(2):
        assert sam.get(Who(customer_id="sam"), conversation.id).messages == conversation.messages
    assert len(sam.events(Who(customer_id="sam"), conversation.id).items) == 2
    assert [(row.conversation_id, row.reader) for row in rows(desk, Reading.__table__)] == [(conversation.id, "sam")]
    refused("support.not_found", sam.say, Who(customer_id="sam"), conversation.id, "Hello", key="k")
    assert [each.id for each in sam.find("ada").items] == [conversation.id]


def test_customers_see_no_notes_and_not_who_of_staff_it_was(desk):
    conversation = desk.begin()
    with desk.database.write() as session:
        store.tell(session, conversation.id, "message", "sam", sender="staff", text="A word for us.", note=True)
        store.tell(session, conversation.id, "message", "sam", sender="staff", text="Hello, I am Sam.")
        store.tell(session, conversation.id, "assignment", "sam", assigned_to="sam")
    seen, happened = desk.shown(conversation), desk.service.events(ADA, conversation.id)
    assert [each.text for each in seen.messages][-1] == "Hello, I am Sam."
    assert (seen.messages[-1].author, len(seen.messages), happened.last) == ("staff", 3, 5)
    assert [(each.sequence, each.author, each.assigned_to) for each in happened.items] == [
        (1, "ada", None),
        (2, "assistant", None),
        (4, "staff", None),
        (5, "staff", "staff"),
    ]
    staff = desk.as_staff("sue")
    assert [each.author for each in staff.events(Who(), conversation.id, 2).items] == ["sam"] * 3
    assert [each.note for each in staff.get(Who(), conversation.id).messages] == [False, False, True, False]


# --- saying


def test_a_repeated_message_is_kept_and_answered_once(desk):
    conversation = desk.begin()
    said = [desk.service.say(ADA, conversation.id, "And now?", key="k") for _ in range(3)]
    assert said[0] == said[1] == said[2]
    assert (len(desk.shown(conversation).messages), len(desk.assistant.heard)) == (4, 2)
    refused("command.key_reused", desk.service.say, ADA, conversation.id, "Other", key="k")


def test_the_same_message_sent_at_once_is_kept_once(desk):
    conversation = desk.begin()
    said = desk.at_once(*[lambda on: on.say(ADA, conversation.id, "And now?", key="k") for _ in range(4)])
    assert said == [said[0]] * 4
    assert len(desk.shown(conversation).messages) == 4


def test_many_messages_at_once_are_all_kept_each_with_its_answer(desk):
    conversation = desk.begin()
    said = desk.at_once(*[lambda on, n=n: on.say(ADA, conversation.id, f"No {n}", key=key()) for n in range(4)])
    assert [each.reply is not None for each in said] == [True] * 4
    seen = [each.sender for each in desk.shown(conversation).messages]
    assert seen == ["customer", "assistant"] * 5


def test_the_assistant_is_asked_again_if_something_else_happened_meanwhile(desk):
    conversation = desk.begin()
    changes = iter([None, None])

    def meanwhile():
        if next(changes, "done") is None:
            with desk.database.write() as session:
                store.change(session, conversation.id, priority="high")

    desk.assistant.meanwhile = meanwhile
    desk.say(conversation)
    assert (len(desk.assistant.heard), len(desk.shown(conversation).messages)) == (4, 4)


def test_a_conversation_in_which_something_goes_on_happening_is_an_unknown_outcome(desk):
    conversation = desk.begin()

    def meanwhile():
        with desk.database.write() as session:
            store.change(session, conversation.id, priority="high")

    desk.assistant.meanwhile = meanwhile
    with pytest.raises(OutcomeUnknown):
        desk.say(conversation)
    desk.assistant.meanwhile = None
    assert (len(desk.assistant.heard), len(desk.shown(conversation).messages)) == (6, 2)


@pytest.mark.parametrize("exc", [OutcomeUnknown("orders", "silent"), ServiceError("orders.not_found", "No.")])
def test_an_assistant_that_cannot_know_now_says_so(desk, exc):
    conversation = desk.begin()
    desk.assistant.says.append(exc)
    assert desk.say(conversation).reply.text.startswith("I cannot look this up")
    desk.assistant.says.append(exc)
    assert desk.say(conversation, "我的订单在哪里").reply.text.startswith("我现在查不到")


def test_what_was_asked_before_nothing_could_be_said_is_not_open_to_a_yes_or_a_number(desk):
    asked = Memory(offered=True, choosing=["a"], suggestion=Suggestion(intent="human"), topic="orders")
    desk.assistant.will("Shall I?", memory=memory.kept(asked))
    conversation = desk.begin()
    desk.assistant.says.append(OutcomeUnknown("orders", "silent"))
    desk.say(conversation, "And where is it?")
    desk.say(conversation, "Yes")
    assert memory.load(desk.assistant.heard[-1].memory) == Memory(topic="orders")


def test_the_language_follows_the_customer_and_a_number_keeps_it(desk):
    conversation = desk.begin(message="你好")
    for text, language in ((ORDER, "zh"), ("12 - 13", "zh"), ("Where is it?", "en"), ("谢谢", "zh")):
        desk.say(conversation, text)
        assert (desk.assistant.heard[-1].language, desk.shown(conversation).language) == (language, language)


def test_the_five_hundredth_message_is_the_last(desk):
    conversation = desk.begin()
    with desk.database.write() as session:
        store.held(session, conversation.id)
        for n in range(496):
            store.tell(session, conversation.id, "message", "ada", sender="customer", text=f"No {n}")
    desk.say(conversation)
    asked = len(desk.assistant.heard)
    refused("support.too_long", desk.say, conversation)
    assert (count(desk, Happening), len(desk.assistant.heard)) == (500, asked)
    seen = desk.shown(conversation).messages
    assert (len(seen), seen[-2].text, seen[0].text) == (200, "And now?", "No 298")


def test_the_assistant_asks_as_the_customer_whoever_calls(desk):
    desk.orders.answers["find"] = desk.orders.answers["get"] = object()
    for who, caller in ((ADA, Caller(customer_id="ada", roles=("customer",))), (Who(), Caller())):
        for service in (desk.service, desk.as_staff("ada")):
            service.begin(who, "Hello", key=key())
            desk.assistant.ports.orders.find()
            assert desk.orders.callers[-1] == caller


def test_a_question_without_an_answer_is_kept_for_the_editors(desk):
    desk.assistant.will("I do not know.", unanswered=True, nearest="currency")
    conversation = desk.begin(message="Do you sell ships? Mail me at ada@rialto.example")
    (row,) = rows(desk, Question.__table__)
    assert (row.text, row.nearest, row.language) == (
        "Do you sell ships? Mail me at a***@rialto.example",
        "currency",
        "en",
    )
    assert row.conversation_id == conversation.id


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("ab\x1b[31mc\x07", "ab[31mc"),
        ("pay\u202eevil\u2066\u200b now", "payevil now"),
        ("x" * 4000, "x" * 4000),
        ("one\r\ntwo", "one\ntwo"),
        ("\U0001f469\u200d\U0001f680 hi", "\U0001f469\u200d\U0001f680 hi"),
        ("Robert'); DROP TABLE conversation;--", "Robert'); DROP TABLE conversation;--"),
        ("{order_id} %s {{7*7}}", "{order_id} %s {{7*7}}"),
        ("我的卡号是4111111111111111", "我的卡号是***"),
        ("my card is 4111 1111 1111 1111.", "my card is ***."),
        ("IBAN NL91 ABNA 0417 1643 00 please", "IBAN *** please"),
        ("call +31 20 123 4567", "call ***"),
        ("电话13812345678", "电话***"),
        (f"order {ORDER} KITCHEN-0025-INK", f"order {ORDER} KITCHEN-0025-INK"),
        ("1 Quay, 2611 AA Delft, NL", "1 Quay, 2611 AA Delft, NL"),
    ],
)
def test_hostile_and_personal_texts_are_cleaned_and_otherwise_kept_as_they_are(desk, text, kept):
    conversation = desk.begin(message=text)
    said = desk.say(conversation, text)
    assert said.message.text == kept
    assert [each.text for each in desk.shown(conversation).messages][::2] == [kept, kept]
    assert {turn.text for turn in desk.assistant.heard} == {kept}
    assert kept == text or text not in repr(rows(desk, Happening.__table__) + rows(desk, inbox))


@pytest.mark.parametrize("text", ["\x00", "Hi\x00", "\u202e\u2066", " \n "])
def test_a_message_without_anything_to_read_is_refused(desk, text):
    refused("request.invalid", desk.begin, message=text)
    conversation = desk.begin()
    refused("request.invalid", desk.say, conversation, text)
    assert len(desk.shown(conversation).messages) == 2


# --- people


@pytest.mark.parametrize("before", list(STATES))
@pytest.mark.parametrize("after", list(STATES))
def test_a_conversation_moves_only_as_the_table_says_and_tells_so(desk, before, after):
    conversation = desk.begin()
    put(desk, conversation, before)
    happened = desk.service.events(ADA, conversation.id).last

    def move():
        with desk.database.write() as session:
            store.move(session, store.held(session, conversation.id), after, "sam")

    if after in STATES[before]:
        move()
        (told,) = desk.service.events(ADA, conversation.id, happened).items
        assert (told.kind, told.status, told.sequence) == ("state", after, happened + 1)
        assert desk.shown(conversation).status == after
    else:
        refused("support.closed", move)
        assert desk.shown(conversation).status == before
        assert desk.service.events(ADA, conversation.id).last == happened


@pytest.mark.parametrize(
    ("before", "more", "after", "answered"),
    [
        ("bot", {}, "bot", True),
        ("waiting", {}, "waiting", False),
        ("open", {}, "open", False),
        ("pending", {}, "open", False),
        ("solved", {}, "bot", True),
        ("solved", {"handed_over_at"}, "waiting", False),
    ],
)
def test_a_message_in_each_state_goes_to_whom_it_is_with(desk, before, more, after, answered):
    conversation = desk.begin()
    with desk.database.read() as session:
        at = store.get(session, conversation.id).created_at
    put(desk, conversation, before, **dict.fromkeys(more, at))
    asked = len(desk.assistant.heard)
    said = desk.say(conversation)
    assert (said.status, said.reply is not None, len(desk.assistant.heard) - asked) == (after, answered, int(answered))
    assert desk.shown(conversation).status == after
    assert "customer" in [each.sender for each in desk.shown(conversation).messages[2:]]


def test_a_solved_conversation_is_reopened_for_a_while_and_then_closed(desk):
    conversation = desk.begin()
    desk.service.rate(ADA, conversation.id, 4, key="r")
    shift_clock(timedelta(days=7, seconds=-5))
    assert desk.say(conversation).status == "bot"
    desk.service.rate(ADA, conversation.id, 3, key="r2")
    shift_clock(timedelta(days=14, seconds=5))
    refused("support.closed", desk.say, conversation)
    refused("support.closed", desk.service.hand_over, ADA, conversation.id, key="h")
    assert (desk.shown(conversation).status, len(desk.shown(conversation).messages)) == ("solved", 4)
    desk.service.close_idle()
    assert desk.shown(conversation).status == "closed"
    for call in (
        lambda: desk.say(conversation),
        lambda: desk.service.hand_over(ADA, conversation.id, key="h2"),
        lambda: desk.service.confirm(ADA, conversation.id, "a", key="c"),
        lambda: desk.service.decline(ADA, conversation.id, "a", key="d"),
    ):
        refused("support.closed", call)
    assert desk.service.rate(ADA, conversation.id, 1, key="r3").rating == 1


def test_what_nobody_goes_on_with_is_solved_in_the_end(desk):
    conversation, other = desk.begin(), desk.begin()
    put(desk, other, "open")
    shift_clock(timedelta(seconds=86_395))
    desk.service.close_idle()
    assert desk.shown(conversation).status == "bot"
    shift_clock(timedelta(seconds=86_405))
    for _ in range(2):
        desk.service.close_idle()
    assert (desk.shown(conversation).status, desk.shown(other).status) == ("solved", "open")


def test_asking_for_a_person_hands_over_once_with_what_was(desk):
    desk.orders.answers["cancel"] = ServiceError("orders.not_cancellable", "No.", {})
    conversation, action = desk.offered(message="Please cancel it")
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    for _ in range(2):
        handed = desk.service.hand_over(ADA, conversation.id, "Call me at +31 20 123 4567", key="h")
    again = desk.service.hand_over(ADA, conversation.id, "Please", key="h2")
    assert handed.status == again.status == "waiting"
    assert handed.messages[-1].text == "Somebody of our team will answer you here."
    (told,) = told_events(desk)
    assert (told["queue"], told["reason"], told["customer_id"], told["sequence"]) == (
        "en-orders",
        "Call me at ***",
        "ada",
        1,
    )
    (row,) = rows(desk, Conversation.__table__)
    assert row.summary == [
        "Why: Call me at ***",
        "Now asked: Please cancel it",
        "Answered about: do_cancel",
        "Offered: Do cancel. [refused, orders.not_cancellable]",
    ]
    assert row.handed_over_at < row.first_due_at < row.solve_due_at


def test_the_assistant_hands_over_in_the_same_turn(desk):
    conversation = desk.begin(message="你好")
    desk.assistant.will("好的。", hand_over="human", topic="money")
    said = desk.say(conversation, "我要人工")
    assert (said.status, said.reply.text) == ("waiting", "好的。")
    assert [each["queue"] for each in told_events(desk)] == ["zh-money"]
    assert desk.say(conversation, "喂?").reply is None


def test_a_solved_conversation_that_a_person_had_waits_for_the_desk_again(desk):
    conversation = desk.begin()
    desk.service.hand_over(ADA, conversation.id, key="h")
    with desk.database.write() as session:
        store.move(session, store.held(session, conversation.id), "solved", "sam")
    assert desk.say(conversation).status == "waiting"
    assert [(each["sequence"], each["reason"]) for each in told_events(desk)] == [(1, ""), (2, "")]


@pytest.mark.parametrize("status", ["waiting", "open", "pending"])
def test_what_somebody_works_on_is_not_rated(desk, status):
    conversation = desk.begin()
    put(desk, conversation, status)
    refused("support.not_solved", desk.service.rate, ADA, conversation.id, 5, key="r")
    assert desk.shown(conversation).rating is None


def test_the_last_rating_counts_and_a_late_repeat_does_not_come_back_over_it(desk):
    conversation = desk.begin()
    assert desk.service.rate(ADA, conversation.id, 2, "Hm.", key="r1").status == "solved"
    assert desk.service.rate(ADA, conversation.id, 5, key="r2").rating == 5
    assert desk.service.rate(ADA, conversation.id, 2, "Hm.", key="r1").rating == 5


# --- actions


def test_a_confirmed_action_is_done_once_as_the_customer_with_its_id_as_key(desk):
    desk.orders.answers["cancel"] = PENDING
    conversation, action = desk.offered()
    assert (action.status, action.kind, action.order_id) == ("offered", "cancel", ORDER)
    assert action.expires_at > conversation.created_at + timedelta(seconds=899)
    done = [desk.service.confirm(ADA, conversation.id, action.id, key=each) for each in ("a", "a", "b")]
    assert [each.status for each in done] == ["started"] * 3
    assert desk.orders.calls == [("cancel", (), dict(order_id=ORDER, reason="changed my mind", key=action.id))]
    assert desk.orders.callers == [Caller(customer_id="ada", roles=("customer",))]
    desk.service.drive_due()
    assert len(desk.orders.calls) == 1


def test_ten_yeses_at_once_do_it_once(desk):
    desk.orders.answers["cancel"] = PENDING
    conversation, action = desk.offered()
    answers = desk.at_once(
        *[lambda on: on.confirm(ADA, conversation.id, action.id, key=key()).status for _ in range(10)]
    )
    assert set(answers) <= {"confirmed", "started"}
    assert len(desk.orders.calls) == 1
    assert [each.status for each in statuses(desk, conversation)] == ["offered", "confirmed", "started"]


def statuses(desk, conversation):
    return [each.action for each in desk.service.events(ADA, conversation.id).items if each.kind == "action"]


def test_of_a_yes_and_a_no_at_once_one_counts(desk):
    desk.orders.answers["cancel"] = PENDING
    conversation, action = desk.offered()
    yes, no = desk.at_once(
        lambda on: on.confirm(ADA, conversation.id, action.id, key="y"),
        lambda on: on.decline(ADA, conversation.id, action.id, key="n"),
    )
    state = desk.action(conversation, action.id).status
    assert (state, len(desk.orders.calls)) in (("started", 1), ("declined", 0))
    loser = yes if state == "declined" else no
    assert loser.code == "support.action_over"


def test_a_declined_action_stays_undone(desk):
    conversation, action = desk.offered()
    for each in ("a", "b"):
        assert desk.service.decline(ADA, conversation.id, action.id, key=each).status == "declined"
    over = refused("support.action_over", desk.service.confirm, ADA, conversation.id, action.id, key="c")
    assert over.details == {"state": "declined"}
    desk.service.drive_due()
    assert desk.orders.calls == []
    refused("support.action_not_found", desk.service.confirm, ADA, conversation.id, "nothing", key="c")
    refused("support.action_not_found", desk.service.confirm, ADA, desk.begin().id, action.id, key="c")


def test_an_offer_expires_is_told_and_cannot_be_confirmed(desk):
    conversation, action = desk.offered()
    shift_clock(LATER)
    over = refused("support.action_over", desk.service.confirm, ADA, conversation.id, action.id, key="c")
    assert over.details == {"state": "expired"}
    for _ in range(2):
        desk.service.expire_offers()
    assert [each.status for each in statuses(desk, conversation)] == ["offered", "expired"]
    refused("support.action_over", desk.service.decline, ADA, conversation.id, action.id, key="d")
    assert desk.orders.calls == []


def test_what_was_said_yes_to_does_not_expire(desk):
    desk.orders.answers["cancel"] = OutcomeUnknown("orders", "silent")
    conversation, action = desk.offered()
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    shift_clock(LATER)
    desk.service.expire_offers()
    assert desk.action(conversation, action.id).status == "confirmed"


def test_a_yes_in_words_does_what_the_door_does(desk):
    desk.orders.answers["cancel"] = PENDING
    conversation, action = desk.offered()
    desk.assistant.will("I do it.", confirm=action.id)
    said = desk.service.say(ADA, conversation.id, "Yes", key="k")
    assert [(each.id, each.status) for each in said.reply.actions] == [(action.id, "confirmed")]
    assert [each.id for each in desk.assistant.heard[-1].open_actions] == [action.id]
    assert (desk.action(conversation, action.id).status, len(desk.orders.calls)) == ("started", 1)
    assert desk.service.say(ADA, conversation.id, "Yes", key="k") == said
    assert len(desk.orders.calls) == 1


def test_a_yes_to_several_does_each_once(desk):
    desk.orders.answers.update(cancel=PENDING, change=Answered(id=ORDER, status="confirmed"))
    conversation, action = desk.offered(proposal(), proposal("change_items", lines=[]))
    other = desk.shown(conversation).messages[-1].actions[1]
    desk.assistant.will("I do both.", confirm=action.id, confirm_too=[other.id])
    said = desk.service.say(ADA, conversation.id, "Yes", key="k")
    assert [(each.id, each.status) for each in said.reply.actions] == [
        (action.id, "confirmed"),
        (other.id, "confirmed"),
    ]
    assert desk.service.say(ADA, conversation.id, "Yes", key="k") == said
    assert [call[0] for call in desk.orders.calls] == ["cancel", "change"]
    assert {desk.action(conversation, each.id).status for each in (action, other)} == {"started"}


def test_a_no_in_words_and_what_is_withdrawn(desk):
    conversation, action = desk.offered(proposal(), proposal("return", lines=[]))
    other = desk.shown(conversation).messages[-1].actions[1]
    desk.assistant.will("Fine.", decline=action.id, withdraw=[other.id, "nothing"], proposals=[proposal("exchange")])
    said = desk.say(conversation, "No")
    assert [(each.kind, each.status) for each in said.reply.actions] == [
        ("cancel", "declined"),
        ("exchange", "offered"),
    ]
    assert desk.action(conversation, other.id).status == "expired"
    refused("support.action_over", desk.service.confirm, ADA, conversation.id, other.id, key="c")


def test_a_yes_in_words_that_comes_too_late_is_told_and_the_turn_is_kept(desk):
    conversation, action = desk.offered()

    def decline():
        desk.assistant.meanwhile = None
        shift_clock(LATER)

    desk.assistant.meanwhile = decline
    desk.assistant.will("I do it.", confirm=action.id)
    assert desk.say(conversation, "Yes").reply.actions == []
    assert desk.told(conversation)[-1] == (
        "system",
        "This cannot be confirmed any more. If you still want it, please ask again.",
    )
    assert desk.orders.calls == []


@pytest.mark.parametrize(
    ("kind", "wish", "call"),
    [
        ("cancel", dict(reason="late"), ("cancel", dict(order_id=ORDER, reason="late"))),
        (
            "change_address",
            dict(shipping_address={"city": "Delft"}),
            ("change", dict(order_id=ORDER, shipping_address={"city": "Delft"})),
        ),
        (
            "change_items",
            dict(lines=[{"sku": "A"}], payment_method={"type": "card"}),
            ("change", dict(order_id=ORDER, lines=[{"sku": "A"}], payment_method={"type": "card"})),
        ),
        (
            "change_payment",
            dict(payment_method={"type": "card"}),
            ("change", dict(order_id=ORDER, payment_method={"type": "card"})),
        ),
        (
            "exchange",
            dict(lines=[{"sku": "A"}]),
            ("begin_exchange", dict(order_id=ORDER, lines=[{"sku": "A"}])),
        ),
        (
            "return",
            dict(lines=[{"sku": "A"}], refund_to="original"),
            ("begin_return", dict(order_id=ORDER, lines=[{"sku": "A"}], refund_to="original")),
        ),
    ],
)
def test_each_kind_asks_the_method_that_does_it(desk, kind, wish, call):
    method, arguments = call
    desk.orders.answers[method] = OutcomeUnknown("orders", "silent")
    conversation, action = desk.offered(proposal(kind, **wish))
    assert desk.service.confirm(ADA, conversation.id, action.id, key="c").status == "confirmed"
    assert desk.orders.calls == [(method, (), dict(arguments, key=action.id))]


def test_freezing_an_account_is_done_at_once_and_said(desk):
    desk.accounts.answers["freeze"] = object()
    conversation, action = desk.offered(proposal("freeze_account", None, account_id="a-1", reason="stolen"))
    assert desk.service.confirm(ADA, conversation.id, action.id, 2.0, key="c").status == "done"
    assert desk.accounts.calls == [("freeze", (), dict(account_id="a-1", reason="stolen", key=action.id))]
    assert desk.accounts.callers == [Caller(customer_id="ada", roles=("customer",))]
    assert desk.told(conversation)[-1][1].startswith("The account is frozen")


def test_a_refusal_is_told_in_the_conversations_language(desk):
    desk.orders.answers["cancel"] = ServiceError("orders.not_cancellable", "It is shipped.")
    conversation, action = desk.offered(message="取消订单")
    refusal = desk.service.confirm(ADA, conversation.id, action.id, 1.0, key="c")
    assert (refusal.status, refusal.reason_code) == ("refused", "orders.not_cancellable")
    assert refusal.reason.startswith("订单已经不能取消")
    assert desk.told(conversation)[-1][1].startswith("这项操作未能完成")
    over = refused("support.action_over", desk.service.confirm, ADA, conversation.id, action.id, key="d")
    assert over.details == {"state": "refused"}


def test_a_refusal_without_words_of_ours_is_told_in_its_own(desk):
    desk.orders.answers["cancel"] = ServiceError("orders.moon", "The moon is full.")
    conversation, action = desk.offered()
    assert desk.service.confirm(ADA, conversation.id, action.id, key="c").reason == "The moon is full."
    assert desk.told(conversation)[-1] == ("system", "This could not be done: The moon is full.")


def test_an_unknown_outcome_is_tried_again_later_under_the_same_key_by_one(desk):
    desk.orders.answers["cancel"] = OutcomeUnknown("orders", "silent")
    conversation, action = desk.offered()
    assert desk.service.confirm(ADA, conversation.id, action.id, key="c").status == "confirmed"
    desk.service.drive_due()
    assert len(desk.orders.calls) == 1
    shift_clock(timedelta(seconds=3))
    desk.orders.answers["cancel"] = PENDING
    desk.at_once(*[lambda on: on.drive_due() for _ in range(4)])
    assert [call[2]["key"] for call in desk.orders.calls] == [action.id] * 2
    assert desk.action(conversation, action.id).status == "started"


def test_what_a_crash_left_is_done_by_the_timer(desk, monkeypatch):
    desk.orders.answers["cancel"] = PENDING
    conversation, action = desk.offered()
    monkeypatch.setattr(type(desk.service), "drive", lambda self, action_id: None)
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    monkeypatch.undo()
    assert desk.orders.calls == []
    desk.on(desk.database).drive_due()
    assert desk.action(conversation, action.id).status == "started"


def test_what_stays_unknown_is_handed_to_a_person_and_tried_no_more(desk):
    desk.orders.answers["cancel"] = OutcomeUnknown("orders", "silent")
    conversation, action = desk.offered()
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    for n in range(1, 6):
        shift_clock(timedelta(seconds=100 * n))
        desk.service.drive_due()
    seen = desk.shown(conversation)
    assert (len(desk.orders.calls), seen.status) == (3, "waiting")
    assert desk.action(conversation, action.id).status == "confirmed"
    assert [each.text for each in seen.messages if each.sender == "system"] == [
        "We still do not know whether this was done: Do cancel. A person looks at it now."
    ]
    hear(desk.service.on_order_cancelled, fact(OrderCancelled, reason="x", refunded=None))
    assert desk.action(conversation, action.id).status == "done"


def test_what_was_given_up_is_tried_again_where_somebody_confirms_it_once_more(desk):
    desk.orders.answers["cancel"] = OutcomeUnknown("orders", "silent")
    conversation, action = desk.offered()
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    for n in range(1, 6):
        shift_clock(timedelta(seconds=100 * n))
        desk.service.drive_due()
    desk.orders.answers["cancel"] = PENDING
    assert desk.as_staff("eve").act(conversation.id, action.id, key="a").status == "started"
    assert {call[2]["key"] for call in desk.orders.calls} == {action.id}
    assert desk.service.confirm(ADA, conversation.id, action.id, key="c2").status == "started"
    assert len(desk.orders.calls) == 4


def test_waiting_for_the_end_ends_with_the_time(desk):
    desk.orders.answers["cancel"] = PENDING
    conversation, action = desk.offered()
    assert desk.service.confirm(ADA, conversation.id, action.id, 0.3, key="c").status == "started"


# --- ends


def begun(desk, kind="cancel", answer=PENDING, method="cancel", **wish):
    desk.orders.answers[method] = answer
    conversation, action = desk.offered(proposal(kind, **wish))
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    return conversation, action


def test_a_cancelled_order_ends_its_action_once_with_the_amount(desk):
    conversation, action = begun(desk)
    told = fact(OrderCancelled, reason="x", refunded=Money(amount=1999, **EUR))
    for each in (told, told, msgspec.structs.replace(told, event_id="other")):
        hear(desk.service.on_order_cancelled, each)
    assert desk.action(conversation, action.id).status == "done"
    assert [text for sender, text in desk.told(conversation) if sender == "system"] == [
        f"Order {ORDER} is cancelled. 19.99 EUR is on its way back to you."
    ]


def test_an_event_that_is_there_before_the_answer_ends_it_and_the_answer_changes_nothing(desk):
    told = fact(OrderCancelled, reason="x", refunded=None)

    def cancel(**_):
        hear(desk.on(desk.database).on_order_cancelled, told)
        return PENDING

    conversation, _ = begun(desk, answer=cancel)
    hear(desk.service.on_order_cancelled, told)
    assert [each.status for each in statuses(desk, conversation)] == ["offered", "confirmed", "done"]
    assert [text for sender, text in desk.told(conversation) if sender == "system"] == [
        f"Order {ORDER} is cancelled. Nothing was charged."
    ]


def test_an_order_that_was_cancelled_before_ends_it_at_once(desk):
    payment = Answered(refunded=Money(amount=500, **EUR))
    conversation, action = begun(desk, answer=Answered(id=ORDER, status="cancelled", payment=payment))
    assert desk.action(conversation, action.id).status == "done"
    assert desk.told(conversation)[-1][1].endswith("5.00 EUR is on its way back to you.")


def test_an_order_that_was_rejected_meanwhile_ends_its_cancel(desk):
    conversation, action = begun(desk)
    hear(desk.service.on_order_rejected, fact(OrderRejected, reason="payments.declined", message="Declined."))
    ended = desk.action(conversation, action.id)
    assert (ended.status, ended.reason_code) == ("refused", "payments.declined")


def changed(**more):
    address = dict(name="Ada", line1="1 Quay", city="Delft", postal_code="2611", country="NL")
    nothing = Money(amount=0, **EUR)
    known = dict(lines=[], total=Money(amount=3000, **EUR), charged=nothing, refunded=nothing)
    known["shipping_address"] = msgspec.convert(address, OrderChanged.__annotations__["shipping_address"])
    return fact(OrderChanged, **{**known, **more})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "It comes to 30.00 EUR now."),
        (dict(charged=Money(amount=500, **EUR)), "5.00 EUR was charged."),
        (dict(refunded=Money(amount=500, **EUR)), "5.00 EUR is on its way back to you."),
    ],
)
def test_a_changed_order_ends_its_change_with_the_amount(desk, more, says):
    answer = Answered(id=ORDER, status="confirmed")
    conversation, action = begun(desk, "change_payment", answer, "change", payment_method={"type": "card"})
    hear(desk.service.on_order_changed, changed(**more))
    assert desk.action(conversation, action.id).status == "done"
    assert desk.told(conversation)[-1][1].endswith(says)


def test_a_change_that_is_not_begun_is_not_ended_by_another_one(desk):
    silent = OutcomeUnknown("orders", "silent")
    wish = dict(shipping_address=dict(name="Ada", line1="9 Elsewhere", city="Delft", postal_code="2611", country="NL"))
    conversation, action = begun(desk, "change_address", silent, "change", **wish)
    hear(desk.service.on_order_changed, changed())
    assert desk.action(conversation, action.id).status == "confirmed"
    there = msgspec.structs.replace(changed().shipping_address, line1="9 Elsewhere")
    hear(desk.service.on_order_changed, changed(shipping_address=there))
    assert desk.action(conversation, action.id).status == "done"


@pytest.mark.parametrize("answer", [OutcomeUnknown("orders", "silent"), Answered(id=ORDER, status="confirmed")])
def test_a_change_ends_its_action_by_the_key_that_it_was_asked_under(desk, answer):
    conversation, action = begun(desk, "change_payment", answer, "change", payment_method={"type": "card"})
    before = desk.action(conversation, action.id).status
    hear(desk.service.on_order_changed, changed(key="another", amendment_id="m-1"))
    failed = dict(kind="change", reason_code="payments.declined", message="Declined.")
    hear(desk.service.on_amendment_failed, fact(AmendmentFailed, key="another", amendment_id="m-1", **failed))
    assert desk.action(conversation, action.id).status == before
    hear(desk.service.on_order_changed, changed(key=action.id, amendment_id="m-2"))
    ended = desk.action(conversation, action.id)
    assert (ended.status, ended.subject_id) == ("done", "m-2")


def test_a_change_of_payment_that_is_not_begun_is_not_ended_by_an_event_without_a_key(desk):
    silent = OutcomeUnknown("orders", "silent")
    conversation, action = begun(desk, "change_payment", silent, "change", payment_method={"type": "card"})
    hear(desk.service.on_order_changed, changed())
    assert desk.action(conversation, action.id).status == "confirmed"


def test_what_failed_is_known_by_the_key_that_it_was_asked_under(desk):
    conversation, action = begun(desk)
    failed = fact(
        AmendmentFailed, amendment_id="m-1", kind="cancel", reason_code="x.y", message="Too late.", key=action.id
    )
    hear(desk.service.on_amendment_failed, failed)
    assert desk.action(conversation, action.id).status == "refused"


def test_what_is_older_than_an_offer_is_not_its_end(desk):
    old = changed()
    answer = Answered(id=ORDER, status="confirmed")
    conversation, action = begun(desk, "change_payment", answer, "change", payment_method={"type": "card"})
    hear(desk.service.on_order_changed, msgspec.structs.replace(old, occurred_at=old.occurred_at - timedelta(days=1)))
    assert desk.action(conversation, action.id).status == "started"


def test_a_return_is_registered_at_once_and_ends_when_it_was_looked_at(desk):
    at = fact(OrderRejected, reason="", message="").occurred_at.replace(year=2027, month=3, day=7)
    answer = Return(
        id="r-1",
        order_id=ORDER,
        status="waiting",
        lines=[],
        refund_to="original",
        expires_at=at,
        created_at=at,
        updated_at=at,
    )
    conversation, action = begun(desk, "return", answer, "begin_return", lines=[])
    seen = desk.action(conversation, action.id)
    assert (seen.status, seen.subject_id) == ("started", "r-1")
    assert desk.told(conversation)[-1][1].endswith("Please send the goods back until 7 March 2027.")
    about = dict(lines=[], refund=Money(amount=700, **EUR), refund_to="original")
    hear(desk.service.on_return_settled, fact(ReturnSettled, return_id="another", **about))
    assert desk.action(conversation, action.id).status == "started"
    hear(desk.service.on_return_settled, fact(ReturnSettled, return_id="r-1", **about))
    assert desk.action(conversation, action.id).status == "done"
    assert desk.told(conversation)[-1][1].endswith("7.00 EUR is on its way back to you.")


def test_an_exchange_ends_with_its_difference_also_before_its_answer(desk):
    conversation, action = begun(desk, "exchange", OutcomeUnknown("orders", "silent"), "begin_exchange", lines=[])
    told = fact(
        ExchangeSettled,
        exchange_id="x-1",
        lines=[],
        difference=Money(amount=-300, **EUR),
        tracking=None,
        expires_at=conversation.created_at,
    )
    hear(desk.service.on_exchange_settled, told)
    ended = desk.action(conversation, action.id)
    assert (ended.status, ended.subject_id) == ("done", "x-1")
    assert "3.00 EUR is on its way back to you" in desk.told(conversation)[-1][1]
    desk.orders.answers["begin_exchange"] = Exchange(
        id="x-1",
        order_id=ORDER,
        status="settled",
        lines=[],
        difference=Money(amount=-300, **EUR),
        created_at=conversation.created_at,
        updated_at=conversation.created_at,
    )
    shift_clock(timedelta(seconds=60))
    desk.service.drive_due()
    assert len(desk.orders.calls) == 1


def test_an_event_about_an_order_that_nobody_talked_of_changes_nothing(desk):
    conversation, action = desk.offered()
    hear(desk.service.on_order_cancelled, fact(OrderCancelled, reason="x", refunded=None))
    assert desk.action(conversation, action.id).status == "offered"


# --- lists


def test_a_customers_conversations_come_in_pages_the_newest_first(desk):
    begun = [desk.begin().id for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = desk.service.find("ada", limit=2, cursor=cursor)
        seen += [each.id for each in page.items]
        assert all(each.messages == [] for each in page.items)
        if (cursor := page.next_cursor) is None:
            break
    assert seen == begun[::-1]
    refused("support.bad_cursor", desk.service.find, "ada", cursor="x")


def test_events_come_by_number_without_gaps(desk):
    desk.orders.answers["cancel"] = PENDING
    conversation, action = desk.offered()
    desk.service.confirm(ADA, conversation.id, action.id, key="c")
    desk.service.hand_over(ADA, conversation.id, key="h")
    all_of_it = desk.service.events(ADA, conversation.id)
    assert [each.sequence for each in all_of_it.items] == list(range(1, all_of_it.last + 1))
    assert [each.kind for each in all_of_it.items] == ["message"] * 2 + ["action"] * 3 + ["state", "message"]
    assert [each.action.status for each in all_of_it.items[2:5]] == ["offered", "confirmed", "started"]
    later = desk.service.events(ADA, conversation.id, all_of_it.last - 1)
    assert [each.message.text for each in later.items] == ["Somebody of our team will answer you here."]
    assert desk.service.events(ADA, conversation.id, all_of_it.last).items == []
    assert desk.service.events(ADA, conversation.id, 10_000).last == 10_000


def test_a_person_is_asked_for_with_what_was_said_last(desk):
    conversation = desk.begin(message="First")
    for n in range(8):
        desk.say(conversation, f"Question {n}")
    with desk.database.write() as session:
        handing.hand_over(session, store.held(session, conversation.id), SETTINGS, "system", "")
    (row,) = rows(desk, Conversation.__table__)
    assert row.summary[0] == "Asked: First"
    assert row.summary[-2:] == ["Now asked: Question 7", "Answered about: greeting"]


def test_a_subject_that_masking_makes_longer_is_kept_as_far_as_there_is_room(desk):
    assert len(desk.begin(subject="a@b.co " * 28).subject) == 200


# --- questions for editors, and their articles


def test_what_could_not_be_answered_is_told_together_where_it_is_alike(desk):
    asked = ["Do you sell penguins?", "Do you sell any penguins", "Is the moon for sale?", "你们卖企鹅吗？"]
    for text in asked:
        desk.assistant.will("I do not know.", unanswered=True, nearest="stock")
        desk.begin(message=text)
    found = desk.service.unanswered()
    assert [(each.count, each.language, each.questions) for each in found[:1]] == [(2, "en", asked[1::-1])]
    assert {each.example for each in found[1:]} == set(asked[2:])
    assert [each.example for each in desk.service.unanswered("zh", 1)] == asked[3:]


def test_articles_that_a_later_version_comes_with_are_kept_beside_those_that_were_edited(desk):
    desk.service.answers.is_of.side_effect = lambda stamp: stamp is None
    with desk.database.write() as session:
        articles.keep(session, [each for each in articles_of_the_house() if each.topic == "currency"][:1])
    edited = NewArticle(title="Currencies", text="All prices are in euros now.")
    staff = desk.as_staff("sam")
    staff.write_article("currency", "en", edited, 1, key="k")
    desk.service.look_for_edits()
    assert len(staff.articles()) == len(articles_of_the_house())
    assert [each.version for each in staff.versions("currency", "en")] == [2, 1]
    guest = desk.as_customer(None)
    assert staff.article("currency", "en").author == "sam"
    assert guest.article("currency", "en").author == "rialto"
    assert {each.author for each in guest.articles()} == {"rialto"}


def votes(desk, topic="currency"):
    """By version, the newest first: how many it helped, and how many not."""
    return [(each.helpful, each.unhelpful) for each in desk.as_staff("sam").versions(topic, "en")]


def two_versions(desk):
    with desk.database.write() as session:
        articles.keep(session, [each for each in articles_of_the_house() if each.topic == "currency"])
    edited = NewArticle(title="Currencies", text="All prices are in euros now.")
    desk.as_staff("sam").write_article("currency", "en", edited, 1, key="w")


def test_a_customer_has_one_vote_for_each_version_and_the_last_word_counts(desk):
    two_versions(desk)
    ada, ben = desk.as_customer("ada"), desk.as_customer("ben")
    for helpful in (True, True, False):
        ada.vote(ADA, "currency", "en", 1, helpful, key=key())
    assert votes(desk) == [(0, 0), (0, 1)]
    ada.vote(ADA, "currency", "en", 2, True, key=key())
    ben.vote(BEN, "currency", "en", 1, True, key=key())
    assert votes(desk) == [(1, 0), (1, 1)]


def test_of_many_votes_of_one_at_once_one_counts(desk):
    two_versions(desk)
    told = desk.at_once(*[lambda on: on.vote(ADA, "currency", "en", 1, True, key=key()) for _ in range(4)])
    assert (told, votes(desk)) == ([None] * 4, [(0, 0), (1, 0)])


def test_a_guest_votes_by_the_token_of_a_conversation(desk):
    two_versions(desk)
    nobody = desk.as_customer(None)
    guest = Who(token=nobody.begin(Who(), "Hello", key="b").token)
    for _ in range(2):
        nobody.vote(guest, "currency", "en", 1, True, key=key())
    assert votes(desk) == [(0, 0), (1, 0)]
    refused("support.not_found", nobody.vote, Who(token="x" * 43), "currency", "en", 1, True, key=key())
    refused("auth.forbidden", nobody.vote, Who(), "currency", "en", 1, True, key=key())
    refused("auth.forbidden", nobody.vote, ADA, "currency", "en", 1, True, key=key())
    refused("auth.forbidden", desk.as_customer("ben").vote, ADA, "currency", "en", 1, True, key=key())
    refused("support.article_not_found", nobody.vote, guest, "currency", "en", 3, True, key=key())
    assert votes(desk) == [(0, 0), (1, 0)]
