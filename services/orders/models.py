"""orders' tables. An order keeps the names, options and prices that it was sold at, until an amendment changes them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime

UNSETTLED_ONLY = text("status IN ('pending', 'rejecting')")
OPEN_ONLY = text("closed_at IS NULL")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        # one order in the making for each cart
        Index(
            "uq_orders_cart_unsettled",
            "cart_id",
            unique=True,
            sqlite_where=UNSETTLED_ONLY,
            postgresql_where=UNSETTLED_ONLY,
        ),
        Index("ix_orders_customer", "customer_id", "created_at"),
        Index("ix_orders_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(64))
    cart_id: Mapped[str] = mapped_column(String(64))
    saga_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(20))
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(200))
    address: Mapped[dict[str, Any]] = mapped_column(JSON)
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    currency: Mapped[str] = mapped_column(String(3))
    items_amount: Mapped[int] = mapped_column(BigInteger)
    shipping_amount: Mapped[int] = mapped_column(BigInteger)
    tax_amount: Mapped[int] = mapped_column(BigInteger)
    total_amount: Mapped[int] = mapped_column(BigInteger)
    paid_amount: Mapped[int] = mapped_column(BigInteger, default=0)
    refunded_amount: Mapped[int] = mapped_column(BigInteger, default=0)
    payment_method: Mapped[str] = mapped_column(String(20))
    payment_status: Mapped[str] = mapped_column(String(20), default="none")
    shipment_status: Mapped[str] = mapped_column(String(20), default="none")
    tracking: Mapped[str | None] = mapped_column(String(64))
    reason_code: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(Text)
    review: Mapped[bool] = mapped_column(default=False)
    booked: Mapped[str | None] = mapped_column(String(20))  # the ledger's entry of its sale; none before there was one
    disputes: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)  # each as it is by now, with its sequence
    amended: Mapped[bool] = mapped_column(default=False)  # it has amendments: most have none, and are not asked for any
    sequence: Mapped[int] = mapped_column(default=0)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Amendment(Base):
    """`key` is what it was asked under. `data` is what was asked, worked out and decided, as its kind needs it.
    `closed_at` is its end."""

    __tablename__ = "amendment"
    __table_args__ = (
        # one open amendment for each order
        Index(
            "uq_amendment_order_open",
            "order_id",
            unique=True,
            sqlite_where=OPEN_ONLY,
            postgresql_where=OPEN_ONLY,
        ),
        Index("ix_amendment_order", "order_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    order_id: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    saga_id: Mapped[str] = mapped_column(String(64))
    take_back_id: Mapped[str | None] = mapped_column(String(64))  # the saga that waits for the goods of an exchange
    key: Mapped[str | None] = mapped_column(String(300))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    shipment_status: Mapped[str] = mapped_column(String(20), default="none")
    tracking: Mapped[str | None] = mapped_column(String(64))
    reason_code: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Incident(Base):
    """What reconciliation found, one row for each subject. `state`: open, mended, or gone (by itself)."""

    __tablename__ = "incident"
    __table_args__ = (Index("ix_incident_state", "state", "last_seen"),)

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    subject: Mapped[str] = mapped_column(String(300), primary_key=True)
    order_id: Mapped[str | None] = mapped_column(String(200))  # or an amendment's id; as the other side names it
    detail: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(10))
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    mended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
