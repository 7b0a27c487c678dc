"""The assistant's sentences and memory, and what holds whatever is said."""

import ast
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.types import Money, refusals_of
from contracts.orders import OrdersApi
from services.support.talk import memory
from services.support.talk.actions import ROWS
from services.support.talk.answering import quoted
from services.support.talk.intents import ACTIONS, LOOKUPS, REFUSED, TOPICS
from services.support.talk.memory import Choice, Focus, Goal, Memory
from services.support.talk.refusals import INSTEAD
from services.support.talk.speaking import LOOKUPS as SPOKEN
from services.support.talk.wording import words_of
from services.support.turns import Guess, Hit, Reading
from tests.support.dialogues import STARTS, Player, all_of_them

EN, ZH = words_of("en"), words_of("zh")
TALK = Path("services/support/talk")
HELD = re.compile(r"\{(\w+)\}")


def test_both_languages_say_the_same_things():
    assert set(EN._say) == set(ZH._say)
    for key, sentence in EN._say.items():
        assert set(HELD.findall(sentence)) == set(HELD.findall(ZH._say[key])), key


def test_everything_that_is_said_is_there():
    for path in TALK.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("say", "say_of", "_sentence"):
                key = node.args[0]
                if isinstance(key, ast.Constant):
                    end = ".other" if node.func.attr == "say_of" else ""
                    assert key.value + end in EN._say, f"{path}: {key.value}"


@pytest.mark.parametrize("words", [EN, ZH], ids=["en", "zh"])
def test_every_refusal_of_what_is_offered_has_a_sentence(words):
    doors = (OrdersApi.cancel, OrdersApi.change, OrdersApi.begin_return, OrdersApi.begin_exchange)
    codes = {code for door in doors for code in refusals_of(door)}
    ours = {"request.invalid", "auth.forbidden", "command.key_reused", "saga.fenced", "orders.key_reused"}
    assert [code for code in codes - ours if not words.knows(f"refused.{code}")] == []
    for intent, state in INSTEAD:
        assert words.knows(f"instead.{intent}.{state}")


def test_every_intent_is_handled():
    assert set(ROWS) == set(ACTIONS)
    assert set(SPOKEN) == set(LOOKUPS)
    for words in (EN, ZH):
        assert all(words.knows(f"refuse.{each}") for each in REFUSED)
        assert all(words.knows(f"goal.{each}") for each in ACTIONS)


@pytest.mark.parametrize(
    ("amount", "currency", "english", "chinese"),
    [
        (1250, "EUR", "€12.50", "12.50 欧元"),
        (125000, "JPY", "¥125,000", "125,000 日元"),
        (123456789, "USD", "$1,234,567.89", "1,234,567.89 美元"),
        (-500, "GBP", "-£5.00", "-5.00 英镑"),
        (1999, "KWD", "1.999 KWD", "1.999 KWD"),
        (5, "CHF", "0.05 CHF", "0.05 瑞士法郎"),
    ],
)
def test_money(amount, currency, english, chinese):
    money = Money(amount=amount, currency=currency)
    assert (EN.money(money), ZH.money(money)) == (english, chinese)


def test_lists():
    assert EN.all_of(["a"]) == "a"
    assert EN.all_of(["a", "b", "c"]) == "a, b and c"
    assert ZH.any_of(["a", "b", "c"]) == "a、b或c"
    assert EN.all_of([]) == ""


def test_an_article_is_quoted_by_whole_sentences():
    text = "One two three. Four five six. " + "Seven " * 90 + "."
    assert quoted(text, 6, "en") == "One two three. Four five six."
    assert quoted("Much " * 200 + ". End.", 6, "en").startswith("Much")
    assert quoted("第一句话。第二句话。", 3, "zh") == "第一句话。"


# --- memory

simple = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
anything = simple | st.lists(simple, max_size=2) | st.dictionaries(st.text(max_size=5), simple, max_size=2)
named = st.dictionaries(st.sampled_from(sorted(Memory.__struct_fields__)), anything, max_size=4)


