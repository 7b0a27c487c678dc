"""risk's table: each assessment with the facts that it was made on."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Assessment(Base):
    """`counts`: whether it is among the customer's recent orders; not if it was refused or forgotten."""

    __tablename__ = "assessment"
    __table_args__ = (Index("ix_assessment_customer_at", "customer_id", "at"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    order_id: Mapped[str] = mapped_column(String(64), index=True)
    customer_id: Mapped[str] = mapped_column(String(64))
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    decision: Mapped[str] = mapped_column(String(10))  # accept review refuse
    reasons: Mapped[list[str]] = mapped_column(JSON)
    counts: Mapped[bool]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
