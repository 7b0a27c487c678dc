"""What risk keeps about customers (see chassis/privacy.py). Decisions stay, so that rules can be tried on them, without
what tells who it was; what counts for a customer goes. Who was denied stays denied: an erasure is no way around it."""

from typing import Any

from sqlalchemy import ColumnElement, and_, or_

from chassis.db import table_of
from chassis.privacy import Kind
from chassis.privacy_types import Person
from services.risk.domain import PAIR, normal
from services.risk.models import Denied, Footprint, Review, Screening

IDENTIFYING = ("card", "payee", "address")

_SCREENING, _PRINT, _REVIEW = table_of(Screening), table_of(Footprint), table_of(Review)
_DENIED = table_of(Denied)


def unknown(subject: dict[str, Any]) -> dict[str, Any]:
    """A subject of which is left what, when and how much."""
    return {**subject, "email": "", **dict.fromkeys(IDENTIFYING)}


def without_email(values: dict[str, Any]) -> dict[str, Any]:
    """Of the features the one that names somebody."""
    return {**values, "email": ""} if "email" in values else values


def unnamed(reasons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**reason, "values": without_email(reason["values"])} for reason in reasons]


def untold(shadows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**shadow, "reasons": unnamed(shadow["reasons"])} for shadow in shadows]


def _said(name: str) -> ColumnElement[str]:
    said: ColumnElement[str] = _SCREENING.c.subject[name].as_string()
    return said


def _decided_about(person: Person) -> ColumnElement[bool]:
    """Code from before the column goes on writing decisions without it while it is replaced."""
    by_subject = _said("customer_id") == person.customer_id
    return or_(_SCREENING.c.customer_id == person.customer_id, and_(_SCREENING.c.customer_id.is_(None), by_subject))


def _denied(person: Person) -> ColumnElement[bool]:
    return or_(
        and_(_DENIED.c.kind == "email", _DENIED.c.value == normal(person.email)),
        and_(_DENIED.c.kind == "customer", _DENIED.c.value == normal(person.customer_id)),
    )


KINDS = (
    Kind(
        "decision",
        _SCREENING,
        whose=_decided_about,
        told=("id", "kind", "subject_id", "subject", "decision", "at"),
        blank=dict(subject=unknown, inputs=without_email, reasons=unnamed, shadows=untold),
        at=_SCREENING.c.at,
        done=or_(_said("email") != "", *(_said(name).is_not(None) for name in IDENTIFYING)),
    ),
    Kind(
        "footprint",
        _PRINT,
        whose=lambda person: _PRINT.c.customer_id == person.customer_id,
        told=("dimension", "value", "amount", "currency", "at"),
        at=_PRINT.c.at,
        done=_PRINT.c.dimension == PAIR,
    ),
    Kind(
        "review",
        _REVIEW,
        whose=lambda person: _REVIEW.c.customer_id == person.customer_id,
        told=("id", "kind", "subject_id", "amount", "currency", "state", "opened_at", "decided_at"),
        blank=dict(reason="", reasons=unnamed),
        open=_REVIEW.c.state == "open",
        at=_REVIEW.c.opened_at,
        done=_REVIEW.c.state != "open",
    ),
    Kind(
        "denial",
        _DENIED,
        whose=_denied,
        told=("kind", "value", "at"),
        blank={},
    ),
)
