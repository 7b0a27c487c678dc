"""Deposits, withdrawals, transfers and reversals as tables: what is done, what undoes it, what is said in the end."""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from chassis.errors import ServiceError
from chassis.saga import Results, Run, Saga, Step
from chassis.types import Message
from contracts.accounts import AccountsApi, NewEntry
from contracts.payments import PaymentsApi
from contracts.risk import RiskApi
from services.transactions import store
from services.transactions.domain import (
    Moving,
    arrived_entry,
    deposit_entry,
    reason_for,
    refund_entry,
    returned_entry,
    subject_of,
    transfer_entry,
    withdrawal_entry,
)

DEADLINE_S = 900.0
CHALLENGE_S = 900.0
"""How long a customer has to approve a card payment at their bank."""
REVIEW_S = 25 * 3600.0
"""How long a transaction waits for staff: longer than risk lets them take, so that it is risk who says that time is
over."""


class Arrived(Message):
    """A withdrawal of which the bank has told: that it arrived, or, with a `reason`, that it came back."""

    moving: Moving
    settled: bool = True
    reason: str = ""


# --- ends


def reviewing(session: Session, run: Run[Moving]) -> None:
    store.move(session, run.data.id, "in_review")


def completed(session: Session, run: Run[Moving]) -> None:
    """Told once: the ledger has it, under the id of the entry that settled it."""
    settled = run.results.get("settle") or {}
    if store.move(session, run.data.id, "completed", entry_id=settled.get("id")):
        store.tell(session, run.data.id)


def withdrawn(session: Session, run: Run[Moving]) -> None:
    completed(session, run)
    row = store.require(session, run.data.id)
    if row.return_reason is not None:  # the bank was faster
        run.start(session, RETURN, row.id, returned(run.data, row))


def rejected(session: Session, run: Run[Moving]) -> None:
    _reject(session, run)
    store.give_back(session, store.require(session, run.data.id))


def reversal_completed(session: Session, run: Run[Moving]) -> None:
    assert run.data.reverses is not None
    store.end_reversal(session, run.data.reverses, run.data.amount.amount)
    completed(session, run)


def reversal_rejected(session: Session, run: Run[Moving]) -> None:
    assert run.data.reverses is not None
    store.end_reversal(session, run.data.reverses, 0)
    _reject(session, run)


def _reject(session: Session, run: Run[Moving]) -> None:
    code = (run.cause or {}).get("code", "")
    if store.move(session, run.data.id, "rejected", reason_code=code, reason=reason_for(code)):
        store.tell(session, run.data.id)


def came_back(session: Session, run: Run[Arrived]) -> None:
    moving, code = run.data.moving, "payments.payout_returned"
    reason = f"{reason_for(code)} The bank says: {run.data.reason}."
    back = dict(reason_code=code, reason=reason, reversed_amount=moving.amount.amount)
    if store.move(session, moving.id, "reversed", **back):
        store.tell(session, moving.id)


def noted(session: Session, run: Run[Any]) -> None:
    """The ledger knows, and nobody else has to."""


def returned(moving: Moving, row: Row[Any]) -> Arrived:
    """A completed withdrawal that came back, as RETURN gets it."""
    correcting = msgspec.structs.replace(moving, corrects=row.entry_id)
    return Arrived(moving=correcting, settled=row.return_settled, reason=row.return_reason)


# --- steps


def in_review(moving: Moving, results: Results) -> bool:
    """Whether staff has to decide first."""
    return bool((results.get("screen") or {}).get("decision") == "review")


def heed_review(moving: Moving, payload: dict[str, Any]) -> Moving:
    """Go on if staff approved. Their reason stays with the review: the customer reads what is said here."""
    if not payload["approved"]:
        raise ServiceError("transactions.review_refused", "It was not approved.")
    return moving


def without_risk(moving: Moving) -> str:
    """Risk does not answer: by the policy that it began under the transaction goes on, or is given up."""
    if not moving.without_risk:
        raise ServiceError("transactions.not_screened", "Risk does not answer: closed for this amount.")
    return "Risk does not answer: open for this amount."


def challenged(moving: Moving, results: Results) -> bool:
    """Whether the bank wants the customer to approve the payment."""
    return bool(results.get("authorize_payment", {}).get("status") == "requires_action")


