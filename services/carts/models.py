"""carts' one table. A cart is read and written whole, under its row's lock, so its lines live in the row."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Index, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Cart(Base):
    """A customer's, or a guest's: then only the SHA-256 of its token is known."""

    __tablename__ = "cart"
    __table_args__ = (
        CheckConstraint("(customer_id IS NULL) <> (token_hash IS NULL)", name="ck_cart_has_one_owner"),
        Index(
            "ix_cart_guest_changed",
            "changed_at",
            sqlite_where=text("customer_id IS NULL"),
            postgresql_where=text("customer_id IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    customer_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    lines: Mapped[list[list[Any]]] = mapped_column(JSON)  # [sku, quantity], in the order of their first put
    version: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
