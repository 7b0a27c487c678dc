"""The flows of money that are made to fail, one row each: how it begins, and what must hold at its end, to the cent.

Each customer begins with FUNDS on an account, and has a card of their own.
"""

from dataclasses import replace

from sandbox.bank import REFUSED
from tests.faults.banking import FUNDS, Money
from tests.faults.movers import (
    arrive,
    arrived,
    come_back,
    completed,
    deposit,
    deposit_and_approve,
    reverse,
    transfer,
    transfer_and_approve,
    withdraw,
    withdrawn,
)
from tests.faults.world import Flow

AMOUNT, LARGE, PART, FEE = 2_500, 250_000, 1_000, 50
"""LARGE is what risk has staff look at; FEE is a withdrawal's."""
TAKEN, TAKEN_AND_FREED = (("authorize", AMOUNT), ("capture", AMOUNT)), (("authorize", AMOUNT), ("void", AMOUNT))
SENT, SENT_BACK = (("payout", AMOUNT),), (("payout", AMOUNT), ("return", AMOUNT))

HELD = {"screen": "ok", "hold": "ok", "settle": "ok"}
DEPOSITED = {**HELD, "authorize_payment": "ok", "capture_payment": "ok"}
SENT_OUT = {**HELD, "pay_out": "ok"}

BEGUN = ("users.profile", "accounts.get", "saga", "risk.screen")
TOLD = "notifications.on_transaction_ended"
SETTLED = (*BEGUN, "accounts.hold", "accounts.settle", TOLD)
GIVEN_BACK = (*BEGUN, "accounts.hold", "accounts.release", "risk.unscreen", TOLD)
DECIDED = ("transactions.on_review_decided", "orders.on_review_decided")
CHARGED = ("payments.authorize", "payments.capture")


def has(posted: int) -> tuple[int, int, int]:
    """A balance with nothing on its way."""
    return posted, 0, 0


UNTOUCHED = Money("rejected", has(FUNDS))
"""A transaction that was given up: everything is as before."""
MOVED = Money("completed", has(FUNDS - AMOUNT), has(AMOUNT), timeline=HELD)
PAID_IN = Money("completed", has(FUNDS + AMOUNT), card=TAKEN, timeline=DEPOSITED)
PAID_OUT = Money("completed", has(FUNDS - AMOUNT - FEE), bank=SENT, timeline=SENT_OUT)
BACK = replace(PAID_OUT, status="reversed", account=has(FUNDS - FEE), bank=SENT_BACK, mails=2)

TRANSFER = Flow("transfer", transfer(AMOUNT), MOVED, ("transactions.transfer", *SETTLED), outside=False)
TRANSFER_REFUSED = Flow(
    "transfer_refused",
    transfer(FUNDS + 1),
    replace(UNTOUCHED, timeline={"screen": "undone", "hold": "refused"}),
    ("transactions.transfer", *BEGUN, "accounts.hold", "risk.unscreen", TOLD),
    outside=False,
)
TRANSFER_REVIEWED = Flow(
    "transfer_reviewed",
    transfer_and_approve(LARGE),
    Money("completed", has(FUNDS), has(LARGE), timeline={**HELD, "review": "ok"}),
    ("transactions.transfer", *SETTLED, "risk.claim", "risk.approve", *DECIDED),
    before=lambda world, case: world.pay_in(case, LARGE),
    outside=False,
)
DEPOSIT = Flow("deposit", deposit(AMOUNT), PAID_IN, ("transactions.deposit", *SETTLED, *CHARGED))
DEPOSIT_REFUSED = Flow(
    "deposit_refused_at_the_pivot",
    deposit(AMOUNT, "tok_capture_fails"),
    replace(
        UNTOUCHED,
        card=TAKEN_AND_FREED,
        timeline={**dict.fromkeys(("screen", "hold", "authorize_payment"), "undone"), "capture_payment": "refused"},
    ),
    ("transactions.deposit", *GIVEN_BACK, *CHARGED, "payments.void"),
)
DEPOSIT_APPROVED = Flow(
    "deposit_approved",
    deposit_and_approve(AMOUNT),
    replace(PAID_IN, timeline={**DEPOSITED, "challenge": "ok"}),
    (
        "transactions.deposit",
        *SETTLED,
        *CHARGED,
        "payments.acquirer_hook",
        "transactions.on_payment_resolved",
        "orders.on_payment_resolved",
    ),
)
WITHDRAWAL = Flow("withdrawal", withdraw(AMOUNT), PAID_OUT, ("transactions.withdraw", *SETTLED, "payments.pay_out"))
WITHDRAWAL_REFUSED = Flow(
    "withdrawal_refused",
    withdraw(AMOUNT, REFUSED),
    replace(UNTOUCHED, timeline={"screen": "undone", "hold": "undone", "pay_out": "refused"}),
    ("transactions.withdraw", *GIVEN_BACK, "payments.pay_out"),
)
ARRIVAL = Flow(
    "arrival",
    arrive,
    PAID_OUT,
    ("payments.bank_hook", "transactions.on_payout_settled", "saga", "accounts.book"),
    before=withdrawn(AMOUNT),
    outside=False,
    sagas=2,
)
RETURN = Flow(
    "return_of_what_had_arrived",
    come_back,
    BACK,
    ("payments.bank_hook", "transactions.on_payout_returned", "saga", "accounts.book", TOLD),
    before=arrived(AMOUNT),
    outside=False,
    sagas=3,
)
EARLY_RETURN = replace(RETURN, name="return_before_it_arrived", before=withdrawn(AMOUNT), sagas=2)
REVERSED_TRANSFER = Flow(
    "reversal_of_a_transfer",
    reverse(PART),
    Money(
        "completed",
        has(FUNDS - AMOUNT + PART),
        has(AMOUNT - PART),
        mails=2,
        timeline={"hold": "ok", "settle": "ok"},
        original=("completed", PART),
    ),
    ("transactions.reverse", "saga", "accounts.hold", "accounts.settle", TOLD),
    before=completed(transfer(AMOUNT)),
    outside=False,
    sagas=2,
)
REVERSED_DEPOSIT = Flow(
    "reversal_of_a_deposit",
    reverse(AMOUNT),
    Money(
        "completed",
        has(FUNDS),
        card=(*TAKEN, ("refund", AMOUNT)),
        mails=2,
        timeline={"hold": "ok", "refund_payment": "ok", "settle": "ok"},
        original=("reversed", AMOUNT),
    ),
    ("transactions.reverse", "saga", "accounts.hold", "payments.refund", "accounts.settle", TOLD),
    before=completed(deposit(AMOUNT)),
    sagas=2,
)

MONEY_FLOWS = (
    TRANSFER,
    TRANSFER_REFUSED,
    TRANSFER_REVIEWED,
    DEPOSIT,
    DEPOSIT_REFUSED,
    DEPOSIT_APPROVED,
    WITHDRAWAL,
    WITHDRAWAL_REFUSED,
    ARRIVAL,
    RETURN,
    EARLY_RETURN,
    REVERSED_TRANSFER,
    REVERSED_DEPOSIT,
)
