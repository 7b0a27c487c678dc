"""The saga protocol as a model: chassis/saga_engine.py and saga_store.py over the barrier of chassis/commands.py.

Instances of the orchestrator share one saga's row; any of them may take it over at any moment, and die at any. The
network is the worst there is: what was ever asked or answered may arrive never, late, and any number of times, so both
are sets that only grow. A message that is lost, a process that dies just before it sends or just after it has: all
that is in it. So every state can be reached by finitely many actions, and all of them are looked at.

`docs/model.md` says which function of the code each action stands for.
"""

from itertools import product

from tests.model.barrier import Barrier
from tests.model.flaws import FLAWS, HARMLESS
from tests.model.rules import Rules
from tests.model.state import (
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    ENDED,
    MADE_GOOD,
    RUNNING,
    Definition,
    Held,
    Part,
    Row,
    State,
    Transitions,
    all_replaced,
    holding,
)

DONE = ("ok", "skipped")
UNDONE = ("ok", "resolved")


class SagaModel(Barrier, Rules):
    """`reduced`: an instance that lost the saga and has asked for all it can is left out, for it can do no more."""

    def __init__(self, definition: Definition, *flaws: str, instances: int = 2, reduced: bool = True) -> None:
        assert set(flaws) <= {*FLAWS, *HARMLESS}
        Barrier.__init__(self, definition, frozenset(flaws))
        Rules.__init__(self, definition)
        self.names = "ABC"[:instances]
        self.reduced = reduced and "no_ver_guard" not in flaws

    def first(self) -> State:
        """Begun by A, which drives it."""
        count = len(self.steps)
        row = Row(1, RUNNING, 0, ("",) * count, ("",) * count)
        held = (Held(row), *[None] * (len(self.names) - 1))
        return State(row, held, frozenset(), frozenset(), (Part(),) * count)

    def ended(self, s: State) -> bool:
        return s.row.status in (COMPLETED, COMPENSATED) or s.given_back

    def transitions(self, s: State) -> Transitions:
        for index, held in enumerate(s.held):
            if held is None:
                yield from self.claim(s, index)
            else:
                yield f"{self.names[index]} dies", holding(s, index, None)
                yield from self.drive(s, index, held)
        yield from self.serve(s)
        yield from self.time_and_customers(s)
        yield from self.give_back(s)

    def canonical(self, s: State) -> State:
        """Only which versions are equal matters, and which instance is called A does not."""
        held = [each for each in s.held if each is not None and not (self.reduced and self.has_lost(s, each))]
        stale = s.seen is not None and s.seen.ver != s.row.ver and "operator_unguarded" not in self.flaws
        seen = None if stale and self.reduced else s.seen
        versions = {s.row.ver, *(each.row.ver for each in held)} | ({seen.ver} if seen else set())
        rank = {version: index for index, version in enumerate(sorted(versions))}
        renamed: list[Held | None] = [each._replace(row=each.row._replace(ver=rank[each.row.ver])) for each in held]
        renamed += [None] * (len(s.held) - len(renamed))
        renamed.sort(key=_order)
        return s._replace(
            row=s.row._replace(ver=rank[s.row.ver]),
            held=tuple(renamed),
            seen=seen and seen._replace(ver=rank[seen.ver]),
        )

    def has_lost(self, s: State, held: Held) -> bool:
        if held.row.ver == s.row.ver:
            return False
        return held.calls is not None or held.turning or self.requests(held) <= s.asked

    def requests(self, held: Held) -> set[str]:
        """All that an instance may still ask for in this round."""
        if held.row.status == COMPENSATING:
            return {f"{self.steps[each].name}.undo" for each in self.left(held.row)}
        return {f"{self.steps[each].name}.act" for each in self.pending(held.row)}

    # --- taking over, and a round

    def claim(self, s: State, index: int) -> Transitions:
        """At any moment: a lease may always seem to be over."""
        if s.row.status in ENDED or s.row.paused:
            return
        row = s.row if "claim_keeps_ver" in self.flaws else s.row._replace(ver=s.row.ver + 1)
        yield f"{self.names[index]} takes the saga over", holding(s._replace(row=row), index, Held(row))

    def drive(self, s: State, index: int, held: Held) -> Transitions:
        if held.turning:
            yield from self.turn_round(s, index, held, "was refused the decision", asked=True)
        elif held.row.status == COMPENSATING:
            yield from self.undo_round(s, index, held)
        elif held.calls is None:
            yield from self.begin_round(s, index, held)
        else:
            yield from self.end_round(s, index, held, held.calls)

    def begin_round(self, s: State, index: int, held: Held) -> Transitions:
        kind = self.stages[held.row.stage][0].kind
        may_turn = kind == "undoable" or ("pivot_not_final" in self.flaws and kind == "pivot")
        if may_turn and (s.deadline or s.cancel):
            yield from self.turn_round(s, index, held, "sees the deadline or a cancel")
        yield self.call(s, index, held, self.pending(held.row), "act")

    def end_round(self, s: State, index: int, held: Held, calls: tuple[int, ...]) -> Transitions:
        """The commit of what was heard: of each call its answer, or nothing."""
        kind = self.stages[held.row.stage][0].kind
        for outcomes in product(*(self.outcomes_of(s, call) for call in calls)):
            known = all_replaced(held.row.outcomes, calls, outcomes)
            noted = held._replace(row=held.row._replace(outcomes=known), calls=None)
            told = self.told(calls, outcomes)
            if "refused" in outcomes and kind != "retriable":
                yield from self.turn_round(s, index, noted, told)
            elif all(outcome == "ok" for outcome in outcomes):
                yield self.advance(s, index, noted, told)
            else:
                yield self.change(s, index, noted, f"{told}: tries again later", let_go=True)
                if held.row.stage < self.decision:
                    yield from self.turn_round(s, index, noted, f"{told}, its attempts are used up")
                elif self.is_hopeless(calls, outcomes):
                    yield self.make_good(s, index, noted, told)

    def outcomes_of(self, s: State, call: int) -> list[str]:
        name = self.steps[call].name
        heard = [outcome for outcome in ("ok", "refused") if f"{name} {outcome}" in s.answered]
        return [*heard, "refused" if "unknown_is_refused" in self.flaws else ""]

    def pending(self, row: Row) -> tuple[int, ...]:
        return tuple(i for i, stage in enumerate(self.stage_of) if stage == row.stage and row.outcomes[i] not in DONE)

    # --- forward

    def advance(self, s: State, index: int, held: Held, told: str) -> tuple[str, State]:
        following = held.row.stage + 1
        if following == len(self.stages):
            return self.change(s, index, held, f"{told}: completed", let_go=True, status=COMPLETED)
        if following == self.decision and held.row.ver == s.row.ver and not self.may_decide(s):
            return f"{self.names[index]}: {told}, but too late", holding(s, index, held._replace(turning=True))
        return self.change(s, index, held, f"{told}: enters stage {following}", stage=following)

    def may_decide(self, s: State) -> bool:
        in_time = not s.deadline or "decision_without_deadline" in self.flaws
        wanted = not s.cancel or "decision_without_cancel" in self.flaws
        return in_time and wanted

    def is_hopeless(self, calls: tuple[int, ...], outcomes: tuple[str, ...]) -> bool:
        failed = [call for call, outcome in zip(calls, outcomes, strict=True) if outcome != "ok"]
        return "" not in outcomes and all(self.steps[call].makes_good for call in failed)

    def make_good(self, s: State, index: int, held: Held, told: str) -> tuple[str, State]:
        """The saga ends, and one begins that fences what was refused, and then gives the money back."""
        label, ended = self.change(s, index, held, f"{told}: makes good", let_go=True, status=MADE_GOOD)
        if ended.row.status == MADE_GOOD:
            refused = (i for i in self.pending(held.row) if self.steps[i].makes_good)
            ended = ended._replace(asked=ended.asked.union(f"{self.steps[i].name}.undo" for i in refused))
        return label, ended

    def give_back(self, s: State) -> Transitions:
        if s.row.status != MADE_GOOD or s.given_back:
            return
        refused = [i for i, step in enumerate(self.steps) if step.makes_good and s.row.outcomes[i] == "refused"]
        fenced = all(f"{self.steps[i].name} undone" in s.answered for i in refused)
        if fenced or "made_good_unfenced" in self.flaws:
            yield "what was taken is given back", s._replace(given_back=True)

    # --- back

    def turn_round(self, s: State, index: int, held: Held, why: str, asked: bool = False) -> Transitions:
        if "compensating_late" in self.flaws and not asked:
            for calls in self.batches(held.row):
                label, sent = self.call(s, index, held, calls, "undo")
                yield f"{label} ({why})", holding(sent, index, held._replace(turning=True))
            return
        yield self.change(s, index, held, f"{why}: turns round", status=COMPENSATING)

    def undo_round(self, s: State, index: int, held: Held) -> Transitions:
        if held.calls is None:
            if not self.left(held.row):
                yield self.change(s, index, held, "nothing is left: compensated", let_go=True, status=COMPENSATED)
            for calls in self.batches(held.row):
                yield self.call(s, index, held, calls, "undo")
            return
        for outcomes in product(*(self.undone_of(s, call) for call in held.calls)):
            noted = held._replace(
                row=held.row._replace(undone=all_replaced(held.row.undone, held.calls, outcomes)), calls=None
            )
            told = self.told(held.calls, ["undone" if each == "ok" else "" for each in outcomes])
            if not self.left(noted.row):
                yield self.change(s, index, noted, f"{told}: compensated", let_go=True, status=COMPENSATED)
            else:
                yield self.change(s, index, noted, f"{told}: goes on undoing", let_go="unknown" in outcomes)

    def undone_of(self, s: State, call: int) -> list[str]:
        if "undo_gives_up" in self.flaws:
            return ["ok"]
        return ["ok", "unknown"] if f"{self.steps[call].name} undone" in s.answered else ["unknown"]

    def left(self, row: Row) -> list[int]:
        """The steps that have to be undone: all that may have happened."""
        happened = ("ok",) if "undo_only_known" in self.flaws else ("ok", "")
        return [
            i
            for i in self.undoable
            if self.stage_of[i] <= row.stage and row.outcomes[i] in happened and row.undone[i] not in UNDONE
        ]

    def batches(self, row: Row) -> list[tuple[int, ...]]:
        """What may be undone next: the latest stage that has something left, and earlier ones too once its undos have
        failed so often that it needs attention."""
        left, found = self.left(row), list[tuple[int, ...]]()
        for stage in sorted({self.stage_of[i] for i in left}, reverse="first_stage_first" not in self.flaws):
            here = tuple(i for i in left if self.stage_of[i] == stage)
            found.append((*(found[-1] if found else ()), *here))
            if any(row.undone[i] != "unknown" for i in here):
                break
        return found

    # --- calls and commits

    def call(self, s: State, index: int, held: Held, calls: tuple[int, ...], what: str) -> tuple[str, State]:
        requests = [f"{self.steps[call].name}.{what}" for call in calls]
        asked = s._replace(asked=s.asked.union(requests))
        return f"{self.names[index]} asks {', '.join(requests)}", holding(asked, index, held._replace(calls=calls))

    def told(self, calls: tuple[int, ...], outcomes: tuple[str, ...] | list[str]) -> str:
        pairs = zip(calls, outcomes, strict=True)
        return ", ".join(f"{self.steps[call].name} {outcome or 'unknown'}" for call, outcome in pairs)

    def change(
        self, s: State, index: int, held: Held, told: str, let_go: bool = False, **values: str | int
    ) -> tuple[str, State]:
        """The guarded update, and what it makes of the instance: it goes on, lets go, or has lost the saga."""
        lost = held.row.ver != s.row.ver
        if lost and "no_ver_guard" not in self.flaws:
            return f"{self.names[index]}: {told}, but has lost the saga", holding(s, index, None)
        known = {"outcomes": held.row.outcomes, "undone": held.row.undone}
        written = s.row._replace(ver=held.row.ver + 1, **known, **values)
        kept = Held(held.row._replace(ver=written.ver, **values))
        changed = self.watched(s, written, "who_lost_ver_commits_nothing" if lost else "")
        return f"{self.names[index]}: {told}", holding(changed, index, None if let_go else kept)

    def watched(self, s: State, written: Row, broken: str = "", by_operator: bool = False) -> State:
        """The row as it is written, and whether that was allowed at all."""
        if s.row.status in ENDED:
            broken = broken or "an_end_is_final"
        if s.row.paused and not by_operator:
            broken = broken or "what_is_paused_stays"
        return s._replace(row=written, broken=s.broken or broken)

    # --- around it

    def time_and_customers(self, s: State) -> Transitions:
        moment = "before" if s.row.stage < self.decision else "after"
        if s.row.status == RUNNING:
            if not s.deadline:
                yield "the deadline passes", s._replace(deadline=moment)
            if not s.cancel:
                yield "a cancel is asked for", s._replace(cancel=moment)


def _order(held: Held | None) -> tuple[object, ...]:
    return () if held is None else (held.row, held.calls or (), held.calls is None, held.turning)
