"""payments, its gift cards, the ledger and the acquirer's real rules: whatever answers are lost and repeated, no cent
is."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from nameko.testing.services import worker_factory
from sqlalchemy import func, select
from werkzeug.test import Client

from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.outside import Answer
from chassis.types import Money
from contracts.common import PaymentMethod, PaymentPart
from sandbox.acquirer import Acquirer
from sandbox.disputes import taken
from services.payments.adapters import AcquirerClient
from services.payments.models import GiftCard, Part
from services.payments.service import PaymentsService
from tests import ledger as books
from tests.payments import Line as LedgerLine

numbers = itertools.count()
FAULTS = st.sampled_from(
    (
        "",
        "",
        "lost before",
        "lost after",
        *(f"{method} {when}" for method in ("hold", "release", "settle", "book") for when in ("before", "after")),
    )
)
"""What becomes of what is sent to the acquirer, or of one call of the ledger's."""
PAYMENTS, ORDERS, REFUNDS = st.integers(0, 3), st.integers(0, 1), st.integers(0, 3)
ISSUED, FUNDS = 1000, 1000
TOTALS = {
    "card": 2000,
    "refused later": 2000,
    "declined": 2000,
    "gift card": 600,
    "split": 900,
    "wallet": 450,
    "wallet and card": 800,
    "wallet, then declined": 800,
    "wallet, then refused": 800,
    "too much of a wallet": 1100,
}
REFUNDED = (100, 450, 600, 2500)


class Line:
    """The way to the acquirer, in this process: `fault` is what becomes of what is sent."""

    def __init__(self, company: Acquirer) -> None:
        self.client, self.fault = Client(company), ""

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        if self.fault == "lost before":
            raise OutcomeUnknown("acquirer", "it did not arrive")
        answer = self.client.open(path, method=method, json=body)
        if self.fault == "lost after":
            raise OutcomeUnknown("acquirer", "it did not answer")
        return Answer("acquirer", answer.status_code, answer.get_json())


def euro(amount: int) -> Money:
    return Money(amount=amount, currency="EUR")


