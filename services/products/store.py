"""products' queries. What others see of a product is read in one query, with what inventory said of its skus."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
from sqlalchemy import ColumnElement, Table, bindparam, false, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis.db import insert_new, now, run
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.types import Money
from contracts import products as contract
from contracts.inventory import StockChanged
from services.products.domain import (
    MAX_VARIANTS,
    Search,
    category_name,
    cursor_after,
    is_id,
    is_sku,
    is_slug,
    place_of,
    sort_name,
    words_of,
)
from services.products.models import Availability, PricePoint, Product, Variant
from services.products.search import index, matching

_SEEN = (
    select(
        Product.number,
        Product.id,
        Product.name,
        Product.description,
        Product.category,
        Product.retired,
        Variant.sku,
        Variant.options,
        Variant.amount,
        Variant.currency,
        func.coalesce(Availability.in_stock, false()).label("available"),
    )
    .join(Variant, Variant.product == Product.number)
    .outerjoin(Availability, Availability.sku == Variant.sku)
    .order_by(Variant.product, Variant.position)
)


# --- reading


def get(session: Session, product_id: str) -> contract.Product:
    seen = _seen(session, Product.id == product_id) if is_id(product_id) else {}
    if not seen:
        raise _no_product(product_id)
    return next(iter(seen.values()))


def find(session: Session, search: Search, limit: int, cursor: str | None) -> contract.ProductPage:
    """A page: its numbers by one query, its products by another.

    It begins behind the cursor's sort key, not at an offset: products that are added meanwhile move nothing.
    """
    matches, rank = matching(session, search.query)
    key, falling = _order(search.sort, rank)
    page = select(key.label("key"), Product.number).where(Product.retired.is_(False), matches, *_filters(search))
    if cursor is not None:
        here, after = tuple_(key, Product.number), tuple_(*place_of(search, cursor))
        page = page.where(here < after if falling else here > after)
    page = page.order_by(key.desc(), Product.number.desc()) if falling else page.order_by(key, Product.number)
    rows = session.execute(page.limit(limit + 1)).all()
    on_page = [row.number for row in rows[:limit]]
    seen = _seen(session, Product.number.in_(on_page)) if on_page else {}
    last = cursor_after(search, rows[limit - 1].key, rows[limit - 1].number) if len(rows) > limit else None
    return contract.ProductPage(items=[seen[number] for number in on_page], next_cursor=last)


def _order(sort: str, rank: ColumnElement[int]) -> tuple[ColumnElement[Any], bool]:
    """What a sort orders by, and whether it falls. A product's number ends every tie."""
    orders: dict[str, tuple[ColumnElement[Any], bool]] = {
        "relevance": (rank, True),
        "name": (Product.sort_name.expression, False),
        "price": (Product.lowest_price.expression, False),
        "-price": (Product.lowest_price.expression, True),
        "newest": (Product.number.expression, True),
    }
    return orders[sort]


def _filters(search: Search) -> Iterable[ColumnElement[bool]]:
    """One variant has to fit both price and stock: a cheap one that is sold out is no find."""
    if search.category is not None:
        yield Product.category == search.category if is_slug(search.category) else false()
    in_stock = select(Availability.sku).where(Availability.sku == Variant.sku, Availability.in_stock).exists()
    fits = [
        *([Variant.amount >= search.min_price] if search.min_price is not None else []),
        *([Variant.amount <= search.max_price] if search.max_price is not None else []),
        *([in_stock] if search.in_stock else []),
    ]
    own = select(Variant.sku).where(Variant.product == Product.number)
    if fits:
        yield own.where(*fits).exists()
    if search.in_stock is False:
        yield ~own.where(in_stock).exists()


_OFFERED = _SEEN.where(Variant.sku.in_(bindparam("skus", expanding=True)), Product.retired.is_(False))


