"""products: what the shop sells, at which price, and what it sold at before."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.common import Sku, Text


class Variant(Message):
    """`available` is a flag kept from inventory's events; the truth is inventory's at the time of ordering."""

    sku: str
    options: dict[str, str]
    price: Money
    available: bool


class Product(Message):
    id: str
    name: str
    description: str
    category: str
    variants: list[Variant]
    retired: bool = False


class ProductPage(Message):
    items: list[Product]
    next_cursor: str | None


class Category(Message):
    slug: str
    name: str


class NewVariant(Message, forbid_unknown_fields=True):
    sku: Sku
    price: Money
    options: dict[str, str] = {}


class NewProduct(Message, forbid_unknown_fields=True):
    name: Text
    description: Annotated[str, msgspec.Meta(max_length=5000)]
    category: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,40}$")]
    variants: Annotated[list[NewVariant], msgspec.Meta(min_length=1, max_length=100)]


class ProductChanges(Message, forbid_unknown_fields=True):
    """What is given replaces what is there; a variant is found by its sku, or added. `retired` takes it off sale."""

    name: Text | None = None
    description: Annotated[str, msgspec.Meta(max_length=5000)] | None = None
    category: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,40}$")] | None = None
    variants: Annotated[list[NewVariant], msgspec.Meta(max_length=100)] | None = None
    retired: bool | None = None


class Offer(Message):
    """One sku as it is sold now. `tax_class` is its product's category."""

    sku: str
    product_id: str
    name: str
    options: dict[str, str]
    price: Money
    available: bool
    tax_class: str


class PriceChange(Message):
    sku: str
    price: Money
    at: datetime


@event("products", "product_changed")
class ProductChanged(Event):
    """A product was added, changed or retired; aggregate_id is its id."""

    product: Product


@api("products")
class ProductsApi(Protocol):
    name: str

    @refuses("products.bad_cursor")
    def find(
        self,
        query: str | None = None,
        category: str | None = None,
        min_price: int | None = None,
        max_price: int | None = None,
        in_stock: bool | None = None,
        sort: str = "relevance",
        limit: int = 20,
        cursor: str | None = None,
    ) -> ProductPage:
        """Search. `sort`: relevance, name, price, -price or newest. Prices are minor units. At most 100 at a time."""
        ...

    @refuses("products.not_found")
    def get(self, product_id: str) -> Product:
        """One product; a retired one is found too, and says so."""
        ...

    def offers(self, skus: list[str]) -> list[Offer]:
        """What these skus are sold for now, at most 100; unknown and retired ones are left out."""
        ...

    def categories(self) -> list[Category]:
        """All categories, by name."""
        ...

    @refuses("products.sku_taken", "products.wrong_currency")
    def create(self, product: NewProduct, *, key: str) -> Product:
        """Add a product (staff)."""
        ...

    @refuses("products.not_found", "products.sku_taken", "products.wrong_currency")
    def update(self, product_id: str, changes: ProductChanges, *, key: str) -> Product:
        """Change or retire a product (staff). Earlier prices are kept."""
        ...

    @refuses("products.sku_taken", "products.wrong_currency")
    def import_products(self, products: list[NewProduct], *, key: str) -> int:
        """Add up to 200 products at once (staff); answers how many."""
        ...

    @refuses("products.not_found")
    def price_history(self, sku: str) -> list[PriceChange]:
        """The prices of a sku, newest first, at most 100."""
        ...
