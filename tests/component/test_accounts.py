"""The ledger on a real database: what is booked, what is refused, and that nothing is booked twice."""

import functools
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from chassis.db import WorkerDatabase, shift_clock
from chassis.errors import ServiceError
from chassis.tables import outbox
from chassis.types import Caller, Money
from contracts.accounts import BOOKING, NewEntry, Posting
from services.accounts import books
from services.accounts.domain import LARGEST
from tests.ledger import (
    as_customer,
    as_operator,
    balance,
    entry,
    key,
    keyed,
    ledger_on,
    postings,
    seal_all,
    wallet,
)
from tests.shop import in_green_threads


@pytest.fixture
def another(sessions):
    """Makes one more worker of the same service, on the same database."""
    shared, opened = sessions("accounts"), []

    def make():
        opened.append(WorkerDatabase(shared.factory))
        return ledger_on(opened[-1])

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def database(another):
    return another().db


@pytest.fixture
def ledger(database):
    return ledger_on(database)


def refused(code, act, *args, **kwargs):
    with pytest.raises(ServiceError) as refusal:
        act(*args, **kwargs)
    assert refusal.value.code == code
    return refusal.value


def rows(ledger, table):
    with ledger.db.read() as session:
        return session.execute(text(f"SELECT count(*) FROM {table}")).scalar()


def told(ledger):
    """Whose account was said to be what, and why."""
    with ledger.db.read() as session:
        payloads = session.scalars(select(outbox.c.payload).order_by(outbox.c.id)).all()
    facts = [json.loads(payload) for payload in payloads]
    return [tuple(fact[name] for name in ("aggregate_id", "customer_id", "status", "reason")) for fact in facts]


def everything(ledger):
    return rows(ledger, "entry"), rows(ledger, "posting"), ledger.trial_balance().lines


# --- booking


def test_an_entry_moves_what_it_says_and_both_sides_agree(ledger):
    mine = wallet(ledger, funds=500)
    assert balance(ledger, mine) == (500, 0, 0, 500)
    assert balance(ledger, "bank.EUR") == (500, 0, 0, 500)
    trial = ledger.trial_balance()
    assert trial.holds
    assert [(line.role, line.debit, line.credit) for line in trial.lines] == [("bank", 500, 0), ("customers", 0, 500)]


def test_a_repeat_with_the_same_key_answers_the_same_entry_and_books_once(ledger):
    first = ledger.book(entry(bank=7, sales=-7), key="k")
    assert ledger.book(entry(bank=7, sales=-7), key="k") == first
    assert balance(ledger, "sales.EUR")[0] == 7
    assert rows(ledger, "entry") == 1


def test_a_key_is_not_used_for_other_input(ledger):
    ledger.book(entry(bank=7, sales=-7), key="k")
    before = everything(ledger)
    refused("accounts.key_reused", ledger.book, entry(bank=8, sales=-8), key="k")
    refused("accounts.key_reused", ledger.hold, "h", entry(bank=7, sales=-7), key="k")
    assert everything(ledger) == before


def test_a_key_answers_its_entry_even_when_the_account_is_frozen_since(ledger):
    mine = wallet(ledger, funds=10)
    first = ledger.book(entry(sales=-3, **{mine: 3}), key="k")
    ledger.freeze(mine, "lost phone", key=key())
    assert ledger.book(entry(sales=-3, **{mine: 3}), key="k") == first


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("accounts.unbalanced", entry(bank=7, sales=-8)),
        ("accounts.unbalanced", NewEntry(postings=postings(bank=7) + postings("USD", sales=-7), kind="t")),
        ("accounts.unbalanced", entry(bank=0, sales=0)),
        ("accounts.unknown_role", entry(bank=7, **{"sails.EUR": -7})),
        ("accounts.unknown_currency", entry("ZZZ", bank=7, sales=-7)),
        ("accounts.not_found", entry(bank=7, nobody=-7)),
        ("accounts.currency_mismatch", entry("USD", **{"bank.EUR": 7, "sales.USD": -7})),
        ("accounts.corrects_unknown", entry(bank=7, sales=-7, corrects="4711")),
        ("accounts.corrects_unknown", entry(bank=7, sales=-7, corrects="nonsense")),
        ("accounts.amount_overflow", entry(bank=LARGEST + 1, sales=-LARGEST - 1)),
    ],
)
def test_what_cannot_be_booked_is_refused_with_its_code_and_changes_nothing(ledger, code, wanted):
    before = everything(ledger)
    refused(code, ledger.book, wanted, key="k")
    assert everything(ledger) == before


