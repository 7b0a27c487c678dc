"""Dialogues as data, in dialogues/{en,zh}/*.json, and what plays them.

Each begins `from` one of starts.json, with what `start` has otherwise, and has turns: what the customer says (`say`),
what that is read as (`intent`; or `reads`, pairs of a piece of text and an intent, where there are several; none: not
known; with a `confidence`, else 0.9), and what is expected (`expect`):

    text, not_text   parts of the answer, or what must not be in it
    proposals        each with kind, order (by its alias) and what its wish has in it
    confirm, decline, hand_over, unanswered    whether; withdraw: how many
    sources          addresses, or how they begin
    topic, intent    as they are

`{A}` stands for the first eight digits of order A's id, `{A.id}` for all of it. `calls` are what was confirmed in the
end, in order, with what that charges (`pays`) and gives back (`gets`) in cents; a cancel gives back all. Orders are
bought from the demo catalogue (`buy`: pairs of sku and count) and are in a `state`; a start that has only orders in
states that a real shop gets to, cards and accounts can be set up there too: see `FAKED`.
"""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from services.support.assistant import Assistant
from services.support.turns import Answer, Answers, Guess, Hit, OpenAction, Reading, Turn
from tests.support.shop import CUSTOMER, Shop, id_of

HERE = Path(__file__).parent / "dialogues"
STARTS = json.loads((HERE / "starts.json").read_text("utf-8"))
AT = datetime(2026, 5, 8, 14, 5, tzinfo=UTC)  # a Friday
FAKED = (
    "days_ago",
    "delivered_days_ago",
    "down",
    "refuse",
    "amendments",
    "sold_out",
    "payment_status",
    "customer",
    "review",
    "returned",
    "transactions",
    "memory",
    "confidence",
)
"""What only a fake shop can begin with or go on: the past, services that are away, refusals to order, and guesses."""
REAL_ANSWERS = "REAL_ANSWERS"


def all_of_them() -> Iterator[dict[str, Any]]:
    for path in sorted(HERE.glob("*/*.json")):
        for dialogue in json.loads(path.read_text("utf-8")):
            start = {**STARTS[dialogue.get("from", "nothing")], **dialogue.get("start", {})}
            yield {"language": path.parent.name, "file": path.stem, **dialogue, "start": start}


def is_for_real_shops(dialogue: dict[str, Any]) -> bool:
    """Whether a dialogue's start can be set up through the HTTP gateway."""
    names = json.dumps([dialogue["start"], list(dialogue), *map(list, dialogue["turns"])])
    return not any(f'"{name}"' in names for name in FAKED)


class FakeAnswers:
    """Reads each text as its turn says, and has an article for every topic."""

    def __init__(self) -> None:
        self.turn: dict[str, Any] = {}

    def read(self, text: str, language: str) -> Reading:
        intent = self._intent(text)
        if intent is None:
            return Reading(guesses=[Guess(intent="cart", confidence=0.1)], known=False)
        return Reading(
            guesses=[Guess(intent=intent, confidence=self.turn.get("confidence", 0.9), terms=["it"])], known=True
        )

    def _intent(self, text: str) -> str | None:
        for part, intent in self.turn.get("reads", ()):
            if part in text:
                return intent
        return self.turn.get("intent")

    def find(
        self, text: str, language: str, intent: str | None = None, limit: int = 3, reading: Reading | None = None
    ) -> list[Hit]:
        topic = self.turn.get("finds", intent)
        if topic is None:
            return [Hit(topic="cart", language=language, title="", text="", score=0.1, terms=[], sure=False)]
        said = f"This is about {topic}. It says more." if language == "en" else f"这是关于{topic}的说明。还有更多。"
        return [Hit(topic=topic, language=language, title=topic, text=said, score=0.9, terms=[], sure=True)]


@cache
def answers() -> Any:
    """The fake ones, or those of the house where the environment asks for them."""
    if os.environ.get(REAL_ANSWERS):
        from services.support import meaning
        from services.support.answers import Answers as Real
        from services.support.answers import articles_of_the_house, phrases_of_the_house

        meant = meaning.of_the_house() if os.environ[REAL_ANSWERS] != "words" else None
        return Real(articles_of_the_house(), phrases_of_the_house(), meaning=meant)
    return FakeAnswers()


class Player:
    """Plays a dialogue with the assistant alone, and keeps its open actions as the service does."""

    def __init__(self, dialogue: dict[str, Any], understanding: Answers | None = None) -> None:
        self.dialogue = dialogue
        self.shop = Shop(dialogue.get("start", {}), AT)
        self.answers: Any = understanding or answers()
        self.assistant = Assistant(self.shop, self.answers)
        self.memory: dict[str, Any] = dialogue.get("memory", {})
        self.open: list[tuple[OpenAction, dict[str, Any]]] = []
        self.calls: list[dict[str, Any]] = []
        self.offered = 0
        self.order_id = id_of(dialogue["about"]) if "about" in dialogue else None

    def filled(self, value: Any) -> Any:
        """With the orders' ids in place of their aliases."""
        if isinstance(value, str):
            value = re.sub(r"\{(\w+)\.id\}", lambda found: id_of(found[1]), value)
            return re.sub(r"\{(\w+)\}", lambda found: id_of(found[1])[:8], value)
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        return [self.filled(each) for each in value] if isinstance(value, list) else value

    def say(self, turn: dict[str, Any]) -> Answer:
        self.shop.down = set(turn.get("down", self.dialogue.get("start", {}).get("down", ())))
        self.answers.turn = turn = self.filled(turn)
        answer = self.assistant.respond(
            Turn(
                text=turn["say"],
                language=self.dialogue["language"],
                at=AT,
                customer_id=None if self.dialogue.get("guest") else CUSTOMER,
                order_id=self.order_id,
                memory=json.loads(json.dumps(self.memory)),
                open_actions=[action for action, _ in self.open],
            )
        )
        self._follow(answer)
        return answer

    def _follow(self, answer: Answer) -> None:
        self.memory = answer.memory
        confirmed = (answer.confirm, *answer.confirm_too)
        gone = {*confirmed, answer.decline, *answer.withdraw}
        for action, wish in self.open:
            if action.id in confirmed:
                self.calls.append({"kind": action.kind, "order": action.order_id, "wish": wish})
        self.open = [each for each in self.open if each[0].id not in gone]
        for each in answer.proposals:
            self.offered += 1
            action = OpenAction(id=f"a-{self.offered}", kind=each.kind, order_id=each.order_id, summary=each.summary)
            self.open.append((action, each.wish))


def holds(expected: Any, value: Any) -> bool:
    """Whether a value has all that is expected of it; objects may have more."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(holds(each, value.get(key)) for key, each in expected.items())
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(holds, expected, value))
    return bool(expected == value)
