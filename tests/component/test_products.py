"""products on a real database: the same search on both, pages that hold still, prices that are not forgotten."""

import time
import uuid
from datetime import UTC, datetime

import eventlet
import msgspec
import pytest
from nameko.containers import ServiceContainer
from nameko.standalone.events import event_dispatcher
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.services import worker_factory
from sqlalchemy import event, select

from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import ServiceError
from chassis.tables import outbox
from chassis.types import CUSTOMER, STAFF, Caller, Money
from contracts.inventory import StockChanged
from contracts.products import (
    Category,
    NewProduct,
    NewVariant,
    Offer,
    Price,
    ProductChanged,
    ProductChanges,
    VariantChange,
)
from services.products.service import ProductsService, ShopSettings

EUR = ShopSettings(currency="EUR")


def service_of(database, caller=None):
    return worker_factory(ProductsService, db=database, call=Call(trace_id="t", caller=caller), settings=EUR)


@pytest.fixture
def database(open_database):
    return open_database("products")


@pytest.fixture
def products(database):
    return service_of(database)


def euro(amount):
    return Price(amount=amount, currency="EUR")


def variant(sku, amount=1000, **options):
    return NewVariant(sku=sku, price=euro(amount), options=options)


def new(name, *variants, description="", category="home"):
    return NewProduct(
        name=name,
        description=description,
        category=category,
        variants=list(variants) or [variant(f"X-{uuid.uuid4().hex[:12]}")],
    )


def add(products, *made):
    return [products.create(one, key=uuid.uuid4().hex) for one in made]


def stock(products, sku, in_stock, sequence):
    fact = StockChanged(
        event_id=uuid.uuid4().hex,
        occurred_at=datetime.now(UTC),
        aggregate_id=sku,
        sequence=sequence,
        sku=sku,
        in_stock=in_stock,
    )
    products.on_stock_changed(msgspec.to_builtins(fact))


def names(products, **search):
    return [product.name for product in products.find(**search).items]


def code_of(refused, *args, **kwargs):
    with pytest.raises(ServiceError) as refusal:
        refused(*args, **kwargs)
    return refusal.value.code


def events(database):
    with database.read() as session:
        return [msgspec.json.decode(p, type=ProductChanged) for p in session.scalars(select(outbox.c.payload))]


@pytest.fixture
def shelf(products):
    """Five products, the oldest first."""
    return add(
        products,
        new("Morlune Table Lamp", variant("HOME-0001-RED-S", 2000, colour="red"), variant("HOME-0001-BLU", 4000)),
        new("Oak Desk", variant("OFFICE-0002", 30000), description="With room for a lamp.", category="office"),
        new("Lampshade", variant("HOME-0003", 1500)),
        new("Café cups", variant("KIT-0004", 900), description="Don't drop them.", category="kitchen"),
        new("Red blanket", variant("HOME-0005", 2500)),
    )


# --- create and read


def test_a_product_is_read_as_it_was_made(products):
    made = products.create(new("Lamp", variant("A-1", 1999, size="M"), variant("A-2", 999)), key="k")
    assert products.get(made.id) == made
    assert (made.name, made.category, made.retired) == ("Lamp", "home", False)
    assert [(v.sku, v.options, v.price, v.available) for v in made.variants] == [
        ("A-1", {"size": "M"}, Money(amount=1999, currency="EUR"), False),
        ("A-2", {}, Money(amount=999, currency="EUR"), False),
    ]


def test_a_repeated_create_adds_one_product(products, database):
    first = products.create(new("Lamp", variant("A-1")), key="k")
    assert products.create(new("Lamp", variant("A-1")), key="k") == first
    assert names(products) == ["Lamp"]
    assert len(events(database)) == 1


def test_an_unknown_product_is_not_found(products):
    for n, product_id in enumerate(("", "0" * 32, "0" * 31 + "\n", "é", "x" * 10_000, "' OR 1=1 --")):
        assert code_of(products.get, product_id) == "products.not_found"
        assert code_of(products.update, product_id, ProductChanges(), key=f"k{n}") == "products.not_found"