def test_the_first_reason_of_the_table_is_said(ledger):
    mine = wallet(ledger, funds=5)
    ledger.freeze(mine, "lost phone", key=key())
    assert BOOKING.index("accounts.frozen") < BOOKING.index("accounts.insufficient_funds")
    refused("accounts.frozen", ledger.book, entry(sales=-6, **{mine: 6}), key="k")
    refused("accounts.currency_mismatch", ledger.book, entry("USD", sales=-6, **{mine: 6}), key="k")
    refused("accounts.unbalanced", ledger.book, entry("USD", sales=-5, **{mine: 6}), key="k")


def test_what_is_refused_can_be_booked_later_under_the_same_key(ledger):
    mine = wallet(ledger, funds=5)
    refused("accounts.insufficient_funds", ledger.book, entry(sales=-6, **{mine: 6}), key="k")
    ledger.book(entry(bank=1, **{mine: -1}), key=key())
    ledger.book(entry(sales=-6, **{mine: 6}), key="k")
    assert balance(ledger, mine) == (0, 0, 0, 0)


def test_a_customers_account_does_not_go_below_zero_by_any_path(ledger):
    mine = wallet(ledger, funds=5)
    refused("accounts.insufficient_funds", ledger.book, entry(sales=-6, **{mine: 6}), key=key())
    refused("accounts.insufficient_funds", ledger.hold, "h", entry(sales=-6, **{mine: 6}), key=key())
    split = NewEntry(postings=postings(sales=-6, **{mine: 3}) + postings(**{mine: 3}), kind="t")
    refused("accounts.insufficient_funds", ledger.book, split, key=key())
    assert balance(ledger, mine) == (5, 0, 0, 5)


def test_the_database_itself_refuses_a_balance_below_zero(ledger):
    mine = wallet(ledger, funds=5)
    with pytest.raises(Exception, match="ck_account_limit"), ledger.db.write() as session:
        session.execute(text("UPDATE account SET debits = debits + 6 WHERE id = :id"), {"id": mine})


def test_a_correction_names_what_it_puts_right(ledger):
    wrong = ledger.book(entry(bank=7, sales=-7), key="k")
    right = ledger.book(entry(bank=-7, sales=7, corrects=wrong.id), key="k2")
    assert (right.corrects, right.state) == (wrong.id, "posted")
    assert ledger.entry(wrong.id) == wrong


def test_strangers_book_nothing(database, ledger):
    mine = wallet(ledger, customer_id="c1", funds=5)
    customer = as_customer(database, "c1")
    for act, args in (
        (customer.book, (entry(bank=5, **{mine: -5}),)),
        (customer.hold, ("h", entry(bank=5, **{mine: -5}))),
        (customer.settle, ("h",)),
        (customer.void, ("h",)),
        (customer.close, (mine, "r")),
        (customer.unfreeze, (mine, "r")),
        (customer.propose, (entry(bank=5, sales=-5), "r")),
    ):
        refused("auth.forbidden", act, *args, key=key())
    for act in (customer.trial_balance, customer.verify, customer.proposals):
        refused("auth.forbidden", act)
    assert balance(ledger, mine) == (5, 0, 0, 5)


# --- batches


def test_a_batch_answers_for_each_entry_in_its_order(ledger):
    mine = wallet(ledger, funds=10)
    answers = ledger.book_batch(
        [
            keyed("a", sales=-6, **{mine: 6}),
            keyed("b", sales=-6, **{mine: 6}),
            keyed("c", sales=-4, **{mine: 4}),
            keyed("a", sales=-6, **{mine: 6}),
            keyed("a", sales=-5, **{mine: 5}),
            keyed("d", sales=-1, nobody=1),
        ]
    )
    assert [answer.code for answer in answers] == [
        "ok",
        "accounts.insufficient_funds",
        "ok",
        "ok",
        "accounts.key_reused",
        "accounts.not_found",
    ]
    assert answers[3].entry_id == answers[0].entry_id
    assert balance(ledger, mine) == (0, 0, 0, 0)


