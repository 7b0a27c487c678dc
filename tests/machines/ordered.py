"""What an order comes to, in plain sums: its lines, what was paid and given back, and who has which units."""

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tests.machines.others import POSTAGE, PRODUCTS

OK, ALL = "ok", 99
WINDOW = timedelta(days=30)
"""For both: so long after its delivery an order can be sent back, and so long its goods are waited for."""
STATES = ("confirmed", "shipped", "shipped", "delivered")
"""Of an order that stands, by how far the news of its parcel are."""

Swaps = list[tuple[str, str, int]]
"""(sku, new sku, units)"""


@dataclass
class Line:
    """`back` of its units were sent back."""

    sku: str
    price: int
    units: int
    back: int = 0

    @property
    def left(self) -> int:
        return self.units - self.back


@dataclass(frozen=True)
class Plan:
    """What an amendment makes of an order once it is done. `sent`: the units that come back, of which some are accepted
    and some of those scrapped, once that is decided."""

    lines: list[Line]
    country: str
    charged: int = 0
    refunded: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    scrapped: Counter[str] = field(default_factory=Counter)


@dataclass
class Ordered:
    """One order. `bought`: it was charged. `surplus`: old units of exchanges that did not come back. `plans` are its
    amendments by their ids, `so_far` the state in which each was last seen."""

    customer: str
    lines: list[Line]
    country: str = "NL"
    bought: bool = False
    paid: int = 0
    refunded: int = 0
    cancel_asked: bool = False
    rank: int = 0
    delivered_at: timedelta | None = None
    surplus: Counter[str] = field(default_factory=Counter)
    scrapped: Counter[str] = field(default_factory=Counter)
    plans: dict[str, Plan] = field(default_factory=dict)
    so_far: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(line.price * line.units for line in self.lines) + POSTAGE[self.country]

    def left(self, sku: str) -> int:
        return sum(line.left for line in self.lines if line.sku == sku)

    def meant(self, wanted: Iterable[tuple[int, int]]) -> dict[str, int]:
        """Units by sku, of which it is said which lines they are of; at least one."""
        skus = [self.lines[number % len(self.lines)].sku for number, _ in wanted]
        units = {sku: self.left(sku) if count == ALL else count for sku, (_, count) in zip(skus, wanted, strict=True)}
        return {sku: count for sku, count in units.items() if count} or {skus[0]: 1}

    def units(self) -> Counter[str]:
        """What its customer has of it."""
        have = Counter(self.surplus)
        for line in self.lines:
            have[line.sku] += line.left
        return +have

    def state(self, called_off: bool) -> str:
        """The state in which it is when nobody works on it. `called_off`: the carrier has no parcel for it."""
        if not self.bought:
            return "cancelled" if self.cancel_asked else "rejected"
        if called_off:
            return "cancelled"
        return STATES[self.rank] if any(line.left for line in self.lines) else "returned"

    def can_come_back(self, clock: timedelta) -> bool:
        return self.delivered_at is not None and clock < self.delivered_at + WINDOW

    # --- what is meant

    def plan_swap(self, swaps: Swaps, prices: dict[str, int], country: str | None) -> Plan:
        """New units are paid at the price of now, units that stay at theirs. With no swap and no country all is paid
        anew, and what was paid before is given back."""
        if not swaps and country is None:
            kept = self.paid - self.refunded
            return Plan(self.lines, self.country, charged=kept, refunded=kept)
        lines, there = copy.deepcopy(self.lines), country or self.country
        for sku, _, units in swaps:
            for line, taken in _from(lines, sku, units):
                line.units -= taken
        lines = [line for line in lines if line.units]
        for _, new, units in swaps:
            same = [line for line in lines if (line.sku, line.price) == (new, prices[new])]
            if same:
                same[0].units += units
            else:
                lines.append(Line(new, prices[new], units))
        costs = replace(self, lines=lines, country=there).total - self.total
        return Plan(lines, there, charged=max(costs, 0), refunded=max(-costs, 0), sent=_old(swaps))

    def refuses_swap(self, door: str, swaps: Swaps, unpaid: bool) -> str:
        """Why these swaps cannot be, whatever the order's state; ok if they can."""
        short = any(units > self.left(sku) for sku, units in _old(swaps).items())
        if short and door == "begin_exchange":
            return "orders.not_in_order"
        if any(sku == new for sku, new, _ in swaps):
            return "request.invalid"
        if short:
            return "orders.not_in_order"
        if door == "begin_exchange" and any(PRODUCTS[sku] != PRODUCTS[new] for sku, new, _ in swaps):
            return "orders.not_a_variant"
        return "orders.payment_method_required" if unpaid else OK

    def plan_return(self, sent: Counter[str], accepted: Counter[str]) -> Plan:
        """Accepted units are given back at what they were paid, and with the last of them the postage."""
        lines, refund = copy.deepcopy(self.lines), 0
        for sku, units in accepted.items():
            for line, taken in _from(lines, sku, units):
                line.back += taken
                refund += taken * line.price
        if accepted and not any(line.left for line in lines):
            refund += POSTAGE[self.country]
        return Plan(lines, self.country, refunded=refund, sent=sent, accepted=accepted)

    def decide(self, amendment_id: str, kind: str, accepted: Counter[str], restock: bool) -> None:
        plan = self.plans[amendment_id]
        decided = self.plan_return(plan.sent, accepted) if kind == "return" else replace(plan, accepted=accepted)
        self.plans[amendment_id] = replace(decided, scrapped=Counter() if restock else accepted)

    # --- what was done

    def hears(self, rank: int, clock: timedelta) -> None:
        """News of its parcel."""
        if rank == len(STATES) - 1 > self.rank:
            self.delivered_at = clock
        self.rank = max(self.rank, rank)

    def is_bought(self) -> None:
        if not self.bought:
            self.bought, self.paid = True, self.total

    def follow(self, amendment_id: str, kind: str, status: str) -> None:
        """An amendment is so far now."""
        before, self.so_far[amendment_id] = self.so_far.get(amendment_id, "pending"), status
        if status in (before, "rejected"):
            return
        if kind == "cancel":
            self.refunded = self.paid
            return
        plan = self.plans[amendment_id]
        if (kind == "exchange" and before == "pending") or (kind != "exchange" and status == "settled"):
            self.lines, self.country = plan.lines, plan.country
            self.paid += plan.charged
            self.refunded += plan.refunded
        if kind == "exchange":
            self.surplus += plan.sent if before == "pending" else Counter()
            self.surplus -= plan.accepted if status == "settled" else Counter()
        if status == "settled":
            self.scrapped += plan.scrapped


def _from(lines: Iterable[Line], sku: str, units: int) -> Iterable[tuple[Line, int]]:
    """Of which lines so many units are taken, the first lines first."""
    for line in lines:
        taken = min(units, line.left if line.sku == sku else 0)
        units -= taken
        if taken:
            yield line, taken


def _old(swaps: Swaps) -> Counter[str]:
    units: Counter[str] = Counter()
    for sku, _, count in swaps:
        units[sku] += count
    return units
