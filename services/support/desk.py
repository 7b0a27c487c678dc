"""The doors of the desk: what people of staff do with conversations."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.commands import answer, claim, command, peek, store_result
from chassis.context import Call
from chassis.cursors import encode_cursor, read_cursor
from chassis.db import WorkerDatabase, now
from chassis.errors import ServiceError
from chassis.leases import take_lease
from chassis.offhub import off_hub
from chassis.periodic import every
from chassis.privacy import require_staying
from chassis.rpc import rpc, tuned
from chassis.types import Caller
from contracts.accounts import AccountsApi
from contracts.notifications import NotificationsApi
from contracts.orders import OrdersApi
from contracts.risk import RiskApi
from contracts.support import (
    Action,
    ActionKind,
    Canned,
    Context,
    Id,
    Language,
    Limit,
    Note,
    Priority,
    Queue,
    Report,
    Said,
    State,
    Tags,
    Text,
    Ticket,
    TicketPage,
    Title,
)
from contracts.transactions import TransactionsApi
from contracts.users import UsersApi
from services.support import actions, clocks, offers, reports, store, tickets, views, words
from services.support.acting import Acting
from services.support.deeds import DEEDS
from services.support.domain import SupportSettings, acting_as, needs_two
from services.support.masking import clean, masked
from services.support.sidebar import Services, beside
from services.support.turns import Proposal

SERVICE = Caller(service="support")
READING = timedelta(minutes=15)
"""A look of the same reader's within it is the same reading."""
LONGEST_REPORT = timedelta(days=366)
BATCH = 100


