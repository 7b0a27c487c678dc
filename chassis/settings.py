"""A service's part of config.yaml, typed and checked before it starts."""

from typing import Any, TypeVar

import msgspec
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider

T = TypeVar("T")


def read_settings(container: Any, kind: type[T]) -> T:
    """What config.yaml says of the settings that `kind` names. Raises ConfigurationError, with what is wrong."""
    try:
        return msgspec.convert(dict(container.config), kind, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigurationError(f"config.yaml, as {container.service_name} reads it: {exc}") from None


class Settings(DependencyProvider):
    """Worker attribute: the settings that `kind` names, as one. nameko says the sentence of a mistake and exits."""

    def __init__(self, kind: type[Any]) -> None:
        super().__init__()
        self.kind = kind

    def setup(self) -> None:
        self.value = read_settings(self.container, self.kind)

    def get_dependency(self, worker_ctx: Any) -> Any:
        return self.value
