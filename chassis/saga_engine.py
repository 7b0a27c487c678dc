"""The engine that drives sagas: one round of calls, one guarded commit, until the end.

Any number of instances may run it on the same database. Which of them holds a saga is decided by `ver` alone; taking
one over too early may repeat a call, which the barrier makes harmless.
"""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from logging import getLogger
from typing import Any

import eventlet
import structlog
from eventlet.event import Event as GreenEvent
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider
from prometheus_client import Counter
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from chassis import saga_store as store
from chassis.db import Database
from chassis.errors import Failure, OutcomeUnknown, ServiceError
from chassis.outbox import publish
from chassis.rpc import Reply, RpcClient, is_refusal
from chassis.saga import COMPENSATED, COMPENSATING, COMPLETED, Run, Saga, Stage, Step
from chassis.saga_store import Change, Entry, Held
from chassis.types import Event, service_of

DEFAULTS: dict[str, float] = {
    "saga_lease_ms": 15_000,
    "saga_step_timeout_ms": 5_000,
    "saga_poll_ms": 1_000,
    "saga_backoff_ms": 200,
    "saga_backoff_max_ms": 10_000,
    "saga_attention_attempts": 5,
    "saga_attention_after_ms": 300_000,
    "saga_concurrency": 32,
}
CLAIM_BATCH = 20
STOP_S = 5.0
ENDS = Counter("rialto_sagas_ended", "Sagas that ended", ["name", "status"])

log = getLogger("rialto.saga")


@dataclass(frozen=True)
class Outcome:
    """What became of one call: ok with a result, refused with a code, or unknown; `ms` is how long it took."""

    step: Step[Any]
    outcome: str
    result: Any = None
    code: str = ""
    message: str = ""
    ms: int = 0

    def entry(self, operation: str, attempt: int) -> Entry:
        shown = "undone" if operation == "undo" and self.outcome == "ok" else self.outcome
        method = self.step.undo if operation == "undo" and self.step.undo else self.step.action
        detail = f"{self.code}: {self.message}" if self.code else self.message or None
        return Entry(self.step.name, operation, shown, attempt, self.ms, service_of(method), detail)


