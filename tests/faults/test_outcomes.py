"""Each step of an order times what may become of its messages: the same end to the unit, the cent, the mail.

All of them run at once, each with a customer and an article of its own.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from contracts.accounts import AccountsApi
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.payments import PaymentsApi
from contracts.risk import RiskApi
from contracts.shipping import ShippingApi
from tests.faults import wire as on_the_wire
from tests.faults.flows import FLOWS
from tests.faults.matrix import OUTCOMES, SLOWER, Row, cell, late, refused, run
from tests.faults.wire import Wire, a_refusal_of
from tests.faults.world import QUANTITY, TOTAL, End, World
from tests.sandboxes import wait_until

DEADLINE = timedelta(seconds=901)
ACTIONS: dict[str, Callable[..., Any]] = {
    "reserve_stock": InventoryApi.reserve,
    "assess_risk": RiskApi.screen,
    "authorize_payment": PaymentsApi.authorize,
    "capture_payment": PaymentsApi.capture,
    "commit_stock": InventoryApi.commit,
    "book_shipment": ShippingApi.book,
    "clear_cart": CartsApi.remove_ordered,
    "book_sale": AccountsApi.book,
}
UNDOS: dict[str, Callable[..., Any]] = {
    "reserve_stock": InventoryApi.release,
    "assess_risk": RiskApi.unscreen,
    "authorize_payment": PaymentsApi.void,
}
PAID, REFUSED_AT_THE_PIVOT = FLOWS[0], FLOWS[1]


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


def _undo_before_action(step: str, other: str) -> Row:
    """The action arrives after its undo; what turned the order round is that another step of its stage is refused."""

    def arrange(world: World, wire: Wire, trace: str) -> None:
        wire.on_request(trace, ACTIONS[step], on_the_wire.held)
        wire.on_request(trace, ACTIONS[other], on_the_wire.refused(a_refusal_of(ACTIONS[other])))

    flow = replace(PAID, end=_rejected({step: "undone", other: "refused"}))
    return Row(f"{step}-undo_before_action", flow, arrange, step, late=(ACTIONS[step], "saga.fenced"))


MATRIX = (
    *(cell(PAID, step, method, outcome) for step, method in ACTIONS.items() for outcome in OUTCOMES),
    *(refused(PAID, step, method, AFTER_REFUSAL.get(step)) for step, method in ACTIONS.items()),
    *(cell(REFUSED_AT_THE_PIVOT, step, method, each) for step, method in UNDOS.items() for each in OUTCOMES[1:]),
    *(late(REFUSED_AT_THE_PIVOT, step, ACTIONS[step], "saga.fenced") for step in UNDOS),
    *(late(PAID, step, method, "ok") for step, method in ACTIONS.items() if step not in UNDOS),
    _undo_before_action("reserve_stock", other="assess_risk"),
    _undo_before_action("assess_risk", other="reserve_stock"),
)


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
