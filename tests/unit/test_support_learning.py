"""What a process of support learns from, and where it reads."""

import pytest

from services.support import learning
from services.support.answers import Answers, articles_of_the_house, phrases_of_the_house
from services.support.learning import Learned
from services.support.turns import Reading


class Known:
    """Answers that are there, and how they were asked."""

    def __init__(self, goes_by_meaning):
        self.goes_by_meaning, self.asked = goes_by_meaning, []

    def read(self, text, language):
        self.asked.append(("read", text))
        return Reading(guesses=[], known=False)

    def find(self, text, language, intent, limit, reading):
        self.asked.append(("find", text, reading))
        return []


@pytest.fixture
def threads(monkeypatch):
    """What was given to threads."""
    given = []

    def off_hub(fn, *args):
        given.append(args)
        return fn(*args)

    monkeypatch.setattr(learning, "off_hub", off_hub)
    return given


def learned(known, monkeypatch):
    monkeypatch.setattr(Learned, "_learned", lambda self: known)
    return Learned()


@pytest.mark.parametrize("by_meaning", [True, False])
def test_a_text_is_read_in_a_thread_only_where_that_takes_long(by_meaning, threads, monkeypatch):
    learned(Known(by_meaning), monkeypatch).read("hello", "en")
    assert threads == ([("hello", "en")] if by_meaning else [])


def test_a_search_reads_its_text_once_and_in_a_thread(threads, monkeypatch):
    known = Known(goes_by_meaning=True)
    learned(known, monkeypatch).find("refund", "en")
    assert known.asked == [("read", "refund"), ("find", "refund", Reading(guesses=[], known=False))]
    assert threads == [("refund", "en")]


def test_what_was_read_is_not_read_again(threads, monkeypatch):
    known, reading = Known(goes_by_meaning=True), Reading(guesses=[], known=True)
    learned(known, monkeypatch).find("refund", "en", reading=reading)
    assert known.asked == [("find", "refund", reading)]
    assert threads == []


def test_edits_are_not_looked_for_while_it_still_learns():
    still = Learned()
    assert still.is_of("an edit's stamp")
    still._answers._made.send(Known(goes_by_meaning=False))
    assert not still.is_of("an edit's stamp")


@pytest.mark.parametrize("by_meaning", [True, False])
def test_the_setting_says_whether_meaning_is_gone_by(by_meaning, monkeypatch):
    few = {
        language: {label: texts[:3] for label, texts in each.items()}
        for language, each in phrases_of_the_house().items()
    }
    monkeypatch.setattr(learning, "phrases_of_the_house", lambda: few)
    monkeypatch.setattr(learning, "articles_of_the_house", lambda: articles_of_the_house()[:3])
    monkeypatch.setattr(learning.meaning, "of_the_house", Silent)
    answers = learning._learn(by_meaning)
    assert isinstance(answers, Answers)
    assert answers.goes_by_meaning is by_meaning


class Silent:
    def speaks_for(self, text, intents):
        return [0.0] * len(intents)
