"""What happened to instances.

Revision ID: registry_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "registry_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "happened",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False, index=True),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("what", sa.String(20), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("instance", "what", "beat", name="uq_happened_once"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("happened")
