"""The accountant's second book: customers' money on its way, from the databases of accounts, transactions, the acquirer
and the bank. `python -m tests.chaos.money FOLDER`, as ledger.py.

What was posted is reckoned anew from the entries, and what should have been posted from the transactions' rows. Entries
that are about no transaction only count where balances are added up.
"""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.ledger import ENDED, Row, Source, from_json, moment, subjects

DONE = ("completed", "reversed")
"""States of a transaction whose money was moved."""
FINAL = (*DONE, "rejected")
COUNTED = ("posted", "settled")
"""Phases of entries that are in the balances."""
ABOUT = "transaction:"
KINDS = ("deposit", "withdrawal", "transfer")
"""What customers begin, under keys of theirs and within limits."""

COMES_BACK = "NL91ABNA0417164300"
"""The bank account that sends back what has arrived there."""


@dataclass
class MoneyBooks:
    """All that was written down of it, read once."""

    transactions: dict[str, Row] = field(default_factory=dict)
    sagas: list[Row] = field(default_factory=list)
    keys: list[Row] = field(default_factory=list)
    usage: list[Row] = field(default_factory=list)
    accounts: dict[str, Row] = field(default_factory=dict)  # all stripes of one together
    entries: dict[int, Row] = field(default_factory=dict)  # with their postings: account -> amount
    moved: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # deposit -> kind -> cents
    authorizations: list[Row] = field(default_factory=list)
    payouts: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)  # that the bank has still to make
    mails: Counter[str] = field(default_factory=Counter)


def read(source: Source) -> MoneyBooks:
    books = MoneyBooks()
    books.transactions = {row["id"]: row for row in source.rows("transactions", "SELECT * FROM transactions")}
    books.sagas = source.rows("transactions", "SELECT * FROM saga")
    for saga in books.sagas:
        saga["cause"], saga["context"] = from_json(saga["cause"]), from_json(saga["context"])
        saga["created_at"], saga["updated_at"] = moment(saga["created_at"]), moment(saga["updated_at"])
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    keys = f"SELECT key, command, result FROM inbox WHERE state = 'ok' AND command IN ({kinds})"
    books.keys = source.rows("transactions", keys)
    books.usage = source.rows("transactions", "SELECT * FROM usage")
    sums = ", ".join(f"sum({name}) AS {name}" for name in ("debits", "credits", "pending_debits", "pending_credits"))
    accounts = f"SELECT id, currency, customer_id, {sums} FROM account GROUP BY id, currency, customer_id"
    books.accounts = {row["id"]: row for row in source.rows("accounts", accounts)}
    entries = source.rows("accounts", "SELECT id, phase, ends, kind, subject FROM entry")
    books.entries = {row["id"]: {**row, "postings": Counter()} for row in entries}
    for row in source.rows("accounts", "SELECT entry_id, account_id, amount FROM posting"):
        nothing = {"id": row["entry_id"], "phase": "missing", "ends": None, "kind": "", "subject": ""}
        entry = books.entries.setdefault(row["entry_id"], nothing | {"postings": Counter()})
        entry["postings"][row["account_id"]] += row["amount"]
    movements = "SELECT m.kind, m.amount, a.reference FROM movements m JOIN authorizations a ON a.payment = m.payment"
    for row in source.rows("acquirer", movements):
        if row["reference"] in books.transactions:
            books.moved[row["reference"]][row["kind"]] += row["amount"]
    books.authorizations = source.rows("acquirer", "SELECT * FROM authorizations")
    books.payouts = source.rows("bank", "SELECT * FROM payouts")
    if source.rows("bank", "SELECT name FROM sqlite_master WHERE name = 'hooks'"):  # it calls somebody
        books.calls = source.rows("bank", "SELECT subject FROM hooks")
    books.mails = Counter(subjects(source.folder / "mail"))
    return books


