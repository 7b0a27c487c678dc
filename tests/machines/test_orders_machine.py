"""orders against plain sums: whatever is asked, and whatever becomes of the answers, no unit, cent or word is lost.

The service, its sagas and its database are real (orders_shop.py), the other services answer by a script (others.py),
and each request has the one answer that it must get (order_desk.py). What an order must come to is in ordered.py, what
must hold after every step in order_checks.py.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import event

from chassis.db import WorkerDatabase
from tests.machines import order_checks as checks
from tests.machines.order_desk import OrderDesk
from tests.machines.ordered import ALL, OK
from tests.machines.orders_shop import DEADLINE, LEASE, MONTH, seen
from tests.machines.others import CHALLENGED, FAILING, HUGE, LARGE, SKUS


def one_of_these(*strategies: Any) -> Any:
    """Like `one_of`, which counts a strategy once that is there several times."""
    return st.integers(0, len(strategies) - 1).flatmap(strategies.__getitem__)


NUMBERS = st.integers(0, 11)
"""Which one of those that there are."""
BAD = st.sampled_from(("refused", "refused", "lost before", "lost after"))
FATES = st.builds(
    lambda well, bad, others: [OK] * well + [bad, *others],
    st.integers(0, 4),
    BAD,
    st.lists(st.just(OK) | BAD, max_size=3),
)
"""What becomes of the next calls; all after them go well."""
THEN = one_of_these(st.none(), st.just([]), FATES, FATES)
TURNS = st.lists(st.integers(0, 3), min_size=1, max_size=8)
BOOLEANS, RARELY = st.booleans(), st.sampled_from((False, False, False, True))
WANTED = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 2), min_size=1, max_size=2)
UNITS = st.sampled_from((1, 1, 1, 1, 2, 3))
LINE = st.tuples(st.integers(0, 3), UNITS | st.just(ALL))
"""Which of an order's lines is meant, and how many units of it."""
LINES = st.just([(line, ALL) for line in range(4)]) | st.lists(LINE, min_size=1, max_size=2)
SWAP = st.tuples(st.sampled_from((0, 0, 0, 1, 2)), st.sampled_from((LARGE, HUGE, *SKUS)), UNITS)
TOKENS = ("tok_visa", "tok_visa", "tok_visa", CHALLENGED, FAILING)
METHODS = st.sampled_from((*TOKENS, None))
BETWEEN = st.sampled_from((*[None] * 6, "cancel", "rounds", "parcel"))
"""What happens while a request asks other services for what it has to know."""


def step(name: str, **strategies: Any) -> Any:
    """One of the machine's steps: a method of its, and with what it is called."""
    return st.tuples(st.just(name), st.fixed_dictionaries(strategies))


ORDERS = (
    step("place", customer=st.integers(0, 1), wanted=WANTED, token=st.sampled_from(TOKENS), twice=RARELY, fates=THEN),
    step("cancel", number=NUMBERS, fates=THEN),
    step("ask_again", number=NUMBERS, otherwise=BOOLEANS),
)
CHANGE = step(
    "change",
    number=NUMBERS,
    wanted=st.lists(SWAP, max_size=2),
    to=st.sampled_from((None, None, "DE", "FR")),
    token=METHODS,
    between=BETWEEN,
    fates=THEN,
)
EXCHANGE = step(
    "exchange",
    number=NUMBERS,
    wanted=st.lists(SWAP, min_size=1, max_size=2),
    token=METHODS,
    between=BETWEEN,
    fates=THEN,
)
RETURN = step("begin_return", number=NUMBERS, wanted=LINES, to=st.sampled_from(("original", "gift_card")), fates=THEN)
DECIDE = step("decide", number=NUMBERS, accept=st.tuples(BOOLEANS, BOOLEANS), restock=BOOLEANS, fates=THEN)
OTHERS = (
    step("move_parcel", number=NUMBERS, moves=st.integers(1, 3), told=BOOLEANS),
    step("decide_at_the_bank", number=NUMBERS, approved=BOOLEANS, told=BOOLEANS),
    step("hear", number=st.integers(0, 50)),
    step("price_anew", sku=st.sampled_from(SKUS), by=st.sampled_from((-500, 0, 500))),
)
SAGAS = (
    step("run", fates=FATES),
    step("rounds", turns=TURNS, fates=FATES),
    step("overtake", turns=TURNS, fates=FATES),
    step("die", number=NUMBERS),
    step("wait", by=st.sampled_from((LEASE, LEASE, LEASE, DEADLINE, DEADLINE, MONTH))),
)
STEPS = one_of_these(*ORDERS, *[CHANGE] * 3, *[EXCHANGE] * 3, RETURN, *[DECIDE] * 2, *OTHERS, *SAGAS)
"""What can be done at few moments is tried more often."""


class Orders(OrderDesk, RuleBasedStateMachine):
    """Two customers, and at most four orders."""

    def __init__(self, *databases: Any) -> None:
        RuleBasedStateMachine.__init__(self)
        OrderDesk.__init__(self, *databases)

    @initialize(way=st.sampled_from(("placed", "confirmed", "delivered")))
    def open(self, way: str) -> None:
        self.buy("c0", way)

    @rule(what=STEPS)
    def goes_on(self, what: tuple[str, dict[str, Any]]) -> None:
        """One rule for all steps: hypothesis leaves out some rules in each example, and these need one another."""
        name, how = what
        getattr(self, name)(**how)

    @invariant()
    def the_books_of_orders_hold(self) -> None:
        if not self.changed:
            return
        self.changed = False
        books = checks.read(self.sessions)
        checks.one_amendment_of_an_order_is_open(books)
        checks.no_more_is_given_back_than_was_paid(books, self.others)
        checks.lines_add_up_to_the_totals(books)
        checks.events_of_an_order_are_numbered_without_gap_or_repeat(books)
        checks.what_came_to_nothing_is_told_as_it_ends(books)
        checks.each_key_began_one_thing_and_each_order_has_one_key(books)
        checks.no_saga_ends_twice(books, self.ends)
        for row in self.follow(books):
            checks.what_is_at_rest_agrees_with_everybody(books, row, self.ordered[row.id], self.others)

    def teardown(self) -> None:
        """Everybody answers, time goes by and no goods come: then all is over, and nothing stays set aside."""
        for number in range(len(self.others.news)):
            self.hear(number)
        for by in (LEASE, LEASE, MONTH, MONTH, MONTH):
            self.run([])
            if all(row.status in checks.ENDED for row in checks.read(self.sessions).sagas.values()):
                break
            self.wait(by)
        self.the_books_of_orders_hold()
        checks.nothing_stays_set_aside(checks.read(self.sessions), self.others)


def test_orders_lose_no_unit_cent_or_word(sessions: Any, walk: Any) -> None:
    opened = sessions("orders")
    if opened.engine.dialect.name == "sqlite":  # nobody pulls the plug here
        event.listen(opened.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    databases = [WorkerDatabase(opened.factory) for _ in range(2)]
    seen.clear()
    walk(lambda: Orders(opened, databases), examples=70, steps=30, more=6)
    for database in databases:
        database.close()
    print(seen)
