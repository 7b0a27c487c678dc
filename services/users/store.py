"""users' queries about accounts and what belongs to them."""

import uuid
from typing import Any, cast

import msgspec
from sqlalchemy import Row, String, Table, bindparam, delete, func, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.db import affected, insert_new, now, run, table_of
from chassis.errors import ServiceError
from chassis.types import OPERATOR
from contracts import users as contract
from contracts.common import Address
from services.users.domain import MAX_ADDRESSES, MAX_PAYMENT_METHODS, address_of
from services.users.models import Account, SavedAddress, SavedMethod


def add_account(session: Session, email: str, name: str, roles: list[str], password_hash: str) -> contract.User | None:
    """A new account; None if the address is another's."""
    user = contract.User(id=uuid.uuid4().hex, email=email.strip(), name=name, roles=roles)
    row = dict(
        msgspec.to_builtins(user),
        address=address_of(email),
        password_hash=password_hash,
        created_at=now(session),
    )
    return user if insert_new(session, cast(Table, Account.__table__), row) else None


def has_operator(session: Session) -> bool:
    is_operator = sql_cast(Account.roles, String).contains(f'"{OPERATOR}"')
    return session.scalar(select(Account.id).where(is_operator).limit(1)) is not None


def password_at(session: Session, address: str) -> Row[str, str] | None:
    """Whose address it is, and the password's hash."""
    return session.execute(select(Account.id, Account.password_hash).where(Account.address == address)).one_or_none()


def password_of(session: Session, account_id: str) -> tuple[str, str]:
    """The address that an account's failures are counted at, and its password's hash."""
    account = _account(session, account_id)
    return account.address, account.password_hash


def replace_password_hash(session: Session, account_id: str, old: str, new: str) -> None:
    unchanged = (Account.id == account_id, Account.password_hash == old)
    session.execute(update(Account).where(*unchanged).values(password_hash=new))


def user(session: Session, account_id: str) -> contract.User:
    return _user(_account(session, account_id))


_ACCOUNT = select(table_of(Account)).where(Account.id == bindparam("of"))
_PLACES = select(table_of(SavedAddress)).where(SavedAddress.account_id == bindparam("of")).order_by(SavedAddress.name)
_METHODS = (
    select(table_of(SavedMethod))
    .where(SavedMethod.account_id == bindparam("of"))
    .order_by(SavedMethod.created_at, SavedMethod.id)
)


def profile(session: Session, account_id: str) -> contract.Profile:
    account = run(session, _ACCOUNT, of=account_id).one_or_none()
    if account is None:
        raise not_found(account_id)
    return contract.Profile(
        id=account.id,
        email=account.email,
        name=account.name,
        roles=account.roles,
        addresses={row.name: msgspec.convert(row.address, Address) for row in run(session, _PLACES, of=account_id)},
        payment_methods=[_method(row) for row in run(session, _METHODS, of=account_id)],
    )


def change(session: Session, account_id: str, **values: Any) -> None:
    """Set columns of an account. Raises ServiceError `users.not_found`, or `users.email_taken`: wants a savepoint."""
    if "email" in values:
        values |= dict(email=values["email"].strip(), address=address_of(values["email"]))
    _account(session, account_id)
    if not values:
        return
    try:
        session.execute(update(Account).where(Account.id == account_id).values(**values))
    except IntegrityError:
        raise email_taken() from None


def put_address(session: Session, account_id: str, name: str, address: Address) -> None:
    _account(session, account_id, lock=True)  # so that they are counted by one at a time
    mine = SavedAddress.account_id == account_id
    value = msgspec.to_builtins(address)
    if affected(session, update(SavedAddress).where(mine, SavedAddress.name == name).values(address=value)):
        return
    if (session.scalar(select(func.count()).where(mine)) or 0) >= MAX_ADDRESSES:
        raise ServiceError("users.too_many_addresses", f"At most {MAX_ADDRESSES} are kept: delete one first.")
    session.add(SavedAddress(account_id=account_id, name=name, address=value))
    session.flush()


def delete_address(session: Session, account_id: str, name: str) -> None:
    session.execute(delete(SavedAddress).where(SavedAddress.account_id == account_id, SavedAddress.name == name))


def add_method(session: Session, account_id: str, token: str, brand: str, last4: str) -> contract.SavedMethod:
    _account(session, account_id, lock=True)
    if (session.scalar(select(func.count()).where(SavedMethod.account_id == account_id)) or 0) >= MAX_PAYMENT_METHODS:
        limit = f"At most {MAX_PAYMENT_METHODS} are kept: delete one first."
        raise ServiceError("users.too_many_payment_methods", limit)
    method = SavedMethod(
        id=uuid.uuid4().hex, account_id=account_id, token=token, brand=brand, last4=last4, created_at=now(session)
    )
    session.add(method)
    session.flush()
    return _method(method)


def delete_method(session: Session, account_id: str, method_id: str) -> None:
    session.execute(delete(SavedMethod).where(SavedMethod.account_id == account_id, SavedMethod.id == method_id))


def email_taken() -> ServiceError:
    return ServiceError("users.email_taken", "There is an account with this e-mail address: log in.")


def not_found(account_id: str) -> ServiceError:
    return ServiceError("users.not_found", f"There is no user {account_id!r}.")


def _account(session: Session, account_id: str, lock: bool = False) -> Account:
    account = session.get(Account, account_id, populate_existing=True, with_for_update=lock)
    if account is None:
        raise not_found(account_id)
    return account


def _user(account: Account) -> contract.User:
    return contract.User(id=account.id, email=account.email, name=account.name, roles=account.roles)


def _method(row: SavedMethod | Row[Any]) -> contract.SavedMethod:
    return contract.SavedMethod(id=row.id, type="card", token=row.token, brand=row.brand, last4=row.last4)
