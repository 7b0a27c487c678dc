"""Who is there, by what was heard: instances come, drain, leave, fall silent, return and go."""

from datetime import timedelta

import pytest

from services.registry.domain import Census, Change, Patience, Trace, may_follow
from tests.registry import EVERY_S, GONE_AFTER_S, GONE_BEATS, NOON, SUSPECT_AFTER_S, SUSPECT_BEATS, Ear, telling

A_MOMENT = 0.001


@pytest.fixture
def ear():
    return Ear()


def traces(*ids, last="up", service="orders"):
    return {each: Trace(each, service, 40, "host-a", 100, last) for each in ids}


# --- coming, draining, leaving


def test_an_instance_is_up_from_the_first_time_that_it_is_heard(ear):
    assert ear.hear(telling(beat=1)) == [("up", "o1")]
    assert ear.pass_s(EVERY_S).hear(telling(beat=2)) == []
    (known,) = ear.census.of("orders")
    assert (known.state, known.since, known.heard, known.told.beat) == ("up", 1000.0, 1002.0, 2)
    assert known.seen_at == NOON + timedelta(seconds=1002)


def test_one_that_drains_is_still_there_and_one_that_left_is_not(ear):
    ear.hear(telling(beat=1))
    assert ear.hear(telling(beat=2, state="draining")) == [("draining", "o1")]
    assert ear.states() == {"o1": "draining"}
    assert ear.hear(telling(beat=3, state="draining")) == []
    assert ear.hear(telling(beat=4, state="left")) == [("left", "o1")]
    assert ear.states() == {}


def test_one_that_is_first_heard_when_it_drains_came_and_drains(ear):
    assert ear.hear(telling(beat=9, state="draining")) == [("up", "o1"), ("draining", "o1")]


def test_nothing_is_said_of_one_that_is_first_heard_when_it_leaves(ear):
    assert ear.hear(telling(beat=9, state="left")) == []
    assert ear.states() == {}


def test_instances_of_a_service_are_told_apart_from_those_of_others_the_oldest_first(ear):
    ear.hear(telling(instance="o2", started_s=5), telling("users", "u1"), telling(instance="o1", started_s=1))
    assert [known.told.id for known in ear.census.of("orders")] == ["o1", "o2"]
    assert [known.told.id for known in ear.census.of("users")] == ["u1"]
    assert ear.census.of("nobody") == []


# --- what comes late


@pytest.mark.parametrize("late", [2, 1])
def test_an_announcement_that_is_older_than_what_is_known_changes_nothing(ear, late):
    ear.hear(telling(beat=2, state="draining"))
    ear.pass_s(5)
    assert ear.hear(telling(beat=late)) == []
    (known,) = ear.census.of("orders")
    assert (known.state, known.heard) == ("draining", 1000.0)


def test_a_beat_that_was_overtaken_by_the_last_word_brings_nobody_back(ear):
    ear.hear(telling(beat=1), telling(beat=3, state="left"))
    assert ear.hear(telling(beat=2)) == []
    assert ear.states() == {}


def test_one_that_has_left_is_over_whatever_else_is_heard_of_it(ear):
    ear.hear(telling(beat=1), telling(beat=2, state="left"))
    assert ear.hear(telling(beat=3, state="draining"), telling(beat=4, state="left")) == []
    assert ear.states() == {}


def test_a_late_beat_of_one_that_is_gone_brings_it_back_no_more_than_a_repeat_would(ear):
    ear.hear(telling(beat=5))
    ear.pass_s(SUSPECT_AFTER_S + A_MOMENT).look()
    ear.pass_s(GONE_AFTER_S).look()
    assert ear.hear(telling(beat=4), telling(beat=5)) == []
    assert ear.states() == {}


