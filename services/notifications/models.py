"""notifications' one table: mails, each with the id of the event that it tells of, or as a copy with its own."""

from datetime import datetime

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Mail(Base):
    __tablename__ = "mail"
    __table_args__ = (
        Index(
            "ix_mail_queued",
            "due_at",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_mail_to_created_at", "to_address", "created_at"),
        Index("ix_mail_about", "about", "created_at"),
        Index("ix_mail_customer", "customer_id"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # the event's; a copy's own
    kind: Mapped[str] = mapped_column(String(50))
    about: Mapped[str | None] = mapped_column(String(64))  # an order's or a transaction's id; none of older mails
    copy_of: Mapped[str | None] = mapped_column(String(64))  # the mail that is sent once more
    customer_id: Mapped[str | None] = mapped_column(String(64))  # older mails do not tell
    to_address: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    html: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(10))  # queued sent failed
    attempts: Mapped[int]
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
