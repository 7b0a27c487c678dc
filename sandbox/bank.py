"""The bank: sends money to bank accounts anywhere, and says later whether it arrived or came back.

    python -m sandbox.bank --port 8103 --db var/bank.db [--hook-url URL --hook-secret S] [--auto-s 1]

Its HTTP API is in docs/sandboxes.md. `movements` has a row for each movement of money that truly happened.
"""

import os
from functools import partial
from typing import Annotated, Any

import msgspec

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
    rfc3339,
    serve,
)

Text = Annotated[str, msgspec.Meta(max_length=200)]

REFUSED, RETURNED, SLOW, LOST_REPLY = (
    "DE75512108001245126199",
    "NL91ABNA0417164300",
    "FR1420041010050500013M02606",
    "BE68539007547034",
)
"""Accounts that behave as no other does; all are valid IBANs."""
RETURN_REASON = "account_closed"
SLOW_S = 3.0
GIVE_UP_S = 600.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS payouts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, iban TEXT NOT NULL, name TEXT NOT NULL,
    reference TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('accepted', 'settled', 'returned', 'cancelled')), reason TEXT,
    moved_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS payouts_on_their_way ON payouts (moved_at) WHERE status = 'accepted';
CREATE TABLE IF NOT EXISTS movements (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('payout', 'return', 'cancel')),
    key TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL, at TEXT NOT NULL,
    UNIQUE (kind, key));
"""
COLUMNS = ("id", "key", "iban", "name", "reference", "amount", "currency", "status", "reason", "moved_at")
SELECT = f"SELECT {', '.join(COLUMNS)} FROM payouts "  # noqa: S608 names of ours


class PayOut(Keyed, frozen=True, kw_only=True):
    iban: Annotated[str, msgspec.Meta(min_length=5, max_length=34)]
    name: Text
    amount: Amount
    currency: Currency
    reference: Text = ""


class Return(Input, frozen=True, kw_only=True):
    """What the receiver's bank says."""

    key: Key
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = RETURN_REASON


