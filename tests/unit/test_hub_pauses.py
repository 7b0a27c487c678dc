"""The longest pause that a process reports: of this minute and the one before."""

from chassis.metrics import Longest


def test_the_longest_of_a_minute_is_kept_through_the_next_and_then_forgotten():
    longest = Longest(at=1000.0)
    assert longest.note(0.2, at=1010.0) == 0.2
    assert longest.note(0.1, at=1050.0) == 0.2
    # the next minute remembers it
    assert longest.note(0.05, at=1060.0) == 0.2
    assert longest.note(0.05, at=1119.0) == 0.2
    # the one after does not
    assert longest.note(0.03, at=1120.0) == 0.05


def test_a_pause_of_minutes_leaves_nothing_of_before():
    longest = Longest(at=1000.0)
    longest.note(0.2, at=1010.0)
    assert longest.note(130.0, at=1141.0) == 130.0
    assert longest.note(0.0, at=1262.0) == 0.0
