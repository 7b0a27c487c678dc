"""A turn of a conversation: what was said and answered, and all that follows from it, in one transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.db import now
from chassis.errors import ServiceError
from contracts import support as contract
from contracts.support import AssistantReply, Exchange
from services.support import actions, handing, store, views
from services.support.domain import ASSISTANT, MESSAGES_MOST, WITH_PEOPLE, SupportSettings, kept, queue_of, topic_of
from services.support.masking import language_of
from services.support.turns import Answer, OpenAction, Turn


def asks_the_assistant(row: Row[Any]) -> bool:
    """Whether the assistant answers the next message; else people do."""
    return row.status not in WITH_PEOPLE and not (row.status == "solved" and row.handed_over_at is not None)


def turn_of(session: Session, row: Row[Any], text: str, before: int = 0) -> Turn:
    """What the assistant is given of a conversation and a cleaned message; `before`: so many earlier ones with it."""
    return Turn(
        text=text,
        language=kept(language_of(text), row.language, text),
        at=now(session),
        customer_id=row.customer_id,
        order_id=row.order_id,
        memory=row.memory,
        open_actions=[
            OpenAction(id=each.id, kind=each.kind, order_id=each.order_id, summary=each.summary)
            for each in actions.open_in(session, row.id)
        ],
        before=_said_before(session, row, before) if before else [],
    )


def _said_before(session: Session, row: Row[Any], limit: int) -> list[str]:
    """The customer's latest messages, without what they said when an address was talked of."""
    told = store.messages(session, row.id, 2 * limit)
    intents = [*(each.intent for each in told[1:]), None]
    said = [each.text for each, intent in zip(told, intents, strict=True) if _is_shown(each, intent)]
    return said[-limit:]


def _is_shown(told: Row[Any], answered_as: str | None) -> bool:
    return told.sender == "customer" and answered_as != "do_change_address"


def require_room(session: Session, row: Row[Any]) -> None:
    """Refuse a message that would be too many."""
    if store.message_count(session, row.id) >= MESSAGES_MOST:
        raise ServiceError("support.too_long", f"This conversation has {MESSAGES_MOST} messages: begin another one.")


def write(
    session: Session, row: Row[Any], turn: Turn, answer: Answer | None, author: str, settings: SupportSettings
) -> Exchange:
    """Keep a turn of a held conversation. No answer: people have it."""
    message_id = store.tell(session, row.id, "message", author, sender="customer", text=turn.text)
    row = handing.wake(session, row, settings, author)
    _heed(session, row, turn, answer)
    reply = _reply(session, _again(session, row), turn, answer, author, settings) if answer is not None else None
    return Exchange(
        message=views.said(store.happening(session, message_id)), status=_again(session, row).status, reply=reply
    )


def _heed(session: Session, row: Row[Any], turn: Turn, answer: Answer | None) -> None:
    """The language follows the customer, the queue what it is about."""
    if answer is None:
        store.change(session, row.id, language=turn.language)
        return
    topic = answer.topic if answer.topic != "other" else topic_of(row.queue)
    queue = queue_of(turn.language, topic)
    store.change(session, row.id, language=turn.language, queue=queue, memory=answer.memory)


def _reply(
    session: Session, row: Row[Any], turn: Turn, answer: Answer, author: str, settings: SupportSettings
) -> AssistantReply:
    told = store.tell(
        session,
        row.id,
        "message",
        ASSISTANT,
        sender="assistant",
        text=answer.text,
        sources=answer.sources,
        intent=answer.intent[:40],
        confidence=answer.confidence,
    )
    decided = _decide(session, row, answer, author)
    offered = _offer(session, row, told, answer, settings)
    if answer.unanswered:
        store.ask_editors(session, row.id, turn.language, turn.text, answer.nearest)
    if answer.hand_over is not None:
        handing.hand_over(session, _again(session, row), settings, ASSISTANT, answer.hand_over, answer.topic)
    return AssistantReply(
        text=answer.text,
        sources=answer.sources,
        intent=answer.intent,
        confidence=answer.confidence,
        actions=[*decided, *offered],
    )


def _decide(session: Session, row: Row[Any], answer: Answer, author: str) -> list[contract.Action]:
    """The customer's yes or no in words, as the doors do it; and what something newer takes the place of."""
    decided: list[contract.Action] = []
    confirmed = [(each, actions.confirm) for each in (answer.confirm, *answer.confirm_too)]
    for action_id, decide in (*confirmed, (answer.decline, actions.decline)):
        if action_id is None:
            continue
        try:
            decided.append(views.action(decide(session, row, action_id, author)))
        except ServiceError:  # its time was over at this very moment
            handing.say(session, row, "action_over")
    for each in _of(session, row, answer.withdraw):
        actions.withdraw(session, each)
    return decided


def _offer(
    session: Session, row: Row[Any], message_id: str, answer: Answer, settings: SupportSettings
) -> list[contract.Action]:
    if row.customer_id is None:
        return []
    valid_s = settings.support_action_valid_s
    ids = [actions.offer(session, row, message_id, each, valid_s) for each in answer.proposals]
    return [views.action(each) for each in _of(session, row, ids)]


def _of(session: Session, row: Row[Any], ids: Sequence[str]) -> list[Row[Any]]:
    known = {each.id: each for each in actions.of_conversation(session, row.id)} if ids else {}
    return [known[each] for each in ids if each in known]


def _again(session: Session, row: Row[Any]) -> Row[Any]:
    return store.held(session, row.id)