class Bank(Company):
    name, schema, undone_code = "bank", SCHEMA, "cancelled"

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", "/payouts", Bank.pay_out, PayOut),
            Route("GET", "/payouts/<path:key>", Bank.payout),
            Route("POST", "/cancellations", Bank.cancel, Keyed),
            Route("POST", "/settlements", Bank.settle, Keyed),
            Route("POST", "/returns", Bank.give_back, Return),
            Route("GET", "/statement", Bank.statement),
            *super().routes(),
        )

    def pay_out(self, request: PayOut) -> Answer:
        """Take an order to send money."""
        return self.once("payout", request, lambda: self._pay_out(request))

    def _pay_out(self, request: PayOut) -> Answer:
        if request.iban == REFUSED:
            return refused(422, "account_refused", "this account takes no money")
        self.db.execute(
            "INSERT INTO payouts (key, iban, name, reference, amount, currency, status, moved_at)"
            " VALUES (?, ?, ?, ?, ?, ?, 'accepted', ?)",
            (request.key, request.iban, request.name, request.reference, request.amount, request.currency, self.now()),
        )
        self._moved("payout", request.key, request.amount, request.currency)
        delay_s = SLOW_S if request.iban == SLOW else 0.0
        return Answer(201, self._only(request.key), delay_s=delay_s, drop=request.iban == LOST_REPLY)

    def payout(self, query: Query, key: str) -> Answer:
        """What became of a payout's key."""
        found = self._find(key)
        if found is None and self.is_forbidden(key):
            return Answer(200, {"key": key, "status": "cancelled"})
        return Answer(200, found) if found else refused(404, "unknown_key", "no payout has this key")

    def cancel(self, request: Keyed) -> Answer:
        """Call a payout off that has not settled; unseen, refuse it should it still come."""
        found = self._find(request.key)
        if found and found["status"] in ("settled", "returned"):
            return refused(409, found["status"], f"the payout is {found['status']}")
        if found and found["status"] == "accepted":
            self._set(request.key, "cancelled")
            self._moved("cancel", request.key, found["amount"], found["currency"])
        self.forbid(request.key)
        return Answer(200, {"key": request.key, "status": "cancelled"})

    def settle(self, request: Keyed) -> Answer:
        """For whoever plays with it: let a payout arrive now."""
        found = self._find(request.key)
        if found is None:
            return refused(404, "unknown_key", "no payout has this key")
        if found["status"] != "accepted":
            return refused(409, found["status"], f"the payout is {found['status']}")
        return self._tell("settled", request.key)

    def give_back(self, request: Return) -> Answer:
        """For whoever plays with it: have the receiver's bank send a payout back, settled or not."""
        found = self._find(request.key)
        if found is None:
            return refused(404, "unknown_key", "no payout has this key")
        if found["status"] not in ("accepted", "settled"):
            return refused(409, found["status"], f"the payout is {found['status']}")
        self._moved("return", request.key, found["amount"], found["currency"])
        return self._tell("returned", request.key, request.reason)

    def settle_every(self, seconds: float) -> None:
        """Let each payout arrive, or come back, when it has rested so long, for ever."""
        while True:
            with self.transaction():
                self._settle_due(self.now() - seconds)
            self.sleep(min(1.0, seconds / 2))

    def _settle_due(self, until: float) -> None:
        due = self.db.execute(
            "SELECT key, iban, status FROM payouts WHERE moved_at <= ? AND"
            " (status = 'accepted' OR (status = 'settled' AND iban = ?))",
            (until, RETURNED),
        ).fetchall()
        for key, _, status in due:
            if status == "accepted":
                self.settle(Keyed(key=key))
            else:
                self.give_back(Return(key=key))

    def statement(self, query: Query) -> Answer:
        """Movements in the order in which they happened; `next` is null on the last page."""
        after, limit = self.page(query)
        rows = self.db.execute(
            "SELECT m.id, m.kind, m.key, p.reference, m.amount, m.currency, m.at FROM movements m"
            " JOIN payouts p ON p.key = m.key WHERE m.id > ? ORDER BY m.id LIMIT ?",
            (after, limit + 1),
        ).fetchall()
        names = ("id", "kind", "key", "reference", "amount", "currency", "at")
        items = [dict(zip(names, row, strict=True)) for row in rows[:limit]]
        return Answer(200, {"items": items, "next": items[-1]["id"] if len(rows) > limit else None})

    def _find(self, key: str) -> dict[str, Any] | None:
        row = self.db.execute(SELECT + "WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        found = dict(zip(COLUMNS, row, strict=True))
        return found | {"moved_at": rfc3339(found["moved_at"])}

    def _only(self, key: str) -> dict[str, Any]:
        found = self._find(key)
        assert found is not None
        return found

    def _set(self, key: str, status: str, reason: str | None = None) -> None:
        self.db.execute(
            "UPDATE payouts SET status = ?, reason = ?, moved_at = ? WHERE key = ?", (status, reason, self.now(), key)
        )

    def _tell(self, status: str, key: str, reason: str | None = None) -> Answer:
        self._set(key, status, reason)
        told = self._only(key)
        data = {name: told[name] for name in ("key", "reference", "status", "amount", "currency", "reason")}
        self.emit(key, f"payout.{status}", data)
        return Answer(200, told)

    def _moved(self, kind: str, key: str, amount: int, currency: str) -> None:
        self.db.execute(
            "INSERT INTO movements (kind, key, amount, currency, at) VALUES (?, ?, ?, ?, ?)",
            (kind, key, amount, currency, self.stamp()),
        )


def main() -> None:
    arguments = parser("bank")
    arguments.add_argument(
        "--auto-s",
        type=float,
        default=float(os.environ.get("BANK_AUTO_S") or 0),
        help="payouts settle by themselves after so many seconds; 0: only when told; default $BANK_AUTO_S",
    )
    options = arguments.parse_args()
    bank = Bank(options.db, hooks_of(options, "bank", GIVE_UP_S), latency_s=options.latency_ms / 1000)
    background = [partial(bank.settle_every, options.auto_s)] if options.auto_s > 0 else []
    serve(bank, options.host, options.port, *background)


if __name__ == "__main__":
    main()
