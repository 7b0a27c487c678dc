"""support: conversations with customers, what the assistant answers and does in them, and the desk of the people behind
it.

A conversation is a customer's or a guest's, and has one state:

    bot      the assistant answers
    waiting  for somebody of the desk to claim it
    open     somebody of the desk has it
    pending  the desk waits for the customer
    solved   done; the customer may write again, which reopens it for a while
    closed   for good

An action is a proposal with its exact changes. Nothing is done before the customer has confirmed it; its id is the key
under which it is then done once.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Protocol

import msgspec

from chassis.types import Event, Message, api, event, refuses
from contracts.operations import DeadLettersApi
from contracts.privacy import PrivacyApi

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[\w-]+$")]
CustomerId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
GuestToken = Annotated[str, msgspec.Meta(min_length=20, max_length=100, pattern=r"^[\w-]+$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
Subject = Annotated[str, msgspec.Meta(max_length=200)]
Note = Annotated[str, msgspec.Meta(max_length=500)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Body = Annotated[str, msgspec.Meta(min_length=20, max_length=8000)]
Topic = Annotated[str, msgspec.Meta(min_length=2, max_length=40, pattern="^[a-z][a-z0-9_]*$")]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=30, pattern=r"^[\w-]+$")]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=20)]
Score = Annotated[int, msgspec.Meta(ge=1, le=5)]
Sequence = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]
WaitS = Annotated[float, msgspec.Meta(ge=0, le=10)]
Query = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]

Language = Literal["en", "zh"]
State = Literal["bot", "waiting", "open", "pending", "solved", "closed"]
Sender = Literal["customer", "assistant", "staff", "system"]
ActionKind = Literal[
    "cancel",
    "change_address",
    "change_items",
    "change_payment",
    "return",
    "exchange",
    "resend_mail",
    "freeze_account",
]
ActionStatus = Literal["offered", "declined", "expired", "confirmed", "started", "done", "refused"]
"""`confirmed`: the customer said yes, and it is about to be done. `started`: the service that does it has begun, and
tells its end later. `done` and `refused` are ends, told in the conversation."""
Queue = Annotated[str, msgspec.Meta(max_length=40, pattern="^[a-z]{2}-[a-z]+$")]
"""A language and a subject, such as `en-orders`: orders, money, delivery, account or other."""
Priority = Literal["low", "normal", "high", "urgent"]


# --- conversations


class Who(Message, forbid_unknown_fields=True):
    """Whose conversation: a customer's by id, or a guest's by token; exactly one."""

    customer_id: CustomerId | None = None
    token: GuestToken | None = None


class Source(Message):
    """Where an answer comes from: an article, or what a service said (then `at` is when)."""

    title: str
    url: str
    at: datetime | None = None


class ActionChange(Message):
    """One thing that an action changes, in words: what, from what, to what."""

    what: str
    before: str | None = None
    after: str | None = None


Change = ActionChange


class Action(Message):
    """`summary` says what will be done and what it costs or gives back, in the conversation's language. `reason` says
    why it was refused. `subject_id`: what it began, such as a return's id. `by`: who of staff proposed it, or was the
    first to have it done."""

    id: str
    kind: str
    status: str
    summary: str
    changes: list[ActionChange]
    expires_at: datetime
    order_id: str | None = None
    subject_id: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    by: str | None = None


class Said(Message):
    """One message. `sender`: customer, assistant, staff or system. `note`: for staff alone."""

    id: str
    at: datetime
    sender: str = msgspec.field(name="from")
    text: str
    sources: list[Source] = []
    actions: list[Action] = []
    author: str | None = None
    note: bool = False


class Conversation(Message):
    """`token` is a guest's, told once, when the conversation begins. `messages` are the last 200, oldest first."""

    id: str
    status: str
    language: str
    subject: str
    created_at: datetime
    updated_at: datetime
    messages: list[Said] = []
    order_id: str | None = None
    token: str | None = None
    rating: int | None = None


class ConversationPage(Message):
    """Newest first; messages are left out."""

    items: list[Conversation]
    next_cursor: str | None


class AssistantReply(Message):
    """`confidence` is 0 to 1, of the intent. No sources where nothing was answered from one."""

    text: str
    sources: list[Source]
    intent: str
    confidence: float
    actions: list[Action]


class Exchange(Message):
    """What the customer said, and the assistant's reply; None while a person has the conversation."""

    message: Said
    status: str
    reply: AssistantReply | None = None


class Happening(Message):
    """One event of a conversation, by number: `message`, `action`, `state` or `assignment`, and what it tells."""

    sequence: int
    at: datetime
    kind: str
    author: str
    message: Said | None = None
    action: Action | None = None
    status: str | None = None
    assigned_to: str | None = None


class Happenings(Message):
    """At most 200; `last` is what to ask after next."""

    items: list[Happening]
    last: int


# --- answers


class Article(Message):
    """A version of a topic's text in one language. `current`: the one that answers come from."""

    topic: str
    language: str
    version: int
    title: str
    text: str
    keywords: list[str]
    current: bool
    author: str
    at: datetime
    helpful: int = 0
    unhelpful: int = 0