def test_a_taken_sku_is_refused_and_nothing_is_added(products, database):
    add(products, new("Lamp", variant("A-1")))
    with pytest.raises(ServiceError) as refusal:
        products.create(new("Other", variant("B-1"), variant("A-1")), key="k")
    assert (refusal.value.code, refusal.value.details) == ("products.sku_taken", {"sku": "A-1"})
    assert code_of(products.create, new("Twice", variant("C-1"), variant("C-1")), key="k2") == "products.sku_taken"
    assert names(products) == ["Lamp"]
    assert products.offers(["B-1", "C-1"]) == []
    assert len(events(database)) == 1


def test_of_many_who_take_a_sku_at_once_one_gets_it(sessions):
    factory = sessions("products").factory
    answers = []

    def create(n):
        database = WorkerDatabase(factory)
        try:
            answers.append(service_of(database).create(new(f"Lamp {n}", variant("A-1")), key=f"k{n}").name)
        except ServiceError as refusal:
            answers.append(refusal.code)
        finally:
            database.close()

    pool = eventlet.GreenPool()
    for n in range(6):
        pool.spawn(create, n)
    pool.waitall()
    assert [answer[:5] for answer in sorted(answers)] == ["Lamp ", *["produ"] * 5]
    assert answers.count("products.sku_taken") == 5


def test_another_currency_is_refused_and_nothing_is_added(products):
    dollars = NewVariant(sku="A-1", price=Price(amount=1, currency="USD"))
    assert code_of(products.create, new("Lamp", variant("A-2"), dollars), key="k") == "products.wrong_currency"
    assert names(products) == []


def test_only_staff_may_write(database):
    customer = service_of(database, Caller(customer_id="c", roles=(CUSTOMER,)))
    made = service_of(database, Caller(customer_id="s", roles=(STAFF,))).create(new("Lamp", variant("A-1")), key="k")
    assert code_of(customer.create, new("Lamp"), key="k1") == "auth.forbidden"
    assert code_of(customer.update, made.id, ProductChanges(retired=True), key="k2") == "auth.forbidden"
    assert code_of(customer.import_products, [new("Lamp")], key="k3") == "auth.forbidden"
    assert customer.find().items == [made]


def test_import_adds_all_or_none(products):
    assert products.import_products([new("A", variant("A-1")), new("B", variant("B-1"))], key="k") == 2
    assert products.import_products([new("A", variant("A-1")), new("B", variant("B-1"))], key="k") == 2
    more = [new("C", variant("C-1")), new("D", variant("A-1"))]
    assert code_of(products.import_products, more, key="k2") == "products.sku_taken"
    assert names(products, sort="name") == ["A", "B"]
    too_many = [msgspec.to_builtins(new("E"))] * 201
    assert code_of(products.import_products, too_many, key="k3") == "request.invalid"


# --- change


def test_changes_replace_what_they_name_and_keep_the_rest(products):
    [made] = add(products, new("Lamp", variant("A-1", 1000, size="M"), variant("A-2", 2000), description="Old"))
    repriced = VariantChange(sku="A-1", price=euro(1100))
    added = VariantChange(sku="A-3", price=euro(3000), options={"size": "L"})
    changed = products.update(made.id, ProductChanges(name="Lantern", variants=[added, repriced]), key="k")
    assert products.get(made.id) == changed
    assert (changed.name, changed.description, changed.category) == ("Lantern", "Old", "home")
    assert [(v.sku, v.options, v.price.amount) for v in changed.variants] == [
        ("A-1", {"size": "M"}, 1100),
        ("A-2", {}, 2000),
        ("A-3", {"size": "L"}, 3000),
    ]
    assert (names(products, query="lantern"), names(products, query="lamp")) == (["Lantern"], [])
    emptied = products.update(
        made.id, ProductChanges(variants=[VariantChange(sku="A-1", price=euro(1100), options={})]), key="k2"
    )
    assert emptied.variants[0].options == {}


def test_every_change_is_an_event_and_no_change_is_none(products, database):
    [made] = add(products, new("Lamp", variant("A-1", 1000)))
    same = ProductChanges(name="Lamp", retired=False, variants=[VariantChange(sku="A-1", price=euro(1000))])
    assert products.update(made.id, same, key="k1") == made
    changed = products.update(made.id, ProductChanges(description="Bright"), key="k2")
    assert [(e.aggregate_id, e.sequence, e.product) for e in events(database)] == [
        (made.id, 1, made),
        (made.id, 2, changed),
    ]


