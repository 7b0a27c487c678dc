"""How a customer wants to pay, told from what they may pay with."""

from typing import TypeVar

import msgspec

from chassis.errors import ServiceError
from chassis.types import Money
from contracts.common import PaymentMethod, PaymentPart
from contracts.payments import PaymentsApi
from contracts.users import Profile

Way = TypeVar("Way", PaymentMethod, PaymentPart)


def method_of(profile: Profile, asked: PaymentMethod) -> PaymentMethod:
    """The method to pay with: saved cards, also inside of a split, are named by their tokens."""
    if asked.type == "split":
        parts = [_card_of(profile, part, f"parts[{n}].") for n, part in enumerate(asked.parts or [])]
        return msgspec.structs.replace(asked, parts=parts)
    return _card_of(profile, asked, "")


def _card_of(profile: Profile, asked: Way, path: str) -> Way:
    if (asked.type == "gift_card" and asked.id is not None) or (
        asked.type == "wallet" and asked.account_id is not None
    ):
        return asked
    if asked.type == "card" and asked.id is not None:
        saved = next((each for each in profile.payment_methods if each.id == asked.id), None)
        if saved is None:
            raise ServiceError(
                "orders.unknown_payment_method",
                "You have no payment method with this id.",
                {"field": f"payment_method.{path}id"},
            )
        return msgspec.structs.replace(asked, id=None, token=saved.token)
    if asked.type != "card" or not asked.token:
        raise ServiceError(
            "orders.unknown_payment_method",
            'Pay by {"type": "card", "token": …}, by a saved one {"id": …}, by {"type": "gift_card", "id": …}, or by'
            ' {"type": "wallet", "account_id": …}.',
            {"field": f"payment_method.{path}type"},
        )
    return asked


def require_payable(payments: PaymentsApi, total: Money, method: PaymentMethod, customer_id: str) -> None:
    """A customer who pays in another way than by one card is told at once what is wrong with it."""
    if method.type == "card":
        return
    try:
        payments.check(total, method, customer_id)
    except ServiceError as exc:
        field = exc.details.get("field")
        details = {**exc.details, "field": f"payment_{field}"} if isinstance(field, str) else exc.details
        raise ServiceError(exc.code, exc.message, details) from None
