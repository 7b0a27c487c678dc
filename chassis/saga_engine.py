"""The engine: it starts sagas, finds those that nobody drives, and drives them round by round (saga_rounds.py).

Any number of instances may run it on the same database. Which of them holds a saga is decided by `ver` alone; taking
one over too early may repeat a call, which the barrier makes harmless.
"""

import random
import time
import uuid
from datetime import timedelta
from logging import getLogger
from typing import Any

import eventlet
import msgspec
import structlog
from eventlet.event import Event as GreenEvent
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from chassis import saga_store as store
from chassis.db import Database
from chassis.errors import Failure
from chassis.rpc import RpcClient
from chassis.saga import Saga
from chassis.saga_rounds import Limits, Rounds
from chassis.saga_store import Held

CLAIM_BATCH = 20
ROUND_S, HAND_OVER_S, LOOK_AGAIN_S = 1.0, 2.0, 0.02
"""When the instance leaves: how long rounds may take to end, and how long it tries to hand over what is left."""
SOON_S = 1.0
"""What is due in less is driven by a timer of its own; the rest is left to the poll."""

log = getLogger("rialto.saga")


class Pace(msgspec.Struct, frozen=True):
    """How the engine looks for work; see config.yaml, where each name begins with saga_."""

    poll_ms: int = 1_000
    concurrency: int = 32
    unknown_after_ms: int = 60_000


