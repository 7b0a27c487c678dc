"""Payouts to bank accounts.

Revision ID: payments_0002
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime

revision = "payments_0002"
down_revision = "payments_0001"


def upgrade() -> None:
    op.create_table(
        "payout",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(200), nullable=False, unique=True),
        sa.Column("iban", sa.String(34), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(100)),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("amount > 0", name="ck_payout_amount"),
    )


def downgrade() -> None:
    op.drop_table("payout")
