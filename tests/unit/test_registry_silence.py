"""The registry's census while rather the registry itself hears nothing: nobody is taken for gone who may be there."""

from datetime import UTC, datetime

from chassis.announcement import UP, Announcement
from services.registry.domain import Census, Change, Patience, Trace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERY_S, SUSPECT_S, GONE_S = 2.0, 6.0, 16.0
NAMES = ["a", "b", "c", "d", "e"]


def told(name: str, beat: int) -> Announcement:
    return Announcement(
        service="orders",
        id=name,
        state=UP,
        beat=beat,
        every_ms=int(EVERY_S * 1000),
        version="1",
        host="here",
        pid=1,
        started_at=NOW,
    )


def of_all(at: float, beat: int = 1) -> Census:
    census = Census(Patience(suspect_beats=3, gone_beats=8), begun=at)
    for name in NAMES:
        census.hear(told(name, beat), at, NOW)
    return census


def looked_at(census: Census, begin: float, end: float) -> list[str]:
    """What happened by looking each second."""
    found: list[Change] = []
    while begin <= end:
        found += census.look(begin)
        begin += 1.0
    return [f"{change.what} {change.instance.id}" for change in found]


def test_who_is_heard_a_little_later_than_others_after_a_long_silence_is_not_gone() -> None:
    census = of_all(at=0.0)
    assert looked_at(census, 1.0, 40.0) == [f"suspect {name}" for name in NAMES]  # the broker is away
    for name in ["a", "b", "c"]:
        census.hear(told(name, 2), 40.5, NOW)
    assert looked_at(census, 41.0, 41.0) == []
    assert [f"{change.what} {change.instance.id}" for change in census.hear(told("d", 2), 41.5, NOW)] == ["back d"]
    # the last one did not come back: its silence counts from when the others were heard again
    for at in range(42, 40 + int(GONE_S)):
        for name in ["a", "b", "c", "d"]:
            census.hear(told(name, at), float(at), NOW)
        assert looked_at(census, float(at), float(at)) == []
    assert looked_at(census, 40.0 + GONE_S + 0.5, 40.0 + GONE_S + 0.5) == ["gone e"]


def test_a_registry_that_starts_before_its_broker_waits_for_those_who_were_there_before() -> None:
    census = Census(Patience(suspect_beats=3, gone_beats=8), begun=0.0)
    census.missed = {name: Trace(name, "orders", 1, "here", 1) for name in NAMES}
    assert looked_at(census, 1.0, 40.0) == []  # nothing is heard of anybody
    assert census.hear(told("a", 2), 40.5, NOW) == []
    assert looked_at(census, 41.0, 41.0) == []
    for name in ["b", "c", "d"]:
        assert census.hear(told(name, 2), 41.5, NOW) == []
    at = 41.5
    while at < 40.5 + GONE_S:
        for name in ["a", "b", "c", "d"]:
            census.hear(told(name, int(at * 10)), at, NOW)
        assert looked_at(census, at, at) == []
        at += 1.0
    assert looked_at(census, 40.5 + GONE_S + 0.5, 40.5 + GONE_S + 0.5) == ["gone e"]
