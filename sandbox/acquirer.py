"""The acquirer: a card processor that sets money aside, takes it, lets it go and gives it back.

    python -m sandbox.acquirer --port 8101 --db var/acquirer.db [--hook-url URL --hook-secret S]

Its HTTP API is in docs/sandboxes.md. `movements` has a row for each movement of money that truly happened.
"""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from sandbox.company import (
    Answer,
    Company,
    Currency,
    Key,
    Keyed,
    Query,
    Route,
    hooks_of,
    parser,
    refused,
    serve,
)

Amount = Annotated[int, msgspec.Meta(ge=1, le=10**12)]

GOOD, CAPTURE_FAILS, SLOW, LOST_REPLY = "tok_visa", "tok_capture_fails", "tok_slow", "tok_lost_reply"
DECLINES = {
    "tok_declined": ("declined", "the card was declined"),
    "tok_insufficient_funds": ("insufficient_funds", "the card has not enough money"),
}
TOKENS = {GOOD, CAPTURE_FAILS, SLOW, LOST_REPLY, *DECLINES}
SLOW_S = 3.0
GIVE_UP_S = 60.0
HOOK_TYPES = {
    "authorize": "payment.authorized",
    "capture": "payment.captured",
    "void": "payment.voided",
    "refund": "payment.refunded",
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS authorizations (
    key TEXT PRIMARY KEY, payment TEXT NOT NULL UNIQUE, token TEXT NOT NULL, reference TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    captured INTEGER NOT NULL DEFAULT 0 CHECK (captured <= amount),
    refunded INTEGER NOT NULL DEFAULT 0 CHECK (refunded <= captured),
    voided INTEGER NOT NULL DEFAULT 0 CHECK (NOT (voided AND captured)));
CREATE TABLE IF NOT EXISTS movements (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('authorize', 'capture', 'void', 'refund')),
    key TEXT NOT NULL, payment TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    at TEXT NOT NULL, UNIQUE (kind, key));