def test_a_refused_change_changes_nothing(products, database):
    lamp, _ = add(products, new("Lamp", variant("A-1", 1000)), new("Desk", variant("B-1")))
    stolen = ProductChanges(name="X", variants=[VariantChange(sku="B-1", price=euro(1))])
    dollars = [VariantChange(sku="A-1", price=Price(amount=5, currency="USD"))]
    many = [VariantChange(sku=f"M-{n}", price=euro(1)) for n in range(100)]
    assert code_of(products.update, lamp.id, stolen, key="k1") == "products.sku_taken"
    assert code_of(products.update, lamp.id, ProductChanges(variants=dollars), key="k2") == "products.wrong_currency"
    assert code_of(products.update, lamp.id, ProductChanges(variants=many), key="k3") == "request.invalid"
    assert products.get(lamp.id) == lamp
    assert len(products.price_history("A-1")) == 1
    assert len(events(database)) == 2


def test_a_retired_product_is_off_sale_but_can_be_looked_at_and_come_back(products):
    [made] = add(products, new("Lamp", variant("A-1")))
    products.update(made.id, ProductChanges(retired=True), key="k1")
    assert products.get(made.id).retired is True
    assert (products.find().items, products.offers(["A-1"]), products.categories()) == ([], [], [])
    assert code_of(products.create, new("New lamp", variant("A-1")), key="k2") == "products.sku_taken"
    products.update(made.id, ProductChanges(retired=False), key="k3")
    assert products.find(query="lamp").items == [made]


def test_price_history_has_each_price_once_newest_first(products):
    [made] = add(products, new("Lamp", variant("A-1", 1000), variant("A-2", 5)))
    for key, amount in (("k1", 1200), ("k2", 1200), ("k3", 900)):
        products.update(made.id, ProductChanges(variants=[VariantChange(sku="A-1", price=euro(amount))]), key=key)
    history = products.price_history("A-1")
    assert [point.price for point in history] == [Money(amount=a, currency="EUR") for a in (900, 1200, 1000)]
    assert sorted((point.at for point in history), reverse=True) == [point.at for point in history]
    assert [point.price.amount for point in products.price_history("A-2")] == [5]
    assert code_of(products.price_history, "A-3") == "products.not_found"
    assert code_of(products.price_history, "A\n") == "products.not_found"


# --- search


FOUND_BY = {
    "lamp": ["Lampshade", "Morlune Table Lamp", "Oak Desk"],
    "LAMPS": ["Lampshade", "Morlune Table Lamp", "Oak Desk"],
    "table lam": ["Morlune Table Lamp"],
    "lam table": [],
    "cafe": ["Café cups"],
    "cup": ["Café cups"],
    "don't": ["Café cups"],
    "HOME-0001-RED-S": ["Morlune Table Lamp"],
    "home-00": ["Red blanket", "Lampshade", "Morlune Table Lamp"],
    "office": ["Oak Desk"],
    "desk lamp": ["Oak Desk"],
    "unicorn": [],
    "  ": ["Red blanket", "Café cups", "Lampshade", "Oak Desk", "Morlune Table Lamp"],
    "?!": [],
}


def test_search_finds_words_and_the_beginning_of_the_last(products, shelf):
    assert {query: names(products, query=query) for query in FOUND_BY} == FOUND_BY


def test_relevance_puts_names_before_labels_before_descriptions(products):
    add(
        products,
        new("Brass lantern", variant("A-1")),
        new("Mug", variant("A-2", finish="brass")),
        new("Knob", variant("A-3"), description="Solid brass."),
        new("Hook", variant("A-4"), description="Polished brass."),
    )
    assert names(products, query="brass") == ["Brass lantern", "Mug", "Hook", "Knob"]


QUERY_LANGUAGE = r"""
" ' '' "lamp lamp* * ^lamp OR (((  ) {title}:lamp title:lamp lamp:* lamp:A <-> & | ! \ lamp\' % _ -- ; $$ ${x} :x ? %s
%(x)s -lamp +lamp l.a.m.p lamp! lamp& !lamp 'lamp' "lamp" "" "*" () 1e5 -1 0x1f http://a.b/c?d a@b.c 😀lamp
"""
QUERIES = ["lamp AND", "AND lamp", "NOT lamp", "lamp OR", "NEAR(lamp desk, 2)", "{title} : lamp", "lamp & | !"]
LONG_OR_BAD = ["\x01", "a\tb", "灯" * 200, "ﷺ" * 200, "a " * 100, "x" * 200, "é" * 200]


