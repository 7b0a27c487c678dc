"""Leases: one instance at a time does a periodic job, and another takes over when it falls silent."""

from datetime import timedelta

from sqlalchemy import delete, or_, update
from sqlalchemy.orm import Session

from chassis.db import affected, insert_new, now
from chassis.tables import lease


def take_lease(session: Session, name: str, owner: str, length: timedelta) -> bool:
    """Take or keep the lease of a job; False while another owner has it. Wants a write transaction."""
    at = now(session)
    mine_or_over = or_(lease.c.owner == owner, lease.c.until < at)
    values = dict(owner=owner, until=at + length)
    if affected(session, update(lease).where(lease.c.name == name, mine_or_over).values(values)):
        return True
    return insert_new(session, lease, dict(name=name, **values))


def give_back_lease(session: Session, name: str, owner: str) -> None:
    """Let another owner take the lease at once. Wants a write transaction."""
    session.execute(delete(lease).where(lease.c.name == name, lease.c.owner == owner))
