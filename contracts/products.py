"""products: what the shop sells, at which price, and what it sold at before."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Event, Message, Money, api, event, refuses
from contracts.operations import DeadLettersApi

# PostgreSQL takes no NUL, a name of blanks is none, and `$` alone would let a line end pass.
Name = Annotated[str, msgspec.Meta(pattern=r"^\s*[^\x00\s][^\x00]*$", max_length=200)]
Description = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", max_length=5000)]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,40}(?!\n)$")]
NewSku = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?!\n)$")]
Option = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", min_length=1, max_length=60)]
Options = Annotated[dict[Option, Option], msgspec.Meta(max_length=10)]
Sort = Annotated[str, msgspec.Meta(pattern=r"^(relevance|name|price|-price|newest)(?!\n)$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]
PriceBound = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Price(Money, forbid_unknown_fields=True):
    """What something is sold at: never nothing, at most 9,999,999.99 of a currency with cents."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=999_999_999)]


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
    sku: NewSku
    price: Price
    options: Options = {}


class NewProduct(Message, forbid_unknown_fields=True):
    name: Name
    description: Description
    category: Slug
    variants: Annotated[list[NewVariant], msgspec.Meta(min_length=1, max_length=100)]


class VariantChange(Message, forbid_unknown_fields=True):
    """A variant is found by its sku, or added. An existing one keeps its options where none are given."""

    sku: NewSku
    price: Price
    options: Options | None = None


class ProductChanges(Message, forbid_unknown_fields=True):
    """What is given replaces what is there; no variant goes away. `retired` takes it off sale, or puts it back."""

    name: Name | None = None
    description: Description | None = None
    category: Slug | None = None
    variants: Annotated[list[VariantChange], msgspec.Meta(max_length=100)] | None = None
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
class ProductsApi(DeadLettersApi, Protocol):
    name: str

    @refuses("products.bad_cursor")
    def find(
        self,
        query: Annotated[str, msgspec.Meta(max_length=200)] | None = None,
        category: str | None = None,
        min_price: PriceBound | None = None,
        max_price: PriceBound | None = None,
        in_stock: bool | None = None,
        sort: Sort = "relevance",
        limit: Limit = 20,
        cursor: str | None = None,
    ) -> ProductPage:
        """Search what is on sale. Prices are minor units.

        A product is found if all words of `query` are in its name, category, description, options or skus, the last
        word also as the beginning of one; and if one of its variants fits price bounds and `in_stock`. `in_stock`
        False finds what is sold out. `sort`: relevance (the newest first where there is no query), name, price (of
        the cheapest variant), -price or newest. A cursor is good for the search that gave it.
        """
        ...

    @refuses("products.not_found")
    def get(self, product_id: str) -> Product:
        """One product; a retired one is found too, and says so."""
        ...

    def offers(self, skus: Annotated[list[str], msgspec.Meta(max_length=100)]) -> list[Offer]:
        """What these skus are sold for now, in their order; unknown and retired ones are left out."""
        ...

    def categories(self) -> list[Category]:
        """The categories that something on sale is in, by name. A category begins with its first product."""
        ...

    @refuses("products.sku_taken", "products.wrong_currency")
    def create(self, product: NewProduct, *, key: str) -> Product:
        """Add a product (staff). A sku is one variant's for ever, also of a retired product."""
        ...

    @refuses("products.not_found", "products.sku_taken", "products.wrong_currency")
    def update(self, product_id: str, changes: ProductChanges, *, key: str) -> Product:
        """Change or retire a product (staff), which has at most 100 variants. Earlier prices are kept."""
        ...

    @refuses("products.sku_taken", "products.wrong_currency")
    def import_products(self, products: Annotated[list[NewProduct], msgspec.Meta(max_length=200)], *, key: str) -> int:
        """Add products (staff): all or none. Answers how many."""
        ...

    @refuses("products.not_found")
    def price_history(self, sku: str) -> list[PriceChange]:
        """The prices of a sku, newest first, at most 100; also of a retired one."""
        ...
