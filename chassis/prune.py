"""Removal of what nobody can ask for any more, in small batches, while the system works.

Ended sagas go after `saga_retention_s`, and their service tells the others (`forgotten`), which then remove the inbox
rows that they kept for them. Rows of clients' own keys go after `inbox_retention_s` without a change, notes of handled
events after `handled_retention_s`. What is in doubt, an outside call that was begun, is never removed. A service may
have old rows of its own removed with them; and what it keeps about customers is removed, or made nobody's, by the
`retention_days` of its kinds.
"""

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from logging import getLogger
from typing import Annotated, Any, NamedTuple, Protocol

import eventlet
import msgspec
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider
from sqlalchemy import Column, ColumnElement, Table, delete, exists, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from chassis.db import Database, affected, now
from chassis.errors import Failure
from chassis.leases import take_lease
from chassis.outbox import publish
from chassis.privacy import Kind, outlived
from chassis.saga import ENDED
from chassis.settings import read_settings
from chassis.tables import handled, inbox, saga, saga_log, saga_signal

BATCH = 200
BATCHES = 50
"""At most so many rows in one transaction, and so many transactions in one turn."""
PAUSE_S = 0.05

Days = Annotated[int, msgspec.Meta(ge=1)]

log = getLogger("rialto.prune")


class Retention(msgspec.Struct, frozen=True):
    """See config.yaml."""

    saga_retention_s: int = 30 * 86_400
    inbox_retention_s: int = 30 * 86_400
    handled_retention_s: int = 30 * 86_400
    prune_every_s: int = 3_600
    retention_days: Mapping[str, Mapping[str, Days]] = {}  # by service and kind (chassis/privacy.py)


class Forgotten(Protocol):
    """An event of the service's contract that tells of `saga_ids`."""

    def __call__(
        self, *, event_id: str, occurred_at: datetime, aggregate_id: str, sequence: int, saga_ids: list[str]
    ) -> Any: ...


class Old(NamedTuple):
    """Rows of a service's own that nobody asks for any more once the time in `at` is so long ago; wants an index."""

    at: Column[Any]
    keep: timedelta
    where: ColumnElement[bool]


class Pruner(DependencyProvider):
    """Removes old rows of the service's database, one instance at a time. `forgotten`, where the service has sagas, is
    the event with which it tells the others; `old` are rows of its own; `kinds` what it keeps about customers."""

    def __init__(self, forgotten: Forgotten | None = None, old: Old | None = None, kinds: Sequence[Kind] = ()) -> None:
        super().__init__()
        self.forgotten, self.old, self.kinds = forgotten, old, kinds
        self._owner = uuid.uuid4().hex
        self._thread: Any = None

    def get_dependency(self, worker_ctx: Any) -> "Pruner":
        return self

    def setup(self) -> None:
        self.retention = read_settings(self.container, Retention)
        self.days = dict(self.retention.retention_days.get(self.container.service_name, {}))
        endless = self.days.keys() - {kind.name for kind in self.kinds if kind.at is not None}
        if endless:
            raise ConfigurationError(
                f"config.yaml, retention_days: {self.container.service_name} keeps nothing for some days that is"
                f" called {', '.join(sorted(endless))}"
            )

    def start(self) -> None:
        self.sessions = Database.of(self.container).sessions
        self._thread = self.container.spawn_managed_thread(self._run, identifier="pruner")

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.kill()

    kill = stop

    def _run(self) -> None:
        every_s = self.retention.prune_every_s
        while True:
            eventlet.sleep(every_s * random.uniform(0.5, 1.0))
            try:
                self.prune()
            except (Failure, SQLAlchemyError) as exc:
                log.warning("old rows stay for now", extra={"reason": f"{type(exc).__name__}: {exc}"})

    def prune(self) -> int:
        """Remove what is old, in at most BATCHES transactions; answers how many rows went."""
        length = timedelta(seconds=self.retention.prune_every_s)
        with self.sessions.write() as session:
            if not take_lease(session, "prune", self._owner, length):
                return 0
        total = 0
        for _ in range(BATCHES):
            with self.sessions.write() as session:
                removed = self._remove_batch(session)
            if not removed:
                break
            total += removed
            eventlet.sleep(PAUSE_S)
        if total:
            log.info("old rows were removed", extra={"rows": total})
        return total

    def _remove_batch(self, session: Session) -> int:
        at, keep = now(session), self.retention
        clients = [
            inbox.c.saga_id.is_(None),
            inbox.c.state.not_in(("started", "undoing")),
            inbox.c.updated_at < at - timedelta(seconds=keep.inbox_retention_s),
        ]
        notes = [handled.c.at < at - timedelta(seconds=keep.handled_retention_s)]
        removed = _remove_some(session, inbox, *clients) + _remove_some(session, handled, *notes)
        if self.old is not None:
            removed += _remove_some(session, self.old.at.table, self.old.at < at - self.old.keep, self.old.where)
        for kind in self.kinds:
            if kind.name in self.days:
                removed += outlived(session, kind, at - timedelta(days=self.days[kind.name]), BATCH)
        if self.forgotten is not None:
            removed += self._forget_sagas(session, at - timedelta(seconds=keep.saga_retention_s), self.forgotten)
        return removed

    def _forget_sagas(self, session: Session, before: datetime, forgotten: Forgotten) -> int:
        """Remove sagas that ended before, unless a saga that has not ended waits for them; and tell who knew them."""
        parent = saga.alias()
        awaited = exists().where(parent.c.id == saga.c.parent_id, parent.c.status.not_in(ENDED))
        old = select(saga.c.id).where(saga.c.status.in_(ENDED), saga.c.wake_at < before, ~awaited)
        ids = list(session.scalars(old.order_by(saga.c.wake_at).limit(BATCH)))
        if not ids:
            return 0
        drop_sagas(session, ids, forgotten)
        return len(ids)


def drop_sagas(session: Session, ids: list[str], forgotten: Forgotten) -> None:
    """Remove ended sagas of this service, and tell who knew them."""
    for table, column in ((saga_log, saga_log.c.saga_id), (saga_signal, saga_signal.c.saga_id), (saga, saga.c.id)):
        session.execute(delete(table).where(column.in_(ids)))
    event_id = uuid.uuid4().hex
    told = forgotten(event_id=event_id, occurred_at=now(session), aggregate_id=event_id, sequence=1, saga_ids=ids)
    publish(session, told)


def forget_sagas(session: Session, owner: str, saga_ids: list[str]) -> int:
    """Remove the inbox rows that were kept for sagas of `owner`: what a handler of its `forgotten` event does."""
    return affected(session, delete(inbox).where(inbox.c.saga_owner == owner, inbox.c.saga_id.in_(saga_ids)))


def _remove_some(session: Session, table: Table, *where: Any) -> int:
    """Remove at most BATCH rows of those."""
    keys = list(table.primary_key.columns)
    rows = session.execute(select(*keys).where(*where).limit(BATCH)).all()
    for row in rows:
        session.execute(delete(table).where(*(key == value for key, value in zip(keys, row, strict=True))))
    return len(rows)
