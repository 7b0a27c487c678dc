"""Who is leaving, what customers asked for, and the sagas that do it.

Revision ID: users_0002
"""

import sqlalchemy as sa
from alembic import op

from chassis import tables
from chassis.db import UtcDateTime
from chassis.migrations.tables import create_privacy_tables, create_saga_tables, drop_privacy_tables

revision = "users_0002"
down_revision = "users_0001"


def upgrade() -> None:
    create_saga_tables()
    create_privacy_tables()
    op.create_table(
        "privacy_request",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False, index=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("open", sa.JSON, nullable=False),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime, index=True),
    )
    running = sa.text("status = 'running'")
    op.create_index(
        "uq_privacy_request_running",
        "privacy_request",
        ["customer_id", "kind"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    request = sa.ForeignKey("privacy_request.id", ondelete="CASCADE")
    op.create_table(
        "export_part",
        sa.Column("request_id", sa.String(64), request, primary_key=True),
        sa.Column("service", sa.String(50), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("export_part")
    op.drop_table("privacy_request")
    drop_privacy_tables()
    tables.saga_metadata.drop_all(op.get_bind())
