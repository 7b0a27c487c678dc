"""Parts that customers' accounts give, and what the ledger is asked for them.

Revision ID: payments_0003
"""

import sqlalchemy as sa
from alembic import op

revision = "payments_0003"
down_revision = "payments_0002"

BY_ACCOUNT = "CONSTRAINT ck_part_account CHECK ((method = 'wallet') = (account_id IS NOT NULL))"


def upgrade() -> None:
    # in one statement with its condition: SQLite adds a condition to a table only together with a column
    op.execute(f"ALTER TABLE part ADD COLUMN account_id VARCHAR(64) {BY_ACCOUNT}")
    op.add_column("movement", sa.Column("account_id", sa.String(64)))


def downgrade() -> None:
    """Only while no account has paid: its parts would be nobody's."""
    with op.batch_alter_table("movement") as movement:
        movement.drop_column("account_id")
    with op.batch_alter_table("part") as part:
        part.drop_constraint("ck_part_account", type_="check")
        part.drop_column("account_id")