def test_what_ended_is_not_remembered_for_ever(ear):
    ear.hear(telling(beat=1), telling(beat=2, state="left"))
    assert list(ear.census.ended) == ["o1"]
    ear.pass_s(299).look()
    assert list(ear.census.ended) == ["o1"]
    ear.pass_s(1).look()
    assert ear.census.ended == {}


# --- silence


def test_one_is_suspect_when_it_missed_its_beats_and_not_a_moment_before(ear):
    ear.hear(telling())
    assert ear.pass_s(SUSPECT_AFTER_S).look() == []
    assert ear.states() == {"o1": "up"}
    assert ear.pass_s(A_MOMENT).look() == [("suspect", "o1")]
    assert ear.states() == {"o1": "suspect"}
    assert ear.census.alive() == []
    assert ear.pass_s(1).look() == []  # it is said once


def test_silence_is_measured_by_the_instances_own_interval(ear):
    ear.hear(telling(instance="slow", every_ms=10_000), telling(instance="fast", every_ms=100))
    assert ear.pass_s(0.4).look() == [("suspect", "fast")]
    assert ear.pass_s(29.5).look() == [("gone", "fast")]
    assert ear.pass_s(0.2).look() == [("suspect", "slow")]


def test_a_suspect_that_speaks_is_back(ear):
    ear.hear(telling(beat=1))
    ear.pass_s(SUSPECT_AFTER_S + 1).look()
    assert ear.hear(telling(beat=2)) == [("back", "o1")]
    assert ear.states() == {"o1": "up"}
    assert ear.pass_s(SUSPECT_AFTER_S).look() == []


def test_one_that_drained_when_it_fell_silent_is_back_and_still_drains(ear):
    ear.hear(telling(beat=1), telling(beat=2, state="draining"))
    ear.pass_s(SUSPECT_AFTER_S + 1).look()
    assert ear.states() == {"o1": "suspect"}
    assert ear.hear(telling(beat=3, state="draining")) == [("back", "o1")]
    assert ear.states() == {"o1": "draining"}


def test_a_suspect_that_says_that_it_drains_is_back_and_drains(ear):
    ear.hear(telling(beat=1))
    ear.pass_s(SUSPECT_AFTER_S + 1).look()
    assert ear.hear(telling(beat=2, state="draining")) == [("back", "o1"), ("draining", "o1")]


def test_a_suspect_is_gone_after_its_time_and_not_a_moment_before(ear):
    ear.hear(telling())
    ear.pass_s(SUSPECT_AFTER_S + A_MOMENT).look()
    ear.at = 1000.0 + GONE_AFTER_S
    assert ear.look() == []
    assert ear.pass_s(A_MOMENT).look() == [("gone", "o1")]
    assert ear.states() == {}
    assert ear.pass_s(100).look() == []


def test_one_that_was_gone_and_speaks_again_is_up(ear):
    ear.hear(telling(beat=1))
    ear.pass_s(GONE_AFTER_S + 1).look()
    ear.pass_s(1).look()
    assert ear.noted == [("up", "o1"), ("suspect", "o1"), ("gone", "o1")]
    assert ear.hear(telling(beat=2)) == [("up", "o1")]


def test_nobody_is_gone_at_the_first_look_that_misses_them(ear):
    """The registry itself may have stood still, with the announcements waiting in its queue."""
    ear.hear(telling(beat=1), telling("users", "u1", beat=1))
    assert ear.pass_s(600).look() == [("suspect", "o1"), ("suspect", "u1")]
    assert ear.hear(telling(beat=2)) == [("back", "o1")]
    assert ear.pass_s(1).look() == [("gone", "u1")]


# --- a successor


def test_a_successor_in_the_same_place_ends_its_predecessor_at_once(ear):
    ear.hear(telling(instance="old", slot="1"))
    assert ear.hear(telling(instance="new", slot="1", started_s=9)) == [("gone", "old"), ("up", "new")]
    assert ear.states() == {"new": "up"}


