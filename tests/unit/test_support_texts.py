"""What customers write: rid of accounts' numbers, and read in a time that does not grow with what they make of it."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.masking import address_shown
from services.support.masking import _EMAIL, clean, masked
from services.support.talk.hearing import MOST, Hearing
from services.support.turns import Guess, Reading
from tests.growth import HOSTILE, LINEAR, growth

NL, DE = "NL91ABNA0417164300", "DE89 3704 0044 0532 0130 00"
SECOND = 1.0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{NL} {DE}", "*** ***"),
        (f"{DE} {NL}", "*** ***"),
        (f"From {DE} please to {NL}, thanks", "From *** please to ***, thanks"),
        (NL.lower(), "***"),
        ("Order AB12 of foo bar baz qux 12345", "Order AB12 of foo bar baz qux 12345"),
        ("sku AB12CD34EF56GH78", "sku AB12CD34EF56GH78"),
    ],
)
def test_accounts_are_hidden_each(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize("text", ["where is order 06012939", "cancel 0601293906012939ffff06012939aaaa"])
def test_numbers_of_orders_stay_also_where_they_look_like_a_phones(text):
    assert masked(text) == text


@pytest.mark.parametrize("text", ["ab12" + "a" * 32 + "- ", "AB12 ", "AB12-"], ids=["long", "short", "joined"])
def test_what_only_looks_like_accounts_is_looked_at_quickly(text):
    began = time.process_time()
    masked(clean((text * 1000)[:4000]))
    assert time.process_time() - began < SECOND


@pytest.mark.parametrize("before", ["", "x@"])
@pytest.mark.parametrize("piece", HOSTILE)
def test_twice_the_text_is_about_twice_the_work(piece, before):
    assert growth(masked, piece, before) < LINEAR


PLAIN_EMAIL = re.compile(r"([A-Za-z0-9])[A-Za-z0-9._%+-]*@((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})")


@given(st.text(alphabet="ab1.-+%_@ ", max_size=30))
def test_addresses_are_hidden_as_the_plain_pattern_says(text):
    assert _EMAIL.sub(address_shown, text) == PLAIN_EMAIL.sub(r"\1***@\2", text)


class Counting:
    """Answers that know nothing, and count what they read."""

    def __init__(self):
        self.read_texts = []

    def read(self, text, language):
        self.read_texts.append(text)
        return Reading(guesses=[Guess(intent="order_status", confidence=0.9)], known=True)


def test_a_message_of_many_parts_is_read_in_few_and_nothing_of_it_is_left_out():
    answers = Counting()
    texts = [f"Where is parcel {number}?" for number in range(100)]
    Hearing(answers, "en", None).pieces("\n".join(texts))
    assert len(answers.read_texts) <= MOST + 1
    assert all(any(text in read for read in answers.read_texts[1:]) for text in texts)
