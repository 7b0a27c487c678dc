"""notifications: tells customers by mail what became of their orders and transactions."""

import math
import time
import uuid
from datetime import timedelta
from logging import getLogger
from pathlib import Path
from typing import Annotated

import msgspec
from nameko.timer import timer

from chassis.commands import command
from chassis.context import Call
from chassis.db import Database, WorkerDatabase, now
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.leases import take_lease
from chassis.privacy import PrivacyOperations, is_leaving, require_staying
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Message
from contracts.notifications import Address, Limit, Mail, NotificationsApi, SubjectId
from contracts.orders import (
    ExchangeSettled,
    OrderCancelled,
    OrderChanged,
    OrderConfirmed,
    OrderDisputed,
    OrderRejected,
    ReturnRequested,
    ReturnSettled,
)
from contracts.shipping import OrderDelivered, OrderShipped
from contracts.transactions import TransactionDisputed, TransactionEnded
from contracts.users import PrivacyForgotten
from services.notifications import store
from services.notifications.adapters import Maildir, Postman, Refused, Smtp
from services.notifications.domain import COPIES_IN_A_DAY, Letter, is_address
from services.notifications.letters import Fact, compose, kind_of
from services.notifications.models import Base
from services.notifications.privacy import KINDS

SEND_EVERY_S = 1
SEND_FOR_S = 5.0
LEASE = timedelta(seconds=10)
DAY = timedelta(days=1)
OWNER = uuid.uuid4().hex  # this process

log = getLogger("rialto.notifications")


class MailSettings(Message):
    """Mails go to the SMTP server of `smtp_url` if there is one, else to the Maildir `mail_dir`."""

    mail_dir: Annotated[str, msgspec.Meta(min_length=1)]
    mail_from: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$")]
    smtp_url: Annotated[str, msgspec.Meta(pattern=r"^(smtps?://\S+)?$")] | None = None


class NotificationsService(DeadLetterOperations, PrivacyOperations):
    name = "notifications"
    kinds = KINDS

    call = provided(Call, CallContext(NotificationsApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(kinds=KINDS)
    settings = provided(MailSettings, Settings(MailSettings))

    @handles(OrderConfirmed)
    def on_order_confirmed(self, fact: OrderConfirmed) -> None:
        self._write(fact)

    @handles(OrderRejected)
    def on_order_rejected(self, fact: OrderRejected) -> None:
        self._write(fact)

    @handles(OrderCancelled)
    def on_order_cancelled(self, fact: OrderCancelled) -> None:
        self._write(fact)

    @handles(OrderChanged)
    def on_order_changed(self, fact: OrderChanged) -> None:
        self._write(fact)

    @handles(ReturnRequested)
    def on_return_requested(self, fact: ReturnRequested) -> None:
        self._write(fact)

    @handles(ReturnSettled)
    def on_return_settled(self, fact: ReturnSettled) -> None:
        self._write(fact)

    @handles(ExchangeSettled)
    def on_exchange_settled(self, fact: ExchangeSettled) -> None:
        self._write(fact)

    @handles(OrderDisputed)
    def on_order_disputed(self, fact: OrderDisputed) -> None:
        self._write(fact)

    @handles(OrderShipped)
    def on_order_shipped(self, fact: OrderShipped) -> None:
        self._write(fact)

    @handles(OrderDelivered)
    def on_order_delivered(self, fact: OrderDelivered) -> None:
        self._write(fact)

    @handles(TransactionEnded)
    def on_transaction_ended(self, fact: TransactionEnded) -> None:
        self._write(fact)

    @handles(TransactionDisputed)
    def on_transaction_disputed(self, fact: TransactionDisputed) -> None:
        self._write(fact)

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    @rpc
    def find(self, to: Address | None = None, limit: Limit = 20) -> list[Mail]:
        self.call.require_staff()
        with self.db.read() as session:
            return store.newest(session, to, limit)

    @command
    def resend(self, subject_id: SubjectId, *, key: str) -> Mail:
        self.call.require_staff()
        session = self.db.session
        require_staying(session, store.customer_of(session, subject_id))
        mail, at = store.hold_newest_about(session, subject_id), now(session)
        if mail is None:
            raise ServiceError("notifications.not_found", f"There is no mail about {subject_id!r}.")
        before = store.copies_of(session, mail, at - DAY)
        if len(before) >= COPIES_IN_A_DAY:
            raise ServiceError(
                "notifications.too_often",
                f"This mail was sent again {len(before)} times in a day already.",
                {"retry_after_s": math.ceil((before[-COPIES_IN_A_DAY] + DAY - at).total_seconds())},
            )
        copy = Letter(
            id=uuid.uuid4().hex,
            to=mail.to_address,
            subject=mail.subject,
            text=mail.text,
            html=mail.html,
            at=at,
            about=subject_id,
            copy_of=mail.id,
            customer_id=mail.customer_id,
        )
        self._queue(mail.kind, copy)
        return store.get(session, copy.id)

    @timer(interval=SEND_EVERY_S)
    def send_queued(self) -> None:
        """Deliver what is due, for a while. One process does, by a lease; another takes over when it falls silent."""
        with self.db.read() as session:
            if not store.due(session, 1):
                return
        postman = self._postman()
        give_up_at = time.monotonic() + SEND_FOR_S
        while self._send_batch(postman) and time.monotonic() < give_up_at:
            pass

    def _write(self, fact: Fact) -> None:
        """News of who is erased, or about to be, reach nobody: their address is blank, or has to be forgotten."""
        if not fact.email or is_leaving(self.db.session, fact.customer_id):
            return
        self._queue(kind_of(fact), compose(fact, now(self.db.session)))

    def _queue(self, kind: str, letter: Letter) -> None:
        error = None if is_address(letter.to) else "This is not an address that mail can be sent to."
        store.queue(self.db.session, kind, letter, error)

    def _postman(self) -> Postman:
        if self.settings.smtp_url:
            return Smtp(self.settings.smtp_url, self.settings.mail_from)
        return Maildir(Path(self.settings.mail_dir), self.settings.mail_from)

    def _send_batch(self, postman: Postman) -> bool:
        """True if there may be more. What happens between the delivery and its note is delivered again."""
        with self.db.write() as session:
            letters = store.due(session, postman.batch) if take_lease(session, "sender", OWNER, LEASE) else []
        if not letters:
            return False
        error, refused = "", False
        try:
            postman.deliver(letters)
        except Refused as exc:
            error, refused = str(exc), True
        except OSError as exc:
            error = f"{type(exc).__name__}: {exc}"
        with self.db.write() as session:
            if not error:
                store.mark_sent(session, letters)
            elif refused:
                store.mark_failed(session, letters, error)
            else:
                store.put_off(session, letters, error)
        if error:
            log.warning("mails were not delivered", extra={"mails": len(letters), "reason": error, "refused": refused})
        return len(letters) == postman.batch
