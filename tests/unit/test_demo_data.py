"""The demo's catalogue: the same each time, valid by the contract, and with something cheap to buy."""

import re
from collections import Counter

import msgspec

from contracts.products import NewProduct
from scripts.demo_data import LINES_AT_ONCE, PRODUCTS_AT_ONCE, catalogue, load, stock

CATEGORIES = {"home", "kitchen", "garden", "books", "clothing", "toys", "sports", "office"}


class Recorder:
    """Stands for the services; every call is kept, and answered as by services that have all of it already."""

    def __init__(self):
        self.calls = []
        self.products = self.inventory = self

    def import_products(self, products, *, key):
        self.calls.append((key, products))
        return len(products)

    def receive(self, lines, reason, *, key):
        self.calls.append((key, lines))
        return lines

    def adjust(self, sku, quantity, reason, *, key):
        self.calls.append((key, quantity))

    def offers(self, skus):
        assert len(skus) <= 100
        return [{"available": True} for _ in skus]


def test_the_catalogue_is_the_same_for_the_same_seed_only():
    assert catalogue(7) == catalogue(7)
    assert catalogue(7) != catalogue(8)
    assert catalogue(7, "CHF")[0].variants[0].price.currency == "CHF"


def test_there_are_30_products_in_each_of_8_categories_with_names_of_their_own():
    products = catalogue()
    assert Counter(product.category for product in products) == dict.fromkeys(CATEGORIES, 30)
    assert len({product.name for product in products}) == 240
    assert {product.category for product in products[-8:]} == CATEGORIES


def test_every_product_is_valid_by_the_contract():
    products = catalogue()
    assert msgspec.convert(msgspec.to_builtins(products), list[NewProduct]) == products


def test_each_product_has_1_to_4_variants_with_their_own_sku_and_options():
    products = catalogue()
    assert {len(product.variants) for product in products} == {1, 2, 3, 4}
    skus = [variant.sku for product in products for variant in product.variants]
    assert len(skus) == len(set(skus))
    assert all(re.fullmatch(r"[A-Z]+-00[0-3][0-9](-[A-Z0-9]+){0,2}", sku) for sku in skus)
    for product in products:
        options = [tuple(variant.options.items()) for variant in product.variants]
        assert len(options) == len(set(options))


def test_prices_are_between_5_and_200_in_whole_currency():
    amounts = [variant.price.amount for product in catalogue() for variant in product.variants]
    assert 500 <= min(amounts) < max(amounts) < 20000


def test_home_has_a_cheap_lamp_in_good_supply():
    products = catalogue()
    quantities = stock(products)
    lamps = [product for product in products if product.category == "home" and "Table Lamp" in product.name]
    assert len(lamps) == 3
    assert all(variant.price.amount < 2000 for lamp in lamps for variant in lamp.variants)
    assert min(quantities[variant.sku] for variant in lamps[0].variants) >= 100


def test_a_few_articles_are_sold_out_and_most_are_there_by_the_hundred():
    quantities = stock(catalogue())
    assert set(quantities) == {variant.sku for product in catalogue() for variant in product.variants}
    assert quantities == stock(catalogue())
    assert (min(quantities.values()), max(quantities.values()) <= 500) == (0, True)
    assert 5 <= sum(quantity == 0 for quantity in quantities.values()) <= 30
    assert sum(quantity >= 100 for quantity in quantities.values()) > 0.8 * len(quantities)


def test_a_repeat_loads_the_same_batches_under_the_same_keys(capsys):
    products = catalogue()
    first, second = Recorder(), Recorder()
    load(first, products, stock(products))
    load(second, products, stock(products))
    assert first.calls == second.calls
    assert len({key for key, _ in first.calls}) == len(first.calls)
    batches = [(key, batch) for key, batch in first.calls if isinstance(batch, list)]
    limits = {"demo-products": PRODUCTS_AT_ONCE, "demo-stock": LINES_AT_ONCE}
    assert all(len(batch) <= limits[key.rpartition("-")[0]] for key, batch in batches)
    received = sum(line["quantity"] for key, batch in batches if key.startswith("demo-stock") for line in batch)
    assert received == sum(stock(products).values())
    assert "products: 240 of 240" in capsys.readouterr().out
