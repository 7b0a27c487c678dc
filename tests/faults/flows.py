"""The flows that are made to fail, one row each: how it begins, and what must hold at its end, to the unit and cent."""

from tests.faults.customers import (
    GIFT,
    SPENT,
    buy,
    buy_and_look_elsewhere,
    cancel,
    change,
    exchange,
    issue_gift_card,
    place,
    place_and_approve,
    place_split,
    place_unapproved,
    receive,
    receive_both,
    send_back,
)
from tests.faults.world import DEARER, PRICE, QUANTITY, TOTAL, End, Flow

DIFFERENCE = QUANTITY * (DEARER - PRICE)
NEARER = 550
"""What the carrier wants less for two items that stay in Germany."""
TOTAL_OF_BOTH = TOTAL + DEARER + 100
"""One dearer lamp with the two, and the carrier's price for a third item."""
DELIVERED = {"order_confirmed": 1, "order_shipped": 1, "order_delivered": 1}

CONFIRMED = {
    "reserve_stock": "ok",
    "assess_risk": "ok",
    "authorize_payment": "ok",
    "capture_payment": "ok",
    "commit_stock": "ok",
    "book_shipment": "ok",
    "clear_cart": "ok",
}

TURNED_ROUND = {
    "reserve_stock": "undone",
    "assess_risk": "undone",
    "authorize_payment": "undone",
    "capture_payment": "refused",
}

ORDERED = (
    "orders.place",
    "users.profile",
    "carts.get",
    "products.offers",
    "shipping.quote",
    "saga",
    "inventory.reserve",
    "risk.assess",
    "payments.authorize",
    "payments.capture",
)
PAID = (
    *ORDERED,
    "inventory.commit",
    "shipping.book",
    "carts.remove_ordered",
    "notifications.on_order_confirmed",
)
REFUSED = (
    *ORDERED,
    "payments.void",
    "inventory.release",
    "risk.forget",
    "notifications.on_order_rejected",
)

