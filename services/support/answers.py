"""Understands what somebody writes and finds the article that answers it, without a language model.

Intents: a linear classifier over words and pieces of words, taught by the phrases in data/phrases; where the extra is
installed, what the text means (meaning.py) speaks beside it. Articles: BM25 over their texts and the phrases of their
topics, to which the reading's opinion is added. Both say which terms spoke for what they found.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import bm25s
import msgspec
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from chassis.types import Message
from services.support.meaning import Meaning
from services.support.terms import LONGEST, features, terms
from services.support.turns import Guess, Hit, Reading

REFUSED = ("legal", "medical", "other_people", "steering", "out_of_scope")
DATA = files("services.support") / "data"


class Text(Message):
    """An article as it is searched."""

    topic: str
    language: str
    title: str
    text: str
    keywords: list[str] = []


class Thresholds(Message):
    """From which confidence an intent is acted on, and from which score an article is answered from."""

    known: float = 0.04
    sure: float = 0.33


class Classifier:
    """Of one language. Deterministic: the same phrases teach the same. Its words' margins and what a text means are
    opinions; a softmax of their weighted sum is how likely each intent is."""

    WORDS, MEANING = 5.0, 0.7
    REFUSAL = 2.0
    """So much likelier what is refused is taken to be: nobody can write down all that might be asked for."""

    def __init__(self, phrases: Mapping[str, Sequence[str]], meaning: Meaning | None = None) -> None:
        labelled = [(phrase, label) for label, all_of_it in phrases.items() for phrase in all_of_it]
        self._vectorizer = TfidfVectorizer(analyzer=features, sublinear_tf=True, dtype=np.float32)
        vectors = self._vectorizer.fit_transform([phrase for phrase, _ in labelled])
        self._model = LinearSVC(C=0.7, class_weight="balanced", random_state=0)
        self._model.fit(vectors, [label for _, label in labelled])
        self._names = self._vectorizer.get_feature_names_out()
        self._intents = self._model.classes_.tolist()
        self._leaning = np.log([self.REFUSAL if intent in REFUSED else 1.0 for intent in self._intents])
        self._meaning = meaning

    def guesses(self, text: str, limit: int = 3) -> list[Guess]:
        """The likeliest intents, the best first."""
        vector = self._vectorizer.transform([text])
        spoken = self.WORDS * self._model.decision_function(vector)[0] + self._leaning
        if self._meaning is not None:
            spoken += self.MEANING * self._meaning.speaks_for(text, self._intents)
        likely = np.exp(spoken - spoken.max())
        likely /= likely.sum()
        best = np.argsort(-likely, kind="stable")[:limit]
        return [self._guess(vector, int(index), float(likely[index])) for index in best]

    def _guess(self, vector: Any, index: int, confidence: float) -> Guess:
        weights = vector.data * self._model.coef_[index][vector.indices]
        ranked = [(weight, self._names[term]) for weight, term in zip(weights, vector.indices, strict=True)]
        told = [name for weight, name in sorted(ranked, reverse=True) if weight > 0 and name[0] not in "~<"]
        return Guess(intent=self._intents[index], confidence=round(confidence, 4), terms=told[:5])


class Index:
    """The articles of one language."""

    OWN, TITLE, KEYWORDS = 1, 3, 2
    """How often what an article says itself is counted."""

    def __init__(self, articles: Sequence[Text], phrases: Mapping[str, Sequence[str]]) -> None:
        self.articles = list(articles)
        documents = [self._document(article, phrases.get(article.topic, ())) for article in articles]
        self._bm25 = bm25s.BM25()
        if documents:
            self._bm25.index(documents, show_progress=False)
        self._known = [frozenset(document) for document in documents]
        self._vocabulary = frozenset(term for document in self._known for term in document)

    def scores(self, text: str) -> tuple[list[str], Any]:
        """The terms of a text that are in any article, and each article's score by them, 0 to 1."""
        asked = [term for term in dict.fromkeys(terms(text)) if term in self._vocabulary]
        if not asked:
            return [], np.zeros(len(self.articles))
        scores = self._bm25.get_scores(asked)
        return asked, scores / max(float(scores.max()), 1e-9)

    def spoke_for(self, asked: Sequence[str], number: int) -> list[str]:
        return [term for term in asked if term in self._known[number] and not term.endswith(".")][:8]

    def _document(self, article: Text, phrases: Iterable[str]) -> list[str]:
        text = article.text
        own = _all(text[begins : begins + LONGEST] for begins in range(0, len(text), LONGEST)) * self.OWN
        own += terms(article.title) * self.TITLE
        return [*own, *(term for word in article.keywords for term in terms(word) * self.KEYWORDS), *_all(phrases)]


