"""Rules as data, decisions with their inputs, sliding windows, reviews.

Assessments become screenings and go on counting for their customers. The rules that come with the shop are version 1,
unless there are others: the file is read here once, and what it says later changes no database that there is.

Revision ID: risk_0002
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime

revision = "risk_0002"
down_revision = "risk_0001"

SHIPPED = Path(__file__).resolve().parents[2] / "rules.json"
BATCH = 500


def upgrade() -> None:
    _create_screenings()
    _create_rules()
    _create_reviews()
    _take_over_assessments()
    op.drop_table("assessment")


def _create_screenings() -> None:
    op.create_table(
        "screening",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("command_key", sa.String(300), nullable=False, unique=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.JSON, nullable=False),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("decision", sa.String(10), nullable=False),
        sa.Column("score", sa.Integer, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("shadows", sa.JSON, nullable=False),
        sa.Column("rules_version", sa.Integer, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_screening_subject", "screening", ["subject_id", "at"])
    op.create_index("ix_screening_at", "screening", ["at"])
    op.create_table(
        "footprint",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("screening_id", sa.String(64), nullable=False),
        sa.Column("dimension", sa.String(20), nullable=False),
        sa.Column("value", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_footprint_place", "footprint", ["dimension", "value", "at"])
    op.create_index("ix_footprint_screening", "footprint", ["screening_id"])
    op.create_index("ix_footprint_age", "footprint", ["dimension", "at"])


def _create_rules() -> None:
    rules = op.create_table(
        "rule_set",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
    )
    for state in ("live", "shadow"):
        where = sa.text(f"state = '{state}'")
        op.create_index(
            f"ix_rule_set_{state}", "rule_set", ["state"], unique=True, sqlite_where=where, postgresql_where=where
        )
    denied = op.create_table(
        "denied",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("value", sa.String(64), primary_key=True),
        sa.Column("reason", sa.String(300), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    shipped, at = json.loads(SHIPPED.read_text()), datetime.now(UTC)
    first = dict(version=1, state="live", content=shipped["content"], author="rialto", created_at=at, changed_at=at)
    op.bulk_insert(rules, [first])
    op.bulk_insert(denied, [{**entry, "author": "rialto", "at": at} for entry in shipped["denied"]])


def _create_reviews() -> None:
    op.create_table(
        "review",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("screening_id", sa.String(64), nullable=False, unique=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject_id", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("score", sa.Integer, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("needed", sa.Integer, nullable=False),
        sa.Column("approvals", sa.JSON, nullable=False),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("claimed_until", UtcDateTime),
        sa.Column("reason", sa.String(300)),
        sa.Column("sequence", sa.Integer),
        sa.Column("opened_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("decided_at", UtcDateTime),
        sa.UniqueConstraint("subject_id", "sequence", name="uq_review_sequence"),
    )
    op.create_index("ix_review_queue", "review", ["state", "opened_at", "id"])
    op.create_index("ix_review_expiry", "review", ["state", "expires_at"])


def _take_over_assessments() -> None:
    """`rules_version` 0: made by rules that were not data, and so not to be replayed."""
    bind = op.get_bind()
    columns = ("id", "order_id", "customer_id", "amount", "currency", "facts", "decision", "reasons", "counts", "at")
    types = {"at": UtcDateTime, "facts": sa.JSON, "reasons": sa.JSON}
    old = sa.table("assessment", *(sa.column(name, types.get(name)) for name in columns))
    screening, footprint = (sa.Table(name, sa.MetaData(), autoload_with=bind) for name in ("screening", "footprint"))
    for rows in _batches(bind, old):
        bind.execute(screening.insert(), [_screening_of(row) for row in rows])
        bind.execute(footprint.insert(), [_footprint_of(row) for row in rows])


def _batches(bind: Any, old: Any) -> Iterator[list[Any]]:
    last = 0
    while rows := bind.execute(sa.select(old).where(old.c.id > last).order_by(old.c.id).limit(BATCH)).all():
        yield rows
        last = rows[-1].id


def _screening_of(row: Any) -> dict[str, Any]:
    subject = dict(
        kind="order",
        id=row.order_id,
        customer_id=row.customer_id,
        amount=dict(amount=row.amount, currency=row.currency),
        email=row.facts["email"],
        country=row.facts["country"],
    )
    return dict(
        id=f"assessment-{row.id}",
        command_key=f"assessment-{row.id}",
        kind="order",
        subject_id=row.order_id,
        subject=subject,
        inputs=row.facts,
        decision=row.decision,
        score=0,
        reasons=[dict(rule=name, text=name, score=0, values={}) for name in row.reasons],
        shadows=[],
        rules_version=0,
        at=row.at,
    )


def _footprint_of(row: Any) -> dict[str, Any]:
    state = "counts" if row.counts else "failed" if row.decision == "refuse" else "gone"
    return dict(
        screening_id=f"assessment-{row.id}",
        dimension="customer",
        value=row.customer_id.casefold(),
        customer_id=row.customer_id,
        amount=row.amount,
        currency=row.currency,
        state=state,
        at=row.at,
    )


def downgrade() -> None:
    """The rules, decisions and reviews go; what was assessed before them is not brought back."""
    for table in ("review", "denied", "rule_set", "footprint", "screening"):
        op.drop_table(table)
    op.create_table(
        "assessment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("order_id", sa.String(64), nullable=False, index=True),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("decision", sa.String(10), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("counts", sa.Boolean, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_assessment_customer_at", "assessment", ["customer_id", "at"])
