"""What payments, accounts and transactions keep about customers: the books are the same when somebody has left."""

import uuid
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import eventlet
import msgspec
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import insert, select, update

from chassis.context import Call
from chassis.db import WorkerDatabase, now, shift_clock
from chassis.privacy import require_staying
from chassis.tables import outbox
from chassis.tables import saga as saga_table
from chassis.types import Money
from contracts.transactions import TransactionsForgotten
from services.accounts.models import Account, Entry, Posting
from services.payments import gift_cards, payouts
from services.payments.domain import Share
from services.payments.models import Dispute, Part
from services.transactions import store
from services.transactions.domain import Limits, Moving
from services.transactions.models import Transaction
from services.transactions.service import TransactionsService
from tests.ledger import entry, key, ledger_on, seal_all, wallet
from tests.payments import NOWHERE, TWENTY, euro, service_on
from tests.privacy import ANNA, BEN, code_of, counted, erased, pruner, still_open, told

IBAN = "DE89370400440532013000"
EUR = dict(currency="EUR")


# --- payments


@pytest.fixture
def payments(open_database):
    return service_on(open_database("payments"), NOWHERE)


def part(payments, status, whose="anna", **values):
    """A payment by card in a state."""
    order_id = uuid.uuid4().hex
    with payments.db.write() as session:
        at = now(session)
        counts = dict(amount=2000, captured=0, refunding=0, refunded=0) | values
        names = dict(payment_id=order_id, order_id=order_id, authorize_key=order_id, customer_id=whose)
        row = dict(position=0, parts=1, method="card", status=status, currency="EUR", created_at=at, updated_at=at)
        session.execute(insert(Part).values(**names, **counts, **row))
    return order_id


def dispute(payments, order_id, status="opened", whose="anna"):
    with payments.db.write() as session:
        at = now(session)
        named = dict(id=f"dp-{order_id}", order_id=order_id, payment_id=order_id, customer_id=whose)
        row = dict(
            amount=7, currency="EUR", status=status, reason="fraudulent", sequence=1, opened_at=at, updated_at=at
        )
        session.execute(insert(Dispute).values(**named, **row))
    return named["id"]


def spend(payments, card_id):
    """All of a card's money."""
    share = Share(method="gift_card", amount=2000, field="method", gift_card_id=card_id)
    with payments.db.write() as session:
        gift_cards.hold(session, share, "anna", "EUR", "k", "o")
        gift_cards.move(session, "spend", card_id, 2000, "k", "o")


def test_what_is_paid_stays_and_is_told(payments):
    card = payments.issue_gift_card("anna", TWENTY, key="g")
    spend(payments, card.id)
    paid = part(payments, "captured", captured=2000)
    dispute(payments, paid, "lost")
    part(payments, "captured", "ben", captured=2000)
    before, told_before, audit = payments.balances(), told(payments, ANNA), payments.audit_gift_cards()
    assert counted(payments, ANNA) == {"payment": 1, "gift_card": 1, "gift_card_movement": 3, "dispute": 1}
    assert erased(payments, ANNA) == {}
    assert (payments.balances(), told(payments, ANNA), payments.audit_gift_cards()) == (before, told_before, audit)
    assert counted(payments, BEN) == {"payment": 1}


@pytest.mark.parametrize(
    ("status", "values"),
    [("none", {}), ("requires_action", {}), ("authorized", {}), ("captured", dict(captured=2000, refunding=5))],
)
def test_a_payment_whose_money_is_on_its_way_refuses(payments, status, values):
    part(payments, status, **values)
    part(payments, "authorized", "ben")
    (word,) = still_open(payments, ANNA)
    assert word.startswith("payment ")


def test_money_on_a_gift_card_and_an_opened_dispute_refuse(payments):
    card = payments.issue_gift_card("anna", TWENTY, key="g")
    paid = part(payments, "captured", captured=2000)
    named = dispute(payments, paid)
    assert still_open(payments, ANNA) == [f"gift_card {card.id}", f"dispute {named}"]
    spend(payments, card.id)
    with payments.db.write() as session:
        session.execute(update(Dispute).values(status="won"))
    payments.begin_erasure(ANNA, key="now")


def test_who_is_leaving_is_given_no_gift_card(payments):
    payments.begin_erasure(ANNA, key="e")
    assert code_of(lambda: payments.issue_gift_card("anna", TWENTY, key="g")) == "privacy.leaving"
    assert counted(payments, ANNA) == {}


def test_an_erasure_waits_for_what_is_just_beginning_and_finds_it(payments):
    database = WorkerDatabase(payments.db.Session)

    def begin():
        with database.write() as session:
            require_staying(session, "anna")
            eventlet.sleep(0.2)
            part(SimpleNamespace(db=SimpleNamespace(write=lambda: nullcontext(session))), "authorized")

    beginning = eventlet.spawn(begin)
    eventlet.sleep(0.05)
    assert len(still_open(payments, ANNA)) == 1
    beginning.wait()
    database.close()


