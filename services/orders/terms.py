"""The terms on which an order can be amended, and what that comes to, to the unit and the cent. Pure: no I/O."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

import msgspec

from chassis.errors import ServiceError
from chassis.types import Message, Money
from contracts.amendments import Decision, RefundTo, ReturnLine, SwapLine, Wish
from contracts.common import Address, Line, OrderLine, PaymentMethod, Totals
from contracts.products import Offer
from services.orders.domain import TaxRates, contained_tax, price, rate_of, totals

CANCELLABLE = ("pending", "confirmed")
CHANGEABLE = ("confirmed",)
RETURNABLE = ("delivered",)
CANCELLED = ("cancelling", "cancelled")
"""States in which another cancel is a repeat."""

SAID = {
    "cancel": (),
    "change": ("shipping_address", "lines", "payment_method"),
    "return": ("returns", "refund_to"),
    "exchange": ("lines", "payment_method"),
}
"""What can be said of a wish, by its kind."""
NEEDED = {"return": "returns", "exchange": "lines"}
"""What has to be said of it."""

NOT_BACK = "orders.return_expired"
REASONS = {
    "shipping.handed_over": "It came too late: the parcel was with the carrier already.",
    "shipping.not_serviceable": "We cannot send a parcel to this address.",
    "inventory.insufficient": "There are fewer left of an article than you asked for.",
    "inventory.unknown_sku": "An article is not in stock any more.",
    "payments.declined": "Your card was declined. Please try again with another one.",
    "payments.unknown_token": "Your card is not known to the card processor. Please enter it again.",
    "payments.gift_card_insufficient": "There is not enough left on your gift card.",
    "payments.wallet_insufficient": "There is not enough on your account.",
    "payments.wallet_frozen": "Your account is frozen.",
    "payments.unknown_account": "You cannot pay from this account.",
    "payments.capture_refused": "Your bank refused the payment. Please try again with another card.",
    "orders.challenge_refused": "The payment was not approved. Please try again.",
    "orders.challenge_expired": "The payment was not approved in time. Please try again.",
    NOT_BACK: "The goods did not come back in time.",
    "saga.deadline": "It took too long. Please try again.",
    "saga.attempts": "It could not be done now. Please try again later.",
}
"""Why an amendment was rejected, for the customer."""

UNSERVED = "We could not have your order sent, so we cancelled it. You get all your money back."


class CancelTerms(Message):
    reason: str


class ReturnTerms(Message):
    """`refunds` by sku, without shipping; `refund` with it, of which so much is `tax` and `shipping`. All of it, as
    `decisions`, is there once staff decided."""

    lines: list[ReturnLine]
    refund_to: RefundTo
    expires_at: datetime
    decisions: list[Decision] | None = None
    refunds: dict[str, int] = {}
    refund: Money | None = None
    tax: int = 0
    shipping: int = 0


class SwapTerms(Message):
    """What a change or an exchange comes to: the order as it will be, and what moves for that.

    `replaces`: the new payment stands in for all earlier ones, which are refunded.
    """

    swaps: list[SwapLine]
    lines: list[OrderLine]
    totals: Totals
    address: Address
    charge: Money
    refund: Money
    method: str | None = None
    replaces: bool = False
    expires_at: datetime | None = None
    decisions: list[Decision] | None = None

    @property
    def difference(self) -> Money:
        """What it costs (above zero) or gives back (below)."""
        return Money(amount=self.charge.amount - self.refund.amount, currency=self.charge.currency)


def require_said(wish: Wish) -> None:
    """Refuse a wish that says too little to be done, or more than is done."""
    said = [name for name, value in msgspec.structs.asdict(wish).items() if value not in (None, "original")]
    beside = [name for name in said if name not in ("kind", *SAID[wish.kind])]
    if beside:
        raise _invalid(beside[0], f"A {wish.kind} has no {beside[0]}: leave it out.")
    needed = NEEDED.get(wish.kind)
    if needed and needed not in said:
        raise _invalid(needed, f"A {wish.kind} is of units of the order: say which.")
    if wish.kind == "change" and said == ["kind"]:
        raise _invalid("shipping_address", "Say what is to change: shipping_address, lines or payment_method.")
    require_one_line_each(wish.returns or ())


def require_cancellable(status: str) -> None:
    if status not in CANCELLABLE:
        refuse_state("orders.not_cancellable", status, "cancelled")


def reason_for(code: str) -> str:
    """The sentence for the code that an amendment was rejected with."""
    return REASONS.get(code, "It could not be done. Nothing was changed, and nothing charged.")


# --- arithmetic


def share(total: int, of: int, before: int, count: int) -> int:
    """What `count` of `of` units have of a total, when `before` were taken already: all shares add up to the total."""
    return total * (before + count) // of - total * before // of


def left_of(line: OrderLine) -> int:
    """How many of a line's units the customer has still."""
    return line.quantity - line.returned


