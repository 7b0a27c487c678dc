"""The container of each service, which config.yaml names as SERVICE_CONTAINER_CLS: its own settings, and how it leaves.

A service hosted by nameko's own container works too; it has the general settings, and drains without a word.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import eventlet
from eventlet.event import Event
from nameko.containers import ServiceContainer, get_service_name
from nameko.exceptions import ConfigurationError
from nameko.utils.concurrency import SpawningSet

from chassis.announcement import DRAINING
from chassis.announcing import Announcer

STARTS_S = 5.0
OWN = "services"
"""The part of config.yaml that says, service by service, what one of them has otherwise than the rest."""


class Container(ServiceContainer):
    """Hosts one instance. Its `config` is what its service has: the general settings with the service's own on top."""

    def __init__(self, service_cls: type, config: Mapping[str, Any]) -> None:
        super().__init__(service_cls, settings_of(get_service_name(service_cls), config))
        self._leaving, self._is_complete = False, Event()

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
        if self._leaving:
            with suppress(Exception):
                self.wait()
            return
        self._leaving = True
        if self.started:  # what has not started yet cannot be stopped; a broker that is away is not waited for
            with eventlet.Timeout(STARTS_S, False):
                self._is_complete.wait()
        for each in self.subextensions:
            if isinstance(each, Announcer):
                each.tell(DRAINING)
        super().stop()


def settings_of(service: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.yaml says for this service. Raises ConfigurationError, with the mend, for what it cannot mean."""
    sections = config.get(OWN) or {}
    own = sections.get(service) if isinstance(sections, Mapping) else sections
    if not isinstance(own or {}, Mapping):
        raise ConfigurationError(f"config.yaml: {OWN}.{service} is {own!r}; it has to be a table of settings.")
    said = {name: value for name, value in (own or {}).items() if value is not None}
    for name, value in said.items():
        if name not in config:
            raise ConfigurationError(
                f"config.yaml: {OWN}.{service}.{name} is no setting that stands at the top level too: is it misspelt?"
            )
        _require_alike(f"{OWN}.{service}.{name}", value, config[name])
    settings = {**config, **said}
    for name in ("max_workers", "prefetch"):
        if name in settings:
            _require_count(service, name, settings[name])
    return settings


def _require_alike(place: str, value: Any, general: Any) -> None:
    numbers = (int, float)
    alike = isinstance(value, type(general)) or (isinstance(value, numbers) and isinstance(general, numbers))
    if general is not None and (not alike or isinstance(value, bool) != isinstance(general, bool)):
        raise ConfigurationError(f"config.yaml: {place} is {value!r}; it has to be like {general!r}.")


def _require_count(service: str, name: str, value: Any) -> None:
    if type(value) is not int or not 0 < value <= 1000:
        raise ConfigurationError(
            f"config.yaml, as {service} reads it: {name} is {value!r}; it has to be a whole number from 1 to 1000."
        )
