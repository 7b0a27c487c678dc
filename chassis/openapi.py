"""OpenAPI 3.1 of a service's routes: what the decorators say, written down for clients and their generators."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from chassis.problems import COMMON_STATUS, MEDIA_TYPE, UNLISTED_STATUS
from chassis.routes import UNSAFE, Csv, Reply, Route
from chassis.types import COMMON_REFUSALS, refusals_of

_SCHEMAS = "#/components/schemas/{name}"
_FIRST_SENTENCE = re.compile(r"(.+?[.!?])(?=\s|$)", re.DOTALL)
_EVERYWHERE = {
    400: "The request is malformed, or an id in its path is.",
    401: "The access token is missing or not valid.",
    408: "The request did not arrive in time.",
    414: "The request target is too long.",
    431: "The headers are too large.",
    500: "Something went wrong; the trace_id will help to find out what.",
    503: "A service is not available, or too many requests are being answered; nothing was changed.",
}
_WITH_WORKER = {504: "A service did not answer in time; what became of the request is not known."}
_WITH_BODY = {
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The input does not fit; `errors` names the fields.",
}
_DESCRIPTIONS = {
    **_EVERYWHERE,
    **_WITH_WORKER,
    **_WITH_BODY,
    403: "The caller lacks the role.",
    404: "There is no such thing, or it is somebody else's.",
    412: "It has changed since the client looked at it; nothing was done.",
    428: "If-Match is missing.",
}
_PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457. `code` is for programs, `detail` for people, `trace_id` for support.",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "trace_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
                "required": ["field", "detail"],
            },
        },
        "details": {"type": "object"},
        "service": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "code", "trace_id"],
}
_PATH_VALUE = {"type": "string", "pattern": r"^(?!\.\.?$)[^/\x00-\x1f\x7f]+$"}
_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def routes_of(service: type) -> Iterator[tuple[Route, Callable[..., Any]]]:
    """The routes of a service class with their methods, by path and method."""
    found = [
        (entrypoint, function)
        for _, function in inspect.getmembers(service, inspect.isfunction)
        for entrypoint in getattr(function, ENTRYPOINT_EXTENSIONS_ATTR, ())
        if isinstance(entrypoint, Route)
    ]
    return iter(sorted(found, key=lambda item: (item[0].path, item[0].method)))


def openapi_document(service: type, title: str, version: str) -> dict[str, Any]:
    """The document, the same for the same code. Codes get their status from the service's `http_status`."""
    routes = list(routes_of(service))
    bodies = [route.body for route, _ in routes if route.body]
    results = [result for route, function in routes if (result := result_of(route, function)) is not None]
    described = list(dict.fromkeys([*bodies, *results]))
    schemas, components = msgspec.json.schema_components(described, ref_template=_SCHEMAS)
    schema_of = dict(zip(described, schemas, strict=True))
    statuses = getattr(service, "http_status", {})
    paths: dict[str, Any] = {}
    for route, function in routes:
        operation = _operation(route, function, schema_of, statuses)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    used = {int(status) for path in paths.values() for operation in path.values() for status in operation["responses"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**components, "Problem": _PROBLEM_SCHEMA}.items())),
            "responses": {
                str(status): _problem(text) for status, text in sorted(_DESCRIPTIONS.items()) if status in used
            },
            "securitySchemes": {"bearer": _BEARER, **_guest_schemes(route for route, _ in routes)},
        },
    }


def result_of(route: Route, function: Callable[..., Any]) -> Any:
    """The type that an answer holds: None if it has no body, `bytes` or `str` if it is not JSON."""
    result = route.returns or get_type_hints(function, include_extras=True).get("return")
    if get_origin(result) is Reply:
        result = get_args(result)[0]
    elif result is Reply:
        result = Any
    return None if result is type(None) else result


