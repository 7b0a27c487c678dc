"""payments with the real process of the acquirer, for the files that test it."""

import uuid

import pytest

from tests.payments import service_on
from tests.sandboxes import receiving_hooks, running_acquirer


@pytest.fixture(scope="module")
def acquirer(tmp_path_factory):
    with receiving_hooks() as hooks, running_acquirer(tmp_path_factory.mktemp("acquirer"), hooks) as sandbox:
        yield sandbox


@pytest.fixture
def fresh_acquirer(tmp_path):
    """One whose statement holds nothing yet."""
    with running_acquirer(tmp_path) as sandbox:
        yield sandbox


@pytest.fixture
def payments_database(open_database):
    return open_database("payments")


@pytest.fixture
def payments_as(acquirer, payments_database):
    def make(caller=None, timeout_s=5.0, url=None):
        return service_on(payments_database, url or acquirer.url, caller, timeout_s)

    return make


@pytest.fixture
def payments(payments_as):
    return payments_as()


@pytest.fixture
def order():
    return f"o-{uuid.uuid4().hex[:12]}"
