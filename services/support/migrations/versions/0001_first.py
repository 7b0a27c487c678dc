"""Conversations, what happened in them, actions, articles, and what the desk keeps.

Revision ID: support_0001
"""

import sqlalchemy as sa
from alembic import op

from chassis.db import UtcDateTime
from chassis.migrations.tables import create_chassis_tables

revision = "support_0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "conversation",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("customer_id", sa.String(64)),
        sa.Column("token_hash", sa.String(64), unique=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("order_id", sa.String(64)),
        sa.Column("memory", sa.JSON, nullable=False),
        sa.Column("queue", sa.String(40), nullable=False),
        sa.Column("priority", sa.String(10), nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("assigned_to", sa.String(64)),
        sa.Column("claimed_until", UtcDateTime),
        sa.Column("summary", sa.JSON, nullable=False),
        sa.Column("handed_over_at", UtcDateTime),
        sa.Column("first_due_at", UtcDateTime),
        sa.Column("first_answered_at", UtcDateTime),
        sa.Column("solve_due_at", UtcDateTime),
        sa.Column("solved_at", UtcDateTime),
        sa.Column("paused_at", UtcDateTime),
        sa.Column("paused_s", sa.Float, nullable=False),
        sa.Column("escalated", sa.Integer, nullable=False),
        sa.Column("rating", sa.Integer),
        sa.Column("rating_comment", sa.String(500)),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("happened", sa.Integer, nullable=False),
        sa.Column("ver", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False, index=True),
        sa.CheckConstraint("(customer_id IS NULL) <> (token_hash IS NULL)", name="ck_conversation_has_one_owner"),
    )
    op.create_index("ix_conversation_customer", "conversation", ["customer_id", "created_at"])
    op.create_index("ix_conversation_desk", "conversation", ["status", "queue", "solve_due_at"])
    op.create_index("ix_conversation_created", "conversation", ["created_at"])
    op.create_table(
        "happening",
        sa.Column("id", sa.String(64), primary_key=True),
        _conversation(),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("sender", sa.String(20), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("note", sa.Boolean, nullable=False),
        sa.Column("sources", sa.JSON, nullable=False),
        sa.Column("intent", sa.String(40)),
        sa.Column("confidence", sa.Float),
        sa.Column("status", sa.String(20)),
        sa.Column("assigned_to", sa.String(64)),
        sa.Column("action_id", sa.String(64)),
        sa.UniqueConstraint("conversation_id", "sequence", name="uq_happening_sequence"),
    )
    op.create_table(
        "action",
        sa.Column("id", sa.String(64), primary_key=True),
        _conversation(),
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("order_id", sa.String(64)),
        sa.Column("wish", sa.JSON, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3)),
        sa.Column("by", sa.String(64)),
        sa.Column("approved_by", sa.String(64)),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("subject_id", sa.String(64)),
        sa.Column("reason_code", sa.String(100)),
        sa.Column("reason", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", UtcDateTime),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_action_conversation", "action", ["conversation_id"])
    op.create_index("ix_action_due", "action", ["status", "next_at"])
    op.create_index("ix_action_order", "action", ["order_id", "kind"])
    op.create_table(
        "article",
        sa.Column("topic", sa.String(40), primary_key=True),
        sa.Column("language", sa.String(2), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("keywords", sa.JSON, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("helpful", sa.Integer, nullable=False),
        sa.Column("unhelpful", sa.Integer, nullable=False),
    )
    op.create_table(
        "question",
        sa.Column("id", sa.String(64), primary_key=True),
        _conversation(),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("text", sa.String(500), nullable=False),
        sa.Column("nearest", sa.String(40)),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_question_at", "question", ["at"])
    op.create_table(
        "canned",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("language", "title", name="uq_canned_title"),
    )
    op.create_table(
        "reading",
        sa.Column("id", sa.String(64), primary_key=True),
        _conversation(),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_reading_conversation", "reading", ["conversation_id"])


def downgrade() -> None:
    for table in ("reading", "canned", "question", "article", "action", "happening", "conversation"):
        op.drop_table(table)


def _conversation() -> sa.Column[str]:
    return sa.Column(
        "conversation_id", sa.String(64), sa.ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False
    )
