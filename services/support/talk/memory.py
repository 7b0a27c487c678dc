"""What the assistant keeps between two messages: plain JSON, small, and harmless if it is of an older version."""

from typing import Annotated, Any

import msgspec

from chassis.types import Message
from services.support.talk.intents import ACTIONS

VERSION = 1
AT_MOST_BYTES = 8000
HINTS, HINT_LENGTH = 3, 300
WAITING = 3


Action = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(ACTIONS)})$")]
Asked = Annotated[
    str, msgspec.Meta(pattern="^(order|lines|quantities|swaps|reason|cancel_reason|payment|address|account)$")
]


class Choice(Message):
    """One of several that were offered by number."""

    value: Any
    label: str


class Goal(Message):
    """An action that is being put together: what is known of it (`slots`), and what was asked for (`asked`, with its
    `choices`). `hints` is what the customer said of it so far. `tries`: how often in vain."""

    intent: Action
    slots: dict[str, Any] = {}
    asked: Asked | None = None
    choices: list[Choice] = []
    hints: list[str] = []
    tries: int = 0

    def but(self, **changes: Any) -> "Goal":
        return msgspec.structs.replace(self, **changes)

    def told(self, text: str) -> "Goal":
        """With one more thing that the customer said."""
        return self.but(hints=[*self.hints, text[:HINT_LENGTH]][-HINTS:])


class Focus(Message):
    """What was spoken of last."""

    order_id: str | None = None
    product_id: str | None = None


class Suggestion(Message):
    """What a plain yes would begin, with what was said of it."""

    intent: str
    order_id: str | None = None
    hints: list[str] = []


class Memory(Message):
    """`goals`: the one that is worked on, and those that wait. `last`: the one offered last, for corrections.
    `choosing`: ids of open actions, of which one is to be named. `offered`: the last answer asked for a yes to an open
    action; `together`: to so many at once, where it was to several. `lookup`: what was looked up last. `topic`: what
    the talk is about, for the desk."""

    version: int = VERSION
    goals: list[Goal] = []
    last: Goal | None = None
    focus: Focus = Focus()
    suggestion: Suggestion | None = None
    choosing: list[str] = []
    offered: bool = False
    together: int = 0
    lookup: str | None = None
    topic: str = "other"

    def but(self, **changes: Any) -> "Memory":
        return msgspec.structs.replace(self, **changes)


def load(kept: dict[str, Any]) -> Memory:
    """What was kept; nothing, where it is of another version or damaged."""
    try:
        memory = msgspec.convert(kept, Memory)
    except (msgspec.ValidationError, TypeError, RecursionError):
        return Memory()
    return memory if memory.version == VERSION else Memory()


def unanswered(plain: dict[str, Any]) -> dict[str, Any]:
    """What is kept where nothing could be said: what a yes or a number would have answered is not open any more."""
    return kept(load(plain).but(suggestion=None, choosing=[], offered=False, together=0))


def kept(memory: Memory) -> dict[str, Any]:
    """As it is to be kept: cut down to its size."""
    memory = memory.but(goals=memory.goals[:WAITING])
    cuts: list[dict[str, Any]] = [{}, {"goals": memory.goals[:1]}, {"last": None}, {"goals": []}]
    for smaller in cuts:
        memory = memory.but(**smaller)
        if len(msgspec.json.encode(memory)) <= AT_MOST_BYTES:
            break
    plain: dict[str, Any] = msgspec.to_builtins(memory)
    return plain
