"""A customer's own orders and money, as they are now."""

from collections.abc import Sequence

from contracts.amendments import Amendment
from contracts.orders import Order
from contracts.support import Source
from contracts.transactions import Transaction
from services.support.talk import picking
from services.support.talk.case import Case, Part, Stop
from services.support.talk.memory import Focus
from services.support.talk.vocabulary import says, values

UNDER_WAY = ("pending", "confirmed", "shipped", "cancelling", "rejecting")
SHOWN, TRANSACTIONS_SHOWN = 3, 5
OPEN = ("pending", "waiting", "settling")


def _orders(case: Case, text: str, fits: Sequence[str] = ()) -> list[Order]:
    """The orders that are asked about: those named, the one spoken of, those in these states, or the newest."""
    orders = case.sight.orders()
    if not orders:
        raise Stop(Part(text=case.words.say("no_orders")))
    found = picking.named(case, text, orders) or picking.other_than(text, case.order_id, orders)
    if not found:
        spoken_of = picking.spoken_of(case, text, orders, lambda order: not fits or order.status in fits)
        fitting = [order for order in orders if order.status in fits]
        found = [spoken_of] if spoken_of else fitting or orders[:1]
    return found[:SHOWN]


def _answer(case: Case, orders: Sequence[Order], texts: Sequence[str]) -> Part:
    focus = Focus(order_id=orders[0].id) if len(orders) == 1 else None
    return Part(text="\n".join(texts), sources=[case.order_source(order) for order in orders], focus=focus)


def order_status(case: Case, text: str) -> Part:
    orders = _orders(case, text, UNDER_WAY)
    return _answer(case, orders, [_status(case, order) for order in orders])


def _status(case: Case, order: Order) -> str:
    words = case.words
    key = "shipped_untracked" if order.status == "shipped" and not order.shipment.tracking else order.status
    if order.status == "pending" and order.payment.status == "requires_action":
        key = "requires_action"
    elif order.status == "pending" and order.review:
        key = "in_review"
    said = words.say_of(
        "order",
        key,
        order=words.order(order),
        day=words.day(order.created_at, case.at),
        lines=words.lines(order.lines),
        tracking=order.shipment.tracking or "",
        url=order.payment.action_url or "",
        reason=_why(case, order.reason_code, order.reason),
        status=order.status,
        at=words.moment(case.at),
    )
    under_way = [_amendment(case, each) for each in order.amendments if each.status in OPEN]
    return words.sentences(said, *under_way)


def _amendment(case: Case, amendment: Amendment) -> str:
    kind = case.words.say_of("amendment", amendment.kind)
    return case.words.say_of("amendment_state", amendment.status, kind=kind)


def _why(case: Case, code: str | None, said: str | None) -> str:
    """Why something was refused, by its code; the service's own sentence where the code is unknown."""
    if code and case.words.knows(f"why.{code}"):
        return case.words.say(f"why.{code}")
    return said if said and case.words.language == "en" else case.words.say("why.other")


def order_payment(case: Case, text: str) -> Part:
    orders, words = _orders(case, text), case.words
    texts = [
        words.say(
            "payment",
            order=words.order(order),
            day=words.day(order.created_at, case.at),
            total=words.money(order.totals.total),
            items=words.money(order.totals.items),
            shipping=words.money(order.totals.shipping),
            tax=words.money(order.totals.tax),
            method=words.say_of("method", order.payment.method),
            state=words.say_of(
                "payment_state",
                order.payment.status,
                paid=words.money(order.payment.paid),
                refunded=words.money(order.payment.refunded),
            ),
        )
        for order in orders
    ]
    return _answer(case, orders, texts)


def order_refused(case: Case, text: str) -> Part:
    orders, words = _orders(case, text, ("rejected", "rejecting")), case.words
    return (
        _answer(case, orders, [words.say("no_refusal", order=words.order(o)) for o in orders])
        if not any(_refusals(case, order) for order in orders)
        else _answer(case, orders, [line for order in orders for line in _refusals(case, order)])
    )