def test_no_query_is_an_error(products, shelf):
    for query in (*QUERY_LANGUAGE.split(), *QUERIES, *LONG_OR_BAD):
        assert set(names(products, query=query)) <= {"Morlune Table Lamp", "Lampshade", "Oak Desk"}, query


def test_filters_narrow_what_is_found(products, shelf):
    assert names(products, category="kitchen") == ["Café cups"]
    assert names(products, category="home", sort="price") == ["Lampshade", "Morlune Table Lamp", "Red blanket"]
    assert names(products, category="Home\n") == []
    assert names(products, min_price=2500, sort="name") == ["Morlune Table Lamp", "Oak Desk", "Red blanket"]
    assert names(products, max_price=1500, sort="name") == ["Café cups", "Lampshade"]
    assert names(products, min_price=3000, max_price=4000) == ["Morlune Table Lamp"]
    assert names(products, min_price=2001, max_price=2499) == []
    assert names(products, query="lamp", category="home", max_price=1999) == ["Lampshade"]
    assert names(products, max_price=2**53 - 1, query="desk") == ["Oak Desk"]


def test_price_and_stock_have_to_fit_the_same_variant(products, shelf):
    stock(products, "HOME-0001-BLU", True, 1)
    stock(products, "HOME-0005", True, 1)
    assert names(products, in_stock=True) == ["Red blanket", "Morlune Table Lamp"]
    assert names(products, in_stock=True, max_price=3000) == ["Red blanket"]
    assert names(products, in_stock=False) == ["Café cups", "Lampshade", "Oak Desk"]


SORTED = {
    "name": ["Café cups", "Lampshade", "Morlune Table Lamp", "Oak Desk", "Red blanket"],
    "price": ["Café cups", "Lampshade", "Morlune Table Lamp", "Red blanket", "Oak Desk"],
    "-price": ["Oak Desk", "Red blanket", "Morlune Table Lamp", "Lampshade", "Café cups"],
    "newest": ["Red blanket", "Café cups", "Lampshade", "Oak Desk", "Morlune Table Lamp"],
    "relevance": ["Red blanket", "Café cups", "Lampshade", "Oak Desk", "Morlune Table Lamp"],
}


def test_sorts(products, shelf):
    assert {sort: names(products, sort=sort) for sort in SORTED} == SORTED


def test_a_changed_price_moves_a_product_in_the_order(products, shelf):
    cheap = ProductChanges(variants=[VariantChange(sku="OFFICE-0002", price=euro(1))])
    products.update(shelf[1].id, cheap, key="k")
    assert names(products, sort="price")[0] == "Oak Desk"


OUT_OF_RANGE = (
    {"limit": 0},
    {"limit": 101},
    {"limit": "5"},
    {"sort": "age"},
    {"sort": "name\n"},
    {"min_price": -1},
    {"max_price": 2**53},
    {"query": "a" * 201},
    {"in_stock": "yes"},
    {"page": 2},
)


def test_a_search_out_of_range_is_invalid(products):
    assert [code_of(products.find, **wrong) for wrong in OUT_OF_RANGE] == ["request.invalid"] * len(OUT_OF_RANGE)


# --- pages


def pages(products, **search):
    found, cursor = [], None
    while True:
        page = products.find(cursor=cursor, **search)
        found.append([product.name for product in page.items])
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


