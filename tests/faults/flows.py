"""The flows that are made to fail, one row each: how it begins, and what must hold at its end, to the unit and cent."""

import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import eventlet
import msgspec
import urllib3

from chassis.errors import OutcomeUnknown
from chassis.outside import sign
from chassis.rpc import Proxy
from chassis.types import service_of
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.notifications import NotificationsApi
from contracts.orders import OrdersApi
from contracts.payments import PaymentsApi
from contracts.products import ProductsApi
from contracts.shipping import ShippingApi
from contracts.users import UsersApi
from edge.audit import Auditor
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, Shop

STOCK, QUANTITY, PRICE = 5, 2, 1999
TOTAL = QUANTITY * PRICE + 1090
"""Two lamps, and the carrier's price for two items to the Netherlands."""
GIFT, SPENT = 1500, 1000
MOVING = ("pending", "rejecting", "cancelling")
PATIENT = dict(rpc_timeout_ms=8000, saga_step_timeout_ms=2000, saga_lease_ms=7000)
LEASE = timedelta(milliseconds=PATIENT["saga_lease_ms"])
ANSWER_S, PATIENCE_S = 10.0, 40.0
LIMIT_S = 60.0


@dataclass
class Case:
    """One run of a flow: a customer and an article of its own. `trace` names it, and is its trace id."""

    trace: str
    sku: str
    email: str
    customer_id: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    order_id: str = ""
    gift_card: str = ""


@dataclass(frozen=True)
class End:
    """What must hold when a flow has ended. Stock: available, reserved, sold. Money: what moved at the acquirer.

    `timeline` has each step's last word; `cart` the units that are left; `gift_card` its balance and what it holds.
    """

    status: str
    stock: tuple[int, int, int]
    money: tuple[tuple[str, int], ...]
    mails: dict[str, int]
    timeline: dict[str, str]
    parcels: tuple[str, ...] = ()
    cart: int = 0
    gift_card: tuple[int, int] | None = None


@dataclass(frozen=True)
class Flow:
    """`before` is done first and undisturbed; from `begin` on it may die at any point.

    `through`: the places that it must be seen to pass, as points are named by them. A flow of which some are not
    counted is not tried there.
    """

    name: str
    begin: Callable[["World", Case], None]
    end: End
    through: tuple[str, ...]
    before: Callable[["World", Case], None] = lambda world, case: None