def wanted_of(lines: Iterable[ReturnLine | SwapLine]) -> Counter[str]:
    """How many units of each sku are meant."""
    wanted: Counter[str] = Counter()
    for line in lines:
        wanted[line.sku] += line.quantity
    return wanted


def require_in_order(lines: Sequence[OrderLine], wanted: Mapping[str, int]) -> None:
    """Refuse more units than the customer has. `details` says how many there are."""
    for sku, count in wanted.items():
        left = sum(left_of(line) for line in lines if line.sku == sku)
        if count > left:
            raise ServiceError(
                "orders.not_in_order",
                f"{count} of {sku!r} are asked for, and {left} of this order are left: ask for those at most.",
                {"field": "lines", "sku": sku, "left": left},
            )


def give_back(lines: Sequence[OrderLine], wanted: Mapping[str, int]) -> tuple[list[OrderLine], dict[str, int]]:
    """The order's lines with these units returned, and what was paid for those, by sku."""
    after, amounts = [], dict.fromkeys(wanted, 0)
    for line, count in _met(lines, wanted):
        if count:
            amounts[line.sku] += share(line.line_total.amount, line.quantity, line.returned, count)
        after.append(msgspec.structs.replace(line, returned=line.returned + count))
    return after, amounts


def tax_in(lines: Sequence[OrderLine], wanted: Mapping[str, int]) -> int:
    """The tax in what was paid for these units."""
    return sum(share(line.tax.amount, line.quantity, line.returned, count) for line, count in _met(lines, wanted))


def _met(lines: Sequence[OrderLine], wanted: Mapping[str, int]) -> Iterator[tuple[OrderLine, int]]:
    """Each line, and how many of its units are meant: the first lines first."""
    to_do = Counter(wanted)
    for line in lines:
        count = min(to_do[line.sku], left_of(line))
        to_do[line.sku] -= count
        yield line, count


def take_out(lines: Sequence[OrderLine], wanted: Mapping[str, int]) -> list[OrderLine]:
    """The order's lines without these units; what stays keeps its price."""
    return [_reduced(line, count) for line, count in _met(lines, wanted) if count < line.quantity]


def _reduced(line: OrderLine, count: int) -> OrderLine:
    currency = line.unit_price.currency
    paid = line.line_total.amount - share(line.line_total.amount, line.quantity, line.returned, count)
    tax = line.tax.amount - share(line.tax.amount, line.quantity, line.returned, count)
    return msgspec.structs.replace(
        line,
        quantity=line.quantity - count,
        line_total=Money(amount=paid, currency=currency),
        tax=Money(amount=tax, currency=currency),
    )


def retaxed(lines: Sequence[OrderLine], country: str, rates: TaxRates) -> list[OrderLine]:
    """Lines as they are sold to another country: prices stay, the tax contained in them is that country's."""

    def tax(line: OrderLine) -> Money:
        amount = contained_tax(line.line_total.amount, rate_of(rates, country, line.tax_class))
        return Money(amount=amount, currency=line.unit_price.currency)

    return [msgspec.structs.replace(line, tax=tax(line)) for line in lines]


