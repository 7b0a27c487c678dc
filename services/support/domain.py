"""The rules of conversations: their states, queues, and what may be done when. Pure: no I/O."""

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from chassis.errors import ServiceError
from chassis.types import CUSTOMER, Caller
from contracts.accounts import Currency
from services.support.hours import Promises

Seconds = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class SupportSettings(Promises):
    """`support_action_valid_s`: so long an offer may be confirmed. `support_action_attempts`: so often a confirmed one
    is tried before a person looks at it. `support_idle_s`: after it the assistant's conversation counts as solved.
    `support_pending_s`: after it one in which the customer is waited for is, too.
    `support_reopen_s`: so long a solved one may be gone on with; then it is closed. `support_claim_s`: so long a
    claimed one is one person's. `support_desk_every_s`: how often claims and promises are looked at.
    `support_four_eyes_over_minor`: by currency; above it two of staff have an action done."""

    support_action_valid_s: Seconds
    support_action_attempts: Count
    support_idle_s: Seconds
    support_pending_s: Seconds
    support_reopen_s: Seconds
    support_claim_s: Seconds
    support_desk_every_s: Seconds
    support_four_eyes_over_minor: dict[Currency, int]


STATES: dict[str, frozenset[str]] = {
    "bot": frozenset({"waiting", "solved", "closed"}),
    "waiting": frozenset({"open", "solved", "closed"}),
    "open": frozenset({"pending", "waiting", "solved", "closed"}),
    "pending": frozenset({"open", "waiting", "solved", "closed"}),
    "solved": frozenset({"bot", "waiting", "closed"}),
    "closed": frozenset(),
}
"""From each state, where a conversation may go. A solved one is reopened by the customer: to the assistant, or to the
desk if a person had it."""

WITH_PEOPLE = ("waiting", "open", "pending")
"""States in which the assistant says nothing."""

ENDED = ("solved", "closed")

ASSISTANT, SYSTEM, GUEST = "assistant", "system", "guest"
"""Authors that are nobody's id."""

UNDER_WAY = ("confirmed", "started")
"""States of actions whose end is still to come."""
ACTION_ENDS = ("declined", "expired", "done", "refused")

MESSAGES_MOST = 500
"""In one conversation."""
OPEN_MOST = 20
"""Conversations of one customer that have not ended."""
BACK_OFF_MAX_S = 60
SUBJECT_LENGTH = 80
LISTED = 40
"""Characters of a subject in lists for staff, which are no recorded reading: enough to tell conversations apart."""
_WORD = re.compile(r"(?<![\w-])[A-Za-z']{2,}(?![\w-])")

QUEUES = ("orders", "money", "delivery", "account", "other")


def require_move(before: str, after: str) -> None:
    """Refuse a change of state that the table does not have."""
    if after not in STATES[before]:
        raise ServiceError(
            "support.closed", f"A conversation that is {before} cannot become {after}: begin another one."
        )


def acting_as(customer_id: str | None) -> Caller:
    """A conversation's customer as the caller of other services; of a guest's, nobody."""
    return Caller(customer_id=customer_id, roles=(CUSTOMER,)) if customer_id else Caller()


def queue_of(language: str, topic: str) -> str:
    """The desk's queue for a conversation."""
    return f"{language}-{topic if topic in QUEUES else 'other'}"


def topic_of(queue: str) -> str:
    """The other way round: what a queue is about."""
    return queue.partition("-")[2] or "other"


def needs_two(limits: Mapping[str, int], amount: int, currency: str | None) -> bool:
    """Whether so much has to be looked at by two of staff: of a currency that has no limit, all of it."""
    return amount > limits.get(currency or "", 0)


def back_off_s(attempts: int) -> int:
    """How long to wait after so many attempts of which nobody knows what became."""
    return min(1 << min(attempts, 10), BACK_OFF_MAX_S)


def kept(language: str, before: str, text: str) -> str:
    """The language to answer in: a message without words, such as a number, keeps the one of before."""
    return language if language == "zh" or _WORD.search(text) else before


def subject_from(text: str) -> str:
    """What a conversation is called that has no subject: how it begins."""
    return begins(" ".join(text.split()), SUBJECT_LENGTH)


def begins(line: str, length: int) -> str:
    """How a line begins, and that it goes on."""
    return line if len(line) <= length else line[: length - 1] + "…"
