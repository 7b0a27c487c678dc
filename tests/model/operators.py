"""Operators' actions on a saga that an instance may be driving: the rules of chassis/saga_admin.py.

An operator looks, thinks, and acts on what was seen: the action is a guarded update by the `ver` that was seen.
"""

from tests.model.saga import DONE, SagaModel
from tests.model.state import COMPENSATING, ENDED, RUNNING, Row, State, Transitions, replaced


class OperatedSaga(SagaModel):
    def transitions(self, s: State) -> Transitions:
        yield from super().transitions(s)
        if s.row.status not in ENDED and s.seen != s.row:
            yield "the operator looks", s._replace(seen=s.row)
        if s.seen is not None:
            for what, wanted in self.allowed(s.seen):
                yield from self.operate(s, s.seen, what, wanted)

    def operate(self, s: State, seen: Row, what: str, wanted: dict[str, object]) -> Transitions:
        if seen.ver != s.row.ver and "operator_unguarded" not in self.flaws:
            yield f"the operator's {what} is stale", s._replace(seen=None)
            return
        ver = s.row.ver if "operator_keeps_ver" in self.flaws else s.row.ver + 1
        written = self.watched(s, s.row._replace(ver=ver, **wanted), by_operator=True)
        yield f"the operator: {what}", written._replace(seen=None)

    def allowed(self, seen: Row) -> list[tuple[str, dict[str, object]]]:
        """Every action that no rule forbids, with what it sets."""
        actions: list[tuple[str, dict[str, object]]] = [
            ("resume" if seen.paused else "pause", {"paused": not seen.paused})
        ]
        if seen.status == RUNNING and self.may_force(seen):
            actions.append(("force-compensate", {"status": COMPENSATING}))
        if seen.status == RUNNING and self.is_forward(seen):
            actions += [
                (f"skip-step {step.name}", {"outcomes": replaced(seen.outcomes, i, "skipped")})
                for i, step in enumerate(self.steps)
                if (step.kind == "retriable" or "skip_pivot" in self.flaws)
                and self.stage_of[i] >= self.decision
                and seen.outcomes[i] not in DONE
            ]
        if seen.status == COMPENSATING:
            actions += [
                (f"resolve {self.steps[i].name}", {"undone": replaced(seen.undone, i, "resolved")})
                for i in self.left(seen)
                if seen.undone[i] == "unknown"
            ]
        return actions

    def may_force(self, seen: Row) -> bool:
        in_doubt = self.is_pivot(seen) and "force_in_doubt" in self.flaws
        return seen.stage < self.decision or in_doubt

    def is_forward(self, seen: Row) -> bool:
        return seen.stage >= self.decision and (not self.is_pivot(seen) or "skip_pivot" in self.flaws)

    def is_pivot(self, seen: Row) -> bool:
        return self.stages[seen.stage][0].kind == "pivot"
