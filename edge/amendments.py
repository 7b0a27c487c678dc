"""Amendments of orders: what a customer, and the desk, may do to an order after it was placed."""

from chassis.routes import Reply, Request, route
from chassis.types import CUSTOMER, STAFF
from contracts.amendments import Exchange, Return
from contracts.orders import Order, OrdersApi
from edge import bodies
from edge.asking import key_of


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
        return self.orders.cancel(order_id, request.body.reason, key=key_of(request))

    @route(
        "PATCH",
        "/v1/orders/{order_id}",
        body=bodies.ChangeOrder,
        role=CUSTOMER,
        idempotent="optional",
        success=202,
        refuses=OrdersApi.change,
    )
    def change_order(self, request: Request[bodies.ChangeOrder], order_id: str) -> Order:
        """Change a confirmed order that the carrier does not have yet: address, articles, or how it is paid."""
        asked = request.body
        return self.orders.change(
            order_id, asked.shipping_address, asked.lines, asked.payment_method, key=key_of(request)
        )

    @route(
        "POST",
        "/v1/orders/{order_id}/returns",
        body=bodies.ReturnGoods,
        role=CUSTOMER,
        idempotent="optional",
        success=202,
        refuses=OrdersApi.begin_return,
    )
    def begin_return(self, request: Request[bodies.ReturnGoods], order_id: str) -> Reply[Return]:
        """Send units of a delivered order back. They are refunded when they have arrived and were looked at."""
        asked = request.body
        begun = self.orders.begin_return(order_id, asked.lines, asked.refund_to, key=key_of(request))
        return Reply(begun, headers={"Location": f"/v1/orders/{order_id}/returns/{begun.id}"})

    @route("GET", "/v1/orders/{order_id}/returns", role=CUSTOMER, refuses=OrdersApi.returns)
    def find_returns(self, request: Request, order_id: str) -> list[Return]:
        """An order's returns, the oldest first."""
        return self.orders.returns(order_id)

    @route("GET", "/v1/orders/{order_id}/returns/{return_id}", role=CUSTOMER, refuses=OrdersApi.get_return)
    def get_return(self, request: Request, order_id: str, return_id: str) -> Return:
        """One return, with what was decided on its lines."""
        return self.orders.get_return(order_id, return_id)

    @route(
        "POST",
        "/v1/returns/{return_id}/lines",
        body=bodies.DecideReturn,
        role=STAFF,
        refuses=OrdersApi.decide_return,
    )
    def decide_return(self, request: Request[bodies.DecideReturn], return_id: str) -> Return:
        """For staff: what was found when the goods of a return, or an exchange, came back; once, for every line."""
        return self.orders.decide_return(return_id, request.body.decisions, key=key_of(request))

    @route(
        "POST",
        "/v1/orders/{order_id}/exchanges",
        body=bodies.ExchangeGoods,
        role=CUSTOMER,
        idempotent="optional",
        success=202,
        refuses=OrdersApi.begin_exchange,
    )
    def begin_exchange(self, request: Request[bodies.ExchangeGoods], order_id: str) -> Reply[Exchange]:
        """Exchange units of a delivered order for another variant. The new ones are sent at once."""
        asked = request.body
        begun = self.orders.begin_exchange(order_id, asked.lines, asked.payment_method, key=key_of(request))
        return Reply(begun, headers={"Location": f"/v1/orders/{order_id}/exchanges/{begun.id}"})

    @route("GET", "/v1/orders/{order_id}/exchanges", role=CUSTOMER, refuses=OrdersApi.exchanges)
    def find_exchanges(self, request: Request, order_id: str) -> list[Exchange]:
        """An order's exchanges, the oldest first."""
        return self.orders.exchanges(order_id)

    @route("GET", "/v1/orders/{order_id}/exchanges/{exchange_id}", role=CUSTOMER, refuses=OrdersApi.get_exchange)
    def get_exchange(self, request: Request, order_id: str, exchange_id: str) -> Exchange:
        """One exchange, with its parcel and what came back."""
        return self.orders.get_exchange(order_id, exchange_id)
