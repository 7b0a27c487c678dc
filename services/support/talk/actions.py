"""What can be done for a customer: for each intent a row with what has to be known, the wish, and its summary."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from chassis.types import Money
from contracts.amendments import Kind, Preview, ReturnLine, SwapLine, Wish
from contracts.common import Address, PaymentMethod
from contracts.orders import Order
from contracts.support import Change
from services.support.talk import means
from services.support.talk.case import Case
from services.support.talk.memory import Goal
from services.support.talk.slots import (
    CancelReasonSlot,
    LinesSlot,
    OrderSlot,
    QuantitySlot,
    ReasonSlot,
    Slot,
    SwapSlot,
    line_of,
    order_of,
)
from services.support.talk.vocabulary import says
from services.support.turns import Proposal

SLOTS: dict[str, Slot] = {
    "order": OrderSlot(),
    "lines": LinesSlot(),
    "quantities": QuantitySlot(),
    "swaps": SwapSlot(),
    "reason": ReasonSlot(),
    "cancel_reason": CancelReasonSlot(),
    "payment": means.PaymentSlot(),
    "address": means.AddressSlot(),
    "account": means.AccountSlot(),
}

Told = tuple[str, list[Change]]


@dataclass(frozen=True)
class Row:
    """`wish` are the arguments of the method that does it; `asks` what it comes to, where that has to be asked."""

    kind: str
    slots: tuple[str, ...]
    wish: Callable[[Goal], dict[str, Any]]
    tell: Callable[[Case, Goal, Preview | None], Told]
    asks: str | None = None


def swap_lines(goal: Goal) -> list[dict[str, Any]]:
    swaps, quantities = goal.slots["swaps"], goal.slots["quantities"]
    return [{"sku": sku, "new_sku": swaps[sku], "quantity": quantities[sku]} for sku in goal.slots["lines"]]


def _with_payment(goal: Goal, **wish: Any) -> dict[str, Any]:
    return {**wish, "payment_method": goal.slots["payment"]} if "payment" in goal.slots else wish


def _return(goal: Goal) -> dict[str, Any]:
    quantities, reason = goal.slots["quantities"], goal.slots["reason"]
    lines = [{"sku": sku, "quantity": quantities[sku], "reason": reason} for sku in goal.slots["lines"]]
    to_gift_card = any(says("gift_card", hint) for hint in goal.hints)
    return {"lines": lines, "refund_to": "gift_card" if to_gift_card else "original"}


def wished(row: Row, goal: Goal) -> Wish:
    """A goal as its preview is asked for."""
    wish = row.wish(goal)
    returns = msgspec.convert(wish.get("lines"), list[ReturnLine] | None) if row.asks == "return" else None
    lines = msgspec.convert(wish.get("lines"), list[SwapLine] | None) if row.asks != "return" else None
    return Wish(
        kind=msgspec.convert(row.asks or row.kind, Kind),
        shipping_address=msgspec.convert(wish.get("shipping_address"), Address | None),
        lines=lines,
        returns=returns,
        refund_to=wish.get("refund_to", "original"),
        payment_method=msgspec.convert(wish.get("payment_method"), PaymentMethod | None),
    )


# --- in words


def _heading(case: Case, order: Order) -> dict[str, str]:
    return {"order": case.words.order(order), "day": case.words.day(order.created_at, case.at)}


def _money(case: Case, goal: Goal, preview: Preview | None) -> tuple[str, list[Change]]:
    """What moves, as a sentence and as a change."""
    words = case.words
    if preview is None:
        return "", []
    by = means.label_of(case, goal.slots["payment"]) if "payment" in goal.slots else words.say("means.before")
    if preview.charge.amount and preview.refund.amount:
        charge, refund = words.money(preview.charge), words.money(preview.refund)
        return words.say("money.both", charge=charge, refund=refund, by=by), []
    if preview.charge.amount:
        amount = words.money(preview.charge)
        return words.say("money.charge", amount=amount, by=by), [Change(what=words.say("what.charge"), after=amount)]
    if preview.refund.amount:
        amount = words.money(preview.refund)
        return words.say("money.refund", amount=amount), [Change(what=words.say("what.refund"), after=amount)]
    return words.say("money.none"), []


def _tell_cancel(case: Case, goal: Goal, preview: Preview | None) -> Told:
    order = order_of(case, goal)
    money, changes = _money(case, goal, preview)
    status = case.words.say_of("status", order.status)
    changes = [
        Change(what=case.words.order(order), before=status, after=case.words.say("status.cancelled")),
        *changes,
    ]
    lines = case.words.lines(order.lines)
    return case.words.say("sum.cancel", lines=lines, money=money, **_heading(case, order)), changes


def _tell_address(case: Case, goal: Goal, preview: Preview | None) -> Told:
    order, words = order_of(case, goal), case.words
    before = words.address(order.shipping_address)
    after = words.address(msgspec.convert(goal.slots["address"], Address))
    money, changes = _money(case, goal, preview)
    changes = [Change(what=words.say("what.address"), before=before, after=after), *changes]
    if preview is not None and preview.totals.shipping != order.totals.shipping:
        postage = words.money(order.totals.shipping), words.money(preview.totals.shipping)
        changes.append(Change(what=words.say("what.postage"), before=postage[0], after=postage[1]))
    return words.say("sum.change_address", before=before, after=after, money=money, **_heading(case, order)), changes


def _swap_changes(case: Case, goal: Goal) -> list[Change]:
    order, changes = order_of(case, goal), []
    for swap in swap_lines(goal):
        line = line_of(order, swap["sku"])
        product = case.sight.product(line.product_id)
        options = next(v.options for v in product.variants if v.sku == swap["new_sku"]) if product else {}
        changes.append(
            Change(
                what=case.words.line(line, swap["quantity"]),
                before=case.words.options(line.options),
                after=case.words.options(options),
            )
        )
    return changes


def _tell_swaps(case: Case, goal: Goal, preview: Preview | None) -> Told:
    order, changes = order_of(case, goal), _swap_changes(case, goal)
    swaps = case.words.all_of([case.words.say("a_swap", what=each.what, after=each.after) for each in changes])
    money, moved = _money(case, goal, preview)
    key = "sum.exchange" if goal.intent == "do_exchange" else "sum.change_items"
    return case.words.say(key, swaps=swaps, money=money, **_heading(case, order)), [*changes, *moved]


def _tell_payment(case: Case, goal: Goal, preview: Preview | None) -> Told:
    order, words = order_of(case, goal), case.words
    before, after = words.say_of("method", order.payment.method), means.label_of(case, goal.slots["payment"])
    money, _ = _money(case, goal, preview)
    changes = [Change(what=words.say("what.payment"), before=before, after=after)]
    return words.say("sum.change_payment", before=before, after=after, money=money, **_heading(case, order)), changes


def _tell_return(case: Case, goal: Goal, preview: Preview | None) -> Told:
    order, words = order_of(case, goal), case.words
    counts = goal.slots["quantities"]
    goods = [words.line(line_of(order, sku), counts[sku]) for sku in goal.slots["lines"]]
    wish = _return(goal)
    refund = preview.refund if preview is not None else Money(amount=0, currency=order.totals.total.currency)
    to = words.say(f"refund_to.{wish['refund_to']}")
    money = words.say("money.return", amount=words.money(refund), to=to)
    if preview is not None and preview.expires_at is not None:
        money = words.sentences(money, words.say("send_until", until=words.day(preview.expires_at, case.at)))
    changes = [Change(what=each, after=words.say("what.sent_back")) for each in goods]
    changes.append(Change(what=words.say("what.refund"), after=words.money(refund)))
    lines = words.all_of(goods)
    text = words.say("sum.return", lines=lines, reason=goal.slots["reason"], money=money, **_heading(case, order))
    return text, changes


def _tell_mail(case: Case, goal: Goal, preview: Preview | None) -> Told:
    order = order_of(case, goal)
    return case.words.say("sum.resend_mail", **_heading(case, order)), []


def _tell_freeze(case: Case, goal: Goal, preview: Preview | None) -> Told:
    account = next(each for each in case.sight.accounts() if each.id == goal.slots["account"])
    words, available = case.words, case.words.money(account.balance.available)
    changes = [Change(what=account.name, before=words.say("account.open"), after=words.say("account.frozen"))]
    return words.say("sum.freeze_account", name=account.name, available=available), changes


def _swaps(goal: Goal) -> dict[str, Any]:
    return _with_payment(goal, lines=swap_lines(goal))


SWAPPED = ("order", "lines", "quantities", "swaps")

ROWS: dict[str, Row] = {
    "do_cancel": Row(
        "cancel", ("order", "cancel_reason"), lambda g: {"reason": g.slots["reason"]}, _tell_cancel, "cancel"
    ),
    "do_change_address": Row(
        "change_address",
        ("order", "address"),
        lambda g: _with_payment(g, shipping_address=g.slots["address"]),
        _tell_address,
        "change",
    ),
    "do_change_items": Row("change_items", SWAPPED, _swaps, _tell_swaps, "change"),
    "do_change_payment": Row("change_payment", ("order", "payment"), _with_payment, _tell_payment, "change"),
    "do_return": Row("return", ("order", "lines", "quantities", "reason"), _return, _tell_return, "return"),
    "do_exchange": Row("exchange", SWAPPED, _swaps, _tell_swaps, "exchange"),
    "do_resend_mail": Row("resend_mail", ("order",), lambda g: {"subject_id": g.slots["order"]}, _tell_mail),
    "do_freeze": Row(
        "freeze_account",
        ("account",),
        lambda g: {"account_id": g.slots["account"], "reason": "asked for by the customer"},
        _tell_freeze,
    ),
}


def moved(preview: Preview) -> Money:
    """What somebody has to answer for: all that is charged, or all that is given back where that is more."""
    return max(preview.charge, preview.refund, key=lambda money: money.amount)


def proposal(case: Case, goal: Goal, preview: Preview | None) -> Proposal:
    """A goal of which all is known, as it is offered."""
    row = ROWS[goal.intent]
    summary, changes = row.tell(case, goal, preview)
    amount = moved(preview) if preview is not None else None
    order_id = goal.slots.get("order")
    return Proposal(
        kind=row.kind, order_id=order_id, wish=row.wish(goal), summary=summary.strip(), changes=changes, amount=amount
    )
