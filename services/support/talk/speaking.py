"""One turn of a conversation: what was said is taken apart, and each part answered in its order."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from services.support.talk import answering, clauses, commands, entities, goals, lookups, offers
from services.support.talk.actions import ROWS
from services.support.talk.case import Case, Part, Settings, Stop
from services.support.talk.goals import Outcome
from services.support.talk.hearing import PLAIN, SURE, Hearing, Piece, is_plain, only_answers, only_thinks
from services.support.talk.intents import ACTIONS, HUMAN, POLITE, REFUSED
from services.support.talk.memory import Focus, Goal, Memory, Suggestion
from services.support.talk.ports import Blind, Guest, Ports, Sight
from services.support.talk.vocabulary import consists_of, normal, pattern, says
from services.support.talk.wording import words_of
from services.support.turns import Answers, OpenAction, Proposal, Turn

AMENDMENTS = {"cancel", "change_address", "change_items", "change_payment", "return", "exchange"}
"""Kinds of which an order has one at a time."""
SUGGESTED = "suggested"
"""Among ids of actions: what a yes would begin."""
PARTS_OF = {"do_change_payment": "payment", "do_change_address": "address"}
"""Intents that may be about a part of an offer: how its difference is paid."""

LOOKUPS: dict[str, Callable[[Case, str], Part]] = {
    "order_status": lookups.order_status,
    "order_payment": lookups.order_payment,
    "order_refused": lookups.order_refused,
    "refund_status": lookups.refund_status,
    "balance": lookups.balance,
    "transactions": lookups.transactions,
    "product_price": offers.product_price,
    "product_stock": offers.product_stock,
    "product_options": offers.product_options,
    "product_compare": offers.product_compare,
}
CONSENT: dict[str, Literal["yes", "no"]] = {"yes": "yes", "no": "no"}
KINDS = {row.kind: intent for intent, row in ROWS.items()}


class Speaking:
    """Answers one turn; afterwards `parts`, `memory` and `intent` are what came of it."""

    def __init__(self, ports: Ports, answers: Answers, settings: Settings, turn: Turn, memory: Memory) -> None:
        self.turn, self.answers, self.settings = turn, answers, settings
        self.words, self.sight = words_of(turn.language), Sight(ports, turn.customer_id)
        self.suggestion = memory.suggestion
        self.looked_up = memory.lookup
        self.offered, self.together = memory.offered, memory.together
        self.memory = memory.but(suggestion=None, lookup=None)
        self.parts: list[Part] = []
        self.intent: str | None = None
        self.confidence = 0.0
        self.topics: list[str] = []
        self._asked: Goal | None = None
        self._blind = False
        self._offers = False

    @property
    def case(self) -> Case:
        return Case(self.turn, self.words, self.sight, self.memory.focus, self.settings)

    @property
    def goal(self) -> Goal | None:
        return self.memory.goals[0] if self.memory.goals else None

    def run(self) -> None:
        for piece in Hearing(self.answers, self.words.language, self.goal).pieces(self.turn.text):
            self._handle(piece)
        self._take_up()
        together = self._ask_once()
        offered = self._offers or any(part.proposals for part in self.parts)
        self.memory = self.memory.but(offered=offered, together=together)

    def _ask_once(self) -> int:
        """Ask one question for several offers, where nothing else is open that a yes could mean; answers for how
        many."""
        offers = [place for place, part in enumerate(self.parts) if part.proposals]
        alone = not (self._open() or self.goal or self.memory.suggestion or self.memory.choosing)
        if len(offers) < 2 or not alone:
            return 0
        each = self.words.say("shall_i")
        for place in offers:
            text = self.parts[place].text.replace(each, "").replace("  ", " ").strip()
            self.parts[place] = msgspec.structs.replace(self.parts[place], text=text)
        self._sentence("shall_i_all")
        return sum(len(self.parts[place].proposals) for place in offers)

    # --- answering

    def _handle(self, piece: Piece) -> None:
        of_offers = (self._thinks, self._rather, self._named_action, self._consent)
        steps = (*of_offers, self._goes_on, self._corrects, self._wants)
        try:
            next(part for step in steps if (part := step(piece)) is not None)
        except Stop as stop:
            self._say(stop.part)
        except Guest:
            self._note(piece)
            self._say(Part(text=self.words.say("log_in")))
        except Blind as blind:
            self._note(piece)
            self._blind = True
            text = self.words.say_of("blind", blind.what)
            self._say(Part(text=text, suggestion=answering.person(piece.text)))

    def _say(self, part: Part) -> Part:
        self.parts.append(part)
        changes: dict[str, Any] = {"suggestion": part.suggestion} if part.suggestion else {}
        if part.focus is not None:
            focus = self.memory.focus
            order_id, product_id = part.focus.order_id or focus.order_id, part.focus.product_id or focus.product_id
            changes["focus"] = Focus(order_id=order_id, product_id=product_id)
        self.memory = self.memory.but(**changes)
        return part

    def _note(self, piece: Piece, intent: str | None = None) -> None:
        """Remember what the turn is about: the first thing that is wanted."""
        intent = intent or piece.intent
        if self.intent is None:
            self.intent, self.confidence = intent, piece.confidence
        if intent is not None:
            self.topics.append(intent)

    def _sentence(self, key: str, **values: str) -> Part:
        return self._say(Part(text=self.words.say(key, **values)))

    # yes and no

    def _thinks(self, piece: Piece) -> Part | None:
        """Who has to think about it has not said no: what was offered stays."""
        if not only_thinks(piece.text) or not (self._open() or self.suggestion or self.goal):
            return None
        self._note(piece, "no")
        return self._say(Part(text=self.words.say("think"), suggestion=self.suggestion))

    def _rather(self, piece: Piece) -> Part | None:
        """The money back rather than the exchange that is talked of: a return of the same goods."""
        exchange = self.goal or self._last_open()
        if exchange is None or exchange.intent != "do_exchange":
            return None
        if clauses.is_question(piece.text) or not says("money_back", piece.text):
            return None
        self._note(piece, "do_return")
        self.memory = self.memory.but(goals=[])
        hints = [*exchange.hints, piece.text]
        return self._take(None, goals.begin(self.case, "do_return", hints, exchange.slots.get("order")))

    def _last_open(self) -> Goal | None:
        """What was offered last, while that is open."""
        last = self.memory.last
        return last if last and any(KINDS.get(action.kind) == last.intent for action in self._open()) else None

    def _open(self) -> list[OpenAction]:
        gone = {each for part in self.parts for each in (part.confirm, part.decline, *part.withdraw) if each}
        return [action for action in self.turn.open_actions if action.id not in gone]

    def _named_action(self, piece: Piece) -> Part | None:
        """The answer to which of several open actions, or whether what was suggested, is meant."""
        there = {action.id: action for action in self._open()}
        waiting = [each for each in self.memory.choosing if each in there or each == SUGGESTED]
        if self._asked_of(len(there)) and entities.is_bare_choice(piece.text) and says("all", piece.text):
            waiting = list(there)
        self.memory = self.memory.but(choosing=[])
        places = entities.choices(piece.text, len(waiting)) if waiting else []
        if not places:
            return None
        self._note(piece, "yes")
        chosen = [waiting[place] for place in places]
        if chosen[0] == SUGGESTED and self.suggestion is not None:
            return self._suggested(self.suggestion)
        if SUGGESTED in chosen:
            return self._confirm(there[chosen[0]], more=True)
        return self._confirm_all([there[each] for each in chosen])

    def _asked_of(self, waiting: int) -> bool:
        """Whether the last answer asked for one yes to all that waits."""
        return self.offered and waiting == self.together > 1

    def _confirm_all(self, actions: list[OpenAction]) -> Part:
        return [self._confirm(action) for action in actions][-1]

    def _confirm(self, action: OpenAction, more: bool = False) -> Part:
        key = "yes.one_first" if more else "yes.doing"
        self._offers = True
        self.memory = self.memory.but(last=None)
        return self._say(Part(text=self.words.say(key, summary=action.summary), confirm=action.id))

    def _consent(self, piece: Piece) -> Part | None:
        said = entities.consent(piece.text)
        by_words = piece.confidence >= SURE and piece.reading.guesses[0].terms  # not "blah"
        if said is None and by_words and is_plain(piece.text):
            said = CONSENT.get(piece.intent or "")
        if said is None or (self.goal is not None and self.goal.asked == "reason" and entities.reason(piece.text)):
            return None
        self._note(piece, said)
        both = said == "no" and pattern("yes").match(normal(piece.text)) is not None  # "yes, stop it"
        offered = {KINDS[action.kind] for action in self._open()}
        another = offered and commands.tells(piece.text) - offered  # "yes, cancel it", to another address
        return self._yes(bool(both or another or "?" in normal(piece.text))) if said == "yes" or both else self._no()

    def _yes(self, asks: bool) -> Part | None:
        """A yes that asks, or comes after something else was spoken of, has nothing done: it is asked again."""
        waiting = self._open()
        if self.suggestion is not None and not (self.offered and waiting):
            return self._suggested(self.suggestion)
        if len(waiting) == 1 and self.suggestion is None:
            return self._confirm(waiting[0]) if self.offered and not asks else self._still(waiting[0])
        if self._asked_of(len(waiting)) and self.suggestion is None and not asks:
            return self._confirm_all(waiting)
        if waiting:
            return self._which(waiting)
        if self.goal is not None and len(self.goal.choices) == 1:
            taken = goals.answer(self.case, self.goal, "1")
            return self._take(self.goal, taken) if taken is not None else None
        return None if self.goal is not None else self._sentence("yes.nothing")

    def _still(self, action: OpenAction) -> Part:
        self._offers = True
        return self._say(Part(text=self.words.say("yes.still", summary=action.summary)))

    def _which(self, waiting: list[OpenAction]) -> Part:
        """Several things may be meant by a yes: ask which."""
        ids, labels = [action.id for action in waiting], [action.summary for action in waiting]
        if self.suggestion is not None:
            ids.append(SUGGESTED)
            labels.append(self.words.say_of("goal", self.suggestion.intent))
        self.memory = self.memory.but(choosing=ids, suggestion=self.suggestion)
        return self._say(Part(text=f"{self.words.say('yes.which')}\n{self.words.numbered(labels)}"))

    def _no(self) -> Part:
        if self.suggestion is not None:
            return self._sentence("kept_person" if self.suggestion.intent == HUMAN else "no.declined")
        if self.goal is not None:
            self.memory = self.memory.but(goals=self.memory.goals[1:])
            return self._sentence("no.dropped")
        waiting = self._open()
        if not waiting:
            return self._sentence("no.nothing")
        self.memory = self.memory.but(last=None)
        text = self.words.say("no.declined" if len(waiting) == 1 else "no.declined_all")
        return self._say(Part(text=text, decline=waiting[0].id, withdraw=[action.id for action in waiting[1:]]))

    def _suggested(self, suggestion: Suggestion) -> Part:
        if suggestion.intent == HUMAN:
            return self._hand_over(next(iter(suggestion.hints), self.turn.text))
        self.topics.append(suggestion.intent)
        outcome = goals.begin(self.case, suggestion.intent, suggestion.hints, suggestion.order_id)
        return self._take(None, outcome)

    # actions

    def _goes_on(self, piece: Piece) -> Part | None:
        """What answers the question that the goal asked."""
        goal = self.goal
        if goal is None or goal.asked is None or self._is_new(piece, goal):
            return None
        self._note(piece, goal.intent)
        outcome = None
        if entities.correction(piece.text) and not goals.fits(self.case, goal, piece.text):
            outcome = goals.revise(self.case, goal, piece.text)
        outcome = outcome or goals.answer(self.case, goal, piece.text) or goals.revise(self.case, goal, piece.text)
        return self._take(goal, outcome) if outcome is not None else self._in_vain(goal)

    def _is_new(self, piece: Piece, goal: Goal) -> bool:
        """Whether something else is wanted, rather than an answer given."""
        if piece.intent == goal.intent or piece.is_faint or only_answers(piece.text, goal):
            return False
        if piece.intent in ACTIONS and piece.confidence < SURE and not commands.commanded(piece.text):
            return not goals.fits(self.case, goal, piece.text)  # "the mastercard" is a choice, if one was asked for
        if piece.intent == HUMAN or piece.intent in ACTIONS:
            return True
        if piece.intent in POLITE and goal.asked == "reason":
            return True
        if not piece.is_request and piece.intent not in POLITE:
            return False
        return clauses.is_question(piece.text) or not goals.fits(self.case, goal, piece.text)

    def _in_vain(self, goal: Goal) -> Part:
        """Not understood: ask again, and after a while offer a person."""
        tries = goal.tries + 1
        if tries > self.settings.tries:
            self.memory = self.memory.but(goals=self.memory.goals[1:])
            return self._say(Part(text=self.words.say("give_up"), suggestion=answering.person(" ".join(goal.hints))))
        word = self.words.say("not_understood")
        again = goals.question(self.case, goal.but(tries=tries), goal.asked or "", goal.choices, word)
        return self._take(goal, again)

    def _corrects(self, piece: Piece) -> Part | None:
        """What changes the last offer, while that is open."""
        last = self._last_open()
        if last is None:
            return None
        rest = entities.correction(piece.text)
        wanted = piece.is_request and not piece.is_faint
        other = wanted and piece.intent != last.intent and PARTS_OF.get(piece.intent or "") not in last.slots
        asks = clauses.is_question(piece.text) and (other or not rest)
        if asks or (other and (piece.intent in ACTIONS or not rest)):
            return None
        outcome = goals.revise(self.case, last, rest or piece.text)
        if outcome is None and not piece.is_request and (rest or consists_of(piece.text, "corrections")):
            self._note(piece, last.intent)
            return self._sentence("what_different")
        if outcome is None:
            return None
        self._note(piece, last.intent)
        return self._take(None, outcome, last if rest else None)

    def _take(self, goal: Goal | None, outcome: Outcome, corrected: Goal | None = None) -> Part:
        """Say what came of a goal, and keep what is still to be asked."""
        others = [each for each in self.memory.goals if each is not goal]
        kept = [outcome.goal, *others] if outcome.goal is not None else others
        self._asked = outcome.goal or self._asked
        self.memory = self.memory.but(goals=kept, last=outcome.offered or self.memory.last)
        return self._say(self._alone(outcome, corrected) if outcome.offered else outcome.part)

    def _alone(self, outcome: Outcome, corrected: Goal | None = None) -> Part:
        """An offer, which takes the place of older ones for the same order; one for each order in a turn."""
        part = outcome.part
        new = part.proposals[0]
        for earlier in (each for said in self.parts for each in said.proposals):
            if {new.kind, earlier.kind} <= AMENDMENTS and earlier.order_id == new.order_id:
                what = self.words.say(f"goal.{outcome.offered.intent}") if outcome.offered else ""
                return Part(text=self.words.say("one_at_a_time", what=what))
        older = [action.id for action in self._open() if _is_replaced(action, new, corrected)]
        if not older:
            return part
        text = self.words.sentences(part.text, self.words.say("replaces"))
        return msgspec.structs.replace(part, text=text, withdraw=older)

    def _take_up(self) -> None:
        """Ask again what is still open, after something else was answered; or go on with the next."""
        goal = self.goal
        if goal is None or goal is self._asked or self._blind or not self.parts:
            return
        try:
            outcome = (
                goals.question(self.case, goal, goal.asked, goal.choices)
                if goal.asked
                else goals.proceed(self.case, goal)
            )
        except (Blind, Guest):
            return
        what = self.words.say(f"goal.{goal.intent}")
        word = self.words.say("back_to" if goal.asked else "and_then", what=what)
        self._take(goal, outcome)
        self.parts[-1] = msgspec.structs.replace(self.parts[-1], text=self.words.sentences(word, self.parts[-1].text))

    # everything else

    def _wants(self, piece: Piece) -> Part:
        self._note(piece)
        if piece.intent in ACTIONS:
            return self._act(piece)
        if piece.intent == HUMAN:
            return self._hand_over(piece.text)
        if (lookup := self._lookup(piece)) is not None:
            self.memory = self.memory.but(lookup=lookup)
            return self._say(LOOKUPS[lookup](self.case, piece.text))
        if piece.intent in REFUSED:
            return self._sentence(f"refuse.{piece.intent}")
        if piece.intent in POLITE:
            return self._sentence(piece.intent)
        return self._say(answering.from_article(self.case, self.answers, piece.text, piece.reading, piece.intent))

    def _lookup(self, piece: Piece) -> str | None:
        """What is to be looked up: what was asked for, or the same as before of something else ("and the lamp?")."""
        if piece.intent in LOOKUPS:
            return piece.intent
        if self.memory.focus.product_id and (of_it := commands.asked_of_it(piece.text)):
            return of_it
        text = normal(piece.text)
        goes_on = pattern("follow").match(text) is not None or text.endswith("呢")
        if piece.intent is not None and (piece.confidence >= SURE or not goes_on):
            return None
        names = goes_on or any(says(name, text) for name in ("currencies", "option_words", "synonyms"))
        return self.looked_up if names and len(text) <= PLAIN else None

    def _hand_over(self, text: str) -> Part:
        self.memory = self.memory.but(goals=[])
        return self._say(Part(text=self.words.say("human"), hand_over=text.strip()[:200] or HUMAN))

    def _act(self, piece: Piece) -> Part:
        """Begin on an action; an earlier one that is not finished is left, or comes first if it is of this turn."""
        intent = piece.intent or ""
        if self.goal is not None and self.goal is self._asked:
            self.memory = self.memory.but(goals=[*self.memory.goals, Goal(intent=intent).told(piece.text)])
            return self._sentence("queued", what=self.words.say(f"goal.{intent}"))
        if self.goal is not None:
            what = self.words.say(f"goal.{self.goal.intent}")
            self.memory = self.memory.but(goals=[])
            self._sentence("dropped", what=what)
        return self._take(None, goals.begin(self.case, intent, [piece.text]))


def _is_replaced(action: OpenAction, new: Proposal, corrected: Goal | None) -> bool:
    """Whether a new offer takes the place of an open one: of the same order, or the one that was corrected."""
    same_thing = action.kind == new.kind or {action.kind, new.kind} <= AMENDMENTS
    was = corrected.slots.get("order") if corrected is not None else None
    return same_thing and action.order_id in (new.order_id, was or new.order_id)
