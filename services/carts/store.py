"""carts' queries. A cart changes only while its row is locked; a guest's is locked before a customer's."""

import hashlib
import uuid
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, delete, select
from sqlalchemy.orm import Session

from chassis.db import affected, insert_new, now
from chassis.errors import ServiceError
from contracts import carts as contract
from contracts.common import CartRef, Line
from services.carts.models import Cart


def view(session: Session, ref: CartRef) -> contract.Cart:
    """Raises ServiceError `carts.not_found` for a guest's cart that is not there."""
    return shown(session.scalar(select(Cart).where(_is(ref))), ref)


def shown(cart: Cart | None, ref: CartRef) -> contract.Cart:
    """As the contract has it; a customer always has a cart, a guest does not."""
    if cart is None and ref.customer_id is None:
        raise ServiceError("carts.not_found", "There is no such cart: POST /v1/carts makes one.")
    if cart is None:
        return contract.Cart(id="", lines=[], version=0)
    return contract.Cart(id=cart.id, lines=lines_of(cart), version=cart.version)


def locked(session: Session, ref: CartRef) -> Cart | None:
    """The cart, which nobody else changes until this transaction ends."""
    wanted = select(Cart).where(_is(ref)).with_for_update()
    return session.scalar(wanted.execution_options(populate_existing=True))


def locked_or_new(session: Session, customer_id: str) -> Cart:
    """A customer's cart, locked. Two first puts at once end up with one."""
    ref = CartRef(customer_id=customer_id)
    cart = locked(session, ref)
    while cart is None:
        _add(session, customer_id, None)
        cart = locked(session, ref)
    return cart


def add_guest(session: Session, token: str) -> None:
    _add(session, None, _hash(token))


def change(session: Session, cart: Cart, lines: list[Line]) -> None:
    """Give a locked cart its new lines, and a new version if they differ."""
    if lines != lines_of(cart):
        cart.lines = [[line.sku, line.quantity] for line in lines]
        cart.version += 1
        cart.changed_at = now(session)


def lines_of(cart: Cart) -> list[Line]:
    return [Line(sku=sku, quantity=quantity) for sku, quantity in cart.lines]


def are_abandoned(session: Session, age: timedelta) -> bool:
    return session.scalar(select(Cart.id).where(*_abandoned(session, age)).limit(1)) is not None


def remove_abandoned(session: Session, age: timedelta, limit: int) -> int:
    """Remove up to `limit` guests' carts that nobody changed for so long; answers how many."""
    conditions = _abandoned(session, age)
    oldest = select(Cart.id).where(*conditions).order_by(Cart.changed_at).limit(limit)
    return affected(session, delete(Cart).where(Cart.id.in_(oldest), *conditions))


def _abandoned(session: Session, age: timedelta) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Cart.customer_id.is_(None), Cart.changed_at < now(session) - age


def _add(session: Session, customer_id: str | None, token_hash: str | None) -> None:
    row: dict[str, Any] = dict(customer_id=customer_id, token_hash=token_hash, lines=[], version=0)
    insert_new(session, cast(Table, Cart.__table__), dict(row, id=uuid.uuid4().hex, changed_at=now(session)))


def _is(ref: CartRef) -> ColumnElement[bool]:
    if ref.customer_id is not None:
        return Cart.customer_id == ref.customer_id
    return Cart.token_hash == _hash(ref.token or "")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
