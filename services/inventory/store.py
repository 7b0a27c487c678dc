"""inventory's queries. Counts change by guarded updates only, one sku after the other in one order."""

import functools
import uuid
from typing import Any

from sqlalchemy import Executable, bindparam, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run, table_of
from chassis.errors import ServiceError
from chassis.outbox import publish
from contracts import inventory as contract
from contracts.common import Line
from services.inventory.models import Movement, Reservation, Stock

Lines = list[tuple[str, int]]

_stock, _reservation = table_of(Stock), table_of(Reservation)
_END = (
    update(_reservation)
    .where(_reservation.c.order_id == bindparam("of"), _reservation.c.status == "held")
    .values(status=bindparam("end"))
    .returning(_reservation.c.lines)
)


def stock_of(session: Session, sku: str) -> contract.Stock:
    stock = session.get(Stock, sku, populate_existing=True)
    if stock is None:
        raise ServiceError("inventory.unknown_sku", f"There is no stock of {sku!r}.", {"sku": sku})
    return contract.Stock(
        sku=sku, received=stock.received, available=stock.available, reserved=stock.reserved, sold=stock.sold
    )


@functools.cache
def _move(**change: int) -> Executable:
    """The guarded update that changes these counts by so many times `:by`; it answers what is available then."""
    values: dict[str, Any] = {name: getattr(_stock.c, name) + sign * bindparam("by") for name, sign in change.items()}
    enough = [getattr(_stock.c, name) >= bindparam("by") for name, sign in change.items() if sign < 0]
    return update(_stock).where(_stock.c.sku == bindparam("of"), *enough).values(values).returning(_stock.c.available)


def move(session: Session, lines: Lines, *, kind: str, **change: int) -> None:
    """Change counts of each sku by so many times its quantity, e.g. available=-1, reserved=+1: all lines or none.

    Raises ServiceError `inventory.insufficient` (or `.unknown_sku`) where a count would fall below zero.
    """
    for sku, quantity in lines:
        available = run(session, _move(**change), of=sku, by=quantity).scalar()
        if available is None:
            have = stock_of(session, sku)
            raise ServiceError(
                "inventory.insufficient",
                f"Only {have.available} of {sku!r} can be had.",
                {"sku": sku, "available": have.available, "kind": kind},
            )
        _tell(session, sku, available, before=available - change.get("available", 0) * quantity)


def _tell(session: Session, sku: str, available: int, before: int) -> None:
    """Publish stock_changed where the sku came into stock or ran out: on each other change the flag stays as it is."""
    if (available > 0) == (before > 0):
        return
    numbered = update(Stock).where(Stock.sku == sku).values(sequence=Stock.sequence + 1).returning(Stock.sequence)
    publish(
        session,
        contract.StockChanged(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=sku,
            sequence=session.scalar(numbered) or 0,
            sku=sku,
            in_stock=available > 0,
        ),
    )


def receive(session: Session, sku: str, quantity: int) -> None:
    """Units came in; the first ones of a sku make its row, whoever brings them."""
    row = dict(sku=sku, received=quantity, available=quantity, reserved=0, sold=0, sequence=0)
    if insert_new(session, _stock, row):
        _tell(session, sku, quantity, before=0)
    else:
        move(session, [(sku, quantity)], kind="receive", received=1, available=1)


def note(session: Session, lines: Lines, kind: str, reason: str, author: str) -> None:
    at = now(session)
    session.add_all(
        Movement(sku=sku, kind=kind, quantity=quantity, reason=reason, author=author, at=at) for sku, quantity in lines
    )


def keep_reservation(session: Session, order_id: str, lines: Lines) -> contract.Reservation:
    """Raises ServiceError `inventory.reserved_already` if something is, or was, held for this id."""
    rows = [[sku, quantity] for sku, quantity in lines]
    row = dict(order_id=order_id, status="held", lines=rows, created_at=now(session))
    if not insert_new(session, _reservation, row):
        raise ServiceError("inventory.reserved_already", f"Units were held for {order_id!r} before, by another key.")
    return _view(order_id, "held", rows)


def end_reservation(session: Session, order_id: str, status: str) -> Lines | None:
    """Move a held reservation to its end; answers its lines, or None if it was not held."""
    lines = run(session, _END, of=order_id, end=status).scalar()
    return None if lines is None else [(sku, quantity) for sku, quantity in lines]


def audit(session: Session) -> contract.StockAudit:
    """Compare each sku's counts with one another and with the open reservations. At most 10,000 open ones are read."""
    held = session.scalars(
        select(Reservation).where(Reservation.status == "held").order_by(Reservation.created_at).limit(10_000)
    ).all()
    reserved: dict[str, int] = {}
    for row in held:
        for sku, quantity in row.lines:
            reserved[sku] = reserved.get(sku, 0) + quantity
    stocks = session.scalars(select(Stock)).all()
    broken = [
        stock.sku
        for stock in stocks
        if stock.available + stock.reserved + stock.sold != stock.received
        or stock.available < 0
        or stock.reserved != reserved.get(stock.sku, 0)
    ]
    opened = [
        contract.OpenReservation(order_id=row.order_id, lines=_lines(row.lines), created_at=row.created_at)
        for row in held
    ]
    return contract.StockAudit(skus=len(stocks), broken=broken, open=opened)


def _view(order_id: str, status: str, rows: list[list[Any]]) -> contract.Reservation:
    return contract.Reservation(order_id=order_id, status=status, lines=_lines(rows))


def _lines(rows: list[list[Any]]) -> list[Line]:
    return [Line(sku=sku, quantity=quantity) for sku, quantity in rows]
