"""Events from a commit to their effect: the outbox, two relays at once, the broker's queue, and consumers that die.

Two events of one aggregate. Each has an effect of its own at the subscriber, who also keeps a copy of the newest.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.state import replaced

EVENTS = (1, 2)
COPIES = 2  # of an event in the queue: more would add nothing that dedupe could see

OUTBOX_FLAWS = {
    "sent_after_commit": "an event is sent after the commit instead of being kept with it",
    "sent_before_commit": "an event is sent before the commit that it tells of",
    "deleted_before_sent": "a relay removes an event, then sends it",
    "deleted_unconfirmed": "a relay removes what it sent without the broker's confirm",
    "remembers_last_id": "a relay asks for what is above the last id that it has sent",
    "not_noted": "a consumer does not note what it has handled",
    "noted_apart": "the note is committed before the effect, in a commit of its own",
    "acked_first": "a consumer acknowledges before its commit",
    "copy_without_sequence": "a copy of a state takes what comes, without a look at its sequence",
}


class Relay(NamedTuple):
    """What it has read; once `sent`, of that what the broker has confirmed."""

    rows: tuple[int, ...]
    sent: bool = False


class Worker(NamedTuple):
    event: int
    at: str = "took"  # took noted done: only `took` without the flaws


class State(NamedTuple):
    business: tuple[str, ...] = ("", "")  # open committed
    rows: frozenset[int] = frozenset()
    last: int = 0
    relays: tuple[Relay | None, ...] = (None, None)
    queue: tuple[int, ...] = (0, 0)
    workers: tuple[Worker | None, ...] = (None, None)
    handled: frozenset[int] = frozenset()
    effects: tuple[int, ...] = (0, 0)
    copy: int = 0
    went_back: bool = False


Transitions = Iterator[tuple[str, State]]


class OutboxModel:
    def __init__(self, *flaws: str) -> None:
        assert set(flaws) <= set(OUTBOX_FLAWS)
        self.flaws = frozenset(flaws)
        self.invariants = {name: getattr(self, name) for name in OUTBOX_RULES}

    def first(self) -> State:
        return State()

    def canonical(self, s: State) -> State:
        return s._replace(relays=tuple(sorted(s.relays, key=_order)), workers=tuple(sorted(s.workers, key=_order)))

    def ended(self, s: State) -> bool:
        """Everything that was committed has had its effect, and nothing is under way."""
        quiet = not s.rows and not any(s.queue) and not any(s.workers) and "open" not in s.business
        return quiet and all(s.effects[i] for i, state in enumerate(s.business) if state in ("committed", "told"))

    def transitions(self, s: State) -> Transitions:
        for event in EVENTS:
            yield from self.business(s, event)
        for index, relay in enumerate(s.relays):
            yield from self.relay(s, index, relay)
        for index, worker in enumerate(s.workers):
            yield from self.consume(s, index) if worker is None else self.handle(s, index, worker)

    # --- the service that tells

    def business(self, s: State, event: int) -> Transitions:
        """An id is taken, then the fact and its event are committed together; a later id may be committed first."""
        state = s.business[event - 1]
        if state == "" and (event == 1 or s.business[0]):
            begun = s._replace(business=replaced(s.business, event - 1, "open"))
            yield f"{event} is begun", self.queued(begun, event) if "sent_before_commit" in self.flaws else begun
        elif state == "open":
            yield f"{event} is rolled back", s._replace(business=replaced(s.business, event - 1, "never"))
            committed = s._replace(business=replaced(s.business, event - 1, "committed"))
            if not self.flaws & {"sent_after_commit", "sent_before_commit"}:
                committed = committed._replace(rows=s.rows | {event})
            yield f"{event} is committed", committed
        elif state == "committed" and "sent_after_commit" in self.flaws:
            sent = self.queued(s._replace(business=replaced(s.business, event - 1, "told")), event)
            yield f"{event} is sent", sent
            yield f"the service dies before it sends {event}", sent._replace(queue=s.queue)

    # --- relays

    def relay(self, s: State, index: int, relay: Relay | None) -> Transitions:
        """Read, send with confirms, remove what is confirmed. It dies anywhere, and another works at the same time."""
        name = f"relay {index + 1}"
        if relay is None:
            wanted = s.rows if "remembers_last_id" not in self.flaws else {row for row in s.rows if row > s.last}
            if wanted:
                yield f"{name} reads", self.relaying(s, index, Relay(tuple(sorted(wanted))))
            return
        yield f"{name} dies", self.relaying(s, index, None)
        if relay.sent:
            left = s._replace(rows=s.rows - set(relay.rows), last=max(s.last, *relay.rows, 0))
            yield f"{name} removes {relay.rows}", self.relaying(left, index, None)
            return
        yield from self.send(s, index, relay, name)

    def send(self, s: State, index: int, relay: Relay, name: str) -> Transitions:
        """The broker has the first few of a batch; of some of those the relay hears it."""
        if "deleted_before_sent" in self.flaws:
            s = s._replace(rows=s.rows - set(relay.rows))
        for taken in range(len(relay.rows) + 1):
            now = s
            for event in relay.rows[:taken]:
                now = self.queued(now, event)
            for confirmed in range(taken + 1):
                known = relay.rows if "deleted_unconfirmed" in self.flaws else relay.rows[:confirmed]
                told = f"{name} sends {relay.rows}: the broker has {taken}, confirms {confirmed}"
                yield told, self.relaying(now, index, Relay(known, sent=True) if known else None)

    def relaying(self, s: State, index: int, relay: Relay | None) -> State:
        return s._replace(relays=replaced(s.relays, index, relay))

    def queued(self, s: State, event: int) -> State:
        return s._replace(queue=replaced(s.queue, event - 1, min(COPIES, s.queue[event - 1] + 1)))

    # --- consumers

    def consume(self, s: State, index: int) -> Transitions:
        """Messages are taken in any order: a redelivery, or a delay queue, may put each behind the others."""
        for event in EVENTS:
            if s.queue[event - 1]:
                left = s._replace(queue=replaced(s.queue, event - 1, s.queue[event - 1] - 1))
                taken = left._replace(workers=replaced(s.workers, index, Worker(event)))
                yield f"worker {index + 1} takes {event}", taken

    def handle(self, s: State, index: int, worker: Worker) -> Transitions:
        name, event = f"worker {index + 1}", worker.event
        free = s._replace(workers=replaced(s.workers, index, None))
        yield f"{name} dies", free if "acked_first" in self.flaws else self.queued(free, event)
        if worker.at == "done":
            yield f"{name} acknowledges {event}", free
            return
        done = s._replace(workers=replaced(s.workers, index, Worker(event, "done")))
        if worker.at == "took" and event in s.handled and "not_noted" not in self.flaws:
            yield f"{name} knows {event}", done
        elif worker.at == "took" and "noted_apart" in self.flaws:
            noted = s._replace(workers=replaced(s.workers, index, Worker(event, "noted")))
            yield f"{name} notes {event}", noted._replace(handled=s.handled | {event})
        else:
            yield f"{name} handles {event}", self.effect(done, event)

    def effect(self, s: State, event: int) -> State:
        """The note, the effect and the copy in one commit."""
        newer = event > s.copy
        taken = newer or "copy_without_sequence" in self.flaws
        return s._replace(
            handled=s.handled | {event},
            effects=replaced(s.effects, event - 1, min(2, s.effects[event - 1] + 1)),
            copy=event if taken else s.copy,
            went_back=s.went_back or (taken and not newer),
        )

    # --- what must hold

    def one_effect(self, s: State) -> bool:
        return max(s.effects) <= 1

    def only_facts_are_told(self, s: State) -> bool:
        return all(state in ("committed", "told") or not s.queue[i] for i, state in enumerate(s.business))

    def a_copy_never_goes_back(self, s: State) -> bool:
        return not s.went_back


OUTBOX_RULES = {
    "one_effect": "an event has its effect once",
    "only_facts_are_told": "an event is sent only of what was committed",
    "a_copy_never_goes_back": "a copy of a state never becomes older",
}


def _order(each: Relay | Worker | None) -> tuple[object, ...]:
    return () if each is None else tuple(each)
