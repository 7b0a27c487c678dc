"""Accounts, what belongs to them, sessions, keys.

Revision ID: users_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "users_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "account",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("address", sa.String(64), nullable=False, unique=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    _upgrade_belongings()
    _upgrade_sessions()


def _upgrade_belongings() -> None:
    op.create_table(
        "saved_address",
        sa.Column("account_id", sa.String(64), sa.ForeignKey("account.id"), primary_key=True),
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("address", sa.JSON, nullable=False),
    )
    op.create_table(
        "saved_method",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(64), sa.ForeignKey("account.id"), nullable=False, index=True),
        sa.Column("token", sa.String(200), nullable=False),
        sa.Column("brand", sa.String(30), nullable=False),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )


def _upgrade_sessions() -> None:
    op.create_table(
        "login_session",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(64), sa.ForeignKey("account.id"), nullable=False, index=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
        sa.Column("ended_at", UtcDateTime),
    )
    session = sa.ForeignKey("login_session.id", ondelete="CASCADE")
    op.create_table(
        "refresh_token",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("session_id", sa.String(64), session, nullable=False, index=True),
        sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
        sa.Column("used_at", UtcDateTime),
    )
    op.create_table(
        "login_failures",
        sa.Column("address", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failed_at", UtcDateTime, nullable=False, index=True),
        sa.Column("blocked_until", UtcDateTime),
    )
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.String(64), primary_key=True),
        sa.Column("private_key", sa.LargeBinary, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    active = sa.text("active")
    op.create_index(
        "uq_signing_key_active", "signing_key", ["active"], unique=True, sqlite_where=active, postgresql_where=active
    )


def downgrade() -> None:
    tables = "signing_key login_failures refresh_token login_session saved_method saved_address account"
    for table in tables.split():
        op.drop_table(table)
