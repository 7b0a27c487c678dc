"""Mails.

Revision ID: notifications_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "notifications_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "mail",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("to_address", sa.String(254), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("html", sa.Text, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_at", UtcDateTime, nullable=False, index=True),
        sa.Column("sent_at", UtcDateTime),
    )
    queued = sa.text("status = 'queued'")
    op.create_index("ix_mail_queued", "mail", ["due_at"], sqlite_where=queued, postgresql_where=queued)
    op.create_index("ix_mail_to_created_at", "mail", ["to_address", "created_at"])


def downgrade() -> None:
    op.drop_table("mail")
