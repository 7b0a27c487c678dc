"""JSON as a stranger may send it, read without the liberties that Python's parser takes.

Refused: a name twice in one object, NaN and Infinity, a float beyond range, an integer beyond 2^53, NUL and lone
surrogates in strings, and nesting deeper than 32: what two readers of one document could understand differently.
"""

import json
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_INTEGER = 2**53


class BadJson(ValueError):
    """The text is not JSON that is accepted here; the message says why, fit to be shown to the client."""


def loads(raw: bytes) -> Any:
    """Parse UTF-8 JSON into dict, list, str, int, float, bool and None. Raises BadJson."""
    try:
        value = _decoder.decode(raw.decode())
    except UnicodeDecodeError:
        raise BadJson("The text is not UTF-8.") from None
    except RecursionError:
        raise BadJson(f"It is nested deeper than {MAX_DEPTH}.") from None
    except json.JSONDecodeError as exc:
        raise BadJson(f"{exc.msg} at line {exc.lineno}, column {exc.colno}.") from None
    # Both walks are rare: few brackets cannot nest deeply, and only an escape can make a NUL or a surrogate.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if b"\\u" in raw:
        require_plain(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item) if isinstance(child, dict | list)]
        if not level:
            return
    raise BadJson(f"It is nested deeper than {MAX_DEPTH}.")


def require_plain(value: Any) -> None:
    """Raises BadJson for NUL, half of a surrogate pair, or an integer beyond 2^53 anywhere in plain JSON values."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise BadJson("A string holds the character NUL.")
            if any("\ud800" <= char <= "\udfff" for char in item):
                raise BadJson("A string holds half of a surrogate pair.")
        elif isinstance(item, int) and abs(item) > MAX_INTEGER:
            raise BadJson("An integer is beyond 2^53, which not every reader can hold.")
        elif isinstance(item, dict):
            pending += item
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _children(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadJson(f"The name {json.dumps(twice[:100])} stands twice in one object.")
    return found


def _integer(digits: str) -> int:
    # Length first: converting thousands of digits is slow, and raises a ValueError of its own.
    if len(digits) > 17 or abs(number := int(digits)) > MAX_INTEGER:
        raise BadJson("An integer is beyond 2^53, which not every reader can hold.")
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if abs(number) == float("inf"):
        raise BadJson("A number is out of range.")
    # JSON has one kind of number: 2.0 is an integer to JSON Schema, and so to clients made from our OpenAPI.
    return int(number) if number.is_integer() and abs(number) <= MAX_INTEGER else number


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not JSON.")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
