"""The ledger for tests: the service on a database, and short words for entries."""

import itertools
from typing import Any

from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.types import OPERATOR, Caller, Money
from contracts.accounts import KeyedEntry, NewEntry, Posting
from services.accounts import sealing
from services.accounts.domain import ROLES
from services.accounts.service import AccountsService, AccountsSettings

_numbers = itertools.count(1)


def ledger_on(database: WorkerDatabase, caller: Caller | None = None, stripes: int = 4) -> Any:
    return worker_factory(
        AccountsService,
        db=database,
        call=Call(trace_id="t", caller=caller),
        settings=AccountsSettings(accounts_stripes=stripes),
    )


def as_customer(database: WorkerDatabase, customer_id: str) -> Any:
    return ledger_on(database, Caller(customer_id=customer_id, roles=("customer",)))


def as_operator(database: WorkerDatabase, customer_id: str) -> Any:
    return ledger_on(database, Caller(customer_id=customer_id, roles=("customer", OPERATOR)))


def key() -> str:
    return f"key-{next(_numbers)}"


def postings(currency: str = "EUR", **amounts: int) -> list[Posting]:
    """postings(acquirer_receivable=500, sales=-500): roles as words, other accounts by `**{id: amount}`."""
    return [
        Posting(account_id=f"{name}.{currency}" if name in ROLES else name, amount=Money(amount=n, currency=currency))
        for name, n in amounts.items()
    ]


def entry(currency: str = "EUR", kind: str = "test", corrects: str | None = None, **amounts: int) -> NewEntry:
    return NewEntry(postings=postings(currency, **amounts), kind=kind, corrects=corrects)


def keyed(own_key: str, *, hold_id: str | None = None, currency: str = "EUR", **amounts: int) -> KeyedEntry:
    return KeyedEntry(key=own_key, postings=postings(currency, **amounts), kind="test", hold_id=hold_id)


def wallet(ledger: Any, customer_id: str = "c1", funds: int = 0, currency: str = "EUR") -> str:
    """A customer's new account with so much on it."""
    account_id: str = ledger.open(customer_id, currency, "wallet", key=key()).id
    if funds:
        ledger.book(entry(currency, bank=funds, **{account_id: -funds}), key=key())
    return account_id


def balance(ledger: Any, account_id: str) -> tuple[int, int, int, int]:
    """posted, pending in, pending out, available"""
    held = ledger.get(account_id).balance
    return held.posted.amount, held.pending_in.amount, held.pending_out.amount, held.available.amount


def seal_all(ledger: Any) -> int:
    """How many entries were sealed."""
    total = 0
    while True:
        with ledger.db.write() as session:
            sealed = sealing.seal(session)
        if sealed is None:
            return total
        total += sealed.entries
