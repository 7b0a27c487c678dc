"""Booking. The one way in which something is posted: lock the accounts, look for the first reason against each entry,
write what has none. It is done for many entries at once; one is a batch of one.

All rows of accounts that a batch needs are locked first, in one order. Ids of entries are taken under these locks, so
that on one row of an account they grow in the order of their commits.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, insert, select, text, update
from sqlalchemy.orm import Session

from chassis.commands import hash_of
from chassis.db import dialect_of, insert_new, now, run, run_many, table_of
from chassis.errors import ServiceError
from chassis.types import Money
from contracts import accounts as contract
from contracts.accounts import Booked, NewEntry, Posting
from services.accounts.domain import CEILING, OUTSIDE, ROLES, Refusal, entry_hash, part_of, role_of, too_large, unsound
from services.accounts.models import Account, Entry
from services.accounts.models import Posting as PostingRow

_account, _entry, _posting = table_of(Account), table_of(Entry), table_of(PostingRow)

_THERE = select(_account.c.id).where(
    _account.c.id.in_(bindparam("ids", expanding=True)), _account.c.stripe == bindparam("own")
)
_LOCK = (
    select(_account)
    .where(_account.c.id.in_(bindparam("ids", expanding=True)), _account.c.stripe.in_((0, bindparam("own"))))
    .order_by(_account.c.id, _account.c.stripe)
    .with_for_update()
)
_CHANGE = (
    update(_account)
    .where(_account.c.id == bindparam("of"), _account.c.stripe == bindparam("own"))
    .values(
        {
            name: _account.c[name] + bindparam(f"more_{name}")
            for name in ("debits", "credits", "pending_debits", "pending_credits")
        }
    )
)
_ADD_ENTRY, _ADD_POSTING = insert(_entry), insert(_posting)
_KNOWN = select(_entry.c.key, _entry.c.input_hash, _entry.c.id).where(
    _entry.c.key.in_(bindparam("keys", expanding=True))
)
_IDS = select(_entry.c.id).where(_entry.c.id.in_(bindparam("ids", expanding=True)))
_HELD = select(_entry).where(_entry.c.hold_id == bindparam("of"))
_HOLDS = select(_entry.c.hold_id).where(_entry.c.hold_id.in_(bindparam("ids", expanding=True)))
_ENDING = select(_entry).where(_entry.c.ends == bindparam("of"))
_GET = select(_entry).where(_entry.c.id == bindparam("of"))
_POSTINGS = (
    select(_posting, _account.c.currency)
    .join(_account, and_(_account.c.id == _posting.c.account_id, _account.c.stripe == _posting.c.stripe))
    .where(_posting.c.entry_id == bindparam("of"))
    .order_by(_posting.c.position)
)
_LAST_ID = select(func.coalesce(func.max(_entry.c.id), 0))
_NEXT_IDS = text("SELECT nextval(pg_get_serial_sequence('entry', 'id')) FROM generate_series(1, :n)")


@dataclass(frozen=True)
class Ledger:
    """How is booked: into one of so many stripes, in whose name."""

    stripes: int
    author: str


@dataclass(frozen=True)
class Wanted:
    """What is to be booked under a key; held, if it has a `hold_id`."""

    key: str
    entry: NewEntry
    hold_id: str | None = None

    def input_hash(self) -> str:
        entry = self.entry
        said = (entry.postings, entry.kind, entry.subject, entry.memo, entry.corrects, self.hold_id)
        return hash_of(said)


class Held:
    """A locked row of an account, with what this transaction adds to it. No count of it is above `most`."""

    def __init__(self, row: Row[Any]) -> None:
        self.row = row
        self.more = dict(debits=0, credits=0, pending_debits=0, pending_credits=0)
        self.most = max(row.debits, row.credits, row.pending_debits, row.pending_credits)

    def add(self, amount: int, *, pending: bool = False, times: int = 1) -> None:
        """A debit above zero, a credit below; `times` -1 takes it away."""
        name = ("pending_" if pending else "") + ("debits" if amount > 0 else "credits")
        self.more[name] += times * abs(amount)
        self.most += abs(amount)

    def total(self, name: str) -> int:
        return int(getattr(self.row, name)) + self.more[name]

    def available(self) -> int:
        """What the owner of a limited account can spend."""
        return self.total("credits") - self.total("debits") - self.total("pending_debits")


Accounts = dict[str, Held]


@dataclass(frozen=True)
class Found:
    """What there is of what a batch names, under its locks: accounts, entries to be corrected, names of holds."""

    accounts: Accounts
    entries: set[str]
    holds: set[str]


# --- what is booked


def book(session: Session, ledger: Ledger, wanted: Sequence[Wanted]) -> list[Booked]:
    """Write each entry that nothing is against; a result for each, in their order. What was booked before under the
    same key with the same input is answered again. Raises IntegrityError where another transaction took a key at the
    same time: nothing is written then, and it is asked again."""
    unfit = [unsound(each.entry) for each in wanted]
    found = _find(session, ledger, [each for each, wrong in zip(wanted, unfit, strict=True) if not wrong])
    # after the locks: whoever booked the same from a customer's account has committed by now
    known = _known(session, [each.key for each in wanted])
    ids = iter(_next_ids(session, len({each.key for each in wanted} - known.keys())))
    writing, results = _Writing(session, ledger), []
    for each, wrong in zip(wanted, unfit, strict=True):
        digest = each.input_hash()
        refusal = _reused(each, digest, known) if each.key in known else (wrong or _against(each, found))
        if refusal:
            results.append(Booked(key=each.key, code=refusal.code, message=refusal.message))
            continue
        if each.key not in known:
            known[each.key] = (digest, next(ids))
            for posting in each.entry.postings:
                found.accounts[posting.account_id].add(posting.amount.amount, pending=each.hold_id is not None)
            if each.hold_id is not None:
                found.holds.add(each.hold_id)
            phase = "posted" if each.hold_id is None else "pending"
            about = dict(key=each.key, input_hash=digest, phase=phase, hold_id=each.hold_id, ends=None)
            writing.add(known[each.key][1], each.entry, about, found.accounts)
        results.append(Booked(key=each.key, code="ok", entry_id=str(known[each.key][1])))
    writing.flush(found.accounts)
    return results


def book_one(session: Session, ledger: Ledger, wanted: Wanted) -> contract.Entry:
    """Raises ServiceError with the first of the codes that is against it, and as `book` does."""
    result = book(session, ledger, [wanted])[0]
    if result.entry_id is None:
        raise ServiceError(result.code, result.message)
    return get(session, int(result.entry_id))


def check(session: Session, ledger: Ledger, entry: NewEntry) -> None:
    """Raises ServiceError if this entry could not be booked now. It is not."""
    refusal = unsound(entry)
    if refusal is None:
        wanted = Wanted("", entry)
        refusal = _against(wanted, _find(session, ledger, [wanted]))
    if refusal:
        raise ServiceError(refusal.code, refusal.message)


def end(session: Session, ledger: Ledger, hold_id: str, phase: str, amount: Money | None, key: str) -> contract.Entry:
    """Settle or void what is held; `amount` where less is settled. Once; its own key answers the same again. Raises
    ServiceError."""
    held = run(session, _HELD, of=hold_id).one_or_none()
    if held is None:
        raise ServiceError("accounts.not_found", f"Nothing was held as {hold_id!r}.")
    rows = run(session, _POSTINGS, of=held.id).all()
    accounts = _lock(session, ledger, {row.account_id for row in rows}, max(row.stripe for row in rows))
    ending, digest = run(session, _ENDING, of=held.id).one_or_none(), hash_of((hold_id, phase, amount))
    if ending is not None and (ending.key, ending.input_hash) == (key, digest):
        return _view(session, ending)
    if _known(session, [key]):
        raise ServiceError(*_REUSED)
    if ending is not None:
        state = OUTSIDE[ending.phase]
        raise ServiceError(
            "accounts.not_pending", f"What was held as {hold_id!r} is {state} already.", {"state": state}
        )
    postings = _postings(rows)
    taken = postings if amount is None else _taken(postings, amount)
    for posting in postings:
        accounts[posting.account_id].add(posting.amount.amount, pending=True, times=-1)
    if phase == "settled":
        for posting in taken:
            accounts[posting.account_id].add(posting.amount.amount)
    entry = NewEntry(postings=taken, kind=held.kind, subject=held.subject, memo=held.memo)
    writing, entry_id = _Writing(session, ledger), _next_ids(session, 1)[0]
    about = dict(key=key, input_hash=digest, phase=phase, hold_id=None, ends=held.id)
    writing.add(entry_id, entry, about, accounts)
    writing.flush(accounts)
    return get(session, entry_id)


def _taken(postings: list[Posting], amount: Money) -> list[Posting]:
    largest = abs(postings[0].amount.amount)
    if len(postings) != 2:
        raise ServiceError("accounts.exceeds_pending", "Only what has two postings can be settled in part.")
    if not 0 < amount.amount <= largest or amount.currency != postings[0].amount.currency:
        details = {"pending": largest, "currency": postings[0].amount.currency}
        raise ServiceError("accounts.exceeds_pending", f"1 to {largest} minor units are held.", details)
    return part_of(postings, amount.amount)


# --- reasons against an entry

_REUSED = ("accounts.key_reused", "An entry with other input was booked under this key: take a new one.")


def _reused(each: Wanted, digest: str, known: dict[str, tuple[str, int]]) -> Refusal | None:
    return Refusal(*_REUSED) if known[each.key][0] != digest else None


def _against(wanted: Wanted, found: Found) -> Refusal | None:
    """The first reason against a sound entry, in the order of the contract's table."""
    return next((refusal for check in CHECKS if (refusal := check(wanted, found))), None)


