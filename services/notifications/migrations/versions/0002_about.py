"""What a mail is about, and of which one it is a copy. Of mails from before neither is known.

Code from before goes on writing mails without them.

Revision ID: notifications_0002
"""

import sqlalchemy as sa
from alembic import op

revision = "notifications_0002"
down_revision = "notifications_0001"


def upgrade() -> None:
    op.add_column("mail", sa.Column("about", sa.String(64)))
    op.add_column("mail", sa.Column("copy_of", sa.String(64)))
    op.create_index("ix_mail_about", "mail", ["about", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_mail_about", "mail")
    op.drop_column("mail", "copy_of")
    op.drop_column("mail", "about")
