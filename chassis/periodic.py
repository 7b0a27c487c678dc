"""`@every("setting")`: an entry point that runs each so many seconds, as config.yaml says."""

from collections.abc import Callable
from typing import Any, TypeVar

import eventlet
from nameko.exceptions import ConfigurationError
from nameko.timer import Timer

from chassis.amqp import drain_s_of

F = TypeVar("F", bound=Callable[..., Any])


class Periodic(Timer):
    """nameko's timer, in every instance; its interval is a setting. Take a lease for what one instance should do."""

    def __init__(self, setting: str, **kwargs: Any) -> None:
        super().__init__(interval=0, **kwargs)
        self.setting = setting

    def setup(self) -> None:
        interval_s = self.container.config.get(self.setting)
        if not isinstance(interval_s, int | float) or interval_s <= 0:
            raise ConfigurationError(f"config.yaml needs {self.setting}: every how many seconds it is done.")
        self.interval = interval_s

    def stop(self) -> None:
        """As nameko's, which would wait for ever for a worker that was ended because its time is over."""
        with eventlet.Timeout(drain_s_of(self.container), False):
            super().stop()


every: Callable[[str], Callable[[F], F]] = Periodic.decorator
