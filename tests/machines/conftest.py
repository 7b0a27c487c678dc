"""What the machines stand on: one database for each test, in which each example has names of its own."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

SEED = os.environ.get("MACHINES_SEED")
"""Without a seed the examples are the same in every run; with one, others."""

SHRINK_S = 60
"""So long a way that fails is made shorter: a test that takes minutes is ended, and would show nothing."""

Walk = Callable[..., None]


@pytest.fixture
def walk(request: Any, everything: bool, monkeypatch: pytest.MonkeyPatch) -> Walk:
    """Let a machine take random ways; PostgreSQL, whose commits are slower, takes fewer."""
    on_postgresql = "postgresql" in request.node.name
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", SHRINK_S)

    def run(machine: Callable[[], RuleBasedStateMachine], examples: int = 40, steps: int = 25, more: int = 20) -> None:
        """`more`: so many times as many examples where there is time for them."""
        count = examples * (more if everything else 1) // (4 if on_postgresql else 1)
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
