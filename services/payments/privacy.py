"""What payments keeps about customers (see chassis/privacy.py): money's ways, which nobody may cut out of the books.
None of it says more than the customer's id, and payouts not even that."""

from typing import Any

from sqlalchemy import Select, or_, select

from chassis.db import table_of
from chassis.privacy import Kind
from chassis.privacy_types import Person
from services.payments.domain import OVER
from services.payments.models import Dispute, GiftCard, GiftCardMovement, Movement, Part

_PART, _MOVEMENT, _DISPUTE = table_of(Part), table_of(Movement), table_of(Dispute)
_CARD, _CARD_MOVEMENT = table_of(GiftCard), table_of(GiftCardMovement)


def _payments(person: Person) -> Select[Any]:
    return select(_PART.c.payment_id).where(_PART.c.customer_id == person.customer_id)


def _cards(person: Person) -> Select[Any]:
    return select(_CARD.c.id).where(_CARD.c.customer_id == person.customer_id)


KINDS = (
    Kind(
        "payment",
        _PART,
        whose=lambda person: _PART.c.customer_id == person.customer_id,
        told=(
            "order_id",
            "method",
            "gift_card_id",
            "account_id",
            "status",
            "reason",
            "amount",
            "captured",
            "refunded",
            "currency",
            "created_at",
        ),
        blank={},
        open=or_(_PART.c.status.not_in(OVER), _PART.c.refunding > 0),
    ),
    Kind(
        "movement",
        _MOVEMENT,
        whose=lambda person: _MOVEMENT.c.payment_id.in_(_payments(person)),
        told=("payment_id", "kind", "amount", "state", "at"),
        blank={},
    ),
    Kind(
        "gift_card",
        _CARD,
        whose=lambda person: _CARD.c.customer_id == person.customer_id,
        told=("id", "currency", "issued", "available", "held", "spent", "created_at"),
        blank={},
        open=or_(_CARD.c.available > 0, _CARD.c.held > 0),
    ),
    Kind(
        "gift_card_movement",
        _CARD_MOVEMENT,
        whose=lambda person: _CARD_MOVEMENT.c.gift_card_id.in_(_cards(person)),
        told=("gift_card_id", "kind", "payment_id", "amount", "at"),
        blank={},
    ),
    Kind(
        "dispute",
        _DISPUTE,
        whose=lambda person: _DISPUTE.c.customer_id == person.customer_id,
        told=("id", "order_id", "amount", "currency", "status", "reason", "opened_at"),
        blank={},
        open=_DISPUTE.c.status == "opened",
    ),
)
