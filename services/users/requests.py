"""users' queries about what customers asked for: exports with their parts, erasures."""

import uuid
from datetime import timedelta

import msgspec
from sqlalchemy import Row, delete, select, tuple_, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, table_of
from chassis.errors import ServiceError
from chassis.privacy_types import Record
from chassis.prune import drop_sagas, forget_sagas
from chassis.tables import saga
from contracts import users as contract
from contracts.users import PrivacyForgotten
from services.users.models import ExportPart, PrivacyRequest

EXPORT, ERASURE = "export", "erasure"
RUNNING, READY, ERASED, REFUSED = "running", "ready", "erased", "refused"
DOCUMENT_BYTES = 1_000_000
"""An answer with parts of an export ends with the one that goes beyond."""
SWEPT = 200

_REQUEST, _PART = table_of(PrivacyRequest), table_of(ExportPart)


def add(session: Session, kind: str, customer_id: str, author: str, reason: str) -> str:
    """A new request; answers its id. Raises ServiceError `privacy.in_progress` while another of its kind runs."""
    row = dict(
        id=uuid.uuid4().hex,
        kind=kind,
        customer_id=customer_id,
        status=RUNNING,
        open=[],
        author=author,
        reason=reason,
        requested_at=now(session),
        ended_at=None,
    )
    if not insert_new(session, _REQUEST, row):
        other = session.scalar(
            select(_REQUEST.c.id).where(
                _REQUEST.c.customer_id == customer_id, _REQUEST.c.kind == kind, _REQUEST.c.status == RUNNING
            )
        )
        raise ServiceError("privacy.in_progress", f"Another {kind} is under way.", {"id": other})
    return str(row["id"])


def require(session: Session, request_id: str) -> None:
    """Raises ServiceError `privacy.not_found` for one that there is not."""
    if session.scalar(select(_REQUEST.c.id).where(_REQUEST.c.id == request_id)) is None:
        raise not_found(request_id)


def find(session: Session, request_id: str, kept: timedelta) -> Row[tuple[object, ...]]:
    """Raises ServiceError `privacy.not_found`, also for one that is about to be removed."""
    row = session.execute(select(_REQUEST).where(_REQUEST.c.id == request_id)).one_or_none()
    if row is None or (row.status != ERASED and row.ended_at is not None and row.ended_at + kept <= now(session)):
        raise not_found(request_id)
    return row


def view(row: Row[tuple[object, ...]], kept: timedelta) -> contract.PrivacyRequest:
    return contract.PrivacyRequest(
        id=row.id,
        kind=row.kind,
        status=row.status,
        requested_at=row.requested_at,
        ended_at=row.ended_at,
        expires_at=row.ended_at + kept if row.ended_at is not None and row.status != ERASED else None,
        open=row.open,
    )


def end(session: Session, request_id: str, status: str, open_now: list[str] | None = None) -> None:
    ended = update(_REQUEST).where(_REQUEST.c.id == request_id)
    session.execute(ended.values(status=status, open=open_now or [], ended_at=now(session)))


def keep(session: Session, request_id: str, service: str, pages: list[list[Record]], complete: bool) -> None:
    """Keep what a service said."""
    for number, page in enumerate(pages):
        items = msgspec.json.encode(page).decode()
        part = dict(request_id=request_id, service=service, number=number, complete=complete)
        session.execute(_PART.insert().values(**part, size=len(items), items=items))


def parts(
    session: Session, request_id: str, after: tuple[str, int] | None
) -> tuple[list[contract.ExportPart], tuple[str, int] | None]:
    """The parts after that one, as far as one answer goes, and where the next one begins after; None: nowhere."""
    place = tuple_(_PART.c.service, _PART.c.number)
    rest = select(_PART.c.service, _PART.c.number, _PART.c.size).where(_PART.c.request_id == request_id)
    if after is not None:
        rest = rest.where(place > tuple_(*after))
    sizes = list(session.execute(rest.order_by(_PART.c.service, _PART.c.number)))
    taken: list[tuple[str, int]] = []
    total = 0
    for service, number, size in sizes:
        taken.append((service, number))
        total += size
        if total >= DOCUMENT_BYTES:
            break
    rows = select(_PART).where(_PART.c.request_id == request_id, place.in_(taken)).order_by(*place.clauses)
    found = [
        contract.ExportPart(
            service=row.service, complete=row.complete, items=msgspec.json.decode(row.items, type=list[Record])
        )
        for row in session.execute(rows)
    ]
    return found, taken[-1] if len(taken) < len(sizes) else None


def forget_customer(session: Session, customer_id: str, but: str) -> None:
    """Remove a customer's requests, all but one, and the sagas of all of them, in which the e-mail address stands."""
    ids = list(session.scalars(select(_REQUEST.c.id).where(_REQUEST.c.customer_id == customer_id)))
    _forget_sagas(session, ids)
    session.execute(delete(_REQUEST).where(_REQUEST.c.id.in_(ids), _REQUEST.c.id != but))


def sweep(session: Session, kept: timedelta) -> None:
    """Remove what was kept long enough, with its sagas; what was erased stays on record."""
    old = select(_REQUEST.c.id).where(_REQUEST.c.ended_at <= now(session) - kept, _REQUEST.c.status != ERASED)
    ids = list(session.scalars(old.limit(SWEPT)))
    _forget_sagas(session, ids)
    session.execute(delete(_REQUEST).where(_REQUEST.c.id.in_(ids)))


def not_found(request_id: str) -> ServiceError:
    return ServiceError("privacy.not_found", f"There is no request {request_id!r}.")


def _forget_sagas(session: Session, request_ids: list[str]) -> None:
    """Those of requests, here and in every service that they went through."""
    ids = list(session.scalars(select(saga.c.id).where(saga.c.key.in_(request_ids))))
    if ids:
        forget_sagas(session, "users", ids)
        drop_sagas(session, ids, PrivacyForgotten)