FLOWS = (
    Flow(
        "paid",
        place("tok_visa"),
        End(
            status="confirmed",
            stock=(3, 0, 2),
            money=(("authorize", TOTAL), ("capture", TOTAL)),
            mails={"order_confirmed": 1},
            timeline=CONFIRMED,
            parcels=("booked Delft",),
        ),
        PAID,
    ),
    Flow(
        "refused_at_the_pivot",
        place("tok_capture_fails"),
        End(
            status="rejected",
            stock=(5, 0, 0),
            money=(("authorize", TOTAL), ("void", TOTAL)),
            mails={"order_rejected": 1},
            timeline=TURNED_ROUND,
            cart=QUANTITY,
        ),
        REFUSED,
    ),
    Flow(
        "split",
        place_split("tok_visa"),
        End(
            status="confirmed",
            stock=(3, 0, 2),
            money=(("authorize", TOTAL - SPENT), ("capture", TOTAL - SPENT)),
            mails={"order_confirmed": 1},
            timeline=CONFIRMED,
            parcels=("booked Delft",),
            gift_card=(GIFT - SPENT, 0),
        ),
        (*PAID, "payments.check"),
        before=issue_gift_card,
    ),
    Flow(
        "split_refused_at_the_pivot",
        place_split("tok_capture_fails"),
        End(
            status="rejected",
            stock=(5, 0, 0),
            money=(("authorize", TOTAL - SPENT), ("void", TOTAL - SPENT)),
            mails={"order_rejected": 1},
            timeline=TURNED_ROUND,
            cart=QUANTITY,
            gift_card=(GIFT, 0),
        ),
        (*REFUSED, "payments.check"),
        before=issue_gift_card,
    ),
    Flow(
        "challenge",
        place_and_approve,
        End(
            status="confirmed",
            stock=(3, 0, 2),
            money=(("authorize", TOTAL), ("capture", TOTAL)),
            mails={"order_confirmed": 1},
            timeline={**CONFIRMED, "challenge": "ok"},
            parcels=("booked Delft",),
        ),
        (*PAID, "payments.acquirer_hook", "orders.on_payment_resolved"),
    ),
    Flow(
        "cancel",
        cancel,
        End(
            status="cancelled",
            stock=(5, 0, 0),
            money=(("authorize", TOTAL), ("capture", TOTAL), ("refund", TOTAL)),
            mails={"order_confirmed": 1, "order_cancelled": 1},
            timeline={**CONFIRMED, "cancel_shipment": "ok", "refund_payment": "ok", "restock": "ok"},
            parcels=("cancelled Delft",),
            amended={"cancel": "settled"},
        ),
        (
            "orders.cancel",
            "saga",
            "shipping.cancel",
            "payments.refund",
            "inventory.restock",
            "notifications.on_order_cancelled",
        ),
        before=buy,
    ),
    Flow(
        "cancelled_before_the_pivot",
        cancel,
        End(
            status="cancelled",
            stock=(5, 0, 0),
            money=(),
            mails={"order_cancelled": 1},
            timeline={
                **dict.fromkeys(("reserve_stock", "assess_risk", "authorize_payment"), "undone"),
                "cancel": "refused",
            },
            cart=QUANTITY,
            amended={"cancel": "settled"},
        ),
        (
            "orders.cancel",
            "saga",
            "payments.void",
            "inventory.release",
            "risk.forget",
            "notifications.on_order_cancelled",
        ),
        before=place_unapproved,
    ),
    Flow(
        "return",
        send_back,
        End(
            status="returned",
            stock=(5, 0, 0),
            money=(("authorize", TOTAL_OF_BOTH), ("capture", TOTAL_OF_BOTH), ("refund", TOTAL_OF_BOTH)),
            mails={**DELIVERED, "return_requested": 1, "return_settled": 1},
            timeline={**CONFIRMED, "decided": "ok", "restock": "ok", "discard": "ok", "refund_payment": "ok"},
            parcels=("delivered Delft",),
            dearer=(4, 0, 0),
            amended={"return": "settled"},
        ),
        (
            "orders.begin_return",
            "orders.decide_return",
            "saga",
            "inventory.restock",
            "inventory.discard",
            "payments.refund",
            "notifications.on_return_requested",
            "notifications.on_return_settled",
        ),
        before=receive_both,
    ),
    Flow(
        "exchange",
        exchange,
        End(
            status="delivered",
            stock=(5, 0, 0),
            money=(
                ("authorize", TOTAL),
                ("capture", TOTAL),
                ("authorize", DIFFERENCE),
                ("capture", DIFFERENCE),
            ),
            mails={**DELIVERED, "exchange_settled": 1},
            timeline={**CONFIRMED, "decided": "ok", "restock": "ok", "take_back": "ok"},
            parcels=("delivered Delft", "booked Delft"),
            dearer=(3, 0, 2),
            amended={"exchange": "settled"},
        ),
        (
            "orders.begin_exchange",
            "users.profile",
            "products.offers",
            "orders.decide_return",
            "saga",
            "inventory.reserve",
            "payments.authorize",
            "payments.capture",
            "inventory.commit",
            "shipping.book",
            "inventory.restock",
            "notifications.on_exchange_settled",
        ),
        before=receive,
    ),
    Flow(
        "change",
        change,
        End(
            status="confirmed",
            stock=(5, 0, 0),
            money=(
                ("authorize", TOTAL),
                ("capture", TOTAL),
                ("authorize", DIFFERENCE - NEARER),
                ("capture", DIFFERENCE - NEARER),
            ),
            mails={"order_confirmed": 1, "order_changed": 1},
            timeline={**CONFIRMED, "hold_shipment": "ok", "restock": "ok", "amend_shipment": "ok"},
            parcels=("booked Berlin",),
            dearer=(3, 0, 2),
            amended={"change": "settled"},
        ),
        (
            "orders.change",
            "users.profile",
            "products.offers",
            "shipping.quote",
            "saga",
            "inventory.reserve",
            "payments.authorize",
            "shipping.hold",
            "payments.capture",
            "inventory.commit",
            "inventory.restock",
            "shipping.amend",
            "notifications.on_order_changed",
        ),
        before=buy_and_look_elsewhere,
    ),
)
