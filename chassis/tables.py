"""The chassis' own tables, which stand in each service's database beside its business rows, for the same commits."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from chassis.db import UtcDateTime

metadata = MetaData()
_id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER PRIMARY KEY

inbox = Table(
    "inbox",
    metadata,
    Column("key", String(300), primary_key=True),
    Column("command", String(100), nullable=False),
    Column("input_hash", String(64), nullable=False),
    Column("state", String(10), nullable=False),  # started ok failed undoing undone fenced
    Column("result", Text),  # JSON
    Column("code", String(100)),
    Column("message", Text),
    Column("details", JSON),
    Column("saga_owner", String(50)),
    Column("saga_id", String(64), index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index(
        "ix_inbox_clients",
        "updated_at",
        sqlite_where=text("saga_id IS NULL"),
        postgresql_where=text("saga_id IS NULL"),
    ),
)

handled = Table(
    "handled",
    metadata,
    Column("handler", String(100), primary_key=True),
    Column("event_id", String(64), primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False, unique=True),
    Column("event", String(100), nullable=False),
    Column("aggregate_id", String(64), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("subscribers", JSON, nullable=False),
    Column("payload", Text, nullable=False),
    Column("trace_id", String(64)),
    Column("attention", Text),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("event", "aggregate_id", "sequence", name="uq_outbox_aggregate_sequence"),
    Index(
        "ix_outbox_attention",
        "aggregate_id",
        sqlite_where=text("attention IS NOT NULL"),
        postgresql_where=text("attention IS NOT NULL"),
    ),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("handler", String(100), nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("state", String(10), nullable=False, server_default="dead"),  # dead replayed dropped
    Column("closed_at", UtcDateTime),
    Column("author", String(100)),
    Column("reason", Text),
    UniqueConstraint("handler", "event_id", name="uq_dead_letter_event"),
    Index("ix_dead_letter_state_at", "state", "at"),
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

saga_metadata = MetaData()

saga = Table(
    "saga",
    saga_metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("version", Integer, nullable=False),
    Column("key", String(300), nullable=False),
    Column("status", String(20), nullable=False),  # running compensating completed compensated
    Column("stage", Integer, nullable=False),
    Column("context", Text, nullable=False),  # JSON of the definition's data type
    Column("trace_id", String(64), nullable=False),
    Column("steps", JSON, nullable=False),
    Column("cause", JSON),  # {step, code, message}
    Column("cancel_reason", Text),
    Column("deadline", UtcDateTime, nullable=False),
    Column("wake_at", UtcDateTime, nullable=False),
    Column("owner", String(64)),
    Column("ver", Integer, nullable=False),
    Column("attention", Text),
    Column("paused_at", UtcDateTime),
    Column("parent_id", String(64)),
    Column("parent_step", String(100)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("name", "key", name="uq_saga_name_key"),
    Index("ix_saga_status_wake_at", "status", "wake_at"),
    Index("ix_saga_created_at", "created_at"),
)

saga_log = Table(
    "saga_log",
    saga_metadata,
    Column("saga_id", String(64), primary_key=True),
    Column("seq", _id, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("step", String(100), nullable=False),
    Column("service", String(50)),
    Column("operation", String(20), nullable=False),  # action undo wait saga
    Column("outcome", String(20), nullable=False),  # ok refused unknown undone
    Column("attempt", Integer, nullable=False),
    Column("ms", Integer, nullable=False),
    Column("detail", Text),
    Column("author", String(100)),
)

saga_signal = Table(
    "saga_signal",
    saga_metadata,
    Column("saga_id", String(64), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("payload", JSON),
    Column("at", UtcDateTime, nullable=False),
)

saga_definition = Table(
    "saga_definition",
    saga_metadata,
    Column("name", String(100), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("shape", Text, nullable=False),
)

privacy_metadata = MetaData()

leaving = Table(
    "leaving",
    privacy_metadata,
    Column("customer_id", String(64), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)
