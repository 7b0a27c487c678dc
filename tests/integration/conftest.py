"""The whole shop, one for each test: fresh databases and a vhost of its own; the companies are shared by a module."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.house import running_house
from tests.shop import Shop, running_companies, running_shop


@pytest.fixture
def shop(migrated_config: dict[str, Any], tmp_path: Any) -> Iterator[Shop]:
    with running_companies(tmp_path) as companies, running_shop(migrated_config, *companies) as running:
        yield running


@pytest.fixture
def house(migrated_config: dict[str, Any], tmp_path: Any) -> Iterator[Any]:
    """The shop as a bank, see tests/house.py."""
    with running_house(migrated_config, tmp_path) as running:
        yield running
