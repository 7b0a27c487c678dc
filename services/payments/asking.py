"""What others are asked for a payment, while no transaction is open: the acquirer for its card, the ledger for its
wallets.

Each call goes by a key, so that asking again does nothing twice. A payment by gift cards alone asks nobody, and one
without a wallet not the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from chassis.errors import OutcomeUnknown, ServiceError
from chassis.types import Money
from services.payments.adapters import AcquirerClient, Movement
from services.payments.captures import Take
from services.payments.domain import Share
from services.payments.refunds import AskedRefund
from services.payments.store import Names, Parts, card_of, wallets_in
from services.payments.wallets import CLOSED, Ledger, wallet_of


@dataclass(frozen=True)
class Others:
    """Whom payments asks."""

    acquirer: AcquirerClient
    ledger: Ledger


# --- authorize


@dataclass(frozen=True)
class Authorization:
    """What is to be set aside. `parts` are the payment's, where there is a wallet among them; `declined`: its card is
    known to be refused."""

    names: Names
    currency: str
    shares: Sequence[Share]
    parts: Parts
    declined: ServiceError | None


def authorize(others: Others, asked: Authorization) -> Callable[[], Movement | None]:
    card = next((share for share in asked.shares if share.token is not None), None)
    if not asked.parts:
        return partial(_authorize_card, others.acquirer, asked, card)
    return partial(_authorize_all, others, asked, card)


def _authorize_card(acquirer: AcquirerClient, asked: Authorization, card: Share | None) -> Movement | None:
    if card is None or card.token is None:
        return None
    amount = Money(amount=card.amount, currency=asked.currency)
    return acquirer.authorize(asked.names.key, amount, card.token, asked.names.order_id)


def _authorize_all(others: Others, asked: Authorization, card: Share | None) -> Movement | None:
    """The wallets first, in their order, then the card. What one refuses is said only when all wallets are let go, so a
    repeat may find some that were, and asks on for the refusal, which whoever said it remembers."""
    wallets = [(wallet_of(part), asked.shares[part.position]) for part in wallets_in(asked.parts)]
    try:
        if asked.declined is not None:
            raise asked.declined
        held = [others.ledger.hold(wallet, share, asked.names.customer_id) for wallet, share in wallets]
        answer = _authorize_card(others.acquirer, asked, card)
    except ServiceError:
        for wallet, _ in wallets:
            others.ledger.release(wallet)
        raise
    if not all(held):
        raise OutcomeUnknown("accounts", "what was held is let go: this is being taken back")
    return answer


# --- void, capture


def void(others: Others, parts: Parts) -> bool:
    """Let everything go; answers whether money had been set aside on the card. Nothing else is let go if that was
    captured."""
    card, was_there = card_of(parts), False
    if card is not None:
        others.acquirer.void(card.authorize_key)
        found = others.acquirer.status(card.authorize_key)  # the void's own answer is the same for a key never seen
        was_there = found is not None and found.authorized > 0
    for part in wallets_in(parts):
        others.ledger.release(wallet_of(part))
    return was_there


def capture(others: Others, take: Take) -> None:
    """Take the card's share, which may be refused, then the wallets', then let go what is not needed."""
    taken = False
    for asked in take.asked():
        try:
            if asked.part.account_id is None:
                _capture_card(others.acquirer, asked.kind, asked.key, asked.part.authorize_key, asked.money)
            elif asked.kind == "capture":
                others.ledger.settle(wallet_of(asked.part), asked.money.amount, asked.key)
            else:
                others.ledger.release(wallet_of(asked.part))
        except ServiceError as exc:
            if taken:
                whom = "acquirer" if asked.part.account_id is None else "accounts"
                raise OutcomeUnknown(whom, f"a part was taken, and the rest is refused: {exc}") from exc
            raise
        taken = taken or asked.kind == "capture"


def _capture_card(acquirer: AcquirerClient, kind: str, key: str, authorize_key: str, amount: Money) -> None:
    if kind == "capture":
        acquirer.capture(key, authorize_key, amount)
    else:
        acquirer.void(key)


# --- refund


def refund(others: Others, asked: Sequence[AskedRefund]) -> Mapping[str, ServiceError]:
    """Ask for each; answers the refusals by key. Whatever else fails leaves the rest in doubt, to be asked again."""
    refusals = {}
    for each in asked:
        try:
            _refund(others, each)
        except ServiceError as exc:
            refusals[each.key] = exc
    return refusals


def _refund(others: Others, asked: AskedRefund) -> None:
    if asked.account_id is None:
        others.acquirer.refund(asked.key, asked.authorize_key, asked.amount)
    elif not others.ledger.give_back(asked.order_id, asked.account_id, asked.amount, asked.key):
        raise ServiceError(CLOSED, "The account is closed.")


def nothing() -> None:
    return None
