"""What a language model may choose among, and what it may make of an article: see tests/component/test_support_model.py
for what it may not."""

import json

import pytest

from services.support import advice
from services.support.answers import articles_of_the_house
from services.support.talk.intents import CONSENT, HUMAN, POLITE, QUEUES, REFUSED
from services.support.turns import Hit

ARTICLES = {(each.topic, each.language): each for each in articles_of_the_house()}
GOOD = [
    ("return_window", "en", "Yes, you can still return it, as long as you ask within 30 days of the delivery."),
    ("delivery_time", "en", "There is no express or weekend delivery, but you can follow your parcel by its number."),
    ("delivery_cost", "en", "Shipping to France is 9.90 euros for the first article, 1.00 euro for each further one."),
    ("gift_cards", "en", "No, your gift card never expires. Whatever an order does not use stays on the card."),
    ("return_window", "zh", "可以的，只要在送达后30天内申请就行。"),
]


def test_its_labels_are_all_intents_but_those_that_act_at_once():
    assert set(advice.LABELS) == {*QUEUES, *POLITE, *REFUSED}
    assert not {*CONSENT, HUMAN, advice.NONE} & set(advice.LABELS)
    assert all(f"\n{label}: {meaning}\n" in advice.READ for label, meaning in advice.LABELS.items())


@pytest.mark.parametrize(("topic", "language", "text"), GOOD)
def test_an_answer_in_the_words_of_its_article_is_taken(topic, language, text):
    article = ARTICLES[topic, language]
    hit = Hit(topic=topic, language=language, title=article.title, text=article.text, score=1.0, terms=[], sure=True)
    assert advice.phrase_of(json.dumps({"text": f" {text}\n"}), hit) == text
