"""Dialogues of tests/support/dialogues on the real processes: what is said, until what has become of orders, money,
stock and accounts. One customer for each; they share the running shop, and play one after the other."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.shopping import Customer, Desk, Person
from tests.e2e.system import System
from tests.support.dialogues import all_of_them, is_for_real_shops
from tests.support.through_gateway import SKU, Played

AT_LEAST = 85
BY_DAY = "it names a day, and here all orders are of today"
READS = "the house's own understanding reads it otherwise than the file says"
LEFT_OUT = {
    "en-cancel-which of two, by day": BY_DAY,
    "en-changes-a day is no street": BY_DAY,
    "zh-cancel-按日期": BY_DAY,
    "zh-cancel-昨天的": BY_DAY,
    "en-exchanges-both, where what was said names one of them again": READS,
    "en-lookups-which of them are under way": READS,
    "en-returns-one more thing": READS,
    "en-talk-not known": READS,
    "en-talk-not known, and no": READS,
    "en-together-a story, then a wish": READS,
    "en-together-in vain, then by name": READS,
    "en-together-a yes to an offer and to a person": READS,
    "en-together-an offer and a suggestion, and yes": READS,
    "en-together-a question about an offer changes nothing": READS,
    "zh-exchanges-没发货就修改": READS,
    "zh-talk-不知道": READS,
}
"""Which could be played here and are not, and why."""
UNITS = 2000
"""Of every article that is spoken of: enough for all of them."""
ACTIONS = {
    "cancel",
    "change_address",
    "change_items",
    "change_payment",
    "return",
    "exchange",
    "resend_mail",
    "freeze_account",
}


def name_of(dialogue: dict[str, Any]) -> str:
    return f"{dialogue['language']}-{dialogue['file']}-{dialogue['name']}"


POSSIBLE = [each for each in all_of_them() if is_for_real_shops(each)]
CHOSEN = [each for each in POSSIBLE if name_of(each) not in LEFT_OUT]


@pytest.fixture(scope="module")
def stocked(shop: System) -> System:
    """The shop with enough of everything, and having learned."""
    shop.wait_learned()
    with Desk(shop.url) as desk:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        for sku in sorted(set(SKU.findall(json.dumps(CHOSEN)))):
            desk.call("POST", f"/v1/stock/{sku}/adjustments", json={"quantity": UNITS, "reason": "delivery"})
    return shop


@pytest.fixture
def ada(stocked: System) -> Iterator[Customer]:
    with Customer(stocked.url) as customer:
        yield customer


@pytest.fixture
def guest(stocked: System) -> Iterator[Person]:
    with Person(stocked.url) as person:
        yield person


def test_enough_are_played_in_both_languages_and_all_that_can_be_done_is_done() -> None:
    assert LEFT_OUT.keys() <= {name_of(each) for each in POSSIBLE}
    assert len(CHOSEN) >= AT_LEAST
    for language in ("en", "zh"):
        done = [call["kind"] for each in CHOSEN if each["language"] == language for call in each.get("calls", ())]
        assert set(done) == ACTIONS


@pytest.mark.parametrize("dialogue", CHOSEN, ids=name_of)
def test_it_ends_with_everything_as_it_was_wished(
    dialogue: dict[str, Any], stocked: System, ada: Customer, guest: Person, desk: Desk
) -> None:
    played = Played(dialogue, ada, guest, desk, stocked.mails_to)
    played.play()
    played.require_that_it_ended()
