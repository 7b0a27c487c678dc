"""Waits and events, each explored whole; and what breaks without each of their guards."""

import pytest

from tests.model.checker import STUCK, explore
from tests.model.outbox import OUTBOX_FLAWS, OutboxModel
from tests.model.wait import BY_SIGNAL, BY_TIME, TURNED, WAIT_FLAWS, WaitModel

LIMIT = 100_000  # states

SMALL = {"a wait": (WaitModel, 2_102, 15), "events": (OutboxModel, 21_555, 29)}
SMALL_SHOWN = {
    "look_then_let_go": ("a_signal_is_not_slept_through", 6),
    "signal_without_wake": ("a_signal_is_not_slept_through", 5),
    "wake_only_who_sleeps": ("a_signal_is_not_slept_through", 5),
    "every_wake_is_time_up": ("it_is_late_only_when_its_time_is_up", 7),
    "cancel_not_looked_at": ("a_cancel_is_not_slept_through", 3),
    "signal_not_kept": ("a_signal_is_not_slept_through", 5),
    "until_each_time": ("the_deadline_moves_once", 6),
    "sent_after_commit": (STUCK, 3),
    "sent_before_commit": ("only_facts_are_told", 1),
    "deleted_before_sent": (STUCK, 4),
    "deleted_unconfirmed": (STUCK, 5),
    "remembers_last_id": (STUCK, 7),
    "not_noted": ("one_effect", 9),
    "noted_apart": (STUCK, 7),
    "acked_first": (STUCK, 7),
    "copy_without_sequence": ("a_copy_never_goes_back", 10),
}


@pytest.mark.parametrize("name", SMALL)
def test_it_holds_in_every_state(name):
    model, states, depth = SMALL[name]
    explored = explore(model(), limit=LIMIT)
    print(f"{name}: {explored}")
    assert explored.broken is None
    assert (explored.states, explored.depth) == (states, depth)


@pytest.mark.parametrize("flaw", [*WAIT_FLAWS, *OUTBOX_FLAWS])
def test_without_it_an_invariant_falls(flaw):
    model = WaitModel(flaw) if flaw in WAIT_FLAWS else OutboxModel(flaw)
    broken = explore(model, limit=LIMIT).broken
    print(f"{flaw}: {broken}")
    assert (broken.invariant, len(broken.trace)) == SMALL_SHOWN[flaw]


def test_a_wait_is_left_in_each_of_its_ways():
    model, seen = WaitModel(), set()
    model.invariants = {"looks": lambda s: seen.add(s.row.stage) is None}
    explore(model, limit=LIMIT)
    assert {BY_SIGNAL, BY_TIME, TURNED} <= seen


def test_a_signal_that_comes_between_the_look_and_the_letting_go_would_be_lost():
    assert explore(WaitModel("look_then_let_go"), limit=LIMIT).broken.trace == [
        "A looks",
        "the signal is inserted",
        "the signal writes the row",
        "the signal is committed",
        "A writes that it lets go",
        "A sees nothing, and lets go",
    ]
