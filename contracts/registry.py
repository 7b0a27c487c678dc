"""The registry: who is there, what they promise, and what is odd about it. Nothing needs it to make a call.

It hears what instances announce, asks the broker, and compares both with the contracts.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

import msgspec

from chassis.types import Message, api, refuses

InstanceState = Literal["up", "draining", "suspect"]
"""`draining`: takes no more messages and finishes those that it has. `suspect`: it has fallen silent."""
Happening = Literal["up", "draining", "left", "suspect", "back", "gone"]
Severity = Literal["info", "warning", "error"]
Source = Literal["management", "amqp", "none"]
"""Where the figures of queues come from: the broker's management API, AMQP itself (no unacked, no rates, and only
queues that the registry knows of), or nowhere, as the broker does not answer."""
ServiceName = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
After = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=500)]


class Instance(Message):
    """One process of a service. `seen_at` is when the registry last heard of it, by the registry's clock."""

    id: str
    version: str
    state: InstanceState
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    contract: str
    settings_digest: str
    workers: int
    prefetch: int
    metrics: str


class Queue(Message):
    """The queue of a service's methods. None where it is not known."""

    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None


class Service(Message):
    """`m` counts the instances that are up or draining; of a stranger, who announces nothing, the consumers of its
    queue. `methods`, `events_in`, `events_out` and `sagas` are what its instances announced."""

    name: str
    m: int
    instances: list[Instance]
    methods: list[str]
    events_out: list[str]
    events_in: list[str]
    sagas: list[str]
    queue: Queue
    stranger: bool = False


class Model(Message):
    """The figures of the model (docs/discovery.md): services, instances, interfaces that contracts declare and that
    running instances announced, saga definitions, and the commands with a barrier that those use."""

    n: int
    M: int
    R: int
    R_register: int
    P: int
    T: int


class Finding(Message):
    """Something odd, in plain words. `code` is for programs, `service` whom it is about, "" for the whole."""

    severity: Severity
    code: str
    service: str
    text: str


class Overview(Message):
    """`bound_s`: a dead instance is not counted any more so many seconds after its end, at the latest."""

    services: list[Service]
    model: Model
    findings: list[Finding]
    at: datetime
    bound_s: float
    queues_from: Source


class Method(Message):
    """A method as its contract has it, and how it went since the running instances started. `command`: it has the
    barrier, and a key. `mean_ms` is None before the first call."""

    name: str
    doc: str
    arguments: list[dict[str, Any]]
    result: dict[str, Any]
    errors: list[str]
    command: bool
    ok: int
    refused: int
    failed: int
    mean_ms: float | None


class Settings(Message):
    """What an instance was started with; secrets are masked."""

    instance: str
    settings: dict[str, Any]


class Description(Message):
    """One service in full. `schemas` are those that the methods' arguments and results refer to."""

    service: Service
    methods: list[Method]
    schemas: dict[str, Any]
    settings: list[Settings]
    findings: list[Finding]


class RegistryEvent(Message):
    """Something that happened to an instance. Ids grow."""

    id: int
    at: datetime
    service: str
    instance: str
    what: Happening
    host: str
    pid: int


class RegistryEventPage(Message):
    """Oldest first. `next_after` is where to go on: the last id, or what was asked for if there is nothing new."""

    items: list[RegistryEvent]
    next_after: int


class Target(Message):
    """One address in the form of Prometheus' HTTP service discovery."""

    targets: list[str]
    labels: dict[str, str]


@api("registry")
class RegistryApi(Protocol):
    name: str

    def overview(self) -> Overview:
        """All services with their instances, the model's figures and the findings (operator)."""
        ...

    @refuses("registry.unknown_service")
    def describe(self, service: ServiceName) -> Description:
        """One service: its methods with schemas, errors and timings, its settings (operator)."""
        ...

    def events(self, after: After = 0, limit: PageSize = 100) -> RegistryEventPage:
        """What happened to instances after this id, oldest first; at most `limit` (operator)."""
        ...

    def targets(self) -> list[Target]:
        """Where the metrics of running instances are (operator)."""
        ...
