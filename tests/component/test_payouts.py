"""payouts on real databases, against the bank's real process."""

import sqlite3
import time
import uuid

import msgspec
import pytest
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.hooks import HookReader
from chassis.outside import OutsideClient, sign
from chassis.tables import outbox
from chassis.types import Caller, Money
from sandbox.bank import LOST_REPLY, REFUSED
from services.payments.adapters import BankClient
from services.payments.service import PaymentsService
from tests.sandboxes import running_bank

GOOD = "DE89370400440532013000"
FIVE = Money(amount=500, currency="EUR")
HOOKS = HookReader("payments.bad_signature", "hook-secret", 300)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    with running_bank(tmp_path_factory.mktemp("bank")) as sandbox:
        yield sandbox


@pytest.fixture
def database(open_database):
    return open_database("payments")


@pytest.fixture
def payments_as(bank, database):
    def make(caller=None):
        client = BankClient(OutsideClient("bank", bank.url, 5.0))
        return worker_factory(
            PaymentsService, db=database, bank=client, bank_hooks=HOOKS, call=Call(trace_id="t", caller=caller)
        )

    return make


@pytest.fixture
def payments(payments_as):
    return payments_as()


@pytest.fixture
def payout():
    return f"t-{uuid.uuid4().hex[:12]}"


def moved(bank, payout):
    db = sqlite3.connect(bank.db)
    rows = db.execute("SELECT kind, amount FROM movements WHERE key = ?", (f"{payout}:p",)).fetchall()
    db.close()
    return rows


def pay(payments, payout, iban=GOOD, amount=FIVE):
    return payments.pay_out(payout, amount, iban, "Ada", payout, key=f"{payout}:p")


def tell(payments, payout, status, event_id=None, secret="hook-secret"):
    data = dict(key=f"{payout}:p", reference=payout, status=status, amount=500, currency="EUR")
    data["reason"] = "account_closed" if status == "returned" else None
    body = msgspec.json.encode(
        {"id": event_id or uuid.uuid4().hex, "type": f"payout.{status}", "at": "2026-01-01T00:00:00Z", "data": data}
    )
    payments.bank_hook(sign(secret, body, int(time.time())), body.decode())


def told(database):
    with database.read() as session:
        return [row.event for row in session.execute(outbox.select().order_by(outbox.c.id))]


def test_a_payout_is_sent_once_whatever_is_repeated(payments, bank, payout):
    first = pay(payments, payout)
    assert (first.status, first.amount, pay(payments, payout)) == ("sent", FIVE, first)
    assert moved(bank, payout) == [("payout", 500)]


def test_a_refused_payout_sends_nothing_and_stays_refused(payments, bank, payout):
    for _ in range(2):
        with pytest.raises(ServiceError) as refused:
            pay(payments, payout, REFUSED)
        assert refused.value.code == "payments.payout_refused"
    assert (payments.get_payout(payout).status, moved(bank, payout)) == ("refused", [])


def test_a_lost_answer_is_unknown_and_a_repeat_finds_the_payout_sent_once(payments, bank, payout):
    with pytest.raises(OutcomeUnknown):
        pay(payments, payout, LOST_REPLY)
    assert payments.get_payout(payout).status == "asked"
    assert pay(payments, payout, LOST_REPLY).status == "sent"
    assert moved(bank, payout) == [("payout", 500)]


def test_the_banks_news_moves_a_payout_forward_only_and_is_told_once(payments, database, payout):
    pay(payments, payout)
    tell(payments, payout, "settled", "e1")
    tell(payments, payout, "settled", "e1")
    tell(payments, payout, "settled", "e2")
    assert payments.get_payout(payout).status == "settled"
    tell(payments, payout, "returned")
    tell(payments, payout, "settled")
    found = payments.get_payout(payout)
    assert (found.status, found.reason) == ("returned", "account_closed")
    assert len(told(database)) == 2


def test_news_that_is_faster_than_the_banks_answer_stays(payments, payout):
    with pytest.raises(OutcomeUnknown):
        pay(payments, payout, LOST_REPLY)
    tell(payments, payout, "settled")
    assert pay(payments, payout, LOST_REPLY).status == "settled"


def test_a_badly_signed_hook_changes_nothing(payments, payout):
    pay(payments, payout)
    with pytest.raises(ServiceError) as refused:
        tell(payments, payout, "settled", secret="a guess")
    assert (refused.value.code, payments.get_payout(payout).status) == ("payments.bad_signature", "sent")


def test_a_customer_sends_nothing(payments_as, bank, payout):
    with pytest.raises(ServiceError) as refused:
        pay(payments_as(Caller(customer_id="anna", roles=("customer",))), payout)
    assert (refused.value.code, moved(bank, payout)) == ("auth.forbidden", [])
