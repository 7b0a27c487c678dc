"""The definitions that are explored, whole; and for each flaw the model that shows what it breaks, and how soon."""

from typing import NamedTuple

from tests.model.checker import STUCK
from tests.model.operators import OperatedSaga
from tests.model.saga import SagaModel
from tests.model.state import Definition, Step

L = Step("L", "undoable")
O = Step("O", "undoable", outside=True)  # noqa: E741 - L and O are who does it: a local service, one with a company outside
P = Step("P", "pivot", outside=True)
R = Step("R", "retriable")
S = Step("S", "retriable", outside=True)
G = Step("G", "retriable", outside=True, makes_good=True)

ORDER: Definition = ((L,), (O,), (P,), (R,))
ORDER_MADE_GOOD: Definition = ((L,), (O,), (P,), (R, G))
AT_ONCE: Definition = ((L, O), (P,), (R,))
NO_PIVOT: Definition = ((O,), (S,))
SHORT: Definition = ((L,), (P,), (G,))
OUTSIDE_LAST: Definition = ((L,), (P,), (S,))


class Whole(NamedTuple):
    """How many states a model has, and how far the farthest is from the first."""

    model: SagaModel
    states: int
    depth: int


MODELS = {
    "an order, made good": Whole(SagaModel(ORDER_MADE_GOOD), 22_570, 29),
    "two steps at once": Whole(SagaModel(AT_ONCE), 29_577, 24),
    "no pivot": Whole(SagaModel(NO_PIVOT), 2_181, 17),
    "operators": Whole(OperatedSaga(SHORT), 4_971, 22),
}
LARGER = {
    "an order, three instances": Whole(SagaModel(ORDER, instances=3), 24_661, 29),
    "an order, nothing left out": Whole(SagaModel(ORDER, reduced=False), 184_450, 34),
    "an order, operators": Whole(OperatedSaga(ORDER), 107_525, 34),
}


class Shown(NamedTuple):
    """The first invariant that falls with a flaw, after how many steps, and the first that is seen from outside."""

    model: type[SagaModel]
    definition: Definition
    first: tuple[str, int] | None
    outside: tuple[str, int] | None


SHOWN = {
    "no_ver_guard": Shown(SagaModel, ORDER, ("who_lost_ver_commits_nothing", 3), ("compensated_holds_nothing", 11)),
    "no_barrier_row": Shown(SagaModel, ORDER, ("nothing_is_doubled", 3), ("nothing_is_doubled", 3)),
    "no_fence_row": Shown(SagaModel, ORDER, ("nothing_acts_after_its_fence", 5), ("compensated_holds_nothing", 6)),
    "undo_only_known": Shown(SagaModel, ORDER, ("compensated_holds_nothing", 4), ("compensated_holds_nothing", 4)),
    "unknown_is_refused": Shown(SagaModel, ORDER, ("compensated_holds_nothing", 4), ("compensated_holds_nothing", 4)),
    "undo_gives_up": Shown(SagaModel, ORDER, ("compensated_holds_nothing", 5), ("compensated_holds_nothing", 5)),
    "first_stage_first": Shown(SagaModel, ORDER, ("last_stage_first", 6), None),
    "compensating_late": Shown(SagaModel, ORDER, ("compensating_before_undo", 2), ("compensated_holds_nothing", 15)),
    "pivot_not_final": Shown(
        SagaModel, ORDER, ("no_undo_once_the_pivot_may_have_happened", 13), ("never_captured_and_compensated", 14)
    ),
    "decision_without_deadline": Shown(SagaModel, ORDER, ("decided_in_time", 9), ("given_up_is_never_captured", 12)),
    "decision_without_cancel": Shown(SagaModel, ORDER, ("decided_in_time", 9), ("given_up_is_never_captured", 12)),
    "pivot_refusal_forgotten": Shown(
        SagaModel, ORDER, ("no_undo_once_the_pivot_may_have_happened", 12), ("never_captured_and_compensated", 13)
    ),
    "retriable_refusal_stored": Shown(SagaModel, ORDER, (STUCK, 15), (STUCK, 15)),
    "company_key_kept": Shown(SagaModel, OUTSIDE_LAST, (STUCK, 11), (STUCK, 11)),
    "company_key_new": Shown(SagaModel, OUTSIDE_LAST, ("nothing_is_doubled", 8), ("nothing_is_doubled", 8)),
    "started_is_nothing": Shown(
        SagaModel, ORDER, ("nothing_acts_after_its_fence", 9), ("compensated_holds_nothing", 12)
    ),
    "started_not_written": Shown(
        SagaModel, ORDER, ("nothing_acts_after_its_fence", 9), ("compensated_holds_nothing", 11)
    ),
    "begun_then_refused": Shown(
        SagaModel, ORDER, ("nothing_acts_after_its_fence", 10), ("compensated_holds_nothing", 11)
    ),
    "verdict_unguarded": Shown(SagaModel, ORDER, ("compensated_holds_nothing", 16), ("compensated_holds_nothing", 16)),
    "company_forgets_undo": Shown(
        SagaModel, ORDER, ("nothing_acts_after_its_fence", 11), ("compensated_holds_nothing", 15)
    ),
    "made_good_unfenced": Shown(SagaModel, SHORT, ("made_good_is_not_served", 14), ("made_good_is_not_served", 14)),
    "made_good_by_inbox": Shown(
        SagaModel, SHORT, ("nothing_acts_after_its_fence", 14), ("made_good_is_not_served", 15)
    ),
    "operator_unguarded": Shown(OperatedSaga, SHORT, ("an_end_is_final", 6), ("never_captured_and_compensated", 8)),
    "operator_keeps_ver": Shown(
        OperatedSaga, SHORT, ("what_is_paused_stays", 4), ("never_captured_and_compensated", 8)
    ),
    "force_in_doubt": Shown(
        OperatedSaga, SHORT, ("never_captured_and_compensated", 8), ("never_captured_and_compensated", 8)
    ),
    "skip_pivot": Shown(
        OperatedSaga, SHORT, ("completed_did_everything_once", 12), ("completed_did_everything_once", 12)
    ),
}
