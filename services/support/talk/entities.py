"""What a text names, in English or Chinese: orders, days, numbers, choices, amounts, ways to pay, yes and no. Pure."""

import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from chassis.types import Message
from services.support.talk.vocabulary import HEARD, consists_of, kinds, normal, pattern, says, values

ORDER_ID = re.compile(r"(?<![0-9a-z])[0-9a-f]{8,32}(?![0-9a-z])")
AMOUNT = re.compile(
    r"[€$£¥]\s?(\d+(?:[.,]\d{1,3})?)|(\d+(?:[.,]\d{1,3})?)\s?(?:euros?|eur|dollars?|usd|pounds?|yuan|rmb"
    r"|€|元|欧元|块)"
)
ISO_DAY = re.compile(r"(?<!\d)(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)")
DOTTED_DAY = re.compile(r"(?<!\d)(\d{1,2})[./](\d{1,2})[./]?(\d{4})?(?!\d)")
CHINESE_DAY = re.compile(r"(?:(\d{1,2})月)?(\d{1,2})[日号](?!楼)")
MONTHS = "|".join(sorted(HEARD["months"], key=len, reverse=True))
NAMED_DAY = re.compile(
    rf"(?<!\w)(?:(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({MONTHS})"
    rf"|({MONTHS})\.? (?:the )?(\d{{1,2}})(?:st|nd|rd|th)?)(?!\w)"
)
DIGITS = re.compile(r"(?<![\d.,])(\d{1,3})(?![\d.,]*\d)(?!\s?(?:cm|mm|m|米|%|-))")
COUNTED = re.compile(rf"([{''.join(w for w in HEARD['numbers'] if len(w) == 1)}])[{''.join(HEARD['units'])}]")
FEW = re.compile(
    r"(?<![a-z])(?:only|just) (one)(?! (?:in|that|which))"
    r"|(?:return|exchange|swap|back) (one)(?=[.,!?]|$)"
    r"|(?:^|(?:and|return|back|exchange|swap|keep|cancel) )(one)"
    r"(?= [a-z]{3,})(?! (?:from|that|which|with|size|please|more))"
    r"|(?<![a-z])(one|two|three|four|five|six|seven|eight|nine|ten) of"
    r"|(?<![a-z])(two|three|four|five|six|seven|eight|nine|ten)(?![a-z])"
)
ORDINALS = {normal(word): place for word, place in HEARD["ordinals"].items()}
NTH_ORDER = re.compile(rf"({pattern('ordinals').pattern})[个笔张]?\s*(?:orders?(?![a-z])|订单|单(?!价|独))")
LAST4 = re.compile(r"(?<!\d)(\d{4})(?!\d)")
TOKEN = re.compile(r"(?<!\w)tok_\w{3,60}")
CARD_ID = re.compile(r"(?<![0-9a-z-])(?=[a-z0-9-]*\d)[a-z0-9][a-z0-9-]{5,63}(?![0-9a-z-])")
NEAR = 20
"""By so many characters a text may be shorter or longer than as it reads."""
AT_END = re.compile(r"(?:the )?last(?: one)?[.!]?|最后(?:一个|那个)?[.!。]?")


class Span(Message):
    """Days, both included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


class Means(Message):
    """A way to pay as it was named: a kind, and what tells which."""

    type: Literal["card", "gift_card", "wallet"]
    id: str | None = None
    last4: str | None = None
    brand: str | None = None
    token: str | None = None
    currency: str | None = None


def order_ids(text: str) -> list[str]:
    """Ids of orders, or at least their first eight digits. A word or a plain year is none."""
    return [found for found in ORDER_ID.findall(normal(text)) if re.search(r"\d", found) and not _is_day(found)]


def is_bare_order(text: str) -> bool:
    """Whether a text is the number of an order, and nothing else."""
    found = order_ids(text)
    return len(found) == 1 and consists_of(normal(text).replace(found[0], " "), "choice_words", "polite")


def _is_day(digits: str) -> bool:
    return len(digits) == 8 and digits.isdigit() and digits.startswith("20") and "01" <= digits[4:6] <= "12"


def is_latest(text: str) -> bool:
    return says("latest", text)


def nth_order(text: str) -> int | None:
    """Which of all of the customer's orders is meant, the first one ever is 1: "my second order"."""
    found = NTH_ORDER.search(normal(text))
    return int(ORDINALS[found[1]]) if found else None


def days(text: str, today: date) -> list[Span]:
    """The days that a text names, in the past as seen from today."""
    text = normal(text)
    ago = [_day(today - timedelta(days=count)) for count in values("days_ago", text)[:1]]
    weeks = [_week(today, count) for count in values("weeks_ago", text)[:1]]
    weekdays = [_day(_last(today, number)) for number in values("weekdays", text)[:1]]
    return _written(text, today) or ago or weekdays or weeks


def _written(text: str, today: date) -> list[Span]:
    found = [(int(y), int(m), int(d)) for y, m, d in ISO_DAY.findall(text)]
    months = HEARD["months"]
    for day, month, other_month, other_day in NAMED_DAY.findall(text):
        found.append((0, months[month or other_month], int(day or other_day)))
    for month, day in CHINESE_DAY.findall(text):
        found.append((0, int(month or today.month), int(day)))
    for day, month, year in DOTTED_DAY.findall(text):
        found.append((int(year or 0), int(month), int(day)))
    spans = (_past(today, *parts) for parts in found)
    return [span for span in spans if span is not None]


