"""Disputes at the acquirer: a cardholder's bank takes back what was captured, and decides later whose it is."""

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from sandbox.company import Amount, Answer, Input, Key, Keyed, Query, refused

if TYPE_CHECKING:
    from sandbox.acquirer import Acquirer

SCHEMA = """
CREATE TABLE IF NOT EXISTS disputes (
    id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, authorization_key TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL, reason TEXT NOT NULL, reference TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'opened' CHECK (status IN ('opened', 'won', 'lost')), decided_at TEXT);
CREATE INDEX IF NOT EXISTS disputes_of ON disputes (authorization_key);
"""
SAID = ("id", "key", "authorization_key", "reference", "status", "amount", "currency", "reason")
DISPUTE = "SELECT id, key, authorization_key, reference, status, amount, currency, reason FROM disputes"


class Dispute(Keyed, frozen=True, kw_only=True):
    """Without an amount: all that is left."""

    authorization_key: Key
    amount: Amount | None = None
    reason: Annotated[str, msgspec.Meta(max_length=200)] = "not_as_described"


class Outcome(Input, frozen=True, kw_only=True):
    """What the cardholder's bank decided, seen from the merchant: a won one is the merchant's money again."""

    outcome: Literal["won", "lost"]


def dispute(acquirer: "Acquirer", request: Dispute) -> Answer:
    """Take back what was captured, or part of it, until it is decided."""
    return acquirer.once("dispute", request, lambda: _open(acquirer, request))


def _open(acquirer: "Acquirer", request: Dispute) -> Answer:
    of = acquirer.authorization(request.authorization_key)
    if of is None:
        return refused(404, "unknown_authorization", "nothing was authorised under this key")
    if not of.captured:
        return refused(409, "not_captured", "nothing was captured that could be disputed")
    left = of.captured - of.refunded - taken(acquirer, of.key)
    amount = left if request.amount is None else request.amount
    if not 0 < amount <= left:
        return refused(409, "dispute_exceeds_capture", f"only {left} are left to dispute", left=left)
    dispute_id = f"dp_{uuid.uuid4().hex}"
    acquirer.db.execute(
        "INSERT INTO disputes (id, key, authorization_key, amount, currency, reason, reference)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (dispute_id, request.key, of.key, amount, of.currency, request.reason, of.reference),
    )
    acquirer.note("dispute", dispute_id, of, amount)
    told = _told(acquirer, "id", dispute_id)
    acquirer.emit(of.payment, "dispute.opened", told)
    return Answer(201, told)


def decide(acquirer: "Acquirer", request: Outcome, dispute_id: str) -> Answer:
    """Decide a dispute, once; won, the money is given back to the merchant."""
    found = _told(acquirer, "id", dispute_id)
    of = acquirer.authorization(found.get("authorization_key", ""))
    if of is None:
        return _unknown(dispute_id)
    if found["status"] == request.outcome:
        return Answer(200, found)
    if found["status"] != "opened":
        return refused(409, "decided", f"this dispute was {found['status']}")
    decided = (request.outcome, acquirer.stamp(), dispute_id)
    acquirer.db.execute("UPDATE disputes SET status = ?, decided_at = ? WHERE id = ?", decided)
    if request.outcome == "won":
        acquirer.note("dispute_won", dispute_id, of, found["amount"])
    told = {**found, "status": request.outcome}
    acquirer.emit(of.payment, f"dispute.{request.outcome}", told)
    return Answer(200, told)


def show(acquirer: "Acquirer", query: Query, dispute_id: str) -> Answer:
    """What has become of a dispute."""
    found = _told(acquirer, "id", dispute_id)
    return Answer(200, found) if found else _unknown(dispute_id)


def of_key(acquirer: "Acquirer", key: str) -> dict[str, Any]:
    """The dispute that was opened under a key, as it is now; nothing if none was."""
    return _told(acquirer, "key", key)


def taken(acquirer: "Acquirer", authorization_key: str) -> int:
    """What disputes keep of an authorization's capture: those that are open, and lost ones for ever."""
    row = acquirer.db.execute(
        "SELECT coalesce(sum(amount), 0) FROM disputes WHERE authorization_key = ? AND status <> 'won'",
        (authorization_key,),
    ).fetchone()
    return int(row[0])


def _told(acquirer: "Acquirer", column: Literal["id", "key"], value: str) -> dict[str, Any]:
    row = acquirer.db.execute(f"{DISPUTE} WHERE {column} = ?", (value,)).fetchone()
    return dict(zip(SAID, row, strict=True)) if row else {}


def _unknown(dispute_id: str) -> Answer:
    return refused(404, "unknown_dispute", f"there is no dispute {dispute_id}")