def test_of_an_iban_payments_keeps_what_it_takes_to_know_it_again(payments):
    with payments.db.write() as session:
        payouts.begin(session, "t1", euro(5), IBAN, "t1:p")
        payouts.begin(session, "t1", euro(5), IBAN, "t1:p")  # the call again after silence
    assert payments.get_payout("t1").iban == "DE…3000"


# --- accounts


@pytest.fixture
def ledger(open_database):
    return ledger_on(open_database("accounts"))


def books_of(ledger, account_id):
    """Every entry and posting, to the letter, and what is made of them."""
    with ledger.db.read() as session:
        rows = [tuple(row) for table in (Entry, Posting) for row in session.execute(select(table.__table__))]
    trial = msgspec.structs.replace(ledger.trial_balance(), at=None)
    return dict(rows=rows, trial=trial, sealed=ledger.verify(), lines=ledger.entries(account_id))


def test_an_account_loses_its_name_and_is_closed_and_the_books_are_as_before(ledger):
    annas, bens = wallet(ledger, "anna", 500), wallet(ledger, "ben", 70)
    ledger.book(entry(bank=-500, **{annas: 500}), key=key())
    seal_all(ledger)
    before = books_of(ledger, annas)
    assert counted(ledger, ANNA) == {"account": 1, "entry": 2, "posting": 2}
    assert erased(ledger, ANNA) == {"account": 1}
    assert books_of(ledger, annas) == before
    assert (before["trial"].holds, before["sealed"].holds, before["sealed"].unsealed) == (True, True, 0)
    account = ledger.get(annas)
    assert (account.name, account.status, account.customer_id) == ("", "closed", "anna")
    assert (ledger.get(bens).name, ledger.get(bens).status) == ("wallet", "open")
    assert ledger.erase(ANNA, key="again").rows == {"account": 0, "entry": 0, "posting": 0}


def test_that_accounts_were_closed_is_told_once(ledger):
    frozen, _ = wallet(ledger, "anna"), wallet(ledger, "anna")
    ledger.freeze(frozen, "lost", key=key())
    erased(ledger, ANNA)
    ledger.erase(ANNA, key="again")
    with ledger.db.read() as session:
        assert len(session.scalars(select(outbox.c.id)).all()) == 3


def test_money_on_an_account_or_on_its_way_refuses(ledger):
    full, pending, _ = wallet(ledger, "anna", 5), wallet(ledger, "anna"), wallet(ledger, "anna")
    ledger.hold("h", entry(bank=3, **{pending: -3}), key=key())
    assert sorted(still_open(ledger, ANNA)) == sorted([f"account {full}", f"account {pending}"])
    assert (ledger.get(full).name, ledger.get(full).status) == ("wallet", "open")
    assert code_of(lambda: ledger.erase(ANNA, key="all the same")) == "accounts.not_empty"


def test_who_is_leaving_opens_no_account(ledger):
    ledger.begin_erasure(ANNA, key="e")
    assert code_of(lambda: wallet(ledger, "anna")) == "privacy.leaving"
    assert wallet(ledger, "ben")
    with ledger.db.read() as session:
        assert session.scalars(select(Account.customer_id).where(Account.customer_id.is_not(None))).all() == ["ben"]


# --- transactions


class Sagas:
    """Begins none."""

    def start_saga(self, session, definition, of, data):
        return uuid.uuid4().hex


@pytest.fixture
def transactions(open_database):
    settings = SimpleNamespace(
        transactions_limits={
            kind: {"default": Limits(smallest=1, largest=1000, per_day=1000, per_30_days=1000)}
            for kind in ("deposit", "transfer")
        },
        transactions_fees={},
        passes=lambda kind, amount: True,
    )
    service = worker_factory(
        TransactionsService, db=open_database("transactions"), call=Call(trace_id="t"), sagas=Sagas(), settings=settings
    )
    service.users.profile.side_effect = service.users.profile.result = None
    return service


def moved(transactions, status="completed", kind="deposit", whose="anna", **values):
    """A transaction in a state."""
    of = uuid.uuid4().hex
    given = dict(email=f"{whose}@x.example", name="Their Name", reference="for the rent", **values)
    amounts = dict(amount=Money(amount=60, **EUR), fee=Money(amount=0, **EUR))
    with transactions.db.write() as session:
        store.add(session, Moving(id=of, kind=kind, customer_id=whose, **amounts, **given), status)
    return of


