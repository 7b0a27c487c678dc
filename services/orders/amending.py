"""The doors through which an order is amended after it was placed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.commands import answer, claim, peek, store_result
from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import ServiceError
from chassis.rpc import rpc
from chassis.saga_engine import Sagas
from contracts.common import Text
from contracts.orders import Order
from services.orders import amendments, store
from services.orders.flows import begin_cancel
from services.orders.terms import CANCELLABLE, CancelTerms, refuse_state

AT_WORK_S, WAITING_S = 1, 3600
"""When to ask again about an order that has an open amendment: which the shop works on, or that waits for goods."""

Begin = Callable[[Session, Row[Any]], str]
"""Begins an amendment of an order, in a transaction; answers the amendment's id."""


class Amending:
    """For OrdersService, whose attributes these are."""

    call: Call
    config: dict[str, Any]
    db: WorkerDatabase
    sagas: Sagas

    @rpc
    def cancel(self, order_id: str, reason: Text, *, key: str) -> Order:
        order = self._order(order_id)
        if order.status not in ("cancelling", "cancelled"):  # for those it is a repeat
            asked = dict(order_id=order_id, reason=reason)
            self._once("cancel", order, key, asked, partial(self._begin_cancel, reason))
        return self._view(order_id)

    def _begin_cancel(self, reason: str, session: Session, order: Row[Any]) -> str:
        amendment_id, terms = amendments.new_id(), CancelTerms(reason=reason)
        if order.status == "pending":
            if self.sagas.cancel(session, order.saga_id, reason) and store.move(session, order.id, "cancelling"):
                amendments.add(session, amendment_id, order.id, "cancel", order.saga_id, terms)
                return amendment_id
            order = store.require(session, order.id)  # its saga ended at this very moment
        if order.status not in CANCELLABLE or not store.move(session, order.id, "cancelling"):
            refuse_state("orders.not_cancellable", order.status, "cancelled")
        saga_id = begin_cancel(session, self.sagas.start_saga, order, reason, amendment_id)
        amendments.add(session, amendment_id, order.id, "cancel", saga_id, terms)
        return amendment_id

    # --- what the doors share

    def _order(self, order_id: str) -> Row[Any]:
        """An order of the caller's; staff see all."""
        with self.db.read() as session:
            order = store.get(session, order_id)
        if order is None or not (self.call.owns(order.customer_id) or self.call.is_staff()):
            raise ServiceError("orders.not_found", f"There is no order {order_id!r}.")
        return order

    def _view(self, order_id: str) -> Order:
        order = self._order(order_id)
        with self.db.read() as session:
            return store.views(session, [order], self.call.is_staff())[0]

    def _once(self, command: str, order: Row[Any], key: str, asked: dict[str, Any], begin: Begin) -> str:
        """Begin an amendment, once for its key, and only if the order has no open one. Answers its id.

        `begin` gets the order as it is in the transaction, and may refuse: then nothing was done.
        """
        claimed = f"{order.customer_id}:{command}:{key}"
        begun = self._begun_before(command, claimed, asked)
        if begun is not None:
            return begun
        try:
            with self.db.write() as session:
                if not claim(session, claimed, command, asked, "ok"):
                    return str(same(answer, session, claimed, command, asked))
                self._require_none_open(session, order.id)
                amendment_id = begin(session, store.require(session, order.id))
                store_result(session, claimed, amendment_id)
                return amendment_id
        except IntegrityError:  # another instance was faster with an amendment of this order
            with self.db.read() as session:
                self._require_none_open(session, order.id)
            raise

    def _begun_before(self, command: str, claimed: str, asked: dict[str, Any]) -> str | None:
        with self.db.read() as session:
            begun: str | None = same(peek, session, claimed, command, asked)
        return begun

    def _require_none_open(self, session: Session, order_id: str) -> None:
        other = amendments.open_of(session, order_id)
        if other is not None:
            raise ServiceError(
                "orders.in_progress",
                f"A {other.kind} of this order is under way: wait for its end.",
                {
                    "amendment_id": other.id,
                    "kind": other.kind,
                    "retry_after_s": AT_WORK_S if other.status in amendments.AT_WORK else WAITING_S,
                },
            )


def same(look_up: Callable[..., Any], session: Session, claimed: str, command: str, asked: dict[str, Any]) -> Any:
    """The id that was answered to this key before; a refusal in the words of orders."""
    try:
        return look_up(session, claimed, command, asked, str)
    except ServiceError as exc:
        if exc.code == "command.key_reused":
            raise ServiceError("orders.key_reused", exc.message) from None
        raise
