"""What support keeps about customers (see chassis/privacy.py). What was said goes; that there was a conversation, and
how it went, stays for the reports. Guests are nobody's customers: of theirs only the days are kept to."""

from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, select

from chassis.db import table_of
from chassis.privacy import Kind
from chassis.privacy_types import Person
from chassis.tables import inbox
from services.support.domain import ENDED, UNDER_WAY
from services.support.models import Action, Conversation, Happening, Question, Reading, Vote

ID_LENGTH = 32
"""Of a conversation's."""

_CONVERSATION, _HAPPENING, _ACTION = table_of(Conversation), table_of(Happening), table_of(Action)
_QUESTION, _READING, _VOTE = table_of(Question), table_of(Reading), table_of(Vote)


def _conversations(*where: ColumnElement[bool]) -> Select[Any]:
    return select(_CONVERSATION.c.id).where(*where)


def _within(table: Table) -> Any:
    """Whose are the rows of a conversation."""

    def whose(person: Person) -> ColumnElement[bool]:
        mine = _conversations(_CONVERSATION.c.customer_id == person.customer_id)
        return table.c.conversation_id.in_(mine)

    return whose


def _answers(person: Person) -> ColumnElement[bool]:
    """What is kept for repeats of what was said: keys that begin with a conversation's id."""
    mine = _conversations(_CONVERSATION.c.customer_id == person.customer_id)
    return func.substr(inbox.c.key, 1, ID_LENGTH).in_(mine)


_OVER = _conversations(_CONVERSATION.c.status.in_(ENDED))

KINDS = (
    Kind(
        "conversation",
        _CONVERSATION,
        whose=lambda person: _CONVERSATION.c.customer_id == person.customer_id,
        told=(
            "id",
            "status",
            "language",
            "subject",
            "order_id",
            "memory",
            "summary",
            "tags",
            "rating",
            "rating_comment",
            "created_at",
        ),
        blank=dict(subject="", memory={}, summary=[], tags=[], rating_comment=None),
        at=_CONVERSATION.c.created_at,
        done=_CONVERSATION.c.status.in_(ENDED),
    ),
    Kind(
        "message",
        _HAPPENING,
        whose=_within(_HAPPENING),
        told=("conversation_id", "sequence", "at", "kind", "sender", "text"),
        blank=dict(text="", sources=[]),
        at=_HAPPENING.c.at,
        done=_HAPPENING.c.conversation_id.in_(_OVER),
    ),
    Kind(
        "action",
        _ACTION,
        whose=_within(_ACTION),
        told=(
            "id",
            "kind",
            "status",
            "order_id",
            "wish",
            "summary",
            "changes",
            "amount",
            "currency",
            "reason",
            "created_at",
        ),
        blank=dict(summary="", wish={}, changes=[]),
        open=_ACTION.c.status.in_(UNDER_WAY),
        at=_ACTION.c.created_at,
        done=_ACTION.c.status.not_in((*UNDER_WAY, "offered")),
    ),
    Kind(
        "question",
        _QUESTION,
        whose=_within(_QUESTION),
        told=("language", "text", "at"),
        blank=dict(text=""),
        at=_QUESTION.c.at,
    ),
    Kind(
        "vote",  # it stays counted with the article
        _VOTE,
        whose=lambda person: _VOTE.c.voter == person.customer_id,
        told=("topic", "language", "version", "helpful", "at"),
    ),
    Kind(
        "repeatable_answer",
        inbox,
        whose=_answers,
        told=("command", "updated_at"),
    ),
    Kind(
        "reading",
        _READING,
        whose=_within(_READING),
        told=("conversation_id", "at"),
        blank={},
    ),
)
