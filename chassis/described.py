"""A contract as plain data: what crosses the wire, without the prose. Its fingerprint tells two contracts apart.

Saying something better changes no client, so that docstrings and titles are left out.
"""

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec

from chassis.types import Event

FINGERPRINT_LENGTH = 12

_encode = msgspec.json.Encoder(order="deterministic").encode


def promised(api: type) -> dict[str, Callable[..., Any]]:
    """The methods of a contract, by name."""
    return {name: method for name, method in vars(api).items() if hasattr(method, "__service__")}


def events_of(api: type) -> tuple[type[Event], ...]:
    """What the contract's service publishes: the events of it that stand beside the Api in its module."""
    service: str = api.name  # type: ignore[attr-defined]
    members = [member for _, member in inspect.getmembers(sys.modules[api.__module__], inspect.isclass)]
    return tuple(each for each in members if issubclass(each, Event) and getattr(each, "__source__", None) == service)


@functools.cache
def fingerprint(api: type) -> str:
    """The same for contracts that promise the same."""
    return hashlib.sha256(_encode(described(api))).hexdigest()[:FINGERPRINT_LENGTH]


@functools.cache
def described(api: type) -> dict[str, Any]:
    """Methods, events and schemas of a contract. Both positions and names of arguments count: a call gives either."""
    types: list[Any] = []

    def refer(kind: Any) -> int:
        types.append(kind)
        return len(types) - 1

    methods = {name: _method(method, refer) for name, method in sorted(promised(api).items())}
    facts = {_name_of(each): _event(each, refer) for each in sorted(events_of(api), key=_name_of)}
    schemas, components = msgspec.json.schema_components(types, ref_template="#/schemas/{name}")
    for part in (*methods.values(), *facts.values()):
        for each in (part, *part.get("arguments", ())):
            for place in {"schema", "result"} & set(each):
                each[place] = _without_prose(schemas[each[place]])
    return {"methods": methods, "events": facts, "schemas": _without_prose(dict(sorted(components.items())))}


def _method(method: Callable[..., Any], refer: Callable[[Any], int]) -> dict[str, Any]:
    hints = get_type_hints(method, include_extras=True)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    arguments = [_argument(parameter, refer(hints[parameter.name])) for parameter in parameters]
    refuses = sorted(method.__refusals__)  # type: ignore[attr-defined]
    return {"arguments": arguments, "result": refer(hints["return"]), "refuses": refuses}


def _argument(parameter: inspect.Parameter, schema: int) -> dict[str, Any]:
    described = {"name": parameter.name, "by": str(parameter.kind), "schema": schema}
    return described if parameter.default is parameter.empty else described | {"default": parameter.default}


def _name_of(event: type[Event]) -> str:
    return str(event.__event__)  # type: ignore[attr-defined]


def _event(event: type[Event], refer: Callable[[Any], int]) -> dict[str, Any]:
    return {"subscribers": sorted(event.__subscribers__), "schema": refer(event)}  # type: ignore[attr-defined]


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(each) for each in schema]
    if isinstance(schema, dict):
        kept = {name: value for name, value in schema.items() if not _is_prose(name, value)}
        return {name: _without_prose(value) for name, value in kept.items()}
    return schema


def _is_prose(name: str, value: Any) -> bool:
    """A field may be called description too; then its value is a schema."""
    return name in ("title", "description") and isinstance(value, str)
