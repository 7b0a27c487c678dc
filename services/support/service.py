"""support: conversations with customers, what the assistant says, and what it does once a customer has said yes."""

import secrets
from collections.abc import Callable
from datetime import datetime
from logging import getLogger
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.commands import answer, claim, peek, store_result
from chassis.context import Call
from chassis.cursors import encode_cursor, read_cursor
from chassis.db import Database, WorkerDatabase, now
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import Failure, OutcomeUnknown, ServiceError
from chassis.events import handles
from chassis.outbox import Relay
from chassis.privacy import PrivacyOperations, require_staying
from chassis.privacy_types import Person
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import remote, rpc, tuned
from chassis.service import CallContext
from chassis.settings import Settings
from contracts.accounts import AccountsApi
from contracts.notifications import NotificationsApi
from contracts.orders import OrdersApi
from contracts.products import ProductsApi
from contracts.risk import RiskApi
from contracts.support import (
    Action,
    Conversation,
    ConversationPage,
    CustomerId,
    Exchange,
    Happenings,
    Id,
    Limit,
    Note,
    Score,
    Sequence,
    Subject,
    SupportApi,
    Text,
    WaitS,
    Who,
)
from contracts.transactions import TransactionsApi
from contracts.users import PrivacyForgotten, UsersApi
from services.support import actions, dialogue, handing, store, views, words
from services.support.adapters import LanguageModel
from services.support.advised import advised
from services.support.assistant import Assistant
from services.support.desk import DeskDoors
from services.support.domain import ENDED, GUEST, SupportSettings, acting_as, subject_from
from services.support.knowledge import KnowledgeDoors
from services.support.learning import Learned
from services.support.masking import clean, language_of, masked
from services.support.models import Base
from services.support.ports import as_customer
from services.support.privacy import KINDS
from services.support.talk import memory
from services.support.turns import Answer, Turn

TRIES = 5
"""So often a turn is begun anew because something else happened in the conversation meanwhile."""

SUBJECT_MOST = 200
"""Characters of a subject that are kept: masking may make it longer."""

log = getLogger("rialto.support")


class _Changed(Exception):
    """Something else happened in the conversation while the assistant was thinking: what was written is undone."""


