"""What the acquirer is asked for a payment's card, while no transaction is open.

Each call goes by a key, so that asking again does nothing twice. A payment without a card asks nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial

from chassis.errors import ServiceError
from chassis.types import Money
from services.payments.adapters import AcquirerClient, Movement
from services.payments.domain import Share
from services.payments.refunds import CardRefund
from services.payments.store import Take


def authorize(
    acquirer: AcquirerClient, key: str, shares: Sequence[Share], currency: str, order_id: str
) -> Callable[[], Movement | None]:
    for share in shares:
        if share.token is not None:
            amount = Money(amount=share.amount, currency=currency)
            return partial(acquirer.authorize, key, amount, share.token, order_id)
    return nothing


def void(acquirer: AcquirerClient, key: str) -> bool:
    """Answers whether money had been set aside."""
    acquirer.void(key)
    found = acquirer.status(key)  # the void's own answer is the same for a key never seen
    return found is not None and found.authorized > 0


def capture(acquirer: AcquirerClient, take: Take) -> Callable[[], object]:
    """Take the card's share; one that is not needed is let go."""
    card = take.card
    if card is None:
        return nothing
    if not take.card_amount:
        return partial(acquirer.void, card.authorize_key)
    amount = Money(amount=take.card_amount, currency=card.currency)
    return partial(acquirer.capture, take.key, card.authorize_key, amount)


def refund(acquirer: AcquirerClient, asked: Sequence[CardRefund]) -> dict[str, ServiceError]:
    """Ask for each; answers the refusals by key. Whatever else fails leaves the rest in doubt, to be asked again."""
    refusals = {}
    for each in asked:
        try:
            acquirer.refund(each.key, each.authorize_key, each.amount)
        except ServiceError as exc:
            refusals[each.key] = exc
    return refusals


def nothing() -> None:
    return None
