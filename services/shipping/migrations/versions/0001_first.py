"""Shipments.

Revision ID: shipping_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "shipping_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "shipment",
        sa.Column("parcel_id", sa.String(64), primary_key=True),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("command_key", sa.String(200)),
        sa.Column("booking_key", sa.String(200), unique=True),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("tracking", sa.String(64), unique=True),
        sa.Column("on_hold", sa.Boolean, nullable=False),
        sa.Column("carrier_sequence", sa.Integer, nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("shipment")
