"""What staff offers a customer: a wish for a service, tried by a preview, and told by its amounts."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from chassis.errors import ServiceError
from chassis.masking import masked
from chassis.types import Money
from contracts.amendments import Preview, Wish
from contracts.support import Change
from services.support import words
from services.support.talk.actions import moved
from services.support.talk.ports import Orders
from services.support.turns import Proposal, plain


def _change(wish: dict[str, Any]) -> dict[str, Any]:
    return dict(wish, kind="change")


def _return(wish: dict[str, Any]) -> dict[str, Any]:
    others = {name: value for name, value in wish.items() if name != "lines"}
    return dict(others, kind="return", returns=wish["lines"])


WISHES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "cancel": lambda wish: dict(kind="cancel"),
    "change_address": _change,
    "change_items": _change,
    "change_payment": _change,
    "return": _return,
    "exchange": lambda wish: dict(wish, kind="exchange"),
}
"""By kind of action: its wish, as orders previews it. What is not here is not offered by staff."""


def proposed(
    orders: Orders, language: str, kind: str, order_id: str | None, wish: dict[str, Any], takes: Sequence[str]
) -> Proposal:
    """An offer as its preview tells it. `takes`: what of a wish is passed on when it is done; the first is what it is
    about. Raises ServiceError with the reason why it cannot be."""
    if kind not in WISHES or order_id is None:
        raise ServiceError(
            "support.not_offered", f"Offer one of {', '.join(WISHES)}, with the order_id that it is for."
        )
    if kind == "cancel":
        wish = dict(wish, reason=wish.get("reason") or "customer service")
    if takes[0] not in wish or wish.keys() - set(takes):
        raise ServiceError(
            "support.not_offered",
            f"A wish for a {kind} has {takes[0]}, and nothing but {', '.join(takes)}.",
            {"field": "wish"},
        )
    try:
        asked = msgspec.convert(WISHES[kind](wish), Wish)
    except (msgspec.ValidationError, KeyError) as exc:
        raise ServiceError("support.not_offered", f"This is no wish for a {kind}: {exc}.", {"field": "wish"}) from None
    try:
        preview = orders.preview(order_id, asked)
    except ServiceError as refusal:
        raise ServiceError("support.not_offered", refusal.message, {"reason": refusal.code}) from refusal
    return Proposal(
        kind=kind,
        order_id=order_id,
        wish=wish,
        summary=words.said(f"offer.{kind}", language, order_id=order_id, **_amounts(preview)),
        changes=[Change(what="wish", after=msgspec.json.encode(masked(plain(asked))).decode()[:500])],
        amount=moved(preview),
    )


def _amounts(preview: Preview) -> dict[str, Money]:
    return dict(charged=preview.charge, refunded=preview.refund)
