"""Incidents: one row for each subject that reconciliation found, updated as it is seen again, mended, or gone."""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import delete, desc, func, or_, select, update
from sqlalchemy.orm import Session

from chassis.db import affected, insert_new, table_of
from chassis.types import Message
from contracts import orders as contract
from services.orders.amendments import AT_WORK
from services.orders.domain import MOVING
from services.orders.models import Amendment, Incident, Order

CHUNK = 500
FORGOTTEN_AT_ONCE = 1000

_incident = table_of(Incident)


class Finding(Message):
    """A difference. `order_id` is the order or amendment that it belongs to, `since` when it came to be, if known."""

    subject: str
    detail: str
    order_id: str | None = None
    since: datetime | None = None


def at_work(session: Session, ids: Iterable[str], lately: datetime) -> set[str]:
    """For which of these orders and amendments something is under way, or was until lately."""
    wanted, found = sorted(set(ids)), set[str]()
    for start in range(0, len(wanted), CHUNK):
        some = wanted[start : start + CHUNK]
        orders = select(Order.id).where(Order.id.in_(some), or_(Order.status.in_(MOVING), Order.updated_at >= lately))
        moving = Amendment.closed_at.is_(None) & Amendment.status.in_(AT_WORK)
        amendments = select(Amendment.id, Amendment.order_id).where(
            or_(Amendment.id.in_(some), Amendment.order_id.in_(some)), or_(moving, Amendment.updated_at >= lately)
        )
        found.update(session.scalars(orders))
        found.update(name for row in session.execute(amendments) for name in row)
    return found


def saga_id_of(session: Session, order_id: str) -> str | None:
    """The saga of an order, or of an amendment."""
    return session.scalar(select(Order.saga_id).where(Order.id == order_id)) or session.scalar(
        select(Amendment.saga_id).where(Amendment.id == order_id)
    )


def mended_before(session: Session, kind: str) -> set[tuple[str, str]]:
    """Subjects, each with its detail, that were mended: if they are seen again as they were, it was in vain."""
    rows = session.execute(
        select(Incident.subject, Incident.detail).where(Incident.kind == kind, Incident.mended_at.is_not(None))
    )
    return {(subject, detail) for subject, detail in rows}


def record(session: Session, kind: str, findings: Iterable[Finding], mended: Collection[str], at: datetime) -> None:
    """Keep what was found of a kind, one row for each subject."""
    for finding in findings:
        state = "mended" if finding.subject in mended else "open"
        values = dict(detail=finding.detail, state=state, last_seen=at, order_id=finding.order_id)
        if state == "mended":
            values["mended_at"] = at
        new = dict(kind=kind, subject=finding.subject, first_seen=at, mended_at=None) | values
        if not insert_new(session, _incident, new):
            of = (Incident.kind == kind, Incident.subject == finding.subject)
            session.execute(update(Incident).where(*of).values(values))


def close_gone(session: Session, kind: str, still_there: Collection[str]) -> None:
    """The open incidents of a kind that are not to be seen any more."""
    rows = session.scalars(select(Incident).where(Incident.kind == kind, Incident.state == "open"))
    for row in rows:
        if row.subject not in still_there:
            row.state = "gone"


def forget(session: Session, before: datetime) -> int:
    """Remove incidents that are over and were last seen before, some at once."""
    over = select(Incident.kind, Incident.subject).where(Incident.state != "open", Incident.last_seen < before)
    rows = session.execute(over.limit(FORGOTTEN_AT_ONCE)).all()
    return sum(
        affected(session, delete(Incident).where(Incident.kind == kind, Incident.subject == subject))
        for kind, subject in rows
    )


def newest(session: Session, state: str, limit: int, since: datetime | None = None) -> list[contract.Incident]:
    """The incidents in a state, the latest first; with `since`, those that were seen from then on."""
    query = select(Incident).where(Incident.state == state).order_by(desc(Incident.last_seen), Incident.subject)
    if since is not None:
        query = query.where(Incident.last_seen >= since)
    return [
        contract.Incident(
            kind=row.kind,
            subject=row.subject,
            detail=row.detail,
            state=row.state,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            order_id=row.order_id,
            mended_at=row.mended_at,
        )
        for row in session.scalars(query.limit(limit))
    ]


def open_by_kind(session: Session) -> dict[str, int]:
    rows = session.execute(select(Incident.kind, func.count()).where(Incident.state == "open").group_by(Incident.kind))
    return {row[0]: row[1] for row in rows}
