"""The rules of the catalogue: words that find, orders that pages keep, cursors. Pure: no I/O."""

import base64
import hashlib
import re
import unicodedata
from typing import Annotated

import msgspec

from chassis.errors import ServiceError
from chassis.types import Message
from contracts.products import Product

MAX_VARIANTS = 100
MAX_QUERY_WORDS = 20
MAX_SORT_NAME = 60
MAX_WORD = 64

_WORD = re.compile(r"[^\W_]+")
_ID = re.compile(r"[0-9a-f]{32}")
_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,40}")

_Number = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_by_name = msgspec.json.Decoder(tuple[Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")], _Number, str])
_by_number = msgspec.json.Decoder(tuple[_Number, _Number, str])


class Search(Message):
    """What is looked for, without how much of it at a time: a cursor belongs to one of these."""

    query: str | None = None
    category: str | None = None
    min_price: int | None = None
    max_price: int | None = None
    in_stock: bool | None = None
    sort: str = "relevance"


class Words(Message):
    """A product's words, in the three places that weigh differently."""

    title: list[str]
    label: list[str]
    body: list[str]


def is_id(text: str) -> bool:
    """Whether a product can have this id. What cannot be is not asked for: PostgreSQL would not even take some."""
    return _ID.fullmatch(text) is not None


def is_sku(text: str) -> bool:
    return _SKU.fullmatch(text) is not None


def is_slug(text: str) -> bool:
    return _SLUG.fullmatch(text) is not None


def category_name(slug: str) -> str:
    """What people read: `garden-tools` is "Garden tools"."""
    return slug.replace("-", " ").strip().capitalize()


def words(text: str) -> list[str]:
    """The words of a text as they are indexed and looked for: no accents, no case, and a plural as its singular.

    Both databases get these, so both find the same; nothing in them means anything to a query language.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()
    return [_singular(word[:MAX_WORD]) for word in _WORD.findall(plain)]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] not in "isu" else word


def sort_name(name: str) -> str:
    return " ".join(words(name))[:MAX_SORT_NAME]


def words_of(product: Product) -> Words:
    """What finds a product: its name and skus most of all, then its category and options, then its description."""
    options = [text for variant in product.variants for text in variant.options.values()]
    return Words(
        title=_unique(product.name, *(variant.sku for variant in product.variants)),
        label=_unique(product.category, *options),
        body=_unique(product.description),
    )


def _unique(*texts: str) -> list[str]:
    return list(dict.fromkeys(words(" ".join(texts))))


def cursor_after(search: Search, key: str | int, number: int) -> str:
    """The place behind a page's last product, by its sort key and its number.

    Its digest tells whether it was changed, or comes from another search. It keeps no secret.
    """
    digest = hashlib.sha256(msgspec.json.encode([search, key, number])).hexdigest()[:16]
    return base64.urlsafe_b64encode(msgspec.json.encode([key, number, digest])).decode().rstrip("=")


def place_of(search: Search, cursor: str) -> tuple[str | int, int]:
    """The sort key and number that a cursor stands for. Raises ServiceError `products.bad_cursor`."""
    decoder = _by_name if search.sort == "name" else _by_number
    key: str | int
    try:
        key, number, _ = decoder.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if cursor == cursor_after(search, key, number):
            return key, number
    except (ValueError, msgspec.DecodeError):
        pass  # as bad as one with a wrong digest
    raise ServiceError("products.bad_cursor", "This cursor is not of this search: begin again without one.")
