"""What operators are shown holds no secret, and stays readable."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.masking import DEEPEST, HIDDEN, MASKED, masked, masked_text
from tests.growth import HOSTILE, LINEAR, growth


@pytest.mark.parametrize("name", [name for name in MASKED if name != "email"])
def test_a_field_of_the_table_is_hidden_whatever_is_in_it(name):
    for value in ("abc", 12, ["abc"], {"a": "abc"}):
        assert masked({name: value}) == {name: HIDDEN}


def test_a_name_that_ends_in_one_of_the_table_is_masked_as_that_one():
    assert masked({"customer_email": "ada@rialto.example", "hook_secret": "s", "TOKEN": "t"}) == {
        "customer_email": "a***@rialto.example",
        "hook_secret": HIDDEN,
        "TOKEN": HIDDEN,
    }


def test_what_is_no_secret_stays_as_it_is():
    shown = {
        "id": "0f3c9a7be1d94c0f8a51e2b7c6d5a4f3",
        "sku": "LAMP-1",
        "amount": 1999,
        "at": "2026-11-24T04:00:00Z",
        "tokens": 3,
        "has_token": True,
        "email": None,
        "tracking": "RL-000000012345",
    }
    assert masked(shown) == shown


def test_addresses_keep_their_first_letter_and_their_domain():
    assert masked({"email": "ada.lovelace@rialto.example"}) == {"email": "a***@rialto.example"}
    assert masked({"email": "no address"}) == {"email": HIDDEN}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mail to ada@rialto.example failed", "mail to a***@rialto.example failed"),
        ("tok_visa was refused", "*** was refused"),
        ("Bearer abc.def", "***"),
        ("eyJhbGciOi.eyJzdWIi.c2ln is old", "*** is old"),
        ("eyJx-tok_visa", "eyJx-***"),
        ("xeyJhbGciOi.eyJzdWIi.c2ln", "x***"),
        ("a@b.c+ada@d.example and a@b.c..ada@d.example", "a***@b.c+***@d.example and a***@b.c.***@d.example"),
        ("amqp://guest:secret@host/", "amqp://***@host/"),
        ("amqp://guest:se:cret@1@host:5672/", "amqp://***@host:5672/"),
        ("http://:secret@host.example", "http://***@host.example"),
        ("smtp://me@rialto.example:secret@mail.example:587", "smtp://***@mail.example:587"),
        (
            "postgresql://me@/db?host=/run&password=secret&sslmode=require",
            "postgresql://me@/db?host=/run&password=***&sslmode=require",
        ),
        ("http://127.0.0.1:8101/v1 or http://127.0.0.1:8102", "http://127.0.0.1:8101/v1 or http://127.0.0.1:8102"),
        ("card 4242 4242 4242 4242", "card ***"),
        ("order 4242424242424241", "order 4242424242424241"),  # no card number: its check digit is wrong
    ],
)
def test_sentences_lose_what_looks_like_a_secret(text, shown):
    assert masked_text(text) == shown
    assert masked({"detail": [text]}) == {"detail": [shown]}


def test_what_nests_too_deep_is_hidden():
    value = "open"
    for _ in range(DEEPEST + 2):
        value = {"in": value}
    assert "open" not in str(masked(value))


@pytest.mark.parametrize("before", ["", "://", "x@"])
@pytest.mark.parametrize("piece", HOSTILE)
def test_twice_the_text_is_about_twice_the_work(piece, before):
    assert growth(masked_text, piece, before) < LINEAR


PLAIN_EMAIL = re.compile(r"([\w.+-])[\w.+-]*@([\w-]+(?:\.[\w-]+)+)")
PLAIN_URI = re.compile(r"(?<=://)[^/\s]*:[^/\s]*(?=@)")


@given(st.text(alphabet="ab.-+_@:/ ", max_size=30))
def test_addresses_and_uris_are_hidden_as_the_plain_patterns_say(text):
    assert masked_text(text) == PLAIN_URI.sub(HIDDEN, PLAIN_EMAIL.sub(r"\1***@\2", text))