def _missing(wanted: Wanted, found: Found) -> Refusal | None:
    for posting in wanted.entry.postings:
        if posting.account_id not in found.accounts:
            return Refusal("accounts.not_found", f"There is no account {posting.account_id!r}.")
    return None


def _other_currency(wanted: Wanted, found: Found) -> Refusal | None:
    for posting in wanted.entry.postings:
        currency = found.accounts[posting.account_id].row.currency
        if posting.amount.currency != currency:
            said = f"Account {posting.account_id!r} is in {currency}, not in {posting.amount.currency}."
            return Refusal("accounts.currency_mismatch", said)
    return None


def _in_status(status: str) -> "Check":
    def check(wanted: Wanted, found: Found) -> Refusal | None:
        for posting in wanted.entry.postings:
            if found.accounts[posting.account_id].row.status == status:
                return Refusal(f"accounts.{status}", f"Account {posting.account_id!r} is {status}.")
        return None

    return check


def _corrects_unknown(wanted: Wanted, found: Found) -> Refusal | None:
    if wanted.entry.corrects is not None and wanted.entry.corrects not in found.entries:
        return Refusal("accounts.corrects_unknown", f"There is no entry {wanted.entry.corrects!r} to be corrected.")
    return None


def _hold_exists(wanted: Wanted, found: Found) -> Refusal | None:
    if wanted.hold_id in found.holds:
        return Refusal("accounts.hold_exists", f"Something was held as {wanted.hold_id!r} before, by another key.")
    return None