def _past(today: date, year: int, month: int, day: int) -> Span | None:
    """A day whose year may be left out: then the last one that was."""
    try:
        if year:
            return _day(date(year, month, day))
        this_year = date(today.year, month, day)
        return _day(this_year if this_year <= today else date(today.year - 1, month, day))
    except ValueError:
        return None


def _day(day: date) -> Span:
    return Span(first=day, last=day)


def _week(today: date, ago: int) -> Span:
    monday = today - timedelta(days=today.weekday() + 7 * ago)
    return Span(first=monday, last=monday + timedelta(days=6))


def _last(today: date, weekday: int) -> date:
    return today - timedelta(days=(today.weekday() - weekday) % 7)


def statuses(text: str) -> list[str]:
    """States of orders that a text names."""
    found = kinds("statuses", text)
    return ["confirmed"] if "confirmed" in found and "shipped" in found else found


def amounts(text: str) -> list[Decimal]:
    """Amounts of money, in units."""
    return [Decimal((one or other).replace(",", ".")) for one, other in AMOUNT.findall(normal(text))]


def choices(text: str, count: int) -> list[int]:
    """Which of `count` numbered things are meant, from 0: by number, ordinal, the last, or all; nothing if unsure."""
    text = normal(text)
    if count and AT_END.fullmatch(text):
        return [count - 1]
    if says("all", text) and consists_of(text, "all", "choice_words", "polite"):
        return list(range(count))
    text = _without(text, NAMED_DAY, ISO_DAY, CHINESE_DAY)
    found = values("ordinals", text) + [int(digits) for digits in DIGITS.findall(text)]
    if not found:
        found = values("numbers", text) if consists_of(text, "numbers", "choice_words") else []
    return list(dict.fromkeys(n - 1 for n in found)) if found and all(1 <= n <= count for n in found) else []


def is_bare_choice(text: str) -> bool:
    """Whether a text is a number or an ordinal, and nothing else."""
    text = normal(text)
    rest = DIGITS.sub(" ", text)
    return bool(AT_END.fullmatch(text)) or (
        consists_of(rest, "ordinals", "numbers", "choice_words", "all")
        and (rest != text or bool(values("ordinals", text) or values("numbers", text) or says("all", text)))
    )


def quantity(text: str) -> int | None:
    """How many are meant: 2, two, only one, two pieces in Chinese. Not the digits of a day, an amount or an id."""
    text = _without(normal(text), AMOUNT, ORDER_ID, ISO_DAY, DOTTED_DAY, NAMED_DAY, CHINESE_DAY)
    counted = COUNTED.search(text)
    if counted and not re.search(rf"第{counted[0]}|[这那]{counted[0]}", text):
        return int(HEARD["numbers"][counted[1]])
    if digits := DIGITS.search(text):
        return int(digits[1])
    few = FEW.search(text)
    return int(HEARD["numbers"][next(filter(None, few.groups()))]) if few else None


def number(text: str) -> int | None:
    """The number that somebody says who was asked how many."""
    found = [int(digits) for digits in DIGITS.findall(normal(text))] or values("numbers", text)
    return int(found[0]) if found else None


def _without(text: str, *patterns: re.Pattern[str]) -> str:
    for each in patterns:
        text = each.sub(" ", text)
    return text


def wants_all(text: str) -> bool:
    return says("all", text)


def is_about_the_same(text: str) -> bool:
    """Whether a text points at what was spoken of."""
    return says("pronouns", text)


def consent(text: str) -> Literal["yes", "no"] | None:
    """A plain yes or no. With anything more in it, it is neither."""
    if says("no", text) and consists_of(text, "no", "polite"):
        return "no"
    if says("yes", text) and consists_of(text, "yes", "polite"):
        return "yes"
    return None


def correction(text: str) -> str | None:
    """What is said instead: "the blue one" of "no, the blue one". None if it does not correct anything."""
    plain = normal(text)
    rest, marks = plain, pattern("corrections")
    while found := marks.match(rest):
        rest = rest[found.end() :].lstrip(" ,.!、。")
    if rest == plain:
        later = {found[0] for found in marks.finditer(plain)}
        return text if later - {"no", "just", "only", "but"} else None
    return _end_of(text, rest) if rest else None


def _end_of(text: str, plain: str) -> str:
    """The end of a text as it was written, from about where it reads so."""
    begin = max(0, len(text) - len(plain) - NEAR)
    return next((text[place:] for place in range(begin, len(text)) if normal(text[place:]) == plain), plain).strip()


def reason(text: str) -> str | None:
    """The key of a usual reason that a text gives."""
    return next(iter(kinds("reasons", text)), None)


def own_reason(text: str) -> str | None:
    """What follows `because`."""
    parts = pattern("because").split(normal(text), maxsplit=1)
    return parts[1].strip(" ,.:!。")[:200] or None if len(parts) > 1 else None


def means(text: str) -> Means | None:
    """The way to pay that a text names."""
    plain = normal(text)
    if says("gift_card", plain):
        rest = pattern("gift_card").split(plain, maxsplit=1)[1]
        found = CARD_ID.search(rest)
        return Means(type="gift_card", id=found[0] if found else None)
    last4 = LAST4.search(_without(plain, ORDER_ID))
    brand = next(iter(brands), None) if (brands := [b for b in HEARD["brands"] if b in plain]) else None
    token = TOKEN.search(plain)
    if token or brand or says("card", plain) or (says("ending", plain) and last4):
        return Means(type="card", last4=last4[1] if last4 else None, brand=brand, token=token[0] if token else None)
    if says("wallet", plain):
        currency = next(iter(values("currencies", plain)), None)
        return Means(type="wallet", currency=currency)
    return None
