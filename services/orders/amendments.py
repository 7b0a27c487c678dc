"""Amendments: their rows, and what people see of them."""

import uuid
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis import saga_store
from chassis.db import affected, now, run, table_of
from chassis.saga import StepState
from chassis.types import Message, Money
from contracts import amendments as contract
from services.orders.domain import SHIPMENT_RANK
from services.orders.models import Amendment, Order
from services.orders.terms import CancelTerms, ReturnTerms, SwapTerms, wanted_of

T = TypeVar("T", bound=Message)

TERMS: dict[str, type[Message]] = {
    "cancel": CancelTerms,
    "return": ReturnTerms,
    "exchange": SwapTerms,
    "change": SwapTerms,
}
AT_WORK = ("pending", "settling")
"""States in which money and stock move; while it is `waiting` nothing does."""

_amendments, _orders = table_of(Amendment), table_of(Order)
_OF = _amendments.c.id == bindparam("of")
_ADD = insert(_amendments)
_GET = select(_amendments).where(_OF)
_OPEN = select(_amendments).where(_amendments.c.order_id == bindparam("order"), _amendments.c.closed_at.is_(None))
_OF_ORDERS = (
    select(_amendments)
    .where(_amendments.c.order_id.in_(bindparam("orders", expanding=True)))
    .order_by(_amendments.c.created_at, _amendments.c.id)
)
_MARK = update(_orders).where(_orders.c.id == bindparam("order")).values(amended=True)


def new_id() -> str:
    return uuid.uuid4().hex


def add(
    session: Session,
    amendment_id: str,
    order_id: str,
    kind: str,
    saga_id: str,
    terms: Message,
    status: str = "pending",
    key: str | None = None,
) -> None:
    """Open an amendment. `key`: what it was asked under, where somebody asked. Raises IntegrityError if the order has
    an open one."""
    at = now(session)
    run(
        session,
        _ADD,
        id=amendment_id,
        order_id=order_id,
        kind=kind,
        status=status,
        saga_id=saga_id,
        key=key,
        data=msgspec.to_builtins(terms),
        shipment_status="none",
        reason=getattr(terms, "reason", None),
        created_at=at,
        updated_at=at,
    )
    run(session, _MARK, order=order_id)


def get(session: Session, amendment_id: str) -> Row[Any] | None:
    return run(session, _GET, of=amendment_id).one_or_none()


def require(session: Session, amendment_id: str) -> Row[Any]:
    """An amendment that there is."""
    row: Row[Any] = run(session, _GET, of=amendment_id).one()
    return row


def saga_of(session: Session, amendment_id: str) -> str | None:
    """The saga that makes this amendment."""
    row = get(session, amendment_id)
    return row.saga_id if row is not None else None


def open_of(session: Session, order_id: str) -> Row[Any] | None:
    """The order's open amendment, if there is one."""
    return run(session, _OPEN, order=order_id).one_or_none()


def of_orders(session: Session, order_ids: Collection[str]) -> dict[str, list[Row[Any]]]:
    """The amendments of some orders, the oldest first."""
    found: dict[str, list[Row[Any]]] = {order_id: [] for order_id in order_ids}
    if found:
        for row in run(session, _OF_ORDERS, orders=list(found)):
            found[row.order_id].append(row)
    return found


def open_orders(session: Session) -> list[str]:
    """The ids of the orders that have an open amendment; at most 10,000."""
    query = select(_amendments.c.order_id).where(_amendments.c.closed_at.is_(None)).limit(10_000)
    return list(session.scalars(query))


def terms_of(row: Row[Any], kind: type[T]) -> T:
    """What an amendment is about, as its kind has it."""
    return msgspec.convert(row.data, kind)


def change(session: Session, amendment_id: str, before: Collection[str] | None = None, **values: Any) -> bool:
    """Set columns of an open amendment; False if it is closed, or in another state than those before."""
    statement = update(_amendments).where(_amendments.c.id == amendment_id, _amendments.c.closed_at.is_(None))
    if before is not None:
        statement = statement.where(_amendments.c.status.in_(before))
    return affected(session, statement.values(updated_at=now(session), **values)) == 1


def close(session: Session, amendment_id: str, status: str, **values: Any) -> bool:
    """End an open amendment; False if it is closed already."""
    return change(session, amendment_id, status=status, closed_at=now(session), **values)


