"""The saga protocol holds in every state that its model can reach, and each of its guards is needed."""

import pytest

from tests.model.checker import explore
from tests.model.flaws import FLAWS, HARMLESS
from tests.model.models import LARGER, MODELS, SHORT, SHOWN
from tests.model.operators import OperatedSaga
from tests.model.rules import RULES, SEEN_FROM_OUTSIDE
from tests.model.saga import SagaModel
from tests.model.state import COMPENSATED, COMPLETED, MADE_GOOD

LIMIT, LARGER_LIMIT = 100_000, 1_000_000  # states


@pytest.mark.parametrize("name", MODELS)
def test_the_protocol_holds_in_every_state(name):
    whole = MODELS[name]
    explored = explore(whole.model, limit=LIMIT)
    print(f"{name}: {explored}")
    assert explored.broken is None
    assert (explored.states, explored.depth) == (whole.states, whole.depth)


@pytest.mark.parametrize("name", LARGER)
def test_the_protocol_holds_in_every_state_of_the_larger_models(name, everything):
    if not everything:
        pytest.skip("takes minutes: --everything")
    whole = LARGER[name]
    explored = explore(whole.model, limit=LARGER_LIMIT)
    print(f"{name}: {explored}")
    assert explored.broken is None
    assert (explored.states, explored.depth) == (whole.states, whole.depth)


@pytest.mark.parametrize("flaw", FLAWS)
def test_without_it_an_invariant_falls(flaw):
    shown = SHOWN[flaw]
    broken = explore(shown.model(shown.definition, flaw), limit=LIMIT).broken
    print(f"{flaw}: {broken}")
    assert (broken.invariant, len(broken.trace)) == shown.first


@pytest.mark.parametrize("flaw", [flaw for flaw, shown in SHOWN.items() if shown.outside not in (None, shown.first)])
def test_without_it_goods_or_money_are_lost(flaw):
    shown = SHOWN[flaw]
    broken = explore(shown.model(shown.definition, flaw), limit=LIMIT, only=SEEN_FROM_OUTSIDE).broken
    print(f"{flaw}: {broken}")
    assert (broken.invariant, len(broken.trace)) == shown.outside


@pytest.mark.parametrize("flaw", HARMLESS)
def test_without_it_nothing_but_work_is_lost(flaw):
    assert explore(SagaModel(SHORT, flaw), limit=LIMIT).broken is None


def test_every_end_is_reached_and_every_kind_of_row_is_seen():
    """A model that could not move would break nothing."""
    model, seen = OperatedSaga(SHORT), set()
    model.invariants = {"looks": lambda s: seen.add(s) is None}
    explore(model, limit=LIMIT)
    assert {COMPLETED, COMPENSATED, MADE_GOOD} <= {s.row.status for s in seen}
    assert {part.inbox for s in seen for part in s.parts} == {
        "", "started", "ok", "failed", "undoing", "undone", "fenced",
    }  # fmt: skip
    assert {outcome for s in seen for outcome in s.row.outcomes} == {"", "ok", "refused", "skipped"}
    assert {undo for s in seen for undo in s.row.undone} == {"", "ok", "unknown", "resolved"}
    assert {s.cancel for s in seen} == {s.deadline for s in seen} == {"", "before", "after"}


def test_a_trace_tells_what_happened_line_by_line():
    shown = SHOWN["no_fence_row"]
    assert str(explore(shown.model(shown.definition, "no_fence_row"), limit=LIMIT).broken).splitlines() == [
        "nothing_acts_after_its_fence does not hold after 5 steps:",
        "  1. A asks L.act",
        "  2. A: L unknown, its attempts are used up: turns round",
        "  3. A asks L.undo",
        "  4. L is fenced",
        "  5. L acts",
    ]


def test_every_invariant_has_a_flaw_that_breaks_it():
    broken = {name for shown in SHOWN.values() for name, _ in filter(None, (shown.first, shown.outside))}
    assert broken == {*SEEN_FROM_OUTSIDE, *RULES}