def test_a_batch_that_is_sent_again_whole_books_nothing_more(ledger):
    batch = [keyed(f"k{n}", bank=1, sales=-1) for n in range(250)]
    first = ledger.book_batch(batch)
    assert ledger.book_batch(batch) == first
    assert (rows(ledger, "entry"), balance(ledger, "sales.EUR")[0]) == (250, 250)


def test_entries_of_a_batch_that_are_held_set_aside_and_are_ended_by_their_names(ledger):
    mine = wallet(ledger, funds=10)
    codes = [
        answer.code
        for answer in ledger.book_batch(
            [
                keyed("a", hold_id="h", sales=-6, **{mine: 6}),
                keyed("b", sales=-5, **{mine: 5}),
                keyed("c", hold_id="h", sales=-1, **{mine: 1}),
                keyed("a", hold_id="h", sales=-6, **{mine: 6}),
            ]
        )
    ]
    assert codes == ["ok", "accounts.insufficient_funds", "accounts.hold_exists", "ok"]
    assert balance(ledger, mine) == (10, 0, 6, 4)
    ledger.settle("h", key="end")
    assert balance(ledger, mine) == (4, 0, 0, 4)


# --- two phases


def test_a_hold_sets_aside_and_settling_posts_it(ledger):
    mine, yours = wallet(ledger, funds=10), wallet(ledger, "c2")
    held = ledger.hold("h", entry(**{mine: 6, yours: -6}), key="k")
    assert held.state == "pending"
    assert (balance(ledger, mine), balance(ledger, yours)) == ((10, 0, 6, 4), (0, 6, 0, 0))
    settled = ledger.settle("h", key="k2")
    assert (settled.state, settled.ends) == ("posted", held.id)
    assert (balance(ledger, mine), balance(ledger, yours)) == ((4, 0, 0, 4), (6, 0, 0, 6))
    assert ledger.entry(held.id).state == "posted"


def test_settling_in_part_lets_the_rest_go(ledger):
    mine = wallet(ledger, funds=10)
    ledger.hold("h", entry(sales=-6, **{mine: 6}), key="k")
    ledger.settle("h", Money(amount=2, currency="EUR"), key="k2")
    assert balance(ledger, mine) == (8, 0, 0, 8)
    assert balance(ledger, "sales.EUR") == (2, 0, 0, 2)


@pytest.mark.parametrize(
    "amount", [Money(amount=7, currency="EUR"), Money(amount=0, currency="EUR"), Money(amount=1, currency="USD")]
)
def test_more_than_was_held_cannot_be_settled(ledger, amount):
    mine = wallet(ledger, funds=10)
    ledger.hold("h", entry(sales=-6, **{mine: 6}), key="k")
    refused("accounts.exceeds_pending", ledger.settle, "h", amount, key="k2")
    assert balance(ledger, mine) == (10, 0, 6, 4)


def test_a_hold_ends_once(ledger):
    mine = wallet(ledger, funds=10)
    ledger.hold("h", entry(sales=-6, **{mine: 6}), key="k")
    voided = ledger.void("h", key="k2")
    assert ledger.void("h", key="k2") == voided
    refused("accounts.not_pending", ledger.settle, "h", key="k3")
    refused("accounts.not_pending", ledger.void, "h", key="k4")
    refused("accounts.hold_exists", ledger.hold, "h", entry(sales=-6, **{mine: 6}), key="k5")
    refused("accounts.not_found", ledger.settle, "other", key="k6")
    assert balance(ledger, mine) == (10, 0, 0, 10)
    assert ledger.entry(voided.ends).state == "voided"


def test_release_undoes_a_hold_once_and_fences_a_late_one(ledger):
    mine = wallet(ledger, funds=10)
    wanted = entry(sales=-6, **{mine: 6})
    ledger.hold("h", wanted, key="k")
    ledger.release("h", wanted, key="k")
    ledger.release("h", wanted, key="k")
    assert balance(ledger, mine) == (10, 0, 0, 10)
    ledger.release("late", wanted, key="k2")
    refused("saga.fenced", ledger.hold, "late", wanted, key="k2")
    assert balance(ledger, mine) == (10, 0, 0, 10)


