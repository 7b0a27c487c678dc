"""Seals: committed entries are chained into blocks, and `verify` walks the chain and reckons everything anew.

What is sealed cannot be changed, taken out or exchanged without another hash of every later block. Who can write to the
database can make those anew; so each seal is logged, and `verify` compares the chain with a hash that was kept.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import now, run, table_of
from chassis.leases import take_lease
from contracts import accounts as contract
from services.accounts.domain import CUSTOMERS, GENESIS, ROLES, block_hash, entry_hash
from services.accounts.models import Account, Block, Entry, Posting

OWNER = uuid.uuid4().hex
LEASE = timedelta(seconds=30)
LARGEST_BLOCK = 1_000
"""Entries."""
NAMED = 100
"""So many broken things are named."""

_account, _entry = table_of(Account), table_of(Entry)
_posting, _block = table_of(Posting), table_of(Block)
_UNSEALED = (
    select(_entry.c.id, _entry.c.hash).where(_entry.c.block.is_(None)).order_by(_entry.c.id).limit(LARGEST_BLOCK)
)
_ANY_UNSEALED = _UNSEALED.limit(1)
_LAST = select(_block.c.number, _block.c.hash).order_by(_block.c.number.desc()).limit(1)
_ADD = insert(_block)
_SEAL = (
    update(_entry)
    .where(_entry.c.id.in_(bindparam("ids", expanding=True)), _entry.c.block.is_(None))
    .values(block=bindparam("number"))
)
_BLOCKS = select(_block).where(_block.c.number > bindparam("after")).order_by(_block.c.number).limit(1)
_KEPT = select(_block.c.hash).where(_block.c.number == bindparam("number"))
_IN_BLOCK = select(_entry).where(_entry.c.block == bindparam("number")).order_by(_entry.c.id)
_LOOSE = (
    select(_entry)
    .where(_entry.c.block.is_(None), _entry.c.id > bindparam("after"))
    .order_by(_entry.c.id)
    .limit(LARGEST_BLOCK)
)
_SAID = (
    select(_posting.c.entry_id, _posting.c.account_id, _posting.c.stripe, _posting.c.amount)
    .join(_entry, _entry.c.id == _posting.c.entry_id)
    .order_by(_posting.c.entry_id, _posting.c.position)
)
_SAID_IN_BLOCK = _SAID.where(_entry.c.block == bindparam("number"))
_SAID_LOOSE = _SAID.where(_entry.c.block.is_(None), _entry.c.id.between(bindparam("first"), bindparam("last")))
_FOREIGN = select(_entry.c.id).where(
    _entry.c.block.is_not(None), ~select(_block.c.number).where(_block.c.number == _entry.c.block).exists()
)
_ORPHANS = select(_posting.c.entry_id).where(~select(_entry.c.id).where(_entry.c.id == _posting.c.entry_id).exists())
Line = tuple[str, int, int]
"""A posting: account, stripe, amount."""


def is_anything_loose(session: Session) -> bool:
    """Whether an entry waits for its seal: asked before anything is written, since most of the time none does."""
    return run(session, _ANY_UNSEALED).first() is not None


@dataclass(frozen=True)
class Seal:
    """A block, for the log: whoever keeps its hash elsewhere can ask for it with `verify`."""

    block: int
    entries: int
    hash: str


def seal(session: Session) -> Seal | None:
    """Chain the next committed entries into one block. One instance at a time does it; None if there is nothing."""
    if not take_lease(session, "seal", OWNER, LEASE):
        return None
    rows = run(session, _UNSEALED).all()
    if not rows:
        return None
    last = run(session, _LAST).one_or_none()
    number, previous, at = (last.number + 1, last.hash, now(session)) if last else (1, GENESIS, now(session))
    ids, hashes = [row.id for row in rows], [row.hash for row in rows]
    digest = block_hash(number, previous, at, ids, hashes)
    run(session, _ADD, number=number, previous=previous, entries=ids, hash=digest, at=at)
    if run(session, _SEAL, ids=ids, number=number).rowcount != len(ids):
        raise RuntimeError(f"entries of block {number} were sealed by another at the same time")
    return Seal(number, len(ids), digest)


@dataclass
class Walk:
    """What was reckoned on the way: sums of each row of an account, what is pending, and what is broken."""

    rows: dict[tuple[str, int], Row[Any]]
    sums: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    pending: dict[int, list[Line]] = field(default_factory=dict)
    broken: list[contract.Broken] = field(default_factory=list)
    entries: int = 0

    def blame(self, what: str, name: object, text: str) -> None:
        if len(self.broken) < NAMED:
            self.broken.append(contract.Broken(what=what, id=str(name), text=text))

    def add(self, lines: list[Line], pending: bool, times: int = 1) -> None:
        for account_id, stripe, amount in lines:
            sums = self.sums.setdefault((account_id, stripe), [0, 0, 0, 0])
            sums[(2 if pending else 0) + (amount < 0)] += times * abs(amount)


def verify(session: Session, kept: tuple[int, str] | None = None) -> contract.Verification:
    """Reads every entry; a thousand at a time, giving way in between. Names at most NAMED broken things. `kept`: the
    number and the hash of a block that somebody wrote down."""
    walk = Walk({(row.id, row.stripe): row for row in run(session, select(_account))})
    if kept is not None and run(session, _KEPT, number=kept[0]).scalar() != kept[1]:
        walk.blame("chain", kept[0], "This block has another hash than the one that was kept, or is missing.")
    head, blocks = _walk_chain(session, walk)
    sealed = walk.entries
    for entries in _loose(session):
        for row, lines in entries:
            _check_entry(walk, row, lines)
        time.sleep(0)  # let others work between blocks
    for row in run(session, _FOREIGN.limit(NAMED)):
        walk.blame("chain", row.id, "This entry says that it is in a block which there is not.")
    for row in run(session, _ORPHANS.distinct().limit(NAMED)):
        walk.blame("posting", row.entry_id, "There are postings of this entry, and the entry is missing.")
    _check_accounts(walk)
    return contract.Verification(
        holds=not walk.broken,
        blocks=blocks,
        entries=walk.entries,
        unsealed=walk.entries - sealed,
        head=head,
        broken=walk.broken,
    )


def _walk_chain(session: Session, walk: Walk) -> tuple[str, int]:
    """The head's hash and how many blocks there are."""
    head, number, blocks = GENESIS, 0, 0
    while (block := run(session, _BLOCKS, after=number).one_or_none()) is not None:
        for missing in range(number + 1, min(block.number, number + NAMED)):
            walk.blame("block", missing, "This block is missing.")
        if block.previous != head:
            walk.blame("chain", block.number, "This block does not follow the one before it.")
        rows = run(session, _IN_BLOCK, number=block.number).all()
        found = _with_lines(rows, run(session, _SAID_IN_BLOCK, number=block.number))
        _check_block(walk, block, [row for row, _ in found])
        for row, lines in found:
            _check_entry(walk, row, lines)
        head, number, blocks = block.hash, block.number, blocks + 1
        time.sleep(0)  # let others work between blocks
    return head, blocks