"""


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


@dataclass(frozen=True)
class Authorization:
    key: str
    payment: str
    token: str
    reference: str
    amount: int
    currency: str
    captured: int
    refunded: int
    voided: int


class Acquirer(Company):
    name, schema, undone_code = "acquirer", SCHEMA, "voided"

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", "/authorizations", Acquirer.authorize, Authorize),
            Route("POST", "/captures", Acquirer.capture, Settle),
            Route("POST", "/voids", Acquirer.void, Keyed),
            Route("POST", "/refunds", Acquirer.refund, Settle),
            Route("GET", "/operations/<path:key>", Acquirer.operation),
            Route("GET", "/statement", Acquirer.statement),
            *super().routes(),
        )

    def authorize(self, request: Authorize) -> Answer:
        """Set money aside on a card."""
        return self.once("authorize", request, lambda: self._authorize(request))

    def _authorize(self, request: Authorize) -> Answer:
        if request.token not in TOKENS:
            return refused(422, "unknown_token", "no card has this token")
        if request.token in DECLINES:
            return refused(402, *DECLINES[request.token])
        payment = f"pay_{uuid.uuid4().hex}"
        self.db.execute(
            "INSERT INTO authorizations (key, payment, token, reference, amount, currency) VALUES (?, ?, ?, ?, ?, ?)",
            (request.key, payment, request.token, request.reference, request.amount, request.currency),
        )
        return self._moved("authorize", request.key, self._authorization(request.key), request.amount)

    def capture(self, request: Settle) -> Answer:
        """Take what was set aside, or part of it, once."""
        return self.once("capture", request, lambda: self._capture(request))

    def _capture(self, request: Settle) -> Answer:
        found = self._find(request)
        if isinstance(found, Answer):
            return found
        if found.voided:
            return refused(409, "voided", "the authorization was voided")
        if found.captured:
            return refused(409, "captured", "the authorization was captured already")
        if request.amount > found.amount:
            return refused(409, "capture_exceeds_authorization", f"only {found.amount} are authorised")
        if found.token == CAPTURE_FAILS:
            return refused(402, "capture_refused", "the card's bank refuses to pay")
        self.db.execute("UPDATE authorizations SET captured = ? WHERE key = ?", (request.amount, found.key))
        return self._moved("capture", request.key, found, request.amount)

    def refund(self, request: Settle) -> Answer:
        """Give back what was captured, or part of it, never more than is left."""
        return self.once("refund", request, lambda: self._refund(request))

    def _refund(self, request: Settle) -> Answer:
        found = self._find(request)
        if isinstance(found, Answer):
            return found
        left = found.captured - found.refunded
        if request.amount > left:
            return refused(409, "refund_exceeds_capture", f"only {left} are left to refund", left=left)
        self.db.execute("UPDATE authorizations SET refunded = refunded + ? WHERE key = ?", (request.amount, found.key))
        return self._moved("refund", request.key, found, request.amount)

    def void(self, request: Keyed) -> Answer:
        """Let go what was authorised under this key; unseen, refuse it should it still come."""
        kind = self.db.execute("SELECT kind FROM operations WHERE key = ?", (request.key,)).fetchone()
        if kind and kind[0] != "authorize":
            return refused(422, "key_reused", "this key is not an authorization's")
        found = self._authorization(request.key) if kind else None
        if found and found.captured:
            return refused(409, "captured", "a captured authorization can only be refunded")
        if found and not found.voided:
            self.db.execute("UPDATE authorizations SET voided = 1 WHERE key = ?", (found.key,))
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
        if undone:
            body["status"] = "voided"
        if kind == "authorize" and status == 201 and (found := self._authorization(key)):
            body |= {"authorized": found.amount, "captured": found.captured, "refunded": found.refunded}
        return Answer(200, body)

    def statement(self, query: Query) -> Answer:
        """Movements in the order in which they happened; `next` is null on the last page."""
        after, limit = self.page(query)
        rows = self.db.execute(
            "SELECT m.id, m.kind, m.key, m.payment, m.amount, m.currency, m.at, a.key, a.reference FROM movements m"
            " JOIN authorizations a ON a.payment = m.payment WHERE m.id > ? ORDER BY m.id LIMIT ?",
            (after, limit + 1),
        ).fetchall()
        names = ("id", "kind", "key", "payment", "amount", "currency", "at", "authorization_key", "reference")
        items = [dict(zip(names, row, strict=True)) for row in rows[:limit]]
        return Answer(200, {"items": items, "next": items[-1]["id"] if len(rows) > limit else None})

    def _authorization(self, key: str) -> Authorization | None:
        row = self.db.execute(
            "SELECT key, payment, token, reference, amount, currency, captured, refunded, voided"
            " FROM authorizations WHERE key = ?",
            (key,),
        ).fetchone()
        return Authorization(*row) if row else None

    def _find(self, request: Settle) -> Authorization | Answer:
        found = self._authorization(request.authorization_key)
        if found is None:
            return refused(404, "unknown_authorization", "nothing was authorised under this key")
        if request.currency not in (None, found.currency):
            return refused(409, "wrong_currency", f"the authorization is in {found.currency}")
        return found

    def _moved(self, kind: str, key: str, of: Authorization | None, amount: int) -> Answer:
        """Write the movement down with its hook, and answer as the card's token wants it."""
        assert of is not None
        self.db.execute(
            "INSERT INTO movements (kind, key, payment, amount, currency, at) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, key, of.payment, amount, of.currency, self.stamp()),
        )
        hook = HOOK_TYPES[kind]
        body: dict[str, Any] = {
            "id": of.payment,
            "key": key,
            "authorization_key": of.key,
            "reference": of.reference,
            "status": hook.removeprefix("payment."),
            "amount": amount,
            "currency": of.currency,
        }
        self.emit(of.payment, hook, body)
        return Answer(
            201,
            body,
            delay_s=SLOW_S if of.token == SLOW and kind == "authorize" else 0.0,
            drop=of.token == LOST_REPLY and kind in ("authorize", "capture"),
        )


def main() -> None:
    options = parser("acquirer").parse_args()
    serve(Acquirer(options.db, hooks_of(options, "acquirer", GIVE_UP_S)), options.host, options.port)


if __name__ == "__main__":
    main()
