"""A shop for the assistant: the demo catalogue, and a customer's orders and accounts as a dialogue's start has them.

It answers as the services do; what is charged and refunded, and what is refused, is worked out by the orders service's
own rules.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any

import msgspec
import yaml
from nameko.cli.main import setup_yaml_parser

from chassis.errors import ServiceError, Unavailable
from chassis.types import Money
from contracts.accounts import Account, Balance
from contracts.amendments import Amendment, Preview, Return, ReturnedLine, Wish
from contracts.common import Address
from contracts.orders import Order, OrderLine, OrderPage, PaymentState, ShipmentState, Totals
from contracts.products import Offer, Product, ProductPage, Variant
from contracts.transactions import Transaction, TransactionPage
from contracts.users import Profile, SavedMethod
from sandbox import carrier
from scripts.demo_data import ROOT, catalogue, stock
from services.orders import terms

CUSTOMER = "c-1"
EUR = "EUR"
HOME = Address(name="Ada Example", line1="Old Street 1", city="Berlin", postal_code="10115", country="DE")
setup_yaml_parser()  # ${ENV:default} in config.yaml
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
RATES: Any = CONFIG["tax_rates_permille"]
WINDOW = timedelta(days=CONFIG["return_window_days"])
SHIPMENTS = {"shipped": "in_transit", "delivered": "delivered", "confirmed": "booked", "returned": "delivered"}

_demo = catalogue()
_units = stock(_demo)
PRODUCTS = [
    Product(
        id=f"p-{each.variants[0].sku[: each.variants[0].sku.index('-') + 5].lower()}",
        name=each.name,
        description=each.description,
        category=each.category,
        variants=[
            Variant(sku=v.sku, options=v.options, price=Money(amount=v.price.amount, currency=EUR), available=True)
            for v in each.variants
        ],
    )
    for each in _demo
]


def money(amount: int, currency: str = EUR) -> Money:
    return Money(amount=amount, currency=currency)


def postage_to(country: str, items: int) -> Money:
    """As the sandbox's carrier asks for it."""
    address = carrier.Address(name="A", line1="B", city="C", postal_code="D", country=country)
    return money(carrier.price_of(carrier.Quote(address=address, items=items)))


def id_of(alias: str) -> str:
    """The order's id of an alias: 32 hex digits, as real ones have."""
    return hashlib.md5(alias.encode()).hexdigest()


