"""Normalise inspected types, defaults and checks so that they compare equal to the desired schema. Read-only.

PostgreSQL stores expressions in its own notation. Where two canonical forms differ, EXPLAIN VERBOSE decides: it prints
both expressions as parsed by the server, and runs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import psycopg2
from psycopg2 import sql

from fbs_worker.core.postgres import Connection
from fbs_worker.schema.inspector import InspectedKey, InspectedSchema, InspectedTable
from fbs_worker.schema.model import CHECK, SERIAL, ColumnSchema, KeySchema, Schema, TableSchema, canonical


def normalise(connection: Connection, actual: InspectedSchema, references: Iterable[Schema]) -> InspectedSchema:
    """Replace types, defaults and checks by an equivalent notation of the reference schemas.

    Args:
        connection: connection whose transaction reads.
        actual: result of `inspect_tables`.
        references: schemas to compare with: the desired and the last applied one.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    known = list(references)
    tables = dict(actual.tables)
    for name, table in actual.tables.items():
        others = [schema[name] for schema in known if name in schema]
        columns = dict(_normalise_columns(connection, table, others))
        keys = _normalise_keys(connection, name, table, others)
        if columns or keys != table.keys:
            tables[name] = replace(table, columns={**table.columns, **columns}, keys=keys)
    return replace(actual, tables=tables)


def _normalise_columns(
    connection: Connection, table: InspectedTable, others: Iterable[TableSchema]
) -> Iterator[tuple[str, ColumnSchema]]:
    known = list(others)
    for name, column in table.columns.items():
        normalised = column
        for other in (schema.columns[name] for schema in known if name in schema.columns):
            if other.type != normalised.type and _equivalent(connection, _null_of(other.type), _null_of(column.type)):
                normalised = replace(normalised, type=other.type)
            if (
                other.default is not None
                and column.default is not None
                and SERIAL not in {other.default, column.default}
                and not column.default.startswith("GENERATED")
                and not other.has_same_default(normalised)
                and _equivalent(connection, f"({other.default})::{column.type}", f"({column.default})::{column.type}")
            ):
                normalised = replace(normalised, default=other.default)
        if normalised is not column:
            yield name, normalised


def _normalise_keys(
    connection: Connection, name: str, table: InspectedTable, others: Iterable[TableSchema]
) -> tuple[InspectedKey, ...]:
    """Replace checks by their notation in the reference schemas."""
    if not any(key.schema.kind == CHECK for key in table.keys):
        return table.keys
    desired = [key for other in others for key in other.keys if key.kind == CHECK]
    quoted_table = sql.Identifier(name).as_string(connection)
    return tuple(_normalise_key(connection, quoted_table, key, desired) for key in table.keys)


def _normalise_key(connection: Connection, table: str, key: InspectedKey, desired: Iterable[KeySchema]) -> InspectedKey:
    if key.schema.kind == CHECK:
        for other in desired:
            same = canonical(other.detail) == canonical(key.schema.detail)
            if same or _equivalent(connection, f"({other.detail})", f"({key.schema.detail})", table):
                return replace(key, schema=replace(key.schema, detail=other.detail))
    return key


def _null_of(written: str) -> str:
    return f"NULL::{written}"


def _equivalent(connection: Connection, first: str, second: str, table: str = "") -> bool:
    """Return whether PostgreSQL prints both expressions alike; False if one of them is invalid."""
    source = f" FROM {table}" if table else ""
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT fbs_normalise")
        try:
            cursor.execute(f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT {first}, {second}{source}")
            row = cursor.fetchone()
        except psycopg2.Error:
            if connection.closed:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT fbs_normalise")
            return False
        cursor.execute("RELEASE SAVEPOINT fbs_normalise")
    output = list(row[0][0]["Plan"].get("Output", ())) if row else []
    return len(output) == 2 and len(set(output)) == 1