def parcel_moved(session: Session, amendment_id: str, status: str, tracking: str | None) -> None:
    """Note how far an exchange's parcel is, never back."""
    lower = [name for name, rank in SHIPMENT_RANK.items() if rank < SHIPMENT_RANK[status]]
    moved = update(_amendments).where(_amendments.c.id == amendment_id, _amendments.c.shipment_status.in_(lower))
    affected(session, moved.values(shipment_status=status, tracking=tracking, updated_at=now(session)))


def sagas_of(row: Row[Any]) -> list[str]:
    return [row.saga_id, *([row.take_back_id] if row.take_back_id else [])]


# --- views


def view(session: Session, row: Row[Any]) -> contract.Amendment:
    return contract.Amendment(
        id=row.id,
        kind=row.kind,
        status=row.status,
        created_at=row.created_at,
        updated_at=row.updated_at,
        reason=row.reason,
        reason_code=row.reason_code,
        action_url=_action_url(session, row),
    )


def return_view(row: Row[Any]) -> contract.Return:
    """A return; of an exchange, the old units on their way back."""
    if row.kind == "exchange":
        return _taken_back(row)
    terms = terms_of(row, ReturnTerms)
    decided = {decision.sku: decision for decision in terms.decisions or ()}
    lines = [
        contract.ReturnedLine(
            sku=line.sku,
            quantity=line.quantity,
            reason=line.reason,
            refund=Money(amount=terms.refunds.get(line.sku, 0), currency=terms.refund.currency)
            if terms.refund
            else None,
            **_found(decided.get(line.sku)),
        )
        for line in terms.lines
    ]
    return contract.Return(
        id=row.id,
        order_id=row.order_id,
        status=row.status,
        lines=lines,
        refund_to=terms.refund_to,
        expires_at=terms.expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        refund=terms.refund,
    )


def _taken_back(row: Row[Any]) -> contract.Return:
    terms = terms_of(row, SwapTerms)
    decided = {decision.sku: decision for decision in terms.decisions or ()}
    lines = [
        contract.ReturnedLine(sku=sku, quantity=count, reason="exchange", **_found(decided.get(sku)))
        for sku, count in wanted_of(terms.swaps).items()
    ]
    assert terms.expires_at is not None  # an exchange has one
    return contract.Return(
        id=row.id,
        order_id=row.order_id,
        status=row.status,
        lines=lines,
        refund_to="original",
        expires_at=terms.expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def exchange_view(session: Session, row: Row[Any]) -> contract.Exchange:
    terms = terms_of(row, SwapTerms)
    decided = {decision.sku: decision for decision in terms.decisions or ()}
    return contract.Exchange(
        id=row.id,
        order_id=row.order_id,
        status=row.status,
        lines=[
            contract.ExchangedLine(
                sku=swap.sku, new_sku=swap.new_sku, quantity=swap.quantity, **_found(decided.get(swap.sku))
            )
            for swap in terms.swaps
        ],
        difference=terms.difference,
        created_at=row.created_at,
        updated_at=row.updated_at,
        shipment_status=row.shipment_status,
        tracking=row.tracking,
        reason=row.reason,
        reason_code=row.reason_code,
        action_url=_action_url(session, row),
    )


def _found(decision: contract.Decision | None) -> dict[str, Any]:
    if decision is None:
        return {}
    return dict(accepted=decision.accept, restocked=decision.accept and decision.restock, note=decision.note)


def _action_url(session: Session, row: Row[Any]) -> str | None:
    """Where the customer confirms the payment of an amendment, while its saga waits for that."""
    if row.kind not in ("change", "exchange") or row.status != "pending":
        return None
    saga = saga_store.get(session, row.saga_id)
    return challenge_url(saga.steps) if saga is not None else None


def challenge_url(steps: dict[str, Any]) -> str | None:
    """The address at the bank that a saga's payment waits for; None when it waits for none."""
    known = msgspec.convert(steps, dict[str, StepState])
    authorize = known.get("authorize_payment", StepState())
    if authorize.outcome != "ok" or authorize.undo or known.get("challenge", StepState()).outcome:
        return None
    result = authorize.result or {}
    return result.get("action_url") if result.get("status") == "requires_action" else None
