"""Answers a customer's messages: from articles and from what the services say now, and with offers of what it can do.

It keeps nothing itself: what it has to remember is in the answer. It changes nothing: what it offers is done by others,
after a yes.
"""

from collections.abc import Iterable

from services.support.talk import memory
from services.support.talk.case import Settings
from services.support.talk.intents import OTHER, QUEUES
from services.support.talk.ports import Ports
from services.support.talk.speaking import Speaking
from services.support.turns import Answer, Answers, Turn

UNKNOWN = "unknown"


class Assistant:
    """`ports` see the services as the customer of the turn."""

    def __init__(self, ports: Ports, answers: Answers, settings: Settings | None = None) -> None:
        self._ports, self._answers, self._settings = ports, answers, settings or Settings()

    def respond(self, turn: Turn) -> Answer:
        """The answer to one message."""
        speaking = Speaking(self._ports, self._answers, self._settings, turn, memory.load(turn.memory))
        speaking.run()
        parts = speaking.parts
        topic, confirmed = _topic(speaking), [part.confirm for part in parts if part.confirm]
        return Answer(
            text="\n\n".join(part.text for part in parts if part.text) or speaking.words.say("anything"),
            intent=speaking.intent or UNKNOWN,
            confidence=speaking.confidence,
            memory=memory.kept(speaking.memory.but(topic=topic)),
            sources=list(dict.fromkeys(source for part in parts for source in part.sources)),
            proposals=[proposal for part in parts for proposal in part.proposals],
            confirm=_first(confirmed),
            confirm_too=confirmed[1:],
            decline=_first(part.decline for part in parts),
            withdraw=list(dict.fromkeys(each for part in parts for each in part.withdraw)),
            hand_over=_first(part.hand_over for part in parts),
            unanswered=any(part.unanswered for part in parts),
            nearest=_first(part.nearest for part in parts),
            topic=topic,
        )


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)


def _topic(speaking: Speaking) -> str:
    """Whose queue the conversation would go to: what this turn is about, or what the talk was about before."""
    queues = (QUEUES[intent] for intent in speaking.topics if intent in QUEUES)
    return next((queue for queue in queues if queue != OTHER), speaking.memory.topic)
