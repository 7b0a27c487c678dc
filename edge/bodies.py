"""What clients send, and the pages that join several services' answers. Unknown fields in a body are refused."""

from datetime import datetime
from typing import Annotated

import msgspec

from chassis.operator_types import Age, Filter, LetterState, Reason, SagaStatus
from chassis.types import Message, Money
from contracts.accounts import AccountId, BlockNumber, Currency, Hash, Kind, Memo, Name, Subject
from contracts.amendments import Decisions, RefundTo, ReturnLines, SwapLines
from contracts.common import Address, Amount, PaymentMethod, Text
from contracts.orders import Incident
from contracts.payments import CustomerId, DisputeStatus, GiftCard
from contracts.registry import After
from contracts.risk import Denied, ReviewState
from contracts.risk import Id as RiskId
from contracts.risk import Text as RiskText
from contracts.transactions import Iban, Reference, Status
from contracts.transactions import Kind as TransactionKind
from contracts.users import Email, Password, Profile, Role


class Body(Message, forbid_unknown_fields=True):
    """Base of the bodies."""


Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class SignUp(Body):
    email: Email
    password: Password
    name: Text


class LogIn(Body):
    email: Word
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    cart_token: Word | None = None


class Refresh(Body):
    refresh_token: Word


class ProfileChanges(Body):
    name: Text | None = None
    email: Email | None = None


class Leave(Body):
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class FileQuery(Body):
    """`after` is the `next_after` of the answer before."""

    after: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


class Roles(Body):
    roles: Annotated[list[Role], msgspec.Meta(max_length=3)]


class NewPaymentMethod(Body):
    """A card, as the acquirer's token, with what the acquirer's form showed of it."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    type: Annotated[str, msgspec.Meta(pattern="^card$")] = "card"
    brand: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] = "card"
    last4: Annotated[str, msgspec.Meta(pattern="^[0-9]{4}$")] = "0000"


class NewGiftCard(Body):
    """A gift card of the shop's for a customer, by their id."""

    customer_id: CustomerId
    amount: Amount


class OpenAccount(Body):
    currency: Currency
    name: Name


class ManualPosting(Body):
    """Above zero a debit, below a credit."""

    account_id: AccountId
    amount: Amount


class ManualEntry(Body):
    """Its postings sum to zero in each currency. `corrects`: the id of the entry that this one puts right."""

    postings: Annotated[list[ManualPosting], msgspec.Meta(min_length=2, max_length=100)]
    kind: Kind
    reason: Text
    subject: Subject = ""
    memo: Memo = ""
    corrects: Annotated[str, msgspec.Meta(max_length=20)] | None = None


class VerifyQuery(Body):
    block: BlockNumber | None = None
    block_hash: Hash | None = None


class PageQuery(Body):
    limit: Limit = 50
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class ProductQuery(Body):
    query: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    category: Annotated[str, msgspec.Meta(max_length=41)] | None = None
    min_price: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    max_price: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    in_stock: bool | None = None
    sort: Annotated[str, msgspec.Meta(pattern="^(relevance|name|price|-price|newest)$")] = "relevance"
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class Adjustment(Body):
    quantity: Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)]
    reason: Text


class PutItem(Body):
    quantity: Annotated[int, msgspec.Meta(ge=0, le=999)]


class QuoteCart(Body):
    shipping_address: Address


class Total(Money, forbid_unknown_fields=True):
    """What the client showed as the sum to pay."""


class PlaceOrder(Body):
    shipping_address: Address
    payment_method: PaymentMethod
    expected_total: Total | None = None


class CancelOrder(Body):
    reason: Text


class ChangeOrder(Body):
    """At least one. Alone, `payment_method` pays all anew; with others, it pays what the change costs."""

    shipping_address: Address | None = None
    lines: SwapLines | None = None
    payment_method: PaymentMethod | None = None


class ReturnGoods(Body):
    lines: ReturnLines
    refund_to: RefundTo = "original"


class DecideReturn(Body):
    decisions: Decisions


class ExchangeGoods(Body):
    """`payment_method` is needed where the new units cost more."""

    lines: SwapLines
    payment_method: PaymentMethod | None = None


class OrderQuery(Body):
    status: Annotated[str, msgspec.Meta(max_length=20)] | None = None
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class Deposit(Body):
    account_id: AccountId
    amount: Amount
    payment_method: PaymentMethod


class Withdrawal(Body):
    account_id: AccountId
    amount: Amount
    iban: Iban


class Transfer(Body):
    from_account: AccountId
    to_account: AccountId
    amount: Amount
    reference: Reference = ""


class Reversal(Body):
    """Without an amount: all that is left."""

    reason: Text
    amount: Amount | None = None


class TransactionQuery(Body):
    kind: TransactionKind | None = None
    status: Status | None = None
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class DisputeQuery(Body):
    status: DisputeStatus | None = None
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class RegistryQuery(Body):
    """`after`: the id of the last event that was seen."""

    after: After = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class SagaQuery(Body):
    """`stuck`: what goes nowhere until somebody acts. `older_than_s` counts from the saga's beginning."""

    status: SagaStatus | None = None
    name: Filter | None = None
    stuck: bool | None = None
    attention: bool | None = None
    older_than_s: Age | None = None
    text: Filter | None = None
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class DeadLetterQuery(Body):
    service: Filter | None = None
    handler: Filter | None = None
    state: LetterState = "dead"
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class Because(Body):
    """Why an operator does it: kept with what they do."""

    reason: Reason


class SkipStep(Because):
    step: Filter


class Resolve(Because):
    """`step` where more than one needs attention."""

    step: Filter | None = None


# --- risk


class Deny(Body):
    kind: Denied
    value: RiskId
    reason: RiskText


class Allow(Body):
    kind: Denied
    value: RiskId


class DecisionQuery(Body):
    """`subject` is the id of what was decided on, such as an order's."""

    subject: RiskId


class ReviewQuery(Body):
    state: ReviewState = "open"
    limit: Limit = 20
    cursor: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class ReviewWord(Body):
    """What staff decided, and why: kept with the review."""

    reason: RiskText


# --- answers that join services


class Me(Profile):
    """`gift_cards` is null while payments cannot be asked."""

    gift_cards: list[GiftCard] | None


class CartLine(Message):
    """`available` is False for what is out of stock, or not sold any more (then at no price)."""

    sku: str
    name: str
    options: dict[str, str]
    quantity: int
    unit_price: Money
    line_total: Money
    available: bool


class CartView(Message):
    lines: list[CartLine]
    total: Money
    version: int


class Check(Message):
    """One thing that must hold. `in_flight`: it does not yet, and a running saga explains why."""

    name: str
    holds: bool
    in_flight: bool
    detail: str


class Audit(Message):
    """`holds` is False if any check's is: a difference that no running saga explains, or one that is too old.

    `incidents` are the differences that reconciliation found and could not mend, `mended` those that it did, the
    latest 100 of each: see `POST /v1/audit/repair`.
    """

    holds: bool
    checks: list[Check]
    at: datetime
    incidents: list[Incident]
    mended: list[Incident]


class Ready(Message):
    status: str
    services: dict[str, bool]


class Alive(Message):
    status: str
