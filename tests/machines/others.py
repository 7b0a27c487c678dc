"""The other services as orders meets them: each does a command once for its key, as its contract says.

A script says what becomes of the next commands. What orders must never ask of them is an assertion here: whoever
captures what was not authorised, or restocks what was not sold, fails the test at once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec

from chassis.errors import Failure, OutcomeUnknown, ServiceError

SMALL, LARGE, HUGE, DESK = SKUS = ("S", "L", "H", "DESK")
PRODUCTS = {SMALL: "lamp", LARGE: "lamp", HUGE: "lamp", DESK: "desk"}
PRICES = {SMALL: 1999, LARGE: 2999, HUGE: 999, DESK: 12900}
POSTAGE = {"NL": 590, "DE": 890, "FR": 490}
STOCK = 12
CHALLENGED, FAILING = "tok_challenge", "tok_capture_fails"
"""Cards whose owners are asked by their bank, and whose banks refuse to pay in the end."""

UNDOS = {"release": "reserve", "unscreen": "screen", "void": "authorize", "unhold": "hold"}
RETRIABLE = ("commit", "book", "remove_ordered", "refund", "restock", "discard", "amend", "post")
REFUSALS = {
    "reserve": "inventory.insufficient",
    "screen": "risk.refused",
    "authorize": "payments.declined",
    "capture": "payments.capture_refused",
    "commit": "inventory.not_reserved",
    "book": "shipping.not_serviceable",
    "cancel": "shipping.handed_over",
    "refund": "payments.not_captured",
    "restock": "inventory.not_sold",
    "discard": "inventory.not_sold",
    "hold": "shipping.handed_over",
    "amend": "shipping.not_serviceable",
    "post": "accounts.frozen",
}
GONE = ("held", "sold", "scrapped")
"""What becomes of units that are not on the shelf."""
WAY = ("booked", "handed_over", "in_transit", "delivered")
"""Of a parcel."""

Moved = Counter[tuple[str, str]]


@dataclass
class Command:
    """`state` and `answer` as the barrier keeps them for a key."""

    method: str
    arguments: dict[str, Any]
    state: str = "ok"
    answer: Any = None


@dataclass
class Payment:
    order_id: str
    amount: int
    card: str
    state: str
    refunded: int = 0

    @property
    def left(self) -> int:
        return self.amount - self.refunded if self.state == "captured" else 0


@dataclass
class Parcel:
    order_id: str
    state: str
    country: str = ""
    on_hold: bool = False


class Others:
    """`send` stands in for the RPC client. `moved` is what truly happened for each saga: captured and refunded in
    cents, units held, sold and scrapped; `news` are the events that were not handled yet, or may come again. `ledger`:
    what was posted about each subject, by role."""

    def __init__(self) -> None:
        self.script: list[str] = []
        self.meanwhile: Callable[[], None] | None = None
        self.commands: dict[str, Command] = {}
        self.moved: defaultdict[str, Moved] = defaultdict(Counter)
        self.holds: dict[str, tuple[str, Counter[str]]] = {}
        self.payments: dict[str, Payment] = {}
        self.parcels: dict[str, Parcel] = {}
        self.news: list[dict[str, Any]] = []
        self.ledger: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.carts: dict[str, Counter[str]] = {}
        self.prices = dict(PRICES)

    def send(
        self, service: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any
    ) -> SimpleNamespace:
        given = msgspec.to_builtins(kwargs)
        method = "post" if service == "accounts" else method  # shipping books too
        if "key" not in given:
            answer = getattr(self, f"tell_{method}")(*msgspec.to_builtins(args))
        else:
            answer = self._heard(method, given.pop("key"), given, options["context"]["caller"]["saga_id"])

        def result() -> Any:
            if isinstance(answer, Failure):
                raise answer
            return answer

        return SimpleNamespace(result=result, give_up_at=0.0)

    # --- what is only asked

    def tell_profile(self, customer_id: str) -> dict[str, Any]:
        self._let_others_act()
        email = f"{customer_id}@rialto.example"
        return dict(id=customer_id, email=email, name="Ada", roles=["customer"], addresses={}, payment_methods=[])

    def tell_get(self, cart: dict[str, Any]) -> dict[str, Any]:
        owner = cart["customer_id"]
        lines = [dict(sku=sku, quantity=count) for sku, count in self.carts[owner].items()]
        return dict(id=f"cart-{owner}", lines=lines, version=1)

    def tell_quote(self, address: dict[str, Any], items: int) -> dict[str, Any]:
        self._let_others_act()
        price = dict(amount=POSTAGE[address["country"]], currency="EUR")
        return dict(price=price, expires_at=datetime.now(UTC) + timedelta(hours=1))

    def tell_offers(self, skus: list[str]) -> list[dict[str, Any]]:
        self._let_others_act()
        return [
            dict(
                sku=sku,
                product_id=PRODUCTS[sku],
                name=sku,
                options={},
                price=dict(amount=self.prices[sku], currency="EUR"),
                available=True,
                tax_class="home",
            )
            for sku in skus
        ]

    def _let_others_act(self) -> None:
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()

    # --- the barrier

    def _heard(self, method: str, key: str, arguments: dict[str, Any], saga_id: str) -> Any:
        """What becomes of a command: its answer, or the Failure that its caller gets."""
        fate = self.script.pop(0) if self.script else "ok"
        if fate == "lost before":
            return OutcomeUnknown(method, "it did not arrive")
        answer: Any
        try:
            if method in UNDOS:
                answer = self._undone(method, key, arguments, self.moved[saga_id])
            else:
                answer = self._done(method, key, arguments, self.moved[saga_id], fate == "refused")
        except ServiceError as refusal:
            answer = refusal
        return OutcomeUnknown(method, "it did not answer") if fate == "lost after" else answer

    def _done(self, method: str, key: str, arguments: dict[str, Any], moved: Moved, refused: bool) -> Any:
        known = self.commands.get(key)
        if known is not None:
            assert (known.method, known.arguments) == (method, arguments), f"{key} meant something else before"
            if known.state in ("undone", "fenced"):
                raise ServiceError("saga.fenced", "This was taken back.")
            if known.state == "failed":
                raise known.answer
            return known.answer
        command = Command(method, arguments)
        try:
            if refused and method in REFUSALS:
                raise ServiceError(REFUSALS[method], "As the script says.")
            command.answer = getattr(self, method)(moved, **arguments)
        except ServiceError as refusal:
            command.state, command.answer = "failed", refusal
            raise
        finally:
            if command.state == "ok" or method not in RETRIABLE:
                self.commands[key] = command
        return command.answer

    def _undone(self, method: str, key: str, arguments: dict[str, Any], moved: Moved) -> None:
        known = self.commands.get(key)
        if known is None:
            self.commands[key] = Command(UNDOS[method], arguments, "fenced")
            return
        assert (known.method, known.arguments) == (UNDOS[method], arguments), f"{key} is undone with other words"
        if known.state == "ok":
            known.state = "undone"
            getattr(self, method)(moved, **arguments)

    # --- stock

    @property
    def shelf(self) -> Counter[str]:
        """How many units of each sku are to be had."""
        gone = [(sku, count) for moved in self.moved.values() for (what, sku), count in moved.items() if what in GONE]
        left = Counter(dict.fromkeys(SKUS, STOCK))
        for sku, count in gone:
            left[sku] -= count
        return left

    def reserve(self, moved: Moved, order_id: str, lines: Any) -> dict[str, Any]:
        assert order_id not in self.holds, f"units are held for {order_id} under a second key"
        wanted = units_of(lines)
        if any(count > self.shelf[sku] for sku, count in wanted.items()):
            raise ServiceError("inventory.insufficient", "There are fewer.")
        self.holds[order_id] = ("held", wanted)
        moved.update({("held", sku): count for sku, count in wanted.items()})
        return dict(order_id=order_id, status="held", lines=lines)

    def release(self, moved: Moved, order_id: str, lines: Any) -> None:
        state, held = self.holds[order_id]
        assert (state, held) == ("held", units_of(lines)), f"{order_id} was {state}"
        self.holds[order_id] = ("released", held)
        moved.subtract({("held", sku): count for sku, count in held.items()})

    def commit(self, moved: Moved, order_id: str) -> dict[str, Any]:
        state, held = self.holds.get(order_id, ("never held", Counter()))
        assert state == "held", f"what is sold to {order_id} was {state}"
        self.holds[order_id] = ("sold", held)
        moved.subtract({("held", sku): count for sku, count in held.items()})
        moved.update({("sold", sku): count for sku, count in held.items()})
        return dict(order_id=order_id, status="committed", lines=[])

    def restock(self, moved: Moved, lines: Any, reason: str) -> list[Any]:
        back = units_of(lines)
        assert all(self.total("sold", sku) >= count for sku, count in back.items()), f"never sold: {back}"
        moved.subtract({("sold", sku): count for sku, count in back.items()})
        return []

    def discard(self, moved: Moved, lines: Any, reason: str) -> list[Any]:
        self.restock(moved, lines, reason)
        moved.update({("scrapped", sku): count for sku, count in units_of(lines).items()})
        return []

    def total(self, what: str, sku: str) -> int:
        return sum(moved[what, sku] for moved in self.moved.values())

    # --- money

    def authorize(
        self,
        moved: Moved,
        order_id: str,
        amount: Any,
        method: Any,
        customer_id: str,
        payment_id: str | None = None,
    ) -> dict[str, Any]:
        payment_id = payment_id or order_id
        assert payment_id not in self.payments, f"{payment_id} is authorised under a second key"
        state = "challenged" if method["token"] == CHALLENGED else "authorized"
        self.payments[payment_id] = Payment(order_id, amount["amount"], method["token"], state)
        if state == "authorized":
            return dict(status=state)
        return dict(status="requires_action", action_url=f"http://bank.example/{payment_id}")

    def void(self, moved: Moved, order_id: str, payment_id: str | None = None, **_: Any) -> None:
        payment = self.payments[payment_id or order_id]
        assert payment.state != "captured", f"a captured payment of {order_id} is voided"
        payment.state = "voided"

    def capture(self, moved: Moved, order_id: str, amount: Any, payment_id: str | None = None) -> dict[str, Any]:
        payment = self.payments[payment_id or order_id]
        assert (payment.state, payment.amount) == ("authorized", amount["amount"]), f"{payment} is captured"
        if payment.card == FAILING:
            raise ServiceError("payments.capture_refused", "The bank refuses.")
        payment.state = "captured"
        moved["captured", ""] += payment.amount
        sums = dict(status="captured", method="card", amount=payment.amount, captured=payment.amount, refunded=0)
        return dict(id=payment_id or order_id, order_id=order_id, currency="EUR", parts=[sums], **sums)

    def refund(
        self, moved: Moved, order_id: str, amount: Any, to: str = "original", except_payment: str | None = None
    ) -> dict[str, Any]:
        of = [each for name, each in self.payments.items() if each.order_id == order_id and name != except_payment]
        rest = amount["amount"]
        for payment in of:
            given = min(rest, payment.left)
            payment.refunded += given
            rest -= given
        assert rest == 0, f"{rest} more are given back for {order_id} than were taken"
        moved["refunded", ""] += amount["amount"]
        moved["refunded", to] += amount["amount"]
        way = "gift_card" if to == "gift_card" else "card"
        part = dict(payment_id=order_id, amount=amount["amount"], method=way)
        return dict(order_id=order_id, amount=amount, parts=[part], left=0)

    def challenged(self) -> list[str]:
        """The payments whose owners have not decided yet."""
        return [name for name, payment in self.payments.items() if payment.state == "challenged"]

    def decide(self, payment_id: str, approved: bool) -> None:
        """A card's owner decides at the bank; it is told as payments tells it."""
        payment = self.payments[payment_id]
        payment.state = "authorized" if approved else "refused"
        self._tell("payment_resolved", payment_id, payment.order_id, payment_id=payment_id, authorized=approved)

    def post(self, moved: Moved, entry: dict[str, Any]) -> dict[str, Any]:
        amounts = [(each["account_id"], each["amount"]["amount"]) for each in entry["postings"]]
        assert all(amount for _, amount in amounts), f"nothing is posted: {entry}"
        assert sum(amount for _, amount in amounts) == 0, f"it is not balanced: {entry}"
        for account_id, amount in amounts:
            self.ledger[entry["subject"]][account_id.removesuffix(".EUR")] += amount
        return dict(id=f"e-{len(self.commands)}")

    # --- parcels

    def book(
        self,
        moved: Moved,
        order_id: str,
        address: Any,
        items: int,
        email: str,
        parcel_id: str | None = None,
        customer_id: str | None = None,
    ) -> dict[str, Any]:
        parcel_id = parcel_id or order_id
        if parcel_id in self.parcels and self.parcels[parcel_id].state == "cancelled":
            raise ServiceError("shipping.cancelled", "It was called off.")
        assert parcel_id not in self.parcels, f"{parcel_id} is booked under a second key"
        self.parcels[parcel_id] = Parcel(order_id, "booked", address["country"])
        return dict(parcel_id=parcel_id, status="booked", tracking=f"T-{parcel_id}")

    def cancel(self, moved: Moved, order_id: str) -> dict[str, Any]:
        parcel = self.parcels.setdefault(order_id, Parcel(order_id, "cancelled"))
        if parcel.state in WAY[1:]:
            raise ServiceError("shipping.handed_over", "The carrier has it.")
        parcel.state = "cancelled"
        return dict(parcel_id=order_id, status="cancelled")

    def hold(self, moved: Moved, order_id: str) -> dict[str, Any]:
        parcel = self.parcels[order_id]
        if parcel.state != "booked":
            raise ServiceError("shipping.handed_over", "The carrier has it.")
        assert not parcel.on_hold, f"{order_id} is held under a second key"
        parcel.on_hold = True
        return dict(parcel_id=order_id, status="booked")

    def unhold(self, moved: Moved, order_id: str) -> None:
        self.parcels[order_id].on_hold = False

    def amend(self, moved: Moved, order_id: str, address: Any, items: int) -> dict[str, Any]:
        parcel = self.parcels[order_id]
        assert parcel.on_hold, f"the parcel of {order_id} may be anywhere by now"
        parcel.on_hold, parcel.country = False, address["country"]
        return dict(parcel_id=order_id, status="booked")

    def movable(self) -> list[str]:
        """The parcels that the carrier moves on."""
        return [name for name, each in self.parcels.items() if each.state in WAY[:-1] and not each.on_hold]

    def go_on(self, parcel_id: str) -> None:
        """A parcel moves on by one state, if it may; it is told as shipping tells it."""
        if parcel_id in self.movable():
            parcel = self.parcels[parcel_id]
            parcel.state = WAY[WAY.index(parcel.state) + 1]
            what = dict(parcel_id=parcel_id, tracking=f"T-{parcel_id}", status=parcel.state)
            self._tell("shipment_moved", parcel_id, parcel.order_id, **what)

    def _tell(self, event: str, of: str, order_id: str, **what: Any) -> None:
        number = len(self.news) + 1
        about = dict(event_id=f"{event}-{number}", occurred_at=datetime.now(UTC), aggregate_id=of, sequence=number)
        self.news.append({**about, "order_id": order_id, **what})

    # --- carts and risk

    def remove_ordered(self, moved: Moved, **_: Any) -> None:
        """What is in the cart is put there anew for each order."""

    def screen(self, moved: Moved, subject: dict[str, Any], **_: Any) -> dict[str, Any]:
        kept = dict(id=f"d-{subject['id']}", kind=subject["kind"], subject_id=subject["id"])
        return dict(kept, decision="accept", score=0, reasons=[], rules_version=1)

    def unscreen(self, moved: Moved, **_: Any) -> None:
        """Nothing counts it."""


def units_of(lines: Any) -> Counter[str]:
    units: Counter[str] = Counter()
    for line in lines:
        units[line["sku"]] += line["quantity"]
    return units
