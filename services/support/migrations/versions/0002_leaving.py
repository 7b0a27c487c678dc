"""Who is leaving, and what is old.

Revision ID: support_0002
"""

from alembic import op

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "support_0002"
down_revision = "support_0001"


def upgrade() -> None:
    create_privacy_tables()
    op.create_index("ix_happening_at", "happening", ["at"])
    op.create_index("ix_action_created_at", "action", ["created_at"])
    op.create_index("ix_question_conversation", "question", ["conversation_id"])


def downgrade() -> None:
    op.drop_index("ix_question_conversation", "question")
    op.drop_index("ix_action_created_at", "action")
    op.drop_index("ix_happening_at", "happening")
    drop_privacy_tables()
