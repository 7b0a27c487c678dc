"""The shop as tests see it: each service with its class, its contract and its events."""

import inspect
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from chassis import described
from chassis.types import Event

SERVICES = (
    "users",
    "products",
    "inventory",
    "carts",
    "orders",
    "payments",
    "shipping",
    "notifications",
    "risk",
    "accounts",
    "transactions",
    "support",
    "registry",
)


@cache
def service_class(service: str) -> Any:
    return getattr(import_module(f"services.{service}.service"), f"{service.capitalize()}Service")


@cache
def api(service: str) -> Any:
    return getattr(import_module(f"contracts.{service}"), f"{service.capitalize()}Api")


def promised(service: str) -> dict[str, Callable[..., Any]]:
    """The methods of a service's contract, by name."""
    return described.promised(api(service))


def all_events() -> list[type[Event]]:
    return [event for service in SERVICES for event in described.events_of(api(service))]


def entrypoints(service: str, kind: type) -> dict[str, Any]:
    """A service's entry points of one kind, by the name of their method."""
    return {
        name: entrypoint
        for name, function in inspect.getmembers(service_class(service), inspect.isfunction)
        for entrypoint in getattr(function, ENTRYPOINT_EXTENSIONS_ATTR, ())
        if isinstance(entrypoint, kind)
    }
