"""Who voted on which version of an article: one vote each. Votes from before are counted, and nobody's.

Revision ID: support_0003
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime

revision = "support_0003"
down_revision = "support_0002"


def upgrade() -> None:
    op.create_table(
        "vote",
        sa.Column("topic", sa.String(40), primary_key=True),
        sa.Column("language", sa.String(2), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("voter", sa.String(64), primary_key=True),
        sa.Column("helpful", sa.Boolean, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("vote")
