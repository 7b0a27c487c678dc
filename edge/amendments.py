"""Amendments of orders: what a customer, and the desk, may do to an order after it was placed."""

from typing import Any

from chassis.routes import Request, route
from chassis.types import CUSTOMER
from contracts.orders import Order, OrdersApi
from edge import bodies


class AmendmentRoutes:
    """For the gateway, which inherits them. A repeat with the same Idempotency-Key acts once."""

    orders: OrdersApi

    @route(
        "POST",
        "/v1/orders/{order_id}/cancel",
        body=bodies.CancelOrder,
        role=CUSTOMER,
        idempotent="optional",
        success=202,
        refuses=OrdersApi.cancel,
    )
    def cancel_order(self, request: Request[bodies.CancelOrder], order_id: str) -> Order:
        """Cancel an order that the carrier does not have yet. It is `cancelling`, then `cancelled` and refunded."""
        return self.orders.cancel(order_id, request.body.reason, key=_key(request))


def _key(request: Request[Any, Any]) -> str:
    assert request.key is not None  # every unsafe request has one
    return request.key
