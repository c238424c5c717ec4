"""Cleanup: delete a solution's rows from the system tables, and find out who else uses these tables.

Every function runs in the caller's transaction.
"""

from __future__ import annotations

from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.postgres import errors_translated
from fbs_worker.schema.inspector import relations
from fbs_worker.solutions.registry import table_name

_DOMAIN: Final = "domain"
_SOLUTION: Final = "solution_name"

_OWNER_COLUMNS: Final = {
    "discoveries": _DOMAIN,
    "snapshots": _DOMAIN,
    "workflow_definitions": _DOMAIN,
    "bi_dashboards": _DOMAIN,
    "schema_migrations": _SOLUTION,
    "replication": _SOLUTION,
    "rejected_records": _SOLUTION,
    "deleted_records": _SOLUTION,
    "file_checksums": _SOLUTION,
}
"""The column of each system table that identifies the owner of a row, `solution_schemas` excepted."""


def others_have_rows(cursor: Cursor, table_prefix: str, *, solution_name: str, domain: str) -> bool:
    """Return whether the system tables hold rows of another domain or solution, e.g. discoveries without a solution.

    Args:
        cursor: in a transaction.
        table_prefix: prefix of the system tables.
        solution_name: the solution to be dropped.
        domain: its domain.

    Raises:
        DatabaseError: a statement failed.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(cursor.connection):
        for table, column, owner in _tables(cursor, table_prefix, solution_name, domain):
            cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} <> %s)").format(table, column), (owner,))
            row = cursor.fetchone()
            if row and row[0]:
                return True
    return False


def registry_has_others(cursor: Cursor, table_prefix: str, *, solution_name: str) -> bool:
    """Return whether the table of solutions has rows of other solutions, in whichever database these are.

    Args:
        cursor: in a transaction.
        table_prefix: prefix of the system tables.
        solution_name: the solution to be dropped.

    Raises:
        DatabaseError: a statement failed.
        DatabaseUnreachable: the connection was lost.
    """
    table = sql.Identifier(table_name(table_prefix))
    with errors_translated(cursor.connection):
        cursor.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE solution_name <> %s)").format(table), (solution_name,)
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def delete_rows(cursor: Cursor, table_prefix: str, *, solution_name: str, domain: str, keep_domain: bool) -> None:
    """Delete a solution's rows from the system tables, its manifest excepted.

    Args:
        cursor: in a transaction.
        table_prefix: prefix of the system tables.
        solution_name: the solution to be dropped.
        domain: its domain.
        keep_domain: keep the rows of the domain, because another solution has the same domain.

    Raises:
        DatabaseError: a statement failed.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(cursor.connection):
        for table, column, owner in _tables(cursor, table_prefix, solution_name, domain):
            if not (keep_domain and column.string == _DOMAIN):
                cursor.execute(sql.SQL("DELETE FROM {} WHERE {} = %s").format(table, column), (owner,))


def _tables(
    cursor: Cursor, prefix: str, solution_name: str, domain: str
) -> list[tuple[sql.Identifier, sql.Identifier, str]]:
    existing = relations(cursor.connection, (f"{prefix}{name}" for name in _OWNER_COLUMNS))
    owners = {_DOMAIN: domain, _SOLUTION: solution_name}
    return [
        (sql.Identifier(f"{prefix}{name}"), sql.Identifier(column), owners[column])
        for name, column in _OWNER_COLUMNS.items()
        if f"{prefix}{name}" in existing
    ]
