"""Currencies of ISO 4217, and amounts as people read them."""

from iso4217 import Currency

from chassis.types import Money

EXPONENTS: dict[str, int] = {each.code: each.exponent for each in Currency if each.exponent is not None}
"""How many digits the minor unit of each currency has: EUR 2, JPY 0, KWD 3. Metals and test codes are left out."""


def decimal(money: Money) -> str:
    """19.99, 1999, 1.999: with as many digits as the currency has, two if it is unknown."""
    digits = EXPONENTS.get(money.currency, 2)
    units, fraction = divmod(abs(money.amount), 10**digits)
    sign = "-" if money.amount < 0 else ""
    return f"{sign}{units}.{fraction:0{digits}d}" if digits else f"{sign}{units}"


def formatted(money: Money) -> str:
    """19.99 EUR, 1999 JPY, 1.999 KWD."""
    return f"{decimal(money)} {money.currency}"
