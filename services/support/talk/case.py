"""What an answer is made of: the turn that it is for, and its parts."""

from dataclasses import dataclass
from datetime import datetime

from chassis.types import Message
from contracts.orders import Order
from contracts.products import Product
from contracts.support import Source
from services.support.talk.memory import Focus, Suggestion
from services.support.talk.ports import Sight
from services.support.talk.wording import Words
from services.support.turns import Proposal, Turn


class Settings(Message):
    """`quote_words`: how much of an article is said at most. `tries`: how often the same is asked before a person is
    offered. `choices`: how many are offered by number."""

    quote_words: int = 80
    tries: int = 2
    choices: int = 6


@dataclass(frozen=True)
class Case:
    """One request of a turn, and what it can be answered from."""

    turn: Turn
    words: Words
    sight: Sight
    focus: Focus
    settings: Settings

    @property
    def at(self) -> datetime:
        return self.turn.at

    @property
    def order_id(self) -> str | None:
        """The order that was spoken of last, or that the conversation is about."""
        return self.focus.order_id or self.turn.order_id

    def order_source(self, order: Order) -> Source:
        return Source(title=self.words.order(order), url=f"/v1/orders/{order.id}", at=self.at)

    def product_source(self, product: Product) -> Source:
        return Source(title=product.name, url=f"/v1/products/{product.id}", at=self.at)


class Part(Message):
    """One part of an answer. `focus`: what it spoke of. `suggestion`: what a yes to it would begin."""

    text: str
    sources: list[Source] = []
    proposals: list[Proposal] = []
    focus: Focus | None = None
    suggestion: Suggestion | None = None
    confirm: str | None = None
    decline: str | None = None
    withdraw: list[str] = []
    hand_over: str | None = None
    unanswered: bool = False
    nearest: str | None = None


class Stop(Exception):
    """Something cannot be done, for a reason that is said."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.text)
        self.part = part
