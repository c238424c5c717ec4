"""Row counts, sizes and deletion of tables, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from psycopg2 import sql

from fbs_worker.core.advisory_locks import ALL_ROWS
from fbs_worker.core.errors import RefusedError
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.schema.inspector import LOCK_TABLES, existing_tables

_DEPENDENTS: Final = """
WITH dropped AS (SELECT oid, reltype FROM pg_class WHERE relname = ANY(%(names)s) AND pg_table_is_visible(oid))
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_depend d
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
WHERE d.deptype = 'n' AND (
    (d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM dropped))
    OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT reltype FROM dropped))
) AND NOT EXISTS (
    SELECT FROM dropped WHERE oid = coalesce(
        k.conrelid, w.ev_class, f.adrelid, t.tgrelid, p.polrelid,
        CASE d.classid WHEN 'pg_class'::regclass THEN d.objid END
    )
)
ORDER BY 1
"""
"""Foreign objects that depend on tables: views, foreign keys, functions, … (PostgreSQL's documentation, pg_depend)."""

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
        cursor.execute(_DEPENDENTS, {"names": existing})
        dependents = [dependent for (dependent,) in cursor.fetchall()]
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
