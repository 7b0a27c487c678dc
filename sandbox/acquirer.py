"""The acquirer: a card processor that sets money aside, takes it, lets it go and gives it back.

    python -m sandbox.acquirer --port 8101 --db var/acquirer.db [--hook-url URL --hook-secret S]

Its HTTP API is in docs/sandboxes.md. `movements` has a row for each movement of money that truly happened.
"""

import uuid
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec

from sandbox import challenge, disputes
from sandbox.company import (
    Amount,
    Answer,
    Company,
    Currency,
    Input,
    Key,
    Keyed,
    Query,
    Route,
    hooks_of,
    parser,
    refused,
    serve,
)

GOOD, CAPTURE_FAILS, SLOW, LOST_REPLY = "tok_visa", "tok_capture_fails", "tok_slow", "tok_lost_reply"
CHALLENGE = "tok_challenge"
DECLINES = {
    "tok_declined": ("declined", "the card was declined"),
    "tok_insufficient_funds": ("insufficient_funds", "the card has not enough money"),
}
TOKENS = {GOOD, CAPTURE_FAILS, SLOW, LOST_REPLY, CHALLENGE, *DECLINES}
"""How cards behave. What follows a dot names one: `tok_visa.ada` and `tok_visa.ben` are two, and both behave as
`tok_visa`."""
SLOW_S = 3.0
GIVE_UP_S = 60.0
HOOK_TYPES = {
    "authorize": "payment.authorized",
    "capture": "payment.captured",
    "void": "payment.voided",
    "refund": "payment.refunded",
}

CHALLENGE_REFUSED = "challenge_refused"
DECIDED = {
    "pending": {"status": "requires_action"},
    "approved": {"status": "authorized"},
    "refused": {"status": "declined", "code": CHALLENGE_REFUSED},
}
"""What a challenge makes of an authorization's status."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS authorizations (
    key TEXT PRIMARY KEY, payment TEXT NOT NULL UNIQUE, token TEXT NOT NULL, reference TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    challenge TEXT NOT NULL CHECK (challenge IN ('none', 'pending', 'approved', 'refused')),
    captured INTEGER NOT NULL DEFAULT 0 CHECK (captured <= amount AND
        (captured = 0 OR challenge IN ('none', 'approved'))),
    refunded INTEGER NOT NULL DEFAULT 0 CHECK (refunded <= captured),
    voided INTEGER NOT NULL DEFAULT 0 CHECK (NOT (voided AND captured)));
CREATE TABLE IF NOT EXISTS movements (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL
        CHECK (kind IN ('authorize', 'capture', 'void', 'refund', 'dispute', 'dispute_won')),
    key TEXT NOT NULL, payment TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    at TEXT NOT NULL, UNIQUE (kind, key));
"""
AUTHORIZATION = (
    "SELECT key, payment, token, reference, amount, currency, challenge, captured, refunded, voided FROM authorizations"
)

STATEMENT = """
SELECT m.id, m.kind, m.key, m.payment, m.amount, m.currency, m.at, a.key, a.reference, d.status, d.decided_at
FROM movements m JOIN authorizations a ON a.payment = m.payment
LEFT JOIN disputes d ON m.kind = 'dispute' AND d.id = m.key
WHERE m.id > ? ORDER BY m.id LIMIT ?
"""
MOVED = ("id", "kind", "key", "payment", "amount", "currency", "at", "authorization_key", "reference")
LINE = (*MOVED, "outcome", "decided_at")


class Authorize(Keyed, frozen=True, kw_only=True):
    amount: Amount
    currency: Currency
    token: Annotated[str, msgspec.Meta(max_length=200)]
    reference: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Settle(Keyed, frozen=True, kw_only=True):
    """A capture or a refund. `currency`, when given, must be the authorization's."""

    authorization_key: Key
    amount: Amount
    currency: Currency | None = None


class Decide(Input, frozen=True, kw_only=True):
    """What the card's owner pressed."""

    decision: Literal["approve", "refuse"]


@dataclass(frozen=True)
class Authorization:
    """`challenge`: none, or whether the card's owner approved: pending, approved, refused."""

    key: str
    payment: str
    token: str
    reference: str
    amount: int
    currency: str
    challenge: str
    captured: int
    refunded: int
    voided: int

    @property
    def behaves_as(self) -> str:
        return behaviour_of(self.token)

    @property
    def set_aside(self) -> int:
        """What was ever moved, in minor units."""
        return self.amount if self.challenge in ("none", "approved") else 0


