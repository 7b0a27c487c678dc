"""The API gateway: one line of HTTP for one line of business. What a route asks for stands in its decorator."""

from pathlib import Path
from typing import Any

from nameko.dependency_providers import Config

from chassis.openapi import openapi_document
from chassis.problems import Problem
from chassis.provide import provided
from chassis.pulse import Probe, Pulse
from chassis.routes import Reply, Request, route
from chassis.rpc import remote, tuned
from chassis.service import CallContext
from chassis.types import CUSTOMER, OPERATOR, STAFF, Caller
from chassis.version import VERSION
from contracts.accounts import AccountsApi
from contracts.carts import CartsApi, GuestCart
from contracts.catalogue import CONTRACTS
from contracts.common import CartRef
from contracts.inventory import InventoryApi, Stock
from contracts.notifications import NotificationsApi
from contracts.orders import Order, OrderPage, OrdersApi, Quote
from contracts.payments import PaymentsApi
from contracts.products import Category, NewProduct, Product, ProductChanges, ProductPage, ProductsApi
from contracts.registry import RegistryApi
from contracts.risk import RiskApi
from contracts.shipping import Shipment, ShippingApi
from contracts.support import SupportApi
from contracts.transactions import TransactionsApi
from contracts.users import Tokens, User, UsersApi
from edge import bodies
from edge.accounts import AccountRoutes
from edge.amendments import AmendmentRoutes
from edge.asking import customer_of, key_of
from edge.begun import begun
from edge.carts import cart_view
from edge.desk import DeskRoutes
from edge.disputes import DisputeRoutes
from edge.errors import STATUS
from edge.knowledge import KnowledgeRoutes
from edge.operators import OperatorRoutes
from edge.privacy import PrivacyRoutes
from edge.profile import ProfileRoutes
from edge.registry import RegistryRoutes
from edge.risk import RiskRoutes
from edge.support import SupportRoutes
from edge.transactions import TransactionRoutes

ROOT = Path(__file__).resolve().parent

BEHIND = tuple(name for name in CONTRACTS if name != "registry")
"""The services that must answer before the gateway says that it is ready: the shop sells without a registry."""
PAGE_FILES = {
    "shop.js": "text/javascript",
    "chat.js": "text/javascript",
    "privacy.js": "text/javascript",
    "registry.js": "text/javascript",
    "shop.css": "text/css",
    "icon.svg": "image/svg+xml",
}
PLACE_S = 5.0