# --- what comes back


def require_in_window(
    code: str, status: str, delivered_at: datetime | None, at: datetime, window: timedelta, verb: str
) -> None:
    """Refuse a return or an exchange of what has not arrived, or arrived too long ago."""
    if status not in RETURNABLE or delivered_at is None:
        raise ServiceError(code, f"Only what was delivered can be {verb}; this order is {status}.", {"state": status})
    if at >= delivered_at + window:
        raise ServiceError(
            code,
            f"It could be {verb} within {window.days} days of its delivery. Please contact our customer service.",
            {"state": status, "until": (delivered_at + window).isoformat()},
        )


def require_one_line_each(lines: Sequence[ReturnLine]) -> None:
    """Refuse a sku that is named twice: each is decided on by its name."""
    twice = [sku for sku, times in Counter(line.sku for line in lines).items() if times > 1]
    if twice:
        raise _invalid("lines", f"{twice[0]!r} is there twice: say it once, with all its units.")


def require_all_decided(skus: Iterable[str], decisions: Sequence[Decision]) -> None:
    """Refuse decisions that are not exactly one for each sku."""
    asked, given = set(skus), [decision.sku for decision in decisions]
    if missing := sorted(asked - set(given)):
        raise _invalid("decisions", f"Nothing is decided on {', '.join(missing)}: say all lines at once.")
    if len(given) != len(asked):
        raise _invalid("decisions", f"Decide once on each of {', '.join(sorted(asked))}, and on nothing else.")


def require_same_decisions(before: Sequence[Decision], given: Sequence[Decision]) -> None:
    """Refuse to decide differently the second time."""
    if {each.sku: each for each in before} != {each.sku: each for each in given}:
        raise ServiceError("orders.already_decided", "Something else was decided on these lines already.")


def settle_return(
    lines: Sequence[OrderLine], terms: ReturnTerms, decisions: Sequence[Decision], shipping: int, kept: int
) -> tuple[list[OrderLine], ReturnTerms]:
    """The order's lines, and the terms, after staff decided. `kept` is what the shop has of the customer's money;
    `shipping` is given back too if the whole order has come back."""
    accepted = {decision.sku for decision in decisions if decision.accept}
    wanted = wanted_of(line for line in terms.lines if line.sku in accepted)
    after, refunds = give_back(lines, wanted)
    shipping = shipping if accepted and is_all_back(after) else 0
    refund = Money(amount=min(sum(refunds.values()) + shipping, kept), currency=lines[0].unit_price.currency)
    shipping = min(shipping, refund.amount)
    tax = min(tax_in(lines, wanted), refund.amount - shipping)
    settled = dict(decisions=list(decisions), refunds=refunds, refund=refund, tax=tax, shipping=shipping)
    return after, msgspec.structs.replace(terms, **settled)


def is_all_back(lines: Sequence[OrderLine]) -> bool:
    return all(left_of(line) == 0 for line in lines)


def accepted_units(lines: Sequence[ReturnLine | SwapLine], decisions: Sequence[Decision], restock: bool) -> list[Line]:
    """The accepted units that are to be sold again (`restock`), or to leave the books."""
    chosen = {decision.sku for decision in decisions if decision.accept and decision.restock == restock}
    units = wanted_of(line for line in lines if line.sku in chosen)
    return [Line(sku=sku, quantity=count) for sku, count in units.items()]


# --- changes and exchanges


def require_swaps(swaps: Sequence[SwapLine]) -> None:
    """Refuse a swap of a sku for itself."""
    same = [swap.sku for swap in swaps if swap.sku == swap.new_sku]
    if same:
        raise _invalid("lines", f"{same[0]!r} would be swapped for itself: name another new_sku.")


