"""What a service keeps about customers, as one table of kinds: what is told on request, what becomes of it when they
leave, and for how long it is kept at all.

A customer's id says nothing about anybody once users has forgotten whose it was: rows that have to stay keep it, as a
pseudonym. A customer who leaves is first fenced: nothing new begins in any service, and what is not over refuses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from sqlalchemy import Column, ColumnElement, Row, Table, delete, or_, select, text, tuple_, update
from sqlalchemy.orm import Session

from chassis.commands import command, undo
from chassis.context import Call
from chassis.cursors import encode_cursor, read_cursor
from chassis.db import WorkerDatabase, affected, dialect_of, insert_new, now
from chassis.errors import ServiceError
from chassis.privacy_types import Cursor, Erased, Person, PersonalData, Record, RecordLimit
from chassis.rpc import rpc
from chassis.saga import ENDED
from chassis.tables import inbox, leaving, saga

OPEN_SHOWN = 20
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_SHARED = text("SELECT pg_advisory_xact_lock_shared(:space, hashtext(:of))")
_ALONE = text("SELECT pg_advisory_xact_lock(:space, hashtext(:of))")
_SPACE = 5801


@dataclass(frozen=True)
class Kind:
    """Rows of one table that are about customers.

    `whose`: which are a person's. `told`: the columns that a customer is told. `blank`: what an erasure writes into
    them, a value or what makes one of the value that is there; the first is one that no other row has, or `done` says
    which rows still tell something. None: it removes the rows; {}: they stay as they are, because nothing in them
    tells who somebody is, or the law wants them so. `open`: which of them are business that is not over, perhaps by the
    time. `at`: since when they are old; with a number of days in `retention_days` for this name, they are treated so
    too when that is over, if `done` holds.
    """

    name: str
    table: Table
    whose: Callable[[Person], ColumnElement[bool]]
    told: tuple[str, ...]
    blank: Mapping[str, Any] | None = None
    open: ColumnElement[bool] | Callable[[datetime], ColumnElement[bool]] | None = None
    at: Column[Any] | None = None
    done: ColumnElement[bool] | None = None

    @property
    def keys(self) -> list[Column[Any]]:
        return list(self.table.primary_key.columns)

    @property
    def left(self) -> list[ColumnElement[bool]]:
        """Which rows an erasure would still change."""
        name, value = next(iter((self.blank or {}).items()), ("", len))
        return [] if callable(value) else [self.table.c[name].is_distinct_from(value)]

    def open_at(self, at: datetime) -> ColumnElement[bool] | None:
        return self.open if self.open is None or isinstance(self.open, ColumnElement) else self.open(at)


def saga_kind(whose: Callable[[Person], ColumnElement[bool]]) -> Kind:
    """A service's own sagas, which know names and addresses: one that has ended goes with the pruner's next turn, with
    what other services keep for it."""
    return Kind(
        "saga",
        saga,
        whose=whose,
        told=("id", "name", "status", "created_at"),
        blank=dict(wake_at=LONG_AGO),
        open=saga.c.status.not_in(ENDED),
    )


class PrivacyOperations:
    """For a service that keeps something about customers: `class CartsService(PrivacyOperations)`, with its `kinds`.

    They are erased in their order: what finds its rows by those of another comes before it.
    """

    name: str
    call: Call
    db: WorkerDatabase
    kinds: ClassVar[Sequence[Kind]]

    @rpc
    def personal_data(self, person: Person, after: Cursor | None = None, limit: RecordLimit = 200) -> PersonalData:
        self.call.require_trusted()
        position = read_cursor(after, tuple[str, list[Any]], "privacy.bad_cursor")
        if position is not None and position[0] not in {kind.name for kind in self.kinds}:
            raise ServiceError("privacy.bad_cursor", "This cursor is not one of ours: begin without one.")
        with self.db.read() as session:
            return _page(session, self.kinds, person, position, limit)

    @command
    def begin_erasure(self, person: Person, *, key: str) -> None:
        self.call.require_trusted()
        session = self.db.session
        _fence(session, person)
        if open_now := _open(session, self.kinds, person):
            what = ", ".join(open_now)
            raise ServiceError("privacy.open_business", f"{self.name}: not over yet: {what}.", {"open": open_now})

    @undo
    def cancel_erasure(self, person: Person, *, key: str) -> None:
        self.db.session.execute(delete(leaving).where(leaving.c.customer_id == person.customer_id))

    @command(retriable=True)
    def erase(self, person: Person, *, key: str) -> Erased:
        self.call.require_trusted()
        session = self.db.session
        _fence(session, person)
        _forget_answers(session, person)
        self.before_erasing(person)
        return Erased(rows={kind.name: _erase(session, kind, kind.whose(person)) for kind in self.kinds})

    def before_erasing(self, person: Person) -> None:
        """What has to end first, in the same transaction; most services have nothing."""


def require_staying(session: Session, customer_id: str | None) -> None:
    """Raises ServiceError `privacy.leaving` for a customer whose data are being erased, or were. To be called in the
    write transaction that begins something for them; until it commits their erasure waits."""
    if is_leaving(session, customer_id):
        raise ServiceError("privacy.leaving", "This customer's data are being erased: nothing new can be begun.")


def is_leaving(session: Session, customer_id: str | None) -> bool:
    """Whether a customer's data are being erased, or were. To be asked in a write transaction, before it holds rows."""
    if customer_id is None:
        return False
    _lock(session, _SHARED, customer_id)
    return session.scalar(select(leaving.c.customer_id).where(leaving.c.customer_id == customer_id)) is not None


