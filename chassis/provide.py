"""`provided(Type, Provider())`: a dependency provider, declared as what nameko puts in its place in a worker."""

from typing import Any, TypeVar, cast

from nameko.extensions import DependencyProvider

T = TypeVar("T")


def provided(kind: type[T], provider: DependencyProvider) -> T:
    """The provider itself, seen by mypy as the value that a worker finds under the attribute."""
    value: Any = provider
    return cast(T, value)
