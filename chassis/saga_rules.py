"""What operators may do to a saga: `RULES` is the whole law, action x what is so -> why not.

Each rule keeps money or stock from being lost: an undo is never left out, nothing is taken back while the pivot may
have happened, and nothing after it is left out but what the operator answers for by name.
"""

from dataclasses import dataclass, replace
from typing import Any, get_args

from sqlalchemy import Row

from chassis.operator_types import Action
from chassis.saga import COMPENSATING, ENDED, Saga, Step, Sub, Wait
from chassis.saga_rounds import Limits, wanted
from chassis.saga_store import Held

_ENDED = "It has ended: there is nothing left to decide."
_UNKNOWN = "This instance does not know version {version} of {name}: ask one that does, or start one."
_IN_DOUBT = "Its pivot {pivot} is in doubt: it may have happened, so nothing but its own outcome may decide."
_UNDECIDED = "It has not reached its point of no return: it turns round by itself, or force-compensate it."

RULES: dict[Action, dict[str, str]] = {
    "retry": {
        "ended": _ENDED,
        "paused": "It is paused: resume it, and it is tried at once.",
        "waiting": "It waits for the signal {signal}: there is no call to try again.",
    },
    "pause": {
        "ended": _ENDED,
        "paused": "It is paused already.",
    },
    "resume": {
        "ended": _ENDED,
        "not paused": "It is not paused.",
    },
    "skip-step": {
        "ended": _ENDED,
        "unknown": _UNKNOWN,
        "compensating": "It gives back what was done: an undo is never skipped, but resolved by hand.",
        "undecided": _UNDECIDED,
        "in doubt": _IN_DOUBT,
        "no step named": "Say which step; those that could be skipped are: {skippable}.",
        "no such step": "It has no step {step}; those that could be skipped are: {skippable}.",
        "step before": "{step} stands before the point of no return: what happened there cannot be left out any more.",
        "step is pivot": "{step} is the pivot: a pivot is never skipped.",
        "step is no call": "{step} is no call but a wait or a sub-saga: signal it, or act on that saga.",
        "step done": "{step} is done already.",
    },
    "force-compensate": {
        "ended": _ENDED,
        "unknown": _UNKNOWN,
        "compensating": "It compensates already.",
        "in doubt": _IN_DOUBT,
        "forward": "It is past its point of no return: it only goes forward. Skip or resolve the step that is stuck.",
    },
    "resolve": {
        "ended": _ENDED,
        "unknown": _UNKNOWN,
        "undecided": _UNDECIDED,
        "in doubt": _IN_DOUBT,
        "nothing stuck": "Nothing of it needs attention: it is still being tried.",
        "step not stuck": "{step} does not need attention; what does: {stuck}.",
        "several stuck": "Several need attention: say which one was settled. They are: {stuck}.",
    },
}
"""For each action, what forbids it, and the sentence for whoever asks. What is not here is allowed."""


@dataclass(frozen=True)
class Case:
    """A saga as the rules look at it, and the step that an operator named."""

    row: Row[Any]
    held: Held
    definition: Saga[Any] | None
    limits: Limits
    step: str | None = None

    @property
    def phase(self) -> str:
        if self.row.status in ENDED:
            return "ended"
        if self.definition is None:
            return "unknown"
        if self.row.status == COMPENSATING:
            return "compensating"
        if self.row.stage < self.definition.no_return:
            return "undecided"
        return "in doubt" if self.definition.stages[self.row.stage].kind == "pivot" else "forward"

    def so(self) -> list[str]:
        """Everything that a rule may ask for, as its words; the first that a rule has is the one that is said."""
        return [
            self.phase,
            "paused" if self.row.paused_at else "not paused",
            *(["waiting"] if self._signal() else []),
            *([] if self.definition is None else [*self._about_step(self.definition), *self._about_stuck()]),
        ]

    def _signal(self) -> str | None:
        if self.definition is None or self.phase not in ("undecided", "forward"):
            return None
        wait = self.definition.stages[self.row.stage].wait
        return wait.name if wait is not None and not self.held.state(wait.name).done else None

    def _about_step(self, definition: Saga[Any]) -> list[str]:
        kinds = {part.name: (at, stage.kind) for at, stage in enumerate(definition.stages) for part in stage.parts()}
        if self.step not in kinds:
            return ["no step named" if self.step is None else "no such step"]
        at, kind = kinds[self.step]
        if kind == "pivot":
            return ["step is pivot"]
        if at < definition.no_return:
            return ["step before"]
        if kind != "retriable":
            return ["step is no call"]
        return ["step done"] if at < self.row.stage or self.held.state(self.step).done else []

    def _about_stuck(self) -> list[str]:
        stuck = self.stuck()
        if not stuck:
            return ["nothing stuck"]
        if self.step is None:
            return ["several stuck"] if len(stuck) > 1 else []
        return [] if self.step in stuck else ["step not stuck"]

    def skippable(self) -> list[str]:
        """Retriable steps that have not succeeded, from this stage on."""
        if self.definition is None or self.phase != "forward":
            return []
        steps = [step for stage in self.definition.stages[self.row.stage :] for step in stage.steps]
        return [step.name for step in steps if not self.held.state(step.name).done]

    def stuck(self) -> list[str]:
        """What an operator may take as settled by hand: it needs attention, and the saga waits for nothing else."""
        if self.definition is None or self.row.attention is None:
            return []
        if self.phase == "compensating":
            return [
                step.name
                for stage in self.definition.stages[: self.row.stage + 1]
                for step in stage.steps
                if step.undo
                and not self.held.state(step.name).undone
                and self.held.state(step.name).undo_attempts >= self.limits.attention_attempts
            ]
        if self.phase != "forward":
            return []
        parts = wanted(self.definition.stages[self.row.stage], self.held, self.held.data)
        return [part.name for part in parts if not self.held.state(part.name).done and self._has_tried_long(part)]

    def _has_tried_long(self, part: Step[Any] | Wait[Any] | Sub[Any]) -> bool:
        """Whether it may be what raised the attention. A sub-saga raises it only when it has turned round."""
        if not isinstance(part, Step):
            return isinstance(part, Sub)
        state = self.held.state(part.name)
        longest = self.limits.attention_after_ms / 1000
        refused = state.refused_since is not None and self.held.at.timestamp() - state.refused_since > longest
        return refused or state.attempts >= self.limits.attempts(part)

    def why_not(self, action: Action) -> str | None:
        """The sentence of the rule that forbids the action; None if it is allowed."""
        rules = RULES[action]
        broken = next((rules[each] for each in self.so() if each in rules), None)
        return broken and broken.format(
            name=self.row.name,
            version=self.row.version,
            step=self.step,
            signal=self._signal(),
            skippable=", ".join(self.skippable()) or "none",
            stuck=", ".join(self.stuck()),
            pivot=self._pivot(),
        )

    def _pivot(self) -> str:
        stages = self.definition.stages if self.definition else ()
        return ", ".join(step.name for stage in stages if stage.kind == "pivot" for step in stage.steps)

    def allowed(self) -> list[str]:
        """The actions that no rule forbids, where a step has to be named for at least one."""

        def free(action: Action) -> bool:
            steps = {"skip-step": self.skippable(), "resolve": self.stuck()}.get(action, [])
            return any(self.about(step).why_not(action) is None for step in (None, *steps))

        return [action for action in get_args(Action) if free(action)]

    def about(self, step: str | None) -> "Case":
        return replace(self, step=step)
