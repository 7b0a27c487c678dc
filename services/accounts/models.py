"""The ledger's tables. Entries and their postings are only ever added; what an account holds is counted beside them.

An account of the house that much is posted to is many rows, `stripes`, each with a part of what it holds: writers that
do not meet on a row do not wait for each other. A customer's account is one row, stripe 0, because it has a limit.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime

_ID = BigInteger().with_variant(Integer, "sqlite")
_UNSEALED = text("block IS NULL")


class Base(DeclarativeBase):
    pass


class Account(Base):
    """`debits` and `credits` only grow. `limited`: what its owner has may not go below zero, pending debits included.
    `number` counts a customer's accounts."""

    __tablename__ = "account"
    __table_args__ = (
        UniqueConstraint("customer_id", "number", name="uq_account_customer_number"),
        CheckConstraint(
            "debits >= 0 AND credits >= 0 AND pending_debits >= 0 AND pending_credits >= 0",
            name="ck_account_not_negative",
        ),
        CheckConstraint("NOT limited OR debits + pending_debits <= credits", name="ck_account_limit"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    stripe: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(10))
    currency: Mapped[str] = mapped_column(String(3))
    name: Mapped[str] = mapped_column(String(100))
    customer_id: Mapped[str | None] = mapped_column(String(64))
    number: Mapped[int | None] = mapped_column(Integer)
    role: Mapped[str | None] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(10))
    limited: Mapped[bool]
    debits: Mapped[int] = mapped_column(BigInteger)
    credits: Mapped[int] = mapped_column(BigInteger)
    pending_debits: Mapped[int] = mapped_column(BigInteger)
    pending_credits: Mapped[int] = mapped_column(BigInteger)
    sequence: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Entry(Base):
    """`phase`: posted; or pending, and then the entry that `ends` it: settled or voided. `hash` is that of everything
    it says with its postings; `input_hash` that of what was asked under `key`."""

    __tablename__ = "entry"
    __table_args__ = (
        Index("ix_entry_unsealed", "id", sqlite_where=_UNSEALED, postgresql_where=_UNSEALED),
        Index("ix_entry_subject", "subject"),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    key: Mapped[str] = mapped_column(String(300), unique=True)
    input_hash: Mapped[str] = mapped_column(String(64))
    phase: Mapped[str] = mapped_column(String(10))
    hold_id: Mapped[str | None] = mapped_column(String(100), unique=True)
    ends: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    corrects: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))
    memo: Mapped[str] = mapped_column(String(200))
    author: Mapped[str] = mapped_column(String(130))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    hash: Mapped[str] = mapped_column(String(64))
    block: Mapped[int | None] = mapped_column(BigInteger, index=True)


class Posting(Base):
    __tablename__ = "posting"
    __table_args__ = (
        CheckConstraint("amount <> 0", name="ck_posting_amount"),
        Index("ix_posting_account_entry", "account_id", "entry_id"),
    )

    entry_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    account_id: Mapped[str] = mapped_column(String(64))
    stripe: Mapped[int] = mapped_column(Integer)
    amount: Mapped[int] = mapped_column(BigInteger)


class Block(Base):
    """Entries that were sealed together, in the order of their ids. `hash` covers the block before and each entry."""

    __tablename__ = "block"

    number: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=False)
    previous: Mapped[str] = mapped_column(String(64))
    entries: Mapped[list[int]] = mapped_column(JSON)
    hash: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Proposal(Base):
    """A manual entry. `status`: proposed, booked or declined."""

    __tablename__ = "proposal"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    status: Mapped[str] = mapped_column(String(10))
    entry: Mapped[dict[str, Any]] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text)
    proposed_by: Mapped[str] = mapped_column(String(64))
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_reason: Mapped[str | None] = mapped_column(Text)
    entry_id: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
