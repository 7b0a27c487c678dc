"""The OpenAPI document says what the routes do."""

from typing import Protocol

import msgspec
import pytest

from chassis.openapi import openapi_document, routes_of
from chassis.routes import Reply, Request, route
from chassis.types import CUSTOMER, Message, api, refuses


class Ware(Message):
    sku: str


class Wares(Message):
    items: list[Ware]


class PlaceWare(msgspec.Struct, forbid_unknown_fields=True):
    sku: str


class Find(msgspec.Struct, forbid_unknown_fields=True):
    colour: str
    limit: int = 20
    cursor: str | None = None


@api("wares")
class WaresApi(Protocol):
    name: str

    @refuses("wares.sold_out", "wares.unknown")
    def place(self, sku: str, *, key: str) -> Ware: ...


class Shop:
    name = "shop"
    http_status = {"wares.unknown": 404}

    @route("GET", "/v1/wares", query=Find)
    def find(self, request: Request[None, Find]) -> Wares:
        """Find wares by colour. The last page has
        no cursor.

        More of it.
        """
        raise NotImplementedError

    @route(
        "POST",
        "/v1/wares/{ware_id}",
        body=PlaceWare,
        role=CUSTOMER,
        idempotent=True,
        success=(202, 201),
        refuses=WaresApi.place,
    )
    def place(self, request: Request[PlaceWare], ware_id: str) -> Reply[Ware]:
        raise NotImplementedError

    @route("DELETE", "/v1/wares/{ware_id}", role=CUSTOMER, guest="Cart-Token", success=204)
    def remove(self, request: Request, ware_id: str) -> None:
        raise NotImplementedError

    @route("GET", "/", any_query=True, inline=True)
    def page(self, request: Request) -> Reply[str]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def document() -> dict:
    return openapi_document(Shop, "Shop", "1.2")


def test_the_document_is_the_same_each_time(document: dict) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "Shop", "version": "1.2"}
    assert msgspec.json.encode(document) == msgspec.json.encode(openapi_document(Shop, "Shop", "1.2"))


def test_every_route_is_there_under_its_path(document: dict) -> None:
    assert {path: sorted(operations) for path, operations in document["paths"].items()} == {
        "/": ["get"],
        "/v1/wares": ["get"],
        "/v1/wares/{ware_id}": ["delete", "post"],
    }
    assert [function.__name__ for _, function in routes_of(Shop)] == ["page", "find", "remove", "place"]


def test_the_docstring_is_summary_and_description(document: dict) -> None:
    operation = document["paths"]["/v1/wares"]["get"]
    assert operation["summary"] == "Find wares by colour."
    assert operation["description"] == "The last page has\nno cursor.\n\nMore of it."
    assert document["paths"]["/"]["get"]["summary"] == "Page."


def test_query_parameters_are_never_null(document: dict) -> None:
    assert document["paths"]["/v1/wares"]["get"]["parameters"] == [
        {"name": "colour", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "default": 20}},
        {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}},
    ]


def test_headers_are_parameters_where_they_count(document: dict) -> None:
    parameters = document["paths"]["/v1/wares/{ware_id}"]["post"]["parameters"]
    assert [(item["name"], item["in"], item["required"]) for item in parameters] == [
        ("ware_id", "path", True),
        ("Idempotency-Key", "header", True),
        ("Prefer", "header", False),
    ]


def test_bodies_and_results_are_their_structs(document: dict) -> None:
    operation = document["paths"]["/v1/wares/{ware_id}"]["post"]
    assert operation["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PlaceWare"}}},
    }
    for status in ("201", "202"):
        assert operation["responses"][status]["content"] == {
            "application/json": {"schema": {"$ref": "#/components/schemas/Ware"}}
        }
    assert document["components"]["schemas"]["PlaceWare"]["additionalProperties"] is False
    assert "content" not in document["paths"]["/v1/wares/{ware_id}"]["delete"]["responses"]["204"]
    assert list(document["paths"]["/"]["get"]["responses"]["200"]["content"]) == ["text/html"]


def test_who_may_call_is_said(document: dict) -> None:
    wares = document["paths"]["/v1/wares/{ware_id}"]
    assert wares["post"]["security"] == [{"bearer": []}]
    assert wares["delete"]["security"] == [{"bearer": []}, {"cartToken": []}]
    assert document["components"]["securitySchemes"]["cartToken"]["name"] == "Cart-Token"
    assert document["paths"]["/v1/wares"]["get"]["security"] == []


def test_statuses_are_those_that_a_route_can_answer_with(document: dict) -> None:
    def statuses(path: str, method: str) -> list[int]:
        return [int(status) for status in document["paths"][path][method]["responses"]]

    assert statuses("/", "get") == [200, 400, 401, 408, 414, 431, 500, 503]
    assert statuses("/v1/wares", "get") == [200, 400, 401, 408, 414, 422, 431, 500, 503, 504]
    assert statuses("/v1/wares/{ware_id}", "post") == [
        *(201, 202, 400, 401, 403, 404, 408, 409, 413, 414, 415, 422, 431, 500, 503, 504)
    ]


def test_refusals_of_the_contract_stand_at_their_status(document: dict) -> None:
    responses = document["paths"]["/v1/wares/{ware_id}"]["post"]["responses"]
    assert responses["409"]["description"] == "Conflict. Codes: `wares.sold_out`."
    assert "`wares.unknown`" in responses["404"]["description"]
    assert responses["403"] == {"$ref": "#/components/responses/403"}


def test_every_reference_leads_somewhere(document: dict) -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
