"""risk: may this go through, and why (not); the rules that say so, and the review of what they do not decide."""

from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.operations import DeadLettersApi
from contracts.privacy import PrivacyApi

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
Text = Annotated[str, msgspec.Meta(min_length=3, max_length=300)]
Version = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Points = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
Threshold = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=100)]
Kind = Literal["order", "deposit", "withdrawal", "transfer"]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
Effect = Literal["accept", "review", "refuse"]
RuleState = Literal["draft", "shadow", "live", "retired"]
ReviewState = Literal["open", "approved", "refused", "expired", "closed"]
Denied = Literal["email", "country", "customer", "account", "card", "payee"]


class Assessment(Message):
    """`decision`: accept, review or refuse; `reasons` are the names of the rules that fired."""

    order_id: str
    decision: str
    reasons: list[str]


class Subject(Message):
    """What is to be decided on. What is None is not known, and rules see it so.

    `card` is the saved card's or token's name, `payee` an account's id or an IBAN, `address` the shipping address on
    one line, `account_opened_at` and `balance` (available, minor units) are those of the account that money leaves.
    """

    kind: Kind
    id: Id
    customer_id: Id
    amount: Money
    email: str = ""
    country: str | None = None
    account_id: str | None = None
    account_opened_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    balance: int | None = None
    card: str | None = None
    payee: str | None = None
    address: str | None = None


class Reason(Message):
    """A rule that fired: `text` is for staff, `values` are those of the features that it names."""

    rule: str
    text: str
    score: int
    values: dict[str, Any]


class Screening(Message):
    """A decision, as it is kept. `decision`: accept, review or refuse; `rules_version` is the rule set's."""

    id: str
    kind: str
    subject_id: str
    decision: str
    score: int
    reasons: list[Reason]
    rules_version: int


class Shadow(Message):
    """What was only tried: rules marked so (`version` is then that of the live set), or the set that is in shadow."""

    decision: str
    score: int
    reasons: list[Reason]
    version: int


class KeptScreening(Message):
    """A decision with all that it went by: `inputs` are the features as they were then."""

    screening: Screening
    subject: Subject
    inputs: dict[str, Any]
    shadows: list[Shadow]
    at: datetime


class Rule(Message, forbid_unknown_fields=True):
    """`condition` is CEL over the features; where it holds, `score` is added and `action` asked for.

    `text` is for staff, `message` for the customer whom it refuses. A `shadow` rule is evaluated and recorded, but
    decides nothing.
    """

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,49}$")]
    condition: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    text: Text
    score: Points = 0
    action: Effect | None = None
    message: Annotated[str, msgspec.Meta(max_length=300)] = ""
    enabled: bool = True
    shadow: bool = False


class Draft(Message, forbid_unknown_fields=True):
    """A whole rule set. From a sum of `review_at` points on it is review, from `refuse_at` on refuse.

    `just_below` is the amount, in minor units, below which a series of amounts is looked for.
    """

    rules: Annotated[list[Rule], msgspec.Meta(max_length=1000)]
    note: Text
    review_at: Threshold = 100
    refuse_at: Threshold = 1_000_000
    just_below: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = 200_000


class RuleSetSummary(Message):
    version: int
    state: str
    note: str
    author: str
    rules: int
    created_at: datetime
    changed_at: datetime


class RuleSet(Message):
    """One version, which never changes but for its state: draft, shadow, live or retired. `versions` are the newest."""

    version: int
    state: str
    author: str
    content: Draft
    created_at: datetime
    changed_at: datetime
    versions: list[RuleSetSummary]


class Change(Message):
    """A kept decision that would be another."""

    decision_id: str
    before: str
    after: str


class Checked(Message):
    """A draft, tried on kept decisions with their kept inputs. `examples` are at most 20 of the `changed` ones."""

    compared: int
    changed: int
    examples: list[Change]


class DenyEntry(Message):
    """Somebody, or something, that the feature `denied` is true for."""

    kind: str
    value: str
    reason: str
    author: str
    at: datetime


class Review(Message):
    """What staff is to decide on. `approvals` are who approved so far, of `needed` different ones.

    `state`: open, approved, refused, expired (nobody decided in time, which refuses) or closed (taken back meanwhile).
    """

    id: str
    decision_id: str
    kind: str
    subject_id: str
    customer_id: str
    amount: Money
    score: int
    reasons: list[Reason]
    state: str
    needed: int
    approvals: list[str]
    opened_at: datetime
    expires_at: datetime
    claimed_by: str | None = None
    claimed_until: datetime | None = None
    decided_at: datetime | None = None
    reason: str | None = None


class ReviewPage(Message):
    items: list[Review]
    next_cursor: str | None


