"""What customers and guests are promised of conversations over HTTP, on the real processes."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.shopping import Customer, Desk, Person
from tests.e2e.system import System
from tests.e2e.test_http_rows import answered, refused


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


@pytest.fixture
def nobody(shop: System) -> Iterator[Person]:
    with Person(shop.url) as person:
        yield person


def begun(person: Person, message: str = "Hello there", **more: Any) -> Any:
    answer = person.http.post("/v1/conversations", json={"message": message, **more})
    conversation = answered(answer, 201, "id", "created_at", "updated_at", "messages")
    assert answer.headers["location"] == f"/v1/conversations/{conversation['id']}"
    return conversation


def test_a_customer_talks_asks_for_a_person_and_finds_it_again(ada: Customer, desk: Desk) -> None:
    conversation = begun(ada, subject="Late")
    path = f"/v1/conversations/{conversation['id']}"
    assert [each["from"] for each in conversation["messages"]] == ["customer", "assistant"]
    assert (conversation["status"], conversation["token"]) == ("bot", None)
    key = {"Idempotency-Key": secrets.token_hex(8)}
    said = [ada.http.post(f"{path}/messages", json={"text": "And now?"}, headers=key) for _ in range(2)]
    assert [each.status_code for each in said] == [201, 201]
    assert said[0].json() == said[1].json()
    assert (said[0].json()["status"], bool(said[0].json()["reply"]["text"])) == ("bot", True)
    assert answered(ada.http.post(f"{path}/handoff", json={}), 200)["status"] == "waiting"
    after = ada.http.post(f"{path}/messages", json={"text": "Anybody there?"})
    assert answered(after, 201, "message")["reply"] is None
    refused(ada.http.post(f"{path}/rating", json={"score": 5}), 409, "support.not_solved")
    happened = ada.call("GET", f"{path}/events")
    assert [each["sequence"] for each in happened["items"]] == list(range(1, happened["last"] + 1))
    assert ada.call("GET", f"{path}/events", params={"after": happened["last"]})["items"] == []
    listed = ada.call("GET", "/v1/conversations")["items"]
    assert [(each["id"], each["subject"], each["messages"]) for each in listed] == [(conversation["id"], "Late", [])]
    assert len(desk.call("GET", path)["messages"]) == len(ada.call("GET", path)["messages"])
    for act in ("confirm", "decline"):
        refused(ada.http.post(f"{path}/actions/nothing/{act}"), 404, "support.action_not_found")


def test_a_guest_talks_by_the_token_alone(nobody: Person, ada: Customer) -> None:
    conversation = begun(nobody)
    path, token = f"/v1/conversations/{conversation['id']}", conversation["token"]
    refused(nobody.http.get(path), 401, "auth.unauthenticated")
    refused(nobody.http.get(path, headers={"Cart-Token": token}), 401, "auth.unauthenticated")
    refused(nobody.http.get(path, headers={"Conversation-Token": "a-guess"}), 404, "support.not_found")
    refused(nobody.http.get(path, headers={"Conversation-Token": token[:-1] + "~"}), 404, "support.not_found")
    refused(nobody.http.get("/v1/conversations", headers={"Conversation-Token": token}), 401, "auth.unauthenticated")
    refused(ada.http.get(path), 404, "support.not_found")
    nobody.http.headers["Conversation-Token"] = token
    assert nobody.call("GET", path)["messages"] == conversation["messages"]
    nobody.call("POST", f"{path}/messages", json={"text": "And now?"})
    assert nobody.call("POST", f"{path}/rating", json={"score": 4, "comment": "Fine."})["rating"] == 4


def test_what_makes_no_sense_begins_nothing(ada: Customer, nobody: Person) -> None:
    for body in ({}, {"message": ""}, {"message": "x" * 4001}, {"message": "\u202e"}, {"message": "Hi", "who": "me"}):
        refused(ada.http.post("/v1/conversations", json=body), 422, "request.invalid")
    for person in (ada, nobody):
        answer = person.http.post("/v1/conversations", json={"message": "Hi", "order_id": "o-1"})
        refused(answer, 404, "support.order_not_found")
    assert ada.call("GET", "/v1/conversations")["items"] == []
