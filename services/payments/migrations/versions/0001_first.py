"""Payments by parts, their movements, and gift cards.

Revision ID: payments_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "payments_0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NOT_REFUND = sa.text("kind <> 'refund'")


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "part",
        sa.Column("id", ID, primary_key=True),
        sa.Column("payment_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("order_id", sa.String(64), nullable=False, index=True),
        sa.Column("customer_id", sa.String(64)),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("gift_card_id", sa.String(64)),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(100)),
        sa.Column("action_url", sa.String(500)),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("captured", sa.BigInteger, nullable=False),
        sa.Column("refunding", sa.BigInteger, nullable=False),
        sa.Column("refunded", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("authorize_key", sa.String(200), nullable=False, index=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("payment_id", "position", name="uq_part_position"),
        sa.CheckConstraint("amount > 0 AND captured <= amount", name="ck_part_captured"),
        sa.CheckConstraint("refunded >= 0 AND refunding >= 0", name="ck_part_not_negative"),
        sa.CheckConstraint("refunded + refunding <= captured", name="ck_part_refunded"),
        sa.CheckConstraint("(method = 'gift_card') = (gift_card_id IS NOT NULL)", name="ck_part_gift_card"),
    )
    op.create_table(
        "movement",
        sa.Column("id", ID, primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("command_key", sa.String(200), nullable=False, index=True),
        sa.Column("payment_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("kind", "key", name="uq_movement_kind_key"),
    )
    op.create_table(
        "gift_card",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("customer_id", sa.String(64), nullable=False, index=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("issued", sa.BigInteger, nullable=False),
        sa.Column("available", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("issued = available + held + spent", name="ck_gift_card_books"),
        sa.CheckConstraint("available >= 0 AND held >= 0 AND spent >= 0", name="ck_gift_card_not_negative"),
    )
    op.create_table(
        "gift_card_movement",
        sa.Column("id", ID, primary_key=True),
        sa.Column("gift_card_id", sa.String(32), nullable=False, index=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("key", sa.String(300), nullable=False, index=True),
        sa.Column("payment_id", sa.String(64)),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.CheckConstraint("amount > 0", name="ck_gift_card_movement_amount"),
    )
    op.create_index(
        "uq_gift_card_movement",
        "gift_card_movement",
        ["key", "kind", "gift_card_id", "payment_id"],
        unique=True,
        sqlite_where=NOT_REFUND,
        postgresql_where=NOT_REFUND,
    )


def downgrade() -> None:
    for table in ("gift_card_movement", "gift_card", "movement", "part"):
        op.drop_table(table)