class Found(Message):
    """An article that matches, with the terms that it matched by."""

    topic: str
    language: str
    title: str
    excerpt: str
    score: float
    terms: list[str]


class NewArticle(Message, forbid_unknown_fields=True):
    title: Title
    text: Body
    keywords: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=60)]], msgspec.Meta(max_length=60)
    ] = []


class Unanswered(Message):
    """Questions that the assistant could not answer, those that are alike together: an example and how often."""

    example: str
    language: str
    count: int
    last_at: datetime
    questions: list[str]
    nearest: str | None = None


# --- the desk


class Clock(Message):
    """One of the two promises: `due_at` moves while it is paused (waiting for the customer). `met` is None until it is
    known."""

    due_at: datetime | None
    met: bool | None = None
    paused: bool = False
    escalated: bool = False


class Ticket(Message):
    """A conversation as the desk lists it. In lists no more is told of `subject` than how it begins."""

    id: str
    status: str
    queue: str
    priority: str
    tags: list[str]
    language: str
    subject: str
    created_at: datetime
    updated_at: datetime
    first_answer: Clock
    solution: Clock
    customer_id: str | None = None
    assigned_to: str | None = None
    claimed_until: datetime | None = None


class TicketPage(Message):
    """Those due first come first."""

    items: list[Ticket]
    next_cursor: str | None


class Context(Message):
    """All that the desk shows beside a conversation. `missing` names the services that did not answer.

    `summary` is what was asked, tried, offered and done, written when it was handed over."""

    ticket: Ticket
    summary: list[str]
    messages: list[Said]
    customer: dict[str, Any] | None
    orders: list[dict[str, Any]]
    accounts: list[dict[str, Any]]
    transactions: list[dict[str, Any]]
    risk: list[dict[str, Any]]
    mails: list[dict[str, Any]]
    earlier: list[Ticket]
    at: datetime
    missing: list[str]


class Canned(Message):
    """A reply that is written once and used often."""

    id: str
    language: str
    title: str
    text: str


class Report(Message):
    """Of conversations that began in these days (UTC, both included). Seconds are means of business time, without what
    was waited for the customer and without the time in which it was solved before it was opened again; None without
    any, and of the first 50,000. What was solved without a word counts as a first answer only where it came late.

    `deflected`: ended without a person. `rating` is the mean."""

    conversations: int
    handed_over: int
    deflected: int
    solved: int
    first_answer_s: float | None
    solution_s: float | None
    first_answer_met: int
    first_answer_missed: int
    solution_met: int
    solution_missed: int
    rating: float | None
    ratings: int
    by_queue: dict[str, int]


@event("support", "conversation_handed_over")
class ConversationHandedOver(Event):
    """aggregate_id is the conversation's id. A person is asked for, in this queue."""

    customer_id: str | None
    queue: str
    reason: str


