"""Stock, reservations, movements.

Revision ID: inventory_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "inventory_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "stock",
        sa.Column("sku", sa.String(64), primary_key=True),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("available", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("sold", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.CheckConstraint("available >= 0 AND reserved >= 0 AND sold >= 0", name="ck_stock_not_negative"),
        sa.CheckConstraint("available + reserved + sold = received", name="ck_stock_identity"),
    )
    op.create_table(
        "reservation",
        sa.Column("order_id", sa.String(64), primary_key=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("lines", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    open_only = sa.text("status = 'held'")
    op.create_index(
        "ix_reservation_open", "reservation", ["created_at"], sqlite_where=open_only, postgresql_where=open_only
    )
    op.create_table(
        "movement",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sku", sa.String(64), nullable=False, index=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    for table in ("movement", "reservation", "stock"):
        op.drop_table(table)
