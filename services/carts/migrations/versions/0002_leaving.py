"""Who is leaving.

Revision ID: carts_0002
"""

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "carts_0002"
down_revision = "carts_0001"


def upgrade() -> None:
    create_privacy_tables()


def downgrade() -> None:
    drop_privacy_tables()
