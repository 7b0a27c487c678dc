"""A green thread dies at each point that a flow passes: the flow ends as if it had not."""

import pytest

from tests.faults.flows import FLOWS
from tests.faults.points import Points, armed, begin, die_here, miscounted
from tests.faults.world import LEASE, Case, Flow, World, in_turns, settled
from tests.sandboxes import wait_until

AT_ONCE = 30


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Points:
    return armed(monkeypatch, die_here)


def points_of(world: World, points: Points, flow: Flow) -> list[str]:
    """The names of all points that the flow passes, by running it once."""
    (case,) = world.cases(flow, 1)
    points.watch(case.trace)
    begin(points, world, flow, case)
    world.ended(case)
    world.assert_holds(flow, case, "undisturbed")
    return settled(lambda: list(points.named[case.trace]))


def wait_for_deaths(points: Points, cases: list[Case]) -> None:
    def alive() -> list[str]:
        return [points.deaths[case.trace] for case in cases if case.trace not in points.died]

    try:
        wait_until(lambda: not alive(), 40)
    except AssertionError:
        raise AssertionError(f"nobody came to {alive()}") from None


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_ends_as_it_should_wherever_a_green_thread_dies(world: World, points: Points, flow: Flow) -> None:
    names = points_of(world, points, flow)
    assert miscounted(flow, names) == set()
    print(f"{flow.name}: {len(names)} points")
    for first in range(0, len(names), AT_ONCE):
        some = names[first : first + AT_ONCE]
        cases = world.cases(flow, len(some))
        for case, name in zip(cases, some, strict=True):
            points.watch(case.trace, dies_at=name)
        in_turns(cases, lambda case: begin(points, world, flow, case), AT_ONCE)
        wait_for_deaths(points, cases)
        world.later(LEASE)
        in_turns(cases, world.ended)
        for case, name in zip(cases, some, strict=True):
            world.assert_holds(flow, case, name)
    world.assert_adds_up()
