"""Who is leaving, and whose a parcel is. Of parcels from before only the address is known.

Revision ID: shipping_0002
"""

import sqlalchemy as sa
from alembic import op

from chassis.migrations.tables import create_privacy_tables, drop_privacy_tables

revision = "shipping_0002"
down_revision = "shipping_0001"


def upgrade() -> None:
    create_privacy_tables()
    op.add_column("shipment", sa.Column("customer_id", sa.String(64)))
    op.create_index("ix_shipment_customer", "shipment", ["customer_id"])
    op.create_index("ix_shipment_email", "shipment", ["email"])


def downgrade() -> None:
    op.drop_index("ix_shipment_email", "shipment")
    op.drop_index("ix_shipment_customer", "shipment")
    op.drop_column("shipment", "customer_id")
    drop_privacy_tables()
