"""What the house says in a conversation by itself, in both languages. Pure: no I/O."""

from datetime import datetime
from typing import Any

from chassis.currencies import formatted
from chassis.types import Money

SAID: dict[str, dict[str, str]] = {
    "handed_over": {
        "en": "Somebody of our team will answer you here.",
        "zh": "我们的同事会在这里回复您。",
    },
    "not_reached": {
        "en": "I cannot look this up at the moment. Please ask again in a minute, or ask for a person.",
        "zh": "我现在查不到相关信息。请稍后再问一次，或者要求转人工客服。",
    },
    "not_heard_of": {
        "en": "We have not heard from you for a while, so we take this as solved. If it is not, just write here.",
        "zh": "我们有一段时间没有收到您的回复，因此先视为已解决。如果问题仍在，请直接在这里回复。",
    },
    "action_over": {
        "en": "This cannot be confirmed any more. If you still want it, please ask again.",
        "zh": "这项操作已经不能再确认了。如果您仍然需要，请重新提出。",
    },
    "action_unknown": {
        "en": "We still do not know whether this was done: {summary} A person looks at it now.",
        "zh": "我们仍不清楚这项操作是否已完成：{summary} 现在由人工处理。",
    },
    "cancelled": {
        "en": "Order {order_id} is cancelled. Nothing was charged.",
        "zh": "订单 {order_id} 已取消，没有扣款。",
    },
    "cancelled_refunded": {
        "en": "Order {order_id} is cancelled. {refunded} is on its way back to you.",
        "zh": "订单 {order_id} 已取消，{refunded} 正在退还给您。",
    },
    "changed": {
        "en": "Order {order_id} is changed. It comes to {total} now.",
        "zh": "订单 {order_id} 已更改，现在总额为 {total}。",
    },
    "changed_charged": {
        "en": "Order {order_id} is changed. It comes to {total} now; {charged} was charged.",
        "zh": "订单 {order_id} 已更改，现在总额为 {total}，已收取 {charged}。",
    },
    "changed_refunded": {
        "en": "Order {order_id} is changed. It comes to {total} now; {refunded} is on its way back to you.",
        "zh": "订单 {order_id} 已更改，现在总额为 {total}，{refunded} 正在退还给您。",
    },
    "changed_both": {
        "en": "Order {order_id} is changed. It comes to {total} now; {charged} was charged, and {refunded} is on its "
        "way back to you.",
        "zh": "订单 {order_id} 已更改，现在总额为 {total}，已收取 {charged}，{refunded} 正在退还给您。",
    },
    "return_requested": {
        "en": "The return of order {order_id} is registered: {subject_id}. Please send the goods back until {until}.",
        "zh": "订单 {order_id} 的退货已登记：{subject_id}。请在 {until} 之前寄回商品。",
    },
    "return_settled": {
        "en": "We looked at your return of order {order_id}. {refund} is on its way back to you.",
        "zh": "我们已检查订单 {order_id} 的退货，{refund} 正在退还给您。",
    },
    "return_settled_card": {
        "en": "We looked at your return of order {order_id}. You get a gift card of {refund}.",
        "zh": "我们已检查订单 {order_id} 的退货，您将收到一张 {refund} 的礼品卡。",
    },
    "return_refused": {
        "en": "We looked at your return of order {order_id} and could not accept it: nothing is refunded.",
        "zh": "我们已检查订单 {order_id} 的退货，无法接受，因此不予退款。",
    },
    "exchanged": {
        "en": "The new goods for order {order_id} are on their way. Please send the old ones back until {until}.",
        "zh": "订单 {order_id} 换货的新商品已发出。请在 {until} 之前寄回原商品。",
    },
    "exchanged_charged": {
        "en": "The new goods for order {order_id} are on their way; {difference} was charged. Please send the old ones "
        "back until {until}.",
        "zh": "订单 {order_id} 换货的新商品已发出，已收取差价 {difference}。请在 {until} 之前寄回原商品。",
    },
    "exchanged_refunded": {
        "en": "The new goods for order {order_id} are on their way; {difference} is on its way back to you. Please "
        "send the old ones back until {until}.",
        "zh": "订单 {order_id} 换货的新商品已发出，差价 {difference} 正在退还给您。请在 {until} 之前寄回原商品。",
    },
    "rejected": {
        "en": "Order {order_id} was not accepted before it could be cancelled. Nothing was charged.",
        "zh": "订单 {order_id} 在取消之前已被拒绝，没有扣款。",
    },
    "resent": {
        "en": "The mail is sent once more, to the address that it went to before.",
        "zh": "邮件已重新发送到原来的邮箱。",
    },
    "frozen": {
        "en": "The account is frozen: nothing more goes out or in. Only our team can open it again.",
        "zh": "账户已冻结，不能再转入或转出。只有我们的同事可以解冻。",
    },
    "offer.cancel": {
        "en": "Cancel order {order_id}: {refunded} is given back.",
        "zh": "取消订单 {order_id}：退还 {refunded}。",
    },
    "offer.change_address": {
        "en": "Send order {order_id} to the other address: {charged} is charged, {refunded} given back.",
        "zh": "将订单 {order_id} 寄往新地址：收取 {charged}，退还 {refunded}。",
    },
    "offer.change_items": {
        "en": "Change the articles of order {order_id}: {charged} is charged, {refunded} given back.",
        "zh": "更改订单 {order_id} 的商品：收取 {charged}，退还 {refunded}。",
    },
    "offer.change_payment": {
        "en": "Pay order {order_id} in the other way: {charged} is charged, {refunded} given back.",
        "zh": "更改订单 {order_id} 的付款方式：收取 {charged}，退还 {refunded}。",
    },
    "offer.return": {
        "en": "Return goods of order {order_id}: if all is accepted, {refunded} is given back.",
        "zh": "退回订单 {order_id} 的商品：全部验收后退还 {refunded}。",
    },
    "offer.exchange": {
        "en": "Exchange goods of order {order_id}: {charged} is charged, {refunded} given back.",
        "zh": "更换订单 {order_id} 的商品：收取 {charged}，退还 {refunded}。",
    },
    "confirm_here": {"en": "Confirm it here if you agree.", "zh": "如果您同意，请在这里确认。"},
    "refused": {"en": "This could not be done: {reason}", "zh": "这项操作未能完成：{reason}"},
}
"""By what is told."""

