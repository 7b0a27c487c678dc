"""What the machines stand on: one database for each test, in which each example has names of its own."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

SEED = os.environ.get("MACHINES_SEED")
"""Without a seed the examples are the same in every run; with one, others."""

Walk = Callable[..., None]


@pytest.fixture
def walk(request: Any, everything: bool) -> Walk:
    """Let a machine take random ways; PostgreSQL, whose commits are slower, takes fewer."""
    on_postgresql = "postgresql" in request.node.name

    def run(machine: Callable[[], RuleBasedStateMachine], examples: int = 40, steps: int = 25) -> None:
        count = examples * (20 if everything else 1) // (4 if on_postgresql else 1)
        chosen = settings(
            max_examples=count,
            stateful_step_count=steps,
            derandomize=SEED is None,
            deadline=None,
            database=None,
            print_blob=True,
        )
        if SEED is not None:
            print(f"MACHINES_SEED={SEED}")
            machine = seed(int(SEED))(machine)
        run_state_machine_as_test(machine, settings=chosen)

    return run
