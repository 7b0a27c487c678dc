"""The acquirer, as payments sees it. Each movement goes by a key of ours, so that asking again does nothing twice."""

from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec
from nameko.extensions import DependencyProvider

from chassis.errors import ServiceError
from chassis.outside import OutsideClient
from chassis.types import Message, Money
from contracts.payments import DisputeId, DisputeStatus
from services.payments.domain import LARGEST

T = TypeVar("T")

REFUSALS = {
    "declined": "payments.declined",
    "insufficient_funds": "payments.declined",
    "unknown_token": "payments.unknown_token",
    "capture_refused": "payments.capture_refused",
    "capture_exceeds_authorization": "payments.capture_refused",
    "captured": "payments.captured",
    "requires_action": "payments.requires_action",
    "voided": "payments.voided",
    "unknown_authorization": "payments.not_authorized",
    "refund_exceeds_capture": "payments.refund_exceeds_capture",
    "key_reused": "command.key_reused",
}
"""The acquirer's codes and ours; `details.reason` keeps theirs."""


class Movement(Message):
    """What the acquirer did for `key`. `payment` is its own id of the payment, the same for all that belong to it.

    The status of an authorization is requires_action where the customer has to approve it first, at `url`; a hook tells
    how that ended, with a `code` where it did not end well.
    """

    payment: str = msgspec.field(name="id")
    key: str
    authorization_key: str
    status: str
    amount: int
    currency: str
    url: str | None = None
    code: str | None = None


class Operation(Message):
    """What became of a key. `status`: authorized, requires_action, captured, voided, refunded, or declined and refused
    (then `code` says why).

    `authorized`, `captured` and `refunded` are an authorization's sums in minor units: what was ever moved.
    """

    key: str
    kind: str
    status: str
    payment: str | None = msgspec.field(name="id", default=None)
    amount: int = 0
    currency: str | None = None
    code: str | None = None
    authorized: int = 0
    captured: int = 0
    refunded: int = 0


class Disputed(Message):
    """What the acquirer has taken back, and whether it stays so."""

    id: DisputeId
    authorization_key: str
    status: DisputeStatus
    amount: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
    currency: str
    reason: str = ""


class StatementLine(Message):
    """A movement of money. `kind`: authorize, capture, void, refund, dispute (taken back) or dispute_won (given back
    again), the latter two by the dispute's id; `id` grows with time.

    `outcome` of a dispute is its status by now, since `decided_at` if it is decided.
    """

    id: int
    kind: str
    key: str
    authorization_key: str
    reference: str
    payment: str
    amount: int
    currency: str
    at: datetime
    outcome: str | None = None
    decided_at: datetime | None = None


class StatementPage(Message):
    """`next` is the `after` of the next page, None on the last one."""

    items: list[StatementLine]
    next: int | None


class AcquirerClient:
    """The acquirer's API. Every method may also raise Unavailable or OutcomeUnknown: ask again with the same key."""

    def __init__(self, company: OutsideClient) -> None:
        self._company = company

    def authorize(self, key: str, amount: Money, token: str, reference: str) -> Movement:
        """Set money aside, or have the customer asked. Refusals: payments.declined, unknown_token, voided (the key was
        voided before it came)."""
        return self._post("/authorizations", Movement, key=key, **_money(amount), token=token, reference=reference)

    def capture(self, key: str, authorization_key: str, amount: Money) -> Movement:
        """Take what was set aside. Refusals: payments.capture_refused, captured (by another key), requires_action,
        voided, not_authorized."""
        return self._post("/captures", Movement, key=key, authorization_key=authorization_key, **_money(amount))

    def void(self, key: str) -> None:
        """Undo `authorize`, by its key; one that never came is refused when it comes. Refusal: payments.captured."""
        self._post("/voids", dict[str, Any], key=key)

    def refund(self, key: str, authorization_key: str, amount: Money) -> Movement:
        """Give back all or part of a capture. Refusals: payments.refund_exceeds_capture, not_authorized."""
        return self._post("/refunds", Movement, key=key, authorization_key=authorization_key, **_money(amount))

    def status(self, key: str) -> Operation | None:
        """What became of a key; None: it never arrived, though it may still."""
        try:
            found = self._company.call("GET", f"/operations/{quote(key, safe='')}")
            return found.result(Operation, {"unknown_key": "payments.not_found"})
        except ServiceError:
            return None

    def dispute(self, dispute_id: str) -> Disputed:
        """A dispute as it is by now. Refusal: payments.not_found."""
        found = self._company.call("GET", f"/disputes/{quote(dispute_id, safe='')}")
        return found.result(Disputed, {"unknown_dispute": "payments.not_found"})

    def statement(self, after: int = 0, limit: int = 100) -> StatementPage:
        """Movements in the order in which they happened, those after the id `after`."""
        return self._company.call("GET", f"/statement?after={after}&limit={limit}").result(StatementPage, {})

    def _post(self, path: str, kind: type[T], **body: Any) -> T:
        return self._company.call("POST", path, body).result(kind, REFUSALS)


def _money(amount: Money) -> dict[str, Any]:
    return {"amount": amount.amount, "currency": amount.currency}


class Acquirer(DependencyProvider):
    """Worker attribute: the client. Config: acquirer_url, acquirer_timeout_ms."""

    client: AcquirerClient

    def setup(self) -> None:
        config = self.container.config
        timeout_s = int(config["acquirer_timeout_ms"]) / 1000
        self.client = AcquirerClient(OutsideClient("acquirer", config["acquirer_url"], timeout_s))

    def get_dependency(self, worker_ctx: Any) -> AcquirerClient:
        return self.client


# --- the bank

BANK_REFUSALS = {
    "account_refused": "payments.payout_refused",
    "invalid": "payments.payout_refused",
    "cancelled": "payments.payout_cancelled",
    "key_reused": "command.key_reused",
}


class SentOut(Message):
    """What the bank did with a payout's key. `status`: accepted, settled or returned."""

    key: str
    status: str
    amount: int
    currency: str
    reason: str | None = None


class BankClient:
    """The bank's API as methods; each is asked by a key of ours."""

    def __init__(self, company: OutsideClient) -> None:
        self._company = company

    def pay_out(self, key: str, amount: Money, iban: str, name: str, reference: str) -> SentOut:
        """Have money sent. Refusals: payments.payout_refused, payments.payout_cancelled."""
        body = dict(key=key, iban=iban, name=name, reference=reference, **_money(amount))
        return self._company.call("POST", "/payouts", body).result(SentOut, BANK_REFUSALS)


class Bank(DependencyProvider):
    """Worker attribute: the client. Config: bank_url, bank_timeout_ms."""

    client: BankClient

    def setup(self) -> None:
        config = self.container.config
        self.client = BankClient(OutsideClient("bank", config["bank_url"], int(config["bank_timeout_ms"]) / 1000))

    def get_dependency(self, worker_ctx: Any) -> BankClient:
        return self.client
