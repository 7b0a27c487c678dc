"""Who is leaving, and what somebody gets from others.

Revision ID: transactions_0003
"""

from alembic import op

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "transactions_0003"
down_revision = "transactions_0002"


def upgrade() -> None:
    create_privacy_tables()
    op.create_index("ix_transactions_receiver", "transactions", ["receiver_id"])
    op.create_index("ix_transactions_created_at", "transactions", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_transactions_created_at", "transactions")
    op.drop_index("ix_transactions_receiver", "transactions")
    drop_privacy_tables()
