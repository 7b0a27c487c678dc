"""The desk's time: nights, week-ends, holidays, and the two days a year that are not 24 hours long."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.support.hours import Desk, Promises, due, require_works, worked

DESK = Desk()
HOUR = 3600.0


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("since", "hours", "until"),
    [
        ("2026-11-23T10:00+01:00", 2, "2026-11-23T12:00+01:00"),  # a Monday
        ("2026-11-23T16:00+01:00", 2, "2026-11-24T10:00+01:00"),  # over night
        ("2026-11-27T16:30+01:00", 1, "2026-11-30T09:30+01:00"),  # over a week-end
        ("2026-11-28T12:00+01:00", 1, "2026-11-30T10:00+01:00"),  # asked on a Saturday
        ("2026-11-23T03:00+01:00", 8, "2026-11-23T17:00+01:00"),  # a whole day, to its last second
        ("2026-12-24T16:00+01:00", 2, "2026-12-28T10:00+01:00"),  # both days of Christmas
        ("2026-04-27T10:00+02:00", 1, "2026-04-28T10:00+02:00"),  # the King's day
        ("2026-03-27T16:00+01:00", 2, "2026-03-30T10:00+02:00"),  # summer time began on Sunday
        ("2026-10-23T16:00+02:00", 2, "2026-10-26T10:00+01:00"),  # and ended
    ],
)
def test_time_runs_only_while_the_desk_works(since, hours, until):
    assert due(DESK, at(since), hours * HOUR) == at(until)
    assert worked(DESK, at(since), at(until)) == hours * HOUR


def test_a_desk_that_works_in_the_night_of_the_change_has_an_hour_less_and_an_hour_more():
    nights = Desk(days=(7,), opens="00:00", closes="06:00", country="")
    assert worked(nights, at("2026-03-28T12:00+01:00"), at("2026-03-29T12:00+02:00")) == 5 * HOUR
    assert worked(nights, at("2026-10-24T12:00+02:00"), at("2026-10-25T12:00+01:00")) == 7 * HOUR


@given(
    since_s=st.integers(0, 2 * 366 * 86400),
    seconds=st.integers(1, 40 * 3600),
)
def test_what_is_due_has_had_exactly_its_time(since_s, seconds):
    since = at("2026-01-01T00:00+00:00") + timedelta(seconds=since_s)
    then = due(DESK, since, seconds)
    assert worked(DESK, since, then) == seconds
    assert worked(DESK, since, then - timedelta(seconds=1)) == seconds - 1


@pytest.mark.parametrize(
    "desk", [Desk(days=[]), Desk(opens="17:00", closes="09:00"), Desk(zone="No/Where"), Desk(country="XX")]
)
def test_a_desk_that_never_works_is_refused(desk):
    with pytest.raises(ValueError, match="support_desk"):
        require_works(desk)


EACH = {"first_s": 60, "solve_s": 600}
PROMISES = dict.fromkeys(("low", "normal", "high", "urgent"), EACH)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"support_desk": {"days": []}}, "support_desk"),
        ({"support_desk": {"opens": "17:00", "closes": "09:00"}}, "support_desk"),
        ({"support_promises": {"low": EACH, "normal": EACH, "high": EACH}}, "none for urgent"),
    ],
)
def test_settings_that_no_promise_could_be_kept_by_are_refused_at_start(wrong, says):
    right = {"support_desk": {}, "support_promises": PROMISES, "support_foresee_s": 60}
    msgspec.convert(right, Promises)
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert({**right, **wrong}, Promises)
