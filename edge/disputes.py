"""Disputes of cards' payments, for staff."""

from chassis.routes import Request, route
from chassis.types import STAFF
from contracts.payments import Dispute, DisputePage, PaymentsApi
from edge import bodies


class DisputeRoutes:
    """`payments` is the gateway's, which inherits these."""

    payments: PaymentsApi

    @route("GET", "/v1/disputes", query=bodies.DisputeQuery, role=STAFF, refuses=PaymentsApi.disputes)
    def find_disputes(self, request: Request[None, bodies.DisputeQuery]) -> DisputePage:
        """What cardholders' banks took back, newest first."""
        asked = request.query
        return self.payments.disputes(asked.status, asked.limit, asked.cursor)

    @route("GET", "/v1/disputes/{dispute_id}", role=STAFF, refuses=PaymentsApi.dispute)
    def get_dispute(self, request: Request, dispute_id: str) -> Dispute:
        """One dispute."""
        return self.payments.dispute(dispute_id)
