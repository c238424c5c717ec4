"""SQL of the catalogue: statements name its tables `{discoveries}` and `{snapshots}`, whatever their prefix."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import psycopg2.errors
from psycopg2 import sql

from fbs_worker.core.postgres import Connection, config_of, translate


def prepare(statement: str, table_prefix: str, **parts: str) -> sql.Composed:
    """Fill the placeholders of a statement.

    Args:
        statement: SQL with `{discoveries}`, `{snapshots}` and further placeholders.
        table_prefix: the solution's table prefix.
        **parts: SQL for further placeholders.

    Returns:
        The statement to execute.
    """
    return sql.SQL(statement).format(
        discoveries=sql.Identifier(f"{table_prefix}discoveries"),
        snapshots=sql.Identifier(f"{table_prefix}snapshots"),
        **{name: sql.SQL(part) for name, part in parts.items()},
    )


def fetch_rows(
    connection: Connection, table_prefix: str, statement: str, parameters: Mapping[str, Any], **parts: str
) -> list[tuple[Any, ...]]:
    """Run a query on the catalogue; no rows where its tables do not exist yet.

    Args:
        connection: connection to the database; an open transaction is committed.
        table_prefix: the solution's table prefix.
        statement: a query, as for `prepare`.
        parameters: its parameters.
        **parts: SQL for further placeholders.

    Returns:
        All rows.

    Raises:
        DatabaseUnreachable: the server cannot be reached or closed the connection.
        DatabaseError: PostgreSQL reports any other error.
    """
    # `with connection` would begin a transaction in autocommit mode
    transaction = nullcontext() if connection.autocommit else connection
    try:
        with transaction, connection.cursor() as cursor:
            cursor.execute(prepare(statement, table_prefix, **parts), parameters)
            return cursor.fetchall()
    except psycopg2.errors.UndefinedTable:
        return []
    except psycopg2.Error as exc:
        raise translate(exc, config_of(connection)) from exc
