"""What was posted about a subject is found by an index.

Revision ID: accounts_0002
"""

from alembic import op

revision = "accounts_0002"
down_revision = "accounts_0001"


def upgrade() -> None:
    op.create_index("ix_entry_subject", "entry", ["subject"])


def downgrade() -> None:
    op.drop_index("ix_entry_subject", "entry")
