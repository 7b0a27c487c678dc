"""registry's table: what happened to instances."""

from datetime import datetime

from sqlalchemy import BigInteger, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.db import UtcDateTime


class Base(DeclarativeBase):
    pass


class Happened(Base):
    """Noted once, whichever of several registries sees it first: `beat` is the instance's last announcement by then."""

    __tablename__ = "happened"
    __table_args__ = (
        UniqueConstraint("instance", "what", "beat", name="uq_happened_once"),
        {"sqlite_autoincrement": True},  # else the id of the latest would be given again when that row was forgotten
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    service: Mapped[str] = mapped_column(String(100))
    instance: Mapped[str] = mapped_column(String(64))
    what: Mapped[str] = mapped_column(String(20))  # up draining left suspect back gone
    beat: Mapped[int] = mapped_column(BigInteger)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
