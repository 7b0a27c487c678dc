"""Whether services answer at all: not a health check of theirs, but proof that somebody reads their queue."""

from collections.abc import Iterable
from typing import Any

from nameko.extensions import DependencyProvider

from chassis.errors import Failure, OutcomeUnknown, Unavailable
from chassis.rpc import Reply, RpcClient

PULSE_TIMEOUT_S = 1.0


class Pulse:
    """Asks services something that nobody has: any answer, also "no such method", is a sign of life."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    def feel(self, services: Iterable[str]) -> dict[str, bool]:
        """For each service whether it answered within PULSE_TIMEOUT_S; all are asked at once."""
        asked = {service: self._ask(service) for service in services}
        return {service: reply is not None and _answers(reply) for service, reply in asked.items()}

    def _ask(self, service: str) -> Reply | None:
        try:
            return self._client.send(service, "pulse", timeout_s=PULSE_TIMEOUT_S)
        except Unavailable:
            return None


def _answers(reply: Reply) -> bool:
    try:
        reply.result()
    except OutcomeUnknown:
        return reply.answered
    except Failure:
        return True
    return True


class Probe(DependencyProvider):
    """Worker attribute: a Pulse."""

    client = RpcClient()

    def get_dependency(self, worker_ctx: Any) -> Pulse:
        return Pulse(self.client)
