"""transactions' tables."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Transaction(Base):
    """`reversing` is what a reversal that runs is about to take back. `day` is the row of usage that it counts in.

    `saga_id` is None for what was rejected before a saga began; `entry_id` is the ledger's, once completed.
    `return_reason` is why the bank sent a withdrawal back; `return_settled`: it had arrived before.
    `disputes` are each as it is by now, with its sequence.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        CheckConstraint("amount > 0 AND fee >= 0", name="ck_transactions_amount"),
        CheckConstraint("reversed_amount >= 0 AND reversing >= 0", name="ck_transactions_not_negative"),
        CheckConstraint("reversed_amount + reversing <= amount", name="ck_transactions_reversed"),
        Index("ix_transactions_customer", "customer_id", "created_at"),
        Index("ix_transactions_receiver", "receiver_id"),
        Index("ix_transactions_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    customer_id: Mapped[str] = mapped_column(String(64))
    receiver_id: Mapped[str | None] = mapped_column(String(64))
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(200))
    from_account: Mapped[str | None] = mapped_column(String(64))
    to_account: Mapped[str | None] = mapped_column(String(64))
    iban: Mapped[str | None] = mapped_column(String(34))
    reference: Mapped[str] = mapped_column(String(140))
    reverses: Mapped[str | None] = mapped_column(String(64), index=True)
    currency: Mapped[str] = mapped_column(String(3))
    amount: Mapped[int] = mapped_column(BigInteger)
    fee: Mapped[int] = mapped_column(BigInteger)
    reversed_amount: Mapped[int] = mapped_column(BigInteger, default=0)
    reversing: Mapped[int] = mapped_column(BigInteger, default=0)
    day: Mapped[str] = mapped_column(String(10))
    saga_id: Mapped[str | None] = mapped_column(String(64))
    entry_id: Mapped[str | None] = mapped_column(String(64))
    reason_code: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(Text)
    return_reason: Mapped[str | None] = mapped_column(String(100))
    return_settled: Mapped[bool | None] = mapped_column()
    disputes: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    sequence: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Usage(Base):
    """What a customer has moved, or is about to, in a day (UTC, yyyy-mm-dd)."""

    __tablename__ = "usage"
    __table_args__ = (CheckConstraint("amount >= 0", name="ck_usage_not_negative"),)

    customer_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)
