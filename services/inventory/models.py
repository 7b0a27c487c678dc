"""inventory's tables. available + reserved + sold = received is a constraint of the database, not a hope."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, Integer, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Stock(Base):
    __tablename__ = "stock"
    __table_args__ = (
        CheckConstraint("available >= 0 AND reserved >= 0 AND sold >= 0", name="ck_stock_not_negative"),
        CheckConstraint("available + reserved + sold = received", name="ck_stock_identity"),
    )

    sku: Mapped[str] = mapped_column(String(64), primary_key=True)
    received: Mapped[int] = mapped_column(BigInteger)
    available: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)
    sold: Mapped[int] = mapped_column(BigInteger, default=0)
    sequence: Mapped[int] = mapped_column(default=0)


class Reservation(Base):
    """`status`: held, released or committed. `order_id` is an order's or an amendment's id."""

    __tablename__ = "reservation"
    __table_args__ = (
        Index(
            "ix_reservation_open",
            "created_at",
            sqlite_where=text("status = 'held'"),
            postgresql_where=text("status = 'held'"),
        ),
    )

    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    status: Mapped[str] = mapped_column(String(10))
    lines: Mapped[list[list[Any]]] = mapped_column(JSON)  # [sku, quantity], one for each sku
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Movement(Base):
    """Why counts changed outside of orders: receipts, adjustments, what came back or was lost. Never changed."""

    __tablename__ = "movement"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    sku: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    quantity: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