def _insufficient(wanted: Wanted, found: Found) -> Refusal | None:
    for account_id in {posting.account_id for posting in wanted.entry.postings}:
        held = found.accounts[account_id]
        own = [posting.amount.amount for posting in wanted.entry.postings if posting.account_id == account_id]
        out = sum(own) if wanted.hold_id is None else sum(amount for amount in own if amount > 0)
        if held.row.limited and out > 0 and out > held.available():
            return Refusal("accounts.insufficient_funds", f"Account {account_id!r} has too little available for this.")
    return None


def _overflow(wanted: Wanted, found: Found) -> Refusal | None:
    for posting in wanted.entry.postings:
        if found.accounts[posting.account_id].most + abs(posting.amount.amount) > CEILING:
            return Refusal("accounts.amount_overflow", f"Account {posting.account_id!r} cannot count so much.")
    return too_large(wanted.entry.postings)


Check = Callable[[Wanted, Found], Refusal | None]
CHECKS: tuple[Check, ...] = (
    _missing,
    _other_currency,
    _in_status("closed"),
    _in_status("frozen"),
    _corrects_unknown,
    _hold_exists,
    _insufficient,
    _overflow,
)


# --- reading and writing rows


def get(session: Session, entry_id: int) -> contract.Entry:
    row = run(session, _GET, of=entry_id).one_or_none()
    if row is None:
        raise ServiceError("accounts.not_found", f"There is no entry {str(entry_id)!r}.")
    return _view(session, row)


def _view(session: Session, row: Row[Any]) -> contract.Entry:
    ending = run(session, _ENDING, of=row.id).one_or_none() if row.phase == "pending" else None
    return contract.Entry(
        id=str(row.id),
        state=OUTSIDE[(ending or row).phase],
        kind=row.kind,
        subject=row.subject,
        memo=row.memo,
        postings=_postings(run(session, _POSTINGS, of=row.id).all()),
        at=row.at,
        ends=None if row.ends is None else str(row.ends),
        corrects=None if row.corrects is None else str(row.corrects),
        block=row.block,
    )


def _postings(rows: Iterable[Row[Any]]) -> list[Posting]:
    return [Posting(account_id=row.account_id, amount=Money(amount=row.amount, currency=row.currency)) for row in rows]


