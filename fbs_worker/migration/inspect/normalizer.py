"""What was found in a database, in the words of those that it is compared with. Reads only.

PostgreSQL keeps expressions in its own words. Where the canonical forms of two of them differ, it is asked how it
would write both: EXPLAIN VERBOSE shows expressions as the server has understood them, and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import psycopg2
from psycopg2 import sql

from fbs_worker.core.postgres import Connection
from fbs_worker.migration.inspect.inspector import Found, FoundKey, FoundTable
from fbs_worker.migration.model.schema import CHECK, SERIAL, ColumnShape, KeyShape, Shape, TableShape, canonical


def settled(connection: Connection, found: Found, shapes: Iterable[Shape]) -> Found:
    """What was found, types, defaults and checks in the words of the shapes that it is compared with.

    Args:
        connection: in whose transaction it is read.
        found: what `read` returned.
        shapes: what it is to be compared with.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    known = list(shapes)
    tables = dict(found.tables)
    for name, table in found.tables.items():
        others = [shape[name] for shape in known if name in shape]
        columns = dict(_settled_columns(connection, table, others))
        keys = _settled_keys(connection, name, table, others)
        if columns or keys != table.keys:
            tables[name] = replace(table, columns={**table.columns, **columns}, keys=keys)
    return replace(found, tables=tables)


def _settled_columns(
    connection: Connection, table: FoundTable, others: Iterable[TableShape]
) -> Iterator[tuple[str, ColumnShape]]:
    known = list(others)
    for name, column in table.columns.items():
        settled_column = column
        for other in (shape.columns[name] for shape in known if name in shape.columns):
            if other.type != settled_column.type and _same(connection, _typed(other.type), _typed(column.type)):
                settled_column = replace(settled_column, type=other.type)
            if (
                other.default is not None
                and column.default is not None
                and SERIAL not in {other.default, column.default}
                and not column.default.startswith("GENERATED")
                and not other.has_default_of(settled_column)
                and _same(connection, f"({other.default})::{column.type}", f"({column.default})::{column.type}")
            ):
                settled_column = replace(settled_column, default=other.default)
        if settled_column is not column:
            yield name, settled_column


def _settled_keys(
    connection: Connection, name: str, table: FoundTable, others: Iterable[TableShape]
) -> tuple[FoundKey, ...]:
    """Checks in the words of the shapes."""
    if not any(key.shape.kind == CHECK for key in table.keys):
        return table.keys
    wanted = [key for other in others for key in other.keys if key.kind == CHECK]
    here = sql.Identifier(name).as_string(connection)
    return tuple(_settled_key(connection, here, key, wanted) for key in table.keys)


def _settled_key(connection: Connection, table: str, key: FoundKey, wanted: Iterable[KeyShape]) -> FoundKey:
    if key.shape.kind == CHECK:
        for other in wanted:
            same = canonical(other.detail) == canonical(key.shape.detail)
            if same or _same(connection, f"({other.detail})", f"({key.shape.detail})", table):
                return replace(key, shape=replace(key.shape, detail=other.detail))
    return key


def _typed(written: str) -> str:
    return f"NULL::{written}"


def _same(connection: Connection, first: str, second: str, table: str = "") -> bool:
    """Whether PostgreSQL writes two expressions alike; one that it does not understand is like no other."""
    source = f" FROM {table}" if table else ""
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT fbs_settle")
        try:
            cursor.execute(f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT {first}, {second}{source}")
            row = cursor.fetchone()
        except psycopg2.Error:
            if connection.closed:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT fbs_settle")
            return False
        cursor.execute("RELEASE SAVEPOINT fbs_settle")
    output = list(row[0][0]["Plan"].get("Output", ())) if row else []
    return len(output) == 2 and len(set(output)) == 1
