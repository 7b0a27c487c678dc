"""Products, variants, prices, availability, and the search index of the database's own kind.

Revision ID: products_0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "products_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    sort_key = sa.String(60, collation="C").with_variant(sa.String(60), "sqlite")
    op.create_table(
        "product",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("category", sa.String(41), nullable=False),
        sa.Column("retired", sa.Boolean, nullable=False),
        sa.Column("sort_name", sort_key, nullable=False),
        sa.Column("lowest_price", sa.Integer, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
    )
    op.create_index("ix_product_category", "product", ["category"])
    op.create_index("ix_product_sort_name", "product", ["sort_name", "number"])
    op.create_index("ix_product_lowest_price", "product", ["lowest_price", "number"])
    op.create_table(
        "variant",
        sa.Column("sku", sa.String(64), primary_key=True),
        sa.Column("product", sa.Integer, sa.ForeignKey("product.number"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.CheckConstraint("amount > 0", name="ck_variant_price"),
    )
    op.create_index("ix_variant_product", "variant", ["product", "position"], unique=True)
    op.create_table(
        "price_point",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sku", sa.String(64), sa.ForeignKey("variant.sku"), nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_price_point_sku", "price_point", ["sku", "id"])
    op.create_table(
        "availability",
        sa.Column("sku", sa.String(64), primary_key=True),
        sa.Column("in_stock", sa.Boolean, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
    )
    _create_search_index()


def _create_search_index() -> None:
    if op.get_bind().dialect.name == "sqlite":
        # The words come normalised and apart by blanks, so the tokenizer has nothing to decide.
        op.execute("CREATE VIRTUAL TABLE product_words USING fts5(title, label, body, tokenize = 'ascii')")
        return
    op.create_table(
        "product_words",
        sa.Column("product", sa.Integer, sa.ForeignKey("product.number"), primary_key=True),
        sa.Column("words", TSVECTOR, nullable=False),
    )
    op.create_index("ix_product_words", "product_words", ["words"], postgresql_using="gin")


def downgrade() -> None:
    for name in ("product_words", "availability", "price_point", "variant", "product"):
        op.drop_table(name)
