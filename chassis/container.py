"""The container of each service, which config.yaml names as SERVICE_CONTAINER_CLS: its own settings, and how it leaves.

A service hosted by nameko's own container works too; it has the general settings, and drains without a word.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import eventlet
from eventlet import GreenPool
from eventlet.event import Event
from nameko.containers import ServiceContainer, get_service_name
from nameko.exceptions import ConfigurationError
from nameko.utils.concurrency import SpawningSet

from chassis.amqp import drain_s_of

STARTS_S, LOOK_S = 3.0, 0.02
OWN = "services"
"""The part of config.yaml that says, service by service, what one of them has otherwise than the rest."""
FOR_ALL = ("DB_URIS", "LOGGING", "SERVICE_CONTAINER_CLS", OWN)
"""What is no service's own: the databases are named by service already, the rest is read before there is a service."""
COUNTS = {"max_workers": (1, 1000), "prefetch": (1, 1000), "drain_ms": (0, 3_600_000)}
"""Settings of each instance that are whole numbers: the least and the most. An empty one is not said."""


class Places(GreenPool):
    """Where workers run. eventlet's own waits for ever if all of them end at once while others wait for a place."""

    def waitall(self) -> None:
        while self.running() or self.waiting():
            eventlet.sleep(LOOK_S)


class Container(ServiceContainer):
    """Hosts one instance. Its `config` is what its service has: the general settings with the service's own on top.

    An extension that has a method `container_leaves` is told first when the instance is to stop.
    """

    def __init__(self, service_cls: type, config: Mapping[str, Any]) -> None:
        super().__init__(service_cls, settings_of(get_service_name(service_cls), config))
        self._worker_pool = Places(self.max_workers)
        self._leaves = self._time_is_over = False
        self._is_complete = Event()

    def start(self) -> None:
        """Messages are taken when all dependencies have started: some wait for their database, and the first call would
        begin a saga that nobody drives."""
        self.started = True
        try:
            self.extensions.all.setup()
            self.dependencies.all.start()
            SpawningSet(self.entrypoints | self.subextensions).all.start()
        finally:
            self._is_complete.send()

    def stop(self) -> None:
        """Take no more messages, finish those that were taken (at most drain_ms), hand over sagas, and go.

        Who is told so again waits with the first one: nameko would end in the middle of what it finishes.
        """
        if self._leaves:
            with suppress(Exception):
                self._died.wait()
            return
        self._leaves = True
        if self.started:  # what has not started yet cannot be stopped; a broker that is away is not waited for
            with eventlet.Timeout(STARTS_S, False):
                self._is_complete.wait()
        if not (self._died.ready() or self._being_killed):
            for each in self.extensions:
                if hasattr(each, "container_leaves"):
                    each.container_leaves()
        limit = eventlet.spawn_after(drain_s_of(self), self._end_workers)
        try:
            super().stop()
        finally:
            limit.kill()

    def _end_workers(self) -> None:
        """What is not done by now is not done here: the broker gives its messages to other instances."""
        self._time_is_over = True
        self._kill_worker_threads()

    def _run_worker(self, worker_ctx: Any, handle_result: Any) -> None:
        if not self._time_is_over:  # it may have waited for its turn until then
            super()._run_worker(worker_ctx, handle_result)


def settings_of(service: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.yaml says for this service. Raises ConfigurationError, with the mend, for what it cannot mean."""
    sections = config.get(OWN) or {}
    own = sections.get(service) if isinstance(sections, Mapping) else sections
    if not isinstance(own or {}, Mapping):
        raise ConfigurationError(f"config.yaml: {OWN}.{service} is {own!r}; it has to be a table of settings.")
    said = {name: value for name, value in (own or {}).items() if value is not None}
    for name, value in said.items():
        _require_known(f"{OWN}.{service}.{name}", name, value, config)
    settings = {**config, **said}
    for name, (least, most) in COUNTS.items():
        value = settings.get(name)
        if value is not None and not (type(value) is int and least <= value <= most):
            raise ConfigurationError(
                f"config.yaml, as {service} reads it: {name} is {value!r}; "
                f"it has to be a whole number from {least} to {most}."
            )
    return settings


def _require_known(place: str, name: Any, value: Any, config: Mapping[str, Any]) -> None:
    if name in FOR_ALL:
        raise ConfigurationError(f"config.yaml: {place} has no meaning: {name} is for all services at once.")
    if name not in config:
        raise ConfigurationError(
            f"config.yaml: {place} is no setting that stands at the top level too: is it misspelt?"
        )
    general, numbers = config[name], (int, float)
    alike = isinstance(value, type(general)) or (isinstance(value, numbers) and isinstance(general, numbers))
    if general is not None and (not alike or isinstance(value, bool) != isinstance(general, bool)):
        raise ConfigurationError(f"config.yaml: {place} is {value!r}; it has to be like {general!r}.")