class WithoutRisk(Message):
    """What goes on when risk does not answer: amounts below these, by kind of subject and currency, and no other."""

    risk_open_below_minor: dict[Kind, dict[Currency, Annotated[int, msgspec.Meta(ge=0)]]]

    def passes(self, kind: Kind, amount: Money) -> bool:
        """Whether it may go on without risk."""
        return amount.amount < self.risk_open_below_minor.get(kind, {}).get(amount.currency, 0)


@event("risk", "review_decided", subscribers=("orders.on_review_decided", "transactions.on_review_decided"))
class ReviewDecided(Event):
    """Staff approved or refused what was in review, or nobody did in time; aggregate_id is the subject's id."""

    kind: str
    subject_id: str
    approved: bool
    reason: str


@api("risk")
class RiskApi(DeadLettersApi, PrivacyApi, Protocol):
    """For other services, for staff, and the rules for operators."""

    name: str

    @refuses("risk.refused")
    def assess(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> Assessment:
        """As `screen`, for sagas that do not wait: *review* lets the order pass, and nobody is asked.

        A refusal's message is for the customer; its details.reasons are the rules that fired.
        """
        ...

    def forget(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> None:
        """Undo of `assess`: the order no longer counts towards the customer's velocity."""
        ...

    @refuses("risk.refused")
    def screen(self, subject: Subject, *, key: str) -> Screening:
        """Decide by the rules that are live. *Review* also queues it for staff, whose word comes as review_decided.

        A refusal's message is for the customer; its details.reasons are the rules that fired.
        """
        ...

    def unscreen(self, subject: Subject, *, key: str) -> None:
        """Undo of `screen`: it no longer counts in any window, and an open review of it is closed.

        What staff refused stays among the customer's failed attempts.
        """
        ...

    @refuses("risk.not_found")
    def get(self, order_id: Id) -> Assessment:
        """What was decided about an order, also if it was refused (staff)."""
        ...

    # --- decisions

    @refuses("risk.not_found")
    def screening(self, decision_id: Id) -> KeptScreening:
        """One decision with its inputs (staff)."""
        ...

    def screenings(self, subject: Id) -> list[KeptScreening]:
        """What was decided about a subject, by its id, the newest first and at most 20 (staff)."""
        ...

    @refuses("risk.not_found", "risk.no_such_rules")
    def replay(self, decision_id: Id) -> Screening:
        """Decide once more, by the kept inputs and the same rules: the same comes out. Nothing is kept (staff).

        Those of before rules were data (`rules_version` 0) have no rules that there still are.
        """
        ...

    # --- rules, for operators

    @refuses("risk.no_such_rules")
    def rule_set(self, version: Version | None = None) -> RuleSet:
        """A version of the rules, whole; the live one when none is named."""
        ...

    @refuses("risk.bad_rule")
    def draft(self, content: Draft, *, key: str) -> RuleSet:
        """Keep a new version as a draft. details: the rule, and where its condition is wrong."""
        ...

    @refuses("risk.bad_rule")
    def check(self, content: Draft, last: PageSize = 100) -> Checked:
        """Try rules on the last kept decisions: how many would be others. Nothing is kept."""
        ...

    @refuses("risk.no_such_rules", "risk.rules_state")
    def advance(self, version: Version, state: Literal["shadow", "live", "retired"], *, key: str) -> RuleSet:
        """Move a version: draft -> shadow -> live -> retired; a retired one may go live again.

        There is one live version and at most one in shadow: what goes live retires the one before, what goes into
        shadow makes the one before a draft again. The live one is retired only by another.
        """
        ...

    def denied(self) -> list[DenyEntry]:
        """The deny list, by kind and value, at most 1,000 entries."""
        ...

    def deny(self, kind: Denied, value: Id, reason: Text, *, key: str) -> DenyEntry:
        """Put on the deny list; what is on it already gets the new reason."""
        ...

    @refuses("risk.not_denied")
    def allow(self, kind: Denied, value: Id, *, key: str) -> None:
        """Take off the deny list."""
        ...

    # --- the review queue, for staff

    @refuses("risk.bad_cursor")
    def reviews(self, state: ReviewState = "open", limit: PageSize = 20, cursor: str | None = None) -> ReviewPage:
        """The queue, the oldest first."""
        ...

    @refuses("risk.not_found", "risk.review_closed", "risk.claimed", "risk.four_eyes")
    def claim(self, review_id: Id, *, key: str) -> Review:
        """Take one to decide on. It is back in the queue when `claimed_until` has passed; claiming again prolongs."""
        ...

    @refuses("risk.not_found", "risk.review_closed", "risk.not_claimed")
    def approve(self, review_id: Id, reason: Text, *, key: str) -> Review:
        """Let it go on. Above an amount a second one of staff has to approve too: until then it stays open."""
        ...

    @refuses("risk.not_found", "risk.review_closed", "risk.not_claimed")
    def refuse(self, review_id: Id, reason: Text, *, key: str) -> Review:
        """Refuse it. One refusal is enough."""
        ...
