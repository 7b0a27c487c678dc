"""A shop for faults: its services on SQLite or PostgreSQL, its companies as processes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher

from services.users import passwords
from tests.faults.banking import Bank, source_of
from tests.faults.leaving import Doors
from tests.faults.wire import Wire
from tests.faults.world import PATIENT, World
from tests.sandboxes import running_bank
from tests.shop import running_companies, running_shop


@pytest.fixture
def databases(
    config: dict[str, Any], database_uri: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """`config` with migrated databases, for hundreds of customers whom nobody attacks."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    config["DB_URIS"] = {key: database_uri(key.split(":")[0]) for key in config["DB_URIS"]}
    return config


@pytest.fixture
def world(databases: dict[str, Any], tmp_path: Any) -> Iterator[World]:
    with running_companies(tmp_path) as companies, running_shop(databases, *companies, **PATIENT) as shop:
        yield World(shop)


@pytest.fixture
def doors(databases: dict[str, Any], tmp_path: Any) -> Iterator[Doors]:
    with running_companies(tmp_path) as companies, running_shop(databases, *companies, **PATIENT) as shop:
        yield Doors(shop)


@pytest.fixture
def bank(databases: dict[str, Any], tmp_path: Any) -> Iterator[Bank]:
    with (
        running_companies(tmp_path) as companies,
        running_bank(tmp_path) as bank,
        running_shop(databases, *companies, bank_url=bank.url, **PATIENT) as shop,
    ):
        yield Bank(shop, bank, source_of(databases, tmp_path))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)
