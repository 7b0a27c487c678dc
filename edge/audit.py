"""`GET /v1/audit`: what must hold between the services, checked against one another.

Services are asked one after the other while orders go on, so a difference may only be news that is under way. It is
`in_flight` if the order it belongs to has a saga that runs, or changed less than the settling time ago; otherwise,
and once it is older than that, it counts.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.errors import Failure
from contracts.inventory import InventoryApi, StockAudit
from contracts.orders import OrderMoney, OrdersApi, SagaHealth
from contracts.payments import Balance, GiftCardAudit, PaymentsApi
from contracts.shipping import ShippingApi
from edge.bodies import Audit, Check

PAGE = 1000
MAX_PAGES = 1000
SHOWN = 5


class Auditor:
    """One audit. `settle` is how old a difference may be that running sagas explain."""

    def __init__(
        self,
        orders: OrdersApi,
        inventory: InventoryApi,
        payments: PaymentsApi,
        shipping: ShippingApi,
        settle: timedelta,
    ) -> None:
        self.orders, self.inventory, self.payments, self.shipping = orders, inventory, payments, shipping
        self.settle = settle
        self.at = datetime.now(UTC)

    def run(self) -> Audit:
        """All checks. Raises Failure if a service cannot be asked: then nothing can be said."""
        stock = self.inventory.audit()
        balances: dict[str, Balance] = {balance.order_id: balance for balance in _all(self.payments.balances)}
        money: dict[str, OrderMoney] = {each.order_id: each for each in _all(self.orders.money)}
        health = self.orders.saga_health()
        self.running = set(health.running_keys)
        checks = [
            self._stock_identity(stock),
            self._reservations(stock, money),
            self._money_agrees(money, balances),
            self._gift_cards(self.payments.audit_gift_cards()),
            self._sagas(health),
            self._statement(),
            self._bookings(),
        ]
        return Audit(
            holds=all(check.holds for check in checks),
            checks=checks,
            at=self.at,
            incidents=self.orders.incidents("open"),
            mended=self.orders.incidents("mended"),
        )

    def _explained(self, order_id: str | None, since: datetime | None) -> bool:
        """Whether a difference is only news under way: the order's saga runs, or it is very fresh; and not for long."""
        fresh = since is not None and self.at - since < self.settle
        return fresh and (order_id in self.running or order_id is not None)

    def _stock_identity(self, stock: StockAudit) -> Check:
        detail = f"{stock.skus} skus" + (f"; broken: {_shown(stock.broken)}" if stock.broken else "")
        return Check(name="stock_identity", holds=not stock.broken, in_flight=False, detail=detail)

    def _reservations(self, stock: StockAudit, money: dict[str, OrderMoney]) -> Check:
        """Each open reservation belongs to an order whose saga has not ended."""
        orphans = [
            each
            for each in stock.open
            if each.order_id not in self.running and (each.order_id not in money or money[each.order_id].settled)
        ]
        young = [each for each in orphans if self._explained(each.order_id, each.created_at)]
        old = [each.order_id for each in orphans if each not in young]
        detail = f"{len(stock.open)} open" + (f"; of no running saga: {_shown(old)}" if old else "")
        return Check(name="reservations", holds=not old, in_flight=bool(young), detail=detail)

    def _money_agrees(self, money: dict[str, OrderMoney], balances: dict[str, Balance]) -> Check:
        """What payments kept for each order is what the order says."""
        wrong, moving = [], False
        for order_id in money.keys() | balances.keys():
            order, balance = money.get(order_id), balances.get(order_id)
            kept = balance.captured - balance.refunded if balance else 0
            if order is not None and order.settled and kept == order.due:
                continue
            if order is not None and not order.settled and order_id in self.running:
                moving = moving or kept != order.due
                continue
            times = [each.updated_at for each in (order, balance) if each is not None]
            if self._explained(order_id, max(times)):
                moving = True
            else:
                wrong.append(f"{order_id}: kept {kept}, the order says {order.due if order else 'nothing'}")
        detail = f"{len(money)} orders" + (f"; {_shown(wrong)}" if wrong else "")
        return Check(name="captured_minus_refunded", holds=not wrong, in_flight=moving, detail=detail)

    def _gift_cards(self, found: GiftCardAudit) -> Check:
        """What each gift card holds is what was issued, less what payments hold and took of it."""
        detail = f"{found.cards} gift cards" + (f"; broken: {_shown(found.broken)}" if found.broken else "")
        return Check(name="gift_cards", holds=not found.broken, in_flight=False, detail=detail)

    def _sagas(self, health: SagaHealth) -> Check:
        detail = f"{health.running} running" + (f"; overdue: {_shown(health.overdue)}" if health.overdue else "")
        if health.attention:
            detail += f"; attention: {_shown(health.attention)}"
        return Check(name="sagas", holds=not health.overdue, in_flight=health.running > 0, detail=detail)

    def _statement(self) -> Check:
        try:
            found = self.payments.reconcile()
        except Failure as exc:
            return Check(name="acquirer_statement", holds=False, in_flight=False, detail=f"cannot be compared: {exc}")
        young = [each for each in found.differences if self._explained(each.order_id, each.since)]
        old = [each.key for each in found.differences if each not in young]
        holds = not old and found.count == len(found.differences)
        detail = f"{found.compared} movements" + (f"; {found.count} differ: {_shown(old)}" if old else "")
        return Check(name="acquirer_statement", holds=holds, in_flight=bool(young), detail=detail)

    def _bookings(self) -> Check:
        try:
            found = self.shipping.reconcile()
        except Failure as exc:
            return Check(name="carrier_bookings", holds=False, in_flight=False, detail=f"cannot be compared: {exc}")
        young = [
            each
            for each in found.differences
            if self._explained(each.order_id, each.since) or {each.parcel_id, each.order_id} & self.running
        ]
        old = [each.booking_key for each in found.differences if each not in young]
        holds = not old and found.count == len(found.differences)
        detail = f"{found.compared} bookings" + (f"; {found.count} differ: {_shown(old)}" if old else "")
        return Check(name="carrier_bookings", holds=holds, in_flight=bool(young), detail=detail)


def _all(pages: Callable[[str | None, int], Any]) -> Iterator[Any]:
    """The items of all pages of a method, one call after the other."""
    after = None
    for _ in range(MAX_PAGES):
        page = pages(after, PAGE)
        yield from page.items
        after = page.next_after
        if after is None:
            return


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
