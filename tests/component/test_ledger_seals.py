"""What was written cannot be changed unseen: each column, each row that is missing, added or exchanged is named."""

import pytest
from sqlalchemy import text

from chassis.errors import ServiceError
from tests.ledger import as_operator, balance, entry, key, keyed, ledger_on, seal_all, wallet


@pytest.fixture
def database(open_database):
    return open_database("accounts")


@pytest.fixture
def ledger(database):
    """Three sealed blocks, in them a hold that was settled and one that is open; one entry is not sealed."""
    ledger = ledger_on(database, stripes=1)
    mine = wallet(ledger, funds=100)
    ledger.hold("settled", entry(sales=-6, **{mine: 6}), key="h1")
    seal_all(ledger)
    ledger.settle("settled", key="h2")
    ledger.hold("open", entry(sales=-7, **{mine: 7}), key="h3")
    seal_all(ledger)
    ledger.book(entry(bank=1, sales=-1), key="b1")
    ledger.book(entry(bank=2, sales=-2), key="b2")
    seal_all(ledger)
    ledger.book(entry(bank=3, sales=-3), key="b3")
    return ledger


def tamper(ledger, statement, **values):
    with ledger.db.write() as session:
        assert session.execute(text(statement), values).rowcount >= 1


def found(ledger):
    checked = ledger.verify()
    assert checked.holds == (not checked.broken)
    return {(each.what, each.id) for each in checked.broken}


def test_books_that_nobody_touched_hold(ledger):
    checked = ledger.verify()
    assert (checked.holds, checked.blocks, checked.entries, checked.unsealed) == (True, 3, 7, 1)
    assert seal_all(ledger) == 1
    after = ledger.verify()
    assert (after.holds, after.blocks, after.unsealed) == (True, 4, 0)
    assert after.head != checked.head


def test_an_empty_ledger_holds(database):
    checked = ledger_on(database).verify()
    assert (checked.holds, checked.blocks, checked.entries, checked.head) == (True, 0, 0, "0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        "key = 'other'",
        "input_hash = 'other'",
        "kind = 'other'",
        "subject = 'other'",
        "memo = 'other'",
        "author = 'other'",
        "corrects = 1",
        "ends = 4",
        "hold_id = 'other'",
        "at = '2020-01-01 00:00:00+00:00'",
        "phase = 'voided'",
    ],
)
def test_each_column_of_an_entry_that_is_changed_is_found(ledger, change):
    if change.startswith("at") and ledger.db.session.get_bind().dialect.name == "sqlite":
        change = "at = '2020-01-01 00:00:00.000000'"
    tamper(ledger, f"UPDATE entry SET {change} WHERE id = 5")
    assert ("entry", "5") in found(ledger)


def test_an_entry_whose_hash_was_made_to_fit_is_found_by_its_block(ledger):
    tamper(ledger, "UPDATE entry SET hash = :hash WHERE id = 5", hash="0" * 64)
    assert {("entry", "5"), ("block", "3")} <= found(ledger)


@pytest.mark.parametrize("change", ["amount = amount * 2", "account_id = 'bank.EUR'", "stripe = 9", "position = 7"])
def test_each_column_of_a_posting_that_is_changed_is_found(ledger, change):
    if change.startswith("position"):
        tamper(ledger, "UPDATE posting SET position = 7 WHERE entry_id = 5 AND position = 0")
    else:
        tamper(ledger, f"UPDATE posting SET {change} WHERE entry_id = 5 AND amount < 0")
    assert ("entry", "5") in found(ledger)


def test_money_made_on_both_sides_is_found(ledger):
    tamper(ledger, "UPDATE posting SET amount = amount * 2 WHERE entry_id = 5")
    assert {("entry", "5"), ("balance", "bank.EUR"), ("balance", "sales.EUR")} == found(ledger)


def test_a_missing_entry_is_named(ledger):
    tamper(ledger, "DELETE FROM entry WHERE id = 5")
    assert {("entry", "5"), ("block", "3"), ("posting", "5")} <= found(ledger)


def test_a_missing_posting_is_named_by_its_entry(ledger):
    tamper(ledger, "DELETE FROM posting WHERE entry_id = 5 AND position = 1")
    assert ("entry", "5") in found(ledger)


def test_an_entry_that_was_slipped_into_a_sealed_block_is_named(ledger):
    tamper(ledger, "UPDATE entry SET block = 2 WHERE id = 7")
    assert ("entry", "7") in found(ledger)


def test_an_entry_in_a_block_that_there_is_not_is_named(ledger):
    tamper(ledger, "UPDATE entry SET block = 99 WHERE id = 7")
    assert ("chain", "7") in found(ledger)


def test_entries_that_changed_places_are_named(ledger):
    tamper(ledger, "UPDATE entry SET block = CASE block WHEN 1 THEN 3 ELSE 1 END WHERE id IN (1, 5)")
    assert {("entry", "1"), ("entry", "5")} <= found(ledger)


