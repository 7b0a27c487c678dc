"""Dead letters: events whose handler failed too often, and what operators do with them.

A letter's row stays when it was replayed or dropped, with who did it and why.
"""

from datetime import datetime
from typing import Any, Protocol

import msgspec
from sqlalchemy import Row, and_, desc, false, or_, select, true, update
from sqlalchemy.orm import Session

from chassis.commands import command
from chassis.context import Call
from chassis.cursors import after_letter, read_cursor
from chassis.db import WorkerDatabase, affected, now
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.events import Handles
from chassis.masking import masked, masked_text
from chassis.operator_types import DeadLetter, DeadLetterPage, Filter, LetterState, PageSize, Reason
from chassis.rpc import rpc
from chassis.tables import dead_letter

DEAD, REPLAYED, DROPPED = "dead", "replayed", "dropped"
Position = tuple[datetime, str, int]
"""When the handler gave up, the service, and the letter's number: unique and in the same order in all services."""


class HasLetters(Protocol):
    name: str
    call: Call
    db: WorkerDatabase


class DeadLetterOperations:
    """For a service with handlers of events: `class CartsService(DeadLetterOperations)`. Operators only."""

    name: str
    call: Call
    db: WorkerDatabase

    @rpc
    def find_dead_letters(
        self,
        handler: Filter | None = None,
        state: LetterState = "dead",
        limit: PageSize = 20,
        cursor: str | None = None,
    ) -> DeadLetterPage:
        self.call.require_operator()
        before = read_cursor(cursor, tuple[datetime, str, int], "dead_letters.bad_cursor")
        with self.db.read() as session:
            rows = _find(session, self.name, handler, state, limit + 1, before)
        items = [_view(row, self.name) for row in rows[:limit]]
        return DeadLetterPage(items=items, next_cursor=after_letter(items[-1]) if len(rows) > limit else None)

    @rpc
    def replay_dead_letter(self, letter_id: int, reason: Reason) -> DeadLetter:
        self.call.require_operator()
        try:
            with self.db.write() as session:
                return self._replay(session, letter_id, reason)
        except (ServiceError, OutcomeUnknown):
            raise
        except Exception as exc:  # whatever a handler may raise: the letter is dead again
            error = f"{type(exc).__name__}: {exc}"
        with self.db.write() as session:
            attempts = _failed_again(session, letter_id, error)
        raise ServiceError(
            "dead_letters.failed_again",
            f"It failed again, {attempts} times in all, and is kept: {masked_text(error)}",
            {"attempts": attempts},
        )

    @command
    def drop_dead_letter(self, letter_id: int, reason: Reason, *, key: str) -> DeadLetter:
        self.call.require_operator()
        session = self.db.session
        _close(session, letter_id, DROPPED, self.call.author(), reason)
        return _view(_ended(session, letter_id, DROPPED), self.name)

    def _replay(self: HasLetters, session: Session, letter_id: int, reason: str) -> DeadLetter:
        """The effect, the note that it was had, and the letter's end: one commit."""
        row = _get(session, letter_id)
        handler = getattr(getattr(type(self), row.handler, None), "__handles__", None)
        if not isinstance(handler, Handles):
            raise ServiceError(
                "dead_letters.no_handler", f"{self.name} has no handler {row.handler} any more: drop the letter."
            )
        if _close(session, letter_id, REPLAYED, self.call.author(), reason):
            try:
                handler.once(self, session, msgspec.json.decode(row.payload, type=handler.kind))
            except ServiceError as exc:
                raise RuntimeError(str(exc)) from exc  # a handler's refusal is a failure like any other
        return _view(_ended(session, letter_id, REPLAYED), self.name)


def _find(
    session: Session, service: str, handler: str | None, state: str, limit: int, before: Position | None
) -> list[Row[Any]]:
    """Letters, the newest first; letters of one moment by service, then by number, the highest first."""
    at, number = dead_letter.c.at, dead_letter.c.id
    query = select(dead_letter).where(dead_letter.c.state == state).order_by(desc(at), desc(number)).limit(limit)
    if handler is not None:
        query = query.where(dead_letter.c.handler == handler)
    if before is not None:
        then, of, last = before
        same_moment = true() if service > of else number < last if service == of else false()
        query = query.where(or_(at < then, and_(at == then, same_moment)))
    return list(session.execute(query))


def _get(session: Session, letter_id: int) -> Row[Any]:
    row = session.execute(select(dead_letter).where(dead_letter.c.id == letter_id)).one_or_none()
    if row is None:
        raise ServiceError("dead_letters.not_found", f"There is no dead letter {letter_id} here.")
    return row


def _close(session: Session, letter_id: int, state: str, author: str, reason: str) -> bool:
    """End a letter, if nobody else did: of two operators one wins."""
    closing = update(dead_letter).where(dead_letter.c.id == letter_id, dead_letter.c.state == DEAD)
    return affected(session, closing.values(state=state, closed_at=now(session), author=author, reason=reason)) == 1


def _ended(session: Session, letter_id: int, state: str) -> Row[Any]:
    """A letter that we, or somebody before us, ended so; it is read anew, for whoever was faster has changed it."""
    row = _get(session, letter_id)
    if row.state != state:
        raise ServiceError("dead_letters.closed", f"It was {row.state} before, by {row.author}: {row.reason}")
    return row


def _failed_again(session: Session, letter_id: int, error: str) -> int:
    """Note one more attempt; answers how many there were."""
    failed = update(dead_letter).where(dead_letter.c.id == letter_id, dead_letter.c.state == DEAD)
    session.execute(failed.values(attempts=dead_letter.c.attempts + 1, error=error))
    attempts: int = _get(session, letter_id).attempts
    return attempts


def _view(row: Row[Any], service: str) -> DeadLetter:
    try:
        payload = msgspec.json.decode(row.payload)
    except msgspec.DecodeError:
        payload = row.payload
    return DeadLetter(
        service=service,
        id=row.id,
        handler=row.handler,
        event_id=row.event_id,
        payload=masked(payload),
        error=masked_text(row.error),
        attempts=row.attempts,
        at=row.at,
        state=row.state,
        closed_at=row.closed_at,
        author=row.author,
        reason=row.reason,
    )
