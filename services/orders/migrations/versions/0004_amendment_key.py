"""Under which key an amendment was asked for: whoever asked knows its events by it.

Revision ID: orders_0004
"""

import sqlalchemy as sa
from alembic import op

revision = "orders_0004"
down_revision = "orders_0003"


def upgrade() -> None:
    op.add_column("amendment", sa.Column("key", sa.String(300)))


def downgrade() -> None:
    op.drop_column("amendment", "key")
