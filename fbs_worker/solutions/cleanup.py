"""What a solution leaves in the system tables when it goes, and whether anybody else needs them.

Everything runs in the caller's transaction.
"""

from __future__ import annotations

from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.postgres import errors_translated
from fbs_worker.schema.inspector import relations
from fbs_worker.solutions.records import table_name

_DOMAIN: Final = "domain"
_SOLUTION: Final = "solution_name"

_ROWS_OF: Final = {
    "discoveries": _DOMAIN,
    "snapshots": _DOMAIN,
    "workflow_definitions": _DOMAIN,
    "bi_dashboards": _DOMAIN,
    "schema_migrations": _SOLUTION,
}
"""What a row of each system table belongs to. `solution_schemas` is left out: the registry's own."""


def others_have_rows(cursor: Cursor, table_prefix: str, *, solution_name: str, domain: str) -> bool:
    """Whether the system tables hold rows of another domain or solution, e.g. of a discovery without a solution.

    Args:
        cursor: in a transaction.
        table_prefix: of the system tables.
        solution_name: the solution that goes.
        domain: its domain.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(cursor.connection):
        for table, column, mine in _tables(cursor, table_prefix, solution_name, domain):
            cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} <> %s)").format(table, column), (mine,))
            found = cursor.fetchone()
            if found and found[0]:
                return True
    return False


def is_address_book(cursor: Cursor, table_prefix: str, *, solution_name: str) -> bool:
    """Whether the table of solutions knows further ones, wherever they live; arguments as for `others_have_rows`.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    table = sql.Identifier(table_name(table_prefix))
    with errors_translated(cursor.connection):
        cursor.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE solution_name <> %s)").format(table), (solution_name,)
        )
        found = cursor.fetchone()
    return bool(found and found[0])


def forget(cursor: Cursor, table_prefix: str, *, solution_name: str, domain: str, keep_domain: bool) -> None:
    """Delete what the system tables hold for a solution, its own row excepted.

    Args:
        cursor: in a transaction.
        table_prefix: of the system tables.
        solution_name: the solution that goes.
        domain: its domain.
        keep_domain: another solution has this domain, so that its discoveries stay.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(cursor.connection):
        for table, column, mine in _tables(cursor, table_prefix, solution_name, domain):
            if not (keep_domain and column.string == _DOMAIN):
                cursor.execute(sql.SQL("DELETE FROM {} WHERE {} = %s").format(table, column), (mine,))


def _tables(
    cursor: Cursor, prefix: str, solution_name: str, domain: str
) -> list[tuple[sql.Identifier, sql.Identifier, str]]:
    there = relations(cursor.connection, (f"{prefix}{name}" for name in _ROWS_OF))
    mine = {_DOMAIN: domain, _SOLUTION: solution_name}
    return [
        (sql.Identifier(f"{prefix}{name}"), sql.Identifier(column), mine[column])
        for name, column in _ROWS_OF.items()
        if f"{prefix}{name}" in there
    ]
