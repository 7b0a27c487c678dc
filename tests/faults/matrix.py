"""Rows of the outcome matrix: what may become of a step's messages, and how all rows are run at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from tests.faults import wire as on_the_wire
from tests.faults.wire import Wire, a_refusal_of, path_of
from tests.faults.world import LEASE, Flow, World, in_turns

SLOWER = "slower_than_the_lease"
Actions = Mapping[str, Callable[..., Any]]
"""The methods of steps, by the steps' names."""
Arrange = Callable[[World, Wire, str, Callable[..., Any]], None]


@dataclass(frozen=True)
class Outcome:
    """`arrange` plans it for a flow's calls of a method. `seen`: what the step's timeline shows of it, if anything."""

    name: str
    arrange: Arrange
    seen: str | None = None


def _slower_than_the_lease(world: World, wire: Wire, flow: str, method: Callable[..., Any]) -> None:
    wire.on_request(flow, method, on_the_wire.after(0.5, lambda: world.later(LEASE)))


OUTCOMES = (
    Outcome("ok", lambda world, wire, flow, method: None),
    Outcome("unknown_before_effect", lambda _, wire, flow, m: wire.on_request(flow, m, on_the_wire.lost), "unknown"),
    Outcome("unknown_after_effect", lambda _, wire, flow, m: wire.on_reply(flow, m, "lost"), "unknown"),
    Outcome(SLOWER, _slower_than_the_lease),
    Outcome("request_twice", lambda _, wire, flow, m: wire.on_request(flow, m, on_the_wire.twice)),
    Outcome("reply_twice", lambda _, wire, flow, m: wire.on_reply(flow, m, "twice")),
)


@dataclass(frozen=True)
class Row:
    """A cell of the matrix. `late`: the method a message of which comes after all is over, and what it is answered."""

    name: str
    flow: Flow
    arrange: Callable[[World, Wire, str], None]
    step: str
    seen: str | None = None
    late: tuple[Callable[..., Any], str] | None = None


def cell(flow: Flow, step: str, method: Callable[..., Any], outcome: Outcome) -> Row:
    return Row(
        f"{flow.name} {step}.{method.__name__}-{outcome.name}",
        flow,
        lambda world, wire, trace: outcome.arrange(world, wire, trace, method),
        step,
        outcome.seen,
    )


def refused(flow: Flow, step: str, method: Callable[..., Any], end: Any = None) -> Row:
    """Before and at the pivot a refusal turns it round, to this end; after it (then `end` is None), it is asked until
    it succeeds."""
    code, times = a_refusal_of(method), 2 if end is None else 1

    def arrange(world: World, wire: Wire, trace: str) -> None:
        wire.on_request(trace, method, *[on_the_wire.refused(code)] * times)

    return Row(
        f"{flow.name} {step}.{method.__name__}-refused",
        flow if end is None else replace(flow, end=end),
        arrange,
        step,
        "refused",
    )


def late(flow: Flow, step: str, method: Callable[..., Any], answer: str) -> Row:
    """The action arrives once more when all is over: undone, or done."""

    def arrange(world: World, wire: Wire, trace: str) -> None:
        wire.on_request(trace, method, on_the_wire.held_copy)

    return Row(f"{flow.name} {step}-late_action", flow, arrange, step, late=(method, answer))


def run(world: World, wire: Wire, rows: Sequence[Row]) -> None:
    """All rows at once, each to its end."""
    pairs = []
    for _, group in groupby(sorted(rows, key=lambda row: row.flow.name), key=lambda row: row.flow.name):
        alike = list(group)
        pairs += zip(world.cases(alike[0].flow, len(alike)), alike, strict=True)
    for case, row in pairs:
        row.arrange(world, wire, case.trace)
    in_turns(pairs, lambda pair: (pair[1].flow.begin(world, pair[0]), world.ended(pair[0])))
    assert wire.unmet() == []
    came_late = wire.release()
    for case, row in pairs:
        world.assert_holds(row.flow, case, row.name)
        if row.seen:
            outcomes = [each["outcome"] for each in world.order(case)["timeline"] if each["step"] == row.step]
            assert (row.name, row.seen in outcomes) == (row.name, True)
        if row.late:
            method, answer = row.late
            assert (row.name, came_late.pop((case.trace, path_of(method)))) == (row.name, answer)
    assert came_late == {}
    world.assert_adds_up()
