"""The acquirer's disputes, without a socket: what is taken back, what is given back, and what is told."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sandbox.hooks import Hooks
from tests.unit.test_sandbox_acquirer import Bank

SALE = [("authorize", 1999), ("capture", 1999)]


@pytest.fixture
def sold(tmp_path: Path):
    """A bank with one captured payment, which leaves its hooks in their table."""
    bank = Bank(tmp_path / "acquirer.db")
    bank.app.hooks = Hooks("http://nowhere.test", "secret", 60)
    bank.app.hooks.attach(bank.app.db)
    bank.authorize()
    bank.capture()
    yield bank
    bank.app.db.close()


def dispute(bank: Bank, key: str = "d1", **more: Any) -> tuple[int, dict[str, Any]]:
    return bank.post("/disputes", key=key, authorization_key="s1:auth", **more)


def decide(bank: Bank, dispute_id: str, outcome: str) -> tuple[int, dict[str, Any]]:
    return bank.post(f"/disputes/{dispute_id}/decide", outcome=outcome)


def moved(bank: Bank) -> list[tuple[str, int]]:
    return [(kind, amount) for kind, _, amount in bank.movements()]


def hooks(bank: Bank) -> list[tuple[str, str]]:
    rows = bank.app.db.execute("SELECT body FROM hooks ORDER BY id").fetchall()
    told = [msgspec.json.decode(body) for (body,) in rows]
    return [(each["type"], each["data"].get("status")) for each in told if each["type"].startswith("dispute.")]


def test_a_dispute_takes_back_what_is_left_of_a_capture(sold: Bank) -> None:
    sold.refund(500)
    status, told = dispute(sold, reason="fraudulent")
    assert status == 201
    assert told == {
        "id": told["id"],
        "key": "d1",
        "authorization_key": "s1:auth",
        "reference": "order-1",
        "status": "opened",
        "amount": 1499,
        "currency": "EUR",
        "reason": "fraudulent",
    }
    assert moved(sold) == [*SALE, ("refund", 500), ("dispute", 1499)]
    assert hooks(sold) == [("dispute.opened", "opened")]
    assert sold.get(f"/disputes/{told['id']}") == (200, told)
    assert sold.get("/operations/d1")[1] == {**told, "kind": "dispute"}


def test_a_won_one_is_given_back_once_and_a_lost_one_stays_taken(sold: Bank) -> None:
    won, lost = dispute(sold, "d1", amount=500)[1], dispute(sold, "d2", amount=700)[1]
    for _ in range(2):
        assert decide(sold, won["id"], "won") == (200, {**won, "status": "won"})
        assert decide(sold, lost["id"], "lost") == (200, {**lost, "status": "lost"})
    assert moved(sold) == [*SALE, ("dispute", 500), ("dispute", 700), ("dispute_won", 500)]
    assert hooks(sold) == [
        ("dispute.opened", "opened"),
        ("dispute.opened", "opened"),
        ("dispute.won", "won"),
        ("dispute.lost", "lost"),
    ]


@pytest.mark.parametrize(("first", "second"), [("won", "lost"), ("lost", "won")])
def test_it_is_decided_once(sold: Bank, first: str, second: str) -> None:
    opened = dispute(sold)[1]
    decide(sold, opened["id"], first)
    before = moved(sold), hooks(sold)
    status, refusal = decide(sold, opened["id"], second)
    assert (status, refusal["code"]) == (409, "decided")
    assert (moved(sold), hooks(sold)) == before
    assert sold.get(f"/disputes/{opened['id']}")[1]["status"] == first


def test_the_same_key_opens_one_and_with_other_input_is_refused(sold: Bank) -> None:
    assert dispute(sold, amount=500) == dispute(sold, amount=500)
    assert dispute(sold, amount=501)[1]["code"] == "key_reused"
    assert moved(sold) == [*SALE, ("dispute", 500)]


def test_no_more_is_disputed_than_is_captured_and_neither_refunded_nor_disputed_yet(sold: Bank) -> None:
    sold.refund(500)
    won, _ = dispute(sold, "d1", amount=600)[1], dispute(sold, "d2", amount=700)
    status, refusal = dispute(sold, "d3", amount=200)
    assert (status, refusal["code"], refusal["left"]) == (409, "dispute_exceeds_capture", 199)
    decide(sold, won["id"], "won")
    assert dispute(sold, "d4")[1]["amount"] == 799
    assert dispute(sold, "d5")[1]["left"] == 0
    kinds = [kind for kind, _ in moved(sold)]
    assert kinds == ["authorize", "capture", "refund", "dispute", "dispute", "dispute_won", "dispute"]


@pytest.mark.parametrize(("outcome", "left"), [(None, 1299), ("lost", 1299), ("won", 1999)])
def test_what_is_disputed_cannot_be_refunded_until_it_is_won(sold: Bank, outcome: str | None, left: int) -> None:
    opened = dispute(sold, amount=700)[1]
    if outcome:
        decide(sold, opened["id"], outcome)
    before = moved(sold)
    status, refusal = sold.refund(left + 1)
    assert (status, refusal["code"], refusal["left"]) == (409, "refund_exceeds_capture", left)
    assert moved(sold) == before
    assert sold.refund(left, key="s1:again")[0] == 201


def test_what_was_not_captured_or_never_there_is_not_disputed(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "acquirer.db")
    assert dispute(bank)[1]["code"] == "unknown_authorization"
    bank.authorize()
    assert dispute(bank, "d2")[1]["code"] == "not_captured"
    assert bank.get("/disputes/dp_1")[1]["code"] == "unknown_dispute"
    assert decide(bank, "dp_1", "won")[1]["code"] == "unknown_dispute"
    assert bank.get("/operations/d2")[1]["status"] == "refused"
    assert moved(bank) == [("authorize", 1999)]
    bank.app.db.close()


def test_the_statement_tells_what_has_become_of_a_dispute(sold: Bank) -> None:
    ids = [dispute(sold, key, amount=100)[1]["id"] for key in ("d1", "d2", "d3")]
    decide(sold, ids[1], "won")
    decide(sold, ids[2], "lost")
    lines = sold.get("/statement")[1]["items"]
    assert [(line["kind"], line["outcome"], line["decided_at"] is not None) for line in lines] == [
        ("authorize", None, False),
        ("capture", None, False),
        ("dispute", "opened", False),
        ("dispute", "won", True),
        ("dispute", "lost", True),
        ("dispute_won", None, False),
    ]
    assert [line["key"] for line in lines[2:]] == [*ids, ids[1]]
    assert {line["authorization_key"] for line in lines} == {"s1:auth"}
