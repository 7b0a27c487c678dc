"""Text search: SQLite's FTS5 and PostgreSQL's tsvector behind two functions, `index` and `matching`.

Both get the words that the domain made, and put them into their query languages quoted. Relevance is a rank of three:
all words in the name or the skus, all in these, category and options, anywhere. See docs/adr/0011-search.md.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, cast, delete, false, insert, literal_column, select, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
from sqlalchemy.orm import Session

from services.products.domain import MAX_QUERY_WORDS, Words, words
from services.products.models import Product, postgresql_index, sqlite_index

# PostgreSQL's names for the places, the heaviest first
_WEIGHTS = {"title": "A", "label": "B", "body": "D"}
_PLACES = tuple(_WEIGHTS)


def index(session: Session, number: int, found_by: Words) -> None:
    """Let a product be found by these words from now on, and by no others."""
    if session.get_bind().dialect.name == "sqlite":
        row = {place: " ".join(getattr(found_by, place)) for place in _PLACES}
        session.execute(delete(sqlite_index).where(sqlite_index.c.rowid == number))
        session.execute(insert(sqlite_index).values(rowid=number, **row))
        return
    vector = " ".join(
        f"'{word}':{position}{weight}"
        for position, (place, weight) in enumerate(_WEIGHTS.items(), 1)
        for word in getattr(found_by, place)
    )
    added = postgresql.insert(postgresql_index).values(product=number, words=cast(vector, TSVECTOR))
    session.execute(added.on_conflict_do_update(index_elements=["product"], set_={"words": added.excluded.words}))


def matching(session: Session, query: str | None) -> tuple[ColumnElement[bool], ColumnElement[int]]:
    """The condition that a product matches what somebody typed, and its rank, the highest first.

    A blank query matches all, the newest first; one of signs only matches nothing.
    """
    blank = not (query and query.strip())
    terms = words(query or "")[:MAX_QUERY_WORDS]
    if blank or not terms:
        return true() if blank else false(), Product.number.expression
    hits = _sqlite_hits if session.get_bind().dialect.name == "sqlite" else _postgresql_hits
    in_title, in_label, anywhere = (Product.number.in_(hits(terms, _PLACES[:count])) for count in (1, 2, 3))
    return anywhere, case((in_title, 2), (in_label, 1), else_=0)


def _sqlite_hits(terms: Sequence[str], places: Sequence[str]) -> Select[Any]:
    wanted = " AND ".join(f'"{term}"' for term in terms)
    match = literal_column(sqlite_index.name).op("MATCH")(f"{{{' '.join(places)}}} : ({wanted} *)")
    return select(sqlite_index.c.rowid).where(match)


def _postgresql_hits(terms: Sequence[str], places: Sequence[str]) -> Select[Any]:
    weights = "".join(_WEIGHTS[place] for place in places)
    wanted = " & ".join([*(f"'{term}':{weights}" for term in terms[:-1]), f"'{terms[-1]}':*{weights}"])
    match = postgresql_index.c.words.op("@@")(cast(wanted, TSQUERY))
    return select(postgresql_index.c.product).where(match)