REFUSALS: dict[str, dict[str, str]] = {
    "accounts.closed": {"en": "The account is closed.", "zh": "账户已关闭。"},
    "accounts.not_found": {"en": "There is no such account of yours.", "zh": "您没有这个账户。"},
    "auth.forbidden": {"en": "This may not be done for you.", "zh": "您无权进行这项操作。"},
    "inventory.insufficient": {"en": "There are not enough of that article left.", "zh": "该商品库存不足。"},
    "notifications.not_found": {"en": "There is no mail about it yet.", "zh": "目前还没有相关的邮件。"},
    "notifications.too_often": {
        "en": "This mail was sent again several times today already.",
        "zh": "这封邮件今天已经重发过好几次了。",
    },
    "orders.challenge_expired": {
        "en": "The payment was not approved at the bank in time.",
        "zh": "付款没有及时在银行得到确认。",
    },
    "orders.challenge_refused": {
        "en": "The payment was not approved at the bank.",
        "zh": "付款没有在银行得到确认。",
    },
    "orders.in_progress": {
        "en": "Another change of this order is under way. Please try again when it is done.",
        "zh": "这个订单的另一项更改正在进行。请等它完成后再试。",
    },
    "orders.not_a_variant": {
        "en": "Goods can only be exchanged for another variant of the same article.",
        "zh": "只能换成同一商品的其他款式。",
    },
    "orders.not_cancellable": {
        "en": "The order cannot be cancelled any more: it has left our warehouse, or is over.",
        "zh": "订单已经不能取消：已出库或已结束。",
    },
    "orders.not_changeable": {
        "en": "The order cannot be changed any more: it has left our warehouse, or is over.",
        "zh": "订单已经不能更改：已出库或已结束。",
    },
    "orders.not_exchangeable": {
        "en": "The order cannot be exchanged: it has not arrived yet, or the time for it is over.",
        "zh": "订单不能换货：尚未送达，或已超过换货期限。",
    },
    "orders.not_found": {"en": "There is no such order of yours.", "zh": "您没有这个订单。"},
    "orders.not_in_order": {"en": "There are not so many of these in the order.", "zh": "订单中没有这么多该商品。"},
    "orders.not_returnable": {
        "en": "The order cannot be returned: it has not arrived yet, or the time for it is over.",
        "zh": "订单不能退货：尚未送达，或已超过退货期限。",
    },
    "orders.not_sold_any_more": {"en": "The article is not sold any more.", "zh": "该商品已不再出售。"},
    "orders.payment_method_required": {
        "en": "It costs more than before: it needs a way to pay.",
        "zh": "价格比原来高，需要提供付款方式。",
    },
    "orders.return_expired": {"en": "The goods did not come back in time.", "zh": "商品没有按时寄回。"},
    "orders.unknown_payment_method": {"en": "There is no such way to pay.", "zh": "没有这种付款方式。"},
    "payments.capture_refused": {"en": "The bank refused the payment.", "zh": "银行拒绝了付款。"},
    "payments.declined": {"en": "The card was declined.", "zh": "该卡被拒绝。"},
    "payments.gift_card_insufficient": {"en": "There is not enough on the gift card.", "zh": "礼品卡余额不足。"},
    "payments.one_card": {"en": "At most one card can take part in a payment.", "zh": "一次付款最多只能使用一张卡。"},
    "payments.unknown_account": {"en": "One cannot pay from that account.", "zh": "不能从该账户付款。"},
    "payments.unknown_gift_card": {"en": "There is no such gift card.", "zh": "没有这张礼品卡。"},
    "payments.unknown_token": {"en": "The card is not known to the card processor.", "zh": "卡组织不认识该卡。"},
    "payments.unsupported_method": {"en": "One cannot pay in this way.", "zh": "不支持这种付款方式。"},
    "payments.wallet_frozen": {"en": "The account is frozen or closed.", "zh": "账户已冻结或关闭。"},
    "payments.wallet_insufficient": {"en": "There is not enough on the account.", "zh": "账户余额不足。"},
    "saga.attempts": {"en": "It could not be done now. Please try again.", "zh": "暂时没能办成，请再试一次。"},
    "saga.deadline": {"en": "It took too long to process.", "zh": "处理时间过长。"},
    "shipping.handed_over": {"en": "It is too late: the carrier has the parcel.", "zh": "太晚了：承运商已取走包裹。"},
    "shipping.not_serviceable": {"en": "We do not deliver there.", "zh": "我们不配送到该地址。"},
}
"""By the codes of refusals."""


