"""What customers and staff ask of orders, and what has to be answered to them: `may_...` is the whole law."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chassis.errors import ServiceError
from tests.machines import order_checks as checks
from tests.machines.ordered import OK, Line, Ordered, Plan, Swaps
from tests.machines.orders_shop import OrdersShop
from tests.machines.others import DESK, LARGE, SMALL

IN_PROGRESS, UNPAID = "orders.in_progress", "orders.payment_method_required"
MOST_ORDERS = 4

Fates = list[str] | None
"""What becomes of the calls of what was asked for, which is begun at once; None: it is left for later."""
Swapped = list[tuple[int, str, int]]
"""(which line, new sku, units)"""


def address(country: str) -> dict[str, Any]:
    return dict(name="Ada", line1="1 Street", city="Town", postal_code="1000", country=country)


def card(token: str) -> dict[str, Any]:
    return dict(type="card", token=token)


SOMETHING_ELSE: dict[str, dict[str, Any]] = {
    "place": dict(shipping_address=address("FR")),
    "change": dict(payment_method=card("tok_other")),
    "begin_return": dict(lines=[dict(sku=SMALL, quantity=9, reason="of no use")]),
    "begin_exchange": dict(payment_method=card("tok_other")),
}
"""What makes a repeated request another one."""


class OrderDesk(OrdersShop):
    """Customers and their orders, and staff who look at what comes back. `asked`: the requests that used up a key."""

    def __init__(self, *databases: Any) -> None:
        super().__init__(*databases)
        self.decided: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[tuple[str, dict[str, Any], str, str]] = []

    def ask(self, door: str, arguments: dict[str, Any], by: int, new: bool = True) -> tuple[str, Any]:
        """ok and the answer, or why it was refused. `new`: the key is used up by it; a refused one is free still."""
        key = f"key-{len(self.asked)}-{by}"
        try:
            answer = getattr(self.workers[by], door)(**arguments, key=key)
        except ServiceError as refusal:
            return refusal.code, None
        finally:
            self.others.meanwhile = None
            self.look()
        if new:
            self.asked.append((door, arguments, key, answer.id))
        return OK, answer

    # --- what is allowed when

    def order(self, number: int, may: Callable[[str], str], way: str) -> str:
        """One of those of which it may be asked now, which is made where there is none; or (at times) any order."""
        if number % 4 == 0:
            return list(self.ordered)[number // 4 % len(self.ordered)]
        if not any(may(order_id) == OK for order_id in self.ordered):
            self.buy(f"c{number % 2}", way)
        fitting = [order_id for order_id in self.ordered if may(order_id) == OK] or list(self.ordered)
        return fitting[number // 4 % len(fitting)]

    def buy(self, owner: str, way: str) -> None:
        """An order that goes well, so far: placed, confirmed or delivered."""
        if len(self.ordered) >= MOST_ORDERS or self.may_place(owner) != OK:
            return
        self.order_cart(owner, {SMALL: 2, LARGE: 1, DESK: 1}, "tok_visa", twice=False)
        if way != "placed":
            self.run([])
        if way == "delivered":
            self.move(list(self.ordered)[-1], 3, told=True)
        self.follow(checks.read(self.sessions))

    def then(self, fates: Fates) -> None:
        """Begin at once what was asked for, or leave it for later."""
        if fates is not None:
            self.run(fates)

    def open_one(self, order_id: str) -> Any:
        """The order's open amendment."""
        return next((row for row in self.amendments.values() if row.order_id == order_id and not row.closed_at), None)

    def may_place(self, customer: str) -> str:
        making = [self.states[each] for each, ordered in self.ordered.items() if ordered.customer == customer]
        return IN_PROGRESS if {"pending", "rejecting"} & set(making) else OK

    def may_cancel(self, order_id: str) -> str:
        state = self.states[order_id]
        if state in ("cancelling", "cancelled"):
            return OK
        if self.open_one(order_id):
            return IN_PROGRESS
        return OK if state in ("pending", "confirmed") else "orders.not_cancellable"

    def may_change(self, order_id: str) -> str:
        state = self.states[order_id]
        if self.open_one(order_id) or state == "pending":
            return IN_PROGRESS
        return OK if state == "confirmed" else "orders.not_changeable"

    def may_send_back(self, order_id: str, otherwise: str) -> str:
        if self.open_one(order_id):
            return IN_PROGRESS
        arrived = self.states[order_id] == "delivered"
        return OK if arrived and self.ordered[order_id].can_come_back(self.clock) else otherwise

    def may_return(self, order_id: str) -> str:
        return self.may_send_back(order_id, "orders.not_returnable")

    def may_exchange(self, order_id: str) -> str:
        return self.may_send_back(order_id, "orders.not_exchangeable")

    def may_decide(self, row: Any, decisions: list[dict[str, Any]]) -> str:
        if row.id in self.decided:
            return OK if self.decided[row.id] == decisions else "orders.already_decided"
        if row.status == "pending":
            return IN_PROGRESS
        in_time = row.status == "waiting" and self.clock < self.waits_until[row.id]
        return OK if in_time else "orders.return_expired"

    # --- what is asked

    def preview(self, expected: str, plan: Plan, order_id: str, **wish: Any) -> None:
        """Who only wants to know is told what would be done, or why it would be refused; and nothing is written."""
        before = checks.read(self.sessions)
        try:
            said, seen = OK, self.workers[1].preview(order_id, wish)
        except ServiceError as refusal:
            said, seen = refusal.code, None
        assert said == expected
        assert checks.read(self.sessions) == before
        if seen is not None:
            assert (seen.charge.amount, seen.refund.amount) == (plan.charged, plan.refunded)
            found = [(line.sku, line.unit_price.amount, line.quantity, line.returned) for line in seen.lines]
            assert found == [(line.sku, line.price, line.units, line.back) for line in plan.lines]
            then = replace(self.ordered[order_id], lines=plan.lines, country=plan.country)
            assert (seen.totals.total.amount, seen.shipping_address.country) == (then.total, plan.country)

    def place(self, customer: int, wanted: dict[str, int], token: str, twice: bool, fates: Fates) -> None:
        if len(self.ordered) < MOST_ORDERS:
            self.order_cart(f"c{customer}", wanted, token, twice)
            self.then(fates)

    def order_cart(self, owner: str, wanted: dict[str, int], token: str, twice: bool, by: int = 0) -> None:
        """`twice`: the same cart is ordered once more while the first request is on its way."""
        self.others.carts[owner] = Counter(wanted)
        expected = [self.may_place(owner)]

        def meanwhile() -> None:
            self.order_cart(owner, wanted, token, twice=False, by=1)
            expected[0] = IN_PROGRESS

        self.others.meanwhile = meanwhile if twice else None
        arguments = dict(customer_id=owner, shipping_address=address("NL"), payment_method=card(token))
        said, answer = self.ask("place", arguments, by)
        assert said == expected[0]
        if said == OK:
            lines = [Line(sku, self.others.prices[sku], count) for sku, count in wanted.items()]
            self.ordered[answer.id] = Ordered(owner, lines)

    def cancel(self, number: int, fates: Fates) -> None:
        self.cancel_order(self.order(number, self.may_cancel, "placed"), by=0)
        self.then(fates)

    def cancel_order(self, order_id: str, by: int) -> None:
        expected, new = self.may_cancel(order_id), self.states[order_id] not in ("cancelling", "cancelled")
        ordered = self.ordered[order_id]
        kept = ordered.paid - ordered.refunded
        self.preview(expected, Plan(ordered.lines, ordered.country, refunded=kept), order_id, kind="cancel")
        said, _ = self.ask("cancel", dict(order_id=order_id, reason="no more"), by, new)
        assert said == expected
        self.ordered[order_id].cancel_asked |= said == OK

    def change(
        self, number: int, wanted: Swapped, to: str | None, token: str | None, between: str | None, fates: Fates
    ) -> None:
        if wanted or to or token:
            order_id = self.order(number, self.may_change, "confirmed")
            self.swap("change", order_id, self.swaps_of(order_id, wanted), to, token, between)
            self.then(fates)

    def exchange(self, number: int, wanted: Swapped, token: str | None, between: str | None, fates: Fates) -> None:
        order_id = self.order(number, self.may_exchange, "delivered")
        self.swap("begin_exchange", order_id, self.swaps_of(order_id, wanted), None, token, between)
        self.then(fates)

    def swaps_of(self, order_id: str, wanted: Swapped) -> Swaps:
        lines = self.ordered[order_id].lines
        return [(lines[number % len(lines)].sku, new, units) for number, new, units in wanted]

    def swap(
        self, door: str, order_id: str, swaps: Swaps, to: str | None, token: str | None, between: str | None
    ) -> None:
        may = self.may_change if door == "change" else self.may_exchange
        ordered, expected = self.ordered[order_id], [may(order_id)]
        plan = ordered.plan_swap(swaps, self.others.prices, to)
        if expected[0] == OK:
            expected[0] = ordered.refuses_swap(door, swaps, unpaid=plan.charged > 0 and token is None)
        wish: dict[str, Any] = {}
        if swaps:
            wish["lines"] = [dict(sku=sku, new_sku=new, quantity=count) for sku, new, count in swaps]
        if to:
            wish["shipping_address"] = address(to)
        if token:
            wish["payment_method"] = card(token)
        asked = OK if expected[0] == UNPAID else expected[0]
        self.preview(asked, plan, order_id, kind=door.removeprefix("begin_"), **wish)

        def meanwhile() -> None:
            if between == "cancel":
                self.cancel_order(order_id, by=1)
            elif between == "parcel":
                self.move(order_id, 1, told=True)
            else:
                self.rounds([0], [])
            if expected[0] == OK:
                expected[0] = may(order_id)

        self.others.meanwhile = meanwhile if between and self.states[order_id] != "pending" else None
        said, _ = self.ask(door, dict(order_id=order_id, **wish), by=0)
        assert said == expected[0]
        if said == OK:
            ordered.plans[self.open_one(order_id).id] = plan

    def begin_return(self, number: int, wanted: list[tuple[int, int]], to: str, fates: Fates) -> None:
        order_id = self.order(number, self.may_return, "delivered")
        ordered, expected = self.ordered[order_id], self.may_return(order_id)
        units = ordered.meant(wanted)
        if expected == OK and any(count > ordered.left(sku) for sku, count in units.items()):
            expected = "orders.not_in_order"
        lines = [dict(sku=sku, quantity=count, reason="too small") for sku, count in units.items()]
        all_of_it = ordered.plan_return(Counter(units), Counter(units))
        self.preview(expected, all_of_it, order_id, kind="return", returns=lines, refund_to=to)
        said, answer = self.ask("begin_return", dict(order_id=order_id, lines=lines, refund_to=to), by=0)
        assert said == expected
        if said == OK:
            ordered.plans[answer.id] = Plan(ordered.lines, ordered.country, sent=Counter(units))
        self.then(fates)

    def decide(self, number: int, accept: tuple[bool, bool], restock: bool, fates: Fates) -> None:
        back = [row for row in self.amendments.values() if row.kind in ("return", "exchange")]
        back = [row for row in back if row.status == "waiting" and number % 4] or back
        if not back:
            return
        row = back[number // 4 % len(back)]
        ordered = self.ordered[row.order_id]
        sent = ordered.plans[row.id].sent
        decisions = [
            dict(sku=sku, accept=accept[n % 2], restock=accept[n % 2] and restock) for n, sku in enumerate(sorted(sent))
        ]
        expected = self.may_decide(row, decisions)
        said, _ = self.ask("decide_return", dict(return_id=row.id, decisions=decisions), by=0, new=False)
        assert said == expected
        if said == OK and row.id not in self.decided:
            self.decided[row.id] = decisions
            accepted = Counter({each["sku"]: sent[each["sku"]] for each in decisions if each["accept"]})
            ordered.decide(row.id, row.kind, accepted, restock)
        self.then(fates)

    def ask_again(self, number: int, otherwise: bool) -> None:
        """A key that was used answers the same and begins nothing; with another request it is refused."""
        door, arguments, key, answered = self.asked[number % len(self.asked)]
        before = checks.read(self.sessions)
        change = SOMETHING_ELSE.get(door, {}) if otherwise else {}
        try:
            said = getattr(self.workers[1], door)(**{**arguments, **change}, key=key).id
        except ServiceError as refusal:
            said = refusal.code
        assert said == ("orders.key_reused" if change else answered)
        assert checks.read(self.sessions) == before