def test_what_an_operator_voided_is_released_without_a_fuss(ledger):
    mine = wallet(ledger, funds=10)
    wanted = entry(sales=-6, **{mine: 6})
    ledger.hold("h", wanted, key="k")
    ledger.void("h", key="by-hand")
    ledger.release("h", wanted, key="k")
    assert balance(ledger, mine) == (10, 0, 0, 10)


def test_what_was_settled_is_not_released(ledger):
    mine = wallet(ledger, funds=10)
    wanted = entry(sales=-6, **{mine: 6})
    ledger.hold("h", wanted, key="k")
    ledger.settle("h", key="k2")
    refused("accounts.not_pending", ledger.release, "h", wanted, key="k")
    assert balance(ledger, mine) == (4, 0, 0, 4)


def test_a_hold_does_not_end_under_a_key_that_an_entry_has(ledger):
    mine = wallet(ledger, funds=10)
    ledger.book(entry(bank=1, sales=-1), key="used")
    ledger.hold("h", entry(sales=-6, **{mine: 6}), key="k")
    refused("accounts.key_reused", ledger.settle, "h", key="used")
    refused("accounts.key_reused", ledger.void, "h", key="used")
    assert balance(ledger, mine) == (10, 0, 6, 4)


def forget_inbox(ledger):
    with ledger.db.write() as session:
        session.execute(text("DELETE FROM inbox"))


def test_what_was_done_is_known_by_its_key_when_the_inbox_has_forgotten_it(ledger):
    mine = wallet(ledger, funds=10)
    wanted = entry(sales=-6, **{mine: 6})
    held, settled = ledger.hold("h", wanted, key="k"), ledger.settle("h", Money(amount=5, currency="EUR"), key="k2")
    forget_inbox(ledger)
    assert ledger.hold("h", wanted, key="k").id == held.id
    assert ledger.settle("h", Money(amount=5, currency="EUR"), key="k2") == settled
    forget_inbox(ledger)
    refused("accounts.key_reused", ledger.settle, "h", Money(amount=4, currency="EUR"), key="k2")
    assert balance(ledger, mine) == (5, 0, 0, 5)


@pytest.mark.parametrize("stripes", [1, 64])
def test_a_hold_ends_in_its_stripe_whatever_the_setting_is_by_then(database, ledger, stripes):
    mine = wallet(ledger, funds=10)
    for number in range(8):
        ledger.hold(f"h{number}", entry(sales=-1, **{mine: 1}), key=f"k{number}")
    later = ledger_on(database, stripes=stripes)
    for number in range(8):
        later.settle(f"h{number}", key=f"e{number}")
    assert (balance(ledger, mine), balance(ledger, "sales.EUR")) == ((2, 0, 0, 2), (8, 0, 0, 8))
    assert ledger.verify().holds


def test_what_is_held_is_settled_though_the_account_was_frozen_since(ledger):
    mine = wallet(ledger, funds=10)
    ledger.hold("h", entry(sales=-6, **{mine: 6}), key="k")
    ledger.freeze(mine, "lost phone", key=key())
    refused("accounts.frozen", ledger.hold, "h2", entry(sales=-1, **{mine: 1}), key="k2")
    ledger.settle("h", key="k3")
    assert balance(ledger, mine) == (4, 0, 0, 4)


# --- customers' accounts


def test_a_customer_opens_and_sees_only_their_own(database, ledger):
    customer = as_customer(database, "c1")
    mine = customer.open("c1", "JPY", "holiday", key="k")
    assert customer.open("c1", "JPY", "holiday", key="k") == mine
    assert (mine.type, mine.status, mine.currency, mine.customer_id) == ("liability", "open", "JPY", "c1")
    assert customer.of_customer("c1") == [mine]
    stranger = as_customer(database, "c2")
    for look in (stranger.get, stranger.entries):
        refused("accounts.not_found", look, mine.id)
    refused("accounts.not_found", stranger.statement, mine.id, "2026-11")
    refused("accounts.not_found", customer.get, "sales.EUR")
    refused("auth.forbidden", stranger.of_customer, "c1")
    refused("auth.forbidden", stranger.open, "c1", "EUR", "x", key="k2")


def test_a_customer_has_so_many_accounts_at_most(ledger):
    for _ in range(20):
        wallet(ledger)
    refused("accounts.too_many", ledger.open, "c1", "EUR", "one more", key=key())
    refused("accounts.unknown_currency", ledger.open, "c2", "ZZZ", "play money", key=key())
    assert (len(ledger.of_customer("c1")), ledger.of_customer("c2")) == (20, [])