def _fence(session: Session, person: Person) -> None:
    _lock(session, _ALONE, person.customer_id)
    insert_new(session, leaving, dict(customer_id=person.customer_id, at=now(session)))


def _lock(session: Session, how: Any, customer_id: str) -> None:
    """A row that is not there yet cannot be locked. SQLite has one writer at a time anyway."""
    if dialect_of(session) == "postgresql":
        session.execute(how, {"space": _SPACE, "of": customer_id})


def _forget_answers(session: Session, person: Person) -> None:
    """What is kept for repeats of clients' commands, where it names the person. It looks at every row."""
    named = [inbox.c.result.contains(word, autoescape=True) for word in (person.customer_id, person.email)]
    session.execute(delete(inbox).where(inbox.c.saga_id.is_(None), inbox.c.state == "ok", or_(*named)))


def _open(session: Session, kinds: Sequence[Kind], person: Person) -> list[str]:
    """What is not over, in words: each kind with the key of its row, the first ones."""
    found: list[str] = []
    at = now(session)
    for kind in kinds:
        if (unfinished := kind.open_at(at)) is not None:
            rows = select(*kind.keys).where(kind.whose(person), unfinished).order_by(*kind.keys)
            found += [f"{kind.name} {row[0]}" for row in session.execute(rows.limit(OPEN_SHOWN - len(found)))]
    return found


def _page(
    session: Session, kinds: Sequence[Kind], person: Person, after: tuple[str, list[Any]] | None, limit: int
) -> PersonalData:
    items: list[Record] = []
    names = [kind.name for kind in kinds]
    for kind in kinds[names.index(after[0]) if after else 0 :]:
        rows = select(kind.table).where(kind.whose(person)).order_by(*kind.keys).limit(limit - len(items))
        if after and kind.name == after[0]:
            rows = rows.where(tuple_(*kind.keys) > tuple_(*after[1]))
        found = session.execute(rows).all()
        items += [Record(kind=kind.name, data=_told(kind, row)) for row in found]
        if len(items) == limit:
            last = [getattr(found[-1], key.name) for key in kind.keys] if found else []
            return PersonalData(items=items, next_after=encode_cursor((kind.name, last)))
    return PersonalData(items=items, next_after=None)


def _told(kind: Kind, row: Row[Any]) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins({name: getattr(row, name) for name in kind.told})
    return data


def _erase(session: Session, kind: Kind, where: ColumnElement[bool]) -> int:
    if kind.blank is None:
        return affected(session, delete(kind.table).where(where))
    if not kind.blank:
        return 0
    made = {name: make for name, make in kind.blank.items() if callable(make)}
    values = {name: value for name, value in kind.blank.items() if name not in made}
    if not made:
        return affected(session, update(kind.table).where(where, *kind.left).values(**values))
    changing = select(*kind.keys, *(kind.table.c[name] for name in made)).where(where, *kind.left).with_for_update()
    rows = session.execute(changing).all()
    for row in rows:
        mine = [key == getattr(row, key.name) for key in kind.keys]
        remade = {name: make(getattr(row, name)) for name, make in made.items()}
        session.execute(update(kind.table).where(*mine).values(**values, **remade))
    return len(rows)


def outlived(session: Session, kind: Kind, before: datetime, batch: int) -> int:
    """Treat at most `batch` rows that became old before as an erasure would; answers how many."""
    assert kind.at is not None
    where = [kind.at < before, *kind.left]
    if kind.done is not None:
        where.append(kind.done)
    old = [tuple(row) for row in session.execute(select(*kind.keys).where(*where).limit(batch))]
    return _erase(session, kind, tuple_(*kind.keys).in_(old)) if old else 0
