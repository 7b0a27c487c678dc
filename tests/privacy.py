"""What tests of every service's kinds share: two people, and what they are told, refused and forgotten by."""

from types import SimpleNamespace
from typing import Any

import pytest

from chassis.errors import ServiceError
from chassis.privacy_types import Person
from chassis.prune import Pruner


def person(customer_id: str, email: str | None = None) -> Person:
    return Person(customer_id=customer_id, email=email or f"{customer_id}@x.example")


ANNA, BEN = person("anna"), person("ben")


def told(service: Any, who: Person) -> dict[str, list[dict[str, Any]]]:
    """What somebody is told, by kind."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for item in service.personal_data(who, limit=500).items:
        kinds.setdefault(item.kind, []).append(item.data)
    return kinds


def counted(service: Any, who: Person) -> dict[str, int]:
    return {kind: len(rows) for kind, rows in told(service, who).items()}


def erased(service: Any, who: Person, key: str = "erase") -> dict[str, int]:
    """Fence and erase somebody; what was changed, kinds of which nothing was left out."""
    service.begin_erasure(who, key=f"begin {key}")
    return {kind: count for kind, count in service.erase(who, key=key).rows.items() if count}


def still_open(service: Any, who: Person, key: str = "try") -> list[str]:
    """What refuses an erasure, in words; nothing is fenced by it."""
    with pytest.raises(ServiceError) as refusal:
        service.begin_erasure(who, key=key)
    assert refusal.value.code == "privacy.open_business"
    words: list[str] = refusal.value.details["open"]
    assert refusal.value.message == f"{service.name}: not over yet: {', '.join(words)}."
    return words


def code_of(call: Any) -> str:
    with pytest.raises(ServiceError) as refusal:
        call()
    return refusal.value.code


def pruner(sessions: Any, service: Any, forgotten: Any = None, **days: int) -> Pruner:
    made = Pruner(forgotten, kinds=service.kinds)
    config = {"retention_days": {service.name: days}, "inbox_retention_s": 400 * 86_400}
    made.container = SimpleNamespace(config=config, service_name=service.name)
    made.setup()
    made.sessions = sessions
    return made
