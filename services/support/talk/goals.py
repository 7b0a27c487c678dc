"""An action is put together: what is missing is asked for, what is said is taken, and in the end it is offered."""

from dataclasses import dataclass
from typing import Any

import msgspec

from chassis.errors import ServiceError
from services.support.talk import entities, refusals
from services.support.talk.actions import ROWS, SLOTS, proposal, wished
from services.support.talk.case import Case, Part, Stop
from services.support.talk.hearing import is_option, swaps
from services.support.talk.means import AddressSlot
from services.support.talk.memory import Choice, Focus, Goal
from services.support.talk.slots import Slot, order_of
from services.support.talk.vocabulary import says


@dataclass(frozen=True)
class Outcome:
    """`goal` is what is still to be asked for; None once it was offered or has come to nothing. `offered`: the goal as
    it was offered."""

    part: Part
    goal: Goal | None = None
    offered: Goal | None = None


def begin(case: Case, intent: str, hints: list[str], order_id: str | None = None) -> Outcome:
    """Start on what somebody wants."""
    goal = Goal(intent=intent, slots={"order": order_id} if order_id else {})
    for hint in hints:
        goal = goal.told(hint)
    return proceed(case, goal)


def proceed(case: Case, goal: Goal) -> Outcome:
    """Fill in what is known; ask for the first thing that is not, or make the offer. What was said may name again and
    again what is known already: then the rest is asked for."""
    try:
        goal = goal.but(asked=None, choices=[])
        for name in ROWS[goal.intent].slots:
            slot = SLOTS[name]
            while not slot.done(goal):
                candidates = _candidates(case, goal, slot)
                if len(candidates) != 1:
                    return question(case, goal, name, candidates)
                more = slot.put(goal, candidates[0].value)
                if not slot.done(more) and _filled(more, slot) == _filled(goal, slot):
                    return question(case, goal, name, [])
                goal = more
        return offer(case, goal)
    except Stop as stop:
        return Outcome(stop.part)


def _filled(goal: Goal, slot: Slot) -> set[str]:
    """For which goods a slot is filled in that has a value for each."""
    return set(goal.slots.get(slot.name, ()))


def _candidates(case: Case, goal: Goal, slot: Slot) -> list[Choice]:
    """What the customer said of it, the latest first; else all there are, where nobody has to be asked about one."""
    for hint in reversed(goal.hints):
        if heard := slot.heard(case, goal, hint):
            return heard
    every = slot.every(case, goal)
    return every if len(every) != 1 or slot.takes_the_only_one(goal) else []


def question(case: Case, goal: Goal, name: str, candidates: list[Choice], word: str = "") -> Outcome:
    """Ask for a slot, with its candidates by number."""
    slot = SLOTS[name]
    if isinstance(slot, AddressSlot) and not goal.slots.get("address_parts"):
        for hint in goal.hints:
            goal = slot.noted(goal, hint)
    if not candidates and slot.by_number:
        candidates = slot.every(case, goal)
    candidates = candidates[: case.settings.choices] if slot.by_number else candidates
    text = case.words.sentences(word, slot.ask(case, goal))
    if candidates and slot.by_number:
        text = f"{text}\n{case.words.numbered([each.label for each in candidates])}"
    asked = goal.but(asked=name, choices=candidates if slot.by_number else [])
    return Outcome(Part(text=text, focus=_focus(goal)), asked)


def _focus(goal: Goal) -> Focus | None:
    return Focus(order_id=goal.slots["order"]) if goal.slots.get("order") else None


def answer(case: Case, goal: Goal, text: str) -> Outcome | None:
    """Take what was said as the answer to what was asked; None if it is none."""
    slot = SLOTS[goal.asked or ""]
    try:
        found = _chosen(goal, slot, text) or _within(goal, slot.answered(case, goal, text))
        if len(found) > 1:
            return question(case, goal, goal.asked or "", found)
        if not found:
            return _noted(case, goal, slot, text)
        bare = entities.is_bare_choice(text)
        goal = slot.put(goal if bare else goal.told(text), found[0].value)
        return proceed(case, goal.but(tries=0))
    except Stop as stop:
        return Outcome(stop.part)


def fits(case: Case, goal: Goal, text: str) -> bool:
    """Whether a text names something that could answer what was asked."""
    slot = SLOTS[goal.asked or ""]
    return bool(_chosen(goal, slot, text) or slot.answered(case, goal, text))


