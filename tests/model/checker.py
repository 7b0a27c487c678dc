"""Explores every state that a model can reach, breadth first, and tells the shortest way to one that must not be.

A model gives its first state, the transitions out of a state as (label, next state), and what must hold. A state is a
NamedTuple of plain values, so that equal ones are found again; `canonical` maps those that differ only in names.
Besides the invariants, an end must be reachable from every state: found by walking back from all the ends.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)
STUCK = "an_end_is_reachable"


class Model(Protocol[S]):
    invariants: Mapping[str, Callable[[S], bool]]

    def first(self) -> S: ...
    def transitions(self, state: S) -> Iterator[tuple[str, S]]: ...
    def canonical(self, state: S) -> S: ...
    def ended(self, state: S) -> bool: ...


class Broken(NamedTuple):
    """An invariant that does not hold, and a shortest way there."""

    invariant: str
    trace: list[str]

    def __str__(self) -> str:
        steps = (f"{number:3}. {label}" for number, label in enumerate(self.trace, 1))
        return "\n".join([f"{self.invariant} does not hold after {len(self.trace)} steps:", *steps])


class Explored(NamedTuple):
    """`depth` is the distance of the farthest state; `whole`: nothing was left out by the limit."""

    states: int
    transitions: int
    depth: int
    seconds: float
    broken: Broken | None

    def __str__(self) -> str:
        size = f"{self.states:,} states, {self.transitions:,} transitions, depth {self.depth}, {self.seconds:.1f} s"
        return f"{size}\n{self.broken}" if self.broken else size


class LimitReached(Exception):
    """The model has more states than it may."""


def explore(model: Model[S], *, limit: int, only: Iterable[str] | None = None) -> Explored:
    """All states, up to the first that breaks an invariant (of those named in `only`). Raises LimitReached."""
    begun = time.process_time()
    wanted = set(model.invariants) | {STUCK} if only is None else set(only)
    invariants = [(name, holds) for name, holds in model.invariants.items() if name in wanted]
    canonical, transitions = model.canonical, model.transitions
    first = canonical(model.first())
    number = {first: 0}  # of each state, in the order in which they were found
    states, parents, depths = [first], [0], [0]
    before: list[list[int]] = [[]]
    edges = at = 0

    def explored(broken: Broken | None) -> Explored:
        return Explored(len(states), edges, depths[-1], time.process_time() - begun, broken)

    while at < len(states):
        for _, following in transitions(states[at]):
            edges += 1
            found = canonical(following)
            known = number.get(found)
            if known is None:
                known = number[found] = len(states)
                if known >= limit:
                    raise LimitReached(f"more than {limit:,} states")
                states.append(found)
                parents.append(at)
                depths.append(depths[at] + 1)
                before.append([])
                for name, holds in invariants:
                    if not holds(found):
                        return explored(Broken(name, _trace(model, states, parents, known)))
            before[known].append(at)
        at += 1
    if STUCK in wanted:
        stuck = _first_stuck(model, states, before)
        if stuck is not None:
            return explored(Broken(STUCK, _trace(model, states, parents, stuck)))
    return explored(None)


def _first_stuck(model: Model[S], states: list[S], before: list[list[int]]) -> int | None:
    can_end = [model.ended(state) for state in states]
    to_do = [index for index, ended in enumerate(can_end) if ended]
    while to_do:
        for earlier in before[to_do.pop()]:
            if not can_end[earlier]:
                can_end[earlier] = True
                to_do.append(earlier)
    return next((index for index, ends in enumerate(can_end) if not ends), None)


def _trace(model: Model[S], states: list[S], parents: list[int], last: int) -> list[str]:
    """The labels on the way, walked again without `canonical` so that names stay the same from line to line."""
    way = []
    while last:
        way.append(states[last])
        last = parents[last]
    labels, state = [], model.first()
    for wanted in reversed(way):
        label, state = next((a, b) for a, b in model.transitions(state) if model.canonical(b) == wanted)
        labels.append(label)
    return labels
