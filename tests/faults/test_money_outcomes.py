"""Each step of a deposit, withdrawal, transfer, reversal, arrival and return times what may become of its messages.

All of them run at once, each with a customer, accounts and a card of its own; then the books are added up.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.accounts import AccountsApi
from contracts.payments import PaymentsApi
from contracts.risk import RiskApi
from tests.faults import wire as on_the_wire
from tests.faults.banking import FUNDS, Bank, Money
from tests.faults.matrix import OUTCOMES, SLOWER, cell, late, refused, run
from tests.faults.money_flows import (
    AMOUNT,
    ARRIVAL,
    DEPOSIT,
    DEPOSIT_REFUSED,
    RETURN,
    REVERSED_DEPOSIT,
    TAKEN,
    TAKEN_AND_FREED,
    TRANSFER,
    UNTOUCHED,
    WITHDRAWAL,
    WITHDRAWAL_REFUSED,
    has,
)
from tests.faults.wire import Wire
from tests.faults.world import Flow
from tests.sandboxes import wait_until

Steps = dict[str, Callable[..., Any]]
DEADLINE = timedelta(seconds=901)
HELD: Steps = {"screen": RiskApi.screen, "hold": AccountsApi.hold, "settle": AccountsApi.settle}
FORWARD: tuple[tuple[Flow, Steps], ...] = (
    (TRANSFER, HELD),
    (DEPOSIT, {"authorize_payment": PaymentsApi.authorize, "capture_payment": PaymentsApi.capture}),
    (WITHDRAWAL, {"hold": AccountsApi.hold, "pay_out": PaymentsApi.pay_out, "settle": AccountsApi.settle}),
    (REVERSED_DEPOSIT, {"hold": AccountsApi.hold, "refund_payment": PaymentsApi.refund, "settle": AccountsApi.settle}),
    (ARRIVAL, {"book_arrival": AccountsApi.book}),
    (RETURN, {"book_return": AccountsApi.book}),
)
"""The steps of each flow that are tried: those that it has with one above it only where it matters."""
BACKWARD: tuple[tuple[Flow, Steps], ...] = (
    (DEPOSIT_REFUSED, {"screen": RiskApi.unscreen, "hold": AccountsApi.release, "authorize_payment": PaymentsApi.void}),
    (WITHDRAWAL_REFUSED, {"hold": AccountsApi.release}),
)
UNDOABLE: Steps = {"screen": RiskApi.screen, "hold": AccountsApi.hold, "authorize_payment": PaymentsApi.authorize}


def _rejected(refused: str, *undone: str, card: tuple[tuple[str, int], ...] = ()) -> Money:
    return replace(UNTOUCHED, card=card, timeline={**dict.fromkeys(undone, "undone"), refused: "refused"})


NOT_REVERSED = replace(_rejected("hold", card=TAKEN), account=has(FUNDS + AMOUNT), mails=2, original=("completed", 0))
AFTER_REFUSAL = {
    (TRANSFER.name, "screen"): _rejected("screen"),
    (TRANSFER.name, "hold"): _rejected("hold", "screen"),
    (DEPOSIT.name, "authorize_payment"): _rejected("authorize_payment", "hold", "screen"),
    (DEPOSIT.name, "capture_payment"): _rejected(
        "capture_payment", "authorize_payment", "hold", "screen", card=TAKEN_AND_FREED
    ),
    (WITHDRAWAL.name, "hold"): _rejected("hold", "screen"),
    (WITHDRAWAL.name, "pay_out"): _rejected("pay_out", "hold", "screen"),
    (REVERSED_DEPOSIT.name, "hold"): NOT_REVERSED,
}
"""Where a refusal turns it round, and to which end. What is not here is asked until it succeeds."""
ACTIONS = [(flow, step, method) for flow, steps in FORWARD for step, method in steps.items()]
UNDOS = [(flow, step, method) for flow, steps in BACKWARD for step, method in steps.items()]

ROWS = (
    *(cell(flow, step, method, outcome) for flow, step, method in ACTIONS for outcome in OUTCOMES),
    *(refused(flow, step, method, AFTER_REFUSAL.get((flow.name, step))) for flow, step, method in ACTIONS),
    *(cell(flow, step, method, outcome) for flow, step, method in UNDOS for outcome in OUTCOMES[1:]),
    *(late(flow, step, UNDOABLE[step], "saga.fenced") for flow, step, _ in UNDOS),
    *(late(flow, step, method, "ok") for flow, step, method in ACTIONS),
)
MATRIX = [replace(row, seen=None) if row.flow.name in (ARRIVAL.name, RETURN.name) else row for row in ROWS]
"""The timeline of a withdrawal does not show what the bank told later."""
on_sqlite = pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)


def test_every_step_of_a_transaction_ends_as_it_should_whatever_becomes_of_its_messages(bank: Bank, wire: Wire) -> None:
    run(bank, wire, [row for row in MATRIX if not row.name.endswith(SLOWER)])


@on_sqlite
def test_every_step_of_a_transaction_ends_as_it_should_when_it_is_slower_than_the_lease(bank: Bank, wire: Wire) -> None:
    run(bank, wire, [row for row in MATRIX if row.name.endswith(SLOWER)])


@on_sqlite
@pytest.mark.parametrize("flow", [TRANSFER, DEPOSIT, WITHDRAWAL], ids=lambda flow: flow.name)
def test_a_hold_that_arrives_after_its_release_takes_no_money(bank: Bank, wire: Wire, flow: Flow) -> None:
    (case,) = bank.cases(flow, 1)
    wire.on_request(case.trace, AccountsApi.hold, *[on_the_wire.held] * 50)
    flow.begin(bank, case)
    wait_until(lambda: wire.held)
    bank.later(DEADLINE)
    bank.ended(case)
    wire.requests.clear()
    assert wire.release() == {(case.trace, "accounts.hold"): "saga.fenced"}
    bank.assert_holds(replace(flow, end=_rejected("deadline", "hold", "screen")), case, "a hold after its release")
    bank.assert_adds_up()


@on_sqlite
def test_a_payout_in_doubt_is_asked_for_again_after_the_deadline_and_leaves_once(bank: Bank, wire: Wire) -> None:
    (case,) = bank.cases(WITHDRAWAL, 1)
    wire.on_request(case.trace, PaymentsApi.pay_out, on_the_wire.held)
    WITHDRAWAL.begin(bank, case)
    wait_until(lambda: wire.held)
    bank.later(DEADLINE)
    bank.ended(case)
    assert wire.release() == {(case.trace, "payments.pay_out"): "ok"}
    bank.assert_holds(WITHDRAWAL, case, "a payout in doubt")
    bank.assert_adds_up()
