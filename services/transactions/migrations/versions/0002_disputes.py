"""What is disputed of a payment, as the customer sees it.

Revision ID: transactions_0002
"""

import sqlalchemy as sa
from alembic import op

revision = "transactions_0002"
down_revision = "transactions_0001"


def upgrade() -> None:
    op.add_column("transactions", sa.Column("disputes", sa.JSON))


def downgrade() -> None:
    op.drop_column("transactions", "disputes")
