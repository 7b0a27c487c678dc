"""The shop that flows are tried in: its patient customers, and what it is found to be when a flow has ended."""

import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import eventlet

from chassis.errors import OutcomeUnknown
from chassis.rpc import Proxy
from chassis.types import service_of
from contracts.accounts import AccountsApi
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.notifications import NotificationsApi
from contracts.orders import OrdersApi
from contracts.payments import PaymentsApi
from contracts.products import ProductsApi
from contracts.shipping import ShippingApi
from contracts.transactions import TransactionsApi
from contracts.users import UsersApi
from edge.audit import Auditor
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, Shop

STOCK, QUANTITY, PRICE, DEARER = 5, 2, 1999, 2999
TOTAL = QUANTITY * PRICE + 1090
"""Two lamps, and the carrier's price for two items to the Netherlands."""
ENDED = ("completed", "compensated")
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

    @property
    def subject(self) -> str:
        """What the flow's events are about."""
        return self.order_id

    @property
    def dearer(self) -> str:
        """The other variant of the article."""
        return f"{self.sku}-B"


@dataclass(frozen=True)
class End:
    """What must hold when a flow has ended. Stock: available, reserved, sold. Money: what moved at the acquirer.

    `timeline` has each step's last word; `parcels` how far each is and to where; `cart` the units that are left;
    `gift_card` its balance and what it holds; `dearer` the stock of the other variant; `amended` how each kind of
    amendment ended.
    """

    status: str
    stock: tuple[int, int, int]
    money: tuple[tuple[str, int], ...]
    mails: dict[str, int]
    timeline: dict[str, str]
    parcels: tuple[str, ...] = ()
    cart: int = 0
    gift_card: tuple[int, int] | None = None
    dearer: tuple[int, int, int] = (STOCK, 0, 0)
    amended: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Flow:
    """`before` is done first and undisturbed; from `begin` on it may die at any point.

    `through`: all places at which points of it are passed, as these are named (see points.py), except relays.
    `outside`: another company is asked. `sagas` counts those of a flow of money, with those of `before`.
    """

    name: str
    begin: Callable[[Any, Any], None]
    end: Any
    through: tuple[str, ...]
    before: Callable[[Any, Any], None] = lambda world, case: None
    outside: bool = True
    sagas: int = 1


class World:
    """A shop, and what its patient customers do: who gets no answer asks again with the same key."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.clock = timedelta()

    def ask(self, trace: str, method: Callable[..., Any], /, **arguments: Any) -> Any:
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

    def look(self, method: Callable[..., Any], /, **arguments: Any) -> Any:
        return self.ask("look", method, **arguments)

    def cases(self, flow: Flow, count: int) -> list[Case]:
        """Customers with two lamps each in the cart, before anything else; then the flow's `before`."""
        tag = uuid.uuid4().hex[:6]
        cases = [
            Case(f"{flow.name}-{tag}-{number:03}", f"L-{tag}-{number:03}", f"c{number}-{tag}@rialto.example", "")
            for number in range(count)
        ]
        for first in range(0, count, 50):
            self._sell(cases[first : first + 50])
        in_turns(cases, lambda case: self._enter(flow, case))
        return cases

    def _sell(self, cases: list[Case]) -> None:
        prices = {sku: price for case in cases for sku, price in ((case.sku, PRICE), (case.dearer, DEARER))}
        variants = [
            {"sku": sku, "price": {"amount": price, "currency": "EUR"}, "options": {"n": sku}}
            for sku, price in prices.items()
        ]
        product = {"name": "Lamp", "description": "For tests.", "category": "home", "variants": variants}
        self.look(ProductsApi.create, product=product, key=uuid.uuid4().hex)
        lines = [{"sku": sku, "quantity": STOCK} for sku in prices]
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
        """The order, once no saga of it runs."""

        def have_ended() -> bool:
            self.look(OrdersApi.get, order_id=case.order_id, wait_s=0.5)
            sagas = self._sagas(case)
            return bool(sagas) and all(saga["status"] in ENDED for saga in sagas)

        self._wait_for(case, have_ended)
        return self.order(case)

    def at_rest(self, case: Case) -> None:
        """Wait until nobody works on it: each saga of it has ended, or was let go until somebody does something."""

        def rest() -> bool:
            soon = datetime.now(UTC) + self.clock + LEASE
            return all(
                saga["status"] in ENDED or (saga["owner"] is None and datetime.fromisoformat(saga["wake_at"]) > soon)
                for saga in self._sagas(case)
            )

        self._wait_for(case, rest)

    def _sagas(self, case: Case) -> list[Any]:
        found: list[Any] = self.look(OrdersApi.find_sagas, text=case.trace)["items"]
        return found

    def _wait_for(self, case: Case, condition: Callable[[], bool]) -> None:
        try:
            wait_until(condition, LIMIT_S)
        except AssertionError as exc:
            raise AssertionError(f"{case.trace}: {self._sagas(case)}, {self.order(case)}") from exc

    def later(self, by: timedelta) -> None:
        """All clocks go forward: leases of the dead are over."""
        from chassis.db import shift_clock

        self.clock += by
        shift_clock(self.clock)

    # --- what must hold

    def found(self, case: Case, mails: int) -> End:
        """How a case ended, once it has so many mails."""
        order = self.order(case)

        def written() -> Any:
            found = self.look(NotificationsApi.find, to=case.email)
            return found if len(found) >= mails else None

        lines = self.look(CartsApi.get, cart={"customer_id": case.customer_id})["lines"]
        return End(
            status=order["status"],
            stock=self.stock(case.sku),
            money=tuple(self.moved(case.order_id)),
            mails=dict(Counter(mail["kind"] for mail in wait_until(written, 15))) if mails else {},
            timeline={entry["step"]: entry["outcome"] for entry in order["timeline"]},
            parcels=tuple(self.parcels(case.order_id)),
            cart=sum(line["quantity"] for line in lines),
            gift_card=self.gift_card(case),
            dearer=self.stock(case.dearer),
            amended={each["kind"]: each["status"] for each in order["amendments"]},
        )

    def stock(self, sku: str) -> tuple[int, int, int]:
        counts = self.look(InventoryApi.stock_of, sku=sku)
        return counts["available"], counts["reserved"], counts["sold"]

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
        """How far an order's parcels are, and to where: `booked Delft, on hold`; from the carrier's own database."""
        query = (
            "SELECT b.status || ' ' || json_extract(b.address, '$.city') || iif(h.key IS NULL, '', ', on hold')"
            " FROM bookings b LEFT JOIN holds h ON h.booking_key = b.key WHERE b.reference = ? ORDER BY b.id"
        )
        with sqlite3.connect(self.shop.carrier.db) as connection:
            return [parcel for (parcel,) in connection.execute(query, (order_id,))]

    def assert_holds(self, flow: Flow, case: Case, why: str) -> None:
        found = self.found(case, sum(flow.end.mails.values()))
        assert found == flow.end, f"{case.trace}, {why}: {found}, not {flow.end}"

    def assert_adds_up(self) -> None:
        """The audit of the whole shop, without excuses for what is under way."""
        nobody = SimpleNamespace(context_data={})
        services = [
            Proxy(self.shop.client, api, nobody, timeout_s=20.0)
            for api in (OrdersApi, InventoryApi, PaymentsApi, ShippingApi, TransactionsApi, AccountsApi)
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
