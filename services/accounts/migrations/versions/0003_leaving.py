"""Who is leaving.

Revision ID: accounts_0003
"""

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "accounts_0003"
down_revision = "accounts_0002"


def upgrade() -> None:
    create_privacy_tables()


def downgrade() -> None:
    drop_privacy_tables()