def saga_of(transactions, of, status="completed"):
    with transactions.db.write() as session:
        at = now(session)
        row = dict(id=f"s-{of}", name="payout_arrived", version=1, key=of, status=status, stage=0, trace_id="t", ver=1)
        times = dict(deadline=at, wake_at=at, created_at=at, updated_at=at)
        session.execute(insert(saga_table).values(**row, **times, context='{"name": "Their Name"}', steps={}))


def row(transactions, of):
    with transactions.db.read() as session:
        return store.require(session, of)


def test_what_was_moved_stays_and_names_nobody(transactions):
    mine, bens = moved(transactions, iban=IBAN, kind="withdrawal", status="reversed"), moved(transactions, whose="ben")
    saga_of(transactions, mine), saga_of(transactions, bens)
    before, others, money = row(transactions, mine), row(transactions, bens), transactions.deposits()
    with transactions.db.write() as session:
        assert store.use(session, Moving(**asked("anna")), Limits(smallest=1, largest=9, per_day=9, per_30_days=9))
    assert counted(transactions, ANNA) == {"transaction": 1, "usage": 1, "saga": 1}
    assert told(transactions, ANNA)["transaction"][0]["iban"] == IBAN
    assert erased(transactions, ANNA) == {"transaction": 1, "usage": 1, "saga": 1}
    after = row(transactions, mine)
    assert (after.email, after.name, after.reference, after.iban) == ("", "", "", "DE…3000")
    blanked = {"email", "name", "reference", "iban"}
    assert all(getattr(after, name) == value for name, value in before._mapping.items() if name not in blanked)
    assert (row(transactions, bens), transactions.deposits()) == (others, money)
    assert set(transactions.erase(ANNA, key="again").rows.values()) == {0}
    pruner(transactions.db, transactions, TransactionsForgotten).prune()
    with transactions.db.read() as session:
        assert session.scalars(select(saga_table.c.key)).all() == [bens]


def asked(whose):
    return dict(
        id="m",
        kind="transfer",
        customer_id=whose,
        email="e",
        name="n",
        amount=Money(amount=1, **EUR),
        fee=Money(amount=0, **EUR),
    )


def test_what_others_sent_is_told_without_who_they_are(transactions):
    moved(transactions, kind="transfer", whose="ben", receiver_id="anna", from_account="b", to_account="a")
    (received,) = told(transactions, ANNA)["received"]
    assert {"email", "name", "from_account"} & set(received) == set()
    assert erased(transactions, ANNA) == {}


@pytest.mark.parametrize(("whose", "kind"), [("anna", "transaction"), ("ben", "received")])
def test_what_is_under_way_refuses_on_both_ends(transactions, whose, kind):
    of = moved(transactions, "in_review", "transfer", whose=whose, receiver_id={"anna": "ben"}.get(whose, "anna"))
    assert still_open(transactions, ANNA) == [f"{kind} {of}"]


def test_what_is_being_reversed_and_a_saga_that_runs_refuse(transactions):
    of, other = moved(transactions), moved(transactions)
    with transactions.db.write() as session:
        assert store.begin_reversal(session, of, 5)
    saga_of(transactions, other, "running")
    assert still_open(transactions, ANNA) == [f"transaction {of}", f"saga s-{other}"]


def test_a_withdrawal_refuses_as_long_as_it_may_come_back(transactions):
    of = moved(transactions, kind="withdrawal", iban=IBAN)
    shift_clock(timedelta(days=13, hours=23))
    assert still_open(transactions, ANNA) == [f"transaction {of}"]
    shift_clock(timedelta(days=14, hours=1))
    transactions.begin_erasure(ANNA, key="now")


def test_nothing_new_begins_for_who_is_leaving_on_either_end(transactions):
    reversible = moved(transactions, kind="deposit", to_account="a")
    transactions.begin_erasure(ANNA, key="e")
    for whose, receiver in (("anna", None), ("anna", "ben"), ("ben", "anna")):
        moving = Moving(**asked(whose), receiver_id=receiver)
        assert code_of(partial(transactions._begin, uuid.uuid4().hex, {}, moving)) == "privacy.leaving"
    assert code_of(lambda: transactions.reverse(reversible, "wrong", key="r")) == "privacy.leaving"
    with transactions.db.read() as session:
        assert session.scalars(select(Transaction.id)).all() == [reversible]
    assert transactions._begin("fine", {}, Moving(**asked("ben")))


def test_transactions_name_nobody_after_their_days_and_not_before(transactions):
    over, runs = moved(transactions, iban=IBAN), moved(transactions, "pending", whose="ben")
    prune = pruner(transactions.db, transactions, transaction=5)
    shift_clock(timedelta(days=4, hours=23))
    assert prune.prune() == 0
    shift_clock(timedelta(days=5, hours=1))
    assert (prune.prune(), prune.prune()) == (1, 0)
    assert (row(transactions, over).iban, row(transactions, runs).email) == ("DE…3000", BEN.email)
