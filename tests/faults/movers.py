"""What customers, staff and the bank do in flows of money. Each of these may be repeated."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import urllib3

from chassis.outside import sign
from contracts.payments import PaymentsApi
from contracts.risk import RiskApi
from contracts.transactions import TransactionsApi
from tests.faults.banking import Bank, Mover, euro

IBAN = "DE89370400440532013000"
Begin = Callable[[Bank, Mover], None]


def transfer(amount: int) -> Begin:
    def begin(world: Bank, case: Mover) -> None:
        begun = world.ask(
            case.trace,
            TransactionsApi.transfer,
            customer_id=case.customer_id,
            from_account=case.account,
            to_account=case.other,
            amount=euro(amount),
            key=case.key,
        )
        case.transaction_id = begun["id"]

    return begin


def deposit(amount: int, behaves_as: str = "tok_visa") -> Begin:
    def begin(world: Bank, case: Mover) -> None:
        begun = world.ask(
            case.trace,
            TransactionsApi.deposit,
            customer_id=case.customer_id,
            account_id=case.account,
            amount=euro(amount),
            method=case.card(behaves_as),
            key=case.key,
        )
        case.transaction_id = begun["id"]

    return begin


def withdraw(amount: int, iban: str = IBAN) -> Begin:
    def begin(world: Bank, case: Mover) -> None:
        begun = world.ask(
            case.trace,
            TransactionsApi.withdraw,
            customer_id=case.customer_id,
            account_id=case.account,
            amount=euro(amount),
            iban=iban,
            key=case.key,
        )
        case.transaction_id = begun["id"]

    return begin


# --- who has to be waited for


def deposit_and_approve(amount: int) -> Begin:
    """The customer approves at the bank, whose call comes as often as it likes."""
    start = deposit(amount, "tok_challenge")

    def begin(world: Bank, case: Mover) -> None:
        start(world, case)
        world.at_rest(case)
        url = world.order(case)["action_url"]
        if url is not None:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            page = f"{world.shop.acquirer.url}{urlsplit(url).path}"
            urllib3.request("POST", page, body=b"decision=approve", headers=form)
            _tell_approval(world, case)

    return begin


def _tell_approval(world: Bank, case: Mover) -> None:
    query = "SELECT key, payment, amount FROM authorizations WHERE reference = ?"
    with sqlite3.connect(world.shop.acquirer.db) as connection:
        key, payment, amount = connection.execute(query, (case.transaction_id,)).fetchone()
    moved = dict(id=payment, key=key, authorization_key=key, reference=case.transaction_id, status="authorized")
    data = {**moved, "amount": amount, "currency": "EUR"}
    _hook(world, case, "acquirer", "payment.authorized", f"evt-{payment}", data)


def transfer_and_approve(amount: int) -> Begin:
    """One that staff has to look at, and lets go on."""
    start = transfer(amount)

    def begin(world: Bank, case: Mover) -> None:
        start(world, case)
        world.at_rest(case)
        reviews = world.look(RiskApi.reviews, limit=100)["items"]
        for review in (each for each in reviews if each["subject_id"] == case.transaction_id):
            world.ask(case.trace, RiskApi.claim, review_id=review["id"], key=f"{case.key}-claim")
            world.ask(case.trace, RiskApi.approve, review_id=review["id"], reason="Fine.", key=f"{case.key}-approve")

    return begin


# --- what comes later


def withdrawn(amount: int) -> Begin:
    start = withdraw(amount)

    def begin(world: Bank, case: Mover) -> None:
        start(world, case)
        world.ended_so_far(case, 1)
        world.mails(case, 1)

    return begin


def arrive(world: Bank, case: Mover) -> None:
    """The bank says that a withdrawal has arrived."""
    _at_bank(world, case, "settlements", "settled")


def arrived(amount: int) -> Begin:
    before = withdrawn(amount)

    def begin(world: Bank, case: Mover) -> None:
        before(world, case)
        arrive(world, case)
        world.ended_so_far(case, 2)

    return begin


def come_back(world: Bank, case: Mover) -> None:
    """The bank says that a withdrawal has come back."""
    _at_bank(world, case, "returns", "returned", reason="account_closed")


def _at_bank(world: Bank, case: Mover, path: str, status: str, **more: str) -> None:
    with sqlite3.connect(world.bank.db) as connection:
        query = "SELECT key, amount FROM payouts WHERE reference = ?"
        key, amount = connection.execute(query, (case.transaction_id,)).fetchone()
    httpx.post(f"{world.bank.url}/{path}", json={"key": key, **more})  # refused when it is done already
    data = dict(key=key, reference=case.transaction_id, status=status, amount=amount, currency="EUR", reason=None)
    _hook(world, case, "bank", f"payout.{status}", f"evt-{status}-{key}", data | more)


def _hook(world: Bank, case: Mover, company: str, kind: str, event_id: str, data: dict[str, Any]) -> None:
    body = msgspec.json.encode(dict(id=event_id, type=kind, at="2026-01-01T00:00:00Z", data=data))
    signed_at = time.time() + world.clock.total_seconds()
    signature = sign(world.shop.config[f"{company}_hook_secret"], body, signed_at)
    method = {"acquirer": PaymentsApi.acquirer_hook, "bank": PaymentsApi.bank_hook}[company]
    world.ask(case.trace, method, signature=signature, body=body.decode())


# --- reversals


def completed(start: Begin) -> Begin:
    """A transaction that was completed, to be taken back; its mail is written."""

    def begin(world: Bank, case: Mover) -> None:
        start(world, case)
        world.ended_so_far(case, 1)
        world.mails(case, 1)
        case.original, case.key = case.transaction_id, f"{case.key}-reversal"

    return begin


def reverse(amount: int) -> Begin:
    def begin(world: Bank, case: Mover) -> None:
        begun = world.ask(
            case.trace,
            TransactionsApi.reverse,
            transaction_id=case.original,
            reason="a mistake",
            amount=euro(amount),
            key=case.key,
        )
        case.transaction_id = begun["id"]

    return begin
