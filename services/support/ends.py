"""How confirmed actions go on and end, as services answer and as events tell; said in the conversation at once.

An end counts once: whatever comes second, an answer or its event, finds the action ended and changes nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.types import Event, Message, Money
from contracts.orders import (
    AmendmentFailed,
    ExchangeSettled,
    OrderCancelled,
    OrderChanged,
    OrderRejected,
    ReturnSettled,
)
from services.support import actions, handing, store, words
from services.support.domain import SYSTEM, UNDER_WAY

CHANGES = ("change_address", "change_items", "change_payment")


class Outcome(Message):
    """What became of an action: its next state, and the sentence of `words` that tells of it."""

    status: str
    says: str | None = None
    values: dict[str, Any] = {}
    subject_id: str | None = None
    reason_code: str | None = None
    reason: str | None = None


def write(session: Session, action: Row[Any], outcome: Outcome, before: Sequence[str] = UNDER_WAY) -> bool:
    """Have an action go on, or end, and tell its conversation; False if it had ended, or gone on, before."""
    conversation = store.held(session, action.conversation_id)
    known = dict(subject_id=outcome.subject_id, reason_code=outcome.reason_code, reason=outcome.reason)
    values = {name: value for name, value in known.items() if value is not None}
    if not actions.move(session, action, before, outcome.status, SYSTEM, **values):
        return False
    if outcome.says is not None:
        handing.say(session, conversation, outcome.says, **outcome.values)
    return True


def refuse(session: Session, action: Row[Any], code: str, message: str) -> bool:
    """Whoever should have done it will not."""
    language = store.held(session, action.conversation_id).language
    reason = words.refusal(code, language, message)
    return write(
        session,
        action,
        Outcome(status="refused", says="refused", values=dict(reason=reason), reason_code=code[:100], reason=reason),
    )


# --- events


def on_cancelled(session: Session, fact: OrderCancelled) -> None:
    for action in actions.under_way(session, fact.order_id, "cancel"):
        write(session, action, cancelled(fact.order_id, fact.refunded))


def on_rejected(session: Session, fact: OrderRejected) -> None:
    for action in actions.under_way(session, fact.order_id, "cancel"):
        told = dict(order_id=fact.order_id)
        reason = dict(reason_code=fact.reason[:100], reason=fact.message)
        write(session, action, Outcome(status="refused", says="rejected", values=told, **reason))


def on_changed(session: Session, fact: OrderChanged) -> None:
    """An event that does not tell its key is of the change that was begun: an order has one at a time."""
    rows = actions.under_way(session, fact.order_id, *CHANGES)
    begun = [each for each in rows if _may_be(each, fact) and (each.status == "started" or _changes(each, fact))][:1]
    for action in begun if fact.key is None else _asked(rows, fact.key):
        says = words.of_change(fact.charged, fact.refunded)
        told = dict(order_id=fact.order_id, total=fact.total, charged=fact.charged, refunded=fact.refunded)
        write(session, action, Outcome(status="done", says=says, values=told, subject_id=fact.amendment_id))


def on_return_settled(session: Session, fact: ReturnSettled) -> None:
    for action in _about(session, fact, "return", fact.return_id):
        to_card = "return_settled_card" if fact.refund_to == "gift_card" else "return_settled"
        says = to_card if fact.refund.amount else "return_refused"
        told = dict(order_id=fact.order_id, refund=fact.refund)
        write(session, action, Outcome(status="done", says=says, values=told, subject_id=fact.return_id))


def on_exchange_settled(session: Session, fact: ExchangeSettled) -> None:
    for action in _about(session, fact, "exchange", fact.exchange_id):
        told = dict(order_id=fact.order_id, difference=fact.difference, until=fact.expires_at)
        says = words.of_exchange(fact.difference)
        write(session, action, Outcome(status="done", says=says, values=told, subject_id=fact.exchange_id))


def on_amendment_failed(session: Session, fact: AmendmentFailed) -> None:
    """What was begun came to nothing. If the event does not tell its key, a return and an exchange are known by their
    id, and of the others an order has one at a time."""
    kinds = CHANGES if fact.kind == "change" else (fact.kind,)
    rows = actions.under_way(session, fact.order_id, *kinds)
    if fact.key is not None:
        failed = _asked(rows, fact.key)
    elif fact.kind in ("return", "exchange"):
        failed = _about(session, fact, fact.kind, fact.amendment_id)
    else:
        failed = [each for each in rows if _may_be(each, fact)][:1]
    for action in failed:
        refuse(session, action, fact.reason_code, fact.message)


def cancelled(order_id: str, refunded: Money | None) -> Outcome:
    if refunded is None or not refunded.amount:
        return Outcome(status="done", says="cancelled", values=dict(order_id=order_id))
    return Outcome(status="done", says="cancelled_refunded", values=dict(order_id=order_id, refunded=refunded))


def _asked(rows: Sequence[Row[Any]], key: str) -> list[Row[Any]]:
    """The action that was asked for under this key, which is its id."""
    return [each for each in rows if each.id == key]


def _changes(action: Row[Any], fact: OrderChanged) -> bool:
    """Whether this change did what the action wants: an order may be changed elsewhere while it is not begun yet. Of a
    payment nobody can tell."""
    if action.kind == "change_address":
        return bool(msgspec.to_builtins(fact.shipping_address).items() >= _given(action.wish["shipping_address"]))
    if action.kind == "change_items":
        return {each["new_sku"] for each in action.wish["lines"]} <= {line.sku for line in fact.lines}
    return False


def _given(address: dict[str, Any]) -> Any:
    return {name: value for name, value in address.items() if value is not None}.items()


def _about(session: Session, fact: Any, kind: str, subject_id: str) -> list[Row[Any]]:
    """The action that began this; the event may be there before the answer that tells its id."""
    rows = [each for each in actions.under_way(session, fact.order_id, kind) if _may_be(each, fact)]
    known = [each for each in rows if each.subject_id == subject_id]
    return known or [each for each in rows if each.subject_id is None][:1]


def _may_be(action: Row[Any], fact: Event) -> bool:
    """An action is not what an event tells of that is older than its offer."""
    return bool(fact.occurred_at >= action.created_at)