def test_entries_that_changed_ids_are_named(ledger):
    for old, new in ((5, -1), (6, 5), (-1, 6)):
        tamper(ledger, "UPDATE entry SET id = :new WHERE id = :old", old=old, new=new)
    assert {("entry", "5"), ("entry", "6")} <= found(ledger)


@pytest.mark.parametrize(
    "change", ["hash = :other", "previous = :other", "entries = '[5]'", "at = :at", "number = 5"], ids=str
)
def test_each_column_of_a_block_that_is_changed_is_found(ledger, change):
    sqlite = ledger.db.session.get_bind().dialect.name == "sqlite"
    values = {"other": "1" * 64, "at": "2020-01-01 00:00:00.000000" + ("" if sqlite else "+00:00")}
    if sqlite or "at" not in change.split():
        statement = f"UPDATE block SET {change} WHERE number = 3"
    else:
        statement = "UPDATE block SET at = CAST(:at AS timestamptz) WHERE number = 3"
    tamper(ledger, statement, **{name: value for name, value in values.items() if f":{name}" in statement})
    assert found(ledger) & {("block", "3"), ("chain", "3"), ("block", "5"), ("chain", "5")}


def test_a_missing_block_is_named(ledger):
    tamper(ledger, "DELETE FROM block WHERE number = 2")
    assert {("block", "2"), ("chain", "3")} <= found(ledger)


@pytest.mark.parametrize(
    "change",
    ["debits = debits + 1", "credits = credits + 1", "pending_credits = pending_credits + 1", "stripe = 7"],
)
def test_each_count_of_an_account_that_is_changed_is_found(ledger, change):
    tamper(ledger, f"UPDATE account SET {change} WHERE id = 'sales.EUR'")
    assert {what for what, _ in found(ledger)} & {"balance", "posting"}


@pytest.mark.parametrize("change", ["type = 'expense'", "currency = 'USD'", "role = 'fees'"])
def test_what_an_account_of_the_house_is_cannot_be_changed_unseen(ledger, change):
    tamper(ledger, f"UPDATE account SET {change} WHERE id = 'sales.EUR'")
    assert ("balance", "sales.EUR") in found(ledger)


def test_a_customers_limit_cannot_be_taken_away_unseen(ledger):
    tamper(ledger, "UPDATE account SET limited = :no WHERE customer_id IS NOT NULL", no=False)
    assert {what for what, _ in found(ledger)} == {"balance"}


def test_what_was_not_sealed_yet_is_checked_too(ledger):
    tamper(ledger, "UPDATE entry SET memo = 'other' WHERE id = 7")
    assert found(ledger) == {("entry", "7")}


def test_a_hundred_broken_things_are_named_at_most(database, ledger):
    ledger.book_batch([keyed(f"n{n}", bank=1, sales=-1) for n in range(150)])
    tamper(ledger, "UPDATE entry SET memo = 'other'")
    assert len(as_operator(database, "op").verify().broken) == 100


def test_a_sealer_that_another_one_is_ahead_of_seals_nothing(ledger, monkeypatch):
    seal_all(ledger)
    ledger.book(entry(bank=1, sales=-1), key=key())
    monkeypatch.setattr("services.accounts.sealing.OWNER", "another")
    assert seal_all(ledger) == 0
    assert ledger.verify().unsealed == 1


def test_blocks_hold_a_thousand_entries_at_most(database):
    ledger = ledger_on(database)
    ledger.book_batch([keyed(f"n{n}", bank=1, sales=-1) for n in range(1000)])
    ledger.book_batch([keyed(f"m{n}", bank=1, sales=-1) for n in range(10)])
    ledger.seal()
    checked = ledger.verify()
    assert (checked.blocks, checked.entries, checked.unsealed, checked.holds) == (2, 1010, 0, True)
    assert balance(ledger, "sales.EUR")[0] == 1010


def test_a_chain_that_was_made_anew_is_told_from_the_hash_that_somebody_kept(ledger):
    kept = ledger.verify().head
    with ledger.db.write() as session:
        session.execute(text("UPDATE entry SET block = NULL WHERE block IS NOT NULL"))
        session.execute(text("DELETE FROM block"))
    for _ in range(3):
        seal_all(ledger)
    assert found(ledger) == set()
    checked = ledger.verify(3, kept)
    assert [(each.what, each.id) for each in checked.broken] == [("chain", "3")]
    assert ledger.verify(1, ledger.verify().head).holds


def test_a_kept_hash_comes_with_its_block(ledger):
    kept = ledger.verify().head
    assert ledger.verify(3, kept).holds
    with pytest.raises(ServiceError, match=r"request\.invalid"):
        ledger.verify(3)


def test_what_is_sealed_is_logged_after_its_commit_and_an_idle_turn_writes_nothing(ledger, caplog):
    with caplog.at_level("INFO", logger="rialto.ledger"):
        ledger.seal()
    assert [(record.block, record.entries, record.hash) for record in caplog.records] == [(4, 1, ledger.verify().head)]
    with ledger.db.write() as session:
        session.execute(text("DELETE FROM lease"))
    ledger.seal()
    with ledger.db.read() as session:
        assert session.execute(text("SELECT count(*) FROM lease")).scalar() == 0
