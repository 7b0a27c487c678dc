"""The rules of stock. Pure: no I/O."""

from collections import Counter
from collections.abc import Iterable

from contracts.common import Line


def merged(lines: Iterable[Line]) -> list[tuple[str, int]]:
    """Lines of one sku as one, in the order in which rows are locked: by sku, everywhere."""
    wanted: Counter[str] = Counter()
    for line in lines:
        wanted[line.sku] += line.quantity
    return sorted(wanted.items())
