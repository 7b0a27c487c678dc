"""The operators' view of who is there: the registry's routes. Nothing else asks it."""

from chassis.routes import Request, route
from chassis.types import OPERATOR
from contracts.registry import Description, Overview, RegistryApi, RegistryEventPage, Target
from edge import bodies


class RegistryRoutes:
    """`registry` is the gateway's, which inherits these."""

    registry: RegistryApi

    @route("GET", "/v1/registry", role=OPERATOR, refuses=RegistryApi.overview)
    def registry_overview(self, request: Request) -> Overview:
        """Every service with its instances, the figures of the model, and what is odd."""
        return self.registry.overview()

    @route("GET", "/v1/registry/events", query=bodies.RegistryQuery, role=OPERATOR, refuses=RegistryApi.events)
    def registry_events(self, request: Request[None, bodies.RegistryQuery]) -> RegistryEventPage:
        """What happened to instances, oldest first. Ask again with `after` set to `next_after`."""
        return self.registry.events(request.query.after, request.query.limit)

    @route("GET", "/v1/registry/prometheus", role=OPERATOR, refuses=RegistryApi.targets)
    def metrics_targets(self, request: Request) -> list[Target]:
        """Where the metrics of running instances are, for Prometheus' HTTP service discovery."""
        return self.registry.targets()

    @route("GET", "/v1/registry/{service}", role=OPERATOR, refuses=RegistryApi.describe)
    def describe_service(self, request: Request, service: str) -> Description:
        """One service: its methods with schemas, errors and timings, and the settings of its instances."""
        return self.registry.describe(service)
