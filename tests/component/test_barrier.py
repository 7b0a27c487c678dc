"""The barrier: each row of the table in chassis/commands.py, for local and outside commands, on both databases."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import eventlet
import pytest
from eventlet.event import Event
from nameko.testing.services import worker_factory
from sqlalchemy import Column, Integer, MetaData, String, Table, func, select
from sqlalchemy.orm import DeclarativeBase

from chassis.commands import Outside, command, hash_of, undo
from chassis.context import Call, bound
from chassis.db import Database, WorkerDatabase
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.tables import inbox
from chassis.types import Caller, Message, Money

done = Table("done", MetaData(), Column("id", Integer, primary_key=True), Column("what", String))
LONGEST_KEY = 255
FULL = ServiceError("theatre.full", "No seat is left.", {"row": 3})
NO_MONEY = ServiceError("bank.no_money", "The account is empty.")
SILENT = OutcomeUnknown("bank", "it did not answer")


class Base(DeclarativeBase):
    pass


class Ticket(Message):
    seat: str
    price: Money
    at: datetime
    doors: tuple[str, ...] = ()


TICKET = Ticket(
    seat="A1",
    price=Money(amount=1999, currency="EUR"),
    at=datetime(2024, 2, 29, 12, 0, 0, 123456, UTC),
    doors=("north", "é"),
)


class Bank:
    """Another company. It answers as scripted, and knows what it was asked: (method, key)."""

    def __init__(self, **script: Any) -> None:
        self.script = script
        self.asked: list[tuple[str, str]] = []

    def ask(self, method: str, key: str) -> Any:
        self.asked.append((method, key))
        answers = self.script.get(method, ["ok"])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Event):
            answer = answer.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


class TheatreService:
    name = "theatre"
    db = Database(Base)
    refusing: ServiceError | None = None
    bank: Bank

    def note(self, what: str) -> None:
        self.db.session.execute(done.insert().values(what=what))

    def refuse(self) -> None:
        if self.refusing:
            raise self.refusing

    @command
    def book(self, seat: str, *, key: str) -> Ticket:
        self.note("booked")
        eventlet.sleep(0)
        self.refuse()
        return TICKET

    @undo
    def unbook(self, seat: str, *, key: str) -> None:
        self.note("unbooked")

    @command(retriable=True, beside=("guest",))
    def print_ticket(self, seat: str, guest: str | None = None, *, key: str) -> str:
        self.note("printed")
        self.refuse()
        return seat

    @command
    def pay(self, seat: str, *, key: str) -> Outside[str, Ticket]:
        self.note("asked")
        self.refuse()
        try:
            yield partial(self.bank.ask, "pay", key)
        except ServiceError:
            self.note("declined")
            raise
        self.note("paid")
        return TICKET

    @undo
    def pay_back(self, seat: str, *, key: str) -> Outside[str, None]:
        self.note("asked back")
        yield partial(self.bank.ask, "pay_back", key)
        self.note("paid back")

    @command(retriable=True)
    def send_home(self, seat: str, *, key: str) -> Outside[str, str]:
        yield partial(self.bank.ask, "send_home", key)
        return "sent"


@pytest.fixture
def database(sessions):
    opened = sessions("inventory")
    with opened.write() as session:
        done.metadata.create_all(session.connection())
    return opened


@pytest.fixture
def theatre(database):
    """A worker of the theatre; `theatre.another()` is one more of the same service."""
    opened = []

    def worker(bank=None, refusing=None):
        opened.append(WorkerDatabase(database.factory))
        service = worker_factory(TheatreService, db=opened[-1])
        service.bank, service.refusing = bank or Bank(), refusing
        service.another = partial(worker, service.bank)
        return service

    yield worker()
    for each in opened:
        each.close()


def effects(database):
    with database.read() as session:
        return list(session.scalars(select(done.c.what).order_by(done.c.id)))


def row(database, key="k"):
    with database.read() as session:
        return session.execute(select(inbox).where(inbox.c.key == key)).one_or_none()


def state(database, key="k"):
    found = row(database, key)
    return found and found.state


def refusal(call, *args, **kwargs):
    with pytest.raises(ServiceError) as refused:
        call(*args, **kwargs)
    return refused.value.code


def unknown(call, *args, **kwargs):
    with pytest.raises(OutcomeUnknown) as lost:
        call(*args, **kwargs)
    return lost.value


# --- action, no row


def test_a_local_action_commits_its_effect_with_its_row(theatre, database):
    assert theatre.book("A1", key="k") == TICKET
    assert (effects(database), state(database)) == (["booked"], "ok")


def test_a_refused_local_action_undoes_its_effect_and_keeps_its_code(theatre, database):
    theatre.refusing = FULL
    assert refusal(theatre.book, "A1", key="k") == "theatre.full"
    assert effects(database) == []
    kept = row(database)
    assert (kept.state, kept.code, kept.message, kept.details) == (
        "failed",
        "theatre.full",
        "No seat is left.",
        {"row": 3},
    )


def test_a_local_action_that_fails_otherwise_leaves_nothing(theatre, database):
    theatre.refusing = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        theatre.book("A1", key="k")
    assert (effects(database), state(database)) == ([], None)
    theatre.refusing = None
    assert theatre.book("A1", key="k") == TICKET


def test_an_outside_action_is_started_before_the_call_and_no_transaction_is_open_meanwhile(theatre, database):
    seen = []

    def look(method, key):
        seen.append((state(database), effects(database), theatre.db.session.in_transaction()))
        with database.write():  # on SQLite an open transaction of the worker would keep this one out
            return "ok"

    theatre.bank.ask = look
    assert theatre.pay("A1", key="k") == TICKET
    assert seen == [("started", ["asked"], False)]
    assert (effects(database), state(database)) == (["asked", "paid"], "ok")


def test_an_outside_action_refused_before_its_call_undoes_its_effect_and_asks_nobody(theatre, database):
    theatre.refusing = FULL
    assert refusal(theatre.pay, "A1", key="k") == "theatre.full"
    assert (effects(database), state(database), theatre.bank.asked) == ([], "failed", [])


def test_an_outside_action_refused_by_the_company_is_failed_with_what_it_noted(theatre, database):
    theatre.bank.script["pay"] = [NO_MONEY]
    assert refusal(theatre.pay, "A1", key="k") == "bank.no_money"
    assert (effects(database), state(database)) == (["asked", "declined"], "failed")


@pytest.mark.parametrize("lost", [SILENT, RuntimeError("crashed")])
def test_an_unknown_outside_call_leaves_started_and_the_repeat_asks_with_the_same_key(theatre, database, lost):
    theatre.bank.script["pay"] = [lost, "ok"]
    with pytest.raises(type(lost)):
        theatre.pay("A1", key="k")
    assert (effects(database), state(database)) == (["asked"], "started")
    assert theatre.another().pay("A1", key="k") == TICKET
    assert theatre.bank.asked == [("pay", "k"), ("pay", "k")]
    assert (effects(database), state(database)) == (["asked", "asked", "paid"], "ok")


def test_the_row_tells_which_saga_asked(theatre, database):
    with bound(Call(trace_id="t", caller=Caller(service="orders", saga_id="s-1"))):
        theatre.book("A1", key="k")
    assert (row(database).saga_owner, row(database).saga_id) == ("orders", "s-1")


# --- action, ok or failed


@pytest.mark.parametrize("action", ["book", "pay"])
def test_a_repeat_gets_the_stored_result_and_does_nothing(theatre, database, action):
    first = getattr(theatre, action)("A1", key="k")
    before = effects(database)
    assert getattr(theatre.another(), action)("A1", key="k") == first
    assert effects(database) == before
    assert len(theatre.bank.asked) == (1 if action == "pay" else 0)


@pytest.mark.parametrize("action", ["book", "pay"])
def test_a_repeat_of_a_refused_action_gets_the_same_refusal_whole(theatre, database, action):
    theatre.refusing = FULL
    refusal(getattr(theatre, action), "A1", key="k")
    with pytest.raises(ServiceError) as again:
        getattr(theatre.another(), action)("A1", key="k")
    assert (again.value.code, again.value.message, again.value.details) == (FULL.code, FULL.message, FULL.details)
    assert effects(database) == []


@pytest.mark.parametrize("action", ["book", "pay"])
@pytest.mark.parametrize("refusing", [None, FULL])
def test_the_same_key_with_other_input_is_refused_and_changes_nothing(theatre, database, action, refusing):
    theatre.refusing = refusing
    try:
        getattr(theatre, action)("A1", key="k")
    except ServiceError:
        pass
    before = (effects(database), state(database))
    assert refusal(getattr(theatre.another(), action), "B2", key="k") == "command.key_reused"
    assert (effects(database), state(database)) == before


def test_an_argument_beside_the_input_leaves_it_what_it_was_before_there_was_one(theatre, database):
    assert theatre.print_ticket("A1", key="k") == "A1"
    with database.read() as session:
        assert session.scalar(select(inbox.c.input_hash)) == hash_of([None, {"seat": "A1"}])
    assert theatre.another().print_ticket("A1", guest="Ada", key="k") == "A1"
    assert refusal(theatre.print_ticket, "B2", guest="Ada", key="k") == "command.key_reused"
    assert effects(database) == ["printed"]


def test_the_same_key_for_another_command_is_refused(theatre, database):
    theatre.book("A1", key="k")
    assert refusal(theatre.pay, "A1", key="k") == "command.key_reused"
    assert effects(database) == ["booked"]


# --- action, started


def test_other_input_for_a_started_key_is_refused_without_a_call(theatre, database):
    theatre.bank.script["pay"] = [SILENT]
    unknown(theatre.pay, "A1", key="k")
    assert refusal(theatre.pay, "B2", key="k") == "command.key_reused"
    assert (len(theatre.bank.asked), state(database)) == (1, "started")


def test_a_started_action_that_would_be_refused_now_stays_in_doubt_so_that_it_can_be_undone(theatre, database):
    theatre.bank.script["pay"] = [SILENT]
    unknown(theatre.pay, "A1", key="k")
    theatre.refusing = FULL
    unknown(theatre.pay, "A1", key="k")
    assert state(database) == "started"
    theatre.pay_back("A1", key="k")
    assert (theatre.bank.asked[-1], state(database)) == (("pay_back", "k"), "undone")


def test_the_company_that_refuses_the_repeat_ends_the_doubt(theatre, database):
    theatre.bank.script["pay"] = [SILENT, NO_MONEY]
    unknown(theatre.pay, "A1", key="k")
    assert refusal(theatre.pay, "A1", key="k") == "bank.no_money"
    assert (effects(database), state(database)) == (["asked", "asked", "declined"], "failed")


# --- action, taken back


def taken_back(theatre, action, how):
    """Bring a key into one of the states undoing, undone, fenced; its action and undo."""
    act, take_back = (theatre.book, theatre.unbook) if action == "book" else (theatre.pay, theatre.pay_back)
    if how != "fenced":
        act("A1", key="k")
    if how == "undoing":
        theatre.bank.script["pay_back"] = [SILENT]
        unknown(take_back, "A1", key="k")
    else:
        take_back("A1", key="k")
    return act, take_back


TAKEN_BACK = [("book", "undone"), ("book", "fenced"), ("pay", "undoing"), ("pay", "undone"), ("pay", "fenced")]


@pytest.mark.parametrize(("action", "how"), TAKEN_BACK)
@pytest.mark.parametrize("seat", ["A1", "B2"])
def test_an_action_after_its_undo_is_refused_whatever_its_input(theatre, database, action, how, seat):
    act, _ = taken_back(theatre, action, how)
    before, asked = effects(database), list(theatre.bank.asked)
    assert state(database) == how
    assert refusal(act, seat, key="k") == "saga.fenced"
    assert (effects(database), state(database), theatre.bank.asked) == (before, how, asked)


# --- undo


@pytest.mark.parametrize("take_back", ["unbook", "pay_back"])
def test_an_undo_of_what_never_came_does_nothing_and_keeps_it_out(theatre, database, take_back):
    getattr(theatre, take_back)("A1", key="k")
    assert (effects(database), state(database), theatre.bank.asked) == ([], "fenced", [])


def test_a_local_undo_takes_back_once(theatre, database):
    theatre.book("A1", key="k")
    theatre.unbook("A1", key="k")
    theatre.another().unbook("A1", key="k")
    assert (effects(database), state(database)) == (["booked", "unbooked"], "undone")


def test_a_local_undo_that_fails_can_be_repeated(theatre, database, monkeypatch):
    theatre.book("A1", key="k")
    with monkeypatch.context() as broken:
        broken.setattr(TheatreService, "note", lambda self, what: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            theatre.unbook("A1", key="k")
    assert state(database) == "ok"
    theatre.unbook("A1", key="k")
    assert (effects(database), state(database)) == (["booked", "unbooked"], "undone")


def test_an_outside_undo_is_marked_then_asked_by_the_key_of_the_action_then_done(theatre, database):
    theatre.pay("A1", key="k")
    seen = []
    ask = theatre.bank.ask

    def look(method, key):
        seen.append((method, key, state(database), theatre.db.session.in_transaction()))
        return ask(method, key)

    theatre.bank.ask = look
    theatre.pay_back("A1", key="k")
    theatre.pay_back("A1", key="k")
    assert seen == [("pay_back", "k", "undoing", False)]
    assert effects(database) == ["asked", "paid", "asked back", "paid back"]
    assert state(database) == "undone"


def test_an_undo_of_a_started_action_asks_the_company_to_take_it_back(theatre, database):
    theatre.bank.script["pay"] = [SILENT]
    unknown(theatre.pay, "A1", key="k")
    theatre.pay_back("A1", key="k")
    assert theatre.bank.asked == [("pay", "k"), ("pay_back", "k")]
    assert (effects(database), state(database)) == (["asked", "asked back", "paid back"], "undone")


def test_an_unknown_outside_undo_is_asked_again(theatre, database):
    theatre.pay("A1", key="k")
    theatre.bank.script["pay_back"] = [SILENT, "ok"]
    unknown(theatre.pay_back, "A1", key="k")
    assert state(database) == "undoing"
    theatre.another().pay_back("A1", key="k")
    assert theatre.bank.asked == [("pay", "k"), ("pay_back", "k"), ("pay_back", "k")]
    assert (effects(database)[-1], state(database)) == ("paid back", "undone")


@pytest.mark.parametrize(("action", "take_back"), [("book", "unbook"), ("pay", "pay_back")])
def test_an_undo_of_a_refused_action_changes_nothing(theatre, database, action, take_back):
    theatre.refusing = FULL
    refusal(getattr(theatre, action), "A1", key="k")
    getattr(theatre, take_back)("A1", key="k")
    assert (effects(database), state(database), theatre.bank.asked) == ([], "failed", [])


@pytest.mark.parametrize("take_back", ["unbook", "pay_back"])
def test_a_repeated_fence_changes_nothing(theatre, database, take_back):
    for _ in range(2):
        getattr(theatre, take_back)("A1", key="k")
    assert (effects(database), state(database), theatre.bank.asked) == ([], "fenced", [])


# --- retriable


def test_a_refusal_of_a_retriable_local_command_is_not_stored(theatre, database):
    theatre.refusing = FULL
    assert refusal(theatre.print_ticket, "A1", key="k") == "theatre.full"
    assert (effects(database), state(database)) == ([], None)
    theatre.refusing = None
    assert theatre.print_ticket("A1", key="k") == "A1"
    assert (effects(database), state(database)) == (["printed"], "ok")


def test_a_refusal_of_a_retriable_outside_command_is_not_stored(theatre, database):
    theatre.bank.script["send_home"] = [NO_MONEY, SILENT, "ok"]
    assert refusal(theatre.send_home, "A1", key="k") == "bank.no_money"
    assert state(database) is None
    unknown(theatre.send_home, "A1", key="k")
    assert theatre.send_home("A1", key="k") == "sent"
    assert ({key for _, key in theatre.bank.asked}, state(database)) == ({"k"}, "ok")


# --- at the same time


def in_green_threads(*calls):
    def outcome(call):
        try:
            return call()
        except (ServiceError, OutcomeUnknown) as exc:
            return exc

    return [thread.wait() for thread in [eventlet.spawn(outcome, call) for call in calls]]


def test_the_same_local_key_at_once_has_its_effect_once_and_both_get_the_answer(theatre, database):
    calls = [partial(theatre.another().book, "A1", key="k") for _ in range(4)]
    assert in_green_threads(*calls) == [TICKET] * 4
    assert effects(database) == ["booked"]


def test_a_local_action_and_its_undo_at_once_leave_nothing_done(theatre, database):
    for number in range(5):
        key = f"k{number}"
        acted, _ = in_green_threads(
            partial(theatre.another().book, "A1", key=key), partial(theatre.another().unbook, "A1", key=key)
        )
        assert (acted == TICKET and state(database, key) == "undone") or (
            acted.code == "saga.fenced" and state(database, key) == "fenced"
        )
    assert effects(database).count("booked") == effects(database).count("unbooked")


def test_of_two_same_outside_calls_at_once_one_verdict_counts_and_both_get_it(theatre, database):
    gate = Event()
    theatre.bank.script["pay"] = [gate, gate]
    threads = [eventlet.spawn(partial(theatre.another().pay, "A1", key="k")) for _ in range(2)]
    with eventlet.Timeout(10):
        while len(theatre.bank.asked) < 2:
            eventlet.sleep(0.01)
    gate.send("ok")
    assert [thread.wait() for thread in threads] == [TICKET, TICKET]
    assert theatre.bank.asked == [("pay", "k")] * 2
    assert effects(database).count("paid") == 1


@pytest.mark.parametrize("answer", ["ok", NO_MONEY])
def test_the_verdict_of_an_action_that_was_taken_back_meanwhile_loses(theatre, database, answer):
    gate = Event()
    theatre.bank.script["pay"] = [gate]
    acting = eventlet.spawn(in_green_threads, partial(theatre.another().pay, "A1", key="k"))
    with eventlet.Timeout(10):
        while not theatre.bank.asked:
            eventlet.sleep(0.01)
    theatre.pay_back("A1", key="k")
    gate.send(answer)
    (lost,) = acting.wait()
    assert lost.code == "saga.fenced"
    assert theatre.bank.asked == [("pay", "k"), ("pay_back", "k")]
    assert (effects(database), state(database)) == (["asked", "asked back", "paid back"], "undone")


# --- keys and answers


@pytest.mark.parametrize("key", ["", "x" * (LONGEST_KEY + 1), "a\x00b"])
def test_a_key_that_cannot_be_kept_is_refused(theatre, database, key):
    assert refusal(theatre.book, "A1", key=key) == "request.invalid"
    assert effects(database) == []


def test_keys_are_apart_from_one_another(theatre, database):
    theatre.book("A1", key="k1")
    theatre.book("A1", key="k1".ljust(LONGEST_KEY, "x"))
    assert effects(database) == ["booked", "booked"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (type(None), None),
        (int, 2**53 + 1),
        (bool, False),
        (str, 'ü "quoted"\n'),
        (str | None, None),
        (datetime, TICKET.at),
        (list[Ticket], [TICKET, TICKET]),
        (dict[str, Money], {"a": TICKET.price}),
        (tuple[str, int], ("a", 1)),
    ],
)
@pytest.mark.parametrize("outside", [False, True])
def test_a_repeat_gets_a_result_of_the_same_type_and_value(sessions, kind, value, outside):
    def local(self, *, key: str):
        return value

    def abroad(self, *, key: str):
        yield lambda: None
        return value

    fn = abroad if outside else local
    fn.__annotations__["return"] = Outside[None, kind] if outside else kind
    giver = type("Giver", (), {"name": "giver", "db": Database(Base), "give": command(fn)})
    database = WorkerDatabase(sessions("inventory").factory)
    service = worker_factory(giver, db=database)
    assert [service.give(key="k"), service.give(key="k")] == [value, value]
    assert type(service.give(key="k")) is type(value)
    database.close()


def test_one_row_is_kept_for_each_key(theatre, database):
    for _ in range(3):
        theatre.book("A1", key="k")
        theatre.unbook("A1", key="other")
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(inbox)) == 2
