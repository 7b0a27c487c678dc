"""The rules of carts. Pure: lines go in, lines come out, in the order in which they were first put."""

from collections import Counter
from collections.abc import Iterable

from contracts.common import Line

MAX_LINES = 100
MAX_QUANTITY = 999


class TooManyLines(Exception):
    """The cart has MAX_LINES lines, and this would be one more."""


def is_id(customer_id: str) -> bool:
    """Whether there can be a customer of this id: PostgreSQL would not even take some."""
    return 0 < len(customer_id) <= 64 and "\0" not in customer_id


def put(lines: list[Line], sku: str, quantity: int) -> list[Line]:
    """Set the quantity of a sku; 0 removes its line. Raises TooManyLines."""
    if quantity and all(line.sku != sku for line in lines):
        if len(lines) >= MAX_LINES:
            raise TooManyLines
        return [*lines, Line(sku=sku, quantity=quantity)]
    return _lines({line.sku: line.quantity for line in lines} | {sku: quantity})


def merged(ours: list[Line], guests: list[Line]) -> list[Line]:
    """Both carts in one, quantities added; capped rather than refused, for a log-in must not fail by a cart."""
    both = Counter({line.sku: line.quantity for line in ours})
    for line in guests:
        both[line.sku] = min(MAX_QUANTITY, both[line.sku] + line.quantity)
    return _lines(both)[:MAX_LINES]


def without(lines: list[Line], ordered: Iterable[Line]) -> list[Line]:
    """What stays after an order: the quantities beyond the ordered ones."""
    left = {line.sku: line.quantity for line in lines}
    for line in ordered:
        if line.sku in left:
            left[line.sku] -= line.quantity
    return _lines(left)


def _lines(quantities: dict[str, int]) -> list[Line]:
    return [Line(sku=sku, quantity=quantity) for sku, quantity in quantities.items() if quantity > 0]
