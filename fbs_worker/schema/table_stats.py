"""Row counts, sizes and deletion of tables, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from psycopg2 import sql

from fbs_worker.core.advisory_locks import ALL_ROWS
from fbs_worker.core.errors import RefusedError
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.schema.dependents import dependent_objects
from fbs_worker.schema.inspector import LOCK_TABLES, existing_tables

_SHOWN: Final = 5


def rows_in(connection: Connection, tables: Iterable[str]) -> dict[str, int]:
    """Count the rows of each table; missing tables are omitted.

    Args:
        connection: connection whose transaction reads.
        tables: unquoted names.

    Raises:
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    return {stats["table"]: stats["rows"] for stats in table_sizes(connection, tables)}


def table_sizes(connection: Connection, tables: Iterable[str]) -> list[dict[str, Any]]:
    """Return row count and size in bytes (with indexes and TOAST) of each existing table, in the input order.

    Args:
        connection: connection whose transaction reads.
        tables: unquoted names.

    Returns:
        `{"table", "rows", "bytes"}` per table.

    Raises:
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection), connection.cursor() as cursor:
        existing = existing_tables(connection, tables)
        if not existing:
            return []
        one = sql.SQL("SELECT {number}, (SELECT count(*) FROM {table}), pg_total_relation_size({name}::regclass)")
        queries = [
            one.format(
                number=sql.Literal(number),
                table=sql.Identifier(name),
                name=sql.Literal(sql.Identifier(name).as_string(connection)),
            )
            for number, name in enumerate(existing)
        ]
        cursor.execute(sql.SQL(f"SELECT {ALL_ROWS}; ") + sql.SQL(" UNION ALL ").join(queries))  # also in autocommit
        rows = sorted(cursor.fetchall())
    return [{"table": existing[number], "rows": count, "bytes": size} for number, count, size in rows]


def drop(connection: Connection, tables: Iterable[str]) -> tuple[str, ...]:
    """Drop tables without CASCADE, inside the caller's transaction.

    Args:
        connection: connection whose transaction is used; the caller commits.
        tables: unquoted names; missing relations and those of another kind are ignored.

    Returns:
        The dropped tables.

    Raises:
        RefusedError: foreign objects depend on one of them; the message names them.
        DatabaseRightsMissing: another role owns one of them.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection), connection.cursor() as cursor:
        cursor.execute(LOCK_TABLES)
        existing = existing_tables(connection, tables)
        if not existing:
            return ()
        # for readable messages: without CASCADE PostgreSQL rejects a DROP with other dependents itself
        found = dependent_objects(connection, existing, own_tables=existing)
        dependents = sorted({one.name for one in found if one.owner not in existing})
        if dependents:
            more = f" and {len(dependents) - _SHOWN} more" if len(dependents) > _SHOWN else ""
            raise RefusedError(
                f"Other objects depend on these tables: {'; '.join(dependents[:_SHOWN])}{more}. Nothing was dropped.",
                hint="Drop the dependent objects first, if they are no longer needed.",
                dependents=dependents,
            )
        # one statement: tables may reference each other
        names = sql.SQL(", ").join(map(sql.Identifier, existing))
        cursor.execute(sql.SQL("DROP TABLE {}").format(names))
    return tuple(existing)