class DeskDoors(Acting):
    """For SupportService, which inherits it."""

    call: Call
    db: WorkerDatabase
    settings: SupportSettings
    users: UsersApi
    orders: OrdersApi
    accounts: AccountsApi
    transactions: TransactionsApi
    risk: RiskApi
    notifications: NotificationsApi

    @rpc
    def tickets(
        self,
        queue: Queue | None = None,
        status: State | None = None,
        mine: bool = False,
        limit: Limit = 50,
        cursor: str | None = None,
    ) -> TicketPage:
        self.call.require_staff()
        after = read_cursor(cursor, tuple[datetime, str], "support.bad_cursor")
        whose = self.call.author() if mine else None
        with self.db.read() as session:
            found = tickets.find(session, queue, status, whose, limit + 1, after)
            items = [tickets.view(session, row, listed=True) for row, _ in found[:limit]]
        more = encode_cursor((found[limit - 1][1], found[limit - 1][0].id)) if len(found) > limit else None
        return TicketPage(items=items, next_cursor=more)

    @rpc
    def context(self, conversation_id: Id) -> Context:
        self.call.require_staff()
        with self.db.read() as session:
            found = store.get(session, conversation_id)
            if found is None:
                raise store.not_found(conversation_id)
            row = self._anothers(found)
            at, ticket = now(session), tickets.view(session, row)
            messages = views.messages(session, conversation_id, for_staff=True)
            earlier = tickets.of_customer(session, row.customer_id, row.id) if row.customer_id else []
        self._note_reading(conversation_id)
        asked = Services(
            users=tuned(self.users, caller=SERVICE),
            orders=tuned(self.orders, caller=SERVICE),
            accounts=tuned(self.accounts, caller=SERVICE),
            transactions=tuned(self.transactions, caller=SERVICE),
            risk=tuned(self.risk, caller=SERVICE),
            notifications=tuned(self.notifications, caller=SERVICE),
        )
        told = beside(asked, row.customer_id, row.order_id)
        return Context(
            ticket=ticket,
            summary=row.summary,
            messages=messages,
            customer=told.customer,
            orders=told.orders,
            accounts=told.accounts,
            transactions=told.transactions,
            risk=told.risk,
            mails=told.mails,
            earlier=earlier,
            at=at,
            missing=told.missing,
        )

    @command(retriable=True)
    def claim(self, conversation_id: Id, *, key: str) -> Ticket:
        self.call.require_staff()
        session, length = self.db.session, timedelta(seconds=self.settings.support_claim_s)
        tickets.claim(session, self._held(session, conversation_id), self.call.author(), length)
        return tickets.shown(session, conversation_id)

    @command(retriable=True)
    def release(self, conversation_id: Id, *, key: str) -> Ticket:
        row = self._mine(conversation_id)
        clocks.resume(self.db.session, row, self.settings)
        tickets.put_back(self.db.session, row, self.call.author())
        return tickets.shown(self.db.session, conversation_id)

    @command(retriable=True)
    def transfer(self, conversation_id: Id, queue: Queue, note: Note = "", *, key: str) -> Ticket:
        row, session = self._mine(conversation_id), self.db.session
        if note:
            self._write_as_staff(row, note, note=True)
        clocks.resume(session, row, self.settings)
        tickets.put_back(session, row, self.call.author(), queue)
        return tickets.shown(session, conversation_id)

    @command(retriable=True)
    def reply(self, conversation_id: Id, text: Text, pending: bool = True, *, key: str) -> Said:
        row, session, author = self._mine(conversation_id), self.db.session, self.call.author()
        until = now(session) + timedelta(seconds=self.settings.support_claim_s)
        said = self._write_as_staff(row, text)
        clocks.first_answered(session, row)
        after = "pending" if pending else "open"
        if row.status != after:
            store.move(session, row, after, author, claimed_until=until)
        else:
            store.change(session, row.id, claimed_until=until)
        if pending:
            clocks.pause(session, row)
        else:
            clocks.resume(session, row, self.settings)
        return views.said(store.happening(session, said), for_staff=True)

    @command(retriable=True)
    def note(self, conversation_id: Id, text: Text, *, key: str) -> Said:
        self.call.require_staff()
        session, row = self.db.session, self._held(self.db.session, conversation_id)
        said = self._write_as_staff(row, text, note=True)
        return views.said(store.happening(session, said), for_staff=True)

    @command(retriable=True)
    def solve(self, conversation_id: Id, text: Note = "", *, key: str) -> Ticket:
        row, session, author = self._mine(conversation_id), self.db.session, self.call.author()
        if text:
            self._write_as_staff(row, text)
            clocks.first_answered(session, row)
        clocks.resume(session, row, self.settings)
        store.move(session, row, "solved", author, solved_at=now(session), assigned_to=None, claimed_until=None)
        return tickets.shown(session, conversation_id)

    @command(retriable=True)
    def mark(
        self, conversation_id: Id, tags: Tags | None = None, priority: Priority | None = None, *, key: str
    ) -> Ticket:
        self.call.require_staff()
        session, row = self.db.session, self._held(self.db.session, conversation_id)
        store.change(session, row.id, tags=row.tags if tags is None else tags, priority=priority or row.priority)
        return tickets.shown(session, conversation_id)

    @rpc
    def propose(
        self,
        conversation_id: Id,
        kind: ActionKind,
        order_id: Id | None = None,
        wish: dict[str, Any] | None = None,
        *,
        key: str,
    ) -> Action:
        self.call.require_staff()
        asked = dict(conversation_id=conversation_id, kind=kind, order_id=order_id, wish=wish)
        with self.db.read() as session:
            row = store.get(session, conversation_id)
            known: Action | None = peek(session, key, "propose", asked, Action)
        if known is not None:
            return known
        if row is None:
            raise store.not_found(conversation_id)
        if row.customer_id is None:
            raise ServiceError("support.no_customer", "A guest has no orders here.")
        orders = tuned(self.orders, caller=acting_as(row.customer_id))
        proposal = offers.proposed(orders, row.language, kind, order_id or row.order_id, wish or {}, DEEDS[kind].takes)
        with self.db.write() as session:
            if not claim(session, key, "propose", asked, "ok"):
                offered: Action = answer(session, key, "propose", asked, Action)
                return offered
            require_staying(session, row.customer_id)
            offered = self._offer(session, conversation_id, proposal)
            store_result(session, key, offered)
            return offered

    def _offer(self, session: Session, conversation_id: str, proposal: Proposal) -> Action:
        author, row = self.call.author(), self._held(session, conversation_id)
        tickets.require_claimed(session, row, author)
        text = f"{proposal.summary} {words.said('confirm_here', row.language)}"
        told = store.tell(session, row.id, "message", author, sender="staff", text=text)
        action_id = actions.offer(session, row, told, proposal, self.settings.support_action_valid_s, by=author)
        return views.action(actions.of(session, row.id, action_id), for_staff=True)

    @rpc
    def act(self, conversation_id: Id, action_id: Id, *, key: str) -> Action:
        self.call.require_staff()
        author = self.call.author()
        with self.db.write() as session:  # its own id makes it happen once
            require_staying(session, store.customer_of(session, conversation_id))
            row = self._held(session, conversation_id)
            action = actions.of(session, row.id, action_id)
            two = needs_two(self.settings.support_four_eyes_over_minor, action.amount, action.currency)
            if two and author == action.by:
                raise ServiceError("support.same_person", "Somebody else of staff has to do this one.")
            if two and action.by is None:
                return views.action(actions.second(session, action, author), for_staff=True)
            actions.confirm(session, row, action_id, author, approved_by=author)
        self.drive(action_id)
        with self.db.read() as session:
            return views.action(actions.of(session, conversation_id, action_id), for_staff=True)

    @rpc
    def canned(self, language: Language | None = None) -> list[Canned]:
        self.call.require_staff()
        with self.db.read() as session:
            return tickets.canned(session, language)

    @command
    def write_canned(self, language: Language, title: Title, text: Text, *, key: str) -> Canned:
        self.call.require_staff()
        return tickets.write_canned(self.db.session, language, title, text, self.call.author())

    @rpc
    def report(self, since: date, until: date) -> Report:
        self.call.require_staff()
        begins, ends = _day(since), _day(until) + timedelta(days=1)
        if not timedelta() < ends - begins <= LONGEST_REPORT:
            raise ServiceError("request.invalid", "Ask for 1 to 366 days, the first one first.", {"field": "until"})
        with self.db.read() as session:
            counted = reports.counted(session, begins, ends)
        return msgspec.structs.replace(counted, **reports.means(self._times(begins, ends)))

    def _times(self, begins: datetime, ends: datetime) -> reports.Times:
        times, after = reports.Times(), None
        for _ in range(reports.PAGES):
            with self.db.read() as session:
                rows = reports.page(session, begins, ends, after)
            times = off_hub(reports.added, times, rows, self.settings.support_desk)
            if len(rows) < reports.PAGE:
                break
            after = (rows[-1].created_at, rows[-1].id)
        return times

    @every("support_desk_every_s")
    def watch_promises(self) -> None:
        """Tell of promises in danger, and put back what nobody works on any more. One instance does, by a lease."""
        with self.db.read() as session:
            if not (clocks.in_danger(session, self.settings, 1) or tickets.lapsed(session, 1)):
                return
        length = timedelta(seconds=self.settings.support_desk_every_s)
        with self.db.write() as session:
            if not take_lease(session, "desk", uuid.uuid4().hex, length):
                return
            for row in clocks.in_danger(session, self.settings, BATCH):
                held = store.held(session, row.id)
                if held.ver == row.ver:  # else it was answered meanwhile, or will be looked at next time
                    clocks.escalate(session, held)
            for conversation_id in tickets.lapsed(session, BATCH):
                tickets.put_back_lapsed(session, store.held(session, conversation_id))

    def _note_reading(self, conversation_id: str) -> None:
        """Write down who of staff reads; of somebody who goes on reading, not each look."""
        reader = self.call.author()
        with self.db.read() as session:
            if store.read_lately(session, conversation_id, reader, READING):
                return
        with self.db.write() as session:
            store.note_reading(session, conversation_id, reader)

    def _write_as_staff(self, row: Row[Any], text: str, note: bool = False) -> str:
        """Keep what the caller writes in a held conversation, masked; answers the message's id."""
        kept = masked(clean(text))
        return store.tell(self.db.session, row.id, "message", self.call.author(), sender="staff", text=kept, note=note)

    def _mine(self, conversation_id: str) -> Row[Any]:
        """A held conversation that the caller has claimed."""
        self.call.require_staff()
        row = self._held(self.db.session, conversation_id)
        tickets.require_claimed(self.db.session, row, self.call.author())
        return row

    def _held(self, session: Session, conversation_id: str) -> Row[Any]:
        return self._anothers(store.held(session, conversation_id))

    def _anothers(self, row: Row[Any]) -> Row[Any]:
        """A conversation that is not the caller's own, as a customer: nobody is staff to themselves."""
        if row.customer_id is not None and row.customer_id == self.call.author():
            raise ServiceError("support.own_conversation", "This is your own conversation: a colleague looks after it.")
        return row


def _day(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
