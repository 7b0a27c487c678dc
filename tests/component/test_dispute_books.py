"""What others make of a dispute, each on its own real database: the ledger's entries, copies, and letters to be."""

from datetime import UTC, datetime

import msgspec
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import select, update

from chassis.context import Call
from chassis.errors import ServiceError
from chassis.tables import outbox
from chassis.types import Money
from contracts.common import Amount, DisputeState
from contracts.payments import DisputeMoved
from services.orders import store as orders_store
from services.orders.service import OrdersService
from services.transactions import store as transactions_store
from services.transactions.domain import Moving, left_of
from services.transactions.models import Transaction
from services.transactions.service import TransactionsService
from tests.ledger import ledger_on

SEQUENCE = {"opened": 1, "won": 2, "lost": 2}
ALL = [("opened", "won"), ("won", "opened"), ("opened", "lost"), ("lost", "opened")]


def euro(amount):
    return Money(amount=amount, currency="EUR")


def moved(status, dispute_id="dp_1", order_id="o1", amount=700, event_id=None):
    fact = DisputeMoved(
        event_id=event_id or f"{dispute_id}-{status}",
        occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
        aggregate_id=dispute_id,
        sequence=SEQUENCE[status],
        dispute_id=dispute_id,
        order_id=order_id,
        payment_id=order_id,
        amount=euro(amount),
        status=status,
        reason="fraudulent",
        customer_id="anna",
    )
    return msgspec.to_builtins(fact)


# --- the ledger


def roles(ledger):
    trial = ledger.trial_balance()
    assert trial.holds
    return {line.role: line.debit - line.credit for line in trial.lines if line.debit != line.credit}


@pytest.fixture
def ledger(open_database):
    return ledger_on(open_database("accounts"))


@pytest.mark.parametrize("statuses", ALL)
def test_each_step_is_booked_once_in_whatever_order_and_however_often_it_comes(ledger, statuses):
    for status in (*statuses, *statuses):
        ledger.on_dispute_moved(moved(status))
    ledger.on_dispute_moved(moved(statuses[0], event_id="told by another event"))
    lost = {"dispute_losses": 700, "acquirer_receivable": -700}
    assert roles(ledger) == (lost if "lost" in statuses else {})


@pytest.mark.parametrize(
    ("status", "debited", "credited"),
    [
        ("opened", "disputed.EUR", "acquirer_receivable.EUR"),
        ("won", "acquirer_receivable.EUR", "disputed.EUR"),
        ("lost", "dispute_losses.EUR", "disputed.EUR"),
    ],
)
def test_the_postings_of_a_step(ledger, status, debited, credited):
    ledger.on_dispute_moved(moved(status))
    entry = ledger.entry("1")
    assert [(each.account_id, each.amount.amount) for each in entry.postings] == [(debited, 700), (credited, -700)]
    assert (entry.kind, entry.subject, entry.memo) == (f"dispute_{status}", "dispute:dp_1", "payment o1")
    assert entry.state == "posted"


# --- the order's and the deposit's own view


class Copies:
    """orders or transactions, with one order or deposit `o1`."""

    def __init__(self, service, database):
        self.service, self.database = service, database

    def hear(self, *facts):
        for fact in facts:
            self.service.on_dispute_moved(fact)

    def shown(self):
        disputes = self.service.get("o1").disputes
        return [(each.id, each.status, each.amount.amount) for each in disputes]

    def letters(self):
        with self.database.read() as session:
            rows = session.execute(select(outbox.c.event, outbox.c.sequence, outbox.c.payload).order_by(outbox.c.id))
            told = [(event, number, msgspec.json.decode(payload)) for event, number, payload in rows]
        return [(event, number, of["email"], of["name"], of["status"], of["amount"]) for event, number, of in told]


def orders_on(database):
    row = dict(
        id="o1",
        customer_id="anna",
        cart_id="cart",
        saga_id="s1",
        status="confirmed",
        email="anna@x.example",
        name="anna",
        address=dict(name="Anna", line1="Street 1", city="Berlin", postal_code="10115", country="DE"),
        lines=[],
        currency="EUR",
        items_amount=1900,
        shipping_amount=100,
        tax_amount=0,
        total_amount=2000,
        payment_method="card",
    )
    with database.write() as session:
        orders_store.add(session, row)
    return worker_factory(OrdersService, db=database, call=Call(trace_id="t"))


