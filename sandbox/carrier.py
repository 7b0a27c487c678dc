"""The carrier: quotes, books, holds, amends and cancels parcels, moves them on, and calls when one has moved.

    python -m sandbox.carrier --port 8102 --db var/carrier.db [--hook-url URL --hook-secret S] [--auto-s 5]

Its HTTP API is in docs/sandboxes.md.
"""

import os
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import msgspec

from sandbox.company import (
    Answer,
    Company,
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

NOT_SERVED = "XX"
HOME = "DE"
NEIGHBOURS = frozenset("AT BE BG CY CZ DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())  # noqa: SIM905
TARIFF = {"home": (490, 50), "neighbours": (990, 100), "world": (1990, 300)}
"""Minor units by zone: for a parcel with one item, and for each further one."""
FREE_WEIGHT_G, PER_KG = 5000, 80
QUOTE_HOLDS_S = 1800.0
GIVE_UP_S = 600.0
ROAD = ("booked", "handed_over", "in_transit", "delivered")

SCHEMA = """
CREATE TABLE IF NOT EXISTS bookings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, tracking TEXT NOT NULL UNIQUE,
    reference TEXT NOT NULL, status TEXT NOT NULL, sequence INTEGER NOT NULL DEFAULT 1, address TEXT NOT NULL,
    parcels INTEGER NOT NULL, quote_id TEXT, booked_at TEXT NOT NULL, moved_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS bookings_on_the_road ON bookings (moved_at) WHERE status NOT IN ('delivered', 'cancelled');
CREATE TABLE IF NOT EXISTS holds (key TEXT PRIMARY KEY, booking_key TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS holds_of_a_booking ON holds (booking_key);
"""
COLUMNS = ("id", "key", "tracking", "reference", "status", "sequence", "parcels", "booked_at", "moved_at", "address")
ON_HOLD = "EXISTS (SELECT 1 FROM holds WHERE holds.booking_key = bookings.key)"
SELECT = f"SELECT {', '.join(COLUMNS)}, {ON_HOLD} AS on_hold FROM bookings "  # noqa: S608 names of ours

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Address(Input, frozen=True, kw_only=True):
    name: Text
    line1: Text
    city: Text
    postal_code: Text
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    line2: str | None = None


class Quote(Input, frozen=True, kw_only=True):
    """`weight` in grams, of all items together."""

    address: Address
    items: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    weight: Annotated[int, msgspec.Meta(ge=1, le=10**8)] | None = None


class Book(Keyed, frozen=True, kw_only=True):
    address: Address
    reference: Annotated[str, msgspec.Meta(max_length=200)] = ""
    parcels: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    quote_id: str | None = None


class Hold(Keyed, frozen=True, kw_only=True):
    booking_key: Key


class Amend(Keyed, frozen=True, kw_only=True):
    booking_key: Key
    address: Address
    parcels: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


class Advance(Input, frozen=True, kw_only=True):
    key: Key | None = None


class KeyedAdvance(Keyed, frozen=True, kw_only=True):
    tracking: str


def price_of(quote: Quote) -> int:
    """Minor units, tax included."""
    country = quote.address.country
    first, further = TARIFF["home" if country == HOME else "neighbours" if country in NEIGHBOURS else "world"]
    heavy_kg = -(-max(0, (quote.weight or 0) - FREE_WEIGHT_G) // 1000)
    return first + further * (quote.items - 1) + PER_KG * heavy_kg


NOT_SERVICEABLE = refused(422, "not_serviceable", "We do not deliver to this country.")
NOT_BOOKED = refused(409, "not_booked", "nothing is booked under this key")
NOT_FOUND = refused(404, "not_found", "no parcel is known by this")


@dataclass
class Carrier(Company):
    name, schema, undone_code = "carrier", SCHEMA, "cancelled"
    currency: str = field(default="EUR", kw_only=True)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", "/quotes", Carrier.quote, Quote),
            Route("POST", "/bookings", Carrier.book, Book),
            Route("GET", "/bookings", Carrier.bookings),
            Route("GET", "/bookings/<path:key>", Carrier.booking),
            Route("POST", "/cancellations", Carrier.cancel, Keyed),
            Route("POST", "/holds", Carrier.hold, Hold),
            Route("POST", "/releases", Carrier.release, Keyed),
            Route("POST", "/amendments", Carrier.amend, Amend),
            Route("GET", "/parcels/<tracking>", Carrier.parcel),
            Route("POST", "/parcels/<tracking>/advance", Carrier.advance, Advance),
            *super().routes(),
        )

    def quote(self, request: Quote) -> Answer:
        """A price. The tariff does not change, so it also holds for a booking that comes later."""
        if request.address.country == NOT_SERVED:
            return NOT_SERVICEABLE
        price = {"amount": price_of(request), "currency": self.currency}
        expires_at = self.stamp(ahead_s=QUOTE_HOLDS_S)
        quote_id = f"quo_{uuid.uuid4().hex}"
        return Answer(200, {"quote_id": quote_id, "serviceable": True, "price": price, "expires_at": expires_at})

    def book(self, request: Book) -> Answer:
        """Take an order to fetch parcels."""
        return self.once("book", request, lambda: self._book(request))

    def _book(self, request: Book) -> Answer:
        if request.address.country == NOT_SERVED:
            return NOT_SERVICEABLE
        address = msgspec.json.encode(request.address).decode()
        tracking = f"RT{uuid.uuid4().hex[:16].upper()}"
        self.db.execute(
            "INSERT INTO bookings (key, tracking, reference, status, address, parcels, quote_id, booked_at, moved_at)"
            " VALUES (?, ?, ?, 'booked', ?, ?, ?, ?, ?)",
            (
                request.key,
                tracking,
                request.reference,
                address,
                request.parcels,
                request.quote_id,
                self.stamp(),
                self.now(),
            ),
        )
        return Answer(201, self._only("key", request.key))

    def cancel(self, request: Keyed) -> Answer:
        """Call a booking off before it is fetched; unseen, refuse it should it still come."""
        found = self._find("key", request.key)
        if found and found["status"] not in ("booked", "cancelled"):
            return refused(409, "handed_over", "the parcel is on its way")
        if found and found["status"] == "booked":
            self._set(found["id"], "cancelled")
        self.db.execute("DELETE FROM holds WHERE booking_key = ?", (request.key,))
        self.forbid(request.key)
        return Answer(200, {"key": request.key, "status": "cancelled"})

    def hold(self, request: Hold) -> Answer:
        """Keep a parcel back: it is not handed over until the hold is released or its booking amended."""
        return self.once("hold", request, lambda: self._hold(request), undone_code="released")

    def _hold(self, request: Hold) -> Answer:
        if refusal := self._not_here(request.booking_key):
            return refusal
        self.db.execute("INSERT INTO holds VALUES (?, ?)", (request.key, request.booking_key))
        return Answer(201, self._only("key", request.booking_key))

    def release(self, request: Keyed) -> Answer:
        """End a hold, by its key; unseen, refuse it should it still come."""
        self.db.execute("DELETE FROM holds WHERE key = ?", (request.key,))
        self.forbid(request.key)
        return Answer(200, {"key": request.key, "status": "released"})

    def amend(self, request: Amend) -> Answer:
        """Send a parcel elsewhere, or another number of them. It is not on hold any more."""
        return self.once("amend", request, lambda: self._amend(request))

    def _amend(self, request: Amend) -> Answer:
        if request.address.country == NOT_SERVED:
            return NOT_SERVICEABLE
        if refusal := self._not_here(request.booking_key):
            return refusal
        self.db.execute(
            "UPDATE bookings SET address = ?, parcels = ? WHERE key = ?",
            (msgspec.json.encode(request.address).decode(), request.parcels, request.booking_key),
        )
        self.db.execute("DELETE FROM holds WHERE booking_key = ?", (request.booking_key,))
        return Answer(200, self._only("key", request.booking_key))

    def _not_here(self, booking_key: str) -> Answer | None:
        """Why nothing can be done to a parcel here any more, or yet."""
        found = self._find("key", booking_key)
        if found is None:
            return NOT_BOOKED
        if found["status"] == "cancelled":
            return refused(409, "cancelled", "the booking was cancelled")
        if found["status"] != "booked":
            return refused(409, "handed_over", "the parcel is on its way")
        return None

    def booking(self, query: Query, key: str) -> Answer:
        """What became of a booking's key."""
        found = self._find("key", key)
        if found is None and self.is_forbidden(key):
            return Answer(200, {"key": key, "status": "cancelled", "tracking": None, "sequence": 0})
        return Answer(200, found) if found else NOT_FOUND

    def parcel(self, query: Query, tracking: str) -> Answer:
        found = self._find("tracking", tracking)
        return Answer(200, found) if found else NOT_FOUND

    def bookings(self, query: Query) -> Answer:
        """All bookings as they are now, in the order in which they were made; `next` is null on the last page."""
        after, limit = self.page(query)
        rows = self.db.execute(SELECT + "WHERE id > ? ORDER BY id LIMIT ?", (after, limit + 1)).fetchall()
        items = [_parcel(row) for row in rows[:limit]]
        return Answer(200, {"items": items, "next": items[-1]["id"] if len(rows) > limit else None})

    def advance(self, request: Advance, tracking: str) -> Answer:
        """Move a parcel one state further; with a key, once."""
        if request.key is None:
            return self._advance(tracking)
        keyed = KeyedAdvance(key=request.key, tracking=tracking)
        return self.once("advance", keyed, lambda: self._advance(tracking))

    def _advance(self, tracking: str) -> Answer:
        found = self._find("tracking", tracking)
        if found is None:
            return NOT_FOUND
        if found["status"] not in ROAD[:-1]:
            return refused(409, found["status"], f"the parcel is {found['status']}")
        if found["on_hold"]:
            return refused(409, "on_hold", "the parcel is kept back")
        self._set(found["id"], ROAD[ROAD.index(found["status"]) + 1])
        moved = self._only("tracking", tracking)
        data = {name: moved[name] for name in ("tracking", "key", "reference", "status", "sequence")}
        self.emit(tracking, "parcel.moved", data)
        return Answer(200, moved)

    def move_on_every(self, seconds: float) -> None:
        """Move each parcel on when it has rested so long, for ever. Rests go on over a restart."""
        while True:
            with self.transaction():
                due = self.db.execute(
                    "SELECT tracking FROM bookings WHERE moved_at <= ? AND status NOT IN ('delivered', 'cancelled')",
                    (self.now() - seconds,),
                ).fetchall()
                for (tracking,) in due:
                    self._advance(tracking)
            self.sleep(min(1.0, seconds / 2))

    def _find(self, column: str, value: str) -> dict[str, Any] | None:
        row = self.db.execute(SELECT + f"WHERE {column} = ?", (value,)).fetchone()
        return _parcel(row) if row else None

    def _only(self, column: str, value: str) -> dict[str, Any]:
        found = self._find(column, value)
        assert found is not None
        return found

    def _set(self, row: int, status: str) -> None:
        self.db.execute(
            "UPDATE bookings SET status = ?, sequence = sequence + 1, moved_at = ? WHERE id = ?",
            (status, self.now(), row),
        )


def _parcel(row: tuple[Any, ...]) -> dict[str, Any]:
    found = dict(zip((*COLUMNS, "on_hold"), row, strict=True))
    return found | {
        "address": msgspec.json.decode(found["address"]),
        "moved_at": rfc3339(found["moved_at"]),
        "on_hold": bool(found["on_hold"]),
    }


def main() -> None:
    arguments = parser("carrier")
    arguments.add_argument("--currency", default=os.environ.get("CURRENCY", "EUR"), help="of its prices")
    arguments.add_argument(
        "--auto-s",
        type=float,
        default=float(os.environ.get("CARRIER_AUTO_S") or 0),
        help="parcels move on by themselves after so many seconds; 0: only when told; default $CARRIER_AUTO_S",
    )
    options = arguments.parse_args()
    hooks, latency_s = hooks_of(options, "carrier", GIVE_UP_S), options.latency_ms / 1000
    carrier = Carrier(options.db, hooks, latency_s=latency_s, currency=options.currency)
    background = [partial(carrier.move_on_every, options.auto_s)] if options.auto_s > 0 else []
    serve(carrier, options.host, options.port, *background)


if __name__ == "__main__":
    main()
