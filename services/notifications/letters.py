"""Events as mails: each kind has a text and an HTML template of its name in templates/."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from chassis.currencies import formatted
from chassis.types import Money
from contracts.orders import (
    ExchangeSettled,
    OrderCancelled,
    OrderChanged,
    OrderConfirmed,
    OrderDisputed,
    OrderRejected,
    ReturnRequested,
    ReturnSettled,
)
from contracts.shipping import OrderDelivered, OrderShipped
from contracts.transactions import TransactionDisputed, TransactionEnded
from services.notifications.domain import SUBJECTS, Letter, absolute, day, on_one_line

Fact = (
    OrderConfirmed
    | OrderRejected
    | OrderCancelled
    | OrderChanged
    | ReturnRequested
    | ReturnSettled
    | ExchangeSettled
    | OrderDisputed
    | OrderShipped
    | OrderDelivered
    | TransactionEnded
    | TransactionDisputed
)

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    auto_reload=False,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"money": formatted, "absolute": absolute, "day": day, "address": on_one_line}


def kind_of(fact: Fact) -> str:
    kind: str = type(fact).__event__  # type: ignore[union-attr]
    return kind


def subject_of(fact: Fact) -> str:
    """The id of the order or transaction that an event tells of."""
    return fact.aggregate_id if isinstance(fact, TransactionEnded | TransactionDisputed) else fact.order_id


def compose(fact: Fact, at: datetime) -> Letter:
    """The mail that tells a customer of this event."""
    kind = kind_of(fact)
    values: dict[str, Any] = {"fact": fact}
    if isinstance(fact, OrderConfirmed | OrderChanged):
        values["shipping"] = _shipping(fact)
    return Letter(
        id=fact.event_id,
        to=fact.email,
        subject=" ".join(SUBJECTS[kind].format_map(msgspec.structs.asdict(fact)).split()),  # one line
        text=_templates.get_template(f"{kind}.txt").render(values),
        html=_templates.get_template(f"{kind}.html").render(values),
        at=at,
        about=subject_of(fact),
        customer_id=fact.customer_id,
    )


def _shipping(fact: OrderConfirmed | OrderChanged) -> Money:
    items = sum(line.line_total.amount for line in fact.lines)
    return Money(amount=fact.total.amount - items, currency=fact.total.currency)
