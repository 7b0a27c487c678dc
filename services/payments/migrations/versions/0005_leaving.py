"""Who is leaving, whose a payment is, and of payouts' IBANs no more than it takes to recognise them.

Taking it back brings no IBAN back.

Revision ID: payments_0005
"""

from alembic import op

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "payments_0005"
down_revision = "payments_0004"


def upgrade() -> None:
    create_privacy_tables()
    op.create_index("ix_part_customer", "part", ["customer_id"])
    op.execute("UPDATE payout SET iban = substr(iban, 1, 2) || '…' || substr(iban, length(iban) - 3)")


def downgrade() -> None:
    op.drop_index("ix_part_customer", "part")
    drop_privacy_tables()