@pytest.mark.parametrize(
    "other",
    [
        dict(slot="2"),
        dict(slot="1", host="host-b"),
        dict(slot="1", service="users"),
        dict(slot="1", started_s=-9),
        dict(slot="1", started_s=0),
    ],
    ids=["another place", "another host", "another service", "an older one", "one of the same moment"],
)
def test_nobody_else_ends_it(ear, other):
    ear.hear(telling(instance="old", slot="1"))
    assert ear.hear(telling(instance="new", **other)) == [("up", "new")]
    assert ear.states() == {"old": "up", "new": "up"}


def test_who_has_no_place_succeeds_nobody(ear):
    ear.hear(telling(instance="old", slot=""))
    assert ear.hear(telling(instance="new", slot="", started_s=9)) == [("up", "new")]


def test_two_that_claim_the_same_place_and_both_live_are_both_there(ear):
    """Two systems at one broker: each has an instance 1. Nothing flaps: that is said once."""
    ear.hear(telling(instance="old", slot="1", beat=1), telling(instance="new", slot="1", beat=1, started_s=9))
    assert ear.hear(telling(instance="old", slot="1", beat=2)) == [("up", "old")]
    assert ear.hear(telling(instance="new", slot="1", beat=2, started_s=9)) == []
    assert ear.hear(telling(instance="old", slot="1", beat=3)) == []
    assert ear.states() == {"old": "up", "new": "up"}


# --- self-preservation


def of_ten(ear, silent):
    """Ten instances, so many of which have not been heard for long."""
    ear.hear(*(telling(instance=f"o{number}", beat=1) for number in range(10)))
    ear.pass_s(GONE_AFTER_S)
    ear.hear(*(telling(instance=f"o{number}", beat=2) for number in range(silent, 10)))
    ear.pass_s(1).look()
    return ear


def test_when_most_fall_silent_at_once_nobody_is_taken_for_gone(ear):
    of_ten(ear, silent=6).pass_s(1).look()
    assert ear.census.preserving
    assert list(ear.states().values()).count("suspect") == 6
    assert [what for what, _ in ear.noted if what == "gone"] == []


def test_when_half_of_them_fall_silent_those_are_gone(ear):
    of_ten(ear, silent=5).pass_s(1).look()
    assert not ear.census.preserving
    assert ear.states() == {f"o{number}": "up" for number in range(5, 10)}
    assert [each for what, each in ear.noted if what == "gone"] == ["o0", "o1", "o2", "o3", "o4"]


def test_preservation_ends_when_most_are_heard_again(ear):
    of_ten(ear, silent=6).look()
    ear.hear(telling(instance="o0", beat=2))
    ear.look()
    assert not ear.census.preserving
    assert len(ear.states()) == 10  # the others may be heard in a moment
    ear.pass_s(GONE_AFTER_S + 1)
    ear.hear(*(telling(instance=f"o{number}", beat=3) for number in (0, 6, 7, 8, 9)))
    assert ear.look() == [("gone", f"o{number}") for number in range(1, 6)]


@pytest.mark.parametrize(("there", "preserved"), [(3, False), (4, True)])
def test_of_a_few_any_number_may_go_at_once(ear, there, preserved):
    ear.hear(*(telling(instance=f"o{number}") for number in range(there)))
    ear.pass_s(GONE_AFTER_S + 1).look()
    ear.pass_s(1).look()
    assert ear.census.preserving == preserved
    assert len(ear.states()) == (there if preserved else 0)


# --- after a restart of the registry


def test_those_of_before_are_known_without_news_once_they_speak(ear):
    ear.census.remember(traces("o1", "o2"))
    assert ear.hear(telling(instance="o1", beat=41)) == []
    assert ear.states() == {"o1": "up"}
    assert list(ear.census.missed) == ["o2"]


