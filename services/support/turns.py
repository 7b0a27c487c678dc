"""What a turn of a conversation is made of: what the assistant is given, and what it gives back. Data only."""

from datetime import datetime
from typing import Any, Protocol

import msgspec

from chassis.types import Message, Money
from contracts.support import Change, Source


class Guess(Message):
    """An intent, how sure that is (0 to 1), and the terms that spoke for it, the strongest first."""

    intent: str
    confidence: float
    terms: list[str] = []


class Reading(Message):
    """What a text is about: its guesses, the best first. `known`: sure enough to act on the first."""

    guesses: list[Guess]
    known: bool


class Hit(Message):
    """An article found for a text. `score` is 0 to 1; `sure`: good enough to answer from. `phrased`: what it says to
    the text, where a language model worded that."""

    topic: str
    language: str
    title: str
    text: str
    score: float
    terms: list[str]
    sure: bool
    phrased: str | None = None


class Answers(Protocol):
    """Understands texts and finds articles: services/support/answers.py."""

    def read(self, text: str, language: str) -> Reading:
        """What somebody wants by a text."""
        ...

    def find(
        self, text: str, language: str, intent: str | None = None, limit: int = 3, reading: Reading | None = None
    ) -> list[Hit]:
        """Articles for a text, the best first; `intent` (a topic's id) speaks for its article, and so does how the text
        was read, if it was."""
        ...


class Proposal(Message):
    """An action to be offered: see contracts.support.Action. `wish` is the arguments of the method that does it."""

    kind: str
    order_id: str | None
    wish: dict[str, Any]
    summary: str
    changes: list[Change]
    amount: Money | None = None


class OpenAction(Message):
    """An action of the conversation that waits for a yes or no."""

    id: str
    kind: str
    order_id: str | None
    summary: str


class Turn(Message):
    """A customer's message (`customer_id` is None for a guest) with what the assistant kept from before (`memory`).

    `order_id` is the order that the conversation was begun about. `before` is what they said last, where a language
    model may see it."""

    text: str
    language: str
    at: datetime
    customer_id: str | None
    order_id: str | None
    memory: dict[str, Any]
    open_actions: list[OpenAction]
    before: list[str] = []


class Answer(Message):
    """What the assistant says and wants done. `confirm` and `decline` are ids of open actions, `confirm_too` those of
    more that the same yes was for; `withdraw` are open
    ones that something newer takes the place of. `hand_over`: why a person is asked for. `unanswered`: the editors
    should know of the question; `nearest` is the topic that came closest."""

    text: str
    intent: str
    confidence: float
    memory: dict[str, Any]
    sources: list[Source] = []
    proposals: list[Proposal] = []
    confirm: str | None = None
    confirm_too: list[str] = []
    decline: str | None = None
    withdraw: list[str] = []
    hand_over: str | None = None
    unanswered: bool = False
    nearest: str | None = None
    topic: str = "other"


def plain(value: Any) -> dict[str, Any]:
    """A message as plain JSON values, for memory and wishes."""
    built: dict[str, Any] = msgspec.to_builtins(value)
    return built
