"""registry: who is there, what they promise, and what is odd about it. It only listens: nothing needs it."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from logging import getLogger
from typing import Annotated, Any

import msgspec
from nameko.constants import AMQP_URI_CONFIG_KEY
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider
from sqlalchemy.exc import SQLAlchemyError

from chassis.announcement import Announcement
from chassis.announcing import announced
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.described import fingerprint, promised
from chassis.errors import Failure, ServiceError
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

DECLARED: Mapping[str, tuple[str, frozenset[str]]] = {
    name: (fingerprint(api), frozenset(promised(api))) for name, api in CONTRACTS.items()
}
UNTOLD = 1_000
"""So many events are kept while the database takes none."""

log = getLogger("rialto.registry")


class RegistrySettings(Message):
    announce_every_ms: int
    management_uri: str | None
    management_timeout_ms: Annotated[int, msgspec.Meta(gt=0)]
    registry_look_s: Annotated[float, msgspec.Meta(gt=0)]
    registry_broker_s: Annotated[float, msgspec.Meta(ge=0.1)]
    registry_suspect_beats: Annotated[int, msgspec.Meta(ge=1)]
    registry_gone_beats: Annotated[int, msgspec.Meta(ge=1)]
    registry_growing_s: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    registry_keep_s: Annotated[int, msgspec.Meta(gt=0)]


class Watch:
    """What an instance of the registry knows: of instances, and of the broker. `untold` is not in the database yet."""

    def __init__(self, settings: RegistrySettings, amqp_uri: str, clock: Callable[[], float] = time.monotonic) -> None:
        if settings.registry_gone_beats <= settings.registry_suspect_beats:
            raise ValueError("registry_gone_beats has to be more than registry_suspect_beats")
        patience = Patience(settings.registry_suspect_beats, settings.registry_gone_beats)
        self.settings, self.clock = settings, clock
        self.census = Census(patience, begun=clock())
        self.broker = Broker(amqp_uri, settings.management_uri or "", settings.management_timeout_ms / 1000)
        kept = int(settings.registry_growing_s / settings.registry_broker_s) + 2
        self.samples: deque[Sample] = deque(maxlen=kept)
        self.untold: list[Change] = []

    def scene(self) -> Scene:
        return Scene(self.census, DECLARED, list(self.samples), self.clock(), self.settings.registry_growing_s)

    @property
    def bound_s(self) -> float:
        """Nobody who is dead is counted any more after so long."""
        intervals_ms = [known.told.every_ms for known in self.census.instances.values()]
        longest_s = max([self.settings.announce_every_ms, *intervals_ms]) / 1000
        return self.settings.registry_suspect_beats * longest_s + self.settings.registry_look_s


class Watching(DependencyProvider):
    """Worker attribute: the one Watch of this instance."""

    def setup(self) -> None:
        settings = read_settings(self.container, RegistrySettings)
        try:
            self.watch = Watch(settings, self.container.config[AMQP_URI_CONFIG_KEY])
        except ValueError as exc:
            raise ConfigurationError(f"config.yaml, as registry reads it: {exc}") from None

    def start(self) -> None:
        with Database.of(self.container).sessions.read() as session:
            self.watch.census.remember(store.unended(session))

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
        self._note(self.watch.census.hear(told, self.watch.clock(), datetime.now(UTC)))

    @every("registry_look_s")
    def look(self) -> None:
        self._note(self.watch.census.look(self.watch.clock()))

    @every("registry_broker_s")
    def look_at_broker(self) -> None:
        census = self.watch.census
        sight = self.watch.broker.look({*DECLARED, *census.spoke})
        self.watch.samples.append(views.sample(census, sight, self.watch.clock()))

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
            bound_s=self.watch.bound_s,
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
        """Write down what happened. While the database takes nothing it is kept for the next time."""
        self.watch.untold = [*self.watch.untold, *changes][-UNTOLD:]
        if not (untold := self.watch.untold):
            return
        try:
            with self.db.write() as session:
                store.note(session, untold)
        except (Failure, SQLAlchemyError) as exc:
            log.warning("what happened is not noted yet", extra={"reason": f"{type(exc).__name__}: {exc}"})
            return
        noted = set(untold)
        self.watch.untold = [each for each in self.watch.untold if each not in noted]