def test_freezing_is_ones_own_and_unfreezing_an_operators(database, ledger):
    mine = wallet(ledger, "c1", funds=5)
    refused("auth.forbidden", as_customer(database, "c2").freeze, mine, "r", key=key())
    customer = as_customer(database, "c1")
    assert customer.freeze(mine, "lost phone", key=key()).status == "frozen"
    refused("auth.forbidden", customer.unfreeze, mine, "found it", key=key())
    assert as_operator(database, "op").unfreeze(mine, "they called", key=key()).status == "open"


def test_an_owner_who_freezes_has_the_reason_told_once_and_operators_go_on_as_before(database, ledger):
    mine, another = wallet(ledger, "c1", funds=5), wallet(ledger, "c2", funds=5)
    customer, operator = as_customer(database, "c1"), as_operator(database, "op")
    for own in ("k", "k", key()):
        assert customer.freeze(mine, "lost phone", key=own).status == "frozen"
    assert operator.freeze(another, "they called", key=key()).status == "frozen"
    assert told(ledger) == [(mine, "c1", "frozen", "lost phone"), (another, "c2", "frozen", "they called")]
    refused("accounts.frozen", ledger.book, entry(sales=-1, **{mine: 1}), key=key())
    refused("auth.forbidden", customer.close, mine, "of no use", key=key())
    assert operator.unfreeze(mine, "found", key=key()).status == "open"
    assert balance(ledger, mine) == (5, 0, 0, 5)


def test_an_account_is_frozen_by_its_owner_and_by_operators_alone(database, ledger):
    mine = wallet(ledger, "c1", funds=5)
    for caller in (
        Caller(customer_id="c2", roles=("customer",)),
        Caller(customer_id="s", roles=("staff",)),
        Caller(roles=("customer",)),
        Caller(),
    ):
        refused("auth.forbidden", ledger_on(database, caller).freeze, mine, "because I can", key=key())
    customer = as_customer(database, "c1")
    refused("accounts.not_found", customer.freeze, "none", "lost phone", key=key())
    refused("accounts.not_found", customer.freeze, "sales.EUR", "lost phone", key=key())
    assert (ledger.get(mine).status, told(ledger)) == ("open", [])
    gone = wallet(ledger, "c1")
    ledger.close(gone, "r", key=key())
    refused("accounts.closed", customer.freeze, gone, "lost phone", key=key())


def test_only_an_empty_account_is_closed_and_for_ever(ledger):
    mine = wallet(ledger, funds=5)
    refused("accounts.not_empty", ledger.close, mine, "r", key=key())
    ledger.hold("h", entry(sales=-5, **{mine: 5}), key=key())
    refused("accounts.not_empty", ledger.close, mine, "r", key=key())
    ledger.settle("h", key=key())
    assert ledger.close(mine, "r", key=key()).status == "closed"
    refused("accounts.closed", ledger.unfreeze, mine, "r", key=key())
    refused("accounts.closed", ledger.book, entry(bank=5, **{mine: -5}), key=key())
    refused("accounts.not_found", ledger.close, "sales.EUR", "r", key=key())


# --- what the books say


def test_lines_carry_the_running_balance_page_by_page(ledger):
    mine = wallet(ledger, funds=10)
    for amount in (1, 2, 3):
        ledger.book(entry(sales=-amount, **{mine: amount}), key=key())
    ledger.hold("h", entry(sales=-2, **{mine: 2}), key=key())
    first = ledger.entries(mine, 2)
    ledger.book(entry(bank=100, **{mine: -100}), key=key())
    rest = ledger.entries(mine, 10, first.next_cursor)
    seen = [(line.state, line.amount.amount, line.balance.amount) for line in first.items + rest.items]
    assert seen == [
        ("pending", -2, 4),
        ("posted", -3, 4),
        ("posted", -2, 7),
        ("posted", -1, 9),
        ("posted", 10, 10),
    ]
    assert rest.next_cursor is None
    refused("accounts.bad_cursor", ledger.entries, mine, 2, "nonsense")


