"""Who is leaving, and whose a mail is. Of mails from before only the address is known.

Code from before goes on writing mails without it.

Revision ID: notifications_0003
"""

import sqlalchemy as sa
from alembic import op

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "notifications_0003"
down_revision = "notifications_0002"


def upgrade() -> None:
    create_privacy_tables()
    op.add_column("mail", sa.Column("customer_id", sa.String(64)))
    op.create_index("ix_mail_customer", "mail", ["customer_id"])


def downgrade() -> None:
    op.drop_index("ix_mail_customer", "mail")
    op.drop_column("mail", "customer_id")
    drop_privacy_tables()
