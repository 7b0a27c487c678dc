"""A saga that waits: its signal, its time and a cancel against instances that let it go, on a database whose rows lock.

Here a transaction is not one action: its statements are, and others run between them. A row that a transaction has
written is locked until its commit or its death; other readers see what was committed.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.state import holding

INSTANCES = "AB"
WAITING, BY_SIGNAL, BY_TIME, TURNED = "waiting", "left by signal", "left by time", "turned round"

WAIT_FLAWS = {
    "look_then_let_go": "an instance looks for the signal before it lets the saga go",
    "signal_without_wake": "a signal does not wake the saga",
    "wake_only_who_sleeps": "a signal writes the row only if nobody drives the saga",
    "every_wake_is_time_up": "whatever wakes a saga without its signal counts as its time",
    "cancel_not_looked_at": "an instance that lets the saga go looks for the signal alone",
    "signal_not_kept": "a signal that finds nobody waiting is dropped",
    "until_each_time": "each look at the wait moves its time, and the deadline with it",
}


class Row(NamedTuple):
    ver: int = 0
    stage: str = WAITING
    owner: str = ""
    wake_at: str = "lease"  # lease until now
    until: bool = False  # whether the time of the wait is set
    moved: int = 0  # how often the deadline was
    cancel: bool = False


class Held(NamedTuple):
    """An instance with the saga. `row`: as it would write it; `looked`: whether it saw the signal, before it wrote."""

    row: Row
    at: str = "held"  # held looked let_go, or how it will leave
    looked: bool = False


class State(NamedTuple):
    row: Row  # as committed
    held: tuple[Held | None, ...]
    locked_by: str = ""
    signal: str = ""  # inserted woken committed
    other: bool = False  # a signal of another name has come
    time_up: bool = False
    broken: str = ""


Transitions = Iterator[tuple[str, State]]


class WaitModel:
    def __init__(self, *flaws: str) -> None:
        assert set(flaws) <= set(WAIT_FLAWS)
        self.flaws = frozenset(flaws)
        self.invariants = {name: getattr(self, name) for name in WAIT_RULES}

    def first(self) -> State:
        row = Row(owner="A")
        return State(row, (Held(row), None))

    def canonical(self, s: State) -> State:
        versions = sorted({s.row.ver, *(each.row.ver for each in s.held if each)})
        held = [each and each._replace(row=each.row._replace(ver=versions.index(each.row.ver))) for each in s.held]
        return s._replace(row=s.row._replace(ver=versions.index(s.row.ver)), held=tuple(held))

    def ended(self, s: State) -> bool:
        return s.row.stage != WAITING

    def transitions(self, s: State) -> Transitions:
        for index, held in enumerate(s.held):
            if held is None:
                yield from self.claim(s, index)
            else:
                yield from self.die(s, index)
                yield from self.wait_round(s, index, held)
        yield from self.signal(s)
        yield from self.cancel(s)
        if not s.time_up and s.row.until:
            yield "the time is up", s._replace(time_up=True)

    # --- the engine

    def claim(self, s: State, index: int) -> Transitions:
        """One guarded update: only what is due, which for a saga that somebody drives is the end of a lease."""
        name, due = INSTANCES[index], s.row.wake_at != "until" or s.time_up
        if s.row.stage == WAITING and due and not s.locked_by:
            row = s.row._replace(ver=s.row.ver + 1, owner=name, wake_at="lease")
            yield f"{name} takes the saga over", holding(s._replace(row=row), index, Held(row))

    def die(self, s: State, index: int) -> Transitions:
        """With its transaction, if one is open."""
        name = INSTANCES[index]
        freed = s._replace(locked_by="") if s.locked_by == name else s
        yield f"{name} dies", holding(freed, index, None)

    def wait_round(self, s: State, index: int, held: Held) -> Transitions:
        if held.at == "held" and "look_then_let_go" in self.flaws:
            yield f"{INSTANCES[index]} looks", holding(s, index, held._replace(at="looked", looked=self.is_there(s)))
        elif held.at in ("held", "looked"):
            yield from self.let_go(s, index, held)
        elif held.at == "let_go":
            yield self.look(s, index, held)
        else:
            yield from self.leave(s, index, held)

    def let_go(self, s: State, index: int, held: Held) -> Transitions:
        """The guarded update: nobody's, until the time of the wait. It waits for whoever has the row locked."""
        name = INSTANCES[index]
        if s.locked_by:
            return
        if held.row.ver != s.row.ver:
            yield f"{name} has lost the saga", holding(s, index, None)
            return
        moves = not s.row.until or "until_each_time" in self.flaws
        wake_at = {"ver": s.row.ver + 1, "owner": "", "wake_at": "until", "until": True}
        row = s.row._replace(**wake_at, moved=min(2, s.row.moved + moves))
        parked = held._replace(row=row, at="let_go")
        yield f"{name} writes that it lets go", holding(s._replace(locked_by=name), index, parked)

    def look(self, s: State, index: int, held: Held) -> tuple[str, State]:
        """In the same transaction: what has come, and what that means."""
        name = INSTANCES[index]
        there = held.looked if "look_then_let_go" in self.flaws else self.is_there(s)
        time_up = s.time_up or ("every_wake_is_time_up" in self.flaws and s.row.until)
        cancelled = held.row.cancel and "cancel_not_looked_at" not in self.flaws
        free = s._replace(locked_by="")
        if not (there or time_up or cancelled):
            return f"{name} sees nothing, and lets go", holding(free._replace(row=held.row), index, None)
        row = held.row._replace(ver=held.row.ver + 1, owner=name, wake_at="lease")
        why = TURNED if cancelled else BY_SIGNAL if there else BY_TIME
        leaving = Held(row, at=why)
        return f"{name} sees what has come, and keeps it", holding(free._replace(row=row), index, leaving)

    def is_there(self, s: State) -> bool:
        return s.signal == "committed"

    def leave(self, s: State, index: int, held: Held) -> Transitions:
        """The commit with which the saga goes on, or turns round."""
        name = INSTANCES[index]
        if s.locked_by:
            return
        if held.row.ver != s.row.ver:
            yield f"{name} has lost the saga", holding(s, index, None)
            return
        broken = "" if held.at != BY_TIME or s.time_up else "it_is_late_only_when_its_time_is_up"
        row = s.row._replace(ver=s.row.ver + 1, stage=held.at)
        yield f"{name}: {held.at}", holding(s._replace(row=row, broken=s.broken or broken), index, None)

    # --- who wakes it

    def signal(self, s: State) -> Transitions:
        """Insert, wake, commit. It may come at any time, and end in the middle with nothing done."""
        if s.row.stage != WAITING:
            return
        if s.signal == "":
            yield "the signal is inserted", s._replace(signal="inserted")
        elif s.signal == "inserted":
            yield "the signal's transaction dies", s._replace(signal="")
            yield from self.wake(s)
        elif s.signal == "woken":
            kept = s.row.owner == "" or "signal_not_kept" not in self.flaws
            row, locked_by = (self.woken(s.row), "") if s.locked_by == "signal" else (s.row, s.locked_by)
            signal = "committed" if kept else "dropped"
            yield "the signal is committed", s._replace(signal=signal, row=row, locked_by=locked_by)
        if not s.other and not s.locked_by:
            yield "another signal wakes it", s._replace(other=True, row=self.woken(s.row))

    def wake(self, s: State) -> Transitions:
        """Its update writes the row in any case: so it waits for whoever is about to let the saga go."""
        sleeps = s.row.owner == ""
        if "signal_without_wake" in self.flaws or ("wake_only_who_sleeps" in self.flaws and not sleeps):
            yield "the signal wakes nobody", s._replace(signal="woken")
        elif not s.locked_by:
            yield "the signal writes the row", s._replace(signal="woken", locked_by="signal")

    def woken(self, row: Row) -> Row:
        return row._replace(wake_at="now") if row.owner == "" else row

    def cancel(self, s: State) -> Transitions:
        if s.row.stage == WAITING and not s.row.cancel and not s.locked_by:
            yield "a cancel is asked for", s._replace(row=self.woken(s.row)._replace(cancel=True))

    # --- what must hold

    def a_signal_is_not_slept_through(self, s: State) -> bool:
        return not (s.signal in ("committed", "dropped") and self.sleeps(s))

    def a_cancel_is_not_slept_through(self, s: State) -> bool:
        return not (s.row.cancel and self.sleeps(s))

    def sleeps(self, s: State) -> bool:
        return s.row.stage == WAITING and s.row.owner == "" and s.row.wake_at == "until" and not s.locked_by

    def it_is_late_only_when_its_time_is_up(self, s: State) -> bool:
        return s.broken != "it_is_late_only_when_its_time_is_up"

    def the_deadline_moves_once(self, s: State) -> bool:
        return s.row.moved <= 1


WAIT_RULES = {
    "a_signal_is_not_slept_through": "a saga whose signal is there does not sleep until its time",
    "a_cancel_is_not_slept_through": "nor does one that was cancelled",
    "it_is_late_only_when_its_time_is_up": "a saga goes on without its signal only when its time is up",
    "the_deadline_moves_once": "a wait moves the saga's deadline once, however often it is looked at",
}