def test_the_balance_at_a_moment_is_what_was_posted_by_then(ledger):
    mine = wallet(ledger, funds=10)
    between = datetime.now(UTC) + timedelta(hours=1)
    shift_clock(timedelta(hours=2))
    try:
        ledger.book(entry(sales=-4, **{mine: 4}), key=key())
    finally:
        shift_clock(timedelta())
    assert ledger.balance_at(mine, between).amount == 10
    assert ledger.balance_at(mine, between + timedelta(hours=2)).amount == 6
    assert ledger.balance_at(mine, between - timedelta(days=1)).amount == 0
    refused("request.invalid", ledger.balance_at, mine, datetime(2026, 1, 1))  # noqa: DTZ001 that is the point


def test_a_statement_is_a_month_from_its_opening_to_its_closing_balance(ledger):
    mine = wallet(ledger)
    start = datetime(2031, 12, 1, tzinfo=UTC)
    for days, amount in ((-1, -50), (0, -20), (30.5, 5), (31, -1)):
        shift_clock(start + timedelta(days=days, minutes=1) - datetime.now(UTC))
        try:
            ledger.book(entry(bank=-amount, **{mine: amount}), key=key())
        finally:
            shift_clock(timedelta())
    stated = ledger.statement(mine, "2031-12")
    assert [(line.amount.amount, line.balance.amount) for line in stated.lines] == [(20, 70), (-5, 65)]
    assert (stated.opening.amount, stated.closing.amount) == (50, 65)
    assert ledger.statement(mine, "2032-01").opening == stated.closing
    assert ledger.statement(mine, "2031-01").lines == []
    refused("request.invalid", ledger.statement, mine, "0000-01")


def test_the_house_s_accounts_are_read_as_one_whatever_their_stripes(database, ledger):
    for amount in range(1, 41):
        ledger.book(entry(bank=amount, sales=-amount), key=key())
    with ledger.db.read() as session:
        stripes = session.execute(text("SELECT count(*) FROM account WHERE id = 'sales.EUR'")).scalar()
    assert 1 < stripes <= 4
    assert balance(ledger, "sales.EUR")[0] == sum(range(1, 41))
    page = ledger.entries("sales.EUR", 40)
    assert [line.balance.amount for line in page.items] == [sum(range(1, n + 1)) for n in range(40, 0, -1)]


# --- what was booked about something


def about(ledger, subject, **amounts):
    return ledger.book(NewEntry(postings=postings(**amounts), kind="test", subject=subject), key=key())


def sums_of(page):
    return {each.subject: {(found.role, found.currency): found.amount for found in each.sums} for each in page.items}


def test_what_was_posted_about_each_subject_is_summed_by_role(ledger):
    mine = wallet(ledger, funds=500)
    about(ledger, "order:1", acquirer_receivable=500, sales=-400, tax_payable=-100)
    refund = about(ledger, "order:1", sales=200, acquirer_receivable=-150, gift_cards=-50)
    ledger.book(
        NewEntry(postings=postings("JPY", acquirer_receivable=9, sales=-9), kind="test", subject="order:2"), key=key()
    )
    about(ledger, "order:3", **{mine: 30}, sales=-30)
    held = NewEntry(postings=postings(**{mine: 5}, sales=-5), kind="test", subject="order:4")
    ledger.hold("h1", held, key=key())
    ledger.hold("h2", NewEntry(postings=held.postings, kind="test", subject="order:5"), key=key())
    ledger.settle("h2", Money(amount=3, currency="EUR"), key=key())
    for other in ("", "Order:9", "order", "orders:9", "transaction:9", "order;"):
        about(ledger, other, bank=1, sales=-1)
    found = ledger.sums_by_subject("order:")
    assert sums_of(found) == {
        "order:1": {
            ("acquirer_receivable", "EUR"): 350,
            ("gift_cards", "EUR"): -50,
            ("sales", "EUR"): -200,
            ("tax_payable", "EUR"): -100,
        },
        "order:2": {("acquirer_receivable", "JPY"): 9, ("sales", "JPY"): -9},
        "order:3": {("customers", "EUR"): 30, ("sales", "EUR"): -30},
        "order:4": {},
        "order:5": {("customers", "EUR"): 3, ("sales", "EUR"): -3},
    }
    assert (found.next_after, found.items[0].updated_at) == (None, refund.at)


