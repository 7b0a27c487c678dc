"""What an instance does with a saga that it holds: one round of calls, one guarded commit, until the end.

A round goes by the kind of the stage that the saga is at. Its commit raises `ver`; an instance whose commit finds
another `ver` has lost the saga to another one, and stops without a further effect.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from logging import getLogger
from typing import Any

import msgspec
from prometheus_client import Counter
from sqlalchemy.orm import Session

from chassis import saga_store as store
from chassis.db import Sessions
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.rpc import Reply, RpcClient, is_refusal
from chassis.saga import COMPENSATED, COMPENSATING, COMPLETED, ENDED, Hook, Run, Saga, Stage, Step, Sub, Wait
from chassis.saga_store import Change, Entry, Held
from chassis.types import service_of

SUB_LOOK = timedelta(hours=1)
"""A sub-saga's end wakes its parent; should it not, the parent looks by itself so often."""
LOGGED_ATTEMPTS, LOGGED_EVERY = 5, 20
ENDS = Counter("rialto_sagas_ended", "Sagas that ended", ["name", "status"])
CALLS = Counter(
    "rialto_saga_attempts", "Calls of steps and undos, by what became of them", ["name", "step", "operation", "outcome"]
)

log = getLogger("rialto.saga")


class Limits(msgspec.Struct, frozen=True):
    """What the config says where a step does not; see config.yaml."""

    lease_ms: int = 15_000
    step_timeout_ms: int = 5_000
    step_attempts: int = 100
    backoff_ms: int = 200
    backoff_max_ms: int = 10_000
    attention_attempts: int = 5
    attention_after_ms: int = 300_000
    makes_good_after_ms: int = 300_000
    unanswered_after_ms: int = 30_000

    @property
    def lease(self) -> timedelta:
        return timedelta(milliseconds=self.lease_ms)

    def timeout_s(self, step: Step[Any]) -> float:
        return self.step_timeout_ms / 1000 if step.timeout_s is None else step.timeout_s

    def attempts(self, step: Step[Any]) -> int:
        return self.step_attempts if step.attempts is None else step.attempts

    def pause_s(self, step: Step[Any], attempts: int) -> float:
        """How long to wait after so many attempts: twice as long each time, up to a limit, with some chance in it."""
        first = self.backoff_ms / 1000 if step.backoff_s is None else step.backoff_s
        longest = self.backoff_max_ms / 1000 if step.backoff_max_s is None else step.backoff_max_s
        return min(longest, first * 2.0 ** min(attempts - 1, 16)) * random.uniform(0.7, 1.0)


@dataclass(frozen=True)
class Outcome:
    """What became of one call: ok with a result, refused with a code, or unknown; `ms` is how long it took.

    An unknown one that is waited for no longer is given_up, or has the code with which the saga turns round."""

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


