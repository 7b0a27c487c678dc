"""What a service's first migration calls for the chassis' own tables."""

from alembic import op

from chassis import tables


def create_chassis_tables() -> None:
    """inbox, handled, outbox, dead_letter and lease: every service has them."""
    tables.metadata.create_all(op.get_bind())


def create_saga_tables() -> None:
    """For a service that drives sagas."""
    tables.saga_metadata.create_all(op.get_bind())
