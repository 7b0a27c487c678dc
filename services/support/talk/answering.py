"""General questions, answered from articles and nothing else; and what is refused, or only a word."""

import re

from contracts.support import Source
from services.support.talk.case import Case, Part
from services.support.talk.intents import TOPICS
from services.support.talk.memory import Suggestion
from services.support.turns import Answers, Hit, Reading

SENTENCES = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
CHINESE_PER_WORD = 2
"""So many Chinese characters are as long as a word."""


def person(text: str) -> Suggestion:
    """That a person looks at what was said."""
    return Suggestion(intent="human", hints=[text[:200]])


def quoted(text: str, words: int, language: str) -> str:
    """The first sentences of an article, up to so many words; the first one always."""
    taken: list[str] = []
    length = 0
    for sentence in filter(None, SENTENCES.split(" ".join(text.split()))):
        length += len(sentence) // CHINESE_PER_WORD if language == "zh" else len(sentence.split())
        if taken and length > words:
            break
        taken.append(sentence)
    return ("" if language == "zh" else " ").join(taken)


def from_article(case: Case, answers: Answers, text: str, reading: Reading, intent: str | None) -> Part:
    """What the article says; or that it is not known, and a person is offered."""
    hits = answers.find(text, case.words.language, intent if intent in TOPICS else None, reading=reading)
    best = next((hit for hit in hits if hit.sure), None)
    if best is not None:
        said = best.phrased or quoted(best.text, case.settings.quote_words, best.language)
        return Part(text=said, sources=[_source(best)])
    nearest = hits[0].topic if hits else reading.guesses[0].intent if reading.guesses else None
    return Part(text=case.words.say("unknown"), suggestion=person(text), unanswered=True, nearest=nearest)


def _source(hit: Hit) -> Source:
    return Source(title=hit.title, url=f"/v1/articles/{hit.topic}?language={hit.language}")
