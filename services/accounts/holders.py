"""The lives of customers' accounts: opened, frozen, closed."""

import uuid
from typing import Any

from sqlalchemy import Row, bindparam, func, select, update
from sqlalchemy.orm import Session

from chassis.currencies import EXPONENTS
from chassis.db import insert_new, now, run, table_of
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.outbox import publish
from contracts import accounts as contract
from services.accounts.domain import CUSTOMERS
from services.accounts.models import Account
from services.accounts.store import new_account

MOST = 20

_account = table_of(Account)
_COUNT = select(func.coalesce(func.max(_account.c.number), 0)).where(_account.c.customer_id == bindparam("whose"))
_LOCK = select(_account).where(_account.c.id == bindparam("of"), _account.c.stripe == 0).with_for_update()
_LOCK_ALL = (
    select(_account).where(_account.c.customer_id == bindparam("whose")).order_by(_account.c.id).with_for_update()
)
_TURN = (
    update(_account)
    .where(_account.c.id == bindparam("of"), _account.c.stripe == 0)
    .values(status=bindparam("turned"), sequence=_account.c.sequence + 1)
)


def open_account(session: Session, customer_id: str, currency: str, name: str) -> str:
    """A new account's id. Raises ServiceError."""
    if currency not in EXPONENTS:
        raise ServiceError("accounts.unknown_currency", f"{currency!r} is no currency.", {"field": "currency"})
    number = int(run(session, _COUNT, whose=customer_id).scalar_one()) + 1
    if number > MOST:
        raise ServiceError("accounts.too_many", f"One customer can have {MOST} accounts.")
    account_id = uuid.uuid4().hex
    row = new_account(
        session,
        id=account_id,
        stripe=0,
        type=CUSTOMERS,
        currency=currency,
        name=name,
        customer_id=customer_id,
        number=number,
        limited=True,
    )
    if not insert_new(session, _account, row):
        raise OutcomeUnknown("accounts", "another account of this customer's was opened at the same time")
    return account_id


def hold_still(session: Session, account_id: str) -> Row[Any]:
    """A customer's account, locked. Raises ServiceError."""
    row = run(session, _LOCK, of=account_id).one_or_none()
    if row is None:
        raise ServiceError("accounts.not_found", f"There is no account {account_id!r} of a customer's.")
    return row


def turn(session: Session, row: Row[Any], status: str, reason: str) -> None:
    """Freeze or unfreeze a locked account, and tell of it. Nothing happens to one that is so already. Raises
    ServiceError."""
    if row.status == "closed":
        raise ServiceError("accounts.closed", "This account is closed.")
    if row.status != status:
        run(session, _TURN, of=row.id, turned=status)
        _tell(session, row, status, reason)


def close(session: Session, row: Row[Any], reason: str) -> None:
    """Close a locked account for ever. Raises ServiceError."""
    if row.debits != row.credits or row.pending_debits or row.pending_credits:
        raise ServiceError("accounts.not_empty", "There is money on this account, or on its way: it has to be at zero.")
    if row.status != "closed":
        run(session, _TURN, of=row.id, turned="closed")
        _tell(session, row, "closed", reason)


def close_all(session: Session, customer_id: str, reason: str) -> None:
    """Close every account of a customer's. Raises ServiceError."""
    for row in run(session, _LOCK_ALL, whose=customer_id).all():
        close(session, row, reason)


def _tell(session: Session, row: Row[Any], status: str, reason: str) -> None:
    publish(
        session,
        contract.AccountStatusChanged(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=row.id,
            sequence=row.sequence + 1,
            customer_id=row.customer_id,
            status=status,
            reason=reason,
        ),
    )
