"""risk over HTTP: the rules and the deny list for operators, decisions and the review queue for staff."""

from chassis.errors import ServiceError
from chassis.routes import Reply, Request, route
from chassis.types import OPERATOR, STAFF
from contracts.risk import (
    Checked,
    DenyEntry,
    Draft,
    KeptScreening,
    Review,
    ReviewPage,
    RiskApi,
    RuleSet,
    Screening,
)
from edge import bodies
from edge.asking import key_of


class RiskRoutes:
    """`risk` is the gateway's, which inherits these."""

    risk: RiskApi

    # --- rules

    @route("GET", "/v1/risk/rules", role=OPERATOR, refuses=RiskApi.rule_set)
    def live_rules(self, request: Request) -> RuleSet:
        """The rules that decide, and the list of versions."""
        return self.risk.rule_set()

    @route("GET", "/v1/risk/rules/{version}", role=OPERATOR, refuses=RiskApi.rule_set)
    def rules_of(self, request: Request, version: str) -> RuleSet:
        """One version of the rules, whole."""
        return self.risk.rule_set(_version(version))

    @route("POST", "/v1/risk/rules", body=Draft, role=OPERATOR, success=201, refuses=RiskApi.draft)
    def draft_rules(self, request: Request[Draft]) -> Reply[RuleSet]:
        """Keep a whole set of rules as a new version, a draft."""
        made = self.risk.draft(request.body, key=key_of(request))
        return Reply(made, headers={"Location": f"/v1/risk/rules/{made.version}"})

    @route("POST", "/v1/risk/rules/check", body=Draft, role=OPERATOR, refuses=RiskApi.check)
    def check_rules(self, request: Request[Draft]) -> Checked:
        """Try rules on the last kept decisions: how many would be others. Nothing is kept."""
        return self.risk.check(request.body)

    @route("POST", "/v1/risk/rules/{version}/shadow", role=OPERATOR, refuses=RiskApi.advance)
    def shadow_rules(self, request: Request, version: str) -> RuleSet:
        """Have a draft evaluated and recorded with every decision; it decides nothing."""
        return self.risk.advance(_version(version), "shadow", key=key_of(request))

    @route("POST", "/v1/risk/rules/{version}/live", role=OPERATOR, refuses=RiskApi.advance)
    def enliven_rules(self, request: Request, version: str) -> RuleSet:
        """Have the version that is in shadow, or one that was live before, decide from now on."""
        return self.risk.advance(_version(version), "live", key=key_of(request))

    @route("POST", "/v1/risk/rules/{version}/retire", role=OPERATOR, refuses=RiskApi.advance)
    def retire_rules(self, request: Request, version: str) -> RuleSet:
        """Put a draft, or the version in shadow, away. The live one is retired by the next."""
        return self.risk.advance(_version(version), "retired", key=key_of(request))

    # --- the deny list

    @route("GET", "/v1/risk/denied", role=OPERATOR, refuses=RiskApi.denied)
    def denied(self, request: Request) -> list[DenyEntry]:
        """The deny list."""
        return self.risk.denied()

    @route("POST", "/v1/risk/denied", body=bodies.Deny, role=OPERATOR, success=201, refuses=RiskApi.deny)
    def deny(self, request: Request[bodies.Deny]) -> DenyEntry:
        """Put somebody, or something, on the deny list."""
        asked = request.body
        return self.risk.deny(asked.kind, asked.value, asked.reason, key=key_of(request))

    @route("DELETE", "/v1/risk/denied", query=bodies.Allow, role=OPERATOR, success=204, refuses=RiskApi.allow)
    def allow(self, request: Request[None, bodies.Allow]) -> None:
        """Take somebody, or something, off the deny list."""
        self.risk.allow(request.query.kind, request.query.value, key=key_of(request))

    # --- decisions

    @route("GET", "/v1/risk/decisions", query=bodies.DecisionQuery, role=STAFF, refuses=RiskApi.screenings)
    def decisions_on(self, request: Request[None, bodies.DecisionQuery]) -> list[KeptScreening]:
        """What was decided about a subject (an order's id), the newest first."""
        return self.risk.screenings(request.query.subject)

    @route("GET", "/v1/risk/decisions/{decision_id}", role=STAFF, refuses=RiskApi.screening)
    def decision(self, request: Request, decision_id: str) -> KeptScreening:
        """One decision with all that it went by."""
        return self.risk.screening(decision_id)

    @route("POST", "/v1/risk/decisions/{decision_id}/replay", role=STAFF, refuses=RiskApi.replay)
    def replay_decision(self, request: Request, decision_id: str) -> Screening:
        """Decide once more by the kept inputs and the rules of then: the same comes out."""
        return self.risk.replay(decision_id)

    # --- reviews

    @route("GET", "/v1/risk/reviews", query=bodies.ReviewQuery, role=STAFF, refuses=RiskApi.reviews)
    def find_reviews(self, request: Request[None, bodies.ReviewQuery]) -> ReviewPage:
        """What waits for staff, the oldest first."""
        return self.risk.reviews(request.query.state, request.query.limit, request.query.cursor)

    @route("POST", "/v1/risk/reviews/{review_id}/claim", role=STAFF, refuses=RiskApi.claim)
    def claim_review(self, request: Request, review_id: str) -> Review:
        """Take a review to decide on. It is back in the queue when `claimed_until` has passed."""
        return self.risk.claim(review_id, key=key_of(request))

    @route(
        "POST",
        "/v1/risk/reviews/{review_id}/approve",
        body=bodies.ReviewWord,
        role=STAFF,
        refuses=RiskApi.approve,
    )
    def approve_review(self, request: Request[bodies.ReviewWord], review_id: str) -> Review:
        """Let what waits go on. Above an amount a second one of staff has to approve too."""
        return self.risk.approve(review_id, request.body.reason, key=key_of(request))

    @route("POST", "/v1/risk/reviews/{review_id}/refuse", body=bodies.ReviewWord, role=STAFF, refuses=RiskApi.refuse)
    def refuse_review(self, request: Request[bodies.ReviewWord], review_id: str) -> Review:
        """Refuse what waits. One refusal is enough."""
        return self.risk.refuse(review_id, request.body.reason, key=key_of(request))


def _version(version: str) -> int:
    if not (version.isascii() and version.isdigit() and 0 < int(version[:10]) < 2**31 and len(version) <= 10):
        raise ServiceError("risk.no_such_rules", f"There is no version {version} of the rules.")
    return int(version)
