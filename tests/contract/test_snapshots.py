"""What others rely on changes only on purpose: each contract and the HTTP API equal their committed snapshots."""

import difflib

import pytest

from tests.contract.services import SERVICES
from tests.contract.snapshots import FOLDER, current

NAMES = [*(f"{service}.json" for service in SERVICES), "openapi.json"]


@pytest.fixture(scope="module")
def now():
    return current()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_promised_is_what_was_committed(name, now):
    committed = (FOLDER / name).read_text()
    changes = difflib.unified_diff(committed.splitlines(), now[name].splitlines(), "committed", "now", lineterm="")
    changed = "\n".join(changes)
    assert not changed, f"{name} changed; if it is meant: python -m tests.contract.renew\n{changed}"


def test_nothing_else_is_kept_as_a_snapshot():
    assert {path.name for path in FOLDER.iterdir()} == set(NAMES)


def test_taking_a_snapshot_twice_gives_the_same(now):
    assert current() == now
