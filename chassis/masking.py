"""What operators are not shown: secrets by the name of their field, and whatever looks like one.

`MASKED` is the one table of names. Masking is for reading only; what is stored and sent stays as it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

HIDDEN = "***"
DEEPEST = 20


def shortened(text: str) -> str:
    """Of a long number as much as it takes to recognise it: its first two characters and its last four. Shortened once
    more it stays so."""
    return f"{text[:2]}…{text[-4:]}"


def _partly(value: str) -> str:
    """An address keeps its first letter and its domain, so that people know whom they talk about."""
    return _without_addresses(value) if "@" in value else HIDDEN


def _wholly(value: str) -> str:
    return HIDDEN


MASKED: Mapping[str, Callable[[str], str]] = {
    "access_token": _wholly,
    "api_key": _wholly,
    "authorization": _wholly,
    "card_number": _wholly,
    "cart_token": _wholly,
    "cvc": _wholly,
    "email": _partly,
    "iban": _wholly,
    "password": _wholly,
    "phone": _wholly,
    "private_key": _wholly,
    "refresh_token": _wholly,
    "secret": _wholly,
    "signature": _wholly,
    "token": _wholly,
}
"""Names of fields, and how much of them is hidden. A name that ends in `_` and one of these is masked as that one."""

# Whoever writes these texts must not be able to make them slow: what begins like a match is read to its end, and then
# left behind whether it was one or not (its last group). So no place of a text is begun from twice.
_EMAIL = re.compile(r"([\w.+-])[\w.+-]*+(?:@([\w-]++(?:\.[\w-]++)+))?")
_JWT = re.compile(r"eyJ[\w-]++(\.[\w-]++\.[\w-]*+)?", re.ASCII)
_SECRETS = re.compile(
    r"\b(?:tok|sk|pk|rk|whsec)_\w+"  # tokens and keys of card processors
    r"|\b[Bb]earer\s+\S+"
    r"|(?<=://)[^/\s:]*+:[^/\s]*(?=@)"  # a URI's user and password, whatever is in it
    r"|(?<=[?&]password=)[^&\s]+",  # of a database's
    re.ASCII,  # a letter of another script does not hide one
)
_DIGITS = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])", re.ASCII)


def masked(value: Any, depth: int = 0) -> Any:
    """Plain JSON values with what is secret in them hidden. What nests deeper than DEEPEST is hidden too."""
    if isinstance(value, str):
        return masked_text(value)
    if depth > DEEPEST:
        return HIDDEN
    if isinstance(value, Mapping):
        return {name: _field(name, part, depth + 1) for name, part in value.items()}
    if isinstance(value, Sequence):
        return [masked(part, depth + 1) for part in value]
    return value


def masked_text(text: str) -> str:
    """A sentence without addresses, tokens and card numbers."""
    text = _JWT.sub(lambda found: HIDDEN if found[1] else found[0], _without_addresses(text))
    text = _SECRETS.sub(HIDDEN, text)
    return _DIGITS.sub(lambda found: HIDDEN if _is_card_number(found[0]) else found[0], text)


def _without_addresses(text: str) -> str:
    return _EMAIL.sub(address_shown, text)


def address_shown(found: re.Match[str]) -> str:
    """What is shown of an address: a match's first group is its first letter, the second its domain, or None where it
    is no address."""
    return f"{found[1]}{HIDDEN}@{found[2]}" if found[2] else found[0]


def _field(name: str, value: Any, depth: int) -> Any:
    how = _how(name.lower())
    if how is None or value is None or isinstance(value, bool):
        return masked(value, depth)
    return how(value) if isinstance(value, str) else HIDDEN


def _how(name: str) -> Callable[[str], str] | None:
    parts = name.split("_")
    endings = ("_".join(parts[start:]) for start in range(len(parts)))
    return next((MASKED[ending] for ending in endings if ending in MASKED), None)


def _is_card_number(digits: str) -> bool:
    """Luhn's check."""
    numbers = [int(digit) for digit in reversed(digits) if digit.isdigit()]
    return (sum(numbers[::2]) + sum(sum(divmod(2 * number, 10)) for number in numbers[1::2])) % 10 == 0
