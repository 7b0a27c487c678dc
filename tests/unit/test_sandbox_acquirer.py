"""The acquirer's rules, without a socket. `movements` is what truly happened."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from werkzeug.test import Client

from sandbox import challenge
from sandbox.acquirer import Acquirer
from sandbox.hooks import Hooks


class Bank:
    def __init__(self, db: Path) -> None:
        self.waited: list[float] = []
        self.app = Acquirer(str(db), public_url="http://bank.test", sleep=self.waited.append)
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

    def challenge(self, token: str = "tok_challenge") -> str:
        """Authorise with a card that is challenged; answers the path of its page."""
        status, asked = self.authorize(token)
        assert (status, asked["status"]) == (201, "requires_action")
        assert asked["url"] == f"http://bank.test/challenges/{asked['id']}"
        return asked["url"].removeprefix("http://bank.test")

    def decide(self, path: str, decision: str) -> tuple[int, str]:
        """Press a button of the page; answers the status and the page's heading."""
        answer = self.client.post(path, data={"decision": decision})
        return answer.status_code, heading(answer.get_data(as_text=True))

    def page(self, path: str) -> tuple[int, str]:
        answer = self.client.get(path)
        return answer.status_code, heading(answer.get_data(as_text=True))

    def movements(self) -> list[tuple[str, str, int]]:
        return self.app.db.execute("SELECT kind, key, amount FROM movements ORDER BY id").fetchall()


def heading(page: str) -> str:
    found = re.search("<h1>(.*)</h1>", page)
    assert found is not None
    return found[1]


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


def test_a_card_with_a_name_behind_a_dot_behaves_as_the_one_before_it(bank: Bank) -> None:
    assert bank.authorize("tok_visa.ada", "a")[0] == 201
    assert bank.authorize("tok_declined.ada", "b")[1]["code"] == "declined"
    assert bank.authorize("tok_nobody.ada", "c")[1]["code"] == "unknown_token"
    assert bank.authorize("tok_challenge.ada", "d")[1]["status"] == "requires_action"
    assert bank.movements() == [("authorize", "a", 1999)]


def test_the_capture_of_a_card_with_a_name_fails_where_its_kind_does(bank: Bank) -> None:
    assert bank.authorize("tok_capture_fails.ada")[0] == 201
    assert bank.capture()[1]["code"] == "capture_refused"
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


def test_a_company_that_is_far_away_takes_its_time_for_every_answer(bank: Bank) -> None:
    bank.app.latency_s = 0.1
    bank.authorize()
    bank.authorize()
    bank.get("/operations/s1:auth")
    bank.authorize("tok_slow", key="s2:auth")
    assert bank.waited == [0.1, 0.1, 0.1, 3.1]


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


def test_a_challenged_card_sets_money_aside_when_its_owner_approves_and_is_captured_then(bank: Bank) -> None:
    path = bank.challenge()
    assert bank.movements() == []
    assert bank.get("/operations/s1:auth")[1]["status"] == "requires_action"
    assert bank.get("/operations/s1:auth")[1]["authorized"] == 0
    assert bank.page(path) == (200, "Approve this payment?")
    assert bank.decide(path, "approve") == (200, "Payment approved")
    assert bank.movements() == [("authorize", "s1:auth", 1999)]
    assert bank.get("/operations/s1:auth")[1]["status"] == "authorized"
    assert bank.get("/operations/s1:auth")[1]["authorized"] == 1999
    assert bank.capture()[0] == 201


def test_a_challenged_authorization_asked_for_again_answers_the_same_before_and_after_the_decision(bank: Bank) -> None:
    path = bank.challenge()
    first = bank.authorize("tok_challenge")
    bank.decide(path, "approve")
    assert bank.authorize("tok_challenge") == first
    assert bank.movements() == [("authorize", "s1:auth", 1999)]


@pytest.mark.parametrize(
    ("decision", "other", "title"),
    [("approve", "refuse", "Payment approved"), ("refuse", "approve", "Payment refused")],
)
def test_a_challenge_is_decided_once_and_a_repeat_shows_what_was_decided(
    bank: Bank, decision: str, other: str, title: str
) -> None:
    path = bank.challenge()
    assert bank.decide(path, decision) == (200, title)
    moved = bank.movements()
    assert bank.decide(path, other) == bank.decide(path, decision) == bank.page(path) == (200, title)
    assert bank.movements() == moved