class GatewayService(
    ProfileRoutes,
    PrivacyRoutes,
    AmendmentRoutes,
    AccountRoutes,
    TransactionRoutes,
    DisputeRoutes,
    OperatorRoutes,
    RegistryRoutes,
    RiskRoutes,
    SupportRoutes,
    KnowledgeRoutes,
    DeskRoutes,
):
    name = "gateway"
    http_status = STATUS

    call = CallContext()
    config = provided(dict[str, Any], Config())
    pulse = provided(Pulse, Probe())

    users: UsersApi = remote(UsersApi)
    products: ProductsApi = remote(ProductsApi)
    inventory: InventoryApi = remote(InventoryApi)
    carts: CartsApi = remote(CartsApi)
    orders: OrdersApi = remote(OrdersApi)
    payments: PaymentsApi = remote(PaymentsApi)
    shipping: ShippingApi = remote(ShippingApi)
    notifications: NotificationsApi = remote(NotificationsApi)
    registry: RegistryApi = remote(RegistryApi)
    risk: RiskApi = remote(RiskApi)
    accounts: AccountsApi = remote(AccountsApi)
    transactions: TransactionsApi = remote(TransactionsApi)
    support: SupportApi = remote(SupportApi)

    # --- users

    @route("POST", "/v1/users", body=bodies.SignUp, success=201, refuses=UsersApi.sign_up)
    def sign_up(self, request: Request[bodies.SignUp]) -> User:
        """Sign up as a customer."""
        asked = request.body
        return self.users.sign_up(asked.email, asked.password, asked.name, key=key_of(request))

    @route("POST", "/v1/sessions", body=bodies.LogIn, success=201, refuses=UsersApi.log_in)
    def log_in(self, request: Request[bodies.LogIn]) -> Tokens:
        """Log in. A guest's cart, given as `cart_token`, becomes part of the customer's."""
        session = self.users.log_in(request.body.email, request.body.password)
        if request.body.cart_token:
            carts = tuned(self.carts, caller=Caller(customer_id=session.user.id, roles=tuple(session.user.roles)))
            carts.merge(session.user.id, request.body.cart_token, key=key_of(request))
        return session.tokens

    @route("POST", "/v1/sessions/refresh", body=bodies.Refresh, success=201, refuses=UsersApi.refresh)
    def refresh(self, request: Request[bodies.Refresh]) -> Tokens:
        """Trade a refresh token for a new pair. It works once; used again, it ends the session."""
        return self.users.refresh(request.body.refresh_token)

    @route("DELETE", "/v1/sessions/current", role=CUSTOMER, success=204, refuses=UsersApi.log_out)
    def log_out(self, request: Request) -> None:
        """Log out. The access token lives on for its few minutes."""
        self.users.log_out(request.caller.session_id or "")

    @route("PATCH", "/v1/users/{user_id}", body=bodies.Roles, role=OPERATOR, refuses=UsersApi.set_roles)
    def set_roles(self, request: Request[bodies.Roles], user_id: str) -> User:
        """Give a user exactly these roles."""
        return self.users.set_roles(user_id, request.body.roles, key=key_of(request))

    # --- catalogue and stock

    @route("GET", "/v1/products", query=bodies.ProductQuery, refuses=ProductsApi.find)
    def find_products(self, request: Request[None, bodies.ProductQuery]) -> ProductPage:
        """Search the catalogue. Prices are minor units."""
        asked = request.query
        return self.products.find(
            asked.query,
            asked.category,
            asked.min_price,
            asked.max_price,
            asked.in_stock,
            asked.sort,
            asked.limit,
            asked.cursor,
        )

    @route("GET", "/v1/products/{product_id}", refuses=ProductsApi.get)
    def get_product(self, request: Request, product_id: str) -> Product:
        """One product with its variants."""
        return self.products.get(product_id)

    @route("GET", "/v1/categories", refuses=ProductsApi.categories)
    def categories(self, request: Request) -> list[Category]:
        """All categories."""
        return self.products.categories()

    @route("POST", "/v1/products", body=NewProduct, role=STAFF, success=201, refuses=ProductsApi.create)
    def create_product(self, request: Request[NewProduct]) -> Reply[Product]:
        """Add a product."""
        product = self.products.create(request.body, key=key_of(request))
        return Reply(product, headers={"Location": f"/v1/products/{product.id}"})

    @route("PATCH", "/v1/products/{product_id}", body=ProductChanges, role=STAFF, refuses=ProductsApi.update)
    def change_product(self, request: Request[ProductChanges], product_id: str) -> Product:
        """Change or retire a product."""
        return self.products.update(product_id, request.body, key=key_of(request))

    @route("GET", "/v1/stock/{sku}", role=STAFF, refuses=InventoryApi.stock_of)
    def stock_of(self, request: Request, sku: str) -> Stock:
        """The counts of one sku."""
        return self.inventory.stock_of(sku)

    @route("POST", "/v1/stock/{sku}/adjustments", body=bodies.Adjustment, role=STAFF, refuses=InventoryApi.adjust)
    def adjust_stock(self, request: Request[bodies.Adjustment], sku: str) -> Stock:
        """Add (or, below zero, take away) units, with the reason."""
        return self.inventory.adjust(sku, request.body.quantity, request.body.reason, key=key_of(request))

    # --- cart

    @route("POST", "/v1/carts", success=201, refuses=CartsApi.create_guest)
    def create_cart(self, request: Request) -> GuestCart:
        """A cart for a guest; send its token as the header `Cart-Token`."""
        return self.carts.create_guest(key=key_of(request))

    @route("GET", "/v1/cart", role=CUSTOMER, guest="Cart-Token", refuses=(CartsApi.get, ProductsApi.offers))
    def get_cart(self, request: Request) -> bodies.CartView:
        """The cart, at the prices of now."""
        return cart_view(self.carts.get(_cart(request)), self.products, self.config["currency"])

    @route(
        "PUT",
        "/v1/cart/items/{sku}",
        body=bodies.PutItem,
        role=CUSTOMER,
        guest="Cart-Token",
        refuses=(CartsApi.put_item, ProductsApi.get),
    )
    def put_item(self, request: Request[bodies.PutItem], sku: str) -> bodies.CartView:
        """Set how many of a sku are in the cart; 0 removes it."""
        if request.body.quantity and not self.products.offers([sku]):
            raise Problem(404, "products.not_found", f"There is no article {sku!r}: look it up in the catalogue.")
        cart = self.carts.put_item(_cart(request), sku, request.body.quantity, key=key_of(request))
        return cart_view(cart, self.products, self.config["currency"])

    @route("DELETE", "/v1/cart/items/{sku}", role=CUSTOMER, guest="Cart-Token", refuses=CartsApi.put_item)
    def delete_item(self, request: Request, sku: str) -> bodies.CartView:
        """Take a sku out of the cart."""
        cart = self.carts.put_item(_cart(request), sku, 0, key=key_of(request))
        return cart_view(cart, self.products, self.config["currency"])

    @route("POST", "/v1/cart/quote", body=bodies.QuoteCart, role=CUSTOMER, guest="Cart-Token", refuses=OrdersApi.quote)
    def quote_cart(self, request: Request[bodies.QuoteCart]) -> Quote:
        """What the cart costs, sent to an address. `tax` is the part contained in `total`."""
        return self.orders.quote(_cart(request), request.body.shipping_address)

    # --- orders

    @route(
        "POST",
        "/v1/orders",
        body=bodies.PlaceOrder,
        role=CUSTOMER,
        idempotent=True,
        success=(202, 201),
        refuses=OrdersApi.place,
    )
    def place_order(self, request: Request[bodies.PlaceOrder]) -> Reply[Order]:
        """Order what is in the cart. Poll `GET /v1/orders/{id}`, or have this wait with `Prefer: wait=5` (201)."""
        asked, wait_s = request.body, request.prefer_wait_s
        order = tuned(self.orders, timeout_s=wait_s + PLACE_S).place(
            customer_of(request),
            asked.shipping_address,
            asked.payment_method,
            asked.expected_total,
            wait_s,
            key=key_of(request),
        )
        return begun(order, f"/v1/orders/{order.id}", wait_s, ended=order.status not in ("pending", "rejecting"))

    @route("GET", "/v1/orders", query=bodies.OrderQuery, role=CUSTOMER, refuses=OrdersApi.find)
    def find_orders(self, request: Request[None, bodies.OrderQuery]) -> OrderPage:
        """One's own orders, newest first."""
        asked = request.query
        return self.orders.find(customer_of(request), asked.status, asked.limit, asked.cursor)

    @route("GET", "/v1/orders/{order_id}", role=CUSTOMER, refuses=OrdersApi.get)
    def get_order(self, request: Request, order_id: str) -> Order:
        """One order with its timeline."""
        return self.orders.get(order_id)

    # --- shipments, and the calls of other companies

    @route("POST", "/v1/shipments/{tracking}/advance", role=STAFF, refuses=ShippingApi.advance)
    def advance_shipment(self, request: Request, tracking: str) -> Shipment:
        """With the sandbox carrier: move a parcel one state further."""
        return self.shipping.advance(tracking, key=key_of(request))

    @route("POST", "/v1/hooks/carrier", raw=True, success=204, refuses=ShippingApi.carrier_hook)
    def carrier_hook(self, request: Request) -> None:
        """For the carrier: signed news of a parcel."""
        self.shipping.carrier_hook(_signature(request), _text(request), key=key_of(request))

    @route("POST", "/v1/hooks/acquirer", raw=True, success=204, refuses=PaymentsApi.acquirer_hook)
    def acquirer_hook(self, request: Request) -> None:
        """For the acquirer: signed news of a payment."""
        self.payments.acquirer_hook(_signature(request), _text(request), key=key_of(request))

    # --- the gateway itself

    @route("GET", "/v1/health", inline=True)
    def health(self, request: Request) -> bodies.Alive:
        """Whether the gateway is alive, also under load."""
        return bodies.Alive(status="ok")

    @route("GET", "/v1/ready", success=(200, 503))
    def ready(self, request: Request) -> Reply[bodies.Ready]:
        """Whether the broker and every service answer; if not, who does not."""
        answers = self.pulse.feel(BEHIND)
        missing = [name for name, answered in answers.items() if not answered]
        if missing:
            raise Problem(
                503,
                "service.unavailable",
                f"No answer from: {', '.join(missing)}.",
                headers={"Retry-After": "1"},
                members={"services": answers},
            )
        return Reply(bodies.Ready(status="ready", services=answers))

    @route("GET", "/v1/openapi.json", inline=True, returns=dict[str, Any])
    def openapi(self, request: Request) -> Reply[dict[str, Any]]:
        """This API, as OpenAPI 3.1."""
        return Reply(openapi_document(GatewayService, "Rialto", VERSION))

    @route("GET", "/", inline=True, any_query=True, returns=str)
    def page(self, request: Request) -> Reply[str]:
        """The shop's page."""
        return Reply((ROOT / "web" / "index.html").read_bytes(), content_type="text/html; charset=utf-8")

    @route("GET", "/web/{name}", inline=True, any_query=True, returns=str)
    def page_file(self, request: Request, name: str) -> Reply[str]:
        """The page's script and style."""
        if name not in PAGE_FILES:
            raise Problem(404, "request.no_such_path", "There is no such file.")
        return Reply((ROOT / "web" / name).read_bytes(), content_type=f"{PAGE_FILES[name]}; charset=utf-8")


def _cart(request: Request[Any, Any]) -> CartRef:
    """The customer's cart; a guest's if nobody is signed in."""
    if request.caller.customer_id is not None:
        return CartRef(customer_id=request.caller.customer_id)
    return CartRef(token=request.guest_token)


def _signature(request: Request[Any, Any]) -> str:
    return request.headers.get("x-signature", "")


def _text(request: Request[Any, Any]) -> str:
    try:
        return request.raw_body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "request.bad_json", "The body must be UTF-8.") from None