def _refusals(case: Case, order: Order) -> list[str]:
    """Why an order was rejected or cancelled by the shop, and what was asked of it later."""
    words, said = case.words, []
    if order.status in ("rejected", "rejecting") or (order.status == "cancelled" and order.reason_code):
        why = _why(case, order.reason_code, order.reason)
        key = "was_cancelled" if order.status == "cancelled" else "was_rejected"
        said.append(words.say(key, order=words.order(order), day=words.day(order.created_at, case.at), reason=why))
    for amendment in order.amendments:
        if amendment.status == "rejected":
            kind, why = words.say_of("amendment", amendment.kind), _why(case, amendment.reason_code, amendment.reason)
            said.append(words.say("amendment_rejected", kind=kind, order=words.order(order), reason=why))
    return said


def refund_status(case: Case, text: str) -> Part:
    orders = _orders(case, text)
    if not picking.named(case, text, case.sight.orders()):
        orders = [o for o in case.sight.orders() if _is_refunded(o)][:SHOWN] or orders
    return _answer(case, orders, [_refund(case, order) for order in orders])


def _is_refunded(order: Order) -> bool:
    back = any(each.kind in ("return", "cancel") for each in order.amendments)
    return order.payment.refunded.amount > 0 or back or order.status in ("cancelled", "cancelling", "returned")


def _refund(case: Case, order: Order) -> str:
    words = case.words
    about = {"order": words.order(order), "day": words.day(order.created_at, case.at)}
    said = []
    if order.payment.refunded.amount:
        refunded, method = words.money(order.payment.refunded), words.say_of("method", order.payment.method)
        said.append(words.say("refund.given", refunded=refunded, method=method, **about))
    for each in case.sight.returns(order.id) if any(a.kind == "return" for a in order.amendments) else ():
        if each.status != "settled":
            until = words.day(each.expires_at, case.at)
            said.append(words.say_of("refund.return", each.status, until=until, **about))
    if order.status == "cancelling":
        said.append(words.say("refund.cancelling", **about))
    if not said:
        key = "refund.nothing_paid" if order.status in ("cancelled", "rejected") else "refund.none"
        said.append(words.say(key, **about))
    return words.sentences(*said)


def balance(case: Case, text: str) -> Part:
    words, wanted = case.words, values("currencies", text)
    accounts = [each for each in case.sight.accounts() if each.status != "closed"]
    if not accounts:
        return Part(text=words.say("no_accounts"))
    accounts = [each for each in accounts if each.currency in wanted] or accounts
    lines = []
    for each in accounts:
        available, posted = each.balance.available, each.balance.posted
        line = words.say("balance", name=each.name, available=words.money(available), at=words.moment(case.at))
        if posted != available:
            line = words.sentences(line, words.say("balance_held", posted=words.money(posted)))
        if each.balance.pending_in.amount:
            line = words.sentences(line, words.say("balance_coming", amount=words.money(each.balance.pending_in)))
        if each.status == "frozen":
            line = words.sentences(line, words.say("balance_frozen"))
        lines.append(line)
    sources = [Source(title=each.name, url=f"/v1/accounts/{each.id}", at=case.at) for each in accounts]
    return Part(text="\n".join(lines), sources=sources)


KINDS = {"deposits": "deposit", "withdrawals": "withdrawal", "transfers": "transfer"}


def transactions(case: Case, text: str) -> Part:
    words = case.words
    kinds = [kind for heard, kind in KINDS.items() if says(heard, text)]
    found = [each for each in case.sight.transactions() if not kinds or each.kind in kinds][:TRANSACTIONS_SHOWN]
    if not found:
        return Part(text=words.say("no_transactions"))
    lines = [_transaction(case, each) for each in found]
    sources = [
        Source(title=words.say_of("transaction", each.kind), url=f"/v1/transactions/{each.id}", at=case.at)
        for each in found
    ]
    return Part(text="\n".join([words.say("transactions", at=words.moment(case.at)), *lines]), sources=sources)


def _transaction(case: Case, each: Transaction) -> str:
    words = case.words
    line = words.say(
        "transaction_line",
        day=words.day(each.created_at, case.at),
        kind=words.say_of("transaction", each.kind),
        amount=words.money(each.amount),
        status=words.say_of("transaction_state", each.status),
    )
    if each.status == "rejected":
        line = words.sentences(line, words.say("transaction_why", reason=_why(case, each.reason_code, each.reason)))
    return line