def _operation(
    route: Route, function: Callable[..., Any], schema_of: Mapping[Any, Any], statuses: Mapping[str, int]
) -> dict[str, Any]:
    text = inspect.cleandoc(function.__doc__ or function.__name__.replace("_", " ").capitalize() + ".")
    first = _FIRST_SENTENCE.match(text)
    summary = " ".join((first[1] if first else text).split())
    rest = text[first.end() :].strip() if first else ""
    result = result_of(route, function)
    schema = schema_of.get(result) if result is not None else None
    responses = {str(status): _success(route, status, result, schema) for status in route.statuses}
    operation: dict[str, Any] = {"operationId": function.__name__, "summary": summary}
    if rest:
        operation["description"] = rest
    operation["security"] = _security(route)
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body:
        content = {"application/json": {"schema": schema_of[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.raw:
        operation["requestBody"] = {
            "required": True,
            "content": {"*/*": {"schema": {"type": "string", "minLength": 1}}},
        }
    operation["responses"] = dict(sorted((responses | _problems(route, statuses)).items()))
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.guest:
        return [{"bearer": []}, {_scheme_of(route.guest): []}]
    return [{"bearer": []}] if route.role else []


def _guest_schemes(routes: Iterable[Route]) -> dict[str, Any]:
    headers = sorted({route.guest for route in routes if route.guest})
    return {_scheme_of(header): {"type": "apiKey", "in": "header", "name": header} for header in headers}


def _scheme_of(header: str) -> str:
    """`cartToken` for Cart-Token."""
    return header[0].lower() + header[1:].replace("-", "")


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [_parameter("path", name, _PATH_VALUE, required=True) for name in route.parameters]
    if route.query:
        described = msgspec.json.schema(route.query)
        described = described["$defs"][described["$ref"].rpartition("/")[2]] if "$ref" in described else described
        required = described.get("required", ())
        for name, schema in described["properties"].items():
            found.append(_parameter("query", name, _plain(schema), required=name in required))
    if route.idempotent:
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~][!-~]*$"}
        text = "Made up by the client for one intention; a repeat with the same key acts once."
        found.append(
            _parameter("header", "Idempotency-Key", schema, required=route.idempotent is True, description=text)
        )
    if route.fenced:
        text = "The ETag under which you saw it: what changed meanwhile is left alone (412)."
        schema = {"type": "string", "pattern": '^"[1-9][0-9]{0,9}"$'}
        found.append(_parameter("header", "If-Match", schema, required=True, description=text))
    if len(route.statuses) > 1:
        text = "`wait=N`: seconds to wait for the end; then answered as if not given. What is malformed is ignored."
        found.append(_parameter("header", "Prefer", {"type": "string"}, required=False, description=text))
    return found


def _parameter(place: str, name: str, schema: Any, *, required: bool, **more: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema} | more


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is absent or a value, never null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    kept = {name: value for name, value in schema.items() if name != "anyOf" and (name, value) != ("default", None)}
    return kept | options[0] if len(options) == 1 else kept | ({"anyOf": options} if options else {})


def _success(route: Route, status: int, result: Any, schema: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status != 204 and result is not None:
        media = {str: "text/html", bytes: "application/octet-stream", Csv: "text/csv"}.get(result, "application/json")
        response["content"] = {media: {"schema": {"type": "string"} if media != "application/json" else schema}}
    return response


def _problems(route: Route, statuses: Mapping[str, int]) -> dict[str, Any]:
    """Each status that is not a success, with the codes of the contracts that it stands for."""
    known = set(_EVERYWHERE) | (set() if route.inline else set(_WITH_WORKER))
    if route.body or route.raw or route.method in UNSAFE:
        known |= set(_WITH_BODY)
    if route.query or not route.any_query:
        known.add(422)
    if route.role:
        known.add(403)
    if route.fenced:
        known |= {412, 428}
    if route.parameters:
        known.add(404)
    codes: dict[int, list[str]] = {}
    for code in sorted({code for method in route.refuses for code in refusals_of(method)}):
        status = statuses.get(code) or COMMON_STATUS.get(code, UNLISTED_STATUS)
        codes.setdefault(status, []).append(code)
    found: dict[str, Any] = {}
    for status in sorted(known | set(codes)):
        listed = [code for code in codes.get(status, ()) if code not in COMMON_REFUSALS]
        if status in _DESCRIPTIONS and not listed:
            found[str(status)] = {"$ref": f"#/components/responses/{status}"}
        else:
            text = _DESCRIPTIONS.get(status, HTTPStatus(status).phrase + ".")
            named = ", ".join(f"`{code}`" for code in listed or codes[status])
            found[str(status)] = _problem(f"{text} Codes: {named}.")
    return found


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS.format(name="Problem")}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
