"""What has to be known of an order before something can be done to it: which one, which goods, how many, what for, why.

Each slot finds candidates in a text (`heard`), or lists all there are (`every`); one candidate fills it, several are
offered by number.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from contracts.common import OrderLine
from contracts.orders import Order
from contracts.products import Product, Variant
from services.support.talk import clauses, entities, picking, things
from services.support.talk.case import Case, Part, Stop
from services.support.talk.memory import Choice, Goal
from services.support.talk.vocabulary import normal, pattern

STATES: dict[str, tuple[str, ...]] = {
    "do_cancel": ("pending", "confirmed"),
    "do_change_address": ("confirmed",),
    "do_change_items": ("confirmed",),
    "do_change_payment": ("confirmed",),
    "do_return": ("delivered",),
    "do_exchange": ("delivered",),
}
"""In which states an order fits an action. The rules are the orders service's; this only narrows what is asked."""

NOTHING = ""
"""No sku: in place of lines that are not known yet."""


class Slot:
    """`many`: several of the offered choices may be taken. `by_number`: a number in the answer names a choice."""

    name = ""
    many = False
    by_number = True

    def done(self, goal: Goal) -> bool:
        return self.name in goal.slots

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        """Candidates that a text names."""
        return []

    def answered(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        """Candidates in the answer to this slot's question."""
        return self.heard(case, goal, text)

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        """All candidates, where nothing was said."""
        return []

    def takes_the_only_one(self, goal: Goal) -> bool:
        """Whether nobody is asked where there is one candidate alone."""
        return True

    def put(self, goal: Goal, value: Any) -> Goal:
        return goal.but(slots={**goal.slots, self.name: value})

    def ask(self, case: Case, goal: Goal) -> str:
        return case.words.say(f"ask.{self.name}")


def order_of(case: Case, goal: Goal) -> Order:
    """The order that a goal is about, as it is now."""
    order = case.sight.order(goal.slots["order"])
    if order is None:
        raise Stop(Part(text=case.words.say("not_your_order", id=goal.slots["order"][:8])))
    return order


class OrderSlot(Slot):
    name = "order"

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        orders = case.sight.orders()
        found = picking.named(case, text, orders) or picking.other_than(text, case.order_id, orders)
        return self._choices(case, [o for o in found if self._fits(goal, o)] or found)

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        orders = case.sight.orders()
        if not orders:
            raise Stop(Part(text=case.words.say("no_orders")))
        said = " ".join(goal.hints)
        spoken_of = picking.spoken_of(case, said, orders, lambda order: self._fits(goal, order))
        fitting = [order for order in orders if self._fits(goal, order)]
        return self._choices(case, [spoken_of] if spoken_of else fitting or orders[:1])

    def put(self, goal: Goal, value: Any) -> Goal:
        kept = {k: v for k, v in goal.slots.items() if k not in ("lines", "quantities", "swaps", "address")}
        return goal.but(slots={**kept, self.name: value})

    def _fits(self, goal: Goal, order: Order) -> bool:
        states = STATES.get(goal.intent)
        return states is None or order.status in states

    def _choices(self, case: Case, orders: Iterable[Order]) -> list[Choice]:
        return [Choice(value=order.id, label=case.words.order_label(order, case.at)) for order in orders]


class LinesSlot(Slot):
    """The value is a list of skus."""

    name = "lines"
    many = True

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        lines = lines_left(order_of(case, goal))
        groups = things.meant(text, [(line, picking.description(line)) for line in lines])
        if any(len(group) > 1 for group in groups) and not entities.wants_all(text):
            return self._choices(case, [line for group in groups for line in group])
        found = [line for group in groups for line in group]
        if not found and entities.wants_all(text) and entities.quantity(text) is None:
            found = lines
        return [self._together(case, found)] if found else []

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        lines = lines_left(order_of(case, goal))
        if not lines:
            raise Stop(Part(text=case.words.say("nothing_left", order=case.words.order(order_of(case, goal)))))
        return self._choices(case, lines)

    def put(self, goal: Goal, value: Any) -> Goal:
        kept = {k: v for k, v in goal.slots.items() if k not in ("quantities", "swaps")}
        return goal.but(slots={**kept, self.name: value})

    def ask(self, case: Case, goal: Goal) -> str:
        return case.words.say("ask.lines", order=case.words.order(order_of(case, goal)))

    def _choices(self, case: Case, lines: Iterable[OrderLine]) -> list[Choice]:
        return [self._together(case, [line]) for line in lines]

    def _together(self, case: Case, lines: list[OrderLine]) -> Choice:
        labels = [case.words.line(line, left_of(line)) for line in lines]
        return Choice(value=list(dict.fromkeys(line.sku for line in lines)), label=case.words.all_of(labels))


class QuantitySlot(Slot):
    """For each sku of which there are several, how many. The value is one pair of sku and count."""

    name = "quantities"
    by_number = False

    def done(self, goal: Goal) -> bool:
        return set(goal.slots.get("quantities", {})) == set(goal.slots.get("lines", {NOTHING}))

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        sku, left = self._next(case, goal)
        count = left if left == 1 or entities.wants_all(text) else entities.quantity(text)
        return [_count(sku, count)] if count is not None and 1 <= count <= left else []

    def answered(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        sku, left = self._next(case, goal)
        count = left if entities.wants_all(text) else entities.number(text)
        return [_count(sku, count)] if count is not None and 1 <= count <= left else []

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        sku, left = self._next(case, goal)
        return [_count(sku, count) for count in range(1, left + 1)]

    def put(self, goal: Goal, value: Any) -> Goal:
        sku, count = value
        kept = {k: n for k, n in goal.slots.get("quantities", {}).items() if k in goal.slots["lines"]}
        return goal.but(slots={**goal.slots, "quantities": {**kept, sku: count}})

    def ask(self, case: Case, goal: Goal) -> str:
        sku, left = self._next(case, goal)
        line = line_of(order_of(case, goal), sku)
        return case.words.say("ask.quantities", left=left, thing=case.words.thing(line.name, line.options))

    def _next(self, case: Case, goal: Goal) -> tuple[str, int]:
        """The first sku that is not counted yet, or the first one of all for a correction; and how many are left."""
        counted = goal.slots.get("quantities", {})
        lines = goal.slots["lines"]
        sku = next((each for each in lines if each not in counted), lines[0])
        return sku, sum(left_of(line) for line in order_of(case, goal).lines if line.sku == sku)


def _count(sku: str, count: int) -> Choice:
    return Choice(value=[sku, count], label=str(count))


class SwapSlot(Slot):
    """For each sku the one that is wanted instead. The value is one pair of them."""

    name = "swaps"

    def takes_the_only_one(self, goal: Goal) -> bool:
        return False

    def done(self, goal: Goal) -> bool:
        return set(goal.slots.get("swaps", {})) == set(goal.slots.get("lines", {NOTHING}))

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        line, product = self._next(case, goal, text)
        fitting = wanted_variants(line, product, text, self._now(goal, line, product))
        there = [variant for variant in fitting if variant.available]
        return self._choices(case, line, product, there)

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        line, product = self._next(case, goal, "")
        others = [variant for variant in product.variants if variant.sku != line.sku and variant.available]
        if not others:
            thing = case.words.thing(line.name, line.options)
            raise Stop(Part(text=case.words.say("no_other_variant", thing=thing)))
        return self._choices(case, line, product, others)

    def put(self, goal: Goal, value: Any) -> Goal:
        sku, new_sku = value
        kept = {k: n for k, n in goal.slots.get("swaps", {}).items() if k in goal.slots["lines"]}
        return goal.but(slots={**goal.slots, "swaps": {**kept, sku: new_sku}})

    def ask(self, case: Case, goal: Goal) -> str:
        """With a word about what was asked for and is not there."""
        line, product = self._next(case, goal, "")
        thing = case.words.thing(line.name, line.options)
        fitting = (wanted_variants(line, product, text, line.options) for text in goal.hints[-1:])
        wanted = [variant for variants in fitting for variant in variants if not variant.available]
        sold_out = [case.words.thing(product.name, variant.options) for variant in wanted]
        word = case.words.say("sold_out", thing=case.words.any_of(sold_out)) if sold_out else ""
        return case.words.sentences(word, case.words.say("ask.swaps", thing=thing))

    def _next(self, case: Case, goal: Goal, text: str) -> tuple[OrderLine, Product]:
        done, skus = goal.slots.get("swaps", {}), goal.slots["lines"]
        order = order_of(case, goal)
        lines = [line_of(order, sku) for sku in skus]
        groups = things.meant(text, [(line, line.name) for line in lines if len(lines) > 1])
        named = groups[0] if len(groups) == 1 else []
        left = [line for line in named or lines if line.sku not in done] or named or lines
        product = case.sight.product(left[0].product_id)
        if product is None:
            thing = case.words.thing(left[0].name, left[0].options)
            raise Stop(Part(text=case.words.say("no_other_variant", thing=thing)))
        return left[0], product

    def _now(self, goal: Goal, line: OrderLine, product: Product) -> Mapping[str, str]:
        """The options that are chosen so far: those of the line, until it is swapped."""
        chosen = goal.slots.get("swaps", {}).get(line.sku)
        return next((variant.options for variant in product.variants if variant.sku == chosen), line.options)

    def _choices(self, case: Case, line: OrderLine, product: Product, variants: list[Variant]) -> list[Choice]:
        def label(variant: Variant) -> str:
            price = case.words.money(variant.price)
            return case.words.say("variant_label", options=case.words.options(variant.options), price=price)

        return [Choice(value=[line.sku, variant.sku], label=label(variant)) for variant in variants]


def wanted_variants(line: OrderLine, product: Product, text: str, now: Mapping[str, str]) -> list[Variant]:
    """The variants that a text wants in place of a line: what it does not say stays as it is, where that can be."""
    others = [variant for variant in product.variants if variant.sku != line.sku]
    sizes = {variant.options["size"] for variant in others if "size" in variant.options}
    for size in things.shifted(text, now.get("size", ""), sizes):
        if found := _with(others, {**now, "size": size}):
            return found
    axes = {axis: list(dict.fromkeys(v.options[axis] for v in product.variants)) for axis in now}
    wanted = _news(things.named_options(_after(text), axes), now) or _news(things.named_options(text, axes), now)
    return (_with(others, {**now, **wanted}) or _with(others, wanted)) if wanted else []


def _news(options: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    return {axis: value for axis, value in options.items() if now.get(axis) != value}


def _with(variants: Iterable[Variant], options: Mapping[str, str]) -> list[Variant]:
    return [variant for variant in variants if all(variant.options.get(axis) == v for axis, v in options.items())]


def _after(text: str) -> str:
    """What is wanted: after "for" or "to", and without what follows "instead of"."""
    before = pattern("instead_of").split(normal(text))[0]
    return str(pattern("into").split(f" {before} ")[-1])


class ReasonSlot(Slot):
    """Why, in the customer's words or those of a usual reason."""

    name = "reason"

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        key = entities.reason(text)
        said = case.words.say(f"reason.{key}") if key else entities.own_reason(text)
        return [Choice(value=said, label=said)] if said else []

    def answered(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        said = text.strip()[:200]
        if clauses.is_question(text) or entities.consent(text):
            return []
        return self.heard(case, goal, text) or [Choice(value=said, label=said)]

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        words = case.words
        usual = ("too_small", "too_big", "damaged", "wrong_item", "not_as_described", "mind")
        return [Choice(value=words.say(f"reason.{key}"), label=words.say(f"reason.{key}")) for key in usual]


class CancelReasonSlot(ReasonSlot):
    """Nobody is asked why they cancel; what they say is passed on."""

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        said = case.words.say("reason.asked")
        return [Choice(value=said, label=said)]


def left_of(line: OrderLine) -> int:
    return line.quantity - line.returned


def lines_left(order: Order) -> list[OrderLine]:
    """The lines of which the customer has something still."""
    return [line for line in order.lines if left_of(line) > 0]


def line_of(order: Order, sku: str) -> OrderLine:
    """The line of a sku; the first one, if it was bought at two prices."""
    return next(line for line in order.lines if line.sku == sku)
