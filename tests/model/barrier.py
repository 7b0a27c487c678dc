"""What serves the steps of the saga model: the barrier of chassis/commands.py, and the companies behind it.

Each action of this model is one commit of a service or of a company.
"""

from tests.model.state import Definition, Part, State, Step, Transitions, serving


class Barrier:
    def __init__(self, definition: Definition, flaws: frozenset[str]) -> None:
        self.flaws = flaws
        self.stages = definition
        self.steps = [step for stage in definition for step in stage]

    def serve(self, s: State) -> Transitions:
        """Whatever was ever asked of a service or a company arrives, once more."""
        for index, step in enumerate(self.steps):
            act, undo = (self.outside_act, self.outside_undo) if step.outside else (self.local_act, self.local_undo)
            part = s.parts[index]
            if f"{step.name}.act" in s.asked:
                yield from act(s, index, step, part)
            if f"{step.name}.undo" in s.asked:
                yield from undo(s, index, step, part)
            if step.outside:
                yield from self.company(s, index, step, part)
                yield from self.verdicts(s, index, step, part)

    # --- local

    def local_act(self, s: State, index: int, step: Step, part: Part) -> Transitions:
        if part.inbox == "" or (part.inbox == "ok" and "no_barrier_row" in self.flaws):
            yield f"{step.name} acts", self.done(s, index, part._replace(inbox="ok"), f"{step.name} ok")
            yield f"{step.name} refuses", serving(s, index, self.refused(step, part), f"{step.name} refused")
        else:
            yield self.answer(s, index, step, part)

    def local_undo(self, s: State, index: int, step: Step, part: Part) -> Transitions:
        answer = f"{step.name} undone"
        if part.inbox == "":
            fenced = part if "no_fence_row" in self.flaws else part._replace(inbox="fenced")
            yield f"{step.name} is fenced", serving(s, index, fenced, answer)
        elif part.inbox == "ok":
            undone = part._replace(inbox="undone", undid=part.undid + 1)
            yield f"{step.name} is undone", serving(s, index, undone, answer)
        else:
            yield f"{step.name} has nothing to undo", serving(s, index, part, answer)

    # --- outside

    def outside_act(self, s: State, index: int, step: Step, part: Part) -> Transitions:
        if part.inbox not in ("", "started"):
            yield self.answer(s, index, step, part)
            return
        started = part if "started_not_written" in self.flaws else part._replace(inbox="started")
        if "company_key_new" in self.flaws:
            started = started._replace(company="")
        request = f"{step.name}.act at its company"
        yield f"{step.name} starts, and asks its company", serving(s, index, started, asked=request)
        if part.inbox == "" or step.kind == "retriable" or "begun_then_refused" in self.flaws:
            refused = self.refused(step, part)
            yield f"{step.name} refuses before it asks", serving(s, index, refused, f"{step.name} refused")

    def verdicts(self, s: State, index: int, step: Step, part: Part) -> Transitions:
        """A worker hears from the company; what it hears counts only if the row is still `started`."""
        name = f"{step.name}'s company"
        counts = part.inbox == "started" or bool(self.flaws & {"verdict_unguarded", "started_not_written"})
        for word in ("done", "refused"):
            if f"{name} {word}" not in s.answered:
                continue
            if not counts:
                if part.inbox:
                    yield self.answer(s, index, step, part)
            elif word == "done":
                yield f"{step.name} is ok", serving(s, index, part._replace(inbox="ok"), f"{step.name} ok")
            else:
                yield f"{step.name} is refused", self.refused_outside(s, index, step, part)

    def refused_outside(self, s: State, index: int, step: Step, part: Part) -> State:
        """A step after the pivot may be asked again; for the company, which stores its refusals, under another key."""
        refused = serving(s, index, self.refused(step, part), f"{step.name} refused")
        if step.kind != "retriable" or part.company != "refused" or "company_key_kept" in self.flaws:
            return refused
        anew = serving(refused, index, refused.parts[index]._replace(company=""))
        return anew._replace(asked=anew.asked - {f"{step.name}.act at its company"})

    def outside_undo(self, s: State, index: int, step: Step, part: Part) -> Transitions:
        answer = f"{step.name} undone"
        nothing = part.inbox == "started" and "started_is_nothing" in self.flaws
        if part.inbox == "" and not self.may_be_done(s, step):
            fenced = part if "no_fence_row" in self.flaws else part._replace(inbox="fenced")
            yield f"{step.name} is fenced", serving(s, index, fenced, answer)
        elif part.inbox in ("", "ok", "started", "undoing") and not nothing:
            undoing = part._replace(inbox="undoing")
            request = f"{step.name}.undo at its company"
            yield f"{step.name} undoes, and asks its company", serving(s, index, undoing, asked=request)
        else:
            yield f"{step.name} has nothing to undo", serving(s, index, part, answer)
        if part.inbox == "undoing" and f"{step.name}'s company undone" in s.answered:
            yield f"{step.name} is undone", serving(s, index, part._replace(inbox="undone"), answer)

    def may_be_done(self, s: State, step: Step) -> bool:
        """A step after the pivot has no inbox row once it was refused; its business row tells what was asked."""
        wanted = step.makes_good and "made_good_by_inbox" not in self.flaws
        return wanted and f"{step.name}.act at its company" in s.asked

    def company(self, s: State, index: int, step: Step, part: Part) -> Transitions:
        """Idempotent by key; it accepts the undo of any key, and remembers it."""
        name = f"{step.name}'s company"
        if f"{step.name}.act at its company" in s.asked:
            if part.forbidden:
                yield f"{name} refuses what was undone", serving(s, index, part, f"{name} refused")
            elif part.company == "":
                yield f"{name} acts", self.done(s, index, part._replace(company="done"), f"{name} done")
                yield f"{name} refuses", serving(s, index, part._replace(company="refused"), f"{name} refused")
        if f"{step.name}.undo at its company" in s.asked and not part.forbidden:
            remembers = part.company != "" or "company_forgets_undo" not in self.flaws
            undone = part._replace(forbidden=remembers, undid=part.undid + (part.company == "done"))
            yield f"{name} undoes", serving(s, index, undone, f"{name} undone")

    # --- both

    def answer(self, s: State, index: int, step: Step, part: Part) -> tuple[str, State]:
        """What the inbox row answers to an action that comes again."""
        old_result = part.inbox == "undone" and "answers_what_was_undone" in self.flaws
        outcome = "ok" if part.inbox == "ok" or old_result else "refused"
        return f"{step.name} answers again: {outcome}", serving(s, index, part, f"{step.name} {outcome}")

    def refused(self, step: Step, part: Part) -> Part:
        stored = step.kind != "retriable" or "retriable_refusal_stored" in self.flaws
        if step.kind == "pivot" and "pivot_refusal_forgotten" in self.flaws:
            stored = False
        return part._replace(inbox="failed" if stored else "")

    def done(self, s: State, index: int, part: Part, answer: str) -> State:
        """An effect. After the answer to its undo there must be none."""
        late = f"{self.steps[index].name} undone" in s.answered
        acted = serving(s, index, part._replace(did=part.did + 1), answer)
        return acted._replace(broken=s.broken or ("nothing_acts_after_its_fence" if late else ""))
