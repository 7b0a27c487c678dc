"""SQLAlchemy Core statements that are built once, run on the driver's own cursor.

SQLAlchemy's execution costs several times what SQLite itself does. So a statement is compiled once for each dialect,
to SQLAlchemy's own text, types and rows; what differs from call to call are the values.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Executable
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import ExpandedState, SQLCompiler

Process = Callable[[Any], Any]
KEPT = 1000
"""So many compiled statements a process keeps."""


class Rows(IteratorResult[Any]):
    """What a statement answered, all of it fetched already; `rowcount`: how many rows it touched."""

    def __init__(self, metadata: SimpleResultMetaData, rows: Iterable[Any], rowcount: int) -> None:
        super().__init__(metadata, iter(rows))
        self.rowcount = rowcount


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement in the words of one database.

    `inputs` has for each place in the text the name of its value and what makes it the driver's, or no name and a
    constant; `outputs` has for each column what makes its values Python's.
    """

    sql: str
    places: Sequence[str]
    positional: bool
    inputs: Sequence[tuple[str | None, Process | None, Any]]
    outputs: Sequence[Process | None]
    metadata: SimpleResultMetaData

    def parameters(self, values: Mapping[str, Any]) -> Collection[Any]:
        filled = [
            constant if name is None else process(values[name]) if process else values[name]
            for name, process, constant in self.inputs
        ]
        return filled if self.positional else dict(zip(self.places, filled, strict=True))

    def rows(self, fetched: Sequence[Any]) -> Iterable[Any]:
        if not any(self.outputs):
            return fetched
        return [
            tuple([process(value) if process else value for process, value in zip(self.outputs, row, strict=True)])
            for row in fetched
        ]


def execute(connection: Connection, statement: Executable, values: dict[str, Any]) -> Rows | CursorResult[Any]:
    """Run a statement in the connection's open transaction. Raises SQLAlchemy's errors, without the values."""
    prepared = _prepare(statement, connection.dialect, tuple(values))
    if prepared is None:
        return connection.execute(statement, values)
    fetched, count = on_driver(connection, prepared.sql, prepared.parameters(values), bool(prepared.outputs))
    return Rows(prepared.metadata, prepared.rows(fetched), count)


def on_driver(
    connection: Connection, sql: str, parameters: Collection[Any] = (), fetch: bool = False
) -> tuple[Sequence[Any], int]:
    """Run SQL text in the connection's open transaction; answers the rows, if they are wanted, and their count."""
    raw: Any = connection.connection.dbapi_connection
    cursor = raw.cursor()
    try:
        cursor.execute(sql, parameters)
        fetched = cursor.fetchall() if fetch else ()
        cursor.close()
    except connection.dialect.loaded_dbapi.Error as exc:
        raise _named(connection, sql, exc, cursor) from exc
    except BaseException as exc:
        if not isinstance(exc, Exception):  # a time-out, in the middle of what a server says
            connection.invalidate(exc)
        raise
    return fetched, cursor.rowcount


def _named(connection: Connection, sql: str, exc: Exception, cursor: Any) -> BaseException:
    """SQLAlchemy's name for a driver's error."""
    dialect = connection.dialect
    if gone := dialect.is_disconnect(exc, connection.connection.dbapi_connection, cursor):  # type: ignore[arg-type]
        connection.invalidate(exc)
    return DBAPIError.instance(
        sql, None, exc, dialect.loaded_dbapi.Error, hide_parameters=True, connection_invalidated=gone, dialect=dialect
    )


@functools.lru_cache(maxsize=KEPT)
def _prepare(statement: Executable, dialect: Dialect, names: tuple[str, ...]) -> Prepared | None:
    """None for a statement whose text depends on the values, or that has values which Python makes."""
    compiled = statement.compile(dialect=dialect, column_keys=list(names))  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)
    grows = any(parameter.expanding and name in names for parameter, name in compiled.bind_names.items())
    if grows or compiled.insert_prefetch or compiled.update_prefetch:
        return None
    state = compiled.construct_expanded_state(dict.fromkeys(names))
    places = list(state.parameters) if state.positiontup is None else state.positiontup
    processes: dict[str, Process | None] = {
        name: parameter.type.dialect_impl(dialect).bind_processor(dialect)
        for parameter, name in compiled.bind_names.items()
    }
    processes.update(state.processors)
    columns = statement.exported_columns  # type: ignore[attr-defined]
    return Prepared(
        state.statement,
        places,
        state.positiontup is not None,
        [
            (place, processes[place], None) if place in names else (None, None, _constant(place, state, processes))
            for place in places
        ],
        [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns],
        SimpleResultMetaData(columns.keys()),
    )


def _constant(place: str, state: ExpandedState, processes: Mapping[str, Process | None]) -> Any:
    value, process = state.parameters[place], processes.get(place)
    return process(value) if process else value