class Acquirer(Company):
    name, schema, undone_code = "acquirer", SCHEMA + disputes.SCHEMA, "voided"

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", "/authorizations", Acquirer.authorize, Authorize),
            Route("POST", "/captures", Acquirer.capture, Settle),
            Route("POST", "/voids", Acquirer.void, Keyed),
            Route("POST", "/refunds", Acquirer.refund, Settle),
            Route("POST", "/disputes", disputes.dispute, disputes.Dispute),
            Route("GET", "/disputes/<dispute_id>", disputes.show),
            Route("POST", "/disputes/<dispute_id>/decide", disputes.decide, disputes.Outcome),
            Route("GET", "/operations/<path:key>", Acquirer.operation),
            Route("GET", "/statement", Acquirer.statement),
            Route("GET", "/challenges/<payment>", Acquirer.challenge),
            Route("POST", "/challenges/<payment>", Acquirer.decide, Decide, form=True),
            *super().routes(),
        )

    def authorize(self, request: Authorize) -> Answer:
        """Set money aside on a card."""
        return self.once("authorize", request, lambda: self._authorize(request))

    def _authorize(self, request: Authorize) -> Answer:
        behaves_as = behaviour_of(request.token)
        if behaves_as not in TOKENS:
            return refused(422, "unknown_token", "no card has this token")
        if behaves_as in DECLINES:
            return refused(402, *DECLINES[behaves_as])
        payment, challenge = f"pay_{uuid.uuid4().hex}", "pending" if behaves_as == CHALLENGE else "none"
        self.db.execute(
            "INSERT INTO authorizations (key, payment, token, reference, amount, currency, challenge)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (request.key, payment, request.token, request.reference, request.amount, request.currency, challenge),
        )
        made = self.authorization(request.key)
        if challenge == "pending":
            url = f"{self.public_url}/challenges/{payment}"
            return Answer(201, {**_told(made, request.key, "requires_action", request.amount), "url": url})
        return self._moved("authorize", request.key, made, request.amount)

    def challenge(self, query: Query, payment: str) -> Answer:
        """The page on which the card's owner decides."""
        found = self._challenged(payment)
        if found is None:
            return Answer(404, {}, page=challenge.ended("unknown"))
        if found.challenge == "pending" and not found.voided:
            return Answer(200, {}, page=challenge.asking(found.amount, found.currency, found.reference))
        return Answer(200, {}, page=challenge.ended("voided" if found.voided else found.challenge))

    def decide(self, request: Decide, payment: str) -> Answer:
        """Take the owner's decision, once; approved, the money is set aside."""
        found = self._challenged(payment)
        if found is None:
            return Answer(404, {}, page=challenge.ended("unknown"))
        if found.voided:
            return Answer(409, {}, page=challenge.ended("voided"))
        if found.challenge == "pending":
            found = self._decide(found, "approved" if request.decision == "approve" else "refused")
        return Answer(200, {}, page=challenge.ended(found.challenge))

    def _decide(self, found: Authorization, how: str) -> Authorization:
        self.db.execute("UPDATE authorizations SET challenge = ? WHERE key = ?", (how, found.key))
        if how == "approved":
            self._moved("authorize", found.key, found, found.amount)
        else:
            told = _told(found, found.key, "declined", found.amount)
            self.emit(found.payment, "payment.declined", {**told, "code": CHALLENGE_REFUSED})
        return replace(found, challenge=how)

    def capture(self, request: Settle) -> Answer:
        """Take what was set aside, or part of it, once."""
        return self.once("capture", request, lambda: self._capture(request))

    def _capture(self, request: Settle) -> Answer:
        found = self._find(request)
        if isinstance(found, Answer):
            return found
        if refusal := _uncapturable(found, request.amount):
            return refusal
        self.db.execute("UPDATE authorizations SET captured = ? WHERE key = ?", (request.amount, found.key))
        return self._moved("capture", request.key, found, request.amount)

    def refund(self, request: Settle) -> Answer:
        """Give back what was captured, or part of it, never more than is left; what is disputed is not."""
        return self.once("refund", request, lambda: self._refund(request))

    def _refund(self, request: Settle) -> Answer:
        found = self._find(request)
        if isinstance(found, Answer):
            return found
        left = found.captured - found.refunded - disputes.taken(self, found.key)
        if request.amount > left:
            return refused(409, "refund_exceeds_capture", f"only {left} are left to refund", left=left)
        self.db.execute("UPDATE authorizations SET refunded = refunded + ? WHERE key = ?", (request.amount, found.key))
        return self._moved("refund", request.key, found, request.amount)

    def void(self, request: Keyed) -> Answer:
        """Let go what was authorised under this key; unseen, refuse it should it still come."""
        kind = self.db.execute("SELECT kind FROM operations WHERE key = ?", (request.key,)).fetchone()
        if kind and kind[0] != "authorize":
            return refused(422, "key_reused", "this key is not an authorization's")
        found = self.authorization(request.key) if kind else None
        if found and found.captured:
            return refused(409, "captured", "a captured authorization can only be refunded")
        if found and not found.voided:
            self.db.execute("UPDATE authorizations SET voided = 1 WHERE key = ?", (found.key,))
            if found.set_aside:
                self._moved("void", found.key, found, found.amount)
        self.forbid(request.key)
        return Answer(200, {"key": request.key, "status": "voided"})

    def operation(self, query: Query, key: str) -> Answer:
        """What became of a key."""
        undone = self.db.execute("SELECT 1 FROM undone WHERE key = ?", (key,)).fetchone()
        known = self.db.execute("SELECT kind, status, answer FROM operations WHERE key = ?", (key,)).fetchone()
        if not known:
            if undone:
                return Answer(200, {"key": key, "kind": "authorize", "status": "voided"})
            return refused(404, "unknown_key", "no operation has this key")
        kind, status, answer = known[0], known[1], msgspec.json.decode(known[2])
        body = {**answer, "key": key, "kind": kind, "status": answer.get("status", "refused")}
        if kind == "authorize" and status == 201 and (found := self.authorization(key)):
            body |= {"authorized": found.set_aside, "captured": found.captured, "refunded": found.refunded}
            body |= DECIDED.get(found.challenge, {})
        if kind == "dispute":
            body |= disputes.of_key(self, key)
        if undone:
            body["status"] = "voided"
        return Answer(200, body)

    def statement(self, query: Query) -> Answer:
        """Movements in the order in which they happened; `next` is null on the last page. `outcome` is what has become
        of a dispute by now, and `decided_at` since when."""
        after, limit = self.page(query)
        rows = self.db.execute(STATEMENT, (after, limit + 1)).fetchall()
        items = [dict(zip(LINE, row, strict=True)) for row in rows[:limit]]
        return Answer(200, {"items": items, "next": items[-1]["id"] if len(rows) > limit else None})

    def authorization(self, key: str) -> Authorization | None:
        """What was authorised under a key."""
        return self._one(f"{AUTHORIZATION} WHERE key = ?", key)

    def _challenged(self, payment: str) -> Authorization | None:
        return self._one(f"{AUTHORIZATION} WHERE payment = ? AND challenge <> 'none'", payment)

    def _one(self, query: str, value: str) -> Authorization | None:
        row = self.db.execute(query, (value,)).fetchone()
        return Authorization(*row) if row else None

    def _find(self, request: Settle) -> Authorization | Answer:
        found = self.authorization(request.authorization_key)
        if found is None:
            return refused(404, "unknown_authorization", "nothing was authorised under this key")
        if request.currency not in (None, found.currency):
            return refused(409, "wrong_currency", f"the authorization is in {found.currency}")
        return found

    def note(self, kind: str, key: str, of: Authorization, amount: int) -> None:
        """Write a movement of money down."""
        self.db.execute(
            "INSERT INTO movements (kind, key, payment, amount, currency, at) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, key, of.payment, amount, of.currency, self.stamp()),
        )

    def _moved(self, kind: str, key: str, of: Authorization | None, amount: int) -> Answer:
        """Write the movement down with its hook, and answer as the card's token wants it."""
        assert of is not None
        self.note(kind, key, of, amount)
        hook = HOOK_TYPES[kind]
        body = _told(of, key, hook.removeprefix("payment."), amount)
        self.emit(of.payment, hook, body)
        return Answer(
            201,
            body,
            delay_s=SLOW_S if of.behaves_as == SLOW and kind == "authorize" else 0.0,
            drop=of.behaves_as == LOST_REPLY and kind in ("authorize", "capture"),
        )


