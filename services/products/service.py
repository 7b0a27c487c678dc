"""products: what the shop sells, at which price, and what it sold at before."""

from typing import Annotated

import msgspec

from chassis.commands import command
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.dead_letters import DeadLetterOperations
from chassis.events import handles
from chassis.outbox import Relay
from chassis.provide import provided
from chassis.prune import Pruner
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Message
from contracts.inventory import StockChanged
from contracts.products import (
    Category,
    Limit,
    NewProduct,
    Offer,
    PriceBound,
    PriceChange,
    Product,
    ProductChanges,
    ProductPage,
    ProductsApi,
    Sort,
)
from services.products import store
from services.products.domain import Search
from services.products.models import Base


class ShopSettings(Message):
    """`currency`: the one that everything is sold in."""

    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class ProductsService(DeadLetterOperations):
    name = "products"

    call = provided(Call, CallContext(ProductsApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    relay = Relay()
    settings = provided(ShopSettings, Settings(ShopSettings))

    @rpc
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
        search = Search(
            query=query, category=category, min_price=min_price, max_price=max_price, in_stock=in_stock, sort=sort
        )
        with self.db.read() as session:
            return store.find(session, search, limit, cursor)

    @rpc
    def get(self, product_id: str) -> Product:
        with self.db.read() as session:
            return store.get(session, product_id)

    @rpc
    def offers(self, skus: Annotated[list[str], msgspec.Meta(max_length=100)]) -> list[Offer]:
        with self.db.read() as session:
            return store.offers(session, skus)

    @rpc
    def categories(self) -> list[Category]:
        with self.db.read() as session:
            return store.categories(session)

    @rpc
    def price_history(self, sku: str) -> list[PriceChange]:
        with self.db.read() as session:
            return store.price_history(session, sku)

    @command
    def create(self, product: NewProduct, *, key: str) -> Product:
        self.call.require_staff()
        return store.add(self.db.session, product, self.settings.currency)

    @command
    def update(self, product_id: str, changes: ProductChanges, *, key: str) -> Product:
        self.call.require_staff()
        return store.change(self.db.session, product_id, changes, self.settings.currency)

    @command
    def import_products(self, products: Annotated[list[NewProduct], msgspec.Meta(max_length=200)], *, key: str) -> int:
        self.call.require_staff()
        for product in products:
            store.add(self.db.session, product, self.settings.currency)
        return len(products)

    @handles(StockChanged)
    def on_stock_changed(self, fact: StockChanged) -> None:
        store.note_stock(self.db.session, fact)
