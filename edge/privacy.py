"""Leaving: a customer asks what is kept about them, and has it erased."""

from chassis.routes import Reply, Request, route
from chassis.types import CUSTOMER, OPERATOR
from contracts.users import ExportDocument, PrivacyRequest, UsersApi
from edge import bodies
from edge.asking import customer_of, key_of


class PrivacyRoutes:
    """For the gateway, which inherits them."""

    users: UsersApi

    @route("POST", "/v1/me/exports", role=CUSTOMER, idempotent="optional", success=202, refuses=UsersApi.request_export)
    def request_export(self, request: Request) -> Reply[PrivacyRequest]:
        """Have everything that is kept about oneself collected. Poll `GET /v1/me/exports/{id}` until it is ready."""
        begun = self.users.request_export(customer_of(request), key=key_of(request))
        return Reply(begun, headers={"Location": f"/v1/me/exports/{begun.id}"})

    @route("GET", "/v1/me/exports/{export_id}", role=CUSTOMER, refuses=UsersApi.privacy_request)
    def get_export(self, request: Request, export_id: str) -> PrivacyRequest:
        """How far an export is. It can be fetched until `expires_at`."""
        return self.users.privacy_request(export_id)

    @route(
        "GET",
        "/v1/me/exports/{export_id}/file",
        query=bodies.FileQuery,
        role=CUSTOMER,
        refuses=UsersApi.export_document,
    )
    def export_file(self, request: Request[None, bodies.FileQuery], export_id: str) -> Reply[ExportDocument]:
        """What is kept about oneself, as a file. A long one has more behind `next_after`."""
        document = self.users.export_document(export_id, request.query.after)
        return Reply(document, headers={"Content-Disposition": f'attachment; filename="rialto-{document.id}.json"'})

    @route(
        "POST",
        "/v1/me/erasure",
        body=bodies.Leave,
        role=CUSTOMER,
        idempotent="optional",
        success=202,
        refuses=UsersApi.request_erasure,
    )
    def leave(self, request: Request[bodies.Leave]) -> Reply[PrivacyRequest]:
        """Have oneself forgotten, with the password once more. Keep the `Location`: it is all that still answers."""
        return _erasing(self.users.request_erasure(customer_of(request), request.body.password, key=key_of(request)))

    @route(
        "POST",
        "/v1/customers/{customer_id}/erasure",
        body=bodies.Because,
        role=OPERATOR,
        idempotent="optional",
        success=202,
        refuses=UsersApi.request_erasure,
    )
    def erase_customer(self, request: Request[bodies.Because], customer_id: str) -> Reply[PrivacyRequest]:
        """Have a customer forgotten who asked for it in another way. It is noted who did this, and why."""
        return _erasing(self.users.request_erasure(customer_id, None, request.body.reason, key=key_of(request)))

    @route("GET", "/v1/erasures/{erasure_id}", refuses=UsersApi.privacy_request)
    def get_erasure(self, request: Request, erasure_id: str) -> PrivacyRequest:
        """How far an erasure is, for whoever has its id: who is erased cannot log in. Refused, `open` says why."""
        return self.users.privacy_request(erasure_id)


def _erasing(begun: PrivacyRequest) -> Reply[PrivacyRequest]:
    return Reply(begun, headers={"Location": f"/v1/erasures/{begun.id}"})
