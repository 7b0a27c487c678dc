"""The whole shop, with its own processes, once for all tests of this folder."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.shopping import Desk
from tests.e2e.system import System, run

__all__ = ["System"]

DEMO_S = 240


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Not running yet."""
    return System(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def demo(system: System) -> "subprocess.CompletedProcess[str]":
    """`make demo` from nothing to its end."""
    return run("-m", "scripts.up", "--demo", env={**system.wishes, "DEMO": ""}, timeout_s=DEMO_S)


@pytest.fixture(scope="session")
def shop(system: System, demo: "subprocess.CompletedProcess[str]") -> Iterator[System]:
    """Running and ready, on what the demo left behind: so it need not load the demo data again."""
    try:
        system.start()
        yield system
    finally:
        if system.process:
            system.stop()


@pytest.fixture
def desk(shop: System) -> Iterator[Desk]:
    """The operator's."""
    with Desk(shop.url) as desk:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        yield desk
