"""Assessments.

Revision ID: risk_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "risk_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "assessment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("order_id", sa.String(64), nullable=False, index=True),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("decision", sa.String(10), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("counts", sa.Boolean, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_assessment_customer_at", "assessment", ["customer_id", "at"])


def downgrade() -> None:
    op.drop_table("assessment")