class Shop:
    """All ports in one; `down` are the services that do not answer."""

    def __init__(self, start: dict[str, Any], at: datetime) -> None:
        self.at, self.start, self.down = at, start, set(start.get("down", ()))
        self.sold_out = {sku for sku, units in _units.items() if not units} | set(start.get("sold_out", ()))
        self.listed = [self._listed(each) for each in PRODUCTS]
        self.by_sku = {v.sku: (product, v) for product in self.listed for v in product.variants}
        made = [self._order(each, number) for number, each in enumerate(start.get("orders", ()))]
        self.placed = sorted(made, key=lambda order: order.created_at, reverse=True)
        self.delivered_at = {
            id_of(each["as"]): at - timedelta(days=each.get("delivered_days_ago", 1))
            for each in start.get("orders", ())
        }
        self.orders, self.accounts, self.transactions = _Orders(self), _Accounts(self), _Transactions(self)
        self.products, self.users = _Products(self), _Users(self)

    def ask(self, service: str) -> None:
        if service in self.down:
            raise Unavailable(service, "nobody serves it")

    def _listed(self, product: Product) -> Product:
        variants = [msgspec.structs.replace(v, available=v.sku not in self.sold_out) for v in product.variants]
        return msgspec.structs.replace(product, variants=variants)

    def _order(self, start: dict[str, Any], number: int) -> Order:
        lines = [self._line(sku, count, start) for sku, count in start["buy"]]
        items, postage = (
            sum(line.line_total.amount for line in lines),
            postage_to("DE", sum(line.quantity for line in lines)).amount,
        )
        total, state = items + postage, start.get("state", "confirmed")
        paid = 0 if state in ("pending", "rejected") else total
        created = self.at - timedelta(days=start.get("days_ago", number + 1))
        return Order(
            id=id_of(start["as"]),
            customer_id=start.get("customer", CUSTOMER),
            status=state,
            lines=lines,
            totals=Totals(
                items=money(items), shipping=money(postage), tax=money(total * 19 // 119), total=money(total)
            ),
            shipping_address=HOME,
            payment=PaymentState(
                status=start.get("payment_status", "captured" if paid else "declined"),
                method=start.get("paid_by", "card"),
                paid=money(paid),
                refunded=money(start.get("refunded", paid if state == "cancelled" else 0)),
                action_url=start.get("action_url"),
            ),
            shipment=ShipmentState(
                status=SHIPMENTS.get(state, "none"), tracking="TRK-" + start["as"] if state in SHIPMENTS else None
            ),
            timeline=[],
            created_at=created,
            reason=start.get("reason"),
            reason_code=start.get("reason_code"),
            review=start.get("review", False),
            amendments=[self._amendment(each) for each in start.get("amendments", ())],
        )

    def _line(self, sku: str, count: int, start: dict[str, Any]) -> OrderLine:
        product, variant = self.by_sku[sku]
        price = variant.price.amount
        return OrderLine(
            sku=sku,
            name=product.name,
            options=variant.options,
            quantity=count,
            unit_price=money(price),
            line_total=money(price * count),
            tax=money(price * count * 19 // 119),
            product_id=product.id,
            tax_class=product.category,
            returned=start.get("returned", {}).get(sku, 0),
        )

    def _amendment(self, start: dict[str, Any]) -> Amendment:
        return Amendment(
            id=start.get("id", "am-1"),
            kind=start["kind"],
            status=start["status"],
            created_at=self.at,
            updated_at=self.at,
            reason_code=start.get("reason_code"),
        )


class _Orders:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def find(self, customer_id: str | None = None, *, limit: int = 20) -> OrderPage:
        self._shop.ask("orders")
        mine = [order for order in self._shop.placed if order.customer_id == customer_id]
        return OrderPage(items=mine[:limit], next_cursor=None)

    def get(self, order_id: str) -> Order:
        self._shop.ask("orders")
        for order in self._shop.placed:
            if order.id == order_id and order.customer_id == CUSTOMER:
                return order
        raise ServiceError("orders.not_found", "There is no such order.")

    def returns(self, order_id: str) -> list[Return]:
        order = self.get(order_id)
        return [
            Return(
                id=each.id,
                order_id=order_id,
                status=each.status,
                lines=[ReturnedLine(sku=order.lines[0].sku, quantity=1, reason="")],
                refund_to="original",
                expires_at=self._shop.at + timedelta(days=20),
                created_at=self._shop.at,
                updated_at=self._shop.at,
            )
            for each in order.amendments
            if each.kind == "return"
        ]

    def exchanges(self, order_id: str) -> list[Any]:
        self.get(order_id)
        return []

    def preview(self, order_id: str, wish: Wish) -> Preview:
        order = self.get(order_id)
        for refused in self._shop.start.get("refuse", ()):
            if id_of(refused["order"]) == order_id and refused["kind"] == wish.kind and self._meant(refused, wish):
                raise ServiceError(refused["code"], "", refused.get("details", {}))
        for amendment in order.amendments:
            if amendment.status in ("pending", "waiting", "settling"):
                raise ServiceError("orders.in_progress", "", {"kind": amendment.kind})
        return getattr(self, f"_{wish.kind}")(order, wish)

    def _meant(self, refused: dict[str, Any], wish: Wish) -> bool:
        """A refusal may be for one way to pay, or one country."""
        method = wish.payment_method.type if wish.payment_method else None
        country = wish.shipping_address.country if wish.shipping_address else None
        return refused.get("paid_by", method) == method and refused.get("country", country) == country

    def _preview(self, kind: str, order: Order, charge: int, refund: int, **changed: Any) -> Preview:
        as_it_is = dict(lines=order.lines, totals=order.totals, shipping_address=order.shipping_address)
        return Preview(
            kind=kind,
            order_id=order.id,
            status=order.status,
            charge=money(charge),
            refund=money(refund),
            refund_shipping=money(0),
            **{f"{name}_before": value for name, value in as_it_is.items()},
            **{**as_it_is, **changed},
        )

    def _cancel(self, order: Order, wish: Wish) -> Preview:
        if order.status not in terms.CANCELLABLE:
            terms.refuse_state("orders.not_cancellable", order.status, "cancelled")
        return self._preview(wish.kind, order, 0, order.payment.paid.amount - order.payment.refunded.amount)

    def _change(self, order: Order, wish: Wish) -> Preview:
        if order.status == "pending":
            raise ServiceError("orders.in_progress", "", {"order_id": order.id})
        if order.status not in terms.CHANGEABLE:
            terms.refuse_state("orders.not_changeable", order.status, "changed")
        address = wish.shipping_address or order.shipping_address
        postage = order.totals.shipping
        if wish.shipping_address:
            postage = postage_to(address.country, sum(line.quantity for line in order.lines))
        return self._swap(order, wish, address, postage)

    def _swap(self, order: Order, wish: Wish, address: Address, postage: Money) -> Preview:
        swaps = wish.lines or []
        terms.require_swaps(swaps)
        offers = {each.new_sku: self._offer(each.new_sku) for each in swaps}
        lines = terms.swapped(order.lines, swaps, offers, address.country, RATES) if swaps else order.lines
        if wish.kind == "exchange":
            terms.require_variants(order.lines, swaps, offers)
        before = order.totals.total.amount
        method = wish.payment_method.type if wish.payment_method else None
        came_to = terms.swap_terms(swaps, lines, postage, address, before, method)
        if wish.payment_method and not swaps and wish.shipping_address is None:
            came_to = terms.replacing(came_to, order.payment.paid.amount - order.payment.refunded.amount)
        if came_to.charge.amount:
            self._require_known(wish)
        return self._preview(
            wish.kind,
            order,
            came_to.charge.amount,
            came_to.refund.amount,
            lines=came_to.lines,
            totals=came_to.totals,
            shipping_address=address,
        )

    def _require_known(self, wish: Wish) -> None:
        method = wish.payment_method
        cards = self._shop.start.get("cards", ())
        if method and method.type == "card" and method.id and method.id not in [each["id"] for each in cards]:
            raise ServiceError("orders.unknown_payment_method", "")
        if method and method.type == "gift_card" and method.id not in self._shop.start.get("gift_cards", ()):
            raise ServiceError("payments.unknown_gift_card", "")

    def _offer(self, sku: str) -> Offer:
        product, variant = self._shop.by_sku[sku]
        return Offer(
            sku=sku,
            product_id=product.id,
            name=product.name,
            options=variant.options,
            price=variant.price,
            available=variant.available,
            tax_class=product.category,
        )

    def _return(self, order: Order, wish: Wish) -> Preview:
        delivered_at = self._shop.delivered_at[order.id] if order.status == "delivered" else None
        terms.require_in_window("orders.not_returnable", order.status, delivered_at, self._shop.at, WINDOW, "returned")
        wanted = terms.wanted_of(wish.returns or [])
        terms.require_in_order(order.lines, wanted)
        after, amounts = terms.give_back(order.lines, wanted)
        postage = order.totals.shipping.amount if terms.is_all_back(after) else 0
        back_by = self._shop.at + timedelta(days=21)
        return self._preview(wish.kind, order, 0, sum(amounts.values()) + postage, expires_at=back_by)

    def _exchange(self, order: Order, wish: Wish) -> Preview:
        delivered_at = self._shop.delivered_at[order.id] if order.status == "delivered" else None
        terms.require_in_window(
            "orders.not_exchangeable", order.status, delivered_at, self._shop.at, WINDOW, "exchanged"
        )
        return self._swap(order, wish, order.shipping_address, order.totals.shipping)


class _Accounts:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def of_customer(self, customer_id: str) -> list[Account]:
        self._shop.ask("accounts")
        return [self._account(each) for each in self._shop.start.get("accounts", ())]

    def _account(self, start: dict[str, Any]) -> Account:
        currency, posted, held = start.get("currency", EUR), start.get("balance", 0), start.get("held", 0)
        coming = start.get("coming", 0)
        return Account(
            id=start["id"],
            type="liability",
            currency=currency,
            name=start["name"],
            status=start.get("status", "open"),
            balance=Balance(
                posted=money(posted, currency),
                pending_in=money(coming, currency),
                pending_out=money(held, currency),
                available=money(posted - held, currency),
            ),
            created_at=self._shop.at,
            customer_id=CUSTOMER,
        )


class _Transactions:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def find(self, customer_id: str, *, limit: int = 20) -> TransactionPage:
        self._shop.ask("transactions")
        started = self._shop.start.get("transactions", self._deposits())
        made = [self._made(each, number) for number, each in enumerate(started)]
        return TransactionPage(items=made[:limit], next_cursor=None)

    def get(self, transaction_id: str) -> Transaction:
        self._shop.ask("transactions")
        return next(each for each in self.find(CUSTOMER).items if each.id == transaction_id)

    def _deposits(self) -> list[dict[str, Any]]:
        """What is on the accounts has come as a deposit each, where a start does not say otherwise."""
        there = [each for each in self._shop.start.get("accounts", ()) if each.get("balance")]
        return [{"kind": "deposit", "amount": each["balance"], "currency": each.get("currency", EUR)} for each in there]

    def _made(self, start: dict[str, Any], number: int) -> Transaction:
        currency = start.get("currency", EUR)
        at = self._shop.at - timedelta(days=start.get("days_ago", number))
        return Transaction(
            id=f"t-{number}",
            kind=start["kind"],
            status=start.get("status", "completed"),
            customer_id=CUSTOMER,
            amount=money(start["amount"], currency),
            fee=money(0, currency),
            reversed_amount=money(0, currency),
            created_at=at,
            updated_at=at,
            timeline=[],
            reason_code=start.get("reason_code"),
        )


class _Products:
    """Found as the products service finds: all words, the last one also as a beginning."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def find(self, query: str | None = None, *, limit: int = 20) -> ProductPage:
        self._shop.ask("products")
        words = (query or "").lower().split()
        return ProductPage(items=[each for each in self._shop.listed if _has(each, words)][:limit], next_cursor=None)

    def get(self, product_id: str) -> Product:
        self._shop.ask("products")
        for product in self._shop.listed:
            if product.id == product_id:
                return product
        raise ServiceError("products.not_found", "There is no such product.")

    def offers(self, skus: list[str]) -> list[Offer]:
        self._shop.ask("products")
        return [self._shop.orders._offer(sku) for sku in skus if sku in self._shop.by_sku]


def _has(product: Product, words: list[str]) -> bool:
    options = [value for variant in product.variants for value in variant.options.values()]
    text = " ".join((product.name, product.category, product.description, *options)).lower()
    known = set("".join(c if c.isalnum() else " " for c in text).split())
    wanted = [part for word in words for part in "".join(c if c.isalnum() else " " for c in word).split()]
    *whole, last = wanted or [""]
    return all(word in known for word in whole) and any(each.startswith(last) for each in known)


class _Users:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def profile(self, user_id: str) -> Profile:
        self._shop.ask("users")
        start = self._shop.start
        return Profile(
            id=user_id,
            email="ada@example.com",
            name="Ada Example",
            roles=["customer"],
            addresses=msgspec.convert(start.get("addresses", {}), dict[str, Address]),
            payment_methods=[
                SavedMethod(id=each["id"], type="card", token="tok_visa", brand=each["brand"], last4=each["last4"])
                for each in start.get("cards", ())
            ],
        )
