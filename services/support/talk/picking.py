"""Which of a customer's orders a text means."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from chassis.currencies import decimal
from contracts.common import OrderLine
from contracts.orders import Order
from services.support.talk import entities, things
from services.support.talk.case import Case, Part, Stop
from services.support.talk.ports import AT_MOST
from services.support.talk.vocabulary import normal
from services.support.talk.wording import SHORT

FULL_ID = 32


def named(case: Case, text: str, orders: Sequence[Order]) -> list[Order]:
    """The orders that a text itself names, by whatever it says of them; none if it names none."""
    if by_id := _by_id(case, text, orders):
        return by_id
    if entities.is_latest(text):
        return list(orders[:1])
    nth = entities.nth_order(text)
    if nth is not None and nth <= len(orders) < AT_MOST:  # of more than are seen nobody knows the first
        return [orders[-nth]]
    left, any_said = list(orders), False
    for narrow in (_by_goods, _by_amount, _by_status, _by_day):
        found = narrow(case, text, left)
        if found is not None:
            left, any_said = found or left, True
    return left if any_said else []


def _by_id(case: Case, text: str, orders: Sequence[Order]) -> list[Order]:
    ids = entities.order_ids(text)
    found = [order for order in orders if any(order.id.startswith(each) for each in ids)]
    found += [
        order
        for each in ids
        if len(each) == FULL_ID and not any(o.id == each for o in found) and (order := case.sight.order(each))
    ]
    if ids and not found and not all(each.isdigit() for each in ids):
        raise Stop(Part(text=case.words.say("not_your_order", id=ids[0][:SHORT])))
    return found


def _by_day(case: Case, text: str, orders: Sequence[Order]) -> list[Order] | None:
    spans = entities.days(text, case.at.date())
    found = [order for order in orders if any(order.created_at.date() in span for span in spans)]
    if found:
        return found
    return None if all(case.at.date() in span for span in spans) else []


def _by_status(case: Case, text: str, orders: Sequence[Order]) -> list[Order] | None:
    wanted = entities.statuses(text)
    return [order for order in orders if order.status in wanted] or None


def _by_goods(case: Case, text: str, orders: Sequence[Order]) -> list[Order] | None:
    words = things.tokens(text)
    counts = {order.id: len(_hits(words, order)) for order in orders}
    most = max(counts.values(), default=0)
    return [order for order in orders if counts[order.id] == most] if most else None


def _hits(words: Sequence[str], order: Order) -> frozenset[int]:
    return frozenset().union(*(things.hits(words, description(line)) for line in order.lines))


def description(line: OrderLine) -> str:
    """All that an order's line can be called by."""
    return things.describe(line.name, line.options, line.tax_class if line.tax_class != "default" else "")


def _by_amount(case: Case, text: str, orders: Sequence[Order]) -> list[Order] | None:
    said = entities.amounts(text)
    return [order for order in orders if Decimal(decimal(order.totals.total)) in said] or None


def spoken_of(case: Case, text: str, orders: Sequence[Order], fits: Callable[[Order], bool]) -> Order | None:
    """The order that the talk is about, if the text points at it, or it fits."""
    order = next((each for each in orders if each.id == case.order_id), None)
    if order is not None and (fits(order) or entities.is_about_the_same(text)):
        return order
    return None


def other_than(text: str, order_id: str | None, orders: Sequence[Order]) -> list[Order]:
    """Where a text says "the other one": all but the one that was spoken of."""
    said = any(word in normal(text) for word in ("other order", "other one", "另一", "另一个"))
    return [order for order in orders if order.id != order_id] if said and order_id else []
