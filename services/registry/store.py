"""registry's queries."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from chassis.db import affected, dialect_of, insert_new, now, table_of
from contracts.registry import Happening, RegistryEvent
from services.registry.domain import OVER, Change, Trace, may_follow
from services.registry.models import Happened

BATCH = 1000

_happened = table_of(Happened)
_LAST_OF_EACH = select(func.max(Happened.id)).group_by(Happened.instance)


def note(session: Session, changes: Iterable[Change]) -> None:
    """Write down what happened, unless another registry has, or it cannot follow what is written of an instance."""
    if dialect_of(session) == "postgresql":  # one after the other, so that ids are seen in the order of their commits
        session.execute(text("LOCK TABLE happened IN SHARE ROW EXCLUSIVE MODE"))
    at = now(session)
    for change in changes:
        of = change.instance
        written = session.scalars(select(Happened.what).where(Happened.instance == of.id).order_by(Happened.id)).all()
        if may_follow(change.what, written):
            row = dict(at=at, service=of.service, instance=of.id, what=change.what, beat=of.beat)
            insert_new(session, _happened, row | dict(host=of.host, pid=of.pid))


def unended(session: Session) -> dict[str, Trace]:
    """Instances of which nothing says that they ended, by their ids: the latest of them."""
    rows = session.scalars(
        select(Happened).where(Happened.id.in_(_LAST_OF_EACH), Happened.what.not_in(OVER)).order_by(Happened.id.desc())
    )
    return {
        row.instance: Trace(row.instance, row.service, row.beat, row.host, row.pid, what_of(row))
        for row in rows.fetchmany(BATCH)
    }


def events(session: Session, after: int, limit: int) -> list[RegistryEvent]:
    rows = session.scalars(select(Happened).where(Happened.id > after).order_by(Happened.id).limit(limit))
    names = RegistryEvent.__struct_fields__
    return [msgspec.convert({name: getattr(row, name) for name in names}, RegistryEvent) for row in rows]


def forget(session: Session, keep: timedelta) -> int:
    """Remove up to BATCH events that are older, but not the last one of who has not ended; answers how many went."""
    there = select(Happened.id).where(Happened.id.in_(_LAST_OF_EACH), Happened.what.not_in(OVER))
    past = Happened.at < now(session) - keep
    old = select(Happened.id).where(past, Happened.id.not_in(there)).order_by(Happened.id).limit(BATCH)
    return affected(session, delete(Happened).where(Happened.id.in_(old)))


def what_of(row: Happened) -> Happening:
    what: Happening = msgspec.convert(row.what, Happening)
    return what
