"""risk's queries: decisions, and what counts of them."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, desc, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import now, run, table_of
from chassis.errors import ServiceError
from contracts import risk as contract
from services.risk.domain import Verdict, places_of
from services.risk.models import Footprint, Screening

SHOWN = 20

_screening = table_of(Screening)
_print = table_of(Footprint)
_KEEP = insert(_screening)
_LEAVE = insert(_print)
_OF_KEY = select(_screening.c.id).where(_screening.c.command_key == bindparam("key"))
_GET = select(_screening).where(_screening.c.id == bindparam("of"))
_MARK = (
    update(_print)
    .where(_print.c.screening_id == bindparam("of"), _print.c.state == "counts")
    .values(state=bindparam("after"))
)


def keep(
    session: Session,
    subject: contract.Subject,
    inputs: dict[str, Any],
    verdict: Verdict,
    shadows: Sequence[contract.Shadow],
    version: int,
    key: str,
) -> contract.Screening:
    """Write down what was decided, on what, and what it counts by."""
    at, kept_id = now(session), uuid.uuid4().hex
    row = dict(
        id=kept_id,
        kind=subject.kind,
        subject_id=subject.id,
        decision=verdict.decision,
        score=verdict.score,
        reasons=msgspec.to_builtins(verdict.reasons),
        rules_version=version,
    )
    more = dict(
        command_key=key,
        customer_id=subject.customer_id,
        subject=msgspec.to_builtins(subject),
        inputs=inputs,
        shadows=msgspec.to_builtins(shadows),
        at=at,
    )
    run(session, _KEEP, **row, **more)
    shared = dict(
        screening_id=kept_id,
        customer_id=subject.customer_id,
        amount=subject.amount.amount,
        currency=subject.amount.currency,
        state="failed" if verdict.decision == "refuse" else "counts",
        at=at,
    )
    session.connection().execute(
        _LEAVE, [dict(shared, dimension=name, value=value) for name, value in places_of(subject).items()]
    )
    return view(row)


def view(row: dict[str, Any]) -> contract.Screening:
    known = {name: row[name] for name in ("id", "kind", "subject_id", "decision", "score", "reasons", "rules_version")}
    return msgspec.convert(known, contract.Screening)


def kept_view(row: Row[Any]) -> contract.KeptScreening:
    return contract.KeptScreening(
        screening=view(row._asdict()),
        subject=msgspec.convert(row.subject, contract.Subject),
        inputs=row.inputs,
        shadows=msgspec.convert(row.shadows, list[contract.Shadow]),
        at=row.at,
    )


def of_key(session: Session, key: str) -> str | None:
    """The id of the decision that was made under a command's key."""
    found: str | None = run(session, _OF_KEY, key=key).scalar()
    return found


def mark(session: Session, screening_id: str, state: str) -> None:
    """It does not count any more: it `failed`, or is `gone`."""
    run(session, _MARK, of=screening_id, after=state)


def get(session: Session, screening_id: str) -> Row[Any]:
    row = run(session, _GET, of=screening_id).one_or_none()
    if row is None:
        raise ServiceError("risk.not_found", f"No decision {screening_id!r} was kept.")
    return row


def of_subject(session: Session, subject_id: str, limit: int = SHOWN) -> list[Row[Any]]:
    """What was decided about a subject, the newest first."""
    found = select(_screening).where(_screening.c.subject_id == subject_id)
    return list(session.connection().execute(found.order_by(desc(_screening.c.at)).limit(limit)))


def newest(session: Session, limit: int) -> list[Row[Any]]:
    """The last decisions of all, the newest first."""
    found = select(_screening.c.id, _screening.c.decision, _screening.c.inputs).where(_screening.c.rules_version > 0)
    return list(session.connection().execute(found.order_by(desc(_screening.c.at)).limit(limit)))


def assessment(session: Session, order_id: str) -> contract.Assessment:
    """The newest decision about an order, in the old words."""
    found = of_subject(session, order_id, 1)
    if not found:
        raise ServiceError("risk.not_found", f"Order {order_id!r} was not assessed.")
    return assessed(view(found[0]._asdict()))


def assessed(screening: contract.Screening) -> contract.Assessment:
    names = [reason.rule for reason in screening.reasons]
    return contract.Assessment(order_id=screening.subject_id, decision=screening.decision, reasons=names)
