"""What instances tell of themselves, made up, and a census that hears it on a clock of the test's own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.announcement import Announcement, Binding, Tally
from services.registry.domain import Census, Change, Patience

NOON = datetime(2024, 2, 29, 12, 0, 0, tzinfo=UTC)
EVERY_S = 2.0
SUSPECT_BEATS, GONE_BEATS = 3, 8
SUSPECT_AFTER_S, GONE_AFTER_S = SUSPECT_BEATS * EVERY_S, GONE_BEATS * EVERY_S


def telling(service: str = "orders", instance: str = "o1", beat: int = 1, **more: Any) -> Announcement:
    """An announcement; `methods` by their names, `started_s` after noon."""
    methods = [Tally(name=name) for name in more.pop("methods", ())]
    told: dict[str, Any] = dict(
        state="up",
        every_ms=round(EVERY_S * 1000),
        version="1",
        host="host-a",
        pid=100,
        started_at=NOON + timedelta(seconds=more.pop("started_s", 0)),
    )
    return Announcement(service=service, id=instance, beat=beat, methods=methods, **{**told, **more})


def binding_of(service: str) -> Binding:
    return Binding(queue=f"rpc-{service}", exchange="nameko-rpc", key=f"{service}.*")


class Ear:
    """A census, and what it noted: `(what, instance)` in order. Time goes by `pass_s` alone."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at
        self.census = Census(Patience(SUSPECT_BEATS, GONE_BEATS), begun=at)
        self.noted: list[tuple[str, str]] = []

    def hear(self, *told: Announcement) -> list[tuple[str, str]]:
        """What was noted of these, one after the other."""
        return self._note([change for each in told for change in self.census.hear(each, self.at, self.when)])

    def look(self) -> list[tuple[str, str]]:
        return self._note(self.census.look(self.at))

    def pass_s(self, seconds: float) -> "Ear":
        self.at += seconds
        return self

    @property
    def when(self) -> datetime:
        return NOON + timedelta(seconds=self.at)

    def states(self) -> dict[str, str]:
        return {each: known.state for each, known in sorted(self.census.instances.items())}

    def _note(self, changes: list[Change]) -> list[tuple[str, str]]:
        found = [(change.what, change.instance.id) for change in changes]
        self.noted += found
        return found
