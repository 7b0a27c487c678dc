"""Transactions, and what customers have moved.

Revision ID: transactions_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables, create_saga_tables

revision = "transactions_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    create_saga_tables()
    op.create_table(
        "transactions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("receiver_id", sa.String(64)),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("from_account", sa.String(64)),
        sa.Column("to_account", sa.String(64)),
        sa.Column("iban", sa.String(34)),
        sa.Column("reference", sa.String(140), nullable=False),
        sa.Column("reverses", sa.String(64), index=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("fee", sa.BigInteger, nullable=False),
        sa.Column("reversed_amount", sa.BigInteger, nullable=False),
        sa.Column("reversing", sa.BigInteger, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("saga_id", sa.String(64)),
        sa.Column("entry_id", sa.String(64)),
        sa.Column("reason_code", sa.String(100)),
        sa.Column("reason", sa.Text),
        sa.Column("return_reason", sa.String(100)),
        sa.Column("return_settled", sa.Boolean),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("amount > 0 AND fee >= 0", name="ck_transactions_amount"),
        sa.CheckConstraint("reversed_amount >= 0 AND reversing >= 0", name="ck_transactions_not_negative"),
        sa.CheckConstraint("reversed_amount + reversing <= amount", name="ck_transactions_reversed"),
    )
    op.create_index("ix_transactions_customer", "transactions", ["customer_id", "created_at"])
    op.create_table(
        "usage",
        sa.Column("customer_id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("currency", sa.String(3), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.CheckConstraint("amount >= 0", name="ck_usage_not_negative"),
    )


def downgrade() -> None:
    op.drop_table("usage")
    op.drop_table("transactions")
