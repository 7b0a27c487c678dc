"""Confirmed actions are done, each once: at the door, and by a timer what a crash or silence left."""

import time
from datetime import timedelta
from logging import getLogger
from typing import Any

from nameko.timer import timer
from sqlalchemy import Row

from chassis.context import time_left
from chassis.db import WorkerDatabase
from chassis.errors import Failure, OutcomeUnknown, ServiceError
from chassis.events import handles
from chassis.rpc import tuned
from contracts.accounts import AccountsApi
from contracts.notifications import NotificationsApi
from contracts.orders import (
    AmendmentFailed,
    ExchangeSettled,
    OrderCancelled,
    OrderChanged,
    OrderRejected,
    OrdersApi,
    ReturnSettled,
)
from services.support import actions, ends, handing, store
from services.support.deeds import DEEDS
from services.support.domain import ACTION_ENDS, SYSTEM, SupportSettings

DRIVE_EVERY_S, DRIVE_FOR_S = 1, 5.0
CLOSE_EVERY_S = 30
BATCH = 50
CALL_S, HELD_S = 5.0, 15.0
"""So long a call may take, and so long its action is nobody else's."""
LOOK_AGAIN_S = 0.2

log = getLogger("rialto.support")


class Acting:
    """For SupportService, whose attributes these are."""

    db: WorkerDatabase
    settings: SupportSettings
    orders: OrdersApi
    accounts: AccountsApi
    notifications: NotificationsApi

    # --- doing

    def drive(self, action_id: str) -> None:
        """Do a confirmed action, unless somebody else does. What is in doubt is done again later."""
        try:
            with self.db.write() as session:
                action = actions.take(session, action_id, HELD_S)
            if action is not None:
                self._do(action)
        except Failure as exc:
            log.warning("an action waits", extra={"action": action_id, "reason": str(exc)})

    def _do(self, action: Row[Any]) -> None:
        """One call with no transaction open, and what became of it."""
        deed = DEEDS.get(action.kind)
        if deed is None:
            with self.db.write() as session:
                ends.refuse(session, action, "support.not_offered", "This is not done here.")
            return
        service = tuned(getattr(self, deed.service), caller=deed.caller(action), timeout_s=CALL_S)
        try:
            outcome = deed.means(getattr(service, deed.method)(**deed.arguments(action), key=action.id))
        except ServiceError as refusal:
            with self.db.write() as session:
                ends.refuse(session, action, refusal.code, refusal.message)
        except OutcomeUnknown as exc:
            log.warning("an action's outcome is unknown", extra={"action": action.id, "reason": str(exc)})
            self._put_off(action)
        else:
            with self.db.write() as session:
                ends.write(session, action, outcome, before=("confirmed",))

    def _put_off(self, action: Row[Any]) -> None:
        with self.db.write() as session:
            if action.attempts < self.settings.support_action_attempts:
                actions.put_off(session, action)
                return
            row = store.held(session, action.conversation_id)
            if actions.give_up(session, action):
                handing.say(session, row, "action_unknown", summary=action.summary)
                if row.status in ("bot", "solved"):
                    handing.hand_over(session, store.held(session, row.id), self.settings, SYSTEM, action.summary)

    def settled(self, action_id: str, wait_s: float) -> Row[Any]:
        """An action, once it has ended or the time is up."""
        give_up_at = time.monotonic() + time_left(wait_s)
        while True:
            with self.db.read() as session:
                action = actions.get(session, action_id)
            assert action is not None
            left_s = give_up_at - time.monotonic()
            if action.status in ACTION_ENDS or left_s <= 0:
                return action
            time.sleep(min(left_s, LOOK_AGAIN_S))

    @timer(interval=DRIVE_EVERY_S)
    def drive_due(self) -> None:
        """Do what was confirmed and is due, for a while; other instances take other ones."""
        with self.db.read() as session:
            due = actions.due(session, BATCH)
        give_up_at = time.monotonic() + DRIVE_FOR_S
        for action_id in due:
            if time.monotonic() >= give_up_at:
                return
            self.drive(action_id)

    @timer(interval=DRIVE_EVERY_S)
    def expire_offers(self) -> None:
        """Offers whose time is over expire, and are told."""
        with self.db.read() as session:
            over = actions.outdated(session, BATCH)
        for action in over:
            with self.db.write() as session:
                store.held(session, action.conversation_id)
                actions.withdraw(session, action)

    @timer(interval=CLOSE_EVERY_S)
    def close_idle(self) -> None:
        """What the assistant had and nobody goes on with is solved, and what the customer is waited for in vain; what
        was solved long ago is closed."""
        its = self.settings
        for before, after, since_s in (
            ("bot", "solved", its.support_idle_s),
            ("pending", "solved", its.support_pending_s),
            ("solved", "closed", its.support_reopen_s),
        ):
            with self.db.read() as session:
                quiet = store.idle(session, before, timedelta(seconds=since_s), BATCH)
            for conversation_id in quiet:
                with self.db.write() as session:
                    handing.end(session, store.held(session, conversation_id), before, after, since_s, its)

    # --- what became of it

    @handles(OrderCancelled)
    def on_order_cancelled(self, fact: OrderCancelled) -> None:
        ends.on_cancelled(self.db.session, fact)

    @handles(OrderRejected)
    def on_order_rejected(self, fact: OrderRejected) -> None:
        ends.on_rejected(self.db.session, fact)

    @handles(OrderChanged)
    def on_order_changed(self, fact: OrderChanged) -> None:
        ends.on_changed(self.db.session, fact)

    @handles(AmendmentFailed)
    def on_amendment_failed(self, fact: AmendmentFailed) -> None:
        ends.on_amendment_failed(self.db.session, fact)

    @handles(ReturnSettled)
    def on_return_settled(self, fact: ReturnSettled) -> None:
        ends.on_return_settled(self.db.session, fact)

    @handles(ExchangeSettled)
    def on_exchange_settled(self, fact: ExchangeSettled) -> None:
        ends.on_exchange_settled(self.db.session, fact)
