"""The bank's rules, without a socket."""

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from sandbox.bank import REFUSED, RETURNED, Bank
from sandbox.hooks import Hooks

GOOD = "DE89370400440532013000"


class Counter:
    def __init__(self, db: Path) -> None:
        self.at = 1_700_000_000.0
        self.app = Bank(str(db), Hooks("http://127.0.0.1:9/", "s", 1.0), now=lambda: self.at)
        self.client = Client(self.app)

    def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = self.client.post(path, json=body)
        return answer.status_code, answer.get_json()

    def get(self, path: str) -> dict[str, Any]:
        return self.client.get(path).get_json()

    def pay(self, key: str = "s1:pay_out", iban: str = GOOD, amount: int = 500) -> tuple[int, dict[str, Any]]:
        return self.post("/payouts", key=key, iban=iban, name="Ada", amount=amount, currency="EUR", reference="t-1")

    def movements(self) -> list[tuple[str, int]]:
        return self.app.db.execute("SELECT kind, amount FROM movements ORDER BY id").fetchall()

    def told(self) -> list[tuple[str, str | None]]:
        query = "SELECT json_extract(body, '$.type'), json_extract(body, '$.data.reason') FROM hooks ORDER BY id"
        return self.app.db.execute(query).fetchall()


@pytest.fixture
def counter(tmp_path: Path):
    counter = Counter(tmp_path / "bank.db")
    yield counter
    counter.app.db.close()


def test_a_payout_is_accepted_once_for_its_key_and_settles_with_a_hook(counter: Counter) -> None:
    status, first = counter.pay()
    assert (status, first["status"], counter.pay()) == (201, "accepted", (201, first))
    assert counter.post("/settlements", key="s1:pay_out")[1]["status"] == "settled"
    assert counter.post("/settlements", key="s1:pay_out") == (
        409,
        {"code": "settled", "message": "the payout is settled"},
    )
    assert counter.movements() == [("payout", 500)]
    assert counter.told() == [("payout.settled", None)]
    assert [line["kind"] for line in counter.get("/statement")["items"]] == ["payout"]


def test_the_same_key_with_another_amount_moves_nothing(counter: Counter) -> None:
    counter.pay()
    assert counter.pay(amount=501)[1]["code"] == "key_reused"
    assert counter.movements() == [("payout", 500)]


def test_an_account_that_takes_no_money_is_refused_and_nothing_moves(counter: Counter) -> None:
    assert counter.pay(iban=REFUSED)[1]["code"] == "account_refused"
    assert (counter.movements(), counter.told()) == ([], [])


def test_a_settled_payout_comes_back_later_with_the_reason(counter: Counter) -> None:
    counter.pay(iban=RETURNED)
    for _ in range(3):
        counter.at += 10
        with counter.app.transaction():
            counter.app._settle_due(counter.at - 5)
    assert counter.movements() == [("payout", 500), ("return", 500)]
    assert counter.told() == [("payout.settled", None), ("payout.returned", "account_closed")]


def test_a_cancel_that_came_first_refuses_the_late_payout(counter: Counter) -> None:
    assert counter.post("/cancellations", key="s1:pay_out")[0] == 200
    assert counter.pay()[1]["code"] == "cancelled"
    assert counter.movements() == []
