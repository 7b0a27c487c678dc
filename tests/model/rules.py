"""What must hold in every state of the saga model. The tables say it in sentences."""

from collections.abc import Callable

from tests.model.checker import STUCK
from tests.model.state import COMPENSATED, COMPENSATING, COMPLETED, Definition, State

SEEN_FROM_OUTSIDE = {
    "never_captured_and_compensated": "a saga that turns round, or has, never has its pivot done",
    "compensated_holds_nothing": "a saga that ended compensated holds nothing anywhere, now or later",
    "completed_did_everything_once": "a saga that ended completed has each step done once and none undone",
    "nothing_is_doubled": "no step is done twice, and none is undone more often than it was done",
    "given_up_is_never_captured": "what was cancelled, or late, before the decision never has its pivot done",
    "made_good_is_not_served": "what was refunded because a step stayed refused never has that step done, now or later",
    STUCK: "from every state the saga can come to an end",
}
RULES = {
    "no_undo_once_the_pivot_may_have_happened": "once the pivot was asked for, only its refusal lets an undo be sent",
    "compensating_before_undo": "the row says `compensating` before the first undo leaves",
    "last_stage_first": "a step is not undone before the undo of every later one was asked for",
    "decided_in_time": "the decision is taken before the deadline and before any cancel, or never",
    "who_lost_ver_commits_nothing": "an instance whose `ver` is not the row's changes nothing",
    "nothing_acts_after_its_fence": "once an undo was answered, its action has no effect any more",
    "an_end_is_final": "a saga that ended stays as it is",
    "what_is_paused_stays": "a paused saga stays as it is, until an operator does something else with it",
}


class Rules:
    def __init__(self, definition: Definition) -> None:
        self.steps = [step for stage in definition for step in stage]
        self.stage_of = [index for index, stage in enumerate(definition) for _ in stage]
        self.decision = next(index for index, stage in enumerate(definition) if stage[0].kind != "undoable")
        self.undoable = [index for index, step in enumerate(self.steps) if step.kind == "undoable"]
        self.undos = frozenset(f"{self.steps[index].name}.undo" for index in self.undoable)
        self.pivot = self.stage_of.index(self.decision)  # where there is none: the first step that is not undone
        self.has_pivot = self.steps[self.pivot].kind == "pivot"
        self.invariants: dict[str, Callable[[State], bool]] = {
            name: getattr(self, name, lambda s, name=name: s.broken != name)
            for name in (*SEEN_FROM_OUTSIDE, *RULES)
            if name != STUCK
        }

    def never_captured_and_compensated(self, s: State) -> bool:
        return s.row.status not in (COMPENSATING, COMPENSATED) or s.parts[self.pivot].did == 0

    def compensated_holds_nothing(self, s: State) -> bool:
        return s.row.status != COMPENSATED or all(
            s.parts[i].did == s.parts[i].undid and s.parts[i].inbox not in ("started", "ok", "undoing")
            for i in self.undoable
            if s.row.undone[i] != "resolved"
        )

    def completed_did_everything_once(self, s: State) -> bool:
        return s.row.status != COMPLETED or all(
            (part.did == 1 or (s.row.outcomes[i] == "skipped" and self.steps[i].kind == "retriable"))
            and part.undid == 0
            for i, part in enumerate(s.parts)
        )

    def nothing_is_doubled(self, s: State) -> bool:
        return all(part.did <= 1 and part.undid <= part.did for part in s.parts)

    def given_up_is_never_captured(self, s: State) -> bool:
        return "before" not in (s.deadline, s.cancel) or s.parts[self.pivot].did == 0

    def made_good_is_not_served(self, s: State) -> bool:
        return not s.given_back or all(
            part.did == part.undid
            for i, part in enumerate(s.parts)
            if self.steps[i].makes_good and s.row.outcomes[i] == "refused"
        )

    def no_undo_once_the_pivot_may_have_happened(self, s: State) -> bool:
        if f"{self.steps[self.pivot].name}.act" not in s.asked or not (s.asked & self.undos):
            return True
        return self.has_pivot and s.parts[self.pivot].inbox == "failed"

    def compensating_before_undo(self, s: State) -> bool:
        return s.row.status in (COMPENSATING, COMPENSATED) or not (s.asked & self.undos)

    def last_stage_first(self, s: State) -> bool:
        entered = [i for i in self.undoable if self.stage_of[i] <= s.row.stage and s.row.outcomes[i] != "refused"]
        asked = [self.stage_of[i] for i in entered if f"{self.steps[i].name}.undo" in s.asked]
        return not asked or all(
            f"{self.steps[i].name}.undo" in s.asked for i in entered if self.stage_of[i] > min(asked)
        )

    def decided_in_time(self, s: State) -> bool:
        return s.row.stage < self.decision or "before" not in (s.deadline, s.cancel)
