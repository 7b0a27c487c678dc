"""Understanding and finding, with a language model's advice: it stands where the built-in answers stand, so that
nothing but a label and the words of an answer can come from it.

It is never asked

- where the built-in takes any part of the message for something to refuse: what is refused stays refused;
- while something waits for the customer's answer: that is read by the rules alone, and not shown to anybody;
- more than once for each of its two tasks in one message.
"""

from collections.abc import Sequence
from functools import cached_property

import msgspec

from services.support.adapters import Model
from services.support.talk import clauses, memory
from services.support.talk.hearing import MOST
from services.support.talk.intents import CONSENT, REFUSED
from services.support.turns import Answers, Guess, Hit, Reading, Turn

ADVICE = 0.4
"""The confidence of a label that the model chose: acted on, but below talk.speaking.SURE, from which on a text may
count as consent, or as something new while a question is open."""


def advised(answers: Answers, model: Model | None, turn: Turn) -> Answers:
    """The answers for one turn; the built-in ones where there is no model, or where it has no say."""
    return Advised(answers, model, turn) if model is not None and not _waits(turn) else answers


def _waits(turn: Turn) -> bool:
    """Whether an offer is open, or something was asked."""
    kept = memory.load(turn.memory)
    return bool(turn.open_actions or kept.choosing or any(goal.asked for goal in kept.goals))


class Advised:
    """See Answers."""

    def __init__(self, answers: Answers, model: Model, turn: Turn) -> None:
        self._answers, self._model, self._turn = answers, model, turn
        self._readings: dict[str, Reading] = {}
        self._labels = self._phrases = 1
        """Questions that are left."""

    def read(self, text: str, language: str) -> Reading:
        reading = self._built_in(text)
        if not self._labels or self._is_sure(reading) or self._is_refused:
            return reading
        self._labels -= 1
        label = self._model.label(text, self._turn.before)
        return _led_by(label, reading) if label is not None else reading

    def find(
        self, text: str, language: str, intent: str | None = None, limit: int = 3, reading: Reading | None = None
    ) -> list[Hit]:
        hits = self._answers.find(text, language, intent, limit, reading)
        best = next((number for number, hit in enumerate(hits) if hit.sure), None)
        if best is None or not self._phrases or not self._model.settings.phrases or self._is_refused:
            return hits
        self._phrases -= 1
        phrased = msgspec.structs.replace(hits[best], phrased=self._model.phrase(text, hits[best]))
        return [*hits[:best], phrased, *hits[best + 1 :]]

    def _built_in(self, text: str) -> Reading:
        if text not in self._readings:
            self._readings[text] = self._answers.read(text, self._turn.language)
        return self._readings[text]

    def _is_sure(self, reading: Reading) -> bool:
        best = reading.guesses[0]
        return reading.known and (best.confidence >= self._model.settings.reads_below or best.intent in CONSENT)

    @cached_property
    def _is_refused(self) -> bool:
        """Whether the built-in would refuse any part of the message, sure of it or not; or it has too many parts."""
        parts: Sequence[str] = clauses.split(self._turn.text)
        if len(parts) > MOST:
            return True
        readings = (self._built_in(clauses.without_answer(each)) for each in (self._turn.text, *parts))
        return any(reading.guesses[0].intent in REFUSED for reading in readings)


def _led_by(label: str, reading: Reading) -> Reading:
    return Reading(guesses=[Guess(intent=label, confidence=ADVICE), *reading.guesses], known=True)