class World:
    """A shop, and what its patient customers do: who gets no answer asks again with the same key."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.clock = timedelta()

    def ask(self, trace: str, method: Callable[..., Any], **arguments: Any) -> Any:
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                request = self.shop.client.send(
                    service_of(method), method.__name__, (), arguments, timeout_s=ANSWER_S, context={"trace_id": trace}
                )
                return request.result()
            except OutcomeUnknown:
                if time.monotonic() > give_up_at:
                    raise
                eventlet.sleep(0.1)

    def look(self, method: Callable[..., Any], **arguments: Any) -> Any:
        return self.ask("look", method, **arguments)

    def cases(self, flow: Flow, count: int) -> list[Case]:
        """Customers with two lamps each in the cart, before anything else; then the flow's `before`."""
        tag = uuid.uuid4().hex[:6]
        cases = [
            Case(f"{flow.name}-{tag}-{number}", f"L-{tag}-{number}", f"c{number}-{tag}@rialto.example", "")
            for number in range(count)
        ]
        for first in range(0, count, 50):
            self._sell(cases[first : first + 50])
        in_turns(cases, lambda case: self._enter(flow, case))
        return cases

    def _sell(self, cases: list[Case]) -> None:
        price = {"amount": PRICE, "currency": "EUR"}
        skus = [sku for case in cases for sku in (case.sku, f"{case.sku}-B")]
        variants = [{"sku": sku, "price": price, "options": {"n": sku}} for sku in skus]
        product = {"name": "Lamp", "description": "For tests.", "category": "home", "variants": variants}
        self.look(ProductsApi.create, product=product, key=uuid.uuid4().hex)
        lines = [{"sku": sku, "quantity": STOCK} for sku in skus]
        self.look(InventoryApi.receive, lines=lines, reason="delivery", key=uuid.uuid4().hex)

    def _enter(self, flow: Flow, case: Case) -> None:
        user = self.look(UsersApi.sign_up, email=case.email, password="a-long-password", name="Ada", key=case.email)
        case.customer_id = user["id"]
        cart = {"customer_id": case.customer_id}
        self.look(CartsApi.put_item, cart=cart, sku=case.sku, quantity=QUANTITY, key=case.email)
        self.look(OrdersApi.quote, cart=cart, shipping_address=ADDRESS)  # shipping keeps quotes: all find one
        flow.before(self, case)

    def order(self, case: Case) -> Any:
        return self.look(OrdersApi.get, order_id=case.order_id)

    def ended(self, case: Case) -> Any:
        """The order, once no saga of it runs and its mails are written."""

        def look() -> Any:
            order = self.look(OrdersApi.get, order_id=case.order_id, wait_s=0.5)
            return order if order["status"] not in MOVING else None

        try:
            return wait_until(look, LIMIT_S)
        except AssertionError as exc:
            raise AssertionError(f"{case.trace}: {self.order(case)}") from exc

    def later(self, by: timedelta) -> None:
        """All clocks go forward: leases of the dead are over."""
        from chassis.db import shift_clock

        self.clock += by
        shift_clock(self.clock)

    # --- what must hold

    def found(self, case: Case, mails: int) -> End:
        """How a case ended, once it has so many mails."""
        order = self.order(case)
        counts = self.look(InventoryApi.stock_of, sku=case.sku)

        def written() -> Any:
            found = self.look(NotificationsApi.find, to=case.email)
            return found if len(found) >= mails else None

        lines = self.look(CartsApi.get, cart={"customer_id": case.customer_id})["lines"]
        return End(
            status=order["status"],
            stock=(counts["available"], counts["reserved"], counts["sold"]),
            money=tuple(self.moved(case.order_id)),
            mails=dict(Counter(mail["kind"] for mail in wait_until(written, 15))) if mails else {},
            timeline={entry["step"]: entry["outcome"] for entry in order["timeline"]},
            parcels=tuple(self.parcels(case.order_id)),
            cart=sum(line["quantity"] for line in lines),
            gift_card=self.gift_card(case),
        )

    def gift_card(self, case: Case) -> tuple[int, int] | None:
        if not case.gift_card:
            return None
        (card,) = self.look(PaymentsApi.gift_cards, customer_id=case.customer_id)
        return card["balance"]["amount"], card["held"]["amount"]

    def moved(self, order_id: str) -> list[tuple[str, int]]:
        """What truly moved for an order, from the acquirer's own database."""
        query = (
            "SELECT m.kind, m.amount FROM movements m JOIN authorizations a ON a.payment = m.payment"
            " WHERE a.reference = ? ORDER BY m.id"
        )
        with sqlite3.connect(self.shop.acquirer.db) as connection:
            return connection.execute(query, (order_id,)).fetchall()

    def parcels(self, order_id: str) -> list[str]:
        """What became of an order's parcels, from the carrier's own database."""
        with sqlite3.connect(self.shop.carrier.db) as connection:
            rows = connection.execute("SELECT status FROM bookings WHERE reference = ? ORDER BY id", (order_id,))
            return [status for (status,) in rows]

    def assert_holds(self, flow: Flow, case: Case, why: str) -> None:
        found = self.found(case, sum(flow.end.mails.values()))
        assert found == flow.end, f"{case.trace}, {why}: {found}, not {flow.end}"

    def assert_adds_up(self) -> None:
        """The audit of the whole shop, without excuses for what is under way."""
        nobody = SimpleNamespace(context_data={})
        services = [
            Proxy(self.shop.client, api, nobody, timeout_s=20.0)
            for api in (OrdersApi, InventoryApi, PaymentsApi, ShippingApi)
        ]
        audit = Auditor(*services, settle=timedelta()).run()
        broken = [check for check in audit.checks if not check.holds or check.in_flight]
        assert not broken, broken


def in_turns(cases: Iterable[Any], do: Callable[[Any], Any], at_once: int = 10) -> list[Any]:
    """Do it for each, some at once; the first failure is the test's."""
    return list(eventlet.GreenPool(at_once).imap(do, cases))


def settled(look: Callable[[], list[str]], quiet_s: float = 0.5) -> list[str]:
    """What `look` sees when nothing was added to it for a while."""
    before: list[str] = []
    while (seen := look()) != before:
        before = seen
        eventlet.sleep(quiet_s)
    return before


def order_by(world: World, case: Case, method: dict[str, Any]) -> None:
    order = world.ask(
        case.trace,
        OrdersApi.place,
        customer_id=case.customer_id,
        shipping_address=ADDRESS,
        payment_method=method,
        key=case.key,
    )
    case.order_id = order["id"]


def place(token: str) -> Callable[[World, Case], None]:
    def begin(world: World, case: Case) -> None:
        order_by(world, case, {"type": "card", "token": token})

    return begin


# --- split: a gift card pays a part


def issue_gift_card(world: World, case: Case) -> None:
    amount = {"amount": GIFT, "currency": "EUR"}
    card = world.look(PaymentsApi.issue_gift_card, customer_id=case.customer_id, amount=amount, key=case.trace)
    case.gift_card = card["id"]


def place_split(token: str) -> Callable[[World, Case], None]:
    def begin(world: World, case: Case) -> None:
        amount = {"amount": SPENT, "currency": "EUR"}
        gift = {"type": "gift_card", "id": case.gift_card, "amount": amount}
        order_by(world, case, {"type": "split", "parts": [gift, {"type": "card", "token": token}]})

    return begin


# --- challenge: the customer approves at the bank


def place_and_approve(world: World, case: Case) -> None:
    order_by(world, case, {"type": "card", "token": "tok_challenge"})

    def known() -> Any:
        order = world.order(case)
        return order if order["payment"]["action_url"] or order["status"] not in MOVING else None

    url = wait_until(known, LIMIT_S)["payment"]["action_url"]
    if url is not None:
        page = f"{world.shop.acquirer.url}{urlsplit(url).path}"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        urllib3.request("POST", page, body=b"decision=approve", headers=form)
        tell_approval(world, case)


