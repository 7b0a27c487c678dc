"""What transactions keeps about customers (see chassis/privacy.py). What was moved stays, and whose account it was; who
that is, to which bank account it went and what was written on it go. Sagas know names too: those that have ended are
forgotten at once."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select

from chassis.db import table_of
from chassis.masking import shortened
from chassis.privacy import Kind, saga_kind
from chassis.tables import saga
from services.transactions.domain import MAY_COME_BACK, UNSETTLED
from services.transactions.models import Transaction, Usage

SAGAS = (
    "transfer",
    "deposit",
    "withdraw",
    "reverse_transfer",
    "reverse_deposit",
    "payout_arrived",
    "return_withdrawal",
)
"""Names of those whose keys are transactions' ids."""

_ROW, _USAGE = table_of(Transaction), table_of(Usage)
_MOVES = or_(_ROW.c.status.in_(UNSETTLED), _ROW.c.reversing > 0)


def _open(at: datetime) -> ColumnElement[bool]:
    sent = and_(_ROW.c.kind == "withdrawal", _ROW.c.status == "completed")
    return or_(_MOVES, and_(sent, _ROW.c.updated_at > at - MAY_COME_BACK))


KINDS = (
    Kind(
        "transaction",
        _ROW,
        whose=lambda person: _ROW.c.customer_id == person.customer_id,
        told=(
            "id",
            "kind",
            "status",
            "email",
            "name",
            "from_account",
            "to_account",
            "iban",
            "reference",
            "currency",
            "amount",
            "fee",
            "reversed_amount",
            "reason",
            "return_reason",
            "disputes",
            "created_at",
        ),
        blank=dict(email="", name="", reference="", iban=lambda iban: iban and shortened(iban)),
        open=_open,
        at=_ROW.c.created_at,
        done=_ROW.c.status.not_in(UNSETTLED),
    ),
    Kind(
        "received",
        _ROW,
        whose=lambda person: _ROW.c.receiver_id == person.customer_id,
        told=("id", "kind", "status", "to_account", "reference", "currency", "amount", "created_at"),
        blank={},
        open=_MOVES,
    ),
    Kind(
        "usage",
        _USAGE,
        whose=lambda person: _USAGE.c.customer_id == person.customer_id,
        told=("kind", "currency", "day", "amount"),
    ),
    saga_kind(
        lambda person: and_(
            saga.c.name.in_(SAGAS),
            saga.c.key.in_(select(_ROW.c.id).where(_ROW.c.customer_id == person.customer_id)),
        ),
    ),
)
