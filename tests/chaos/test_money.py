"""That the checks of customers' money see what they are for, tried on copies of what a minute of chaos left."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import ledger, money, verdict
from tests.chaos.conftest import Left

A_DEPOSIT = "SELECT max(id) FROM transactions WHERE kind = 'deposit' AND status = 'completed'"
A_TRANSFER = "SELECT max(id) FROM transactions WHERE kind = 'transfer' AND status = 'completed'"
A_CHARGE = "SELECT min(payment) FROM authorizations WHERE captured AND token LIKE '%.%'"
OF_A_CHARGE = f"FROM movements WHERE kind = 'capture' AND payment = ({A_CHARGE})"
BOOKED, ACQUIRER, BANK = (
    "each transaction is booked once",
    "the acquirer agrees with the ledger",
    "the bank agrees with the ledger",
)
DAMAGE = {
    "a transaction without an end": (
        "transactions",
        f"UPDATE transactions SET status = 'pending' WHERE id = ({A_DEPOSIT})",
        "every transaction ended",
    ),
    "a reversal without an end": (
        "transactions",
        f"UPDATE transactions SET reversing = 1 WHERE id = ({A_TRANSFER})",
        "every transaction ended",
    ),
    "a saga without an end": (
        "transactions",
        "UPDATE saga SET status = 'running' WHERE id = (SELECT max(id) FROM saga)",
        "every transaction ended",
    ),
    "a rejected deposit that was booked": (
        "transactions",
        f"UPDATE transactions SET status = 'rejected' WHERE id = ({A_DEPOSIT})",
        BOOKED,
    ),
    "a rejected deposit whose money was taken": (
        "transactions",
        f"UPDATE transactions SET status = 'rejected' WHERE id = ({A_DEPOSIT})",
        ACQUIRER,
    ),
    "a transfer that was booked twice": (
        "accounts",
        (
            "INSERT INTO entry SELECT 1000000, 'x', input_hash, 'posted', NULL, NULL, NULL, kind, subject, memo, "
            "author, at, hash, NULL FROM entry WHERE kind = 'transfer' AND phase = 'settled' LIMIT 1;"
            "INSERT INTO posting SELECT 1000000, position, account_id, stripe, amount FROM posting WHERE entry_id = "
            "(SELECT id FROM entry WHERE kind = 'transfer' AND phase = 'settled' LIMIT 1)"
        ),
        BOOKED,
    ),
    "an entry about no transaction": (
        "accounts",
        "UPDATE entry SET subject = 'transaction:x' WHERE id = (SELECT max(id) FROM entry WHERE phase = 'settled')",
        BOOKED,
    ),
    "an entry that was never written": (
        "accounts",
        "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry WHERE kind = 'withdrawal_arrived')",
        BOOKED,
    ),
    "a posting of another amount": (
        "accounts",
        "UPDATE posting SET amount = amount + 1 WHERE position = 0 AND entry_id = (SELECT max(entry_id) FROM posting)",
        "entries and accounts add up",
    ),
    "a cent that came from nowhere": (
        "accounts",
        "UPDATE account SET credits = credits + 1 WHERE id = (SELECT max(id) FROM account WHERE customer_id NOT NULL)",
        "entries and accounts add up",
    ),
    "a hold that stays": (
        "accounts",
        "UPDATE entry SET ends = NULL WHERE id = (SELECT max(id) FROM entry WHERE phase = 'settled')",
        "nothing stays held",
    ),
    "money that stays set aside on an account": (
        "accounts",
        "UPDATE account SET pending_debits = 1 WHERE id = (SELECT max(id) FROM account WHERE customer_id NOT NULL)",
        "nothing stays held",
    ),
    "a second charge": (
        "acquirer",
        f"INSERT INTO movements SELECT NULL, kind, 'x', payment, amount, currency, at {OF_A_CHARGE}",
        ACQUIRER,
    ),
    "a refund that nobody asked for": (
        "acquirer",
        f"INSERT INTO movements SELECT NULL, 'refund', 'x', payment, amount, currency, at {OF_A_CHARGE}",
        ACQUIRER,
    ),
    "money that stays set aside on a card": (
        "acquirer",
        f"UPDATE authorizations SET captured = 0 WHERE payment = ({A_CHARGE})",
        ACQUIRER,
    ),
    "a payout that never left": (
        "bank",
        "DELETE FROM payouts WHERE id = (SELECT max(id) FROM payouts WHERE status = 'settled')",
        BANK,
    ),
    "a payout that left twice": (
        "bank",
        (
            "INSERT INTO payouts SELECT NULL, 'x', iban, name, reference, amount, currency, status, reason, moved_at "
            "FROM payouts LIMIT 1"
        ),
        BANK,
    ),
    "a payout of more": ("bank", "UPDATE payouts SET amount = amount + 1 WHERE status = 'settled'", BANK),
    "a return that nobody booked": (
        "bank",
        "UPDATE payouts SET status = 'returned' WHERE id = (SELECT max(id) FROM payouts WHERE status = 'settled')",
        BANK,
    ),
    "a payout on its way": ("bank", "UPDATE payouts SET status = 'accepted'", "no payout is on its way"),
    "more taken back than was": (
        "transactions",
        f"UPDATE transactions SET reversed_amount = 1 WHERE id = ({A_TRANSFER})",
        "reversals add up",
    ),
    "a limit that something rejected counts against": (
        "transactions",
        "UPDATE usage SET amount = amount + 1 WHERE kind = 'deposit'",
        "limits add up",
    ),
    "a deposit under no key": (
        "transactions",
        "DELETE FROM inbox WHERE key = (SELECT max(key) FROM inbox WHERE command = 'deposit')",
        "one transaction for each key",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_accountant_finds(damage: str, copied_money: Path) -> None:
    database, statements, check = DAMAGE[damage]
    with closing(sqlite3.connect(copied_money / f"{database}.db")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(statements)
        assert connection.total_changes > 0
    found = money.check(money.read(ledger.Source(copied_money)))
    assert found[check], found


def test_the_accountant_finds_a_missing_mail_about_money(copied_money: Path) -> None:
    mail = next(
        path for path in (copied_money / "mail/new").iterdir() if b"Your deposit is completed" in path.read_bytes()
    )
    mail.unlink()
    (problem,) = money.mails_agree(money.read(ledger.Source(copied_money)))
    assert problem.endswith(": Your deposit is completed")


def test_a_minute_of_chaos_has_money_of_every_kind_in_it(minute: Left) -> None:
    rows = money.read(ledger.Source(minute[0])).transactions.values()
    ends = {(row["kind"], row["status"]) for row in rows}
    assert ends >= {(kind, "completed") for kind in ("deposit", "withdrawal", "transfer", "reversal")}, ends
    assert "rejected" in {row["status"] for row in rows}


# --- the verdict on what people were told


def test_an_answer_that_names_another_transaction_is_found(run: verdict.Run) -> None:
    first, second = [line for line in verdict.told(run, "moved") if line["transaction"]][:2]
    assert first["key"] != second["key"]
    first["transaction"] = second["transaction"]
    (problem,) = verdict.money_answers_were_true(run)
    assert problem.startswith(f"key {first['key']} was answered with {second['transaction']}, the books say ")


def test_a_transaction_that_nobody_asked_for_is_found(run: verdict.Run) -> None:
    line = next(line for line in verdict.told(run, "moved") if line["transaction"])
    fewer = [each for each in run.journal if each.get("key") != line["key"]]
    assert list(verdict.money_answers_were_true(replace(run, journal=fewer))) == [
        f"transaction {line['transaction']} was made under a key that no customer sent: {line['key']}"
    ]


def test_a_transaction_that_went_back_is_found(run: verdict.Run) -> None:
    line = next(each for each in verdict.told(run, "watched") if each["status"] == "completed")
    run.money.transactions[line["transaction"]]["status"] = "rejected"
    assert list(verdict.money_only_moved_on(run)) == [f"transaction {line['transaction']} was completed, then rejected"]


def test_a_rejection_that_nothing_explains_is_found(run: verdict.Run) -> None:
    rows = run.money.transactions.values()
    row = next(row for row in rows if (row["kind"], row["status"]) == ("deposit", "completed"))
    row.update(status="rejected", reason_code="accounts.frozen")
    (problem,) = verdict.money_causes_are_explained(run)
    assert problem.startswith(f"deposit {row['id']} came to accounts.frozen, meant was ")
    row["reason_code"] = "transactions.not_screened"
    (problem,) = verdict.money_causes_are_explained(replace(run, acts=[]))
    assert problem == f"deposit {row['id']} came to transactions.not_screened, while nothing was broken"
