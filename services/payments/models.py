"""payments' tables: a payment is the rows of its parts, and each part the sum of its movements.

A card's movements and a wallet's are in `movement`, each of them written down before anybody is asked for it; a gift
card's in `gift_card_movement`.
"""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime

ASKED, DONE, NEVER = "asked", "done", "never"
"""A movement's states: it may have happened, it has, it never will under this key."""

_ID = BigInteger().with_variant(Integer, "sqlite")
_NOT_REFUND = text("kind <> 'refund'")


class Base(DeclarativeBase):
    pass


class Part(Base):
    """What one gift card or account, or the one card, gives of a payment; `id` grows in the order in which an order was
    paid.

    `parts` is how many the payment has. `refunding` is held for refunds that were asked for; what is known to be given
    back is in `refunded`. `authorize_key` is the payment's, and the acquirer's name of its authorization.
    """

    __tablename__ = "part"
    __table_args__ = (
        UniqueConstraint("payment_id", "position", name="uq_part_position"),
        Index("ix_part_customer", "customer_id"),
        CheckConstraint("amount > 0 AND captured <= amount", name="ck_part_captured"),
        CheckConstraint("refunded >= 0 AND refunding >= 0", name="ck_part_not_negative"),
        CheckConstraint("refunded + refunding <= captured", name="ck_part_refunded"),
        CheckConstraint("(method = 'gift_card') = (gift_card_id IS NOT NULL)", name="ck_part_gift_card"),
        CheckConstraint("(method = 'wallet') = (account_id IS NOT NULL)", name="ck_part_account"),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    payment_id: Mapped[str] = mapped_column(String(64))
    position: Mapped[int] = mapped_column(Integer)
    parts: Mapped[int] = mapped_column(Integer)
    order_id: Mapped[str] = mapped_column(String(64), index=True)
    customer_id: Mapped[str | None] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(20))
    gift_card_id: Mapped[str | None] = mapped_column(String(64))
    account_id: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(String(100))
    action_url: Mapped[str | None] = mapped_column(String(500))
    amount: Mapped[int] = mapped_column(BigInteger)
    captured: Mapped[int] = mapped_column(BigInteger)
    refunding: Mapped[int] = mapped_column(BigInteger)
    refunded: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    authorize_key: Mapped[str] = mapped_column(String(200), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Movement(Base):
    """What was asked for a part of a payment: of the acquirer for its card, of the ledger for the account `account_id`.

    `key` is their name of it; `command_key` that of the command that asked, which a refused refund may do again under
    another `key`. A void has the key of its authorization.
    """

    __tablename__ = "movement"
    __table_args__ = (UniqueConstraint("kind", "key", name="uq_movement_kind_key"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    key: Mapped[str] = mapped_column(String(200))
    command_key: Mapped[str] = mapped_column(String(200), index=True)
    payment_id: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[str | None] = mapped_column(String(64))
    amount: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(10))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class GiftCard(Base):
    """`available` can be spent, `held` is set aside for payments that are not captured yet."""

    __tablename__ = "gift_card"
    __table_args__ = (
        CheckConstraint("issued = available + held + spent", name="ck_gift_card_books"),
        CheckConstraint("available >= 0 AND held >= 0 AND spent >= 0", name="ck_gift_card_not_negative"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(64), index=True)
    currency: Mapped[str] = mapped_column(String(3))
    issued: Mapped[int] = mapped_column(BigInteger)
    available: Mapped[int] = mapped_column(BigInteger)
    held: Mapped[int] = mapped_column(BigInteger)
    spent: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class GiftCardMovement(Base):
    """`kind`: issue, hold, release, spend or refund. `key` is that of the command; `payment_id` is None where staff
    issued the card. A refund may come to one card of one payment in several steps."""

    __tablename__ = "gift_card_movement"
    __table_args__ = (
        Index(
            "uq_gift_card_movement",
            "key",
            "kind",
            "gift_card_id",
            "payment_id",
            unique=True,
            sqlite_where=_NOT_REFUND,
            postgresql_where=_NOT_REFUND,
        ),
        CheckConstraint("amount > 0", name="ck_gift_card_movement_amount"),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    gift_card_id: Mapped[str] = mapped_column(String(32), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    key: Mapped[str] = mapped_column(String(300), index=True)
    payment_id: Mapped[str | None] = mapped_column(String(64))
    amount: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class PayOut(Base):
    """Money on its way to a bank account. `key` is the bank's name of it. Of the IBAN is kept what it takes to know it
    again: the bank was told the whole of it, and whoever asked for the payout has it."""

    __tablename__ = "payout"
    __table_args__ = (CheckConstraint("amount > 0", name="ck_payout_amount"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    iban: Mapped[str] = mapped_column(String(34))
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(String(100))
    sequence: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Dispute(Base):
    """What the acquirer took back of a card's payment. `id` is the acquirer's."""

    __tablename__ = "dispute"
    __table_args__ = (
        CheckConstraint("amount > 0", name="ck_dispute_amount"),
        CheckConstraint("status IN ('opened', 'won', 'lost')", name="ck_dispute_status"),
        Index("ix_dispute_opened", "opened_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    order_id: Mapped[str] = mapped_column(String(64), index=True)
    payment_id: Mapped[str] = mapped_column(String(64))
    customer_id: Mapped[str | None] = mapped_column(String(64))
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(200))
    sequence: Mapped[int] = mapped_column(Integer)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
