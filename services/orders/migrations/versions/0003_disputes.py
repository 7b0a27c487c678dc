"""What is disputed of a payment, as the customer sees it.

Revision ID: orders_0003
"""

import sqlalchemy as sa
from alembic import op

revision = "orders_0003"
down_revision = "orders_0002"


def upgrade() -> None:
    op.add_column("orders", sa.Column("disputes", sa.JSON))


def downgrade() -> None:
    op.drop_column("orders", "disputes")