class Sagas(DependencyProvider):
    """Sagas of one service. Worker attribute: itself; `start`, `signal` and `cancel` belong in a write transaction."""

    client = RpcClient()

    def __init__(self, *definitions: Saga[Any], ended: type[Event]) -> None:
        super().__init__()
        self.definitions = {(each.name, each.version): each for each in definitions}
        self.ended = ended
        self._owner = uuid.uuid4().hex
        self._waiting: dict[str, list[GreenEvent]] = {}
        self._poller: Any = None

    # --- what a service does with it

    def start_saga(self, session: Session, definition: Saga[Any], key: str, data: Any) -> str:
        """Begin a saga in this transaction; it is driven from its commit on. Answers its id."""
        held = store.create(session, definition, key, data, self._owner, self.lease)
        session.info.setdefault("sagas", []).append(held)
        return held.id

    def signal(self, session: Session, saga_id: str, name: str, payload: Any = None) -> bool:
        """Tell a saga something that it waits, or will wait, for; False for a repeat."""
        return store.add_signal(session, saga_id, name, payload)

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
        setting = {name: self.container.config.get(name, value) for name, value in DEFAULTS.items()}
        self.lease = timedelta(milliseconds=setting["saga_lease_ms"])
        self.step_timeout_s = setting["saga_step_timeout_ms"] / 1000
        self.poll_s = setting["saga_poll_ms"] / 1000
        self.backoff_s = setting["saga_backoff_ms"] / 1000
        self.backoff_max_s = setting["saga_backoff_max_ms"] / 1000
        self.attention_attempts = int(setting["saga_attention_attempts"])
        self.attention_after_s = setting["saga_attention_after_ms"] / 1000
        self.pool = eventlet.GreenPool(int(setting["saga_concurrency"]))
        longest = max((each.longest_step_s(self.step_timeout_s) for each in self.definitions.values()), default=0.0)
        if self.lease < timedelta(seconds=longest + 5):
            raise ConfigurationError(
                f"saga_lease_ms is {self.lease.total_seconds() * 1000:.0f}; with a step that may take {longest:g} s it "
                f"must be at least {(longest + 5) * 1000:.0f}, or a saga would be taken over while it runs."
            )

    def start(self) -> None:
        self.sessions = Database.of(self.container).sessions
        with self.sessions.write() as session:
            for definition in self.definitions.values():
                if store.keep_definition(session, definition) != definition.shape():
                    raise ConfigurationError(
                        f"saga {definition.name} version {definition.version} has other steps than the one of that "
                        "version before: give the changed definition the next version and keep the old one beside it."
                    )
        self.sessions.on_commit("sagas", self._drive_all)
        self._poller = self.container.spawn_managed_thread(self._poll, identifier="saga poll")

    def stop(self) -> None:
        if self._poller is not None:
            self._poller.kill()
        with eventlet.Timeout(STOP_S, False):
            self.pool.waitall()

    def kill(self) -> None:
        if self._poller is not None:
            self._poller.kill()

    def _drive_all(self, begun: list[Held]) -> None:
        for held in begun:
            self.pool.spawn_n(self._drive, held)

    def _poll(self) -> None:
        while True:
            eventlet.sleep(self.poll_s * random.uniform(0.8, 1.2))
            try:
                self._claim_due()
            except (Failure, SQLAlchemyError) as exc:
                log.warning("due sagas wait", extra={"reason": f"{type(exc).__name__}: {exc}"})

    def _claim_due(self) -> None:
        free = min(CLAIM_BATCH, self.pool.free())
        with self.sessions.read() as session:
            rows = store.due(session, self.definitions, free) if free > 0 else []
        if not rows:
            return
        with self.sessions.write() as session:
            taken = [
                store.claim(session, row, self.definitions[row.name, row.version].data, self._owner, self.lease)
                for row in rows
            ]
        for held in taken:
            if held is not None:
                self.pool.spawn_n(self._drive, held)

    # --- driving

    def _drive(self, held: Held) -> None:
        structlog.contextvars.bind_contextvars(saga_id=held.id, trace_id=held.trace_id, key=held.key)
        definition = self.definitions[held.name, held.version]
        try:
            while self._round(definition, held):
                pass
        except (Failure, SQLAlchemyError) as exc:
            # the database did not take the commit: the row's wake_at brings the saga back, to any instance
            log.warning("saga waits", extra={"reason": f"{type(exc).__name__}: {exc}"})
        except Exception:
            log.exception("saga round failed; it is tried again after its lease")
        finally:
            structlog.contextvars.clear_contextvars()

    def _round(self, definition: Saga[Any], held: Held) -> bool:
        """One round of calls and its commit; True if this instance goes on with the next one."""
        if held.status == COMPENSATING:
            return self._undo_round(definition, held)
        return self._forward_round(definition, held, definition.stages[held.stage])

    def _forward_round(self, definition: Saga[Any], held: Held, stage: Stage[Any]) -> bool:
        if stage.kind in ("undoable", "wait"):
            if held.cancel_reason is not None:
                return self._turn_round(definition, held, "cancel", "saga.cancelled", held.cancel_reason, [])
            if held.at >= held.deadline:
                return self._turn_round(definition, held, "deadline", "saga.deadline", "It took too long.", [])
        if stage.kind == "wait":
            return self._wait_round(definition, held, stage)
        pending = [step for step in stage.steps if held.state(step.name).outcome != "ok"]
        outcomes = self._call(held, [(step, step.action) for step in pending])
        entries = [self._note(held, each) for each in outcomes]
        refused = next((each for each in outcomes if each.outcome == "refused"), None)
        if refused is not None and stage.kind != "retriable":
            return self._turn_round(
                definition, held, refused.step.name, refused.code, refused.message, entries, results_known=True
            )
        if all(each.outcome == "ok" for each in outcomes):
            return self._advance(definition, held, entries)
        return self._try_again(held, stage, entries)

    def _note(self, held: Held, each: Outcome) -> Entry:
        state = held.state(each.step.name)
        state.outcome, state.result, state.attempts = each.outcome, each.result, state.attempts + 1
        if each.outcome == "refused":
            state.refused_since = state.refused_since or held.at.timestamp()
        return each.entry("action", state.attempts)

    def _advance(self, definition: Saga[Any], held: Held, entries: list[Entry]) -> bool:
        following = held.stage + 1
        if following == len(definition.stages):
            return self._end(definition, held, COMPLETED, entries)
        decision = definition.stages[following].kind == "pivot"
        with self.sessions.write() as session:
            if store.change(session, held, Change(self.lease, {"stage": following}, entries, decision)):
                return True
            row = store.get(session, held.id)
        if row is None or row.ver != held.ver:
            return False  # another instance has it
        held.cancel_reason = row.cancel_reason
        code, why = ("saga.cancelled", row.cancel_reason) if row.cancel_reason else ("saga.deadline", "Too late.")
        return self._turn_round(definition, held, "cancel" if row.cancel_reason else "deadline", code, why, entries)

    def _turn_round(
        self,
        definition: Saga[Any],
        held: Held,
        step: str,
        code: str,
        message: str,
        entries: list[Entry],
        results_known: bool = False,
    ) -> bool:
        """Write down durably that everything is to be undone, before anything is."""
        cause = {"step": step, "code": code, "message": message}
        if not results_known:
            entries = [*entries, Entry(step, "saga", "refused", detail=f"{code}: {message}")]
        with self.sessions.write() as session:
            changed = store.change(session, held, Change(self.lease, {"status": COMPENSATING, "cause": cause}, entries))
            if changed:
                definition.on_compensating(session, _run(held))
        return changed

    def _try_again(self, held: Held, stage: Stage[Any], entries: list[Entry]) -> bool:
        states = [held.state(step.name) for step in stage.steps]
        attempts = max(state.attempts for state in states)
        stuck = [
            step.name
            for step, state in zip(stage.steps, states, strict=True)
            if state.refused_since and held.at.timestamp() - state.refused_since > self.attention_after_s
        ]
        values = {"attention": f"refused for long: {', '.join(stuck)}"} if stuck else {}
        return self._pause(held, attempts, values, entries)

    def _pause(self, held: Held, attempts: int, values: dict[str, Any], entries: list[Entry]) -> bool:
        """Let go until the back-off is over; any instance may then go on."""
        backoff_s = min(self.backoff_max_s, self.backoff_s * 2 ** min(attempts - 1, 16)) * random.uniform(0.7, 1.0)
        kept = entries if attempts <= 5 or attempts % 20 == 0 else []  # a log that cannot grow without end
        with self.sessions.write() as session:
            if store.change(session, held, Change(timedelta(seconds=backoff_s), values, kept)) and backoff_s < 1:
                eventlet.spawn_after(backoff_s + 0.01, self._claim_quietly)
        return False

    def _claim_quietly(self) -> None:
        try:
            self._claim_due()
        except (Failure, SQLAlchemyError) as exc:
            log.info("left to the poll", extra={"reason": str(exc)})

    def _wait_round(self, definition: Saga[Any], held: Held, stage: Stage[Any]) -> bool:
        state = held.state(stage.signal)
        with self.sessions.write() as session:
            # first the guarded update, then the look: a signal that commits after it wakes the row again
            first = state.attempts == 0
            state.attempts += 1
            until_s = stage.until_s if first else 0
            values = {"stage": held.stage}
            if not store.change(session, held, Change(timedelta(seconds=until_s), values)):
                return False
            signal = store.signal_of(session, held.id, stage.signal)
            if signal is None and first:
                return False
            state.outcome, state.result = "ok", signal.payload if signal else None
        return self._advance(definition, held, [Entry(stage.signal, "wait", "ok", detail=None if signal else "time")])

    def _undo_round(self, definition: Saga[Any], held: Held) -> bool:
        pending = self._to_undo(definition, held)
        if not pending:
            return self._end(definition, held, COMPENSATED, [])
        outcomes = self._call(held, [(step, step.undo) for step in pending if step.undo])
        entries = []
        for each in outcomes:
            state = held.state(each.step.name)
            state.undo, state.undo_attempts = each.outcome, state.undo_attempts + 1
            entries.append(each.entry("undo", state.undo_attempts))
        if not self._to_undo(definition, held):
            return self._end(definition, held, COMPENSATED, entries)
        failed = [each.step.name for each in outcomes if each.outcome != "ok"]
        if not failed:
            with self.sessions.write() as session:
                return store.change(session, held, Change(self.lease, {}, entries))
        attempts = max(held.state(name).undo_attempts for name in failed)
        stuck = [name for name in failed if held.state(name).undo_attempts >= self.attention_attempts]
        values = {"attention": f"cannot be undone yet: {', '.join(stuck)}"} if stuck else {}
        return self._pause(held, attempts, values, entries)

    def _to_undo(self, definition: Saga[Any], held: Held) -> list[Step[Any]]:
        """What is undone next: the latest stage that has something left. One that needs attention holds back none."""
        batch: list[Step[Any]] = []
        for stage in reversed(definition.stages[: held.stage + 1]):
            left = [
                step
                for step in stage.steps
                if step.undo and held.state(step.name).outcome != "refused" and held.state(step.name).undo != "ok"
            ]
            batch += left
            if any(held.state(step.name).undo_attempts < self.attention_attempts for step in left):
                break
        return batch

    def _end(self, definition: Saga[Any], held: Held, status: str, entries: list[Entry]) -> bool:
        """The last commit: the local finish, the final status and the events, all or none."""
        finish = definition.on_completed if status == COMPLETED else definition.on_compensated
        with self.sessions.write() as session:
            values = {"status": status, "attention": None, "owner": None}
            if not store.change(session, held, Change(timedelta(), values, entries)):
                return False
            if status == COMPLETED:
                held.cancel_reason = getattr(store.get(session, held.id), "cancel_reason", None)
            finish(session, _run(held))
            publish(
                session,
                self.ended(  # type: ignore[call-arg]
                    event_id=f"{held.id}-ended",
                    occurred_at=held.at,
                    aggregate_id=held.id,
                    sequence=1,
                    saga=held.name,
                    status=status,
                ),
            )
        ENDS.labels(held.name, status).inc()
        log.info("saga ended", extra={"saga": held.name, "status": status, "cause": held.cause})
        for waiting in self._waiting.pop(held.id, ()):
            waiting.send()
        return False

    # --- calling

    def _call(self, held: Held, calls: list[tuple[Step[Any], Callable[..., Any]]]) -> list[Outcome]:
        """Make all the calls at once, and wait for what becomes of each."""
        begun = time.perf_counter()
        under_way = [(step, method, self._send(held, step, method)) for step, method in calls]
        return [self._outcome_of(step, method, reply, begun) for step, method, reply in under_way]

    def _send(self, held: Held, step: Step[Any], method: Callable[..., Any]) -> Reply | OutcomeUnknown:
        context = {
            "trace_id": held.trace_id,
            "caller": {"service": self.container.service_name, "saga_id": held.id, "roles": []},
        }
        arguments = {**step.arguments(held.data), "key": f"{held.id}:{step.name}"}
        timeout_s = step.timeout_s or self.step_timeout_s
        try:
            return self.client.send(
                service_of(method), method.__name__, (), arguments, timeout_s=timeout_s, context=context
            )
        except OutcomeUnknown as exc:
            return exc

    def _outcome_of(
        self, step: Step[Any], method: Callable[..., Any], reply: Reply | OutcomeUnknown, begun: float
    ) -> Outcome:
        def took() -> int:
            return round((time.perf_counter() - begun) * 1000)

        if isinstance(reply, OutcomeUnknown):
            return Outcome(step, "unknown", message=str(reply), ms=took())
        try:
            return Outcome(step, "ok", reply.result(), ms=took())
        except ServiceError as exc:
            if is_refusal(method, exc):
                return Outcome(step, "refused", code=exc.code, message=exc.message, ms=took())
            return Outcome(step, "unknown", message=str(exc), ms=took())
        except OutcomeUnknown as exc:
            return Outcome(step, "unknown", message=str(exc), ms=took())


def _run(held: Held) -> Run[Any]:
    results = {name: state.result for name, state in held.steps.items() if state.outcome == "ok"}
    return Run(held.id, held.key, held.data, results, held.cause, held.cancel_reason)