@api("support")
class SupportApi(DeadLettersApi, PrivacyApi, Protocol):
    """Customers and guests see their own conversations alone; staff sees all, and reading one is recorded."""

    name: str

    # --- customers

    @refuses("support.order_not_found", "support.too_many")
    def begin(
        self, who: Who, message: Text, subject: Subject = "", order_id: Id | None = None, *, key: str
    ) -> Conversation:
        """Begin a conversation, with the assistant's first reply. An empty `who` is a new guest, whose token is told in
        the answer alone: a guest's repeat begins another conversation. At most 20 open ones for each customer."""
        ...

    @refuses("support.not_found", "support.closed", "support.too_long")
    def say(self, who: Who, conversation_id: Id, text: Text, *, key: str) -> Exchange:
        """Say something. A repeat with the same key gives the same reply."""
        ...

    @refuses("support.not_found", "support.action_not_found", "support.action_over", "support.closed")
    def confirm(self, who: Who, conversation_id: Id, action_id: Id, wait_s: WaitS = 0, *, key: str) -> Action:
        """Have an offered action done, once. With `wait_s` the answer waits so long for its end."""
        ...

    @refuses("support.not_found", "support.action_not_found", "support.action_over", "support.closed")
    def decline(self, who: Who, conversation_id: Id, action_id: Id, *, key: str) -> Action:
        """Leave an offered action undone."""
        ...

    @refuses("support.not_found", "support.closed")
    def hand_over(self, who: Who, conversation_id: Id, reason: Note = "", *, key: str) -> Conversation:
        """Ask for a person."""
        ...

    @refuses("support.not_found", "support.not_solved")
    def rate(self, who: Who, conversation_id: Id, score: Score, comment: Note = "", *, key: str) -> Conversation:
        """Say how it was, 1 to 5; the last word counts."""
        ...

    @refuses("support.not_found")
    def get(self, who: Who, conversation_id: Id) -> Conversation:
        """One conversation with its messages."""
        ...

    @refuses("support.bad_cursor")
    def find(self, customer_id: CustomerId, limit: Limit = 20, cursor: str | None = None) -> ConversationPage:
        """A customer's conversations."""
        ...

    @refuses("support.not_found")
    def events(self, who: Who, conversation_id: Id, after: Sequence = 0) -> Happenings:
        """What happened in a conversation after a number: to be polled."""
        ...

    # --- answers

    def search(self, query: Query, language: Language | None = None, limit: Limit = 5) -> list[Found]:
        """Articles for a question, the best first, with the terms that speak for each."""
        ...

    @refuses("support.article_not_found")
    def article(self, topic: Topic, language: Language) -> Article:
        """The current version of an article."""
        ...

    def articles(self, language: Language | None = None) -> list[Article]:
        """All current articles, by topic."""
        ...

    @refuses("support.article_not_found")
    def versions(self, topic: Topic, language: Language) -> list[Article]:
        """All versions of an article, the newest first (staff)."""
        ...

    @refuses("support.article_not_found", "support.article_changed")
    def write_article(
        self, topic: Topic, language: Language, article: NewArticle, version: Sequence, *, key: str
    ) -> Article:
        """Write a new version of an article (staff). `version` is the one it was made from, 0 for a new topic; refused
        if there is a newer one."""
        ...

    @refuses("support.article_not_found", "support.not_found")
    def vote(self, who: Who, topic: Topic, language: Language, version: Sequence, helpful: bool, *, key: str) -> None:
        """Say whether an article helped, in the version that was shown. One vote each, and the last word counts; a
        guest votes by the token of a conversation."""
        ...

    def unanswered(self, language: Language | None = None, limit: Limit = 50) -> list[Unanswered]:
        """What the assistant could not answer, those alike together, the most frequent first (staff)."""
        ...

    # --- the desk (staff)

    @refuses("support.bad_cursor")
    def tickets(
        self,
        queue: Queue | None = None,
        status: State | None = None,
        mine: bool = False,
        limit: Limit = 50,
        cursor: str | None = None,
    ) -> TicketPage:
        """What people have to do, by when it is due."""
        ...

    @refuses("support.not_found", "support.own_conversation")
    def context(self, conversation_id: Id) -> Context:
        """Everything about a conversation and its customer, as far as the other services answer."""
        ...

    @refuses("support.not_found", "support.own_conversation", "support.claimed", "support.not_claimable")
    def claim(self, conversation_id: Id, *, key: str) -> Ticket:
        """Take a conversation; it is one person's until `claimed_until`, which each reply moves on."""
        ...

    @refuses("support.not_found", "support.own_conversation", "support.not_claimed")
    def release(self, conversation_id: Id, *, key: str) -> Ticket:
        """Put a claimed conversation back into its queue."""
        ...

    @refuses("support.not_found", "support.own_conversation", "support.not_claimed")
    def transfer(self, conversation_id: Id, queue: Queue, note: Note = "", *, key: str) -> Ticket:
        """Put a claimed conversation into another queue."""
        ...

    @refuses("support.not_found", "support.own_conversation", "support.not_claimed")
    def reply(self, conversation_id: Id, text: Text, pending: bool = True, *, key: str) -> Said:
        """Answer the customer. `pending`: it then waits for them, and the clocks stand still."""
        ...

    @refuses("support.not_found", "support.own_conversation")
    def note(self, conversation_id: Id, text: Text, *, key: str) -> Said:
        """Write down something for colleagues; the customer never sees it."""
        ...

    @refuses("support.not_found", "support.own_conversation", "support.not_claimed")
    def solve(self, conversation_id: Id, text: Note = "", *, key: str) -> Ticket:
        """Say that it is done, with a last word to the customer."""
        ...

    @refuses("support.not_found", "support.own_conversation")
    def mark(
        self, conversation_id: Id, tags: Tags | None = None, priority: Priority | None = None, *, key: str
    ) -> Ticket:
        """Set tags, priority, or both."""
        ...

    @refuses(
        "support.not_found",
        "support.own_conversation",
        "support.not_claimed",
        "support.no_customer",
        "support.not_offered",
    )
    def propose(
        self,
        conversation_id: Id,
        kind: ActionKind,
        order_id: Id | None = None,
        wish: dict[str, Any] | None = None,
        *,
        key: str,
    ) -> Action:
        """Offer the customer an action, in the name of the one who claimed the conversation."""
        ...

    @refuses(
        "support.not_found",
        "support.own_conversation",
        "support.action_not_found",
        "support.action_over",
        "support.same_person",
    )
    def act(self, conversation_id: Id, action_id: Id, *, key: str) -> Action:
        """Have a proposed action done on the customer's behalf (they asked by phone, say). Above an amount of its
        currency two of staff have to: of what the assistant offered the first one's word is kept in `by`, and it is
        still `offered`; then, or where one of staff proposed it, another one has it done."""
        ...

    def canned(self, language: Language | None = None) -> list[Canned]:
        """Replies to pick from."""
        ...

    def write_canned(self, language: Language, title: Title, text: Text, *, key: str) -> Canned:
        """Add a reply, or replace the one of this language and title."""
        ...

    def report(self, since: date, until: date) -> Report:
        """How the desk did, at most 366 days."""
        ...
