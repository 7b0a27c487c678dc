"""A green thread dies at each point that a flow passes: the flow ends as if it had not."""

from typing import Any

import pytest

from tests.faults.banking import Bank
from tests.faults.flows import FLOWS
from tests.faults.leaving import ERASURE, Doors
from tests.faults.money_flows import DEPOSIT, MONEY_FLOWS, WITHDRAWAL
from tests.faults.points import Points, armed, begin, die_here, miscounted
from tests.faults.world import LEASE, Flow, World, in_turns, settled
from tests.sandboxes import wait_until

AT_ONCE = 30
MONEY_ON = [*(("sqlite", flow) for flow in MONEY_FLOWS), ("postgresql", DEPOSIT), ("postgresql", WITHDRAWAL)]
"""Which flows of money are tried on which database."""


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


def wait_for_deaths(points: Points, cases: list[Any]) -> None:
    def alive() -> list[str]:
        return [points.deaths[case.trace] for case in cases if case.trace not in points.died]

    try:
        wait_until(lambda: not alive(), 40)
    except AssertionError:
        raise AssertionError(f"nobody came to {alive()}") from None


def die_everywhere(world: World, points: Points, flow: Flow) -> None:
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


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_ends_as_it_should_wherever_a_green_thread_dies(world: World, points: Points, flow: Flow) -> None:
    die_everywhere(world, points, flow)


@pytest.mark.parametrize(
    ("database_uri", "flow"),
    MONEY_ON,
    indirect=["database_uri"],
    ids=[f"{flow.name}-{database}" for database, flow in MONEY_ON],
)
def test_a_transaction_ends_as_it_should_wherever_a_green_thread_dies(bank: Bank, points: Points, flow: Flow) -> None:
    die_everywhere(bank, points, flow)


@pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)
def test_a_customer_is_erased_wherever_a_green_thread_dies(doors: Doors, points: Points) -> None:
    die_everywhere(doors, points, ERASURE)
