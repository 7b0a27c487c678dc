"""The operators' part of the gateway: sagas, and whether the books agree."""

from datetime import timedelta
from typing import Any

from chassis.routes import Request, route
from chassis.rpc import tuned
from chassis.types import OPERATOR
from contracts.inventory import InventoryApi
from contracts.orders import OrdersApi, Repaired, Saga, SagaPage
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from edge import bodies
from edge.audit import Auditor

REPAIR_S = 12.0
"""So long a comparison of all books may take to be waited for; it goes on without."""


class OperatorRoutes:
    """Routes for who runs the shop. What they ask for is the gateway's, which inherits them."""

    config: dict[str, Any]
    inventory: InventoryApi
    orders: OrdersApi
    payments: PaymentsApi
    shipping: ShippingApi

    @route("GET", "/v1/sagas", query=bodies.SagaQuery, role=OPERATOR, refuses=OrdersApi.find_sagas)
    def find_sagas(self, request: Request[None, bodies.SagaQuery]) -> SagaPage:
        """Sagas, newest first, with their timelines."""
        asked = request.query
        return self.orders.find_sagas(asked.status, asked.name, asked.limit, asked.cursor)

    @route("GET", "/v1/sagas/{saga_id}", role=OPERATOR, refuses=OrdersApi.get_saga)
    def get_saga(self, request: Request, saga_id: str) -> Saga:
        """One saga with its timeline."""
        return self.orders.get_saga(saga_id)

    @route("GET", "/v1/audit", role=OPERATOR)
    def audit(self, request: Request) -> bodies.Audit:
        """Whether stock, money and sagas agree between the services."""
        settle = timedelta(seconds=self.config["audit_settle_s"])
        return Auditor(self.orders, self.inventory, self.payments, self.shipping, settle).run()

    @route("POST", "/v1/audit/repair", role=OPERATOR, refuses=OrdersApi.repair)
    def repair(self, request: Request) -> Repaired:
        """Compare the books with the other companies' now, mend what is safe, and note the rest as incidents."""
        return tuned(self.orders, timeout_s=REPAIR_S).repair()
