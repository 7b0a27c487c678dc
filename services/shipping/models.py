"""shipping's table."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Shipment(Base):
    """`status`: none (asked for, perhaps booked), booked, handed_over, in_transit, delivered or cancelled.

    `booking_key` is the carrier's name of the booking before there is a tracking number; `refusals` counts the keys
    before it. A row without keys was cancelled before it was asked for. `carrier_sequence` is the carrier's count of
    the last move known, `sequence` ours of the events told. Whose it is older ones do not tell.
    """

    __tablename__ = "shipment"
    __table_args__ = (Index("ix_shipment_customer", "customer_id"), Index("ix_shipment_email", "email"))

    parcel_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    order_id: Mapped[str] = mapped_column(String(64))
    customer_id: Mapped[str | None] = mapped_column(String(64))
    command_key: Mapped[str | None] = mapped_column(String(200))
    booking_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    refusals: Mapped[int]
    status: Mapped[str] = mapped_column(String(20))
    tracking: Mapped[str | None] = mapped_column(String(64), unique=True)
    on_hold: Mapped[bool]
    carrier_sequence: Mapped[int]
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(200))
    sequence: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
