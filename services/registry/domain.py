"""Who is there, by what was heard. Pure: clocks come from outside."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from chassis.announcement import DRAINING, LEFT, Announcement, Binding
from contracts.registry import Happening, InstanceState, Source

RPC = "rpc-"
"""What the queue of a service's methods is called, before the service's name."""
SUSPECT: Literal["suspect"] = "suspect"
OVER = ("left", "gone")
FEW = 3
"""Of so few instances any number may fall silent at once."""
REMEMBERED_S = 300.0
NEVER = (-math.inf, 0.0)


@dataclass(frozen=True)
class Patience:
    """How many of its own intervals an instance may be silent before it is suspect, and before it is taken for gone."""

    suspect_beats: int
    gone_beats: int


@dataclass(frozen=True)
class Known:
    """An instance as it was last heard of: `since`, the first time, and `heard`, the last one, on the registry's
    monotonic clock; `seen_at` for people."""

    told: Announcement
    since: float
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
    """An instance as the list of what happened has it; `last` is what did last."""

    id: str
    service: str
    beat: int
    host: str
    pid: int
    last: Happening = "up"


@dataclass(frozen=True)
class Change:
    """Something that happened to an instance; `beat` is its last announcement by then."""

    what: Happening
    instance: Trace


def trace_of(told: Announcement) -> Trace:
    return Trace(told.id, told.service, told.beat, told.host, told.pid)


def may_follow(what: Happening, before: Sequence[str]) -> bool:
    """Whether it is news of an instance of which all this is written, the oldest first. Registries that hear the same
    instance notice what happens to it at different beats, and some later than others."""
    last = before[-1] if before else None
    match what:
        case "up":
            return last in (None, "gone")
        case "back":
            return last == SUSPECT
        case "draining":
            return last not in OVER and DRAINING not in before
        case "suspect":
            return last not in (SUSPECT, *OVER)
        case "left" | "gone":
            return last not in OVER


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
    spoke: set[str] = field(default_factory=set)
    """The services of which an instance was ever heard: what they are is known, whoever is there now."""
    ended: dict[str, tuple[float, float]] = field(default_factory=dict)
    """For a while: the last beat of who has left or gone, and when that was. What comes later than that was late."""

    def remember(self, missed: dict[str, Trace]) -> None:
        """Take up what was known before the start."""
        self.missed = {trace.id: trace for trace in missed.values() if trace.id not in self.instances}
        self.spoke |= {trace.service for trace in missed.values()}

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
        known, (last_beat, _) = self.instances.get(told.id), self.ended.get(told.id, NEVER)
        if told.beat <= (known.told.beat if known else last_beat):
            return []
        self.spoke.add(told.service)
        trace = self.missed.pop(told.id, None)
        if told.state == LEFT:
            self.instances.pop(told.id, None)
            self.ended[told.id] = (math.inf, at)
            return [Change("left", trace_of(told))] if known or trace else []
        changes = [] if known else list(self._succeeded_by(told, at))
        self.instances[told.id] = Known(told, known.since if known else at, at, when)
        if (known is not None and known.suspect) or (trace is not None and trace.last == SUSPECT):
            changes.append(Change("back", trace_of(told)))
        elif known is None and trace is None:
            changes.append(Change("up", trace_of(told)))
        drained = known.told.state == DRAINING if known else trace is not None and trace.last == DRAINING
        if told.state == DRAINING and not drained:
            changes.append(Change("draining", trace_of(told)))
        return changes

    def _succeeded_by(self, told: Announcement, at: float) -> Iterator[Change]:
        """Whoever had the place of a new one on the same machine has ended: its supervisor started this one instead."""
        for known in list(self.instances.values()):
            old = known.told
            same_place = (old.service, old.host, old.slot) == (told.service, told.host, told.slot) and told.slot
            if same_place and old.started_at < told.started_at:
                yield self._gone(old, at)

    def _gone(self, told: Announcement, at: float) -> Change:
        del self.instances[told.id]
        self.ended[told.id] = (told.beat, at)
        return Change("gone", trace_of(told))

    def look(self, at: float) -> list[Change]:
        """Who has fallen silent. When most have at once it is rather the registry that does not hear: then nobody is
        taken for gone, nor is anybody who is heard a little later than the others when it hears again. Nor is anybody
        at the first look that misses them: the registry itself may have stood still.
        """
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
            elif at - max(known.heard, self.begun) > self.patience.gone_beats * known.told.every_ms / 1000:
                changes.append(self._gone(known.told, at))
        self.ended = {each: last for each, last in self.ended.items() if at - last[1] < REMEMBERED_S}
        return self._dated([*changes, *self._never_came_back(at)], at)

    def _never_came_back(self, at: float) -> Iterator[Change]:
        intervals_ms = [known.told.every_ms for known in self.alive()]
        if not intervals_ms or self.preserving:
            return
        if at - self.begun > self.patience.gone_beats * max(intervals_ms) / 1000:
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
