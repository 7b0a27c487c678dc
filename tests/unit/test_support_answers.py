"""What is learned and searched: complete, in both languages, explained, and not learned by heart from its test."""

import json
from pathlib import Path

import numpy as np
import pytest
from rapidfuzz import fuzz, process

from services.support.answers import Answers, Classifier, Text, articles_of_the_house, phrases_of_the_house
from services.support.terms import features, normal, terms, words

LANGUAGES = ("en", "zh")
QUESTIONS = Path(__file__).parents[1] / "support" / "questions"
ALIKE = 92.0
"""Of 100: a question that is so near to a training phrase was learned by heart."""

ARTICLES, PHRASES = articles_of_the_house(), phrases_of_the_house()
TOPICS = [each.topic for each in ARTICLES if each.language == "en"]


class Means:
    """Takes every text to speak for one intent, and remembers what it was asked."""

    def __init__(self, intent):
        self.intent, self.asked = intent, []

    def speaks_for(self, text, intents):
        self.asked.append(text)
        return np.array([10.0 * (each == self.intent) for each in intents])


FEW = {language: {label: texts[::10] for label, texts in PHRASES[language].items()} for language in LANGUAGES}


@pytest.fixture(scope="module")
def small():
    """Answers that learned from a tenth, for what does not depend on how much was learned."""
    return Answers(ARTICLES, FEW)


def questions(name):
    return json.loads((QUESTIONS / f"{name}.json").read_text())


# --- the data


def test_each_topic_has_one_article_in_each_language():
    assert len(TOPICS) >= 60
    assert len(set(TOPICS)) == len(TOPICS)
    assert sorted(each.topic for each in ARTICLES if each.language == "zh") == sorted(TOPICS)
    assert [each.topic for each in ARTICLES if not (each.title and each.keywords and len(each.text) > 60)] == []


def test_each_intent_has_phrases_in_both_languages_and_no_phrase_has_two():
    assert sorted(PHRASES["en"]) == sorted(PHRASES["zh"])
    assert set(TOPICS) <= set(PHRASES["en"])
    for language in LANGUAGES:
        every = [normal(text) for texts in PHRASES[language].values() for text in texts]
        assert min(len(texts) for texts in PHRASES[language].values()) >= 40
        assert len(every) - len(set(every)) <= 3  # order numbers are one to it


@pytest.mark.parametrize(("name", "least"), [("en", 300), ("en2", 300), ("zh", 150), ("zh2", 150)])
def test_questions_are_enough_known_and_not_among_the_phrases(name, least):
    asked, phrases = questions(name), PHRASES[name[:2]]
    assert len(asked) >= least
    assert {intent for each in asked for intent in each["intents"]} <= set(phrases)
    learned = [normal(text) for texts in phrases.values() for text in texts if len(text) >= 12]
    near = []
    for each in asked:
        text = normal(each["text"])
        found = process.extractOne(text, learned, scorer=fuzz.ratio, score_cutoff=ALIKE) if len(text) >= 12 else None
        if found is not None:
            near.append((each["text"], found[0]))
    assert near == []


# --- terms


def test_which_order_or_article_is_meant_is_no_term():
    assert words("where is e10732d2edd840649ae49ec73dfb6773") == words("where is 0123abcd")
    assert words("is SHIRT-RED-42 there") == words("is mug-7 there")
    assert "bed" in words("is the bed faced")  # a word that hex digits could write


def test_chinese_is_found_in_both_scripts_and_widths():
    assert terms("退貨運費") == terms("退货运费")
    assert words("\uff21\uff22\uff23\u3000d") == words("abc d")


@pytest.mark.parametrize("text", ["", "?", "\x00", "\u202eevil", "a" * 100_000, "<script>alert(1)</script>", "😀"])
def test_no_text_is_too_odd(small, text):
    assert isinstance(features(text), list)
    for language in LANGUAGES:
        assert small.read(text, language).guesses
        assert len(small.find(text, language)) <= 3


# --- reading and finding


def test_the_same_phrases_teach_the_same():
    few = {label: texts[:8] for label, texts in list(PHRASES["en"].items())[:10]}
    first, second = Classifier(few), Classifier(few)
    assert first.guesses("how do I order") == second.guesses("how do I order")


def test_a_reading_says_how_sure_it_is_and_by_which_terms(small):
    reading = small.read("Please cancel my order right now", "en")
    assert [each.confidence for each in reading.guesses] == sorted(
        (g.confidence for g in reading.guesses), reverse=True
    )
    assert 0 < sum(each.confidence for each in reading.guesses) <= 1
    cancels = next(each for each in reading.guesses if "cancel" in each.intent)
    assert "cancel" in cancels.terms


def test_what_a_text_means_speaks_beside_its_words():
    few = {label: PHRASES["en"][label][:8] for label in ("cart", "refund_time", "receipt")}
    text = few["cart"][0]
    assert Classifier(few).guesses(text)[0].intent == "cart"
    assert Classifier(few, Means("receipt")).guesses(text)[0].intent == "receipt"
    unheard = "zzzzzz"
    assert Classifier(few, Means("cart")).guesses(unheard)[0].intent == "cart"
    assert Classifier(few, Means("refund_time")).guesses(unheard)[0].intent == "refund_time"


def test_what_is_refused_is_taken_for_twice_as_likely_as_it_looks():
    class Even(Classifier):
        REFUSAL = 1.0

    few = {label: PHRASES["en"][label][:8] for label in ("cart", "receipt", "legal")}
    looks, taken = (
        {guess.intent: guess.confidence for guess in kind(few).guesses("is it legal to keep a cart")}
        for kind in (Even, Classifier)
    )
    assert taken["legal"] / taken["cart"] == pytest.approx(2.0 * looks["legal"] / looks["cart"], rel=0.01)
    assert taken["receipt"] / taken["cart"] == pytest.approx(looks["receipt"] / looks["cart"], rel=0.01)


def test_a_text_that_was_read_is_not_read_again_to_find_its_article():
    means = Means("refund_time")
    answers = Answers(ARTICLES, FEW, meaning=means)
    reading = answers.read("when", "en")
    hits = answers.find("when", "en", reading=reading)
    assert means.asked == ["when"]
    assert hits[0].topic == "refund_time"
    assert answers.find("when", "en") == hits  # without a reading it reads by itself
    assert means.asked == ["when", "when"]


def test_a_found_article_says_by_which_terms(small):
    best = small.find("How long does a refund take to reach my card?", "en", intent="refund_time")[0]
    assert (best.topic, best.language, best.sure) == ("refund_time", "en", True)
    assert "refund" in best.terms


def test_an_edited_article_is_found_by_its_new_words(small):
    new = Text(
        topic="zeppelin", language="en", title="Zeppelins", text="We deliver by zeppelin on Sundays.", keywords=[]
    )
    small.index([*ARTICLES, new])
    assert "zeppelin" in [hit.topic for hit in small.find("do you deliver by zeppelin", "en")]
    small.index(ARTICLES)
    assert "zeppelin" not in [hit.topic for hit in small.find("do you deliver by zeppelin", "en")]


def test_without_articles_nothing_is_found(small):
    small.index([])
    assert small.find("refund", "en") == []
    small.index(ARTICLES)