def _about(books: MoneyBooks) -> dict[str, list[Row]]:
    """Entries that are in the balances, by the transaction that they are about."""
    found: dict[str, list[Row]] = defaultdict(list)
    for entry in books.entries.values():
        if entry["phase"] in COUNTED and entry["subject"].startswith(ABOUT):
            found[entry["subject"].removeprefix(ABOUT)].append(entry)
    return found


# --- what has to hold: each check answers what does not


def transactions_ended(books: MoneyBooks) -> Iterator[str]:
    """Each is in one of its last states, no reversal is under way, and its sagas have ended."""
    for row in books.transactions.values():
        if row["status"] not in FINAL or row["reversing"]:
            yield f"{row['kind']} {row['id']} is {row['status']}, {row['reversing']} of it are being taken back"
    for saga in books.sagas:
        if saga["status"] not in ENDED:
            yield f"saga {saga['id']}, {saga['name']} of {saga['key']}, is {saga['status']} in stage {saga['stage']}"


def entries_add_up(books: MoneyBooks) -> Iterator[str]:
    """Each entry comes to zero in each currency, each account to its entries, and no customer's below zero."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in books.entries.values():
        by_currency = Counter[str]()
        for account, amount in entry["postings"].items():
            by_currency[books.accounts[account]["currency"]] += amount
            if entry["phase"] in COUNTED:
                sums[account]["credits" if amount < 0 else "debits"] += abs(amount)
        if any(by_currency.values()):
            yield f"entry {entry['id']} comes to {dict(by_currency)}"
    for account_id, row in books.accounts.items():
        has = row["debits"] - row["credits"]
        if has != sums[account_id]["debits"] - sums[account_id]["credits"]:
            yield f"account {account_id} has {has}, its entries make {dict(sums[account_id])}"
        if row["customer_id"] is not None and has > 0:
            yield f"account {account_id} of a customer is {has} below zero"


def nothing_stays_held(books: MoneyBooks) -> Iterator[str]:
    """Each hold was settled or let go."""
    ended = {entry["ends"] for entry in books.entries.values()}
    for entry in books.entries.values():
        if entry["phase"] == "pending" and entry["id"] not in ended:
            yield f"entry {entry['id']} of {entry['subject']} stays pending"
    for account_id, row in books.accounts.items():
        if row["pending_debits"] or row["pending_credits"]:
            yield f"account {account_id} has {row['pending_debits']} and {row['pending_credits']} pending"


def each_is_booked_once(books: MoneyBooks) -> Iterator[str]:
    """What was posted for each transaction is what it came to, to the account and the cent: nothing twice."""
    about = _about(books)
    payouts = {row["reference"]: row["status"] for row in books.payouts}
    for transaction_id in books.transactions.keys() | about.keys():
        row = books.transactions.get(transaction_id)
        wanted = _postings(row, payouts.get(transaction_id)) if row else {}
        kinds = Counter(entry["kind"] for entry in about[transaction_id])
        found = {entry["kind"]: dict(entry["postings"]) for entry in about[transaction_id]}
        if found != wanted or max(kinds.values(), default=1) > 1:
            what = f"{row['kind']} {transaction_id} is {row['status']}" if row else f"no transaction {transaction_id}"
            yield f"{what}: booked {dict(kinds)} {found}, not {wanted}"


def _postings(row: Row, at_bank: str | None) -> dict[str, dict[str, int]]:
    """By the kind of the entry: what a transaction has to have been posted by now."""
    if row["status"] not in DONE:
        return {}
    amount, fee = row["amount"], row["fee"]
    acquirer, transit, bank, fees = (
        f"{role}.{row['currency']}" for role in ("acquirer_receivable", "payouts_in_transit", "bank", "fees")
    )
    debit = row["from_account"] or acquirer
    credit = transit if row["kind"] == "withdrawal" else row["to_account"] or acquirer
    wanted = {row["kind"]: {debit: amount + fee, credit: -amount, fees: -fee}}
    arrived = at_bank == "settled" or (at_bank == "returned" and row["return_settled"])
    if arrived:
        wanted["withdrawal_arrived"] = {transit: amount, bank: -amount}
    if row["kind"] == "withdrawal" and row["status"] == "reversed":
        wanted["withdrawal_returned"] = {bank if arrived else transit: amount, row["from_account"]: -amount}
    return {kind: {of: cents for of, cents in moves.items() if cents} for kind, moves in wanted.items()}


def reversals_add_up(books: MoneyBooks) -> Iterator[str]:
    """What was taken back of each is the sum of the reversals that were completed, and never more than it."""
    taken = Counter[str]()
    for row in books.transactions.values():
        if row["reverses"] and row["status"] == "completed":
            taken[row["reverses"]] += row["amount"]
    for row in books.transactions.values():
        if row["kind"] == "withdrawal":
            continue
        whole = row["reversed_amount"] == row["amount"]
        if row["reversed_amount"] != taken[row["id"]] or (row["status"] == "reversed") != whole:
            yield f"{row['kind']} {row['id']} is {row['status']}, {row['reversed_amount']} of it taken back"


def acquirer_agrees(books: MoneyBooks) -> Iterator[str]:
    """A deposit is completed if its money was taken, and only then; what was taken back of it went back to its card;
    nothing stays set aside; and what the acquirer owes is in the ledger."""
    owed, booked = 0, 0
    for row in books.transactions.values():
        moved, due = books.moved[row["id"]], 0
        if row["kind"] == "deposit" and row["status"] in DONE:
            due = row["amount"] + row["fee"] - row["reversed_amount"]
        owed += moved["capture"] - moved["refund"]
        if moved["capture"] - moved["refund"] != due:
            yield f"{row['kind']} {row['id']} is {row['status']}: due are {due}, the acquirer has {dict(moved)}"
    for each in books.authorizations:
        approved = each["challenge"] in ("none", "approved")
        if each["reference"] in books.transactions and approved and not each["voided"] and not each["captured"]:
            yield f"{each['amount']} stay set aside for deposit {each['reference']}"
    for entries in _about(books).values():
        for entry in entries:
            booked += sum(of for name, of in entry["postings"].items() if name.startswith("acquirer_receivable."))
    if owed != booked:
        yield f"the acquirer has {owed}, the ledger says {booked}"


def bank_agrees(books: MoneyBooks) -> Iterator[str]:
    """Each withdrawal that was completed left once, with its amount, and no other did; a returned one is reversed; what
    is in transit is what the bank has taken and not told of."""
    sent = Counter(row["reference"] for row in books.payouts)
    by_reference = {row["reference"]: row for row in books.payouts}
    for reference in by_reference.keys() - books.transactions.keys():
        yield f"the bank sent {by_reference[reference]['amount']} for {reference}, of which we know nothing"
    for row in books.transactions.values():
        payout, status = by_reference.get(row["id"]), row["status"]
        left = bool(payout) and payout["status"] != "cancelled"  # type: ignore[index] - it is there
        if left != (row["kind"] == "withdrawal" and status in DONE) or sent[row["id"]] > 1:
            yield f"{row['kind']} {row['id']} is {status}, the bank has {sent[row['id']]} payouts of it: {payout}"
        elif payout and left and (payout["amount"], payout["iban"]) != (row["amount"], row["iban"]):
            yield f"withdrawal {row['id']} left with {payout['amount']} to {payout['iban']}"
        elif payout and left and (payout["status"] == "returned") != (status == "reversed"):
            yield f"withdrawal {row['id']} is {status}, the bank says {payout['status']}"
    moving = Counter[str]()
    for payout in books.payouts:
        moving[payout["currency"]] += payout["amount"] if payout["status"] == "accepted" else 0
    for account_id, row in books.accounts.items():
        role, _, currency = account_id.partition(".")
        if role == "payouts_in_transit" and row["credits"] - row["debits"] != moving[currency]:
            yield f"{row['credits'] - row['debits']} are in transit, at the bank {moving[currency]}"


def limits_add_up(books: MoneyBooks) -> Iterator[str]:
    """What counts against a customer's limits is what they moved, and nothing that was rejected."""
    used = Counter[tuple[str, ...]]()
    for row in books.transactions.values():
        if row["kind"] in KINDS and row["status"] != "rejected":
            used[row["customer_id"], row["kind"], row["currency"], row["day"]] += row["amount"]
    kept = Counter({(r["customer_id"], r["kind"], r["currency"], r["day"]): r["amount"] for r in books.usage})
    for whose in used.keys() | kept.keys():
        if used[whose] != kept[whose]:
            yield f"{kept[whose]} count against the limits of {whose}, moved were {used[whose]}"


