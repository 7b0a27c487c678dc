"""Each step of an order times what may become of its messages: the same end to the unit, the cent, the mail.

All of them run at once, each with a customer and an article of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.payments import PaymentsApi
from contracts.risk import RiskApi
from contracts.shipping import ShippingApi
from tests.faults import wire as on_the_wire
from tests.faults.flows import FLOWS
from tests.faults.wire import Wire, a_refusal_of, path_of
from tests.faults.world import LEASE, QUANTITY, TOTAL, End, Flow, World, in_turns
from tests.sandboxes import wait_until

DEADLINE = timedelta(seconds=901)
ACTIONS: dict[str, Callable[..., Any]] = {
    "reserve_stock": InventoryApi.reserve,
    "assess_risk": RiskApi.assess,
    "authorize_payment": PaymentsApi.authorize,
    "capture_payment": PaymentsApi.capture,
    "commit_stock": InventoryApi.commit,
    "book_shipment": ShippingApi.book,
    "clear_cart": CartsApi.remove_ordered,
}
UNDOS: dict[str, Callable[..., Any]] = {
    "reserve_stock": InventoryApi.release,
    "assess_risk": RiskApi.forget,
    "authorize_payment": PaymentsApi.void,
}
SLOWER = "slower_than_the_lease"
RETRIABLE = ("commit_stock", "book_shipment", "clear_cart")
PAID, REFUSED_AT_THE_PIVOT = FLOWS[0], FLOWS[1]

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
    """A cell of the matrix. `late`: what a message that comes after all is over is answered."""

    name: str
    flow: Flow
    arrange: Callable[[World, Wire, str], None]
    step: str
    seen: str | None = None
    late: str | None = None


def _cell(flow: Flow, step: str, method: Callable[..., Any], outcome: Outcome) -> Row:
    return Row(
        f"{step}.{method.__name__}-{outcome.name}",
        flow,
        lambda world, wire, trace: outcome.arrange(world, wire, trace, method),
        step,
        outcome.seen,
    )


def _rejected(steps: dict[str, str], money: tuple[str, ...] = ()) -> End:
    """An order that was given up: everything is as before."""
    return End(
        status="rejected",
        stock=(5, 0, 0),
        money=tuple((kind, TOTAL) for kind in money),
        mails={"order_rejected": 1},
        timeline=steps,
        cart=QUANTITY,
    )


UNDONE = dict.fromkeys(UNDOS, "undone")
AFTER_REFUSAL = {
    "reserve_stock": _rejected({"reserve_stock": "refused", "assess_risk": "undone"}),
    "assess_risk": _rejected({"reserve_stock": "undone", "assess_risk": "refused"}),
    "authorize_payment": _rejected({**UNDONE, "authorize_payment": "refused"}),
    "capture_payment": _rejected({**UNDONE, "capture_payment": "refused"}, ("authorize", "void")),
}


def _refused(step: str) -> Row:
    """Before and at the pivot a refusal turns the order round; after it, it is asked again."""
    method = ACTIONS[step]
    code = a_refusal_of(method)
    times = 2 if step in RETRIABLE else 1
    flow = PAID if step in RETRIABLE else replace(PAID, end=AFTER_REFUSAL[step])

    def arrange(world: World, wire: Wire, trace: str) -> None:
        wire.on_request(trace, method, *[on_the_wire.refused(code)] * times)

    return Row(f"{step}.{method.__name__}-refused", flow, arrange, step, "refused")


def _late_after_undo(step: str) -> Row:
    """The action arrives once more when it has been undone."""

    def arrange(world: World, wire: Wire, trace: str) -> None:
        wire.on_request(trace, ACTIONS[step], on_the_wire.held_copy)

    return Row(f"{step}-late_action_after_undo", REFUSED_AT_THE_PIVOT, arrange, step, late="saga.fenced")


def _late_after_end(step: str) -> Row:
    """An action that has no undo arrives once more when all is over."""

    def arrange(world: World, wire: Wire, trace: str) -> None:
        wire.on_request(trace, ACTIONS[step], on_the_wire.held_copy)

    return Row(f"{step}-late_action_after_end", PAID, arrange, step, late="ok")


def _undo_before_action(step: str, other: str) -> Row:
    """The action arrives after its undo; what turned the order round is that another step of its stage is refused."""

    def arrange(world: World, wire: Wire, trace: str) -> None:
        wire.on_request(trace, ACTIONS[step], on_the_wire.held)
        wire.on_request(trace, ACTIONS[other], on_the_wire.refused(a_refusal_of(ACTIONS[other])))

    flow = replace(PAID, end=_rejected({step: "undone", other: "refused"}))
    return Row(f"{step}-undo_before_action", flow, arrange, step, late="saga.fenced")


MATRIX = (
    *(_cell(PAID, step, method, outcome) for step, method in ACTIONS.items() for outcome in OUTCOMES),
    *(_refused(step) for step in ACTIONS),
    *(_cell(REFUSED_AT_THE_PIVOT, step, method, each) for step, method in UNDOS.items() for each in OUTCOMES[1:]),
    *(_late_after_undo(step) for step in UNDOS),
    *(_late_after_end(step) for step in ACTIONS if step not in UNDOS),
    _undo_before_action("reserve_stock", other="assess_risk"),
    _undo_before_action("assess_risk", other="reserve_stock"),
)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


def run(world: World, wire: Wire, rows: Sequence[Row]) -> None:
    """All rows at once, each to its end."""
    pairs = list(zip(world.cases(PAID, len(rows)), rows, strict=True))
    for case, row in pairs:
        row.arrange(world, wire, case.trace)
    in_turns(pairs, lambda pair: (pair[1].flow.begin(world, pair[0]), world.ended(pair[0])))
    assert wire.unmet() == []
    late = wire.release()
    for case, row in pairs:
        world.assert_holds(row.flow, case, row.name)
        if row.seen:
            outcomes = [each["outcome"] for each in world.order(case)["timeline"] if each["step"] == row.step]
            assert (row.name, row.seen in outcomes) == (row.name, True)
        if row.late:
            assert (row.name, late.pop((case.trace, path_of(ACTIONS[row.step])))) == (row.name, row.late)
    assert late == {}
    world.assert_adds_up()


def test_every_step_ends_as_it_should_whatever_becomes_of_its_messages(world: World, wire: Wire) -> None:
    run(world, wire, [row for row in MATRIX if not row.name.endswith(SLOWER)])


def test_every_step_ends_as_it_should_when_it_is_slower_than_the_lease(world: World, wire: Wire) -> None:
    run(world, wire, [row for row in MATRIX if row.name.endswith(SLOWER)])


def test_an_authorization_that_arrives_after_its_void_takes_no_money(world: World, wire: Wire) -> None:
    (case,) = world.cases(PAID, 1)
    wire.on_request(case.trace, PaymentsApi.authorize, *[on_the_wire.held] * 50)
    PAID.begin(world, case)
    wait_until(lambda: wire.held)
    world.later(DEADLINE)
    world.ended(case)
    wire.requests.clear()
    assert wire.release() == {(case.trace, "payments.authorize"): "saga.fenced"}
    end = _rejected({**UNDONE, "deadline": "refused"})
    world.assert_holds(replace(PAID, end=end), case, "an authorization after its void")
    world.assert_adds_up()