def test_sums_by_subject_come_in_pages_each_subject_once_and_whole(ledger):
    for _ in range(2):
        for number in range(7):
            about(ledger, f"order:{number}", bank=1, sales=-1)
    about(ledger, "transaction:1", bank=1, sales=-1)
    seen, after = {}, None
    while True:
        page = ledger.sums_by_subject("order:", after, 3)
        assert len(page.items) <= 3
        assert not seen.keys() & sums_of(page).keys()
        seen |= sums_of(page)
        after = page.next_after
        if after is None:
            break
    assert seen == {f"order:{number}": {("bank", "EUR"): 2, ("sales", "EUR"): -2} for number in range(7)}


def test_sums_by_subject_are_found_by_an_index(ledger):
    """And so they do not get slower with all that is booked about other things."""
    with ledger.db.read() as session:
        connection = session.connection()
        on_postgresql = connection.dialect.name == "postgresql"
        if on_postgresql:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # which a small table would be read by
        asked = books._SUBJECTS.compile(connection)
        values = asked.construct_params(dict(prefix="order:", after="order:", most=5))
        explain, given = ("EXPLAIN", values)
        if not on_postgresql:
            explain, given = "EXPLAIN QUERY PLAN", tuple(values[name] for name in asked.positiontup)
        plan = connection.exec_driver_sql(f"{explain} {asked}", given).all()
    assert "ix_entry_subject" in str(plan)


def test_sums_by_subject_are_for_operators(database, ledger):
    about(ledger, "order:1", bank=1, sales=-1)
    refused("auth.forbidden", as_customer(database, "c1").sums_by_subject, "order:")
    assert sums_of(as_operator(database, "op").sums_by_subject("order:")).keys() == {"order:1"}


def test_a_gift_card_that_was_issued_is_booked_once_however_often_it_is_told(database, ledger):
    told = dict(
        event_id="e1",
        occurred_at=datetime.now(UTC),
        aggregate_id="g1",
        sequence=1,
        gift_card_id="g1",
        customer_id="c1",
        amount=dict(amount=700, currency="EUR"),
    )
    for _ in range(2):
        ledger.on_gift_card_issued(told)
    assert sums_of(ledger.sums_by_subject("gift_card:")) == {
        "gift_card:g1": {("gift_cards", "EUR"): -700, ("gift_cards_granted", "EUR"): 700}
    }
    assert (rows(ledger, "entry"), ledger.trial_balance().holds) == (1, True)
    ledger.on_gift_card_issued({**told, "event_id": "e2"})  # under its own key it is the same entry
    assert rows(ledger, "entry") == 1


# --- manual entries


def test_a_manual_entry_is_booked_when_a_second_operator_approves(database, ledger):
    first, second = as_operator(database, "op1"), as_operator(database, "op2")
    proposed = first.propose(entry(suspense=5, sales=-5), "found in the till", key=key())
    assert (proposed.status, proposed.proposed_by, rows(ledger, "entry")) == ("proposed", "op1", 0)
    refused("accounts.same_operator", first.approve, proposed.id, key=key())
    booked = second.approve(proposed.id, key=key())
    assert (booked.status, booked.decided_by) == ("booked", "op2")
    assert ledger.entry(booked.entry_id).postings == proposed.entry.postings
    with ledger.db.read() as session:
        assert session.execute(text("SELECT author FROM entry")).scalars().all() == ["op1+op2"]
    refused("accounts.decided", second.approve, proposed.id, key=key())
    refused("accounts.decided", second.decline, proposed.id, "r", key=key())
    assert (first.proposals(), rows(ledger, "entry")) == ([booked], 1)


def test_a_declined_proposal_is_never_booked(database, ledger):
    proposed = as_operator(database, "op1").propose(entry(suspense=5, sales=-5), "r", key=key())
    declined = as_operator(database, "op2").decline(proposed.id, "not ours", key=key())
    assert (declined.status, rows(ledger, "entry")) == ("declined", 0)
    refused("accounts.decided", as_operator(database, "op2").approve, proposed.id, key=key())


def test_what_could_not_be_booked_is_not_proposed(database, ledger):
    refused("accounts.unbalanced", as_operator(database, "op1").propose, entry(bank=1, sales=-2), "r", key=key())
    refused("accounts.not_found", as_operator(database, "op1").propose, entry(bank=1, nobody=-1), "r", key=key())
    refused("accounts.not_found", as_operator(database, "op1").approve, "nothing", key=key())
    assert ledger.proposals() == []