def require_variants(lines: Sequence[OrderLine], swaps: Sequence[SwapLine], offers: Mapping[str, Offer]) -> None:
    """Refuse a new sku that is not of the old one's product."""
    product_of = {line.sku: line.product_id for line in lines}
    for swap in swaps:
        if offers[swap.new_sku].product_id != product_of[swap.sku]:
            raise ServiceError(
                "orders.not_a_variant",
                f"{swap.new_sku!r} is not another variant of the product of {swap.sku!r}: return it, and order anew.",
                {"field": "lines", "sku": swap.sku, "new_sku": swap.new_sku},
            )


def swapped(
    lines: Sequence[OrderLine], swaps: Sequence[SwapLine], offers: Mapping[str, Offer], country: str, rates: TaxRates
) -> list[OrderLine]:
    """The order's lines after these swaps: units that stay at their price, new ones at that of now."""
    require_in_order(lines, wanted_of(swaps))
    kept = take_out(lines, wanted_of(swaps))
    incoming = [Line(sku=sku, quantity=count) for sku, count in incoming_of(swaps).items()]
    return _merged([*kept, *price(incoming, offers, country, rates)])


def incoming_of(swaps: Iterable[SwapLine]) -> Counter[str]:
    """How many units of each new sku are needed."""
    incoming: Counter[str] = Counter()
    for swap in swaps:
        incoming[swap.new_sku] += swap.quantity
    return incoming


def _merged(lines: Sequence[OrderLine]) -> list[OrderLine]:
    """Lines of the same sku at the same price as one."""
    merged: dict[tuple[str, int], OrderLine] = {}
    for line in lines:
        key = (line.sku, line.unit_price.amount)
        merged[key] = _sum(merged[key], line) if key in merged else line
    return list(merged.values())


def _sum(one: OrderLine, other: OrderLine) -> OrderLine:
    currency = one.unit_price.currency
    return msgspec.structs.replace(
        one,
        quantity=one.quantity + other.quantity,
        returned=one.returned + other.returned,
        line_total=Money(amount=one.line_total.amount + other.line_total.amount, currency=currency),
        tax=Money(amount=one.tax.amount + other.tax.amount, currency=currency),
    )


def swap_terms(
    swaps: Sequence[SwapLine],
    lines: Sequence[OrderLine],
    shipping: Money,
    address: Address,
    total_before: int,
    method: str | None,
) -> SwapTerms:
    """What it comes to when an order gets these lines, this address and this postage: the difference is charged, or
    refunded."""
    sums = totals(lines, shipping)
    difference, currency = sums.total.amount - total_before, sums.total.currency
    return SwapTerms(
        swaps=list(swaps),
        lines=list(lines),
        totals=sums,
        address=address,
        charge=Money(amount=max(difference, 0), currency=currency),
        refund=Money(amount=max(-difference, 0), currency=currency),
        method=method,
    )


def replacing(terms: SwapTerms, kept: int) -> SwapTerms:
    """The terms on which everything that the shop has of the customer's money is paid anew, and given back."""
    amount = Money(amount=kept, currency=terms.charge.currency)
    return msgspec.structs.replace(terms, charge=amount, refund=amount, replaces=True)


def require_method(terms: SwapTerms, method: PaymentMethod | None) -> None:
    """Refuse a change that costs more without a way to pay that."""
    if terms.charge.amount and method is None:
        raise ServiceError(
            "orders.payment_method_required",
            "It costs more than what was paid: say with `payment_method` how the difference is paid.",
            {"field": "payment_method", "difference": msgspec.to_builtins(terms.charge)},
        )


def _invalid(field: str, message: str) -> ServiceError:
    return ServiceError("request.invalid", message, {"field": field})


def refuse_state(code: str, status: str, what: str) -> NoReturn:
    raise ServiceError(code, f"An order that is {status} cannot be {what} any more.", {"state": status})
