"""Why something cannot be done, in the customer's language, and what can be done instead."""

from datetime import datetime
from typing import Any

from chassis.errors import ServiceError
from contracts.amendments import ReturnLine, Wish
from contracts.orders import Order
from services.support.talk.case import Case, Part
from services.support.talk.memory import Goal, Suggestion
from services.support.talk.slots import lines_left

INSTEAD: dict[tuple[str, str], str | None] = {
    ("do_cancel", "shipped"): None,
    ("do_cancel", "delivered"): "do_return",
    ("do_change_address", "shipped"): None,
    ("do_change_address", "delivered"): None,
    ("do_change_items", "shipped"): None,
    ("do_change_items", "delivered"): "do_exchange",
    ("do_return", "confirmed"): "do_cancel",
    ("do_return", "pending"): "do_cancel",
    ("do_return", "shipped"): None,
    ("do_exchange", "confirmed"): "do_change_items",
    ("do_exchange", "shipped"): None,
}
"""What is possible instead, for an action and the state of the order: a sentence, and what a yes to it begins."""

SENT_BACK = ("do_return", "do_exchange")
"""What is offered instead only within its time, which is one for both."""

AGAIN: dict[str, str] = {
    "orders.payment_method_required": "payment",
    "orders.unknown_payment_method": "payment",
    "payments.gift_card_insufficient": "payment",
    "payments.unknown_gift_card": "payment",
    "payments.one_card": "payment",
    "payments.unsupported_method": "payment",
    "payments.wallet_insufficient": "payment",
    "payments.wallet_frozen": "payment",
    "payments.unknown_account": "payment",
    "payments.declined": "payment",
    "payments.unknown_token": "payment",
    "shipping.not_serviceable": "address",
    "orders.not_in_order": "quantities",
    "orders.not_sold_any_more": "swaps",
    "orders.not_a_variant": "swaps",
    "inventory.insufficient": "swaps",
}
"""What to ask for anew after a refusal."""


ALREADY = {("do_cancel", "cancelling"), ("do_cancel", "cancelled")}
"""Where what is wished is done, or being done: the service takes it for a repeat, and nothing is offered."""


def already(case: Case, goal: Goal, order: Order) -> Part | None:
    """What is said where there is nothing to do any more."""
    if (goal.intent, order.status) not in ALREADY:
        return None
    text = case.words.say(f"already.{order.status}", order=case.words.order(order))
    return Part(text=text, sources=[case.order_source(order)])


def reason(case: Case, refusal: ServiceError, order: Order | None) -> str:
    """Why not, as a sentence."""
    details = refusal.details
    state = str(details.get("state") or (order.status if order else ""))
    key = refusal.code
    if "until" in details and case.words.knows(f"refused.{key}.late"):
        key = f"{key}.late"
    if key == "orders.in_progress" and "kind" not in details:
        key = f"{key}.pending"
    return case.words.say_of(
        "refused",
        key,
        order=case.words.order(order) if order else "",
        state=case.words.say_of("status", state),
        until=_day(case, details.get("until")),
        left=details.get("left", 0),
        kind=case.words.say_of("amendment", str(details.get("kind"))),
    )


def _day(case: Case, iso: Any) -> str:
    try:
        return case.words.day(datetime.fromisoformat(str(iso)), case.at)
    except ValueError:
        return ""


def refused(case: Case, goal: Goal, refusal: ServiceError, order: Order) -> Part:
    """A refusal that ends what was wished, with what can be done instead; nothing can while the order is worked on."""
    text = reason(case, refusal, order)
    ends = "until" in refusal.details or refusal.code == "orders.in_progress"
    way = (goal.intent, str(refusal.details.get("state") or order.status))
    if ends or way not in INSTEAD:
        return Part(text=text, sources=[case.order_source(order)])
    instead = INSTEAD[way]
    if instead in SENT_BACK and (late := _not_returnable(case, order)) is not None:
        text = case.words.sentences(text, reason(case, late, order))
        return Part(text=text, sources=[case.order_source(order)])
    text = case.words.sentences(text, case.words.say(f"instead.{way[0]}.{way[1]}"))
    suggestion = Suggestion(intent=instead, order_id=order.id, hints=goal.hints) if instead else None
    return Part(text=text, sources=[case.order_source(order)], suggestion=suggestion)


def _not_returnable(case: Case, order: Order) -> ServiceError | None:
    """Why nothing of an order can be sent back: then that is not offered."""
    why = case.words.say("reason.asked")
    one = [ReturnLine(sku=line.sku, quantity=1, reason=why) for line in lines_left(order)[:1]]
    try:
        case.sight.preview(order.id, Wish(kind="return", returns=one))
    except ServiceError as refusal:
        return refusal
    return None