@pytest.mark.parametrize(
    ("sort", "query"), [*((sort, None) for sort in SORTED), ("relevance", "lamp"), ("-price", "l")]
)
def test_inserts_between_pages_neither_skip_nor_repeat(products, sort, query):
    for n in range(7):  # equal names and prices in part, so that ties are at the pages' ends too
        described = "lamp" if n % 2 else "lamp " * n
        add(products, new(f"Lamp {n // 3}", variant(f"L-{n}", 100 + n // 2), description=described))
    ids = {p.id for p in products.find(limit=100).items}
    before = [p.id for p in products.find(sort=sort, query=query, limit=100).items]
    seen, cursor = [], None
    for page_number in range(100):
        page = products.find(sort=sort, query=query, limit=2, cursor=cursor)
        seen += [p.id for p in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        if page_number < 3:
            add(products, *(new(f"Lamp {n}", variant(f"N-{page_number}-{n}", 100 + page_number)) for n in range(3)))
    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in ids] == before


def test_the_last_page_has_no_cursor(products, shelf):
    assert pages(products, sort="name", limit=2) == [
        ["Café cups", "Lampshade"],
        ["Morlune Table Lamp", "Oak Desk"],
        ["Red blanket"],
    ]
    assert products.find(limit=5).next_cursor is None
    assert products.find(query="unicorn").next_cursor is None


def test_a_cursor_is_refused_by_another_search_and_good_for_another_limit(products, shelf):
    cursor = products.find(sort="price", limit=2).next_cursor
    assert names(products, sort="price", limit=1, cursor=cursor) == ["Morlune Table Lamp"]
    assert code_of(products.find, sort="-price", limit=2, cursor=cursor) == "products.bad_cursor"
    assert code_of(products.find, sort="price", category="home", cursor=cursor) == "products.bad_cursor"
    assert code_of(products.find, sort="price", query="?", cursor="x") == "products.bad_cursor"
    assert code_of(products.find, cursor="\n") == "products.bad_cursor"


# --- stock


def test_stock_events_move_the_flag_and_an_older_one_never_moves_it_back(products):
    [made] = add(products, new("Lamp", variant("A-1"), variant("A-2")))
    flags = []
    for in_stock, sequence in ((True, 1), (True, 3), (False, 2), (False, 4), (True, 4)):
        stock(products, "A-1", in_stock, sequence)
        flags.append([v.available for v in products.get(made.id).variants])
    assert flags == [[True, False]] * 3 + [[False, False]] * 2
    assert [offer.available for offer in products.offers(["A-1", "A-2"])] == [False, False]


def test_stock_that_came_before_its_product_is_remembered(products):
    stock(products, "A-1", True, 1)
    made = products.create(new("Lamp", variant("A-1")), key="k")
    assert made.variants[0].available is True
    assert products.find(in_stock=True).items == [made]


# --- offers and categories


def test_offers_answer_in_the_order_asked_without_what_is_not_sold(products, shelf):
    stock(products, "HOME-0003", True, 1)
    asked = ["HOME-0003", "nothing", "HOME-0001-RED-S", "\n", "", "HOME-0003"]
    assert products.offers(asked) == [
        Offer(
            sku="HOME-0003",
            product_id=shelf[2].id,
            name="Lampshade",
            options={},
            price=Money(amount=1500, currency="EUR"),
            available=True,
            tax_class="home",
        ),
        Offer(
            sku="HOME-0001-RED-S",
            product_id=shelf[0].id,
            name="Morlune Table Lamp",
            options={"colour": "red"},
            price=Money(amount=2000, currency="EUR"),
            available=False,
            tax_class="home",
        ),
    ]
    assert products.offers([]) == []
    assert code_of(products.offers, ["A"] * 101) == "request.invalid"


def test_categories_are_those_in_use_by_name(products, shelf):
    assert products.categories() == [
        Category(slug="home", name="Home"),
        Category(slug="kitchen", name="Kitchen"),
        Category(slug="office", name="Office"),
    ]


def test_reads_take_a_fixed_number_of_queries(products, shelf, database):
    statements = []
    engine = database.session.get_bind()
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for read in (
        lambda: products.get(shelf[0].id),
        lambda: products.offers([v.sku for p in shelf for v in p.variants]),
        lambda: products.find(query="lamp", in_stock=False, sort="price"),
    ):
        statements.clear()
        read()
        counts.append(len([s for s in statements if s.startswith("SELECT")]))
    assert counts == [1, 1, 2]


# --- over the broker


def until(holds, timeout_s=10.0):
    give_up = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < give_up, "it did not come to hold in time"
        eventlet.sleep(0.02)


def test_a_stock_client_uses_it_over_the_broker(container_factory, migrated_config):
    container: ServiceContainer = container_factory(ProductsService, migrated_config)
    container.start()
    with ServiceRpcProxy("products", migrated_config, timeout=10) as proxy:
        made = proxy.create(msgspec.to_builtins(new("Lamp", variant("A-1", 1999))), key="k")
        assert proxy.get(made["id"]) == made
        assert proxy.find("lamp") == {"items": [made], "next_cursor": None}
        fact = {"event_id": "e1", "occurred_at": "2026-01-01T00:00:00Z", "aggregate_id": "A-1", "sequence": 1}
        dispatch = event_dispatcher(migrated_config)
        dispatch("inventory", "stock_changed", fact | {"sku": "A-1", "in_stock": True})
        until(lambda: proxy.get(made["id"])["variants"][0]["available"])
