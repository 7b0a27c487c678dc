"""What customers want, and whose queue it belongs to at the desk."""

ORDERS, MONEY, DELIVERY, ACCOUNT, OTHER = "orders", "money", "delivery", "account", "other"

TOPICS: dict[str, str] = {
    **dict.fromkeys(
        [
            "place_order",
            "cart",
            "guest",
            "order_number",
            "change_order",
            "cancel_order",
            "order_states",
            "out_of_stock",
            "prices",
            "order_total",
            "return_window",
            "how_to_return",
            "return_cost",
            "return_condition",
            "refund_amount",
            "refund_to_gift_card",
            "exchange",
            "exchange_difference",
            "return_rejected",
            "wrong_item",
        ],
        ORDERS,
    ),
    **dict.fromkeys(
        [
            "payment_methods",
            "card_declined",
            "challenge",
            "saved_cards",
            "gift_cards",
            "pay_from_account",
            "split_payment",
            "when_charged",
            "refund_time",
            "double_charge",
            "receipt",
            "currency",
            "open_account",
            "deposit",
            "withdraw",
            "transfer",
            "fees",
            "limits",
            "iban",
            "freeze_account",
            "close_account",
            "statement",
            "dispute",
            "risk_review",
            "reversal",
        ],
        MONEY,
    ),
    **dict.fromkeys(
        [
            "delivery_time",
            "delivery_cost",
            "delivery_countries",
            "tracking",
            "address_change",
            "parcel_lost",
            "parcel_damaged",
            "not_at_home",
            "handed_over",
            "several_parcels",
        ],
        DELIVERY,
    ),
    **dict.fromkeys(["password", "login_problem", "phishing", "privacy", "delete_my_data"], ACCOUNT),
    **dict.fromkeys(["contact", "complaint"], OTHER),
}
"""General questions, each with an article."""

LOOKUPS: dict[str, str] = {
    "order_status": DELIVERY,
    "order_payment": ORDERS,
    "order_refused": ORDERS,
    "refund_status": MONEY,
    "balance": MONEY,
    "transactions": MONEY,
    "product_price": ORDERS,
    "product_stock": ORDERS,
    "product_options": ORDERS,
    "product_compare": ORDERS,
}

ACTIONS: dict[str, str] = {
    "do_cancel": ORDERS,
    "do_change_address": DELIVERY,
    "do_change_items": ORDERS,
    "do_change_payment": MONEY,
    "do_return": ORDERS,
    "do_exchange": ORDERS,
    "do_resend_mail": ORDERS,
    "do_freeze": MONEY,
}

POLITE = ("greeting", "thanks", "goodbye")
CONSENT = ("yes", "no")
REFUSED = ("legal", "medical", "other_people", "steering", "out_of_scope")
HUMAN = "human"

QUEUES: dict[str, str] = {**TOPICS, **LOOKUPS, **ACTIONS}


def is_request(intent: str | None) -> bool:
    """Whether something is wanted by it that can be answered or done."""
    return intent is not None and (intent in QUEUES or intent in REFUSED or intent == HUMAN)
