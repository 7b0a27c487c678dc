"""The doors of the review queue."""

from datetime import datetime, timedelta

from chassis.commands import command
from chassis.context import Call
from chassis.cursors import encode_cursor, read_cursor
from chassis.db import WorkerDatabase
from chassis.leases import take_lease
from chassis.periodic import every
from chassis.rpc import rpc
from chassis.types import Message
from contracts.risk import Id, PageSize, Review, ReviewPage, ReviewState, Text
from services.risk import reviews

BATCH = 100


class RiskSettings(Message):
    """Seconds, and minor units of the shop's currency. Reviews of more than `four_eyes_over` need two of staff."""

    risk_review_s: float
    risk_claim_s: float
    risk_expire_every_s: float
    risk_four_eyes_over_minor: int


class Reviewing:
    """For RiskService, which inherits it."""

    call: Call
    db: WorkerDatabase
    settings: RiskSettings

    @rpc
    def reviews(self, state: ReviewState = "open", limit: PageSize = 20, cursor: str | None = None) -> ReviewPage:
        self.call.require_staff()
        after = read_cursor(cursor, tuple[datetime, str], "risk.bad_cursor")
        with self.db.read() as session:
            rows = reviews.find(session, state, limit + 1, after)
        more = encode_cursor((rows[limit - 1].opened_at, rows[limit - 1].id)) if len(rows) > limit else None
        return ReviewPage(items=[reviews.view(row) for row in rows[:limit]], next_cursor=more)

    @command(retriable=True)
    def claim(self, review_id: Id, *, key: str) -> Review:
        self.call.require_staff()
        length = timedelta(seconds=self.settings.risk_claim_s)
        reviews.claim(self.db.session, review_id, self.call.author(), length)
        return reviews.shown(self.db.session, review_id)

    @command(retriable=True)
    def approve(self, review_id: Id, reason: Text, *, key: str) -> Review:
        self.call.require_staff()
        reviews.approve(self.db.session, review_id, self.call.author(), reason)
        return reviews.shown(self.db.session, review_id)

    @command(retriable=True)
    def refuse(self, review_id: Id, reason: Text, *, key: str) -> Review:
        self.call.require_staff()
        reviews.refuse(self.db.session, review_id, self.call.author(), reason)
        return reviews.shown(self.db.session, review_id)

    @every("risk_expire_every_s")
    def expire_reviews(self) -> None:
        """End what nobody decided in time, in one instance at a time."""
        with self.db.read() as session:
            if not reviews.is_due(session):
                return
        with self.db.write() as session:
            # Whoever holds the lease for this moment does it; the guarded updates are what makes it right.
            if take_lease(session, "expire_reviews", self.call.trace_id, timedelta(seconds=1)):
                reviews.expire(session, BATCH)