@dataclass(frozen=True)
class Rounds:
    """`owner` names this instance. `begin(session, definition, key, data, parent, step)` starts another saga;
    `ended(saga_id)` and `soon(seconds)`, when something is due, tell the engine after a commit."""

    sessions: Sessions
    client: RpcClient
    service: str
    owner: str
    limits: Limits
    begin: Callable[..., str]
    ended: Callable[[str], None]
    soon: Callable[[float], None]

    def go(self, definition: Saga[Any], held: Held) -> bool:
        """One round of calls and its commit; True if this instance goes on with the next one."""
        if held.status == COMPENSATING:
            return self._undo_round(definition, held)
        stage = definition.stages[held.stage]
        if held.stage < definition.no_return and (too_late := _too_late(held)):
            return self._turn_round(definition, held, *too_late)
        if not wanted(stage, held, held.data):
            return self._advance(definition, held, [])
        if stage.wait is not None:
            return self._wait_round(definition, held, stage.wait)
        if stage.sub is not None:
            return self._sub_round(definition, held, stage.sub)
        return self._forward_round(definition, held, stage)

    # --- forward

    def _forward_round(self, definition: Saga[Any], held: Held, stage: Stage[Any]) -> bool:
        pending = [step for step in wanted(stage, held, held.data) if not held.state(step.name).done]
        called = self._call(held, [(step, step.action, held.data) for step in pending])
        outcomes = [self._unless_given_up(held, each) for each in called]
        entries = [_note(held, each) for each in outcomes]
        refused = next((each for each in outcomes if each.code), None)
        if refused is not None and stage.kind != "retriable":
            return self._turn_round(definition, held, refused.step.name, refused.code, refused.message, entries)
        failed = [each.step for each in outcomes if not held.state(each.step.name).done]
        if not failed:
            return self._advance(definition, held, entries)
        tired = [step.name for step in failed if held.state(step.name).attempts >= self.limits.attempts(step)]
        if tired and held.stage < definition.no_return:
            why = f"No answer after {held.state(tired[0]).attempts} attempts."
            return self._turn_round(definition, held, tired[0], "saga.attempts", why, entries)
        if definition.on_made_good is not None and self._is_hopeless(held, failed):
            assert refused is not None
            return self._make_good(definition, held, definition.on_made_good, refused, entries)
        return self._try_again(held, failed, tired, entries)

    def _unless_given_up(self, held: Held, each: Outcome) -> Outcome:
        """What a step that gets no answer for long says: why it is given up, or with which code to turn round."""
        since = held.state(each.step.name).unknown_since
        if each.outcome != "unknown" or each.step.unanswered is None or since is None:
            return each
        if held.at.timestamp() - since <= self.limits.unanswered_after_ms / 1000:
            return each
        try:
            return replace(each, outcome="given_up", message=each.step.unanswered(held.data))
        except ServiceError as exc:
            return replace(each, code=exc.code, message=exc.message)

    def _advance(
        self,
        definition: Saga[Any],
        held: Held,
        entries: list[Entry],
        data: Any = None,
        deadline: datetime | None = None,
    ) -> bool:
        data = data or learned(definition.stages[held.stage], held)
        following = self._following(definition, held, data)
        if following == len(definition.stages):
            return self._end(definition, held, COMPLETED, definition.on_completed, entries, data)
        values: dict[str, Any] = {"stage": following}
        if held.attention is not None:
            values["attention"] = None
        if deadline is not None:
            values["deadline"] = deadline
        change = Change(self.limits.lease, values, entries, decision=following == definition.no_return, data=data)
        with self.sessions.write() as session:
            if store.change(session, held, change):
                return True
            too_late = self._why_not(session, held)
        return too_late is not None and self._turn_round(definition, held, *too_late, entries)

    def _following(self, definition: Saga[Any], held: Held, data: Any) -> int:
        """The next stage that has something to do; the decision is a stage to enter even if it has not."""
        following = held.stage + 1
        while following < len(definition.stages) and following != definition.no_return:
            if wanted(definition.stages[following], held, data or held.data):
                break
            following += 1
        return following

    def _why_not(self, session: Session, held: Held) -> tuple[str, str, str] | None:
        """What kept a saga that is still ours from the point of no return: step, code and message."""
        row = store.get(session, held.id)
        if row is None or row.ver != held.ver:
            return None  # another instance has it
        held.cancel_reason = row.cancel_reason
        return _too_late(held)

    def _turn_round(
        self,
        definition: Saga[Any],
        held: Held,
        step: str,
        code: str,
        message: str,
        entries: list[Entry] | None = None,
    ) -> bool:
        """Write down durably that everything is to be undone, before anything is."""
        cause = {"step": step, "code": code, "message": message}
        entries = entries or []
        if not any(entry.step == step and entry.outcome == "refused" for entry in entries):
            entries = [*entries, Entry(step, "saga", "refused", detail=f"{code}: {message}")]
        turn = Change(self.limits.lease, {"status": COMPENSATING, "cause": cause, "owner": self.owner}, entries)
        with self.sessions.write() as session:
            changed = store.change(session, held, turn)
            if changed:
                definition.on_compensating(session, self.run_of(held))
        return changed

    def _try_again(self, held: Held, failed: list[Step[Any]], tired: list[str], entries: list[Entry]) -> bool:
        since = {step.name: held.state(step.name).refused_since for step in failed}
        longest = self.limits.attention_after_ms / 1000
        stuck = [name for name, at in since.items() if at is not None and held.at.timestamp() - at > longest]
        values = {}
        if tired:
            values["attention"] = f"no answer after many attempts: {', '.join(tired)}"
        if stuck:
            values["attention"] = f"refused for long: {', '.join(stuck)}"
        pause_s = max(self.limits.pause_s(step, held.state(step.name).attempts) for step in failed)
        return self._let_go(held, pause_s, values, entries)

    def _let_go(self, held: Held, pause_s: float, values: dict[str, Any], entries: list[Entry]) -> bool:
        """Nobody's until the pause is over; any instance may then go on."""
        kept = [entry for entry in entries if _is_telling(entry)]
        with self.sessions.write() as session:
            gone = store.change(session, held, Change(timedelta(seconds=pause_s), {**values, "owner": None}, kept))
        if gone:
            self.soon(pause_s)
        return False

    def _is_hopeless(self, held: Held, failed: list[Step[Any]]) -> bool:
        """Whether all that is left to do is refused, some of it for long, and may be made good instead."""
        states = [held.state(step.name) for step in failed]
        if not all(step.makes_good and held.state(step.name).outcome == "refused" for step in failed):
            return False
        first = min(state.refused_since or held.at.timestamp() for state in states)
        return held.at.timestamp() - first > self.limits.makes_good_after_ms / 1000

    def _make_good(self, definition: Saga[Any], held: Held, hook: Hook, refused: Outcome, entries: list[Entry]) -> bool:
        name = refused.step.name
        held.cause = {"step": name, "code": refused.code, "message": refused.message}
        return self._end(definition, held, COMPLETED, hook, [*entries, Entry(name, "saga", "made_good")])

    # --- waiting

    def _wait_round(self, definition: Saga[Any], held: Held, wait: Wait[Any]) -> bool:
        """Let the saga go until its signal or its time; whichever it is then, go on.

        First the guarded update that lets it go, then the look: a signal or a cancel that commits after it wakes the
        saga again, for it waits for this row.
        """
        state = held.state(wait.name)
        if state.done:
            return self._advance(definition, held, [])
        deadline, begins = held.deadline, state.until is None
        if state.until is None:
            state.until = held.at.timestamp() + wait.until_s
            deadline += timedelta(seconds=wait.until_s)
        until = datetime.fromtimestamp(state.until, UTC)
        with self.sessions.write() as session:
            parked = Change(max(until - held.at, timedelta()), {"owner": None, "deadline": deadline})
            if not store.change(session, held, parked):
                return False
            if begins and wait.begun is not None:
                wait.begun(session, self.run_of(held))
            row, signal = store.get(session, held.id), store.signal_of(session, held.id, wait.name)
            held.cancel_reason = row.cancel_reason if row else None
            cancelled = held.cancel_reason is not None and held.stage < definition.no_return
            if signal is None and held.at < until and not cancelled:
                return False
            store.change(session, held, Change(self.limits.lease, {"owner": self.owner}))
        if cancelled:
            return True  # the next round sees it
        unused = max(until - held.at, timedelta())
        return self._leave_wait(definition, held, wait, signal, held.deadline - unused)

    def _leave_wait(self, definition: Saga[Any], held: Held, wait: Wait[Any], signal: Any, deadline: datetime) -> bool:
        state, data, may_turn = held.state(wait.name), None, held.stage < definition.no_return
        if signal is None and wait.otherwise is not None and may_turn:
            why = f"{wait.name} did not come in {wait.until_s:g} s."
            return self._turn_round(definition, held, wait.name, wait.otherwise, why)
        state.outcome, state.result = "ok", signal.payload if signal else None
        if signal is not None and wait.learn is not None:
            try:
                data = wait.learn(held.data, signal.payload)
                state.before = msgspec.to_builtins(held.data)
            except ServiceError as exc:
                state.outcome = "refused"
                if not may_turn:
                    raise
                return self._turn_round(definition, held, wait.name, exc.code, exc.message)
        entry = Entry(wait.name, "wait", "ok", detail=None if signal else "time")
        return self._advance(definition, held, [entry], data, deadline)

    def _sub_round(self, definition: Saga[Any], held: Held, sub: Sub[Any]) -> bool:
        """Start the other saga, if it was not, and let this one go until it has ended."""
        state = held.state(sub.name)
        if state.done:
            return self._advance(definition, held, [])
        key = sub.key(held.data)
        with self.sessions.write() as session:
            if not store.change(session, held, Change(SUB_LOOK, {"owner": None})):
                return False
            child = store.by_key(session, sub.definition.name, key)
            if child is None:
                sub_id = self.begin(session, sub.definition, key, sub.make(held.data), held, sub.name)
                if sub.begun is not None:
                    sub.begun(session, self.run_of(held), sub_id)
            if child is None or child.status not in ENDED:
                return False
            if child.status == COMPENSATED:
                stuck = {"attention": f"sub-saga {sub.name} turned round", "owner": None}
                store.change(session, held, Change(SUB_LOOK, stuck))
                return False
            store.change(session, held, Change(self.limits.lease, {"owner": self.owner}))
        state.outcome, state.result = "ok", {"saga_id": child.id}
        return self._advance(definition, held, [Entry(sub.name, "sub", "ok")])

    # --- back

    def _undo_round(self, definition: Saga[Any], held: Held) -> bool:
        pending = self._to_undo(definition, held)
        if not pending:
            return self._end(definition, held, COMPENSATED, definition.on_compensated, [])
        outcomes = self._call(held, [(step, step.undo, data) for step, data in pending if step.undo])
        entries = []
        for each in outcomes:
            state = held.state(each.step.name)
            state.undo, state.undo_attempts = each.outcome, state.undo_attempts + 1
            entries.append(each.entry("undo", state.undo_attempts))
        if not self._to_undo(definition, held):
            return self._end(definition, held, COMPENSATED, definition.on_compensated, entries)
        failed = [each.step for each in outcomes if each.outcome != "ok"]
        if not failed:
            with self.sessions.write() as session:
                return store.change(session, held, Change(self.limits.lease, {}, entries))
        attempts = {step.name: held.state(step.name).undo_attempts for step in failed}
        stuck = [name for name, count in attempts.items() if count >= self.limits.attention_attempts]
        values = {"attention": f"cannot be undone yet: {', '.join(stuck)}"} if stuck else {}
        pause_s = max(self.limits.pause_s(step, attempts[step.name]) for step in failed)
        return self._let_go(held, pause_s, values, entries)

    def _to_undo(self, definition: Saga[Any], held: Held) -> list[tuple[Step[Any], Any]]:
        """What is undone next, with the data that its action went by: the latest stage that has something left.

        One that needs attention holds back none.
        """
        batch: list[tuple[Step[Any], Any]] = []
        for index in reversed(range(held.stage + 1)):
            stage, data = definition.stages[index], data_at(definition, held, index)
            undoable = [step for step in wanted(stage, held, data) if isinstance(step, Step) and step.undo]
            left = [
                step
                for step in undoable
                if held.state(step.name).outcome != "refused" and not held.state(step.name).undone
            ]
            batch += [(step, data) for step in left]
            if any(held.state(step.name).undo_attempts < self.limits.attention_attempts for step in left):
                break
        return batch

    # --- the end

    def _end(
        self, definition: Saga[Any], held: Held, status: str, hook: Hook, entries: list[Entry], data: Any = None
    ) -> bool:
        """The last commit: the local finish, the final status and the events, all or none."""
        values: dict[str, Any] = {"status": status, "attention": None, "owner": None}
        if status == COMPLETED and held.cause is not None:
            values["cause"] = held.cause
        decision = status == COMPLETED and definition.no_return == len(definition.stages)
        with self.sessions.write() as session:
            if not store.change(session, held, Change(timedelta(), values, entries, decision, data)):
                too_late = self._why_not(session, held) if decision else None
            else:
                too_late = None
                if status == COMPLETED:
                    held.cancel_reason = getattr(store.get(session, held.id), "cancel_reason", None)
                hook(session, self.run_of(held))
                if held.parent_id is not None:
                    store.wake(session, held.parent_id, held.at)
        if held.status != status:
            return too_late is not None and self._turn_round(definition, held, *too_late, entries)
        ENDS.labels(held.name, status).inc()
        log.info("saga ended", extra={"saga": held.name, "status": status, "cause": held.cause})
        self.ended(held.id)
        return False

    def run_of(self, held: Held) -> Run[Any]:
        """The saga as its hooks see it."""

        def start(session: Session, definition: Saga[Any], key: str, data: Any) -> str:
            return self.begin(session, definition, key, data, held, None)

        return Run(held.id, held.key, held.data, held.results(), held.cause, held.cancel_reason, start)

    # --- calling

    def _call(self, held: Held, calls: list[tuple[Step[Any], Callable[..., Any], Any]]) -> list[Outcome]:
        """Make all the calls at once, and wait for what becomes of each."""
        begun = time.perf_counter()
        under_way = [(step, method, self._send(held, step, method, data)) for step, method, data in calls]
        outcomes = [_outcome_of(step, method, reply, begun) for step, method, reply in under_way]
        for each, (step, method, _) in zip(outcomes, calls, strict=True):
            CALLS.labels(held.name, step.name, "undo" if method is step.undo else "action", each.outcome).inc()
        return outcomes

    def _send(self, held: Held, step: Step[Any], method: Callable[..., Any], data: Any) -> Reply | OutcomeUnknown:
        context = {
            "trace_id": held.trace_id,
            "caller": {"service": self.service, "saga_id": held.id, "roles": []},
        }
        arguments = {**step.arguments(data), "key": f"{held.id}:{step.name}"}
        timeout_s = self.limits.timeout_s(step)
        try:
            return self.client.send(
                service_of(method), method.__name__, (), arguments, timeout_s=timeout_s, context=context
            )
        except OutcomeUnknown as exc:
            return exc


