"""Import rules that import-linter cannot say. `make check` runs it for the others."""

import sys

import pytest

from tests.architecture.source import imports_of, top, tracked

OURS = {"bench", "chassis", "contracts", "edge", "gateway", "sandbox", "scripts", "services", "tests", "web"}
TRANSPORT = {"amqp", "eventlet", "kombu"}
PLATFORM = ("gateway.py", "contracts/*.py", "edge/*.py", "services/*.py")


def test_the_gateway_knows_contracts_edge_and_chassis_only():
    imported = top(imports_of("gateway.py"))
    assert imported & OURS == {"chassis", "contracts", "edge"}
    assert imported - OURS - sys.stdlib_module_names <= {"nameko"}


@pytest.mark.parametrize("path", tracked(*PLATFORM), ids=str)
def test_only_the_chassis_imports_the_transport(path):
    assert not top(imports_of(path)) & TRANSPORT


@pytest.mark.parametrize("path", tracked("services/*/domain.py"), ids=str)
def test_rules_import_neither_the_chassis_nor_each_others(path):
    service = path.parts[1]
    ours = {name for name in imports_of(path) if name.partition(".")[0] in OURS - {"contracts"}}
    data = ("chassis.types", "chassis.errors", "chassis.announcement", "chassis.currencies")
    allowed = (*data, f"services.{service}")
    assert {name for name in ours if not name.startswith(allowed)} == set()


def test_what_rules_may_import_of_the_chassis_is_data():
    assert imports_of("chassis/currencies.py") == {
        "iso4217",
        "iso4217.Currency",
        "chassis.types",
        "chassis.types.Money",
    }
    assert imports_of("chassis/announcement.py") - {"chassis.types", "chassis.types.Message"} == {
        "datetime",
        "datetime.datetime",
        "typing",
        "typing.Annotated",
        "typing.Any",
        "typing.Literal",
        "msgspec",
    }


def test_the_chassis_is_not_imported_by_importing_it():
    """Contracts import chassis.types; that may bring nothing else along."""
    assert [path.read_text() for path in tracked("chassis/__init__.py")] == [""]