class SupportService(DeskDoors, KnowledgeDoors, DeadLetterOperations, PrivacyOperations):
    name = "support"
    kinds = KINDS

    call = provided(Call, CallContext(SupportApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(kinds=KINDS)
    relay = Relay()
    settings = provided(SupportSettings, Settings(SupportSettings))
    answers = Learned()
    model = LanguageModel()

    orders: OrdersApi = remote(OrdersApi)
    accounts: AccountsApi = remote(AccountsApi)
    notifications: NotificationsApi = remote(NotificationsApi)
    users: UsersApi = remote(UsersApi)
    products: ProductsApi = remote(ProductsApi)
    transactions: TransactionsApi = remote(TransactionsApi)
    risk: RiskApi = remote(RiskApi)

    @rpc
    def begin(
        self, who: Who, message: Text, subject: Subject = "", order_id: Id | None = None, *, key: str
    ) -> Conversation:
        self._require_may_begin(who)
        asked, claimed = dict(message=message, subject=subject, order_id=order_id), f"{who.customer_id}:begin:{key}"
        text, named = _heard(message), masked(clean(subject))[:SUBJECT_MOST]
        if who.customer_id is not None:
            with self.db.read() as session:
                known = peek(session, claimed, "begin", asked, str)
                if known is not None:
                    return views.conversation(session, self._own(session, who, known))
                store.require_few_open(session, who.customer_id)
        if order_id is not None:
            self._require_own_order(who, order_id)
        with self.db.read() as session:
            turn = _first_turn(session, who, order_id, text)
        said = self._ask(turn)
        token = secrets.token_urlsafe(32) if who.customer_id is None else None
        hashed = store.token_hash(token) if token else None
        with self.db.write() as session:
            # a guest's key is not claimed: its answer, the token, would be kept
            if who.customer_id is not None and not claim(session, claimed, "begin", asked, "ok"):
                begun = answer(session, claimed, "begin", asked, str)
                return views.conversation(session, self._own(session, who, begun))
            require_staying(session, who.customer_id)
            if who.customer_id is not None:
                store.hold_first(session, who.customer_id)
                store.require_few_open(session, who.customer_id)
            row = store.begin(
                session,
                turn.language,
                named or subject_from(text),
                customer_id=who.customer_id,
                hashed=hashed,
                order_id=order_id,
            )
            dialogue.write(session, row, turn, said, _author(who), self.settings)
            if who.customer_id is not None:
                store_result(session, claimed, row.id)
            return views.conversation(session, store.held(session, row.id), token=token)

    @rpc
    def say(self, who: Who, conversation_id: Id, text: Text, *, key: str) -> Exchange:
        asked, heard = dict(conversation_id=conversation_id, text=text), _heard(text)
        claimed = f"{conversation_id}:say:{key}"
        for _ in range(TRIES):
            with self.db.read() as session:
                row = self._own(session, who, conversation_id)
                known: Exchange | None = peek(session, claimed, "say", asked, Exchange)
                if known is not None:
                    return known
                self._require_may_say(session, row)
                turn = dialogue.turn_of(session, row, heard, self.model.settings.messages if self.model else 0)
            said = self._ask(turn) if dialogue.asks_the_assistant(row) else None
            try:
                return self._write(who, row, turn, said, claimed, asked)
            except _Changed:
                continue
        raise OutcomeUnknown("support", "something else went on happening in this conversation")

    @rpc
    def confirm(self, who: Who, conversation_id: Id, action_id: Id, wait_s: WaitS = 0, *, key: str) -> Action:
        with self.db.write() as session:  # its own id makes it happen once
            require_staying(session, who.customer_id)
            row = self._not_closed(self._own(session, who, conversation_id, held=True))
            actions.confirm(session, row, action_id, _author(who))
        self.drive(action_id)
        return views.action(self.settled(action_id, wait_s))

    @rpc
    def decline(self, who: Who, conversation_id: Id, action_id: Id, *, key: str) -> Action:
        with self.db.write() as session:
            row = self._not_closed(self._own(session, who, conversation_id, held=True))
            return views.action(actions.decline(session, row, action_id, _author(who)))

    @rpc
    def hand_over(self, who: Who, conversation_id: Id, reason: Note = "", *, key: str) -> Conversation:
        def act(session: Session, row: Row[Any]) -> None:
            handing.require_writable(session, row, self.settings.support_reopen_s)
            if row.status in ("bot", "solved"):
                handing.hand_over(session, row, self.settings, _author(who), masked(clean(reason)))
                handing.say(session, row, "handed_over")

        return self._once(who, conversation_id, "hand_over", dict(reason=reason), key, act)

    @rpc
    def rate(self, who: Who, conversation_id: Id, score: Score, comment: Note = "", *, key: str) -> Conversation:
        def act(session: Session, row: Row[Any]) -> None:
            if row.status == "bot":  # who says how it was has no more questions
                store.move(session, row, "solved", _author(who), solved_at=now(session))
            elif row.status not in ENDED:
                raise ServiceError(
                    "support.not_solved", "Say how it was when it is solved: somebody still works on it."
                )
            store.change(session, row.id, rating=score, rating_comment=masked(clean(comment))[:500])

        return self._once(who, conversation_id, "rate", dict(score=score, comment=comment), key, act)

    @rpc
    def get(self, who: Who, conversation_id: Id) -> Conversation:
        with self.db.read() as session:
            row = self._seen(session, who, conversation_id)
            for_staff = not self._is_of(row, who)
            seen = views.conversation(session, row, for_staff=for_staff)
        if for_staff:
            self._note_reading(conversation_id)
        return seen

    @rpc
    def find(self, customer_id: CustomerId, limit: Limit = 20, cursor: str | None = None) -> ConversationPage:
        if not (self.call.owns(customer_id) or self.call.is_staff()):
            raise ServiceError("auth.forbidden", "Conversations are seen by their own customer.")
        before = read_cursor(cursor, tuple[datetime, str], "support.bad_cursor")
        with self.db.read() as session:
            rows = store.find(session, customer_id, limit + 1, before)
            more = encode_cursor((rows[limit - 1].created_at, rows[limit - 1].id)) if len(rows) > limit else None
            listed = not self.call.owns(customer_id)
            items = [views.conversation(session, row, whole=False, listed=listed) for row in rows[:limit]]
        return ConversationPage(items=items, next_cursor=more)

    @rpc
    def events(self, who: Who, conversation_id: Id, after: Sequence = 0) -> Happenings:
        with self.db.read() as session:
            row = self._seen(session, who, conversation_id)
            for_staff = not self._is_of(row, who)
            happened = views.happenings(session, row, after, for_staff=for_staff)
        if for_staff:
            self._note_reading(conversation_id)
        return happened

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    # --- turns

    def _ask(self, turn: Turn) -> Answer:
        """The assistant, who asks other services; what it cannot know now it says."""
        try:
            answers = advised(self.answers, self.model, turn)
            return Assistant(as_customer(self, turn.customer_id), answers).respond(turn)
        except Failure as exc:
            log.warning("the assistant found no answer", extra={"reason": str(exc)})
            text = words.said("not_reached", turn.language)
            return Answer(text=text, intent="unknown", confidence=0.0, memory=memory.unanswered(turn.memory))

    def _write(
        self, who: Who, seen: Row[Any], turn: Turn, said: Answer | None, claimed: str, asked: dict[str, Any]
    ) -> Exchange:
        """The one transaction of a turn. Raises _Changed if it was thought of another state of the conversation."""
        with self.db.write() as session:
            if not claim(session, claimed, "say", asked, "ok"):
                known: Exchange = answer(session, claimed, "say", asked, Exchange)
                return known
            require_staying(session, seen.customer_id)
            row = store.held(session, seen.id)
            if row.ver != seen.ver:
                raise _Changed
            self._require_may_say(session, row)
            exchange = dialogue.write(session, row, turn, said, _author(who), self.settings)
            store_result(session, claimed, exchange)
        for action_id in (said.confirm, *said.confirm_too) if said is not None else ():
            if action_id is not None:
                self.drive(action_id)
        return exchange

    def _require_may_say(self, session: Session, row: Row[Any]) -> None:
        handing.require_writable(session, row, self.settings.support_reopen_s)
        dialogue.require_room(session, row)

    def _once(
        self,
        who: Who,
        conversation_id: str,
        command: str,
        asked: dict[str, Any],
        key: str,
        act: Callable[[Session, Row[Any]], None],
    ) -> Conversation:
        """Do something to a held conversation, once for each key; answers it as it is by then."""
        claimed = f"{conversation_id}:{command}:{key}"
        with self.db.write() as session:
            require_staying(session, who.customer_id)
            row = self._own(session, who, conversation_id, held=True)
            if claim(session, claimed, command, asked, "ok"):
                act(session, row)
                store_result(session, claimed, None)
            else:
                answer(session, claimed, command, asked, None)
            return views.conversation(session, store.held(session, conversation_id))

    def before_erasing(self, person: Person) -> None:
        handing.close_all(self.db.session, person.customer_id)

    # --- whose

    def _require_may_begin(self, who: Who) -> None:
        if who.token is not None:
            raise ServiceError(
                "request.invalid", "A token is of one conversation: begin another one without it.", {"field": "who"}
            )
        if who.customer_id is not None and not self.call.owns(who.customer_id):
            raise ServiceError("auth.forbidden", "Conversations are begun by their own customer.")

    def _require_own_order(self, who: Who, order_id: str) -> None:
        try:
            if who.customer_id is not None:
                tuned(self.orders, caller=acting_as(who.customer_id)).get(order_id)
                return
        except ServiceError as exc:
            if exc.code != "orders.not_found":
                raise
        raise ServiceError("support.order_not_found", f"You have no order {order_id!r}.")

    def _is_of(self, row: Row[Any], who: Who) -> bool:
        if (who.customer_id is None) == (who.token is None):
            return False
        if who.token is not None:
            return bool(row.token_hash == store.token_hash(who.token))
        return bool(row.customer_id == who.customer_id) and self.call.owns(who.customer_id)

    def _own(self, session: Session, who: Who, conversation_id: str, held: bool = False) -> Row[Any]:
        """A conversation of theirs; nobody else's can be told from none."""
        row = store.held(session, conversation_id) if held else store.get(session, conversation_id)
        if row is None or not self._is_of(row, who):
            raise store.not_found(conversation_id)
        return row

    def _seen(self, session: Session, who: Who, conversation_id: str) -> Row[Any]:
        """A conversation of theirs, or any for staff."""
        row = store.get(session, conversation_id)
        if row is None or not (self.call.is_staff() or self._is_of(row, who)):
            raise store.not_found(conversation_id)
        return row

    def _not_closed(self, row: Row[Any]) -> Row[Any]:
        if row.status == "closed":
            raise ServiceError("support.closed", "This conversation is over: begin another one.")
        return row


def _heard(text: str) -> str:
    """A message as it is kept and thought about."""
    heard = masked(clean(text))
    if not heard:
        raise ServiceError("request.invalid", "Say something that can be read.", {"field": "text"})
    return heard


def _first_turn(session: Session, who: Who, order_id: str | None, text: str) -> Turn:
    return Turn(
        text=text,
        language=language_of(text),
        at=now(session),
        customer_id=who.customer_id,
        order_id=order_id,
        memory={},
        open_actions=[],
    )


def _author(who: Who) -> str:
    return who.customer_id or GUEST
