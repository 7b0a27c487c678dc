"""A service's part of config.yaml, typed and checked before it starts."""

from typing import Any

import msgspec
from nameko.exceptions import ConfigurationError
from nameko.extensions import DependencyProvider


class Settings(DependencyProvider):
    """Worker attribute: the settings that `kind` names, as one. nameko says the sentence of a mistake and exits."""

    def __init__(self, kind: type[Any]) -> None:
        super().__init__()
        self.kind = kind

    def setup(self) -> None:
        try:
            self.value = msgspec.convert(dict(self.container.config), self.kind, strict=False)
        except msgspec.ValidationError as exc:
            raise ConfigurationError(f"config.yaml, as {self.container.service_name} reads it: {exc}") from None

    def get_dependency(self, worker_ctx: Any) -> Any:
        return self.value