@pytest.mark.parametrize(
    ("last", "now", "news"),
    [
        ("up", "up", []),
        ("up", "draining", ["draining"]),
        ("draining", "draining", []),
        ("suspect", "up", ["back"]),
        ("suspect", "draining", ["back", "draining"]),
        ("back", "left", ["left"]),
    ],
)
def test_what_happened_while_no_registry_ran_is_noted_when_they_speak(ear, last, now, news):
    ear.census.remember(traces("o1", last=last))
    assert ear.hear(telling(beat=41, state=now)) == [(what, "o1") for what in news]


def test_those_of_before_who_do_not_speak_are_gone_after_their_time(ear):
    ear.census.remember(traces("lost") | traces("late", service="users"))
    ear.hear(telling(beat=41))
    ear.pass_s(GONE_AFTER_S)
    ear.hear(telling(beat=42))
    assert ear.look() == []
    assert ear.pass_s(A_MOMENT).look() == [("gone", "lost"), ("gone", "late")]
    assert ear.census.missed == {}
    assert ear.pass_s(A_MOMENT).look() == []


def test_while_the_registry_hears_nobody_none_of_before_is_gone(ear):
    ear.census.remember(traces("o1"))
    assert ear.pass_s(1000).look() == []
    assert list(ear.census.missed) == ["o1"]


def test_who_spoke_before_the_past_was_read_is_not_missed(ear):
    ear.hear(telling(instance="o1", beat=41))
    ear.census.remember(traces("o1", "o2"))
    assert list(ear.census.missed) == ["o2"]


# --- when something happened last


def test_it_is_known_when_something_happened_to_a_service_last(ear):
    ear.hear(telling(), telling("users", "u1"))
    assert ear.census.changed_at == {"orders": 1000.0, "users": 1000.0}
    ear.pass_s(1).hear(telling(beat=2))  # which is no news
    assert ear.census.changed_at["orders"] == 1000.0
    ear.pass_s(1).hear(telling(beat=3, state="draining"))
    assert ear.census.changed_at == {"orders": 1002.0, "users": 1000.0}
    ear.pass_s(6).look()
    assert ear.census.changed_at == {"orders": 1002.0, "users": 1008.0}


def test_it_is_known_which_services_ever_spoke(ear):
    ear.census.remember(traces("u1", service="users"))
    ear.hear(telling())
    ear.hear(telling(beat=2, state="left"))
    assert ear.census.spoke == {"orders", "users"}


# --- the list of what happened

UP, DRAINING, LEFT, SUSPECT, BACK, GONE = "up", "draining", "left", "suspect", "back", "gone"
NEWS = {
    (): {UP, DRAINING, SUSPECT, LEFT, GONE},
    (UP,): {DRAINING, SUSPECT, LEFT, GONE},
    (UP, DRAINING): {SUSPECT, LEFT, GONE},
    (UP, SUSPECT): {BACK, DRAINING, LEFT, GONE},
    (UP, SUSPECT, BACK): {DRAINING, SUSPECT, LEFT, GONE},
    (UP, DRAINING, SUSPECT): {BACK, LEFT, GONE},
    (UP, DRAINING, SUSPECT, BACK): {SUSPECT, LEFT, GONE},
    (UP, SUSPECT, GONE): {UP},
    (UP, SUSPECT, GONE, UP): {DRAINING, SUSPECT, LEFT, GONE},
    (UP, DRAINING, LEFT): set(),
}


@pytest.mark.parametrize("before", NEWS, ids=" ".join)
def test_only_what_can_follow_is_news(before):
    assert {what for what in (UP, DRAINING, LEFT, SUSPECT, BACK, GONE) if may_follow(what, before)} == NEWS[before]


def test_a_change_names_the_last_announcement_by_then():
    census = Census(Patience(SUSPECT_BEATS, GONE_BEATS), begun=0.0)
    census.hear(telling(beat=7, pid=4711), 0.0, NOON)
    assert census.look(SUSPECT_AFTER_S + 1) == [Change("suspect", Trace("o1", "orders", 7, "host-a", 4711))]
