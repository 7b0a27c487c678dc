"""Business time: how long the desk has really had. Pure: the moment is given.

A desk works on some days between two hours of its own time zone, never on its holidays. Time runs only then, through
changes of daylight saving too: what counts is the moment, and hours are cut from moments.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, get_args
from zoneinfo import ZoneInfo

import holidays
import msgspec

from chassis.types import Message
from contracts.support import Priority

LONGEST = timedelta(days=400)
"""So far ahead a moment is looked for: a desk that never works is refused at start."""

Weekday = Annotated[int, msgspec.Meta(ge=1, le=7)]
Clock = Annotated[str, msgspec.Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Desk(Message):
    """When the desk works. `days`: 1 is Monday. `opens` and `closes` are of its own zone. `country` names the holidays
    of the `holidays` library; empty for none."""

    zone: str = "Europe/Amsterdam"
    days: tuple[Weekday, ...] = (1, 2, 3, 4, 5)
    opens: Clock = "09:00"
    closes: Clock = "17:00"
    country: str = "NL"


class Promise(Message):
    """Seconds of the desk's time until the first answer, and until it is solved."""

    first_s: float
    solve_s: float


class Promises(Message):
    """By priority; and how long before it is missed a promise is told to be in danger."""

    support_desk: Desk
    support_promises: dict[Priority, Promise]
    support_foresee_s: float

    def __post_init__(self) -> None:
        require_works(self.support_desk)
        if lacking := set(get_args(Priority)) - self.support_promises.keys():
            raise ValueError(f"support_promises has none for {', '.join(sorted(lacking))}")


def due(desk: Desk, since: datetime, business_s: float) -> datetime:
    """When so many seconds of the desk's time have passed since a moment."""
    left = timedelta(seconds=business_s)
    for begins, ends in _spans(desk, since):
        if left <= ends - begins:
            return begins + left
        left -= ends - begins
    raise ValueError("this desk does not work long enough in a year")


def worked(desk: Desk, since: datetime, until: datetime) -> float:
    """Seconds of the desk's time between two moments."""
    total = timedelta()
    for begins, ends in _spans(desk, since):
        if begins >= until:
            break
        total += min(ends, until) - begins
    return total.total_seconds()


def require_works(desk: Desk) -> None:
    """Refuse a desk that never works, or whose zone or country nobody knows: ValueError with a sentence."""
    try:
        ZoneInfo(desk.zone)
        _holidays(desk.country, 2026)
    except (KeyError, NotImplementedError, ValueError, OSError) as exc:
        raise ValueError(f"support_desk: {exc}") from exc
    if not desk.days or desk.opens >= desk.closes:
        raise ValueError("support_desk needs days, and opens before closes")


def _spans(desk: Desk, since: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The desk's spans of work from a moment on, in UTC."""
    zone = ZoneInfo(desk.zone)
    day, last = since.astimezone(zone).date(), since + LONGEST
    while (opens := _moment(day, desk.opens, zone)) < last:
        closes = _moment(day, desk.closes, zone)
        if day.isoweekday() in desk.days and day not in _holidays(desk.country, day.year) and closes > since:
            yield max(opens, since.astimezone(UTC)), closes
        day += timedelta(days=1)


def _moment(day: date, clock: str, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), zone).astimezone(UTC)


@lru_cache(maxsize=64)
def _holidays(country: str, year: int) -> frozenset[date]:
    if not country:
        return frozenset()
    return frozenset(holidays.country_holidays(country, years=year))
