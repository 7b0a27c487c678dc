"""Who is leaving.

Revision ID: orders_0004
"""

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "orders_0004"
down_revision = "orders_0003"


def upgrade() -> None:
    create_privacy_tables()


def downgrade() -> None:
    drop_privacy_tables()
