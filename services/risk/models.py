"""risk's tables: decisions with their inputs, what counts in the windows, rules, the deny list, and reviews."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Screening(Base):
    """A decision. `inputs` are the features that it was made on, `shadows` what was only tried."""

    __tablename__ = "screening"
    __table_args__ = (
        Index("ix_screening_subject", "subject_id", "at"),
        Index("ix_screening_at", "at"),
        Index("ix_screening_customer", "customer_id"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    command_key: Mapped[str] = mapped_column(String(300), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    subject_id: Mapped[str] = mapped_column(String(64))
    customer_id: Mapped[str | None] = mapped_column(String(64))  # also in `subject`, but not to be found there
    subject: Mapped[dict[str, Any]] = mapped_column(JSON)
    inputs: Mapped[dict[str, Any]] = mapped_column(JSON)
    decision: Mapped[str] = mapped_column(String(10))  # accept review refuse
    score: Mapped[int]
    reasons: Mapped[list[Any]] = mapped_column(JSON)
    shadows: Mapped[list[Any]] = mapped_column(JSON)
    rules_version: Mapped[int]
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Footprint(Base):
    """A screening under one of the values that it is counted by. `state`: counts, failed (refused) or gone."""

    __tablename__ = "footprint"
    __table_args__ = (
        Index("ix_footprint_place", "dimension", "value", "at"),
        Index("ix_footprint_screening", "screening_id"),
        Index("ix_footprint_age", "dimension", "at"),
        Index("ix_footprint_customer", "customer_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    screening_id: Mapped[str] = mapped_column(String(64))
    dimension: Mapped[str] = mapped_column(String(20))
    value: Mapped[str] = mapped_column(String(64))
    customer_id: Mapped[str] = mapped_column(String(64))
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    state: Mapped[str] = mapped_column(String(10))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class RuleSet(Base):
    """One version of the rules. Its content never changes."""

    __tablename__ = "rule_set"
    __table_args__ = tuple(
        Index(
            f"ix_rule_set_{state}",
            "state",
            unique=True,
            sqlite_where=text(f"state = '{state}'"),
            postgresql_where=text(f"state = '{state}'"),
        )
        for state in ("live", "shadow")
    )

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(10))  # draft shadow live retired
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    author: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Denied(Base):
    __tablename__ = "denied"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[str] = mapped_column(String(64), primary_key=True)
    reason: Mapped[str] = mapped_column(String(300))
    author: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Review(Base):
    """`state`: open, approved, refused, expired or closed. `sequence` is the number of the event that told its end."""

    __tablename__ = "review"
    __table_args__ = (
        Index("ix_review_queue", "state", "opened_at", "id"),
        Index("ix_review_expiry", "state", "expires_at"),
        Index("ix_review_customer", "customer_id"),
        UniqueConstraint("subject_id", "sequence", name="uq_review_sequence"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    screening_id: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    subject_id: Mapped[str] = mapped_column(String(64))
    customer_id: Mapped[str] = mapped_column(String(64))
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    score: Mapped[int]
    reasons: Mapped[list[Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(10))
    needed: Mapped[int]
    approvals: Mapped[list[str]] = mapped_column(JSON)
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(String(300))
    sequence: Mapped[int | None]
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
