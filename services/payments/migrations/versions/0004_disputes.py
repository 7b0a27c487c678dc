"""Disputes of cards' payments.

Revision ID: payments_0004
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime

revision = "payments_0004"
down_revision = "payments_0003"


def upgrade() -> None:
    op.create_table(
        "dispute",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("order_id", sa.String(64), nullable=False, index=True),
        sa.Column("payment_id", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.String(64)),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("opened_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("amount > 0", name="ck_dispute_amount"),
        sa.CheckConstraint("status IN ('opened', 'won', 'lost')", name="ck_dispute_status"),
    )
    op.create_index("ix_dispute_opened", "dispute", ["opened_at", "id"])


def downgrade() -> None:
    op.drop_table("dispute")
