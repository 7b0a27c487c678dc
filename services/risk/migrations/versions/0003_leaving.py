"""Who is leaving, and whom a decision is about, which until now only its subject told.

Code from before goes on writing decisions without it.

Revision ID: risk_0003
"""

import sqlalchemy as sa
from alembic import op

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "risk_0003"
down_revision = "risk_0002"

SCREENING = sa.table("screening", sa.column("customer_id", sa.String), sa.column("subject", sa.JSON))


def upgrade() -> None:
    create_privacy_tables()
    op.add_column("screening", sa.Column("customer_id", sa.String(64)))
    op.execute(sa.update(SCREENING).values(customer_id=SCREENING.c.subject["customer_id"].as_string()))
    op.create_index("ix_screening_customer", "screening", ["customer_id"])
    op.create_index("ix_footprint_customer", "footprint", ["customer_id"])
    op.create_index("ix_review_customer", "review", ["customer_id"])


def downgrade() -> None:
    op.drop_index("ix_review_customer", "review")
    op.drop_index("ix_footprint_customer", "footprint")
    op.drop_index("ix_screening_customer", "screening")
    op.drop_column("screening", "customer_id")
    drop_privacy_tables()
