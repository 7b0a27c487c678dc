"""What customers mean to do, drawn from a seed, and what it has to come to."""

import random
from dataclasses import dataclass
from typing import Any

CARDS = {
    "tok_visa": (12, "confirmed"),
    "tok_slow": (2, "confirmed"),
    "tok_lost_reply": (2, "confirmed"),
    "tok_declined": (2, "payments.declined"),
    "tok_insufficient_funds": (1, "payments.declined"),
    "tok_capture_fails": (2, "payments.capture_refused"),
    "tok_challenge": (3, "confirmed"),
}
"""Cards with their shares, and what an order by each has to come to when nothing breaks and all is there."""
WAYS = {"card": 8, "gift_card": 1, "split": 3}
"""Ways to pay with their shares: a split takes a part from the gift card, and the rest from the card."""
ON_GIFT_CARD, PART = 30_000, 700
GIFT_CARD_EMPTY = "payments.gift_card_insufficient"
DECISIONS = {"approve": 3, "refuse": 1}
"""What a card's owner decides at the bank, with their shares."""
LATER = {"nothing": 5, "change": 4, "return": 3, "exchange": 3}
"""What is done to an order that was placed, with their shares; a cancel may come at any moment besides."""
CANCELS = 0.2
"""The share of orders that are cancelled at some moment of their way."""
CANCELS_AFTER_S = (0.0, 5.0)


@dataclass(frozen=True)
class Wish:
    """What a customer means to do with one order, from its begin to its end. `later_card` pays what a change costs."""

    lines: dict[str, int]
    way: str
    card: str
    decision: str  # should the bank ask
    cancel_after_s: float | None
    later: str
    later_card: str
    refund_to: str
    accepted: bool  # when the goods come back
    restocked: bool

    @classmethod
    def draw(cls, chance: random.Random, skus: list[str]) -> "Wish":
        after_s = chance.uniform(*CANCELS_AFTER_S)
        return cls(
            lines={sku: chance.choice((1, 1, 1, 2)) for sku in chance.sample(skus, 2)},
            way=one(chance, WAYS),
            card=one(chance, {card: share for card, (share, _) in CARDS.items()}),
            decision=one(chance, DECISIONS),
            cancel_after_s=after_s if chance.random() < CANCELS else None,
            later=one(chance, LATER),
            later_card=one(chance, {card: share for card, (share, _) in CARDS.items()}),
            refund_to=chance.choice(("original", "gift_card")),
            accepted=chance.random() < 0.8,
            restocked=chance.random() < 0.7,
        )

    @property
    def comes_to(self) -> list[str]:
        """What the order may come to when nothing breaks, all is there, and nobody cancels."""
        by_card = self._end_by(self.card)
        ends = {"card": [by_card], "gift_card": ["confirmed", GIFT_CARD_EMPTY], "split": [by_card, GIFT_CARD_EMPTY]}
        return ends[self.way]

    @property
    def later_comes_to(self) -> str:
        """What a change or an exchange that costs something may come to."""
        return self._end_by(self.later_card)

    def _end_by(self, card: str) -> str:
        refused = card == "tok_challenge" and self.decision == "refuse"
        return "orders.challenge_refused" if refused else CARDS[card][1]

    def method(self, gift_card: str) -> dict[str, Any]:
        """How it is paid, for the API."""
        card, gift = {"type": "card", "token": self.card}, {"type": "gift_card", "id": gift_card}
        part = {**gift, "amount": {"amount": PART, "currency": "EUR"}}
        return {"card": card, "gift_card": gift, "split": {"type": "split", "parts": [part, card]}}[self.way]


def one(chance: random.Random, shares: dict[str, int]) -> str:
    (one,) = chance.choices(list(shares), list(shares.values()))
    return one
