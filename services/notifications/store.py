"""notifications' queries."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis.db import now, run, table_of
from contracts import notifications as contract
from services.notifications.domain import Letter, back_off_s
from services.notifications.models import Mail

_mail = table_of(Mail)
_QUEUE = insert(_mail)
_DUE = (
    select(_mail)
    .where(_mail.c.status == "queued", _mail.c.due_at <= bindparam("at"))
    .order_by(_mail.c.due_at, _mail.c.id)
    .limit(bindparam("most"))
)
_SENT = (
    update(_mail)
    .where(_mail.c.id.in_(bindparam("of", expanding=True)), _mail.c.status == "queued")
    .values(status="sent", error=None, sent_at=bindparam("at"), attempts=_mail.c.attempts + 1)
)
_NEWEST_ABOUT = (
    select(_mail)
    .where(_mail.c.about == bindparam("subject_id"), _mail.c.copy_of.is_(None))
    .order_by(_mail.c.created_at.desc(), _mail.c.id)
    .limit(1)
    .with_for_update()
)
_COPIES = (
    select(_mail.c.created_at)
    .where(_mail.c.about == bindparam("subject_id"), _mail.c.copy_of == bindparam("of"))
    .where(_mail.c.created_at > bindparam("since"))
    .order_by(_mail.c.created_at)
)


def queue(session: Session, kind: str, letter: Letter, error: str | None) -> None:
    """Have a letter sent; with an error it is only kept, as failed."""
    run(
        session,
        _QUEUE,
        id=letter.id,
        kind=kind,
        to_address=letter.to,
        subject=letter.subject,
        text=letter.text,
        html=letter.html,
        status="failed" if error else "queued",
        attempts=0,
        due_at=letter.at,
        error=error,
        created_at=letter.at,
        about=letter.about,
        copy_of=letter.copy_of,
        customer_id=letter.customer_id,
    )


def due(session: Session, limit: int) -> list[Letter]:
    """Letters that are to be sent now, those that have waited longest first."""
    return [
        Letter(id=row.id, to=row.to_address, subject=row.subject, text=row.text, html=row.html, at=row.created_at)
        for row in run(session, _DUE, at=now(session), most=limit)
    ]


def mark_sent(session: Session, letters: list[Letter]) -> None:
    run(session, _SENT, of=[letter.id for letter in letters], at=now(session))


def mark_failed(session: Session, letters: list[Letter], error: str) -> None:
    """Nobody will ever take them."""
    ids = [letter.id for letter in letters]
    failed = update(Mail).where(Mail.id.in_(ids), Mail.status == "queued")
    session.execute(failed.values(status="failed", error=error, attempts=Mail.attempts + 1))


def put_off(session: Session, letters: list[Letter], error: str) -> None:
    """They could not be delivered now: again later, each time after a longer while."""
    ids = [letter.id for letter in letters]
    for row in session.scalars(select(Mail).where(Mail.id.in_(ids), Mail.status == "queued")):
        row.attempts += 1
        row.error = error
        row.due_at = now(session) + timedelta(seconds=back_off_s(row.attempts))


def customer_of(session: Session, subject_id: str) -> str | None:
    """Whose the order or transaction is, if a mail about it tells."""
    told = select(_mail.c.customer_id).where(_mail.c.about == subject_id, _mail.c.customer_id.is_not(None)).limit(1)
    customer_id: str | None = session.scalar(told)
    return customer_id


def hold_newest_about(session: Session, subject_id: str) -> Row[Any] | None:
    """The newest mail about an order or a transaction that is no copy, locked; None if there is none."""
    return run(session, _NEWEST_ABOUT, subject_id=subject_id).one_or_none()


def copies_of(session: Session, mail: Row[Any], since: datetime) -> list[datetime]:
    """When a mail was sent again since then, the first time first."""
    return list(run(session, _COPIES, subject_id=mail.about, of=mail.id, since=since).scalars())


def get(session: Session, mail_id: str) -> contract.Mail:
    return _view(session.scalars(select(Mail).where(Mail.id == mail_id)).one())


def newest(session: Session, to: str | None, limit: int) -> list[contract.Mail]:
    found = select(Mail).order_by(Mail.created_at.desc(), Mail.id).limit(limit)
    if to is not None:
        found = found.where(Mail.to_address == to)
    return [_view(row) for row in session.scalars(found)]


def _view(row: Mail) -> contract.Mail:
    return contract.Mail(
        id=row.id,
        to=row.to_address,
        subject=row.subject,
        status=row.status,
        kind=row.kind,
        created_at=row.created_at,
        attempts=row.attempts,
        error=row.error,
        about=row.about,
        copy_of=row.copy_of,
    )
