"""payments' tables: a payment is the sum of its movements, each of them asked for before it is sent."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime

ASKED, DONE, NEVER = "asked", "done", "never"
"""A movement's states: it may have happened, it has, it never will under this key."""


class Base(DeclarativeBase):
    pass


class Payment(Base):
    """`refunding` is held for refunds that were asked for; what is known to be given back is in `refunded`."""

    __tablename__ = "payment"
    __table_args__ = (
        CheckConstraint("captured <= amount", name="ck_payment_captured"),
        CheckConstraint("refunded >= 0 AND refunding >= 0", name="ck_payment_not_negative"),
        CheckConstraint("refunded + refunding <= captured", name="ck_payment_refunded"),
    )

    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    method: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(String(100))
    amount: Mapped[int] = mapped_column(BigInteger)
    captured: Mapped[int] = mapped_column(BigInteger)
    refunding: Mapped[int] = mapped_column(BigInteger)
    refunded: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    authorize_key: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Movement(Base):
    """`key` is the acquirer's name of it; `command_key` that of the command that asked, which a refused refund may do
    again under another `key`. A void has the key of its authorization."""

    __tablename__ = "movement"
    __table_args__ = (UniqueConstraint("kind", "key", name="uq_movement_kind_key"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    key: Mapped[str] = mapped_column(String(200))
    command_key: Mapped[str] = mapped_column(String(200), index=True)
    order_id: Mapped[str] = mapped_column(String(64))
    amount: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(10))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