def keys_agree(books: MoneyBooks) -> Iterator[str]:
    """Each was begun under one key, and each key began one."""
    begun = Counter(from_json(row["result"]) for row in books.keys)
    for transaction_id in begun.keys() | {row["id"] for row in books.transactions.values() if row["kind"] in KINDS}:
        if begun[transaction_id] != 1 or transaction_id not in books.transactions:
            there = "is there" if transaction_id in books.transactions else "is not there"
            yield f"transaction {transaction_id} {there}; {begun[transaction_id]} keys led to it"


def mails_agree(books: MoneyBooks) -> Iterator[str]:
    """Each customer was told of each end once."""
    wanted = Counter[str]()
    for row in books.transactions.values():
        if row["status"] in FINAL:
            first = "completed" if row["status"] in DONE else "rejected"
            wanted[f"Your {row['kind']} is {first}"] += 1
        if (row["kind"], row["status"]) == ("withdrawal", "reversed"):
            wanted["Your withdrawal is reversed"] += 1
    told = {subject: n for subject, n in books.mails.items() if subject.split()[1] in (*KINDS, "reversal")}
    for subject in wanted.keys() | told.keys():
        if wanted[subject] != told.get(subject, 0):
            yield f"{told.get(subject, 0)} mails instead of {wanted[subject]}: {subject}"