@given(named)
def test_whatever_was_kept_does_no_harm(kept):
    assert isinstance(memory.load(kept), Memory)


@given(st.lists(st.text(max_size=400), max_size=8), st.integers(1, 8))
def test_memory_stays_small_and_comes_back(hints, count):
    goal = Goal(
        intent="do_return", slots={"reason": "x" * 200}, choices=[Choice(value=["s"] * 20, label="l" * 200)] * 6
    )
    for hint in hints:
        goal = goal.told(hint)
    kept = memory.kept(Memory(goals=[goal] * count, last=goal, focus=Focus(order_id="o")))
    assert len(json.dumps(kept, ensure_ascii=False).encode()) <= memory.AT_MOST_BYTES
    assert memory.load(kept).focus.order_id == "o"


@pytest.mark.parametrize(
    "goals", [[{"intent": "do_dance", "asked": "order"}], [{"intent": "do_cancel", "asked": "hat"}]]
)
def test_a_goal_that_is_not_known_any_more_is_forgotten(goals):
    assert memory.load({"version": 1, "goals": goals}).goals == []


# --- whatever is said

SAID = sorted({turn["say"] for dialogue in all_of_them() for turn in dialogue["turns"]})
INTENTS = sorted({*TOPICS, *LOOKUPS, *ACTIONS, *REFUSED, "human", "greeting", "yes", "no", "unknown"})


class Chance:
    """Reads every text as something that was drawn."""

    def __init__(self):
        self.intent = "unknown"

    def read(self, text, language):
        return Reading(guesses=[Guess(intent=self.intent, confidence=0.9)], known=self.intent != "unknown")

    def find(self, text, language, intent=None, limit=3, reading=None):
        said = Hit(
            topic="cart", language=language, title="Cart", text="It is.", score=1.0, terms=[], sure=intent is not None
        )
        return [said]


turns = st.tuples(
    st.sampled_from(SAID) | st.text(max_size=40) | st.sampled_from(["yes", "no", "2", "both", "好的", "the lamp"]),
    st.sampled_from(INTENTS),
    st.sampled_from([(), ("orders",), ("products",), ("accounts", "users")]),
)


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(STARTS)),
    st.sampled_from(["en", "zh"]),
    st.booleans(),
    st.lists(turns, min_size=1, max_size=7),
)
def test_nothing_is_done_without_an_open_offer_and_nothing_breaks(start, language, guest, said):
    chance = Chance()
    player = Player({"start": STARTS[start], "language": language, "guest": guest}, chance)
    for text, intent, down in said:
        open_before = {action.id for action, _ in player.open}
        chance.intent = intent
        answer = player.say({"say": text or " ", "down": down})
        assert answer.text
        assert len(json.dumps(answer.memory, ensure_ascii=False).encode()) <= memory.AT_MOST_BYTES
        touched = {each for each in (answer.confirm, *answer.confirm_too, answer.decline, *answer.withdraw) if each}
        assert touched <= open_before
        one_each = (answer.confirm, *answer.confirm_too, answer.decline, *answer.withdraw)
        assert len(touched) == sum(map(bool, one_each))
        assert not (guest and answer.proposals)
        assert "orders" not in down or all(each.kind == "freeze_account" for each in answer.proposals)
        for proposal in answer.proposals:
            assert proposal.summary in answer.text
        amended = [each.order_id for each in answer.proposals if each.kind != "resend_mail"]
        assert len(amended) == len(set(amended))


@pytest.mark.parametrize(
    "text",
    [
        "no " * 1300,
        "a" * 4000,
        "1 " * 2000,
        "取消" * 2000,
        "@" * 4000,
        "send it to " * 350,
        "yes, " * 800,
        "12 Rose Lane, " * 280,
    ],
    ids=lambda text: text[:8],
)
def test_long_texts_are_read_in_time(text):
    player = Player({"start": STARTS["several"], "language": "en"}, Chance())
    begun = time.monotonic()
    for intent in ("do_change_address", "do_exchange", "product_price", "unknown"):
        player.answers.intent = intent
        player.say({"say": text})
    assert time.monotonic() - begun < 4
