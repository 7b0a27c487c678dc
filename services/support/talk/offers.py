"""What the shop sells: prices, stock, options, and two articles beside each other."""

import re
from collections.abc import Sequence

from chassis.types import Money
from contracts.products import Product, Variant
from services.support.talk import things
from services.support.talk.case import Case, Part, Stop
from services.support.talk.memory import Focus
from services.support.talk.vocabulary import normal

SHOWN, COMPARED = 3, 2
BETWEEN = re.compile(r"\s(?:and|or|vs\.?|versus|with|to|than)\s|\s?(?:和|与|跟|还是|或者|或|比|、)\s?|\s?,\s?")
SENTENCE = re.compile(r"(?<=[.!?。])\s+")


def _products(case: Case, text: str) -> list[Product]:
    """The products that are asked about, the best first; all that fit equally."""
    found = _search(case, text)
    if not found and case.focus.product_id:
        product = case.sight.product(case.focus.product_id)
        found = [product] if product is not None else []
    if not found:
        raise Stop(Part(text=case.words.say("no_product"), unanswered=False))
    return found


def _search(case: Case, text: str) -> list[Product]:
    words = things.tokens(text)
    seen: dict[str, Product] = {}
    for query in things.queries(text):
        seen |= {product.id: product for product in case.sight.products(query)}
        if query == " ".join(words) and seen:
            break
    counts = {each.id: len(things.hits(words, f"{each.name} {each.category}")) for each in seen.values()}
    most = max(counts.values(), default=0)
    return [each for each in seen.values() if most and counts[each.id] == most]


def _wanted(product: Product, text: str) -> list[Variant]:
    """The variants that a text names by their options; all, if it names none."""
    axes: dict[str, list[str]] = {}
    for variant in product.variants:
        for axis, value in variant.options.items():
            axes.setdefault(axis, []).append(value)
    options = things.named_options(text, axes)
    found = [v for v in product.variants if all(v.options.get(axis) == value for axis, value in options.items())]
    return found or product.variants


def _answer(case: Case, products: Sequence[Product], lines: Sequence[str]) -> Part:
    focus = Focus(product_id=products[0].id) if len(products) == 1 else None
    return Part(text="\n".join(lines), sources=[case.product_source(each) for each in products], focus=focus)


def product_price(case: Case, text: str) -> Part:
    products = _products(case, text)[:SHOWN]
    return _answer(case, products, [_price(case, each, _wanted(each, text)) for each in products])


def _price(case: Case, product: Product, variants: Sequence[Variant]) -> str:
    prices = sorted({variant.price.amount for variant in variants})
    if len(prices) == 1:
        return case.words.say("price", name=_name(case, product, variants), price=case.words.money(variants[0].price))
    each = [f"{case.words.options(variant.options)} {case.words.money(variant.price)}" for variant in variants]
    return case.words.say("prices", name=product.name, prices=case.words.all_of(each))


def _name(case: Case, product: Product, variants: Sequence[Variant]) -> str:
    return case.words.thing(product.name, variants[0].options) if len(variants) == 1 else product.name


def product_stock(case: Case, text: str) -> Part:
    products = _products(case, text)[:SHOWN]
    return _answer(case, products, [_stock(case, each, _wanted(each, text)) for each in products])


def _stock(case: Case, product: Product, variants: Sequence[Variant]) -> str:
    words = case.words
    there = [words.options(v.options) for v in variants if v.available]
    gone = [words.options(v.options) for v in variants if not v.available]
    about = {"name": _name(case, product, variants), "at": words.moment(case.at)}
    if len(variants) == 1 or not there or not gone:
        others = [words.options(v.options) for v in product.variants if v.available and v not in variants]
        said = words.say("stock.yes" if there else "stock.no", **about)
        more = words.say("stock.others", others=words.all_of(others)) if not there and others else ""
        return words.sentences(said, more)
    return words.say("stock.some", there=words.all_of(there), gone=words.all_of(gone), **about)


def product_options(case: Case, text: str) -> Part:
    """What there is to choose; or whether there is what was named."""
    products = _products(case, text)[:SHOWN]
    lines = [
        _options(case, each) if len(wanted := _wanted(each, text)) == len(each.variants) else _stock(case, each, wanted)
        for each in products
    ]
    return _answer(case, products, lines)


def _options(case: Case, product: Product) -> str:
    words = case.words
    axes: dict[str, dict[str, None]] = {}
    for variant in product.variants:
        for axis, value in variant.options.items():
            axes.setdefault(axis, {})[words.option(value)] = None
    if not axes:
        return words.say("options.none", name=product.name)
    each = [words.say("options.axis", axis=words.axis(axis), values=words.all_of(list(v))) for axis, v in axes.items()]
    said = words.say("options", name=product.name, axes=words.say("options.join").join(each))
    gone = [words.options(variant.options) for variant in product.variants if not variant.available]
    return words.sentences(said, words.say("options.gone", gone=words.all_of(gone)) if gone else "")


def product_compare(case: Case, text: str) -> Part:
    found: dict[str, Product] = {}
    words = things.tokens(text)
    for piece in BETWEEN.split(normal(text)):
        products = _search(case, piece) if things.tokens(piece) else []
        products.sort(key=lambda each: -len(things.hits(words, each.name)))
        found |= {product.id: product for product in products[: 1 if found else COMPARED]}
    if not found:
        found = {each.id: each for each in _products(case, text)}
    products = list(found.values())[:COMPARED]
    if len(products) < COMPARED:
        return Part(text=case.words.say("compare.which", name=products[0].name))
    lines = [_compared(case, each) for each in products]
    return _answer(case, products, [*lines, _cheaper(case, products)])


def _compared(case: Case, product: Product) -> str:
    words = case.words
    sentence = SENTENCE.split(product.description)[0]
    price = words.money(_lowest(product))
    return words.say("compare.one", name=product.name, price=price, about=sentence, options=_options(case, product))


def _cheaper(case: Case, products: Sequence[Product]) -> str:
    one, other = sorted(products, key=lambda each: _lowest(each).amount)
    less = _lowest(other).amount - _lowest(one).amount
    if not less:
        return case.words.say("compare.same")
    difference = case.words.money(Money(amount=less, currency=_lowest(one).currency))
    return case.words.say("compare.cheaper", name=one.name, difference=difference)


def _lowest(product: Product) -> Money:
    return min((variant.price for variant in product.variants), key=lambda price: price.amount)