# --- at the same time


def book_as(another):
    return another().book(entry(bank=7, sales=-7), key="same").id


def test_an_account_is_not_overdrawn_by_many_at_once(another, ledger):
    mine = wallet(ledger, funds=10)

    def spend(number):
        try:
            another().book(entry(sales=-3, **{mine: 3}), key=f"s{number}")
        except ServiceError as exc:
            return exc.code
        return "ok"

    codes = in_green_threads(functools.partial(spend, n) for n in range(8))
    assert sorted(codes) == ["accounts.insufficient_funds"] * 5 + ["ok"] * 3
    assert balance(ledger, mine) == (1, 0, 0, 1)


def test_the_same_key_at_once_is_one_entry(another, ledger):
    answers = in_green_threads([lambda: book_as(another)] * 8)
    assert len(set(answers)) == 1
    assert (rows(ledger, "entry"), balance(ledger, "sales.EUR")[0]) == (1, 7)


def test_the_same_key_at_once_is_answered_though_the_money_is_gone_by_then(another, ledger):
    """The second waits for the row, and finds nothing left: because of the first, which is its own entry."""
    mine = wallet(ledger, funds=10)
    wanted = entry(sales=-10, **{mine: 10})
    answers = in_green_threads([lambda: another().book(wanted, key="same").id] * 8)
    assert len(set(answers)) == 1
    assert balance(ledger, mine) == (0, 0, 0, 0)


def test_crossing_transfers_and_a_hot_account_lose_nothing(another, ledger):
    one, two = wallet(ledger, "c1", 1000), wallet(ledger, "c2", 1000)

    def move(number):
        own = another()
        out, back = (one, two) if number % 2 else (two, one)
        for turn in range(4):
            wanted = entry(**{out: 10, back: -9}, fees=-1)
            own.book(wanted, key=f"m{number}-{turn}")

    in_green_threads(functools.partial(move, n) for n in range(32))
    assert balance(ledger, one)[0] + balance(ledger, two)[0] == 2000 - 128
    assert balance(ledger, "fees.EUR")[0] == 128
    seal_all(ledger)
    checked = ledger.verify()
    assert (checked.holds, checked.entries, checked.unsealed) == (True, 130, 0)


def test_settle_and_void_at_once_end_a_hold_once(another, ledger):
    mine = wallet(ledger, funds=10)
    ledger.hold("h", entry(sales=-6, **{mine: 6}), key="k")

    def end(number):
        own = another()
        try:
            return (own.settle if number % 2 else own.void)("h", key=f"e{number}").state
        except ServiceError as exc:
            return exc.code

    answers = in_green_threads(functools.partial(end, n) for n in range(8))
    assert sorted(answers)[:7] == ["accounts.not_pending"] * 7
    left = 4 if "posted" in answers else 10
    assert balance(ledger, mine) == (left, 0, 0, left)


def test_a_service_may_not_be_taken_for_its_customer(database, ledger):
    mine = wallet(ledger, "c1", 5)
    trusted = ledger_on(database, Caller(service="transactions", customer_id="c1"))
    trusted.book(entry(sales=-1, **{mine: 1}), key=key())
    assert balance(ledger, mine)[0] == 4


def test_postings_of_one_account_count_together(ledger):
    mine = wallet(ledger, funds=10)
    both = [Posting(account_id=mine, amount=Money(amount=n, currency="EUR")) for n in (12, -4)]
    ledger.book(NewEntry(postings=both + postings(sales=-8), kind="t"), key="k")
    assert balance(ledger, mine) == (2, 0, 0, 2)
    assert [line.amount.amount for line in ledger.entries(mine).items] == [-8, 10]


def test_a_month_with_too_many_lines_is_refused_not_cut(ledger, monkeypatch):
    monkeypatch.setattr("services.accounts.books.STATEMENT_LINES", 2)
    mine, month = wallet(ledger, funds=1), f"{datetime.now(UTC):%Y-%m}"
    ledger.book(entry(bank=1, **{mine: -1}), key=key())
    assert len(ledger.statement(mine, month).lines) == 2
    ledger.book(entry(bank=1, **{mine: -1}), key=key())
    refused("accounts.statement_too_long", ledger.statement, mine, month)
