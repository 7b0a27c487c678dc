"""A migrated database is what the models say, on SQLite and on PostgreSQL."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine, inspect

from chassis import tables
from chassis.db import Database
from chassis.privacy import PrivacyOperations
from chassis.saga_engine import Sagas
from tests.contract.services import SERVICES, service_class

SEARCH_INDEX = "product_words"
"""Each database keeps it in its own way (SQLite in several tables of this prefix), so it is no model."""


@pytest.fixture
def connection_to(database_uri):
    opened = []

    def connect(service):
        engine = create_engine(database_uri(service))
        opened.append((engine, engine.connect()))
        return opened[-1][1]

    yield connect
    for engine, connection in opened:
        connection.close()
        engine.dispose()


def metadata_of(service):
    """The tables of a service's models, and those of the chassis that it needs."""
    parts = list(vars(service_class(service)).values())
    models = next(part for part in parts if isinstance(part, Database)).declarative_base.metadata
    sagas = [tables.saga_metadata] if any(isinstance(part, Sagas) for part in parts) else []
    people = [tables.privacy_metadata] if issubclass(service_class(service), PrivacyOperations) else []
    return [models, tables.metadata, *sagas, *people]


def modelled(name, kind, _parents):
    return kind != "table" or not name.startswith(SEARCH_INDEX)


@pytest.mark.parametrize("service", SERVICES)
def test_a_migrated_database_has_the_tables_columns_and_indexes_of_the_models(service, connection_to):
    options = {"compare_type": True, "compare_server_default": True, "include_name": modelled}
    context = MigrationContext.configure(connection_to(service), opts=options)
    assert compare_metadata(context, metadata_of(service)) == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_migrated_database_keeps_the_conditions_of_the_models(service, connection_to):
    """Checks, and what a partial index holds for: Alembic compares neither. PostgreSQL says them in other words."""
    database = inspect(connection_to(service))
    in_words = database.dialect.name == "sqlite"
    for table in [table for metadata in metadata_of(service) for table in metadata.sorted_tables]:
        promised, found = promised_conditions(table, database.dialect.name), conditions(database, table.name)
        assert (found if in_words else found.keys()) == (promised if in_words else promised.keys()), table.name


def promised_conditions(table, dialect):
    checks = {check.name: str(check.sqltext) for check in table.constraints if isinstance(check, CheckConstraint)}
    partial = {index.name: index.dialect_options[dialect]["where"] for index in table.indexes}
    return checks | {name: str(where) for name, where in partial.items() if where is not None}


def conditions(database, table):
    checks = {check["name"]: check["sqltext"] for check in database.get_check_constraints(table)}
    where = f"{database.dialect.name}_where"
    partial = {index["name"]: index["dialect_options"].get(where) for index in database.get_indexes(table)}
    return checks | {name: str(where) for name, where in partial.items() if where is not None}
