"""The barrier against the table in chassis/commands.py: any order of actions, undos, lost answers and repeats."""

import itertools
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from nameko.testing.services import worker_factory
from sqlalchemy import Column, Integer, MetaData, String, Table, func, select

from chassis.commands import Outside, command, find, undo
from chassis.db import Database, WorkerDatabase
from chassis.errors import OutcomeUnknown, ServiceError
from services.inventory.models import Base

effects = Table(
    "effects", MetaData(), Column("id", Integer, primary_key=True), Column("key", String(100)), Column("by", Integer)
)
REFUSED = ServiceError("ledger.refused", "No.")
ANSWERS = ("ok", "refused", "lost before", "lost after")
KEYS = st.sampled_from("ab")
numbers = itertools.count()


class Company:
    """Another company, which keeps what it did for a key, and refuses an action that was undone before it came."""

    def __init__(self) -> None:
        self.answer = "ok"
        self.known: dict[str, str] = {}

    def do(self, key: str) -> None:
        if self.answer == "lost before":
            raise OutcomeUnknown("company", "it did not arrive")
        self.known.setdefault(key, "refused" if self.answer == "refused" else "done")
        if self.answer == "lost after":
            raise OutcomeUnknown("company", "it did not answer")
        if self.known[key] != "done":
            raise REFUSED

    def take_back(self, key: str) -> None:
        if self.answer == "lost before":
            raise OutcomeUnknown("company", "it did not arrive")
        if self.known.get(key) != "refused":
            self.known[key] = "undone"
        if self.answer == "lost after":
            raise OutcomeUnknown("company", "it did not answer")


class LedgerService:
    name = "ledger"
    db = Database(Base)
    company: Company
    refusing = False

    def add(self, key: str, by: int) -> None:
        self.db.session.execute(effects.insert().values(key=key, by=by))

    @command
    def enter(self, amount: int, *, key: str) -> int:
        self.add(key, amount)
        if self.refusing:
            raise REFUSED
        return amount

    @undo
    def take_out(self, amount: int, *, key: str) -> None:
        self.add(key, -amount)

    @command
    def order(self, amount: int, *, key: str) -> Outside[None, int]:
        yield partial(self.company.do, key)
        self.add(key, amount)
        return amount

    @undo
    def cancel(self, amount: int, *, key: str) -> Outside[None, None]:
        yield partial(self.company.take_back, key)
        self.db.session.execute(effects.delete().where(effects.c.key == key))


LOCAL_ACTION = {None: "ok", "ok": "ok", "failed": "failed", "undone": "undone", "fenced": "fenced"}
LOCAL_UNDO = {None: "fenced", "ok": "undone", "failed": "failed", "undone": "undone", "fenced": "fenced"}


class Barrier(RuleBasedStateMachine):
    """`states` is what the table says of each key; the inbox, the effects and the company have to agree."""

    def __init__(self, database: Any, sessions: Any) -> None:
        super().__init__()
        self.service = worker_factory(LedgerService, db=database)
        self.company = self.service.company = Company()
        self.sessions, self.prefix = sessions, f"{next(numbers)}:"
        self.states: dict[str, str | None] = {}
        self.entered: set[str] = set()

    def ends(self, call: Any) -> str:
        try:
            assert call() in (7, None)
        except ServiceError as exc:
            return exc.code
        except OutcomeUnknown:
            return "unknown"
        return "ok"

    @rule(name=KEYS, refusing=st.booleans())
    def enter(self, name: str, refusing: bool) -> None:
        key = f"{self.prefix}local:{name}"
        before = self.states.get(key)
        self.service.refusing = refusing
        said = self.ends(lambda: self.service.enter(amount=7, key=key))
        self.states[key] = "failed" if before is None and refusing else LOCAL_ACTION[before]
        assert said == {"ok": "ok", "failed": REFUSED.code}.get(self.states[key], "saga.fenced")

    @rule(name=KEYS)
    def enter_something_else(self, name: str) -> None:
        key = f"{self.prefix}local:{name}"
        if (before := self.states.get(key)) is None:
            return
        said = self.ends(lambda: self.service.enter(amount=8, key=key))
        assert said == ("command.key_reused" if before in ("ok", "failed") else "saga.fenced")

    @rule(name=KEYS)
    def take_out(self, name: str) -> None:
        key = f"{self.prefix}local:{name}"
        self.states[key] = LOCAL_UNDO[self.states.get(key)]
        assert self.ends(lambda: self.service.take_out(amount=7, key=key)) == "ok"

    @rule(name=KEYS, answer=st.sampled_from(ANSWERS))
    def order(self, name: str, answer: str) -> None:
        key = f"{self.prefix}outside:{name}"
        before = self.states.get(key)
        self.company.answer = answer
        said = self.ends(lambda: self.service.order(amount=7, key=key))
        if before in (None, "started"):
            done = {"done": "ok", "refused": "failed"}.get(self.company.known.get(key, ""))
            self.states[key] = "started" if answer.startswith("lost") else done
            self.entered |= {key} if self.states[key] == "ok" else set()
        expected = {"ok": "ok", "failed": REFUSED.code, "started": "unknown"}
        assert said == expected.get(self.states[key] or "", "saga.fenced")

    @rule(name=KEYS, answer=st.sampled_from(("ok", "lost before", "lost after")))
    def cancel(self, name: str, answer: str) -> None:
        key = f"{self.prefix}outside:{name}"
        before = self.states.get(key)
        self.company.answer = answer
        said = self.ends(lambda: self.service.cancel(amount=7, key=key))
        asked = before in ("ok", "started", "undoing")
        if asked:
            self.states[key] = "undone" if answer == "ok" else "undoing"
        elif before is None:
            self.states[key] = "fenced"
        if self.states[key] == "undone":
            self.entered.discard(key)
        assert said == ("unknown" if asked and answer != "ok" else "ok")

    @invariant()
    def every_row_is_as_the_table_says(self) -> None:
        with self.sessions.read() as session:
            for key, state in self.states.items():
                assert find(session, key).state == state

    @invariant()
    def an_effect_is_there_from_the_action_to_the_end_of_its_undo(self) -> None:
        with self.sessions.read() as session:
            for key, state in self.states.items():
                net = session.scalar(select(func.sum(effects.c.by)).where(effects.c.key == key)) or 0
                assert net == (7 if state == "ok" or key in self.entered else 0)

    @invariant()
    def the_company_does_nothing_for_what_is_undone_or_fenced(self) -> None:
        for key, state in self.states.items():
            if state in ("undone", "fenced", "failed"):
                assert self.company.known.get(key) != "done"


def test_the_barrier_keeps_to_its_table(sessions: Any, walk: Any) -> None:
    opened = sessions("inventory")
    with opened.write() as session:
        effects.metadata.create_all(session.connection())
    database = WorkerDatabase(opened.factory)
    walk(lambda: Barrier(database, opened))
    database.close()
