"""Orders, their amendments, and the tables of sagas.

Revision ID: orders_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables, create_saga_tables

revision = "orders_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    create_saga_tables()
    op.create_table(
        "orders",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("cart_id", sa.String(64), nullable=False),
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("address", sa.JSON, nullable=False),
        sa.Column("lines", sa.JSON, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("items_amount", sa.BigInteger, nullable=False),
        sa.Column("shipping_amount", sa.BigInteger, nullable=False),
        sa.Column("tax_amount", sa.BigInteger, nullable=False),
        sa.Column("total_amount", sa.BigInteger, nullable=False),
        sa.Column("paid_amount", sa.BigInteger, nullable=False),
        sa.Column("refunded_amount", sa.BigInteger, nullable=False),
        sa.Column("payment_method", sa.String(20), nullable=False),
        sa.Column("payment_status", sa.String(20), nullable=False),
        sa.Column("shipment_status", sa.String(20), nullable=False),
        sa.Column("tracking", sa.String(64)),
        sa.Column("reason_code", sa.String(100)),
        sa.Column("reason", sa.Text),
        sa.Column("review", sa.Boolean, nullable=False),
        sa.Column("amended", sa.Boolean, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("delivered_at", UtcDateTime),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    unsettled = sa.text("status IN ('pending', 'rejecting')")
    op.create_index(
        "uq_orders_cart_unsettled",
        "orders",
        ["cart_id"],
        unique=True,
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
    op.create_index("ix_orders_customer", "orders", ["customer_id", "created_at"])
    op.create_index("ix_orders_created_at", "orders", ["created_at"])
    op.create_table(
        "amendment",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("take_back_id", sa.String(64)),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("shipment_status", sa.String(20), nullable=False),
        sa.Column("tracking", sa.String(64)),
        sa.Column("reason_code", sa.String(100)),
        sa.Column("reason", sa.Text),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("closed_at", UtcDateTime),
    )
    is_open = sa.text("closed_at IS NULL")
    op.create_index(
        "uq_amendment_order_open",
        "amendment",
        ["order_id"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index("ix_amendment_order", "amendment", ["order_id", "created_at"])
    op.create_table(
        "incident",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("subject", sa.String(300), primary_key=True),
        sa.Column("order_id", sa.String(200)),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("first_seen", UtcDateTime, nullable=False),
        sa.Column("last_seen", UtcDateTime, nullable=False),
        sa.Column("mended_at", UtcDateTime),
    )
    op.create_index("ix_incident_state", "incident", ["state", "last_seen"])


def downgrade() -> None:
    op.drop_table("incident")
    op.drop_table("amendment")
    op.drop_table("orders")
