"""carts' queries. A cart changes only while its row is locked; a guest's is locked before a customer's."""

import functools
import hashlib
import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Executable, Row, bindparam, delete, select, update
from sqlalchemy.orm import Session

from chassis.db import affected, insert_new, now, run, table_of
from chassis.errors import ServiceError
from contracts import carts as contract
from contracts.common import CartRef, Line
from services.carts.models import Cart

_cart = table_of(Cart)
_SET = update(_cart).where(_cart.c.id == bindparam("of")).returning(_cart)
_DELETE = delete(_cart).where(_cart.c.id == bindparam("of"))


def view(session: Session, ref: CartRef) -> contract.Cart:
    """Raises ServiceError `carts.not_found` for a guest's cart that is not there."""
    return shown(_find(session, ref, lock=False), ref)


def shown(cart: Row[Any] | None, ref: CartRef) -> contract.Cart:
    """As the contract has it; a customer always has a cart, a guest does not."""
    if cart is None and ref.customer_id is None:
        raise ServiceError("carts.not_found", "There is no such cart: POST /v1/carts makes one.")
    if cart is None:
        return contract.Cart(id="", lines=[], version=0)
    return contract.Cart(id=cart.id, lines=lines_of(cart), version=cart.version)


def locked(session: Session, ref: CartRef) -> Row[Any] | None:
    """The cart, which nobody else changes until this transaction ends."""
    return _find(session, ref, lock=True)


def locked_or_new(session: Session, customer_id: str) -> Row[Any]:
    """A customer's cart, locked. Two first puts at once end up with one."""
    ref = CartRef(customer_id=customer_id)
    cart = locked(session, ref)
    while cart is None:
        _add(session, customer_id, None)
        cart = locked(session, ref)
    return cart


def add_guest(session: Session, token: str) -> None:
    _add(session, None, _hash(token))


def change(session: Session, cart: Row[Any], lines: list[Line]) -> Row[Any]:
    """Give a locked cart its new lines, and a new version if they differ; answers it as it is then."""
    if lines == lines_of(cart):
        return cart
    rows = [[line.sku, line.quantity] for line in lines]
    return run(session, _SET, of=cart.id, lines=rows, version=cart.version + 1, changed_at=now(session)).one()


def remove(session: Session, cart: Row[Any]) -> None:
    run(session, _DELETE, of=cart.id)


def lines_of(cart: Row[Any]) -> list[Line]:
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
    insert_new(session, _cart, dict(row, id=uuid.uuid4().hex, changed_at=now(session)))


def _find(session: Session, ref: CartRef, lock: bool) -> Row[Any] | None:
    if ref.customer_id is not None:
        return run(session, _by("customer_id", lock), of=ref.customer_id).one_or_none()
    return run(session, _by("token_hash", lock), of=_hash(ref.token or "")).one_or_none()


@functools.cache
def _by(column: str, lock: bool) -> Executable:
    found = select(_cart).where(_cart.c[column] == bindparam("of"))
    return found.with_for_update() if lock else found


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