def offers(session: Session, skus: Sequence[str]) -> list[contract.Offer]:
    wanted = dict.fromkeys(sku for sku in skus if is_sku(sku))
    rows = run(session, _OFFERED, skus=list(wanted)).all()
    found = {
        row.sku: contract.Offer(
            sku=row.sku,
            product_id=row.id,
            name=row.name,
            options=row.options,
            price=Money(amount=row.amount, currency=row.currency),
            available=row.available,
            tax_class=row.category,
        )
        for row in rows
    }
    return [found[sku] for sku in wanted if sku in found]


def categories(session: Session) -> list[contract.Category]:
    slugs = session.scalars(select(Product.category).where(Product.retired.is_(False)).distinct())
    return sorted((contract.Category(slug=slug, name=category_name(slug)) for slug in slugs), key=lambda c: c.name)


def price_history(session: Session, sku: str) -> list[contract.PriceChange]:
    newest_first = select(PricePoint).where(PricePoint.sku == sku).order_by(PricePoint.id.desc()).limit(100)
    points = session.scalars(newest_first).all() if is_sku(sku) else []
    if not points:
        raise ServiceError("products.not_found", f"There is no article {sku!r}.", {"sku": sku})
    return [
        contract.PriceChange(sku=sku, price=Money(amount=point.amount, currency=point.currency), at=point.at)
        for point in points
    ]


def _seen(session: Session, condition: ColumnElement[bool]) -> dict[int, contract.Product]:
    """Products by number, each with its variants in their order."""
    rows: dict[int, list[Any]] = {}
    for row in session.execute(_SEEN.where(condition)):
        rows.setdefault(row.number, []).append(row)
    return {number: _product(of_one) for number, of_one in rows.items()}


def _product(rows: list[Any]) -> contract.Product:
    first = rows[0]
    return contract.Product(
        id=first.id,
        name=first.name,
        description=first.description,
        category=first.category,
        retired=first.retired,
        variants=[
            contract.Variant(
                sku=row.sku,
                options=row.options,
                price=Money(amount=row.amount, currency=row.currency),
                available=row.available,
            )
            for row in rows
        ],
    )


def _no_product(product_id: str) -> ServiceError:
    return ServiceError("products.not_found", "There is no such product.", {"product_id": product_id[:100]})


# --- writing


def add(session: Session, new: contract.NewProduct, currency: str) -> contract.Product:
    """Raises ServiceError `products.sku_taken`, `products.wrong_currency`."""
    _require_currency(new.variants, currency)
    row = dict(
        id=uuid.uuid4().hex,
        name=new.name,
        description=new.description,
        category=new.category,
        retired=False,
        sort_name=sort_name(new.name),
        lowest_price=min(variant.price.amount for variant in new.variants),
        sequence=0,
    )
    number = session.scalar(insert(Product).values(row).returning(Product.number)) or 0
    _add_variants(session, number, 0, new.variants, now(session))
    return _tell(session, number)


def change(session: Session, product_id: str, changes: contract.ProductChanges, currency: str) -> contract.Product:
    """Raises ServiceError `products.not_found` and as `add`. What changes nothing leaves no event and no price."""
    locked = select(Product.number).where(Product.id == product_id).with_for_update()
    number = session.scalar(locked) if is_id(product_id) else None
    if number is None:
        raise _no_product(product_id)
    before = _seen(session, Product.number == number)[number]
    variants = changes.variants or []
    _require_currency(variants, currency)
    _change_variants(session, number, before.variants, variants)
    given = ("name", "description", "category", "retired")
    values: dict[str, Any] = {name: value for name in given if (value := getattr(changes, name)) is not None}
    if changes.name is not None:
        values["sort_name"] = sort_name(changes.name)
    lowest = select(func.min(Variant.amount)).where(Variant.product == number).scalar_subquery()
    session.execute(update(Product).where(Product.number == number).values(**values, lowest_price=lowest))
    after = _seen(session, Product.number == number)[number]
    return after if after == before else _tell(session, number)


