"""Dialogues of tests/support/dialogues on the real processes: what is said, until what has become of the orders."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.shopping import Customer, Desk
from tests.e2e.system import System
from tests.support.dialogues import all_of_them, is_for_real_shops
from tests.support.through_gateway import Played

CHOSEN = {
    "en": {
        "the only order",
        "and then no",
        "which of two, by number",
        "too late, so it is returned",
        "address, a slip",
        "another card",
        "a correction",
        "a difference, by card",
        "steering inside a wish",
        "with questions",
    },
    "zh": {"唯一的订单", "算了", "一步一步", "换大一号", "改地址，一次说完"},
}


def chosen() -> list[dict[str, Any]]:
    return [each for each in all_of_them() if each["name"] in CHOSEN[each["language"]] and is_for_real_shops(each)]


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    shop.wait_learned()
    with Customer(shop.url) as customer:
        yield customer


def test_all_that_are_named_are_there() -> None:
    assert {each["name"] for each in chosen()} == CHOSEN["en"] | CHOSEN["zh"]


@pytest.mark.parametrize("dialogue", chosen(), ids=lambda each: f"{each['language']}-{each['file']}-{each['name']}")
def test_it_ends_with_the_orders_as_they_were_wished(dialogue: dict[str, Any], ada: Customer, desk: Desk) -> None:
    played = Played(dialogue, ada, desk)
    played.play()
    played.require_that_it_ended()
