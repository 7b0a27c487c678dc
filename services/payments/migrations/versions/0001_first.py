"""Payments and their movements.

Revision ID: payments_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "payments_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "payment",
        sa.Column("order_id", sa.String(64), primary_key=True),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(100)),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("captured", sa.BigInteger, nullable=False),
        sa.Column("refunding", sa.BigInteger, nullable=False),
        sa.Column("refunded", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("authorize_key", sa.String(200), nullable=False, unique=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("captured <= amount", name="ck_payment_captured"),
        sa.CheckConstraint("refunded >= 0 AND refunding >= 0", name="ck_payment_not_negative"),
        sa.CheckConstraint("refunded + refunding <= captured", name="ck_payment_refunded"),
    )
    op.create_table(
        "movement",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("command_key", sa.String(200), nullable=False, index=True),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("kind", "key", name="uq_movement_kind_key"),
    )


def downgrade() -> None:
    for table in ("movement", "payment"):
        op.drop_table(table)