def _all(texts: Iterable[str]) -> list[str]:
    return [term for text in texts for term in terms(text)]


class Answers:
    """Reads and finds in both languages. Making one takes seconds of computing; afterwards it only reads."""

    WEIGHT = 0.7
    """Of the classifier's opinion on an article; the rest is BM25's."""

    def __init__(
        self,
        articles: Iterable[Text],
        phrases: Mapping[str, Mapping[str, Sequence[str]]],
        thresholds: Thresholds | None = None,
        meaning: Meaning | None = None,
    ) -> None:
        self._thresholds = thresholds or Thresholds()
        self._phrases = phrases
        self.goes_by_meaning = meaning is not None
        texts = list(articles)
        self._classifiers = {
            language: Classifier(taught(phrases[language], texts, language), meaning) for language in phrases
        }
        self.index(texts)

    def index(self, articles: Iterable[Text]) -> None:
        """Take these articles instead, as after an edit."""
        texts = list(articles)
        self._indexes = {
            language: Index([text for text in texts if text.language == language], phrases)
            for language, phrases in self._phrases.items()
        }

    def read(self, text: str, language: str) -> Reading:
        """What somebody wants by a text."""
        guesses = self._classifiers[language].guesses(text)
        return Reading(guesses=guesses, known=guesses[0].confidence >= self._thresholds.known)

    def find(
        self, text: str, language: str, intent: str | None = None, limit: int = 3, reading: Reading | None = None
    ) -> list[Hit]:
        """Articles for a text, the best first; `intent`, a topic, speaks for its article, and so does the text's
        `reading`, without which it is read anew."""
        index = self._indexes[language]
        asked, scores = index.scores(text)
        opinion = {guess.intent: guess.confidence for guess in (reading or self.read(text, language)).guesses}
        if intent is not None:
            opinion[intent] = max(1.0, opinion.get(intent, 0.0))
        believed = np.array([opinion.get(article.topic, 0.0) for article in index.articles])
        total = self.WEIGHT * believed + (1 - self.WEIGHT) * scores
        best = np.argsort(-total, kind="stable")[:limit]
        return [self._hit(index, asked, int(number), float(total[number])) for number in best if total[number] > 0]

    def _hit(self, index: Index, asked: Sequence[str], number: int, score: float) -> Hit:
        article = index.articles[number]
        return Hit(
            topic=article.topic,
            language=article.language,
            title=article.title,
            text=article.text,
            score=round(score, 4),
            terms=index.spoke_for(asked, number),
            sure=score >= self._thresholds.sure,
        )


def taught(phrases: Mapping[str, Sequence[str]], articles: Iterable[Text], language: str) -> dict[str, list[str]]:
    """What a classifier learns from: phrases, and the titles and keywords of articles as phrases of their topics."""
    lessons = {label: list(all_of_it) for label, all_of_it in phrases.items()}
    for article in articles:
        if article.language == language and article.topic in lessons:
            lessons[article.topic] += [article.title, *article.keywords]
    return lessons


def articles_of_the_house() -> list[Text]:
    """The articles that come with the service."""
    return [
        msgspec.convert({**each, "language": language}, Text)
        for language in ("en", "zh")
        for each in json.loads((DATA / "articles" / f"{language}.json").read_text())
    ]


def phrases_of_the_house() -> dict[str, dict[str, list[str]]]:
    """The training phrases, by language and intent."""
    return {language: json.loads((DATA / "phrases" / f"{language}.json").read_text()) for language in ("en", "zh")}