def _chosen(goal: Goal, slot: Slot, text: str) -> list[Choice]:
    """What was chosen by number; several together, where that is possible."""
    places = entities.choices(text, len(goal.choices)) if goal.choices else []
    picked = [goal.choices[place] for place in places]
    if len(picked) > 1 and slot.many:
        values = [value for each in picked for value in each.value]
        return [Choice(value=list(dict.fromkeys(values)), label="")]
    return picked


def _within(goal: Goal, found: list[Choice]) -> list[Choice]:
    """Of several, those that were offered."""
    offered = [each.value for each in goal.choices]
    return [each for each in found if each.value in offered] or found


def _noted(case: Case, goal: Goal, slot: Slot, text: str) -> Outcome | None:
    """Keep a part of an address, or a colour that was not asked for yet; and ask for the rest."""
    if swaps(goal) and slot.name != "swaps" and not SLOTS["swaps"].done(goal) and is_option(text):
        return question(case, goal.told(text), slot.name, goal.choices)
    if not isinstance(slot, AddressSlot):
        return None
    noted = slot.noted(goal, text)
    return question(case, noted, "address", []) if noted.slots != goal.slots else None


def revise(case: Case, goal: Goal, text: str) -> Outcome | None:
    """Take something that was said as another value of what is known already: the last of it that it fits."""
    names = [*ROWS[goal.intent].slots, *(["payment"] if "payment" in goal.slots else [])]
    for name in reversed(names):
        slot = SLOTS[name]
        if not slot.done(goal) or not (found := _other(case, goal, slot, text)):
            continue
        goal = goal.told(text)
        if len(found) > 1:
            return question(case, goal, name, found)
        return proceed(case, slot.put(goal, _added(goal, name, found[0].value, text)))
    return None


def _added(goal: Goal, name: str, value: Any, text: str) -> Any:
    """Goods that are named to be added to those of before: "the mug too"."""
    if name == "lines" and says("too", text):
        return list(dict.fromkeys([*goal.slots["lines"], *value]))
    return value


def _other(case: Case, goal: Goal, slot: Slot, text: str) -> list[Choice]:
    try:
        found = slot.heard(case, goal, text)
    except Stop:
        return []
    return [each for each in found if slot.put(goal, each.value).slots != goal.slots]


def offer(case: Case, goal: Goal) -> Outcome:
    """Ask what it would come to, and offer it; or say why it cannot be, and what can."""
    row = ROWS[goal.intent]
    if "order" in goal.slots and (done := refusals.already(case, goal, order_of(case, goal))) is not None:
        return Outcome(done)
    try:
        preview = case.sight.preview(goal.slots["order"], wished(row, goal)) if row.asks else None
    except ServiceError as refusal:
        return _refused(case, goal, refusal)
    except msgspec.ValidationError as problem:
        return _refused(case, goal, ServiceError("request.invalid", str(problem)))
    if preview is not None and preview.charge.amount and "payment" not in goal.slots:
        return _to_be_paid(case, goal, case.words.money(preview.charge))
    offered = proposal(case, goal, preview)
    text = case.words.sentences(offered.summary, case.words.say("shall_i"))
    sources = [case.order_source(order_of(case, goal))] if offered.order_id else []
    return Outcome(Part(text=text, proposals=[offered], focus=_focus(goal), sources=sources), offered=goal)


def _refused(case: Case, goal: Goal, refusal: ServiceError) -> Outcome:
    order = order_of(case, goal)
    again = refusals.AGAIN.get(refusal.code)
    if again is None or (again != "payment" and again not in ROWS[goal.intent].slots):
        return Outcome(refusals.refused(case, goal, refusal, order))
    slot, word = SLOTS[again], refusals.reason(case, refusal, order)
    goal = goal.but(slots={name: value for name, value in goal.slots.items() if name != again})
    if again == "address":
        goal = goal.but(hints=[])
    return question(case, goal, again, slot.every(case, goal), word)


def _to_be_paid(case: Case, goal: Goal, amount: str) -> Outcome:
    """It costs more: with what was said of it, or the only way there is; else it is asked for."""
    slot = SLOTS["payment"]
    found = _candidates(case, goal, slot)
    if len(found) == 1:
        return offer(case, slot.put(goal, found[0].value))
    return question(case, goal, "payment", found, case.words.say("costs_more", amount=amount))