def behaviour_of(token: str) -> str:
    return token.partition(".")[0]


def _uncapturable(found: Authorization, amount: int) -> Answer | None:
    """Why so much of this authorization cannot be taken; None if it can."""
    refusals = (
        (found.voided, refused(409, "voided", "the authorization was voided")),
        (found.captured, refused(409, "captured", "the authorization was captured already")),
        (not found.set_aside, refused(409, "requires_action", "the card's owner has not approved this payment")),
        (amount > found.amount, refused(409, "capture_exceeds_authorization", f"only {found.amount} are authorised")),
        (found.behaves_as == CAPTURE_FAILS, refused(402, "capture_refused", "the card's bank refuses to pay")),
    )
    return next((refusal for holds, refusal in refusals if holds), None)


def _told(of: Authorization | None, key: str, status: str, amount: int) -> dict[str, Any]:
    assert of is not None
    return {
        "id": of.payment,
        "key": key,
        "authorization_key": of.key,
        "reference": of.reference,
        "status": status,
        "amount": amount,
        "currency": of.currency,
    }


def main() -> None:
    options = parser("acquirer").parse_args()
    hooks = hooks_of(options, "acquirer", GIVE_UP_S)
    acquirer = Acquirer(options.db, hooks, options.public_url, latency_s=options.latency_ms / 1000)
    serve(acquirer, options.host, options.port)


if __name__ == "__main__":
    main()
