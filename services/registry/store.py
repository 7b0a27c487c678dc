"""registry's queries."""

from datetime import timedelta

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from chassis.db import affected, dialect_of, insert_new, now, table_of
from contracts.registry import RegistryEvent
from services.registry.domain import Change, Trace
from services.registry.models import Happened

OVER = ("left", "gone")
BATCH = 1000

_happened = table_of(Happened)


def note(session: Session, changes: list[Change]) -> None:
    """Write down what happened. What another registry has noted already stays as it is."""
    if dialect_of(session) == "postgresql":  # one after the other, so that ids are seen in the order of their commits
        session.execute(text("LOCK TABLE happened IN SHARE ROW EXCLUSIVE MODE"))
    at = now(session)
    for change in changes:
        of = change.instance
        row = dict(at=at, service=of.service, instance=of.id, what=change.what, beat=of.beat, host=of.host, pid=of.pid)
        insert_new(session, _happened, row)


def unended(session: Session) -> dict[str, Trace]:
    """Instances of which nothing says that they ended, by their ids."""
    latest = select(func.max(Happened.id)).group_by(Happened.instance)
    rows = session.scalars(select(Happened).where(Happened.id.in_(latest), Happened.what.not_in(OVER)).limit(BATCH))
    return {row.instance: Trace(row.instance, row.service, row.beat, row.host, row.pid) for row in rows}


def events(session: Session, after: int, limit: int) -> list[RegistryEvent]:
    rows = session.scalars(select(Happened).where(Happened.id > after).order_by(Happened.id).limit(limit))
    names = RegistryEvent.__struct_fields__
    return [msgspec.convert({name: getattr(row, name) for name in names}, RegistryEvent) for row in rows]


def forget(session: Session, keep: timedelta) -> int:
    """Remove up to BATCH events that are older; answers how many went."""
    old = select(Happened.id).where(Happened.at < now(session) - keep).order_by(Happened.id).limit(BATCH)
    return affected(session, delete(Happened).where(Happened.id.in_(old)))