def said(what: str, language: str, **values: Any) -> str:
    """A sentence of SAID. Money and moments are written out."""
    written = {name: _written(value, language) for name, value in values.items()}
    return SAID[what][language].format_map(written)


def refusal(code: str, language: str, otherwise: str) -> str:
    """Why something was refused; in the refusal's own words where there are none of ours."""
    return REFUSALS.get(code, {}).get(language, otherwise)


def of_change(charged: Money, refunded: Money) -> str:
    """Which sentence tells of a change that cost, or gave back, so much."""
    return {(0, 0): "changed", (1, 0): "changed_charged", (0, 1): "changed_refunded", (1, 1): "changed_both"}[
        charged.amount > 0, refunded.amount > 0
    ]


def of_exchange(difference: Money) -> str:
    """Which sentence tells of an exchange with this difference."""
    return ("exchanged_refunded", "exchanged", "exchanged_charged")[
        (difference.amount > 0) - (difference.amount < 0) + 1
    ]


def _written(value: Any, language: str) -> str:
    if isinstance(value, Money):
        return formatted(Money(amount=abs(value.amount), currency=value.currency))
    if isinstance(value, datetime):
        return f"{value.day} {value:%B %Y}" if language == "en" else f"{value.year}年{value.month}月{value.day}日"
    return str(value)