def _lock(session: Session, ledger: Ledger, ids: set[str], stripe: int | None = None) -> Accounts:
    """The accounts that there are of these, the house's among them made if they are new; locked."""
    if not ids:
        return {}
    own, wanted = stripe or random.randint(1, ledger.stripes), sorted(ids)
    house = [account_id for account_id in wanted if role_of(account_id)]
    there = {row.id for row in run(session, _THERE, ids=house, own=own)} if house else set()
    for account_id in house:
        if account_id not in there:
            insert_new(session, _account, _house_account(session, account_id, own))
    return {row.id: Held(row) for row in run(session, _LOCK, ids=wanted, own=own)}


def _house_account(session: Session, account_id: str, stripe: int) -> dict[str, Any]:
    role, currency = role_of(account_id) or ("", "")
    return new_account(
        session, id=account_id, stripe=stripe, type=ROLES[role], currency=currency, name=role, role=role, limited=False
    )


def new_account(session: Session, **values: Any) -> dict[str, Any]:
    """An account's row before anything is posted to it."""
    nothing = dict(debits=0, credits=0, pending_debits=0, pending_credits=0, sequence=0)
    return {"customer_id": None, "number": None, "role": None, "status": "open", "created_at": now(session)} | (
        nothing | values
    )


def _find(session: Session, ledger: Ledger, wanted: Sequence[Wanted]) -> Found:
    """What there is of what these name; the accounts first, which are locked then."""
    accounts = _lock(session, ledger, {posting.account_id for each in wanted for posting in each.entry.postings})
    corrected = [number_of(each.entry.corrects) for each in wanted if each.entry.corrects is not None]
    named = [each.hold_id for each in wanted if each.hold_id is not None]
    entries = {str(row.id) for row in run(session, _IDS, ids=corrected)} if corrected else set()
    holds = {row.hold_id for row in run(session, _HOLDS, ids=named)} if named else set()
    return Found(accounts, entries, holds)


def _known(session: Session, keys: list[str]) -> dict[str, tuple[str, int]]:
    """Of these keys those that were used: the input's hash and the entry's id."""
    return {row.key: (row.input_hash, row.id) for row in run(session, _KNOWN, keys=keys)}


def number_of(entry_id: str) -> int:
    """An entry's number; 0, which none has, for what is no id of ours."""
    return int(entry_id) if entry_id.isascii() and entry_id.isdigit() and len(entry_id) <= 18 else 0


def _next_ids(session: Session, count: int) -> list[int]:
    if not count:
        return []
    if dialect_of(session) == "sqlite":  # which has one writer at a time
        last = int(run(session, _LAST_ID).scalar_one())
        return list(range(last + 1, last + 1 + count))
    return sorted(run(session, _NEXT_IDS, n=count).scalars())


class _Writing:
    """Rows that are gathered, and then written in as few statements as there are tables."""

    def __init__(self, session: Session, ledger: Ledger) -> None:
        self.session, self.author, self.at = session, ledger.author, now(session)
        self.entries: list[dict[str, Any]] = []
        self.postings: list[dict[str, Any]] = []

    def add(self, entry_id: int, entry: NewEntry, about: dict[str, Any], accounts: Accounts) -> None:
        stripes = [accounts[posting.account_id].row.stripe for posting in entry.postings]
        lines = [
            (posting.account_id, stripe, posting.amount.amount)
            for posting, stripe in zip(entry.postings, stripes, strict=True)
        ]
        row = dict(
            id=entry_id,
            **about,
            corrects=None if entry.corrects is None else int(entry.corrects),
            kind=entry.kind,
            subject=entry.subject,
            memo=entry.memo,
            author=self.author,
            at=self.at,
            block=None,
        )
        self.entries.append({**row, "hash": entry_hash(SimpleNamespace(**row), lines)})
        self.postings += [
            dict(entry_id=entry_id, position=position, account_id=account_id, stripe=stripe, amount=amount)
            for position, (account_id, stripe, amount) in enumerate(lines)
        ]

    def flush(self, accounts: Accounts) -> None:
        # by key, so that two batches with the same keys do not wait for each other in a circle
        run_many(self.session, _ADD_ENTRY, sorted(self.entries, key=lambda row: str(row["key"])))
        run_many(self.session, _ADD_POSTING, self.postings)
        changes = [
            {"of": held.row.id, "own": held.row.stripe} | {f"more_{name}": more for name, more in held.more.items()}
            for held in accounts.values()
            if any(held.more.values())
        ]
        run_many(self.session, _CHANGE, changes)
