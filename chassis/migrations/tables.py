"""What a service's first migration calls for the chassis' own tables."""

from alembic import op

from chassis import tables


def create_chassis_tables() -> None:
    """inbox, handled, outbox, dead_letter and lease: every service has them."""
    tables.metadata.create_all(op.get_bind())


def create_saga_tables() -> None:
    """For a service that drives sagas."""
    tables.saga_metadata.create_all(op.get_bind())


def create_privacy_tables() -> None:
    """For a service that keeps something about customers."""
    tables.privacy_metadata.create_all(op.get_bind())


def drop_privacy_tables() -> None:
    tables.privacy_metadata.drop_all(op.get_bind())
