"""Schemas in PostgreSQL's own notation: made as temporary tables, inspected, and rolled back.

PostgreSQL rewrites what it is given: `b > 0` becomes `(b > 0)`, `IN (…)` becomes `= ANY (ARRAY[…])`, `COLLATE "C"` is
a property of the column. Only PostgreSQL knows all of it, so a definition is compared with a table by what the same
server makes of both. Tables known to be printed as they are written (`TableSchema.is_exact`) are not asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.postgres import Connection
from fbs_worker.schema.ddl import create_table, key_statement
from fbs_worker.schema.inspector import InspectedTable, inspect_tables
from fbs_worker.schema.model import FOREIGN, INDEX, ColumnSchema, Schema, TableSchema, possible_schema

_REMEMBERED: Final = 5_000
"""Tables whose notation a process keeps."""

_Key = tuple[str, int, str]

_known: OrderedDict[_Key, TableSchema] = OrderedDict()
_lock = Lock()


def read_back(connection: Connection, schema: Schema) -> dict[str, TableSchema]:
    """Return a schema in PostgreSQL's notation. Foreign keys have but one notation and stay as they are.

    Keys that the server cannot have, because it knows no NOT ENFORCED, are left out.

    Args:
        connection: connection whose transaction is used; what is made in it is rolled back to a savepoint.
        schema: the tables.

    Raises:
        psycopg2.Error: PostgreSQL rejects a table, or the user may not make temporary ones; the caller translates it.
    """
    schema = possible_schema(schema, connection.info.server_version)
    server = f"{connection.info.host}:{connection.info.port}/{connection.info.dbname}/{connection.info.user}"
    asked = {name: table for name, table in schema.items() if not table.is_exact}
    keys = {name: (server, connection.info.server_version, repr(table)) for name, table in asked.items()}
    found = dict(_remembered(keys))
    missing = {name: f"fbs_read_back_{place}" for place, name in enumerate(asked) if name not in found}
    if missing:
        statements = [
            statement
            for number, (name, temporary) in enumerate(missing.items())
            for statement in _statements(temporary, asked[name], number)
        ]
        with rolled_back(connection) as cursor:
            cursor.execute(";\n".join(statements))
            inspected = inspect_tables(connection, missing.values())
        for name, temporary in missing.items():
            found[name] = _in_notation(asked[name], inspected.tables[temporary])
            _remember(keys[name], found[name])
    return {name: found.get(name, table) for name, table in schema.items()}


def _statements(name: str, table: TableSchema, number: int) -> list[str]:
    """A temporary table with its indexes; the name of a key ends with its place in the schema."""
    keys = tuple(replace(key, name=f"fbs_key_{number}_{place}") for place, key in enumerate(table.keys))
    indexes = [key_statement(name, key, key.name) for key in keys if key.kind == INDEX]
    return [create_table(name, replace(table, keys=keys), temporary=True), *indexes]


@contextmanager
def rolled_back(connection: Connection) -> Iterator[Cursor]:
    """Give a cursor for what is not to stay: in the caller's transaction, or in one of its own in autocommit.

    Args:
        connection: a connection whose transactions may write.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it, and rolls its transaction back.
    """
    with connection.cursor() as cursor:
        if not connection.autocommit:
            cursor.execute("SAVEPOINT fbs_rolled_back")
            yield cursor
            cursor.execute("ROLLBACK TO SAVEPOINT fbs_rolled_back; RELEASE SAVEPOINT fbs_rolled_back")
            return
        cursor.execute("BEGIN")
        try:
            yield cursor
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK")


def _in_notation(written: TableSchema, inspected: InspectedTable) -> TableSchema:
    """The inspected columns and keys, with the names, foreign keys, comments and SQL of the written ones."""
    read = {key.schema.name.rpartition("_")[2]: key.schema for key in inspected.keys if not key.backing}
    keys = [
        key
        if key.kind == FOREIGN
        else replace(found, name=key.name, written=key.source if key.source != found.detail else "")
        for key, found in ((key, read.get(str(number), key)) for number, key in enumerate(written.keys))
    ]
    columns = {
        name: replace(found, comment=column.comment, written=_source(column, found))
        for name, column in written.columns.items()
        for found in (inspected.columns[name],)
    }
    return replace(written, columns=columns, keys=tuple(keys))


def _source(written: ColumnSchema, found: ColumnSchema) -> str:
    return written.source or "" if found.default and written.source != found.default else ""


def _remembered(keys: Mapping[str, _Key]) -> Iterator[tuple[str, TableSchema]]:
    with _lock:
        for name, key in keys.items():
            if key in _known:
                _known.move_to_end(key)
                yield name, _known[key]


def _remember(key: _Key, table: TableSchema) -> None:
    with _lock:
        _known[key] = table
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
