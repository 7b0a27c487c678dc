"""The acquirer's rules, without a socket. `movements` is what truly happened."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from sandbox.acquirer import Acquirer


class Bank:
    def __init__(self, db: Path) -> None:
        self.waited: list[float] = []
        self.app = Acquirer(str(db), sleep=self.waited.append)
        self.client = Client(self.app)

    def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = self.client.post(path, json=body)
        return answer.status_code, answer.get_json()

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        answer = self.client.get(path)
        return answer.status_code, answer.get_json()

    def authorize(
        self, token: str = "tok_visa", key: str = "s1:auth", amount: int = 1999
    ) -> tuple[int, dict[str, Any]]:
        return self.post("/authorizations", key=key, amount=amount, currency="EUR", token=token, reference="order-1")

    def capture(self, amount: int = 1999, key: str = "s1:capture") -> tuple[int, dict[str, Any]]:
        return self.post("/captures", key=key, authorization_key="s1:auth", amount=amount)

    def refund(self, amount: int, key: str = "s1:refund") -> tuple[int, dict[str, Any]]:
        return self.post("/refunds", key=key, authorization_key="s1:auth", amount=amount)

    def void(self, key: str = "s1:auth") -> tuple[int, dict[str, Any]]:
        return self.post("/voids", key=key)

    def movements(self) -> list[tuple[str, str, int]]:
        return self.app.db.execute("SELECT kind, key, amount FROM movements ORDER BY id").fetchall()


@pytest.fixture
def bank(tmp_path: Path):
    bank = Bank(tmp_path / "acquirer.db")
    yield bank
    bank.app.db.close()


def test_a_payment_goes_from_authorization_over_capture_to_refund_under_one_payment_id(bank: Bank) -> None:
    status, authorized = bank.authorize()
    assert (status, authorized["status"]) == (201, "authorized")
    assert bank.capture()[1] | {"key": None} == authorized | {"key": None, "status": "captured"}
    status, refunded = bank.refund(999)
    assert (status, refunded["status"], refunded["amount"]) == (201, "refunded", 999)
    rows = bank.app.db.execute("SELECT kind, key, payment, amount, currency FROM movements ORDER BY id").fetchall()
    assert rows == [
        ("authorize", "s1:auth", authorized["id"], 1999, "EUR"),
        ("capture", "s1:capture", authorized["id"], 1999, "EUR"),
        ("refund", "s1:refund", authorized["id"], 999, "EUR"),
    ]


def test_the_same_key_with_the_same_input_gets_the_same_answer_and_moves_money_once(bank: Bank) -> None:
    for ask in (bank.authorize, bank.capture, lambda: bank.refund(500)):
        assert ask() == ask()
    assert [kind for kind, _, _ in bank.movements()] == ["authorize", "capture", "refund"]


def test_the_same_key_with_another_input_is_refused_and_changes_nothing(bank: Bank) -> None:
    bank.authorize()
    assert bank.authorize(amount=1)[1]["code"] == "key_reused"
    assert bank.capture(key="s1:auth")[1]["code"] == "key_reused"
    assert bank.movements() == [("authorize", "s1:auth", 1999)]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("tok_declined", 402, "declined"),
        ("tok_insufficient_funds", 402, "insufficient_funds"),
        ("tok_nobody", 422, "unknown_token"),
    ],
)
def test_a_bad_card_is_refused_without_a_movement_however_often_it_is_tried(
    bank: Bank, token: str, status: int, code: str
) -> None:
    for _ in range(2):
        got, body = bank.authorize(token)
        assert (got, body["code"]) == (status, code)
    assert bank.movements() == []


def test_a_card_that_fails_at_capture_is_authorised_first_and_can_be_voided_then(bank: Bank) -> None:
    assert bank.authorize("tok_capture_fails")[0] == 201
    status, body = bank.capture()
    assert (status, body["code"]) == (402, "capture_refused")
    assert bank.void() == (200, {"key": "s1:auth", "status": "voided"})
    assert bank.movements() == [("authorize", "s1:auth", 1999), ("void", "s1:auth", 1999)]


def test_a_void_before_its_authorization_is_remembered_and_the_late_one_refused(bank: Bank) -> None:
    assert bank.void()[0] == 200
    assert bank.get("/operations/s1:auth")[1]["status"] == "voided"
    status, body = bank.authorize()
    assert (status, body["code"]) == (409, "voided")
    assert bank.movements() == []


def test_a_void_is_done_once_and_the_authorization_cannot_be_repeated_or_captured(bank: Bank) -> None:
    bank.authorize()
    assert bank.void() == bank.void() == (200, {"key": "s1:auth", "status": "voided"})
    assert bank.authorize()[1]["code"] == "voided"
    assert bank.capture()[1]["code"] == "voided"
    assert bank.movements() == [("authorize", "s1:auth", 1999), ("void", "s1:auth", 1999)]


def test_a_captured_authorization_cannot_be_voided(bank: Bank) -> None:
    bank.authorize()
    bank.capture()
    status, body = bank.void()
    assert (status, body["code"]) == (409, "captured")
    assert bank.authorize()[0] == 201
    assert [kind for kind, _, _ in bank.movements()] == ["authorize", "capture"]


def test_a_key_of_another_kind_cannot_be_voided(bank: Bank) -> None:
    bank.authorize()
    bank.capture()
    assert bank.void("s1:capture")[1]["code"] == "key_reused"
    assert bank.get("/operations/s1:capture")[1]["status"] == "captured"


def test_refunds_never_exceed_what_was_captured(bank: Bank) -> None:
    bank.authorize()
    assert bank.refund(1, "too-early")[1]["code"] == "refund_exceeds_capture"
    bank.capture(1500)
    assert bank.refund(1000, "r1")[0] == 201
    status, body = bank.refund(501, "r2")
    assert (status, body["code"], body["left"]) == (409, "refund_exceeds_capture", 500)
    assert bank.refund(500, "r3")[0] == 201
    assert bank.refund(1, "r4")[1]["left"] == 0
    assert sum(amount for kind, _, amount in bank.movements() if kind == "refund") == 1500


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"authorization_key": "nobody", "amount": 1}, "unknown_authorization"),
        ({"authorization_key": "s1:auth", "amount": 2000}, "capture_exceeds_authorization"),
        ({"authorization_key": "s1:auth", "amount": 1999, "currency": "USD"}, "wrong_currency"),
        ({"authorization_key": "s1:auth", "amount": 0}, "invalid"),
        ({"authorization_key": "s1:auth"}, "invalid"),
    ],
)
def test_a_capture_that_does_not_fit_its_authorization_is_refused(bank: Bank, body: dict[str, Any], code: str) -> None:
    bank.authorize()
    assert bank.post("/captures", key="k", **body)[1]["code"] == code
    assert bank.movements() == [("authorize", "s1:auth", 1999)]


def test_an_authorization_is_captured_by_one_key_only(bank: Bank) -> None:
    bank.authorize()
    bank.capture(1000)
    assert bank.capture(999, key="again")[1]["code"] == "captured"


def test_a_slow_card_is_answered_late_the_first_time_and_has_long_been_done(bank: Bank) -> None:
    seen: list[list[tuple[str, str, int]]] = []
    bank.app.sleep = lambda s: (bank.waited.append(s), seen.append(bank.movements()))[0]
    first = bank.authorize("tok_slow")
    assert (bank.waited, seen) == ([3.0], [[("authorize", "s1:auth", 1999)]])
    assert bank.authorize("tok_slow") == first
    assert bank.waited == [3.0]


def test_operations_tell_what_became_of_a_key(bank: Bank) -> None:
    assert bank.get("/operations/s1:auth")[1]["code"] == "unknown_key"
    payment = bank.authorize()[1]["id"]
    bank.capture()
    bank.refund(99)
    bank.authorize("tok_declined", key="s2:auth")
    found = bank.get("/operations/s1:auth")[1]
    assert [found[name] for name in ("id", "kind", "status", "captured", "refunded")] == [
        payment,
        "authorize",
        "authorized",
        1999,
        99,
    ]
    assert bank.get("/operations/s1:refund")[1]["status"] == "refunded"
    declined = bank.get("/operations/s2:auth")[1]
    assert (declined["status"], declined["code"]) == ("refused", "declined")


def test_the_statement_pages_through_every_movement_in_order(bank: Bank) -> None:
    for n in range(5):
        bank.authorize(key=f"a{n}")
    keys, after, pages = [], 0, 0
    while after is not None:
        page = bank.get(f"/statement?after={after}&limit=2")[1]
        keys += [item["key"] for item in page["items"]]
        after, pages = page["next"], pages + 1
    assert (keys, pages) == (["a0", "a1", "a2", "a3", "a4"], 3)


def test_malformed_bodies_wrong_paths_and_wrong_methods_are_answered_in_json(bank: Bank) -> None:
    assert (bank.client.post("/voids", data=b"{").status_code, bank.get("/nowhere")[0]) == (400, 404)
    answer = bank.client.get("/voids")
    assert (answer.status_code, answer.headers["Allow"], answer.get_json()["code"]) == (
        405,
        "POST",
        "method_not_allowed",
    )


def test_what_was_answered_is_in_the_file_for_any_other_process_to_read(bank: Bank) -> None:
    bank.authorize()
    other = sqlite3.connect(bank.app.db_path)
    assert other.execute("SELECT kind, key FROM movements").fetchall() == [("authorize", "s1:auth")]
    other.close()
