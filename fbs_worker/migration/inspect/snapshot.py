"""Table snapshots before and after a statement: facts that its undo needs and the statement lacks. Read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.migration.model.plan import Step

_COLUMNS: Final = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""

_KEYS: Final = """
SELECT k.contype::text, k.conname,
    CASE k.contype WHEN 'u' THEN pg_get_indexdef(k.conindid) ELSE pg_get_constraintdef(k.oid) END
FROM pg_constraint k WHERE k.conrelid = to_regclass(%(table)s) AND k.contype IN ('p', 'u', 'f', 'c')
UNION ALL
SELECT 'i', c.relname, pg_get_indexdef(i.indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%(table)s) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
ORDER BY 1, 2
"""

KeyDefinition = tuple[str, str, str]
"""Kind (`p`, `u`, `f`, `c`, `i`), name and definition; that of a unique key is its index's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSnapshot:
    """A table before or after a statement.

    Attributes:
        columns: type and default of each column; empty if the table does not exist.
        keys: constraints and indexes; read only for DROP COLUMN, which drops dependent ones.
    """

    columns: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    keys: tuple[KeyDefinition, ...] = ()


def take_snapshot(cursor: Cursor, step: Step) -> TableSnapshot:
    """Inspect a step's table.

    Args:
        cursor: cursor of the step's transaction.
        step: the step, before or after it runs.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    table = sql.Identifier(step.table).as_string(cursor)
    cursor.execute(_COLUMNS, (table,))
    columns = {name: (kind, default) for name, kind, default in cursor.fetchall()}
    return TableSnapshot(columns=columns, keys=table_keys(cursor, step.table) if " DROP COLUMN " in step.sql else ())


def table_keys(cursor: Cursor, table: str) -> tuple[KeyDefinition, ...]:
    """Read the constraints and indexes of a table.

    Args:
        cursor: cursor of an open transaction.
        table: unquoted name.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    cursor.execute(_KEYS, {"table": sql.Identifier(table).as_string(cursor)})
    return tuple((kind, name, definition) for kind, name, definition in cursor.fetchall())


def snapshot_changes(before: TableSnapshot, after: TableSnapshot) -> dict[str, Any]:
    """Compare two snapshots and return the facts for the step's journal row.

    Args:
        before: snapshot before the statement.
        after: snapshot after the statement.

    Returns:
        `made`: `table` (the table was created), `columns` (added), `retyped` (column → former type and default), and
        `lost`: keys dropped with a column.
    """
    if not before.columns:
        return {"made": {"table": True} if after.columns else {}}
    if not before.columns.keys() <= after.columns.keys():  # a column was renamed or dropped
        return {"lost": [list(key) for key in before.keys if key not in after.keys]}
    added = sorted(after.columns.keys() - before.columns.keys())
    retyped = {name: list(was) for name, was in before.columns.items() if was[0] != after.columns[name][0]}
    return {"made": {key: value for key, value in (("columns", added), ("retyped", retyped)) if value}}