class Till(RuleBasedStateMachine):
    """Two orders with two payments each, two gift cards and an account of one customer. Each command has one key and
    one input."""

    def __init__(self, database: WorkerDatabase, acquirer: Acquirer, ledger: Any) -> None:
        super().__init__()
        self.line, self.ledger_line, self.ledger = Line(acquirer), LedgerLine(ledger), ledger
        client = AcquirerClient(self.line)  # type: ignore[arg-type]
        self.service = worker_factory(
            PaymentsService, db=database, acquirer=client, call=Call(trace_id="t"), accounts=self.ledger_line
        )
        self.acquirer, self.database, self.name = acquirer, database, f"m{next(numbers)}"
        self.customer = f"{self.name}-c"
        self.account = books.wallet(ledger, self.customer, FUNDS)
        self.cards = [
            self.service.issue_gift_card(customer_id=self.customer, amount=euro(ISSUED), key=f"{self.name}:g{n}").id
            for n in range(2)
        ]
        self.methods: dict[int, str] = {}
        self.captures: dict[int, str] = {}
        self.doubts: dict[str, Callable[[], Any]] = {}
        self.disputes: list[str] = []

    def do(self, key: str, call: Callable[..., Any], fault: str, **arguments: Any) -> str:
        method, _, when = fault.partition(" ")
        self.line.fault = fault if method == "lost" else ""
        self.ledger_line.faults = {method: [when]}

        def act() -> Any:
            return call(**arguments, key=key)

        name = f"{call.__name__} {key}"
        try:
            act()
        except ServiceError as exc:
            if exc.code == "payments.wallet_frozen" and call.__name__ == "refund":
                self.doubts[name] = act
            else:
                self.doubts.pop(name, None)
            return exc.code
        except OutcomeUnknown:
            self.doubts[name] = act
            return "unknown"
        self.doubts.pop(name, None)
        return "ok"

    def order_of(self, payment: int) -> str:
        return f"{self.name}-o{payment // 2}"

    def method(self, kind: str) -> PaymentMethod:
        if kind == "gift card":
            return PaymentMethod(type="gift_card", id=self.cards[0])
        if kind == "split":
            gift = PaymentPart(type="gift_card", id=self.cards[1], amount=euro(300))
            return PaymentMethod(type="split", parts=[gift, PaymentPart(type="card", token="tok_visa")])
        if "wallet" in kind:
            return self.by_wallet(kind)
        tokens = {"card": "tok_visa", "refused later": "tok_capture_fails", "declined": "tok_declined"}
        return PaymentMethod(type="card", token=tokens[kind])

    def by_wallet(self, kind: str) -> PaymentMethod:
        if kind in ("wallet", "too much of a wallet"):
            return PaymentMethod(type="wallet", account_id=self.account)
        tokens = {"wallet and card": "tok_visa", "wallet, then declined": "tok_declined"}
        own = PaymentPart(type="wallet", account_id=self.account, amount=euro(350))
        by_card = PaymentPart(type="card", token=tokens.get(kind, "tok_capture_fails"))
        return PaymentMethod(type="split", parts=[by_card, own] if kind == "wallet and card" else [own, by_card])

    def payment(self, number: int) -> dict[str, Any]:
        kind = self.methods[number]
        return dict(
            order_id=self.order_of(number),
            amount=euro(TOTALS[kind]),
            method=self.method(kind),
            customer_id=self.customer,
            payment_id=f"{self.name}-p{number}",
        )

    @rule(number=PAYMENTS, kind=st.sampled_from(sorted(TOTALS)), fault=FAULTS)
    def authorize(self, number: int, kind: str, fault: str) -> None:
        self.methods.setdefault(number, kind)
        self.do(f"{self.name}:{number}:a", self.service.authorize, fault, **self.payment(number))

    @rule(number=PAYMENTS, fault=FAULTS)
    def void(self, number: int, fault: str) -> None:
        """As sagas do: never with the capture in doubt, or done."""
        if number in self.methods and self.captures.get(number) in (None, "payments.capture_refused"):
            said = self.do(f"{self.name}:{number}:a", self.service.void, fault, **self.payment(number))
            assert said in ("ok", "unknown")

    @rule(number=PAYMENTS, fault=FAULTS)
    def capture(self, number: int, fault: str) -> None:
        if number not in self.methods or f"void {self.name}:{number}:a" in self.doubts:
            return
        said = self.do(
            f"{self.name}:{number}:c",
            self.service.capture,
            fault,
            order_id=self.order_of(number),
            amount=euro(TOTALS[self.methods[number]]),
            payment_id=f"{self.name}-p{number}",
        )
        if said in ("ok", "unknown", "payments.capture_refused"):
            self.captures[number] = said

    @rule(order=ORDERS, number=REFUNDS, to=st.sampled_from(("original", "gift_card")), fault=FAULTS)
    def refund(self, order: int, number: int, to: str, fault: str) -> None:
        arguments = dict(order_id=self.order_of(2 * order), amount=euro(REFUNDED[number]), to=to)
        self.do(f"{self.name}:{order}:r{number}{to}", self.service.refund, fault, **arguments)

    @rule(number=PAYMENTS, amount=st.sampled_from((100, 700, None)))
    def dispute(self, number: int, amount: int | None) -> None:
        """At the acquirer: payments does not know of it yet."""
        asked = dict(key=f"{self.name}:d{next(numbers)}", authorization_key=f"{self.name}:{number}:a")
        answer = self.line.client.post("/disputes", json=asked | ({"amount": amount} if amount else {}))
        if answer.status_code == 201:
            self.disputes.append(answer.get_json()["id"])

    @rule(which=st.integers(0, 9), outcome=st.sampled_from(("won", "lost")))
    def decide_a_dispute(self, which: int, outcome: str) -> None:
        for dispute_id in self.disputes[which : which + 1]:
            self.line.client.post(f"/disputes/{dispute_id}/decide", json={"outcome": outcome})

    @rule(which=st.integers(0, 9), fault=FAULTS)
    def hear_of_a_dispute(self, which: int, fault: str) -> None:
        self.line.fault = fault
        for dispute_id in self.disputes[which : which + 1]:
            try:
                self.service.refresh_dispute(dispute_id)
            except OutcomeUnknown:
                assert fault

    @rule(frozen=st.booleans())
    def freeze(self, frozen: bool) -> None:
        self.turn(frozen)

    def turn(self, frozen: bool) -> None:
        turn = self.ledger.freeze if frozen else self.ledger.unfreeze
        turn(self.account, "to see what happens", key=books.key())

    @invariant()
    def the_account_holds_no_less_than_payments_count_on(self) -> None:
        with self.database.read() as session:
            parts = session.execute(select(Part).where(Part.account_id == self.account)).scalars().all()
        _, _, pending_out, available = books.balance(self.ledger, self.account)
        assert available >= 0
        assert pending_out >= sum(p.amount for p in parts if p.status == "authorized" and not self.in_doubt(p))

    def in_doubt(self, part: Part) -> bool:
        return any(f"{self.name}:{part.payment_id[-1]}:" in name for name in self.doubts)

    @invariant()
    def the_books_of_gift_cards_balance(self) -> None:
        assert self.service.audit_gift_cards().broken == []

    @invariant()
    def no_gift_card_holds_or_gave_more_than_it_had(self) -> None:
        with self.database.read() as session:
            cards = session.execute(select(GiftCard).where(GiftCard.customer_id == self.customer)).scalars()
            assert all(
                c.issued == c.available + c.held + c.spent and min(c.available, c.held, c.spent) >= 0 for c in cards
            )

    @invariant()
    def the_acquirer_gave_back_no_more_than_it_took_and_took_nothing_that_was_voided(self) -> None:
        rows = self.acquirer.db.execute(
            "SELECT key, amount, captured, refunded, voided FROM authorizations WHERE reference LIKE ?",
            (f"{self.name}-%",),
        )
        for key, amount, captured, refunded, voided in rows.fetchall():
            assert 0 <= refunded <= refunded + taken(self.acquirer, key) <= captured <= (0 if voided else amount)

    def teardown(self) -> None:
        """All is asked again until it is known: then both sides say the same."""
        self.turn(frozen=False)
        for act in list(self.doubts.values()):
            self.line.fault, self.ledger_line.faults = "", {}
            try:
                act()
            except ServiceError as refusal:
                assert refusal.code.startswith(("payments.", "saga."))  # noqa: PT017
        for dispute_id in self.disputes:
            theirs = self.line.client.get(f"/disputes/{dispute_id}").get_json()["status"]
            assert self.service.refresh_dispute(dispute_id).status == theirs
        with self.database.read() as session:
            parts = session.execute(select(Part).where(Part.customer_id == self.customer)).scalars().all()
            held = session.scalar(select(func.sum(GiftCard.held)).where(GiftCard.customer_id == self.customer))
        assert [part.refunding for part in parts] == [0] * len(parts)
        assert held == sum(p.amount for p in parts if p.gift_card_id and p.status == "authorized")
        self.require_account(parts)
        of_cards = {p.authorize_key: (p.captured, p.refunded) for p in parts if p.method == "card" and p.captured}
        assert {key: taken for key, (taken, _) in of_cards.items()} == self.theirs("captured")
        given, new = sum(back for _, back in of_cards.values()), self.issued_for_refunds()
        assert given == sum(self.theirs("refunded").values()) + new

    def require_account(self, parts: Sequence[Part]) -> None:
        """The ledger says of the account what payments say."""
        own = [p for p in parts if p.account_id]
        posted, _, pending_out, _ = books.balance(self.ledger, self.account)
        assert posted == FUNDS - sum(p.captured - p.refunded for p in own)
        assert pending_out == sum(p.amount for p in own if p.status == "authorized")
        assert self.ledger.trial_balance().holds

    def issued_for_refunds(self) -> int:
        """What went to new gift cards instead of back to cards."""
        cards = self.service.gift_cards(customer_id=self.customer)
        return sum(card.issued.amount for card in cards if card.id not in self.cards)

    def theirs(self, column: str) -> dict[str, int]:
        rows = self.acquirer.db.execute(
            f"SELECT key, {column} FROM authorizations WHERE reference LIKE ? AND captured > 0", (f"{self.name}-%",)
        )
        return dict(rows.fetchall())


@pytest.fixture
def acquirer(tmp_path: Path) -> Iterator[Acquirer]:
    company = Acquirer(str(tmp_path / "acquirer.db"), sleep=lambda seconds: None)
    yield company
    company.db.close()


def test_no_cent_is_lost_or_made(open_database: Any, walk: Any, acquirer: Acquirer) -> None:
    database, ledger = open_database("payments"), books.ledger_on(open_database("accounts"))
    walk(lambda: Till(database, acquirer, ledger))
