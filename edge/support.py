"""Customer service: conversations of customers, and of guests by the token that is told when one begins."""

from typing import Any

import msgspec

from chassis.problems import Problem
from chassis.routes import Reply, Request, route
from chassis.rpc import tuned
from chassis.types import CUSTOMER
from contracts.support import Action, Conversation, ConversationPage, GuestToken, Happenings, SupportApi, Who
from edge import support_bodies as bodies
from edge.asking import customer_of, key_of

GUEST = "Conversation-Token"
TALK_S = 13.0
"""So long the assistant, who asks other services, may take."""
ACT_S = 4.0
UNDER_WAY = ("confirmed", "started")


class SupportRoutes:
    """For the gateway, which inherits them. A repeat with the same Idempotency-Key acts once."""

    support: SupportApi

    @route(
        "POST",
        "/v1/conversations",
        body=bodies.BeginConversation,
        idempotent="optional",
        success=201,
        refuses=SupportApi.begin,
    )
    def begin_conversation(self, request: Request[bodies.BeginConversation]) -> Reply[Conversation]:
        """Ask something. Who is not signed in gets a `token`: send it as the header `Conversation-Token`."""
        asked, who = request.body, Who(customer_id=request.caller.customer_id)
        begun = self._talking().begin(who, asked.message, asked.subject, asked.order_id, key=key_of(request))
        return Reply(begun, headers={"Location": f"/v1/conversations/{begun.id}"})

    @route(
        "POST",
        "/v1/conversations/{conversation_id}/messages",
        body=bodies.SayWords,
        role=CUSTOMER,
        guest=GUEST,
        idempotent="optional",
        success=201,
        refuses=SupportApi.say,
    )
    def say(self, request: Request[bodies.SayWords], conversation_id: str) -> bodies.Spoken:
        """Say something more. There is a `reply` unless a person has the conversation."""
        said = self._talking().say(who_of(request), conversation_id, request.body.text, key=key_of(request))
        return bodies.Spoken(message=said.message, status=said.status, reply=said.reply)

    @route(
        "POST",
        "/v1/conversations/{conversation_id}/actions/{action_id}/confirm",
        role=CUSTOMER,
        guest=GUEST,
        idempotent="optional",
        success=(202, 200),
        refuses=SupportApi.confirm,
    )
    def confirm_action(self, request: Request, conversation_id: str, action_id: str) -> Reply[Action]:
        """Have done what is offered, once. Its end is told in the conversation, or wait with `Prefer: wait=5` (200)."""
        wait_s = request.prefer_wait_s
        patient = tuned(self.support, timeout_s=wait_s + ACT_S)
        action = patient.confirm(who_of(request), conversation_id, action_id, wait_s, key=key_of(request))
        headers = {"Preference-Applied": f"wait={wait_s:.0f}"} if wait_s else {}
        return Reply(action, status=202 if action.status in UNDER_WAY else 200, headers=headers)

    @route(
        "POST",
        "/v1/conversations/{conversation_id}/actions/{action_id}/decline",
        role=CUSTOMER,
        guest=GUEST,
        idempotent="optional",
        refuses=SupportApi.decline,
    )
    def decline_action(self, request: Request, conversation_id: str, action_id: str) -> Action:
        """Leave undone what is offered."""
        return self.support.decline(who_of(request), conversation_id, action_id, key=key_of(request))

    @route(
        "POST",
        "/v1/conversations/{conversation_id}/handoff",
        body=bodies.AskForPerson,
        role=CUSTOMER,
        guest=GUEST,
        idempotent="optional",
        refuses=SupportApi.hand_over,
    )
    def ask_for_person(self, request: Request[bodies.AskForPerson], conversation_id: str) -> Conversation:
        """Ask for a person, who gets a summary of what was said and done."""
        return self.support.hand_over(who_of(request), conversation_id, request.body.reason, key=key_of(request))

    @route(
        "POST",
        "/v1/conversations/{conversation_id}/rating",
        body=bodies.RateConversation,
        role=CUSTOMER,
        guest=GUEST,
        idempotent="optional",
        refuses=SupportApi.rate,
    )
    def rate_conversation(self, request: Request[bodies.RateConversation], conversation_id: str) -> Conversation:
        """Say how it was, 1 to 5. It ends what the assistant has; what a person has is rated when it is solved."""
        asked = request.body
        return self.support.rate(who_of(request), conversation_id, asked.score, asked.comment, key=key_of(request))

    @route("GET", "/v1/conversations", query=bodies.ConversationQuery, role=CUSTOMER, refuses=SupportApi.find)
    def find_conversations(self, request: Request[None, bodies.ConversationQuery]) -> ConversationPage:
        """One's own conversations, newest first, without their messages."""
        return self.support.find(customer_of(request), request.query.limit, request.query.cursor)

    @route("GET", "/v1/conversations/{conversation_id}", role=CUSTOMER, guest=GUEST, refuses=SupportApi.get)
    def get_conversation(self, request: Request, conversation_id: str) -> Conversation:
        """One conversation with its latest 200 messages."""
        return self.support.get(who_of(request), conversation_id)

    @route(
        "GET",
        "/v1/conversations/{conversation_id}/events",
        query=bodies.EventQuery,
        role=CUSTOMER,
        guest=GUEST,
        refuses=SupportApi.events,
    )
    def conversation_events(self, request: Request[None, bodies.EventQuery], conversation_id: str) -> Happenings:
        """What happened after a number; ask again with `last`."""
        return self.support.events(who_of(request), conversation_id, request.query.after)

    def _talking(self) -> SupportApi:
        return tuned(self.support, timeout_s=TALK_S)


def who_of(request: Request[Any, Any]) -> Who:
    """The customer; a guest if nobody is signed in."""
    if request.caller.customer_id is not None:
        return Who(customer_id=request.caller.customer_id)
    try:
        return Who(token=msgspec.convert(request.guest_token, GuestToken))
    except msgspec.ValidationError:
        raise Problem(404, "support.not_found", "There is no such conversation.") from None