def _check_block(walk: Walk, block: Row[Any], rows: list[Row[Any]]) -> None:
    ids = [row.id for row in rows]
    for missing in sorted(set(block.entries) - set(ids)):
        walk.blame("entry", missing, f"This entry was sealed in block {block.number}, and is missing there.")
    for extra in sorted(set(ids) - set(block.entries)):
        walk.blame("entry", extra, f"This entry was not sealed in block {block.number}, and is there.")
    reckoned = block_hash(block.number, block.previous, block.at, block.entries, [row.hash for row in rows])
    if reckoned != block.hash:
        walk.blame("block", block.number, "What is in this block is not what was sealed.")


def _check_entry(walk: Walk, row: Row[Any], lines: list[Line]) -> None:
    walk.entries += 1
    if entry_hash(row, lines) != row.hash:
        walk.blame("entry", row.id, "This entry, or a posting of it, is not what was written.")
    sums: dict[str, int] = {}
    for account_id, stripe, amount in lines:
        account = walk.rows.get((account_id, stripe))
        if account is None:
            walk.blame("posting", row.id, f"A posting is to account {account_id!r}, row {stripe}, which is missing.")
        else:
            sums[account.currency] = sums.get(account.currency, 0) + amount
    if any(sums.values()):
        walk.blame("entry", row.id, "The postings of this entry do not come to zero.")
    if row.ends is not None:
        held = walk.pending.pop(row.ends, None)
        if held is None:
            walk.blame("entry", row.id, f"This entry ends {row.ends}, which is not pending.")
        walk.add(held or [], pending=True, times=-1)
    if row.phase == "pending":
        walk.pending[row.id] = lines
    if row.phase != "voided":
        walk.add(lines, pending=row.phase == "pending")


def _check_accounts(walk: Walk) -> None:
    for name, row in sorted(walk.rows.items()):
        sums = walk.sums.get(name, [0, 0, 0, 0])
        if sums != [row.debits, row.credits, row.pending_debits, row.pending_credits]:
            walk.blame("balance", row.id, f"Row {row.stripe} of this account does not hold what was posted to it.")
        house = row.role is not None
        kind = (ROLES.get(row.role), False) if house else (CUSTOMERS, True)
        if (row.type, row.limited) != kind or (house and row.id != f"{row.role}.{row.currency}"):
            walk.blame("balance", row.id, "The type, the role or the limit of this account was changed.")


def _loose(session: Session) -> Iterator[list[tuple[Row[Any], list[Line]]]]:
    """Entries that are not sealed yet."""
    after = 0
    while rows := run(session, _LOOSE, after=after).all():
        yield _with_lines(rows, run(session, _SAID_LOOSE, first=rows[0].id, last=rows[-1].id))
        after = rows[-1].id


def _with_lines(rows: Sequence[Row[Any]], said: Iterable[Any]) -> list[tuple[Row[Any], list[Line]]]:
    lines: dict[int, list[Line]] = {row.id: [] for row in rows}
    for entry_id, account_id, stripe, amount in said:
        lines[entry_id].append((account_id, stripe, amount))
    return [(row, lines[row.id]) for row in rows]
