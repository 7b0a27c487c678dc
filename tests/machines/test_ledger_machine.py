"""The ledger against plain sums: any order of entries, batches, holds, ends and repeats keeps the books to the unit."""

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chassis.db import WorkerDatabase
from chassis.errors import ServiceError
from chassis.types import Money
from contracts.accounts import KeyedEntry, NewEntry
from tests.ledger import balance, entry, ledger_on, seal_all

numbers = itertools.count()
OWNERS, HOLDS, KEYS, AMOUNTS = st.integers(0, 2), st.integers(0, 4), st.integers(0, 60), st.integers(1, 40)


class Books(RuleBasedStateMachine):
    """Three customers and the house. `posted` and `out` are what must be there; `out` what is set aside."""

    def __init__(self, database: WorkerDatabase) -> None:
        super().__init__()
        self.ledger = ledger_on(database, stripes=3)
        self.name = f"m{next(numbers)}"
        self.ids = [self.ledger.open(f"{self.name}-{n}", "EUR", "w", key=f"{self.name}:open:{n}").id for n in range(3)]
        self.posted, self.out, self.coming = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        self.frozen: set[int] = set()
        self.keys: dict[str, NewEntry] = {}
        self.holds: dict[int, tuple[str, int, int, int]] = {}

    @staticmethod
    def said(call: Any) -> str:
        try:
            call()
        except ServiceError as exc:
            return exc.code
        return "ok"

    def expected(self, key: str, wanted: NewEntry, source: int | None, target: int | None, amount: int) -> str:
        """What booking this has to say; the sums follow if it is booked."""
        if key in self.keys:
            return "ok" if self.keys[key] == wanted else "accounts.key_reused"
        if {source, target} & self.frozen:
            return "accounts.frozen"
        if source is not None and amount > self.posted[source] - self.out[source]:
            return "accounts.insufficient_funds"
        self.keys[key] = wanted
        if source is not None:
            self.posted[source] -= amount
        if target is not None:
            self.posted[target] += amount
        return "ok"

    def transfer(self, source: int, target: int, amount: int) -> NewEntry:
        return entry(**{self.ids[source]: amount, self.ids[target]: -amount})

    @rule(owner=OWNERS, amount=AMOUNTS, n=KEYS)
    def pay_in(self, owner: int, amount: int, n: int) -> None:
        key, wanted = f"{self.name}:{n}", entry(bank=amount, **{self.ids[owner]: -amount})
        expected = self.expected(key, wanted, None, owner, amount)
        assert self.said(lambda: self.ledger.book(wanted, key=key)) == expected

    @rule(source=OWNERS, step=st.integers(1, 2), amount=AMOUNTS, n=KEYS)
    def move(self, source: int, step: int, amount: int, n: int) -> None:
        target = (source + step) % 3
        key, wanted = f"{self.name}:{n}", self.transfer(source, target, amount)
        expected = self.expected(key, wanted, source, target, amount)
        assert self.said(lambda: self.ledger.book(wanted, key=key)) == expected

    @rule(steps=st.lists(st.tuples(OWNERS, st.integers(1, 2), AMOUNTS, KEYS), min_size=1, max_size=6))
    def batch(self, steps: list[tuple[int, int, int, int]]) -> None:
        expected, batch = [], []
        for source, step, amount, n in steps:
            target = (source + step) % 3
            key, wanted = f"{self.name}:{n}", self.transfer(source, target, amount)
            expected.append(self.expected(key, wanted, source, target, amount))
            batch.append(KeyedEntry(key=key, postings=wanted.postings, kind=wanted.kind))
        assert [answer.code for answer in self.ledger.book_batch(batch)] == expected

    @rule(hold=HOLDS, source=OWNERS, step=st.integers(1, 2), amount=AMOUNTS)
    def hold(self, hold: int, source: int, step: int, amount: int) -> None:
        state, source, target, amount = self.holds.get(hold, ("", source, (source + step) % 3, amount))
        name, wanted = f"{self.name}-h{hold}", self.transfer(source, target, amount)
        said = self.said(lambda: self.ledger.hold(hold_id=name, entry=wanted, key=name))
        if state:
            assert said == (state if state.startswith("accounts.") else "ok")
        elif {source, target} & self.frozen:
            assert said == "accounts.frozen"
            self.holds[hold] = (said, source, target, amount)
        elif amount > self.posted[source] - self.out[source]:
            assert said == "accounts.insufficient_funds"
            self.holds[hold] = (said, source, target, amount)
        else:
            assert said == "ok"
            self.out[source] += amount
            self.coming[target] += amount
            self.holds[hold] = ("pending", source, target, amount)

    @rule(hold=HOLDS, part=AMOUNTS, settles=st.booleans(), again=st.booleans())
    def end(self, hold: int, part: int, settles: bool, again: bool) -> None:
        state, source, target, amount = self.holds.get(hold, ("", 0, 0, 0))
        name, taken = f"{self.name}-h{hold}", min(part, amount or part)
        ended = Money(amount=taken, currency="EUR")
        key = f"{name}:end:{settles}:{taken}"
        call = (
            (lambda: self.ledger.settle(hold_id=name, amount=ended, key=key))
            if settles
            else (lambda: self.ledger.void(hold_id=name, key=key))
        )
        said = self.said(call)
        if not state or state.startswith("accounts."):
            assert said == "accounts.not_found"
        elif state != "pending":
            assert said == ("ok" if state == key else "accounts.not_pending")
        else:
            assert said == "ok"
            self.out[source] -= amount
            self.coming[target] -= amount
            if settles:
                self.posted[source] -= taken
                self.posted[target] += taken
            self.holds[hold] = (key, source, target, amount)
            assert not again or self.said(call) == "ok"

    @rule(owner=OWNERS, frozen=st.booleans(), n=st.integers(0, 10**6))
    def freeze(self, owner: int, frozen: bool, n: int) -> None:
        turn = self.ledger.freeze if frozen else self.ledger.unfreeze
        turn(self.ids[owner], "because", key=f"{self.name}:f:{owner}:{frozen}:{n}:{next(numbers)}")
        (self.frozen.add if frozen else self.frozen.discard)(owner)

    @rule()
    def seal(self) -> None:
        seal_all(self.ledger)

    @invariant()
    def every_balance_is_right_to_the_unit_and_none_below_zero(self) -> None:
        for n, account_id in enumerate(self.ids):
            expected = (self.posted[n], self.coming[n], self.out[n], self.posted[n] - self.out[n])
            assert balance(self.ledger, account_id) == expected
            assert expected[3] >= 0

    @invariant()
    def debits_are_credits_and_history_is_what_accounts_hold(self) -> None:
        checked = self.ledger.verify()
        assert checked.broken == []
        assert self.ledger.trial_balance().holds

    @invariant()
    def lines_add_up_to_the_balance(self) -> None:
        for n, account_id in enumerate(self.ids):
            lines = [line for line in self.ledger.entries(account_id, 500).items if line.state == "posted"]
            assert sum(line.amount.amount for line in lines) == self.posted[n]


def test_the_books_of_money_are_right_to_the_unit(open_database: Any, walk: Any) -> None:
    database = open_database("accounts")
    walk(lambda: Books(database), steps=20)
