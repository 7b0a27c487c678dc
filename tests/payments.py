"""payments as tests see it: its arguments in short, and what truly happened at the acquirer."""

import sqlite3
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from eventlet import GreenPool
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.hooks import HookReader
from chassis.outside import OutsideClient, sign
from chassis.rpc import is_refusal
from chassis.tables import inbox
from chassis.types import Caller, Money
from contracts.accounts import AccountsApi
from contracts.common import Amount, PaymentMethod, PaymentPart
from services.payments.adapters import AcquirerClient
from services.payments.service import PaymentsService
from tests.sandboxes import Sandbox

HOOKS = HookReader("payments.bad_signature", "hook-secret", 300)
NOWHERE = "http://127.0.0.1:9"
"""An acquirer's address that nobody answers at."""


def euro(amount: int) -> Money:
    return Money(amount=amount, currency="EUR")


TWENTY = euro(2000)


def card(token: str = "tok_visa") -> PaymentMethod:
    return PaymentMethod(type="card", token=token)


def by_gift_card(card_id: str) -> PaymentMethod:
    return PaymentMethod(type="gift_card", id=card_id)


def by_wallet(account_id: str) -> PaymentMethod:
    return PaymentMethod(type="wallet", account_id=account_id)


def split(*parts: PaymentPart) -> PaymentMethod:
    return PaymentMethod(type="split", parts=list(parts))


def part(of: str, amount: int | None = None, currency: str = "EUR") -> PaymentPart:
    """`tok_…` is a card's, anything else a gift card's id."""
    money = None if amount is None else Amount(amount=amount, currency=currency)
    if of.startswith("tok_"):
        return PaymentPart(type="card", token=of, amount=money)
    return PaymentPart(type="gift_card", id=of, amount=money)


def wallet_part(account_id: str, amount: int | None = None) -> PaymentPart:
    money = None if amount is None else Amount(amount=amount, currency="EUR")
    return PaymentPart(type="wallet", account_id=account_id, amount=money)


class Line:
    """The way to the ledger, in this process. `faults` has what becomes of the next calls of a method, `down` of all:
    lost before they arrive, or after. Without a ledger nobody is there."""

    def __init__(self, ledger: Any = None) -> None:
        self.ledger, self.down = ledger, ledger is None
        self.faults: dict[str, list[str]] = {}
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(AccountsApi, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.asked.append(name)
            fault = self.faults[name].pop(0) if self.faults.get(name) else ""
            if self.down or fault == "before":
                raise OutcomeUnknown("accounts", "it did not arrive")
            try:
                answer = getattr(self.ledger, name)(*args, **kwargs)
            except ServiceError as exc:
                if not is_refusal(method, exc):
                    raise OutcomeUnknown("accounts", f"refused, which its contract does not list: {exc}") from exc
                if not fault:
                    raise
            if fault == "after":
                raise OutcomeUnknown("accounts", "it did not answer")
            return answer

        return call


def service_on(
    database: WorkerDatabase, url: str, caller: Caller | None = None, timeout_s: float = 5.0, accounts: Any = None
) -> PaymentsService:
    """payments over a database, with the acquirer at `url`, called by somebody; `accounts` is the way to the ledger,
    which nobody needs whom no wallet pays."""
    client = AcquirerClient(OutsideClient("acquirer", url, timeout_s))
    call = Call(trace_id="t", caller=caller)
    accounts = accounts or Line()
    return worker_factory(PaymentsService, db=database, acquirer=client, hooks=HOOKS, call=call, accounts=accounts)


def at_once(
    database: WorkerDatabase,
    url: str,
    calls: Iterable[Callable[[PaymentsService], Any]],
    accounts: Callable[[], Any] = Line,
) -> list[str]:
    """Each call by a worker of its own, all at the same time; `ok`, or the code of the refusal."""

    def work(call: Callable[[PaymentsService], Any]) -> str:
        opened = WorkerDatabase(database.Session)
        try:
            call(service_on(opened, url, accounts=accounts()))
        except ServiceError as exc:
            return exc.code
        finally:
            opened.close()
        return "ok"

    return sorted(GreenPool().imap(work, calls))


def movements(acquirer: Sandbox, order: str) -> list[tuple[str, int]]:
    """What truly happened at the acquirer under this order's keys."""
    db = sqlite3.connect(acquirer.db)
    rows = db.execute("SELECT kind, amount FROM movements WHERE key LIKE ? ORDER BY id", (order + ":%",)).fetchall()
    db.close()
    return rows


def captured(payments: PaymentsService, order: str, amount: int = 2000, token: str = "tok_visa") -> Any:
    payments.authorize(order, euro(amount), card(token), key=f"{order}:a")
    return payments.capture(order, euro(amount), key=f"{order}:c")


def sums(payments: PaymentsService, order: str, payment_id: str | None = None) -> tuple[str, int, int]:
    payment = payments.get(order, payment_id)
    return payment.status, payment.captured, payment.refunded


def shares(payments: PaymentsService, order: str) -> list[tuple[str, int, int, int]]:
    """status, amount, captured and refunded of each part."""
    return [(each.status, each.amount, each.captured, each.refunded) for each in payments.get(order).parts]


def balance(payments: PaymentsService, customer: str) -> list[tuple[int, int, int]]:
    """issued, to spend and held of each of the customer's gift cards, which also have to be right by their books."""
    assert payments.audit_gift_cards().broken == []
    cards = payments.gift_cards(customer)
    return [(each.issued.amount, each.balance.amount, each.held.amount) for each in cards]


def unknown(call: Callable[[], Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        call()


def refusal(call: Callable[[], Any]) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        call()
    return error.value


def state_of(database: WorkerDatabase, key: str) -> str | None:
    with database.read() as session:
        state: str | None = session.scalar(inbox.select().where(inbox.c.key == key).with_only_columns(inbox.c.state))
        return state


def decide(url: str, decision: str) -> None:
    """Press a button on the page of the card's bank."""
    data = urllib.parse.urlencode({"decision": decision}).encode()
    with urllib.request.urlopen(url, data=data, timeout=5) as answer:
        assert answer.status == 200


def hook(kind: str, order: str, key: str, event_id: str | None = None, amount: int = 2000, **more: Any) -> str:
    """The body of a call that the acquirer could make."""
    status = kind.removeprefix("payment.")
    data = dict(id="pay_1", key=key, authorization_key=f"{order}:a", reference=order, status=status, amount=amount)
    event = dict(id=event_id or uuid.uuid4().hex, type=kind, at="2026-01-01T00:00:00Z")
    return msgspec.json.encode({**event, "data": {**data, "currency": "EUR", **more}}).decode()


def tell(payments: PaymentsService, body: str, secret: str = "hook-secret", at: float | None = None) -> None:
    payments.acquirer_hook(sign(secret, body.encode(), at or time.time()), body)
