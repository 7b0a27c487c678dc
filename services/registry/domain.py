"""Who is there, by what was heard. Pure: clocks come from outside."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from chassis.announcement import DRAINING, LEFT, UP, Announcement, Binding
from contracts.registry import Happening, InstanceState, Source

RPC = "rpc-"
"""What the queue of a service's methods is called, before the service's name."""
SUSPECT: InstanceState = "suspect"
FEW = 3
"""Of so few instances any number may fall silent at once."""


@dataclass(frozen=True)
class Patience:
    """How many of its own intervals an instance may be silent before it is suspect, and before it is taken for gone."""

    suspect_beats: int
    gone_beats: int


@dataclass(frozen=True)
class Known:
    """An instance as it was last heard of: `heard` on the registry's monotonic clock, `seen_at` for people."""

    told: Announcement
    heard: float
    seen_at: datetime
    suspect: bool = False

    @property
    def state(self) -> InstanceState:
        if self.suspect:
            return SUSPECT
        return "draining" if self.told.state == DRAINING else "up"

    def silent_for(self, beats: int, at: float) -> bool:
        return at - self.heard > beats * self.told.every_ms / 1000


@dataclass(frozen=True)
class Trace:
    """An instance that the registry knew before it was started anew, by its list of what happened."""

    id: str
    service: str
    beat: int
    host: str
    pid: int


@dataclass(frozen=True)
class Change:
    """Something that happened to an instance; `beat` is its last announcement by then."""

    what: Happening
    instance: Trace


def trace_of(told: Announcement) -> Trace:
    return Trace(told.id, told.service, told.beat, told.host, told.pid)


@dataclass
class Census:
    """All instances that are heard of. `missed` are those of before the start, which have not spoken yet.

    `begun` is since when the registry hears at all; nobody's silence counts from before that.
    """

    patience: Patience
    begun: float
    missed: dict[str, Trace] = field(default_factory=dict)
    instances: dict[str, Known] = field(default_factory=dict)
    preserving: bool = False
    changed_at: dict[str, float] = field(default_factory=dict)
    """When something happened to a service's instances last."""

    def of(self, service: str) -> list[Known]:
        """A service's instances, the oldest first."""
        found = [known for known in self.instances.values() if known.told.service == service]
        return sorted(found, key=lambda known: (known.told.started_at, known.told.id))

    def alive(self) -> list[Known]:
        return [known for known in self.instances.values() if not known.suspect]

    def hear(self, told: Announcement, at: float, when: datetime) -> list[Change]:
        """Take an announcement into account. One that is older than what is known changes nothing."""
        if not self.instances:  # before the first one the broker may have been away
            self.begun = at
        return self._dated(self._hear(told, at, when), at)

    def _dated(self, changes: list[Change], at: float) -> list[Change]:
        self.changed_at.update({change.instance.service: at for change in changes})
        return changes

    def _hear(self, told: Announcement, at: float, when: datetime) -> list[Change]:
        known = self.instances.get(told.id)
        if known is not None and told.beat <= known.told.beat:
            return []
        was_there = self.missed.pop(told.id, None) is not None
        if told.state == LEFT:
            self.instances.pop(told.id, None)
            return [Change("left", trace_of(told))] if known or was_there else []
        self.instances[told.id] = now_known = Known(told, at, when)
        changes = list(self._succeeded_by(told))
        if known is not None and known.suspect:
            changes.append(Change("back", trace_of(told)))
        elif known is None and not was_there:
            changes.append(Change("up", trace_of(told)))
        if now_known.state == "draining" and (known is None or known.told.state == UP):
            changes.append(Change("draining", trace_of(told)))
        return changes

    def _succeeded_by(self, told: Announcement) -> Iterator[Change]:
        """Whoever had the same place on the same machine before has ended: its supervisor started this one instead."""
        for known in list(self.instances.values()):
            old = known.told
            same_place = (old.service, old.host, old.slot) == (told.service, told.host, told.slot) and told.slot
            if same_place and old.id != told.id and old.started_at < told.started_at:
                del self.instances[old.id]
                yield Change("gone", trace_of(old))

    def look(self, at: float) -> list[Change]:
        """Who has fallen silent. When most have at once it is rather the registry that does not hear: then nobody is
        taken for gone, nor is anybody who is heard a little later than the others when it hears again."""
        silent = {
            known.told.id for known in self.instances.values() if known.silent_for(self.patience.suspect_beats, at)
        }
        self.preserving = len(self.instances) > FEW and 2 * len(silent) > len(self.instances)
        if self.preserving:
            self.begun = at
        changes: list[Change] = []
        for known in list(self.instances.values()):
            if known.told.id in silent and not known.suspect:
                self.instances[known.told.id] = replace(known, suspect=True)
                changes.append(Change("suspect", trace_of(known.told)))
            patience_s = self.patience.gone_beats * known.told.every_ms / 1000
            if at - max(known.heard, self.begun) > patience_s:
                del self.instances[known.told.id]
                changes.append(Change("gone", trace_of(known.told)))
        return self._dated([*changes, *self._never_came_back(at)], at)

    def _never_came_back(self, at: float) -> Iterator[Change]:
        intervals_ms = [known.told.every_ms for known in self.alive()]
        if intervals_ms and at - self.begun > self.patience.gone_beats * max(intervals_ms) / 1000:
            for trace in self.missed.values():
                yield Change("gone", trace)
            self.missed.clear()


# --- the broker


@dataclass(frozen=True)
class QueueState:
    """One queue at one moment. `acked` counts all acknowledgements so far; None is what the source does not tell."""

    ready: int
    consumers: int
    unacked: int | None = None
    acked: int | None = None


@dataclass(frozen=True)
class Sight:
    """What was seen of the broker. `bindings` is None where the source does not tell them."""

    source: Source
    queues: dict[str, QueueState]
    bindings: frozenset[Binding] | None = None