def test_a_refused_challenge_moves_nothing_and_cannot_be_captured(bank: Bank) -> None:
    path = bank.challenge()
    bank.decide(path, "refuse")
    declined = bank.get("/operations/s1:auth")[1]
    assert (declined["status"], declined["code"]) == ("declined", "challenge_refused")
    assert bank.capture()[1]["code"] == "requires_action"
    assert bank.void()[0] == 200
    assert bank.movements() == []


def test_a_challenge_that_nobody_decided_cannot_be_captured(bank: Bank) -> None:
    path = bank.challenge()
    status, body = bank.capture()
    assert (status, body["code"]) == (409, "requires_action")
    bank.decide(path, "approve")
    assert bank.capture(key="s2:capture")[0] == 201
    assert bank.movements() == [("authorize", "s1:auth", 1999), ("capture", "s2:capture", 1999)]


def test_a_void_ends_a_challenge_and_a_late_approval_is_told_so(bank: Bank) -> None:
    path = bank.challenge()
    assert bank.void()[0] == 200
    assert bank.decide(path, "approve") == (409, "Payment cancelled")
    assert bank.page(path) == (200, "Payment cancelled")
    assert bank.movements() == []


def test_a_void_of_an_approved_challenge_gives_the_money_back(bank: Bank) -> None:
    path = bank.challenge()
    bank.decide(path, "approve")
    assert bank.void()[0] == 200
    assert bank.movements() == [("authorize", "s1:auth", 1999), ("void", "s1:auth", 1999)]


def test_the_end_of_a_challenge_is_told_by_one_hook(tmp_path: Path) -> None:
    app = Acquirer(str(tmp_path / "acquirer.db"), Hooks("http://127.0.0.1:9/", "s", 1.0))
    client = Client(app)
    ids = []
    for key in ("yes", "no"):
        asked = dict(key=key, amount=500, currency="EUR", token="tok_challenge", reference="order-1")
        ids.append(client.post("/authorizations", json=asked).get_json()["id"])
    assert app.db.execute("SELECT count(*) FROM hooks").fetchone() == (0,)
    for payment, decision in zip(ids, ("approve", "refuse"), strict=True):
        for _ in range(2):
            client.post(f"/challenges/{payment}", data={"decision": decision})
    told = [msgspec.json.decode(body) for (body,) in app.db.execute("SELECT body FROM hooks ORDER BY id")]
    app.db.close()
    assert [(each["type"], each["data"]["key"], each["data"].get("code")) for each in told] == [
        ("payment.authorized", "yes", None),
        ("payment.declined", "no", "challenge_refused"),
    ]


def test_a_challenge_is_found_by_the_acquirers_own_id_alone(bank: Bank) -> None:
    bank.challenge()
    plain = bank.authorize(key="s2:auth")[1]["id"]
    for path in ("/challenges/s1:auth", "/challenges/nobody", f"/challenges/{plain}"):
        assert bank.page(path) == (404, "No such payment")
        assert bank.decide(path, "approve") == (404, "No such payment")
    assert bank.movements() == [("authorize", "s2:auth", 1999)]


@pytest.mark.parametrize("form", [{}, {"decision": "maybe"}])
def test_a_decision_that_is_none_decides_nothing(bank: Bank, form: dict[str, str]) -> None:
    path = bank.challenge()
    assert bank.client.post(path, data=form).status_code == 422
    assert bank.page(path) == (200, "Approve this payment?")


def test_the_page_is_plain_html_that_no_other_site_can_frame_and_quotes_the_reference(bank: Bank) -> None:
    asked = dict(key="k", amount=1999, currency="EUR", token="tok_challenge", reference="<b>&order")
    payment = bank.post("/authorizations", **asked)[1]["id"]
    answer = bank.client.get(f"/challenges/{payment}")
    page = answer.get_data(as_text=True)
    assert answer.content_type == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "19.99 EUR" in page
    assert "&lt;b&gt;&amp;order" in page
    assert "<b>" not in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(5, "EUR", "0.05 EUR"), (123456, "USD", "1234.56 USD"), (700, "JPY", "700 JPY"), (1, "KWD", "0.001 KWD")],
)
def test_amounts_are_shown_as_people_write_them(amount: int, currency: str, text: str) -> None:
    assert challenge.money(amount, currency) == text


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
