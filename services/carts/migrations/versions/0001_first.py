"""Carts.

Revision ID: carts_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "carts_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "cart",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("customer_id", sa.String(64), unique=True),
        sa.Column("token_hash", sa.String(64), unique=True),
        sa.Column("lines", sa.JSON, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("(customer_id IS NULL) <> (token_hash IS NULL)", name="ck_cart_has_one_owner"),
    )
    guests = sa.text("customer_id IS NULL")
    op.create_index("ix_cart_guest_changed", "cart", ["changed_at"], sqlite_where=guests, postgresql_where=guests)


def downgrade() -> None:
    op.drop_table("cart")
