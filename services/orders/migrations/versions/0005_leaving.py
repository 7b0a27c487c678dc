"""Who is leaving.

Revision ID: orders_0005
"""

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "orders_0005"
down_revision = "orders_0004"


def upgrade() -> None:
    create_privacy_tables()


def downgrade() -> None:
    drop_privacy_tables()