def deposit(amount=2000, fee=0):
    return Moving(
        id="o1",
        kind="deposit",
        customer_id="anna",
        email="anna@x.example",
        name="Anna",
        amount=euro(amount),
        fee=euro(fee),
        to_account="a1",
    )


def transactions_on(database, **of):
    with database.write() as session:
        transactions_store.add(session, deposit(**of), "completed")
    return worker_factory(TransactionsService, db=database, call=Call(trace_id="t"))


@pytest.fixture(params=["order", "deposit"])
def copies(request, open_database):
    if request.param == "order":
        database = open_database("orders")
        return Copies(orders_on(database), database)
    database = open_database("transactions")
    return Copies(transactions_on(database), database)


@pytest.mark.parametrize("statuses", ALL)
def test_it_shows_the_latest_state_and_writes_to_the_customer_once_of_each(copies, statuses):
    copies.hear(*(moved(status) for status in (*statuses, *statuses)))
    end = statuses[0] if statuses[1] == "opened" else statuses[1]
    assert copies.shown() == [("dp_1", end, 700)]
    event = "order_disputed" if isinstance(copies.service, OrdersService) else "transaction_disputed"
    money = {"amount": 700, "currency": "EUR"}
    assert copies.letters() == [
        (event, number, "anna@x.example", "Anna", status, money) for number, status in enumerate(statuses, start=1)
    ]


def test_several_disputes_are_shown_beside_each_other(copies):
    copies.hear(moved("opened"), moved("opened", "dp_2", amount=300), moved("won"))
    assert copies.shown() == [("dp_1", "won", 700), ("dp_2", "opened", 300)]


def test_a_dispute_of_something_else_changes_nothing(copies):
    copies.hear(moved("opened", order_id="other"))
    assert (copies.shown(), copies.letters()) == ([], [])


# --- reversals


def asked(service, amount):
    with pytest.raises(ServiceError) as refusal:
        service.reverse("o1", "a mistake", None if amount is None else Amount(amount=amount, currency="EUR"), key="r")
    return refusal.value.code, refusal.value.details


@pytest.mark.parametrize(
    ("disputes", "fee", "left"),
    [
        ([], 0, 2000),
        ([("opened", 700)], 0, 1300),
        ([("lost", 700)], 0, 1300),
        ([("won", 700)], 0, 2000),
        ([("opened", 700)], 50, 1350),
        ([("opened", 30)], 50, 2000),
        ([("opened", 2050)], 50, 0),
        ([("lost", 700), ("opened", 1300)], 0, 0),
    ],
)
def test_what_is_disputed_is_not_left_to_be_reversed(open_database, disputes, fee, left):
    database = open_database("transactions")
    service = transactions_on(database, fee=fee)
    for number, (status, amount) in enumerate(disputes):
        service.on_dispute_moved(moved(status, f"dp_{number}", amount=amount))
    with database.read() as session:
        assert left_of(transactions_store.require(session, "o1")) == left
    assert asked(service, left + 1) == ("transactions.reversal_exceeds_rest", {"left": left})
    with database.read() as session:
        assert session.scalar(select(Transaction.reversing).where(Transaction.id == "o1")) == 0


def test_all_of_a_deposit_that_is_disputed_whole_is_not_reversed(open_database):
    database = open_database("transactions")
    service = transactions_on(database)
    service.on_dispute_moved(moved("opened", amount=2000))
    assert asked(service, None) == ("transactions.reversal_exceeds_rest", {"left": 0})
    with database.read() as session:
        assert session.scalar(select(Transaction.reversing).where(Transaction.id == "o1")) == 0


def test_a_copy_from_before_there_were_disputes_is_read(open_database):
    database = open_database("transactions")
    service = transactions_on(database)
    with database.write() as session:
        session.execute(update(Transaction).values(disputes=None))
    assert service.get("o1").disputes == []
    service.on_dispute_moved(moved("opened"))
    assert service.get("o1").disputes == [DisputeState(id="dp_1", status="opened", amount=euro(700))]
