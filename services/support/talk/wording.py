"""The assistant's sentences, and money, days and goods in words: words/en.json and words/zh.json."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any

from chassis.currencies import decimal
from chassis.types import Money
from contracts.common import Address, OrderLine
from contracts.orders import Order
from services.support.talk.vocabulary import HEARD, WORDS

BESIDE_ID = re.compile(r"(?<=[0-9a-f]{8})(?=[\u4e00-\u9fff])")
SHORT = 8
"""How much of an id is told to customers."""


@cache
def words_of(language: str) -> "Words":
    return Words("zh" if language == "zh" else "en")


class Words:
    """Sentences of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        texts: dict[str, Any] = json.loads((WORDS / f"{language}.json").read_text("utf-8"))
        self._say: dict[str, str] = texts["say"]
        self._currencies: dict[str, str] = texts["currencies"]
        self._options: dict[str, str] = texts["options"]
        self._axes: dict[str, str] = texts["axes"]
        self._months: list[str] = texts["months"]
        self._countries = {
            code: name.title()
            for name, code in reversed(HEARD["countries"].items())
            if name.isascii() != (language == "zh")
        }
        self._signs: dict[str, str] = texts["signs"]

    def say(self, key: str, **values: Any) -> str:
        """A sentence with these values in it."""
        sentence = self._say[key].format(**values)
        if self.language == "zh":
            return BESIDE_ID.sub(" ", sentence)
        return sentence[:1].upper() + sentence[1:] if self._say[key].startswith("{order}") else sentence

    def knows(self, key: str) -> bool:
        return key in self._say

    def say_of(self, group: str, name: str | None, **values: Any) -> str:
        """The sentence of a group for a name, or the group's for any other."""
        key = f"{group}.{name}"
        return self.say(key if key in self._say else f"{group}.other", **values)

    def money(self, money: Money) -> str:
        """12.50 euro as people write it."""
        plain = decimal(Money(amount=abs(money.amount), currency=money.currency))
        whole, dot, rest = plain.partition(".")
        number = f"{int(whole):,}{dot}{rest}"
        shape = self._currencies.get(money.currency, "{} " + money.currency)
        return ("-" if money.amount < 0 else "") + shape.format(number)

    def day(self, day: datetime | date, today: datetime | date | None = None) -> str:
        """3 May, with the year if it is another one."""
        key = "day" if today is None or day.year == today.year else "day_of_year"
        return self._signs[key].format(day=day.day, month=self._months[day.month - 1], year=day.year)

    def moment(self, at: datetime) -> str:
        return f"{at:%H:%M} UTC"

    def sentences(self, *parts: str) -> str:
        """Sentences after one another."""
        return self._signs["after"].join(filter(None, parts))

    def all_of(self, parts: Sequence[str]) -> str:
        """A, b and c."""
        return self._joined(parts, self._signs["and"])

    def any_of(self, parts: Sequence[str]) -> str:
        """A, b or c."""
        return self._joined(parts, self._signs["or"])

    def _joined(self, parts: Sequence[str], last: str) -> str:
        head, tail = parts[:-1], parts[-1:]
        return last.join([self._signs["list"].join(head), *tail]) if head else "".join(tail)

    def axis(self, name: str) -> str:
        return self._axes.get(name, name)

    def option(self, value: str) -> str:
        return self._options.get(value, value)

    def options(self, options: Mapping[str, str]) -> str:
        return self._signs["comma"].join(self.option(value) for value in options.values())

    def thing(self, name: str, options: Mapping[str, str]) -> str:
        """Wool Jumper (red, S)."""
        return self._signs["thing"].format(name=name, options=self.options(options)) if options else name

    def line(self, line: OrderLine, quantity: int | None = None) -> str:
        """2 x Wool Jumper (red, S)."""
        count = line.quantity if quantity is None else quantity
        name = self.thing(line.name, line.options)
        return self._signs["count"].format(count=count, name=name) if count != 1 else name

    def lines(self, lines: Sequence[OrderLine], at_most: int = 3) -> str:
        shown = [self.line(line) for line in lines[:at_most]]
        if more := len(lines) - at_most:
            shown += [self.say("more", count=more)] if more > 0 else []
        return self.all_of(shown)

    def order(self, order: Order) -> str:
        """How an order is called: by the beginning of its id."""
        return self.say("an_order", id=order.id[:SHORT])

    def order_label(self, order: Order, today: datetime) -> str:
        """An order as one of several to choose from."""
        return self.say(
            "order_label",
            id=order.id[:SHORT],
            day=self.day(order.created_at, today),
            lines=self.lines(order.lines, 2),
            total=self.money(order.totals.total),
            status=self.say_of("status", order.status),
        )

    def address(self, address: Address) -> str:
        street = self._signs["comma"].join(filter(None, (address.line1, address.line2)))
        return self._signs["address"].format(
            name=address.name,
            street=street,
            postal_code=address.postal_code,
            city=address.city,
            country=self._countries.get(address.country, address.country),
        )

    def numbered(self, labels: Sequence[str]) -> str:
        return "\n".join(f"{number}. {label}" for number, label in enumerate(labels, 1))