def heed_challenge(moving: Moving, payload: dict[str, Any]) -> Moving:
    """Go on if the customer approved."""
    if not payload["authorized"]:
        raise ServiceError(
            "transactions.challenge_refused", f"The bank says: {payload.get('reason') or 'not approved'}."
        )
    return moving


SCREEN: Step[Moving] = Step(
    "screen",
    RiskApi.screen,
    lambda m: dict(subject=subject_of(m)),
    undo=RiskApi.unscreen,
    unanswered=without_risk,
)
REVIEW: dict[str, Any] = dict(
    signal="review",
    until_s=REVIEW_S,
    otherwise="transactions.review_expired",
    learn=heed_review,
    when=in_review,
    begun=reviewing,
)


def hold(entry: Callable[[Moving], NewEntry]) -> Step[Moving]:
    """Set aside what `entry(moving)` says, under the transaction's id."""
    return Step("hold", AccountsApi.hold, lambda m: dict(hold_id=m.id, entry=entry(m)), undo=AccountsApi.release)


SETTLE: Step[Moving] = Step("settle", AccountsApi.settle, lambda m: dict(hold_id=m.id))

TRANSFER = (
    Saga("transfer", version=1, data=Moving, deadline_s=DEADLINE_S)
    .stage(SCREEN)
    .wait_for(**REVIEW)
    .stage(hold(transfer_entry))
    .retriable(SETTLE)
    .finish(completed, otherwise=rejected)
)

DEPOSIT = (
    Saga("deposit", version=1, data=Moving, deadline_s=DEADLINE_S)
    .stage(SCREEN)
    .wait_for(**REVIEW)
    .stage(hold(deposit_entry))
    .stage(
        Step(
            "authorize_payment",
            PaymentsApi.authorize,
            lambda m: dict(order_id=m.id, amount=m.total(), method=m.method, customer_id=m.customer_id),
            undo=PaymentsApi.void,
        )
    )
    .wait_for(
        "challenge",
        until_s=CHALLENGE_S,
        otherwise="transactions.challenge_expired",
        learn=heed_challenge,
        when=challenged,
    )
    .pivot(Step("capture_payment", PaymentsApi.capture, lambda m: dict(order_id=m.id, amount=m.total())))
    .retriable(SETTLE)
    .finish(completed, otherwise=rejected)
)

WITHDRAW = (
    Saga("withdraw", version=1, data=Moving, deadline_s=DEADLINE_S)
    .stage(SCREEN)
    .wait_for(**REVIEW)
    .stage(hold(withdrawal_entry))
    .pivot(
        Step(
            "pay_out",
            PaymentsApi.pay_out,
            lambda m: dict(payout_id=m.id, amount=m.amount, iban=m.iban, name=m.name, reference=m.id),
        )
    )
    .retriable(SETTLE)
    .finish(withdrawn, otherwise=rejected)
)

REVERSE_TRANSFER = (
    Saga("reverse_transfer", version=1, data=Moving, deadline_s=DEADLINE_S)
    .stage(hold(transfer_entry))
    .retriable(SETTLE)
    .finish(reversal_completed, otherwise=reversal_rejected)
)

REVERSE_DEPOSIT = (
    Saga("reverse_deposit", version=1, data=Moving, deadline_s=DEADLINE_S)
    .stage(hold(refund_entry))
    .retriable(Step("refund_payment", PaymentsApi.refund, lambda m: dict(order_id=m.reverses, amount=m.amount)))
    .retriable(SETTLE)
    .finish(reversal_completed, otherwise=reversal_rejected)
)

ARRIVE = (
    Saga("payout_arrived", version=1, data=Arrived, deadline_s=DEADLINE_S)
    .retriable(Step("book_arrival", AccountsApi.book, lambda a: dict(entry=arrived_entry(a.moving))))
    .finish(noted, otherwise=noted)
)

RETURN = (
    Saga("return_withdrawal", version=1, data=Arrived, deadline_s=DEADLINE_S)
    .retriable(Step("book_return", AccountsApi.book, lambda a: dict(entry=returned_entry(a.moving, a.settled))))
    .finish(came_back, otherwise=noted)
)

BEGINS = {"transfer": TRANSFER, "deposit": DEPOSIT, "withdrawal": WITHDRAW}
REVERSES = {"transfer": REVERSE_TRANSFER, "deposit": REVERSE_DEPOSIT}