class Sagas(DependencyProvider):
    """Sagas of one service. Worker attribute: itself; `start_saga`, `signal` and `cancel` want a write transaction."""

    client = RpcClient()

    def __init__(self, *definitions: Saga[Any]) -> None:
        super().__init__()
        self.definitions = {(each.name, each.version): each for each in definitions}
        self._owner = uuid.uuid4().hex
        self._waiting: dict[str, list[GreenEvent]] = {}
        self._poller: Any = None
        self._unknown_looked_at = 0.0
        self._more = False  # whether more sagas were due than could be driven
        self._mine: dict[str, Held] = {}  # what this instance drives, or is about to
        self._claims = 0  # how many are under way
        self._leaving = False
        self._leaver: Any = None

    # --- what a service does with it

    def start_saga(self, session: Session, definition: Saga[Any], key: str, data: Any) -> str:
        """Begin a saga in this transaction; it is driven from its commit on. Answers its id."""
        return self._begin(session, definition, key, data)

    def signal(self, session: Session, saga_id: str, name: str, payload: Any = None) -> bool:
        """Tell a saga something that it waits, or will wait, for; False for a repeat."""
        return store.add_signal(session, saga_id, name, payload)

    def cancel(self, session: Session, saga_id: str, reason: str) -> bool:
        """Mark a running saga: before the point of no return it turns round (saga.cancelled), afterwards its last hook
        finds the reason. False if it does not run forward any more. The first reason stays."""
        return store.ask_to_cancel(session, saga_id, reason)

    def wait_for_end(self, saga_id: str, timeout_s: float) -> bool:
        """Wait until this instance ended the saga: True. When the time is up, False: another one may have ended it."""
        ended = GreenEvent()
        self._waiting.setdefault(saga_id, []).append(ended)
        with eventlet.Timeout(timeout_s, False):
            ended.wait()
        waiting = self._waiting.get(saga_id, [])
        if ended in waiting:
            waiting.remove(ended)
        if not waiting:
            self._waiting.pop(saga_id, None)
        return bool(ended.ready())

    # --- life

    def get_dependency(self, worker_ctx: Any) -> "Sagas":
        return self

    def setup(self) -> None:
        settings = {
            name.removeprefix("saga_"): value
            for name, value in self.container.config.items()
            if name.startswith("saga_")
        }
        self.limits = msgspec.convert(settings, Limits, strict=False)
        self.pace = msgspec.convert(settings, Pace, strict=False)
        self.pool = eventlet.GreenPool(self.pace.concurrency)
        step_timeout_s = self.limits.step_timeout_ms / 1000
        longest = max((each.longest_step_s(step_timeout_s) for each in self.definitions.values()), default=0.0)
        if self.limits.lease < timedelta(seconds=longest + 5):
            raise ConfigurationError(
                f"saga_lease_ms is {self.limits.lease_ms}; with a step that may take {longest:g} s it must be at least "
                f"{(longest + 5) * 1000:.0f}, or a saga would be taken over while it runs."
            )

    def start(self) -> None:
        self.sessions = Database.of(self.container).sessions
        self.prepare()
        self.sessions.on_commit("sagas", self._drive_all)
        self.sessions.on_commit("sagas due", lambda _: self._soon(0))
        self._poller = self.container.spawn_managed_thread(self._poll, identifier="saga poll")

    def prepare(self) -> None:
        """Note the definitions. Raises ConfigurationError for one that was changed under its version."""
        with self.sessions.write() as session:
            for definition in self.definitions.values():
                if store.keep_definition(session, definition) != definition.shape():
                    raise ConfigurationError(
                        f"saga {definition.name} version {definition.version} has other steps than the one of that "
                        "version before: give the changed definition the next version and keep the old one beside it."
                    )
        self.rounds = Rounds(
            self.sessions,
            self.client,
            self.container.service_name,
            self._owner,
            self.limits,
            begin=self._begin,
            ended=self._tell_waiting,
            soon=self._soon,
        )

    def container_leaves(self) -> None:
        """Claim nothing more, and hand over what is driven, whatever else the instance has to finish.

        A round may end within ROUND_S. Another instance repeats what is under way longer than that; the commit that
        comes too late here finds another version.
        """
        if not self._leaving:
            self._leaving = True
            self._leaver = eventlet.spawn_after(ROUND_S, self._hand_over_all)

    def stop(self) -> None:
        self.container_leaves()
        with eventlet.Timeout(ROUND_S, False):
            while self._mine or self._claims:
                eventlet.sleep(LOOK_AGAIN_S)
        self.kill()
        self._hand_over_all()

    def kill(self) -> None:
        for thread in (self._poller, self._leaver):
            if thread is not None:
                thread.kill()

    def _hand_over_all(self) -> None:
        with eventlet.Timeout(HAND_OVER_S, False):
            while self._mine or self._claims:  # a round's own commit may come in between
                for held in list(self._mine.values()):
                    if self._hand_over(held):
                        self._mine.pop(held.id, None)
                eventlet.sleep(LOOK_AGAIN_S)

    # --- finding work

    def _begin(
        self,
        session: Session,
        definition: Saga[Any],
        key: str,
        data: Any,
        parent: Held | None = None,
        parent_step: str | None = None,
    ) -> str:
        if (definition.name, definition.version) not in self.definitions:
            raise ValueError(
                f"saga {definition.name} version {definition.version} is not one that Sagas(...) was given"
            )
        held = store.create(session, definition, key, data, self._owner, self.limits.lease, parent, parent_step)
        session.info.setdefault("sagas", []).append(held)
        return held.id

    def _drive_all(self, begun: list[Held]) -> None:
        for held in begun:
            self._mine[held.id] = held
            if self.pool.free() > 0:
                self.pool.spawn_n(self._drive, held)
            else:  # whoever began it has an answer to give, and must not wait for others' sagas
                eventlet.spawn_n(self._leave_to_poll, held)

    def _leave_to_poll(self, held: Held) -> None:
        self._hand_over(held)
        self._mine.pop(held.id, None)
        self._more = True

    def _hand_over(self, held: Held) -> bool:
        """Have any instance go on with a saga at once; False if it has another version by now, or it failed."""
        try:
            with self.sessions.write() as session:
                return store.hand_over(session, held)
        except (Failure, SQLAlchemyError) as exc:
            log.warning("a saga waits for its lease", extra={"saga_id": held.id, "reason": str(exc)})
            return False

    def _poll(self) -> None:
        while True:
            eventlet.sleep(self.pace.poll_ms / 1000 * random.uniform(0.8, 1.2))
            self._claim_quietly()
            if time.monotonic() - self._unknown_looked_at > self.pace.unknown_after_ms / 2000:
                self._unknown_looked_at = time.monotonic()
                self._look_for_unknown()

    def _soon(self, in_s: float) -> None:
        if in_s < SOON_S:
            eventlet.spawn_after(in_s + 0.01 if in_s else 0, self._claim_quietly)

    def _claim_quietly(self) -> None:
        self._claims += 1
        try:
            self._claim_due()
        except (Failure, SQLAlchemyError) as exc:
            log.warning("due sagas wait", extra={"reason": f"{type(exc).__name__}: {exc}"})
        finally:
            self._claims -= 1

    def _claim_due(self) -> None:
        free = 0 if self._leaving else min(CLAIM_BATCH, self.pool.free())
        with self.sessions.read() as session:
            rows = store.due(session, self.definitions, free) if free > 0 else []
        self._more = len(rows) == free
        if not rows:
            return
        with self.sessions.write() as session:
            taken = [
                store.claim(session, row, self.definitions[row.name, row.version].data, self._owner, self.limits.lease)
                for row in rows
            ]
        self._mine.update({held.id: held for held in taken if held is not None})
        for held in taken:
            if held is not None:
                self.pool.spawn_n(self._drive, held)

    def _look_for_unknown(self) -> None:
        try:
            with self.sessions.write() as session:
                count = store.note_unknown(
                    session, self.definitions, timedelta(milliseconds=self.pace.unknown_after_ms)
                )
        except (Failure, SQLAlchemyError) as exc:
            log.warning("not looked for unknown sagas", extra={"reason": str(exc)})
            return
        if count:
            log.error("nobody knows the definitions of sagas that are due", extra={"count": count})

    # --- driving

    def _drive(self, held: Held) -> None:
        structlog.contextvars.bind_contextvars(saga_id=held.id, trace_id=held.trace_id, key=held.key)
        definition = self.definitions[held.name, held.version]
        try:
            goes_on = True
            while goes_on and not self._leaving:
                goes_on = self.rounds.go(definition, held)
            if goes_on:
                self._hand_over(held)
        except (Failure, SQLAlchemyError) as exc:
            # the database did not take the commit: the row's wake_at brings the saga back, to any instance
            log.warning("saga waits", extra={"reason": f"{type(exc).__name__}: {exc}"})
        except Exception as exc:
            log.exception("saga round failed; it is tried again after its lease")
            self._ask_for_help(held, f"a round of it fails: {type(exc).__name__}: {exc}")
        finally:
            self._mine.pop(held.id, None)
            structlog.contextvars.clear_contextvars()
        if self._leaving:
            return
        if self._more and self.pool.free() + 1 > self.pool.size // 2:  # its own place is about to be free
            self._more = False
            self._soon(0)

    def _ask_for_help(self, held: Held, why: str) -> None:
        try:
            with self.sessions.write() as session:
                store.note_attention(session, held.id, why)
        except (Failure, SQLAlchemyError) as exc:
            log.warning("attention was not noted", extra={"reason": str(exc)})

    def _tell_waiting(self, saga_id: str) -> None:
        for waiting in self._waiting.pop(saga_id, ()):
            waiting.send()
