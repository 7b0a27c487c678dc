"""What clients and the desk send to customer service. Unknown fields are refused."""

from datetime import date
from typing import Annotated, Any

import msgspec

from chassis.types import Message
from contracts.support import (
    ActionKind,
    AssistantReply,
    Id,
    Language,
    NewArticle,
    Note,
    Priority,
    Queue,
    Said,
    Score,
    Sequence,
    State,
    Subject,
    Tags,
    Text,
    Title,
)
from edge.bodies import Body, Limit


class LanguageQuery(Body):
    language: Language | None = None
    limit: Limit = 50


class ArticleQuery(Body):
    query: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None
    language: Language | None = None
    limit: Limit = 5


class WriteArticle(NewArticle, forbid_unknown_fields=True, kw_only=True):
    """`version`: the one that this was made from."""

    version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


class Vote(Body):
    """`version`: the one that was shown."""

    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    helpful: bool


class TicketQuery(Body):
    """`mine`: those that the caller has claimed."""

    queue: Queue | None = None
    status: State | None = None
    mine: bool = False
    limit: Limit = 50
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class TransferTicket(Body):
    queue: Queue
    note: Note = ""


class DeskReply(Body):
    """`pending`: it then waits for the customer."""

    text: Text
    pending: bool = True


class DeskNote(Body):
    text: Text


class Solve(Body):
    text: Note = ""


class Marks(Body):
    tags: Tags | None = None
    priority: Priority | None = None


class ProposeAction(Body):
    """`wish`: what is asked of the service that does it, as in its contract."""

    kind: ActionKind
    order_id: Id | None = None
    wish: dict[str, Any] = {}


class WriteCanned(Body):
    language: Language
    title: Title
    text: Text


class ReportQuery(Body):
    """Days in UTC, both included."""

    since: date = msgspec.field(name="from")
    until: date = msgspec.field(name="to")


class BeginConversation(Body):
    message: Text
    subject: Subject = ""
    order_id: Id | None = None


class SayWords(Body):
    text: Text


class AskForPerson(Body):
    reason: Note = ""


class RateConversation(Body):
    score: Score
    comment: Note = ""


class ConversationQuery(Body):
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class EventQuery(Body):
    """`after`: the number of the last event that was seen."""

    after: Sequence = 0


class Spoken(Message):
    """What was said, and the assistant's reply; none while a person has the conversation."""

    message: Said
    status: str
    reply: AssistantReply | None = None
