"""The same shop as a bank: its customers' accounts and cards, and what has become of their money."""

import os
import sqlite3
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.accounts import AccountsApi
from contracts.notifications import NotificationsApi
from contracts.transactions import TransactionsApi
from contracts.users import UsersApi
from tests.chaos import money
from tests.chaos.ledger import Source
from tests.faults.world import World, in_turns
from tests.sandboxes import Sandbox, wait_until
from tests.shop import Shop

FUNDS = 90_000
"""What each customer begins with, minor units: less than what risk has staff look at, even if all of it leaves."""


@dataclass
class Mover:
    """One run of a flow: a customer with money on an `account`, and the account of an `other`. `trace` names it.

    `original`: the transaction that a reversal takes back, whose id is then `transaction_id`.
    """

    trace: str
    email: str
    sagas: int
    customer_id: str = ""
    account: str = ""
    other: str = ""
    transaction_id: str = ""
    original: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def subject(self) -> str:
        return self.transaction_id

    def card(self, behaves_as: str = "tok_visa") -> dict[str, Any]:
        """A card of their own."""
        return {"type": "card", "token": f"{behaves_as}.{self.trace}"}


@dataclass(frozen=True)
class Money:
    """What must hold when a flow of money has ended. `account`, `other`: posted, pending in, pending out.

    `card` and `bank` are what truly moved at the companies; `timeline` has each step's last word; `original`: the state
    of what a reversal was about, and what was taken back of it.
    """

    status: str
    account: tuple[int, int, int]
    other: tuple[int, int, int] = (0, 0, 0)
    card: tuple[tuple[str, int], ...] = ()
    bank: tuple[tuple[str, int], ...] = ()
    mails: int = 1
    timeline: dict[str, str] = field(default_factory=dict)
    original: tuple[str, int] | None = None


class Bank(World):
    """A world in which money is moved. `source`: where its databases are, for the accountant."""

    def __init__(self, shop: Shop, bank: Sandbox, source: Source) -> None:
        super().__init__(shop)
        self.bank, self.source = bank, source

    def cases(self, flow: Any, count: int) -> list[Any]:
        tag = uuid.uuid4().hex[:6]
        names = [f"{flow.name}-{tag}-{number:03}" for number in range(count)]
        cases = [Mover(name, f"{name}@rialto.example", flow.sagas) for name in names]
        in_turns(cases, lambda case: self._enter(flow, case))
        return cases

    def _enter(self, flow: Any, case: Any) -> None:
        user = self.look(UsersApi.sign_up, email=case.email, password="a-long-password", name="Ada", key=case.email)
        case.customer_id = user["id"]
        case.account, case.other = (self._open(whose, case) for whose in (case.customer_id, f"ben-{case.trace}"))
        self.pay_in(case, FUNDS)
        flow.before(self, case)

    def pay_in(self, case: Mover, amount: int) -> None:
        """Once for each amount."""
        moved = {"bank.EUR": amount, case.account: -amount}
        postings = [{"account_id": name, "amount": euro(cents)} for name, cents in moved.items()]
        self.look(AccountsApi.book, entry={"kind": "paid_in", "postings": postings}, key=f"{amount}-{case.trace}")

    def _open(self, customer_id: str, case: Mover) -> str:
        opened = self.look(
            AccountsApi.open, customer_id=customer_id, currency="EUR", name="savings", key=f"{customer_id}-{case.trace}"
        )
        return str(opened["id"])

    def order(self, case: Any) -> Any:
        return self.look(TransactionsApi.get, transaction_id=case.transaction_id)

    def ended(self, case: Any) -> Any:
        return self.ended_so_far(case, case.sagas)

    def ended_so_far(self, case: Any, count: int) -> Any:
        """The transaction, once there are so many sagas of its customer's, and all have ended."""

        def have_ended() -> bool:
            sagas = self._sagas(case)
            return len(sagas) == count and all(saga["status"] in money.ENDED for saga in sagas)

        self._wait_for(case, have_ended)
        return self.order(case)

    def _sagas(self, case: Any) -> list[Any]:
        """Found by their customer's address, which all of them have."""
        found: list[Any] = self.look(TransactionsApi.find_sagas, text=case.email)["items"]
        return found

    # --- what must hold

    def found(self, case: Any, mails: int) -> Any:
        transaction = self.order(case)
        original = self.look(TransactionsApi.get, transaction_id=case.original) if case.original else None
        return Money(
            status=transaction["status"],
            account=self.balance(case.account),
            other=self.balance(case.other),
            card=tuple(self.moved(case.original or case.transaction_id)),
            bank=tuple(self.sent(case.transaction_id)),
            mails=self.mails(case, mails),
            timeline={entry["step"]: entry["outcome"] for entry in transaction["timeline"]},
            original=original and (original["status"], original["reversed_amount"]["amount"]),
        )

    def mails(self, case: Any, at_least: int) -> int:
        """How many mails a customer has, once there are so many."""

        def written() -> Any:
            found = self.look(NotificationsApi.find, to=case.email)
            return found if len(found) >= at_least else None

        return len(wait_until(written, 15))

    def balance(self, account_id: str) -> tuple[int, int, int]:
        has = self.look(AccountsApi.get, account_id=account_id)["balance"]
        return has["posted"]["amount"], has["pending_in"]["amount"], has["pending_out"]["amount"]

    def sent(self, transaction_id: str) -> list[tuple[str, int]]:
        """What truly moved for a withdrawal, from the bank's own database."""
        query = "SELECT m.kind, m.amount FROM movements m JOIN payouts p ON p.key = m.key WHERE p.reference = ?"
        with sqlite3.connect(self.bank.db) as connection:
            return connection.execute(f"{query} ORDER BY m.id", (transaction_id,)).fetchall()

    def assert_holds(self, flow: Any, case: Any, why: str) -> None:
        found = self.found(case, flow.end.mails)
        assert found == flow.end, f"{case.trace}, {why}: {found}, not {flow.end}"

    def assert_adds_up(self) -> None:
        """By the ledger itself, by the accountant who trusts nobody, and by the audit of the whole shop."""
        assert self.look(AccountsApi.trial_balance)["holds"]
        verified = self.look(AccountsApi.verify)
        assert (verified["holds"], verified["broken"]) == (True, [])
        broken = {name: found for name, found in money.check(money.read(self.source), money.BOOKED).items() if found}
        assert broken == {}
        super().assert_adds_up()


def euro(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def source_of(config: dict[str, Any], folder: Path) -> Source:
    """Where the accountant finds the databases of this configuration."""
    uris = {name.split(":")[0]: uri for name, uri in config["DB_URIS"].items()}
    if uris["accounts"].startswith("sqlite"):
        return Source(folder)
    return Source(folder, os.environ["PG_URI"], {service: uri.rpartition("/")[2] for service, uri in uris.items()})