def _change_variants(
    session: Session, number: int, old: Sequence[contract.Variant], variants: Sequence[contract.VariantChange]
) -> None:
    there = {variant.sku: variant for variant in old}
    added = [variant for variant in variants if variant.sku not in there]
    if len(there) + len(added) > MAX_VARIANTS:
        message = f"A product has at most {MAX_VARIANTS} variants."
        raise ServiceError("request.invalid", message, {"field": "changes.variants"})
    at = now(session)
    _add_variants(session, number, len(there), added, at)
    for variant in variants:
        if (known := there.get(variant.sku)) is None:
            continue
        price = Money(amount=variant.price.amount, currency=variant.price.currency)
        options = known.options if variant.options is None else variant.options
        values = dict(amount=price.amount, currency=price.currency, options=options)
        session.execute(update(Variant).where(Variant.sku == variant.sku).values(values))
        if known.price != price:
            session.execute(insert(PricePoint).values(_price_point(variant, at)))
        there[variant.sku] = msgspec.structs.replace(known, price=price, options=options)


def _add_variants(
    session: Session,
    number: int,
    position: int,
    variants: Sequence[contract.NewVariant | contract.VariantChange],
    at: datetime,
) -> None:
    """Raises ServiceError `products.sku_taken`, also for a sku that stands twice among them."""
    if not variants:
        return
    rows = [
        dict(
            sku=variant.sku,
            product=number,
            position=position + offset,
            options=variant.options or {},
            amount=variant.price.amount,
            currency=variant.price.currency,
        )
        for offset, variant in enumerate(variants)
    ]
    # Not asked before but found by inserting: on PostgreSQL another transaction may hold a sku that none can see yet.
    into = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    unless_taken = into(Variant).values(rows).on_conflict_do_nothing(index_elements=["sku"]).returning(Variant.sku)
    free = list(session.scalars(unless_taken))
    for variant in variants:
        if variant.sku not in free:
            message = f"There is an article {variant.sku!r} already: take another sku."
            raise ServiceError("products.sku_taken", message, {"sku": variant.sku})
        free.remove(variant.sku)
    session.execute(insert(PricePoint).values([_price_point(variant, at) for variant in variants]))


def _price_point(variant: contract.NewVariant | contract.VariantChange, at: datetime) -> dict[str, Any]:
    return dict(sku=variant.sku, amount=variant.price.amount, currency=variant.price.currency, at=at)


def _require_currency(variants: Iterable[contract.NewVariant | contract.VariantChange], currency: str) -> None:
    for variant in variants:
        if variant.price.currency != currency:
            message = f"This shop sells in {currency}, and {variant.sku!r} is priced in {variant.price.currency!r}."
            raise ServiceError("products.wrong_currency", message, {"sku": variant.sku, "currency": currency})


def _tell(session: Session, number: int) -> contract.Product:
    """After every change: index the product and publish product_changed."""
    numbered = update(Product).where(Product.number == number).values(sequence=Product.sequence + 1)
    sequence = session.scalar(numbered.returning(Product.sequence)) or 0
    product = _seen(session, Product.number == number)[number]
    index(session, number, words_of(product))
    publish(
        session,
        contract.ProductChanged(
            event_id=uuid.uuid4().hex,
            occurred_at=now(session),
            aggregate_id=product.id,
            sequence=sequence,
            product=product,
        ),
    )
    return product


def note_stock(session: Session, fact: StockChanged) -> None:
    """Keep what inventory says of a sku, unless something later is known; also of a sku that nothing has yet."""
    values = dict(in_stock=fact.in_stock, sequence=fact.sequence)
    if not insert_new(session, cast(Table, Availability.__table__), {"sku": fact.sku, **values}):
        older = update(Availability).where(Availability.sku == fact.sku, Availability.sequence < fact.sequence)
        session.execute(older.values(values))