def tell_approval(world: World, case: Case) -> None:
    """The acquirer's signed call, which comes as often as it likes."""
    query = "SELECT key, payment, amount FROM authorizations WHERE reference = ?"
    with sqlite3.connect(world.shop.acquirer.db) as connection:
        key, payment, amount = connection.execute(query, (case.order_id,)).fetchone()
    moved = dict(id=payment, key=key, authorization_key=key, reference=case.order_id, status="authorized")
    data = {**moved, "amount": amount, "currency": "EUR"}
    at = "2026-01-01T00:00:00Z"
    body = msgspec.json.encode(dict(id=f"evt-{payment}", type="payment.authorized", at=at, data=data))
    real_time = time.time() + world.clock.total_seconds()
    signature = sign(world.shop.config["acquirer_hook_secret"], body, real_time)
    world.ask(case.trace, PaymentsApi.acquirer_hook, signature=signature, body=body.decode())


# --- cancel


def buy(world: World, case: Case) -> None:
    """An order that is confirmed, and its mail written."""
    order_by(world, case, {"type": "card", "token": "tok_visa"})
    world.ended(case)
    wait_until(lambda: world.look(NotificationsApi.find, to=case.email), LIMIT_S)


def cancel(world: World, case: Case) -> None:
    world.ask(case.trace, OrdersApi.cancel, order_id=case.order_id, reason="I changed my mind.", key=case.key)


CONFIRMED = {
    "reserve_stock": "ok",
    "assess_risk": "ok",
    "authorize_payment": "ok",
    "capture_payment": "ok",
    "commit_stock": "ok",
    "book_shipment": "ok",
    "clear_cart": "ok",
}

TURNED_ROUND = {
    "reserve_stock": "undone",
    "assess_risk": "undone",
    "authorize_payment": "undone",
    "capture_payment": "refused",
}

ORDERED = ("orders.place", "saga", "inventory.reserve", "risk.assess", "payments.authorize", "payments.capture")
PAID = (
    *ORDERED,
    "inventory.commit",
    "shipping.book",
    "carts.remove_ordered",
    "notifications.on_order_confirmed",
)
REFUSED = (
    *ORDERED,
    "payments.void",
    "inventory.release",
    "risk.forget",
    "notifications.on_order_rejected",
)

FLOWS = (
    Flow(
        "paid",
        place("tok_visa"),
        End(
            status="confirmed",
            stock=(3, 0, 2),
            money=(("authorize", TOTAL), ("capture", TOTAL)),
            mails={"order_confirmed": 1},
            timeline=CONFIRMED,
            parcels=("booked",),
        ),
        PAID,
    ),
    Flow(
        "refused_at_the_pivot",
        place("tok_capture_fails"),
        End(
            status="rejected",
            stock=(5, 0, 0),
            money=(("authorize", TOTAL), ("void", TOTAL)),
            mails={"order_rejected": 1},
            timeline=TURNED_ROUND,
            cart=QUANTITY,
        ),
        REFUSED,
    ),
    Flow(
        "split",
        place_split("tok_visa"),
        End(
            status="confirmed",
            stock=(3, 0, 2),
            money=(("authorize", TOTAL - SPENT), ("capture", TOTAL - SPENT)),
            mails={"order_confirmed": 1},
            timeline=CONFIRMED,
            parcels=("booked",),
            gift_card=(GIFT - SPENT, 0),
        ),
        PAID,
        before=issue_gift_card,
    ),
    Flow(
        "split_refused_at_the_pivot",
        place_split("tok_capture_fails"),
        End(
            status="rejected",
            stock=(5, 0, 0),
            money=(("authorize", TOTAL - SPENT), ("void", TOTAL - SPENT)),
            mails={"order_rejected": 1},
            timeline=TURNED_ROUND,
            cart=QUANTITY,
            gift_card=(GIFT, 0),
        ),
        REFUSED,
        before=issue_gift_card,
    ),
    Flow(
        "challenge",
        place_and_approve,
        End(
            status="confirmed",
            stock=(3, 0, 2),
            money=(("authorize", TOTAL), ("capture", TOTAL)),
            mails={"order_confirmed": 1},
            timeline={**CONFIRMED, "challenge": "ok"},
            parcels=("booked",),
        ),
        (*PAID, "payments.acquirer_hook", "orders.on_payment_resolved"),
    ),
    Flow(
        "cancel",
        cancel,
        End(
            status="cancelled",
            stock=(5, 0, 0),
            money=(("authorize", TOTAL), ("capture", TOTAL), ("refund", TOTAL)),
            mails={"order_confirmed": 1, "order_cancelled": 1},
            timeline={**CONFIRMED, "cancel_shipment": "ok", "refund_payment": "ok", "restock": "ok"},
            parcels=("cancelled",),
        ),
        (
            "orders.cancel",
            "saga",
            "shipping.cancel",
            "payments.refund",
            "inventory.restock",
            "notifications.on_order_cancelled",
        ),
        before=buy,
    ),
)
