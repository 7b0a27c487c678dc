"""Manual entries: one operator proposes, another one decides."""

import uuid
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import now, run, table_of
from chassis.errors import ServiceError
from contracts import accounts as contract
from contracts.accounts import NewEntry
from services.accounts import store
from services.accounts.models import Proposal

LISTED = 100

_proposal = table_of(Proposal)
_ADD = insert(_proposal)
_GET = select(_proposal).where(_proposal.c.id == bindparam("of"))
_LOCK = _GET.with_for_update()
_NEWEST = select(_proposal).order_by(_proposal.c.created_at.desc(), _proposal.c.id).limit(LISTED)
_DECIDE = update(_proposal).where(_proposal.c.id == bindparam("of"), _proposal.c.status == "proposed")


def propose(session: Session, ledger: store.Ledger, entry: NewEntry, reason: str) -> contract.Proposal:
    """Keep an entry that could be booked now. Raises ServiceError."""
    store.check(session, ledger, entry)
    row = dict(
        id=uuid.uuid4().hex,
        status="proposed",
        entry=msgspec.to_builtins(entry),
        reason=reason,
        proposed_by=ledger.author,
        created_at=now(session),
    )
    run(session, _ADD, **row)
    return _get(session, row["id"])


def approve(session: Session, ledger: store.Ledger, proposal_id: str) -> contract.Proposal:
    """Book it. Raises ServiceError."""
    row = _undecided(session, proposal_id)
    if row.proposed_by == ledger.author:
        raise ServiceError("accounts.same_operator", "Somebody else has to approve what you proposed.")
    entry = msgspec.convert(row.entry, NewEntry)
    both = store.Ledger(ledger.stripes, f"{row.proposed_by}+{ledger.author}")
    booked = store.book_one(session, both, store.Wanted(f"proposal:{proposal_id}", entry))
    run(session, _DECIDE, of=proposal_id, status="booked", decided_by=ledger.author, entry_id=int(booked.id))
    return _get(session, proposal_id)


def decline(session: Session, ledger: store.Ledger, proposal_id: str, reason: str) -> contract.Proposal:
    """Give it up. Raises ServiceError."""
    _undecided(session, proposal_id)
    run(session, _DECIDE, of=proposal_id, status="declined", decided_by=ledger.author, decided_reason=reason)
    return _get(session, proposal_id)


def newest(session: Session) -> list[contract.Proposal]:
    return [_view(row) for row in run(session, _NEWEST)]


def _undecided(session: Session, proposal_id: str) -> Row[Any]:
    row = run(session, _LOCK, of=proposal_id).one_or_none()
    if row is None:
        raise ServiceError("accounts.not_found", f"There is no proposal {proposal_id!r}.")
    if row.status != "proposed":
        raise ServiceError("accounts.decided", f"This was {row.status} by {row.decided_by!r} already.")
    return row


def _get(session: Session, proposal_id: str) -> contract.Proposal:
    return _view(run(session, _GET, of=proposal_id).one())


def _view(row: Row[Any]) -> contract.Proposal:
    return contract.Proposal(
        id=row.id,
        status=row.status,
        entry=msgspec.convert(row.entry, NewEntry),
        reason=row.reason,
        proposed_by=row.proposed_by,
        decided_by=row.decided_by,
        entry_id=None if row.entry_id is None else str(row.entry_id),
        created_at=row.created_at,
    )
