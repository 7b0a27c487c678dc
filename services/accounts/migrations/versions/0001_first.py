"""Accounts, entries, postings, blocks, proposals.

Revision ID: accounts_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "accounts_0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    create_chassis_tables()
    _accounts()
    _entries()
    op.create_table(
        "block",
        sa.Column("number", _ID, primary_key=True, autoincrement=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("entries", sa.JSON, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "proposal",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("entry", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("proposed_by", sa.String(64), nullable=False),
        sa.Column("decided_by", sa.String(64)),
        sa.Column("decided_reason", sa.Text),
        sa.Column("entry_id", sa.BigInteger),
        sa.Column("created_at", UtcDateTime, nullable=False, index=True),
    )


def _accounts() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("stripe", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(10), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("customer_id", sa.String(64)),
        sa.Column("number", sa.Integer),
        sa.Column("role", sa.String(40)),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("limited", sa.Boolean, nullable=False),
        sa.Column("debits", sa.BigInteger, nullable=False),
        sa.Column("credits", sa.BigInteger, nullable=False),
        sa.Column("pending_debits", sa.BigInteger, nullable=False),
        sa.Column("pending_credits", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("customer_id", "number", name="uq_account_customer_number"),
        sa.CheckConstraint(
            "debits >= 0 AND credits >= 0 AND pending_debits >= 0 AND pending_credits >= 0",
            name="ck_account_not_negative",
        ),
        sa.CheckConstraint("NOT limited OR debits + pending_debits <= credits", name="ck_account_limit"),
    )


def _entries() -> None:
    op.create_table(
        "entry",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("key", sa.String(300), nullable=False, unique=True),
        sa.Column("input_hash", sa.String(64), nullable=False),
        sa.Column("phase", sa.String(10), nullable=False),
        sa.Column("hold_id", sa.String(100), unique=True),
        sa.Column("ends", sa.BigInteger, unique=True),
        sa.Column("corrects", sa.BigInteger),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False),
        sa.Column("memo", sa.String(200), nullable=False),
        sa.Column("author", sa.String(130), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("block", sa.BigInteger, index=True),
    )
    unsealed = sa.text("block IS NULL")
    op.create_index("ix_entry_unsealed", "entry", ["id"], sqlite_where=unsealed, postgresql_where=unsealed)
    op.create_table(
        "posting",
        sa.Column("entry_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("stripe", sa.Integer, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.CheckConstraint("amount <> 0", name="ck_posting_amount"),
    )
    op.create_index("ix_posting_account_entry", "posting", ["account_id", "entry_id"])


def downgrade() -> None:
    for table in ("proposal", "block", "posting", "entry", "account"):
        op.drop_table(table)
