"""What crosses the wire, written down: the methods, errors and events of each contract, and the gateway's OpenAPI.

Prose is left out of contracts: saying something better changes no client.
"""

import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from chassis.openapi import openapi_document
from gateway import VERSION, GatewayService
from tests.contract.services import SERVICES, events, promised

FOLDER = Path(__file__).resolve().parent / "snapshots"


def current() -> dict[str, str]:
    """File name -> the text that it must have, the same for the same code."""
    files = {f"{service}.json": contract(service) for service in SERVICES}
    files["openapi.json"] = openapi_document(GatewayService, "Rialto", VERSION)
    return {name: json.dumps(document, indent=1, ensure_ascii=False) + "\n" for name, document in files.items()}


def contract(service: str) -> dict[str, Any]:
    """Positions and names of arguments both count: a call may give either."""
    types: list[Any] = []

    def refer(kind: Any) -> int:
        types.append(kind)
        return len(types) - 1

    methods = {name: _method(method, refer) for name, method in sorted(promised(service).items())}
    facts = {each.__event__: _event(each, refer) for each in sorted(events(service), key=lambda each: each.__event__)}
    schemas, components = msgspec.json.schema_components(types, ref_template="#/schemas/{name}")
    for described in (*methods.values(), *facts.values()):
        for part in (described, *described.get("arguments", ())):
            for place in {"schema", "result"} & set(part):
                part[place] = _without_prose(schemas[part[place]])
    return {"methods": methods, "events": facts, "schemas": _without_prose(dict(sorted(components.items())))}


def _method(method: Any, refer: Any) -> dict[str, Any]:
    hints = get_type_hints(method, include_extras=True)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    arguments = [_argument(parameter, refer(hints[parameter.name])) for parameter in parameters]
    return {"arguments": arguments, "result": refer(hints["return"]), "refuses": sorted(method.__refusals__)}


def _argument(parameter: inspect.Parameter, schema: int) -> dict[str, Any]:
    described = {"name": parameter.name, "by": str(parameter.kind), "schema": schema}
    return described if parameter.default is parameter.empty else described | {"default": parameter.default}


def _event(event: Any, refer: Any) -> dict[str, Any]:
    return {"subscribers": sorted(event.__subscribers__), "schema": refer(event)}


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
