"""`GET /v1/audit`: what must hold between the services, checked against one another.

Services are asked one after the other while orders go on, so a difference may only be news that is under way. It is
`in_flight` if the order it belongs to has a saga that runs, or changed less than the settling time ago; otherwise,
and once it is older than that, it counts.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from chassis.errors import Failure
from contracts.accounts import AccountsApi, SubjectSums
from contracts.inventory import InventoryApi, StockAudit
from contracts.orders import OrderMoney, OrdersApi, SagaHealth
from contracts.payments import Balance, GiftCardAudit, PaymentsApi
from contracts.shipping import ShippingApi
from contracts.transactions import DepositMoney, TransactionsApi
from edge.bodies import Audit, Check

PAGE = 1000
MAX_PAGES = 1000
SHOWN = 5
ORDER = "order:"
"""How the ledger's subjects of orders begin."""
WHERE = {
    "sales": "earned",
    "tax_payable": "earned",
    "shipping_income": "earned",
    "acquirer_receivable": "acquirer_receivable",
    "gift_cards": "gift_cards",
    "wallet_payments": "wallet_payments",
}
"""Roles in the ledger, and what the audit compares of them for each order."""


class Auditor:
    """One audit. `settle` is how old a difference may be that running sagas explain."""

    def __init__(
        self,
        orders: OrdersApi,
        inventory: InventoryApi,
        payments: PaymentsApi,
        shipping: ShippingApi,
        transactions: TransactionsApi,
        accounts: AccountsApi,
        settle: timedelta,
    ) -> None:
        self.orders, self.inventory, self.payments, self.shipping = orders, inventory, payments, shipping
        self.transactions, self.accounts, self.settle = transactions, accounts, settle
        self.at = datetime.now(UTC)

    def run(self) -> Audit:
        """All checks. Raises Failure if a service cannot be asked: then nothing can be said."""
        stock = self.inventory.audit()
        balances: dict[str, Balance] = {balance.order_id: balance for balance in _all(self.payments.balances)}
        money: dict[str, OrderMoney] = {each.order_id: each for each in _all(self.orders.money)}
        deposits: dict[str, DepositMoney] = {each.transaction_id: each for each in _all(self.transactions.deposits)}
        health = self.orders.saga_health()
        self.running = set(health.running_keys)
        paid = {of: each for of, each in balances.items() if of not in deposits}
        cards = self.payments.audit_gift_cards()
        checks = [
            self._stock_identity(stock),
            self._reservations(stock, money),
            self._money_agrees(money, paid),
            self._deposits_agree(deposits, balances),
            self._gift_cards(cards),
            self._ledger(money, paid, cards),
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
        """What payments kept for each order is what the order says, but for what a lost dispute took: an order that was
        cancelled after it says that this was given back."""
        wrong, moving = [], False
        for order_id in money.keys() | balances.keys():
            order, balance = money.get(order_id), balances.get(order_id)
            kept = balance.captured - balance.refunded if balance else 0
            lost = balance.lost if balance else 0
            if order is not None and order.settled and 0 <= kept - order.due <= lost:
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

    def _deposits_agree(self, deposits: dict[str, DepositMoney], balances: dict[str, Balance]) -> Check:
        """What payments kept for each deposit is what the deposit says."""
        wrong, moving = [], False
        for transaction_id, deposit in deposits.items():
            balance = balances.get(transaction_id)
            kept = balance.captured - balance.refunded if balance else 0
            if not deposit.settled:
                moving = True
            elif kept != deposit.due:
                times = [each.updated_at for each in (deposit, balance) if each is not None]
                if self._explained(transaction_id, max(times)):
                    moving = True
                else:
                    wrong.append(f"{transaction_id}: kept {kept}, the deposit says {deposit.due}")
        detail = f"{len(deposits)} deposits" + (f"; {_shown(wrong)}" if wrong else "")
        return Check(name="deposits", holds=not wrong, in_flight=moving, detail=detail)

    def _gift_cards(self, found: GiftCardAudit) -> Check:
        """What each gift card holds is what was issued, less what payments hold and took of it."""
        detail = f"{found.cards} gift cards" + (f"; broken: {_shown(found.broken)}" if found.broken else "")
        return Check(name="gift_cards", holds=not found.broken, in_flight=False, detail=detail)

    def _ledger(self, money: dict[str, OrderMoney], balances: dict[str, Balance], cards: GiftCardAudit) -> Check:
        """The ledger balances, agrees with each order and its payments, and owes what is on gift cards."""
        sums = {each.subject.removeprefix(ORDER): each for each in _all(partial(self.accounts.sums_by_subject, ORDER))}
        trial = self.accounts.trial_balance()
        wrong, moving = [] if trial.holds else ["debits are not credits"], False
        to_book: Counter[str] = Counter()  # of gift cards, by currency
        for order_id in money.keys() | balances.keys() | sums.keys():
            order, balance, booked = money.get(order_id), balances.get(order_id), sums.get(order_id)
            has = _has(booked)
            said = _said(order, balance, has["earned"])
            if balance is not None:
                to_book[balance.currency] += balance.gift_card - has["gift_cards"]
            if said == has:
                continue
            times = [each.updated_at for each in (order, balance, booked) if each is not None]
            at_work = order is not None and not order.settled and order_id in self.running
            if at_work or self._explained(order_id, max(times)):
                moving = True
            else:
                wrong += [
                    f"{order_id}: {what} {has[what]}, not {said[what]}" for what in said if has[what] != said[what]
                ]
        owed = {line.currency: line.credit - line.debit for line in trial.lines if line.role == "gift_cards"}
        for currency in owed.keys() | cards.sums.keys():
            more = owed.get(currency, 0) - cards.sums.get(currency, 0) - to_book[currency]
            if more and self._explained(currency, cards.moved_at):
                moving = True
            elif more:
                wrong.append(f"gift_cards.{currency}: {more} more than on the cards")
        booked_orders = sum(order.booked for order in money.values())
        detail = f"{booked_orders} orders booked" + (f"; {_shown(wrong)}" if wrong else "")
        return Check(name="ledger", holds=not wrong, in_flight=moving, detail=detail)

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


def _said(order: OrderMoney | None, balance: Balance | None, earned: int) -> dict[str, int]:
    """What an order's entries come to if the ledger is right: what it earned, and where the money for that is.

    What a lost dispute took stays earned beside the loss; an order that was cancelled after it says that it was given
    back.
    """
    if order is None or not order.booked:
        return dict.fromkeys(WHERE.values(), 0)
    card, gift_card, lost = (balance.card, balance.gift_card, balance.lost) if balance is not None else (0, 0, 0)
    due = earned if 0 <= earned - order.due <= lost else order.due
    return dict(earned=due, acquirer_receivable=card, gift_cards=gift_card, wallet_payments=0)


def _has(booked: SubjectSums | None) -> dict[str, int]:
    """What an order's entries come to. Earnings are seen from the credits, all else from the debits."""
    found = dict.fromkeys(WHERE.values(), 0)
    for each in booked.sums if booked is not None else ():
        if (what := WHERE.get(each.role)) is not None:
            found[what] += -each.amount if what == "earned" else each.amount
    return found


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