def nothing_on_its_way(books: MoneyBooks) -> Iterator[str]:
    """Each payout has arrived or come back, and the bank has told of it."""
    for row in books.payouts:
        if row["status"] == "accepted" or (row["status"] == "settled" and row["iban"] == COMES_BACK):
            yield f"withdrawal {row['reference']} is {row['status']} at the bank"
    for row in books.calls:
        yield f"the bank has not told of {row['subject']}"


BOOKED: dict[str, Callable[[MoneyBooks], Iterator[str]]] = {
    "every transaction ended": transactions_ended,
    "entries and accounts add up": entries_add_up,
    "nothing stays held": nothing_stays_held,
    "each transaction is booked once": each_is_booked_once,
    "reversals add up": reversals_add_up,
    "the acquirer agrees with the ledger": acquirer_agrees,
    "the bank agrees with the ledger": bank_agrees,
    "limits add up": limits_add_up,
    "one transaction for each key": keys_agree,
}
CHECKS = {
    **BOOKED,
    "one mail for each end of a transaction": mails_agree,
    "no payout is on its way": nothing_on_its_way,
}


def check(books: MoneyBooks, checks: dict[str, Callable[[MoneyBooks], Iterator[str]]] = CHECKS) -> dict[str, list[str]]:
    """What does not hold, by check; an empty list for each that does."""
    return {name: list(find(books)) for name, find in checks.items()}


if __name__ == "__main__":
    found = check(read(Source(Path(sys.argv[1]), os.environ.get("PG_URI"))))
    for name, problems in found.items():
        print(f"{'holds ' if not problems else 'BROKEN'}  {name}")
        for problem in problems:
            print(f"        {problem}")
    sys.exit(any(found.values()))
