"""A shop for faults: its services on SQLite or PostgreSQL, its companies as processes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher

from services.users import passwords
from tests.faults.world import PATIENT, World
from tests.shop import running_companies, running_shop


@pytest.fixture
def world(
    config: dict[str, Any], database_uri: Callable[[str], str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", cheap)  # hundreds of customers, whom nobody attacks
    config["DB_URIS"] = {key: database_uri(key.split(":")[0]) for key in config["DB_URIS"]}
    with running_companies(tmp_path) as companies, running_shop(config, *companies, **PATIENT) as shop:
        yield World(shop)
