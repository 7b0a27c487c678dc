"""products' tables, and the index that its searches read, which each database keeps in its own way."""

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, Integer, String, Text, column, table
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime

SortKey = String(60, collation="C").with_variant(String(60), "sqlite")  # both then compare code points


class Base(DeclarativeBase):
    pass


class Product(Base):
    """`number` counts up as products are added: an order by age without ties. `lowest_price` is its variants'."""

    __tablename__ = "product"
    __table_args__ = (
        Index("ix_product_category", "category"),
        Index("ix_product_sort_name", "sort_name", "number"),
        Index("ix_product_lowest_price", "lowest_price", "number"),
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text)
    category: Mapped[str] = mapped_column(String(41))
    retired: Mapped[bool]
    sort_name: Mapped[str] = mapped_column(SortKey)
    lowest_price: Mapped[int]
    sequence: Mapped[int]


class Variant(Base):
    __tablename__ = "variant"
    __table_args__ = (
        CheckConstraint("amount > 0", name="ck_variant_price"),
        Index("ix_variant_product", "product", "position", unique=True),
    )

    sku: Mapped[str] = mapped_column(String(64), primary_key=True)
    product: Mapped[int] = mapped_column(ForeignKey("product.number"))
    position: Mapped[int]
    options: Mapped[dict[str, str]] = mapped_column(JSON)
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))


class PricePoint(Base):
    """From `at` on a sku was sold at this. Never changed or removed."""

    __tablename__ = "price_point"
    __table_args__ = (Index("ix_price_point_sku", "sku", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("variant.sku"))
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Availability(Base):
    """What inventory said last of a sku; it may speak of one before there is a product with it."""

    __tablename__ = "availability"

    sku: Mapped[str] = mapped_column(String(64), primary_key=True)
    in_stock: Mapped[bool]
    sequence: Mapped[int]


# A row for each product, written by services/products/search.py only.
sqlite_index = table("product_words", column("rowid"), column("title"), column("label"), column("body"))
postgresql_index = table("product_words", column("product"), column("words", TSVECTOR))
