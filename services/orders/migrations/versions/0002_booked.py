"""The ledger's entry of an order's sale. Orders from before have none, and are not booked.

Revision ID: orders_0002
"""

import sqlalchemy as sa
from alembic import op

revision = "orders_0002"
down_revision = "orders_0001"


def upgrade() -> None:
    op.add_column("orders", sa.Column("booked", sa.String(20)))


def downgrade() -> None:
    op.drop_column("orders", "booked")