def wanted(stage: Stage[Any], held: Held, data: Any) -> list[Any]:
    """The parts of a stage that a saga with these data does not leave out."""
    results = held.results()
    return [part for part in stage.parts() if part.when is None or part.when(data, results)]


def learned(stage: Stage[Any], held: Held) -> Any:
    """The data with what the steps of a stage tell, when it is left; None if they tell nothing.

    Not earlier: what is repeated of a stage is sent as it was.
    """
    data, results = held.data, held.results()
    for step in stage.steps:
        if step.learn is not None and step.name in results:
            data = step.learn(data, results[step.name])
    return None if data is held.data else data


def data_at(definition: Saga[Any], held: Held, index: int) -> Any:
    """The data as they were at a stage, before what later waits learned."""
    for stage in definition.stages[index + 1 : held.stage + 1]:
        if stage.wait is not None and (state := held.steps.get(stage.wait.name)) and state.before is not None:
            return msgspec.convert(state.before, definition.data)
    return held.data


def _too_late(held: Held) -> tuple[str, str, str] | None:
    """What turns a saga round before the point of no return: step, code and message."""
    if held.cancel_reason is not None:
        return "cancel", "saga.cancelled", held.cancel_reason
    if held.at >= held.deadline:
        return "deadline", "saga.deadline", "It took too long."
    return None


def _is_telling(entry: Entry) -> bool:
    """Whether it is logged: every success, and of attempts that fail the first ones and then a few."""
    succeeded = entry.outcome in ("ok", "undone", "given_up")
    return succeeded or entry.attempt <= LOGGED_ATTEMPTS or entry.attempt % LOGGED_EVERY == 0


def _note(held: Held, each: Outcome) -> Entry:
    state = held.state(each.step.name)
    state.outcome, state.result, state.attempts = each.outcome, each.result, state.attempts + 1
    if each.outcome == "refused":
        state.refused_since = state.refused_since or held.at.timestamp()
    if each.outcome == "unknown":
        state.unknown_since = state.unknown_since or held.at.timestamp()
    return each.entry("action", state.attempts)


def _outcome_of(step: Step[Any], method: Callable[..., Any], reply: Reply | OutcomeUnknown, begun: float) -> Outcome:
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
