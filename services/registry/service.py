"""registry: who is there, what they promise, and what is odd about it. It only listens: nothing needs it."""

import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from nameko.constants import AMQP_URI_CONFIG_KEY
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider

from chassis.announcement import Announcement
from chassis.announcing import announced
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.described import fingerprint, promised
from chassis.errors import ServiceError
from chassis.periodic import every
from chassis.provide import provided
from chassis.prune import Pruner
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.settings import Settings, read_settings
from chassis.types import Message
from contracts.catalogue import CONTRACTS
from contracts.registry import (
    After,
    Description,
    Overview,
    PageSize,
    RegistryApi,
    RegistryEventPage,
    ServiceName,
    Target,
)
from services.registry import store, views
from services.registry.adapters import NOTHING, Broker
from services.registry.domain import Census, Change, Patience
from services.registry.findings import Sample, Scene, findings
from services.registry.models import Base

SAMPLES = 100
DECLARED: Mapping[str, tuple[str, frozenset[str]]] = {
    name: (fingerprint(api), frozenset(promised(api))) for name, api in CONTRACTS.items()
}


class RegistrySettings(Message):
    announce_every_ms: int
    management_uri: str | None
    management_timeout_ms: int
    registry_look_s: float
    registry_broker_s: float
    registry_suspect_beats: int
    registry_gone_beats: int
    registry_growing_s: float
    registry_keep_s: int

    @property
    def bound_s(self) -> float:
        """A dead instance is not counted any more after so long."""
        return self.registry_suspect_beats * self.announce_every_ms / 1000 + self.registry_look_s


class Watch:
    """What an instance of the registry knows: of instances, and of the broker."""

    def __init__(self, settings: RegistrySettings, amqp_uri: str) -> None:
        patience = Patience(settings.registry_suspect_beats, settings.registry_gone_beats)
        self.census = Census(patience, begun=time.monotonic())
        self.broker = Broker(amqp_uri, settings.management_uri or "", settings.management_timeout_ms / 1000)
        kept = int(settings.registry_growing_s / settings.registry_broker_s) + 2
        self.samples: deque[Sample] = deque(maxlen=min(kept, SAMPLES))
        self.growing_s = settings.registry_growing_s

    def scene(self) -> Scene:
        return Scene(self.census, DECLARED, list(self.samples), time.monotonic(), self.growing_s)


class Watching(DependencyProvider):
    """Worker attribute: the one Watch of this instance."""

    def start(self) -> None:
        settings = read_settings(self.container, RegistrySettings)
        try:
            self.watch = Watch(settings, self.container.config[AMQP_URI_CONFIG_KEY])
        except ValueError as exc:
            raise ConfigurationError(f"config.yaml, as registry reads it: {exc}") from None
        with Database.of(self.container).sessions.read() as session:
            self.watch.census.missed = store.unended(session)

    def get_dependency(self, worker_ctx: Any) -> Watch:
        return self.watch


class RegistryService:
    name = "registry"

    call = provided(Call, CallContext(RegistryApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    settings = provided(RegistrySettings, Settings(RegistrySettings))
    watch = provided(Watch, Watching())

    # --- listening

    @announced
    def on_announced(self, told: Announcement) -> None:
        self._note(self.watch.census.hear(told, time.monotonic(), datetime.now(UTC)))

    @every("registry_look_s")
    def look(self) -> None:
        self._note(self.watch.census.look(time.monotonic()))

    @every("registry_broker_s")
    def look_at_broker(self) -> None:
        counts = views.counts(self.watch.census)
        sight = self.watch.broker.look({*DECLARED, *counts})
        self.watch.samples.append(Sample(time.monotonic(), sight, counts))

    @every("prune_every_s")
    def forget(self) -> None:
        with self.db.write() as session:
            store.forget(session, timedelta(seconds=self.settings.registry_keep_s))

    # --- telling

    @rpc
    def overview(self) -> Overview:
        self.call.require_operator()
        self.look()
        scene = self.watch.scene()
        sight = scene.samples[-1].sight if scene.samples else NOTHING
        services = views.services(scene.census, sight, DECLARED)
        return Overview(
            services=services,
            model=views.model(services, scene.census, DECLARED),
            findings=findings(scene),
            at=datetime.now(UTC),
            bound_s=self.settings.bound_s,
            queues_from=sight.source,
        )

    @rpc
    def describe(self, service: ServiceName) -> Description:
        self.call.require_operator()
        whole = self.overview()
        found = next((each for each in whole.services if each.name == service), None)
        if found is None:
            there = ", ".join(each.name for each in whole.services)
            raise ServiceError(
                "registry.unknown_service", f"No service {service!r} was ever heard of; there are: {there}."
            )
        alive = [known for known in self.watch.census.of(service) if not known.suspect]
        return views.description(found, CONTRACTS.get(service), alive, whole.findings)

    @rpc
    def events(self, after: After = 0, limit: PageSize = 100) -> RegistryEventPage:
        self.call.require_operator()
        with self.db.read() as session:
            items = store.events(session, after, limit)
        return RegistryEventPage(items=items, next_after=items[-1].id if items else after)

    @rpc
    def targets(self) -> list[Target]:
        self.call.require_operator()
        return views.targets(self.watch.census)

    def _note(self, changes: list[Change]) -> None:
        if changes:
            with self.db.write() as session:
                store.note(session, changes)
