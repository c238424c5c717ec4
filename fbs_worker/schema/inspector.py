"""Inspect existing relations, keys and privileges in PostgreSQL's catalogue. Read-only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from psycopg2 import sql
from sqlalchemy import Table

from fbs_worker.core.errors import DatabaseRightsMissing, ForeignTableError
from fbs_worker.core.postgres import Connection
from fbs_worker.schema.columns import type_of

_RELATIONS: Final = """
SELECT c.relname, c.relkind::text, CASE WHEN c.relkind IN ('r', 'p') THEN (
        SELECT jsonb_object_agg(a.attname, jsonb_build_array(format_type(a.atttypid, a.atttypmod), a.attnotnull))
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) END
FROM pg_class c WHERE c.relname = ANY(%(names)s) AND pg_table_is_visible(c.oid)
UNION ALL
SELECT t.typname, 'type', NULL FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typname = ANY(%(names)s) AND n.nspname = current_schema() AND t.typtype IN ('b', 'd', 'e', 'm', 'r')
    AND t.typcategory <> 'A'
"""
"""CREATE TABLE creates a type of the table's name, so an existing type conflicts as well (documentation of CREATE
TABLE); array types do not, PostgreSQL renames them."""

_KINDS: Final = {
    "v": "a view",
    "m": "a materialized view",
    "S": "a sequence",
    "f": "a foreign table",
    "i": "an index",
    "I": "an index",
    "c": "a type",
    "type": "a type",
}

_KEYS: Final = """
WITH requested AS (
    SELECT oid, relname FROM pg_class
    WHERE relname = ANY(%(names)s) AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)
)
SELECT w.relname, k.contype::text, named.columns, target.relname, referred.columns
FROM requested w JOIN pg_constraint k ON k.conrelid = w.oid AND k.contype IN ('p', 'u', 'f')
LEFT JOIN pg_class target ON target.oid = k.confrelid AND pg_table_is_visible(target.oid),
LATERAL (
    SELECT array_agg(a.attname::text ORDER BY n) AS columns FROM unnest(k.conkey) WITH ORDINALITY AS part(number, n)
    JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum = part.number
) named,
LATERAL (
    SELECT array_agg(a.attname::text ORDER BY n) AS columns FROM unnest(k.confkey) WITH ORDINALITY AS part(number, n)
    JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = part.number
) referred
UNION ALL
SELECT w.relname, 'i', named.columns, NULL, NULL
FROM requested w JOIN pg_index i ON i.indrelid = w.oid AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL,
LATERAL (
    SELECT array_agg(a.attname::text ORDER BY n) AS columns FROM unnest(i.indkey) WITH ORDINALITY AS part(number, n)
    JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum = part.number
) named
"""

LOCK_TABLES: Final = "SELECT pg_advisory_xact_lock(hashtextextended('fbs:tables', 0))"
"""Held until the end of the transaction: serialises creation and deletion of FBS's tables in a database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """An existing relation or type.

    Attributes:
        kind: PostgreSQL's `relkind`, or `type`.
        columns: of a table: name → type as written by format_type(), and whether it is NOT NULL.
    """

    kind: str
    columns: Mapping[str, tuple[str, bool]]

    @property
    def is_table(self) -> bool:
        """Whether it is an ordinary or a partitioned table."""
        return self.kind in {"r", "p"}

    @property
    def description(self) -> str:
        """Readable kind, e.g. `a view`."""
        return _KINDS.get(self.kind, "a table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A constraint or an index of a table.

    Attributes:
        table: the table's name.
        kind: `p` primary key, `u` unique, `f` foreign key, `i` index.
        columns: in key order.
        target: of a foreign key: name and columns of the referenced table; the name is None outside of the search path.
    """

    table: str
    kind: str
    columns: tuple[str, ...]
    target: tuple[str | None, tuple[str, ...]] | None = None


def relations(connection: Connection, names: Iterable[str]) -> dict[str, Relation]:
    """Return the relations of these names on the session's search path, in one round trip.

    Args:
        connection: connection whose transaction reads.
        names: unquoted names.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS, {"names": list(map(str, names))})
        rows = cursor.fetchall()
    result: dict[str, Relation] = {}
    for name, kind, columns in rows:
        facts = {column: (text, not_null) for column, (text, not_null) in (columns or {}).items()}
        result.setdefault(name, Relation(kind=kind, columns=facts))
    return result


def keys(connection: Connection, names: Iterable[str]) -> list[Key]:
    """Return keys and indexes of tables, in one round trip, without partial indexes and indexes on expressions.

    Args:
        connection: connection whose transaction reads.
        names: unquoted names.
    """
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, {"names": list(map(str, names))})
        rows = cursor.fetchall()
    return [
        Key(
            table=table,
            kind=kind,
            columns=tuple(columns or ()),
            target=(target, tuple(referred or ())) if kind == "f" else None,
        )
        for table, kind, columns, target, referred in rows
    ]


def table_exists(connection: Connection, name: str) -> bool:
    """Return whether a relation of that name exists on the session's search path."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (sql.Identifier(name).as_string(connection),))
        row = cursor.fetchone()
    return bool(row and row[0])


def system_conflict(table: Table, relation: Relation) -> str:
    """Describe why an existing relation is not the system table; empty if it is.

    A system table is recognised by its columns, because several solutions may share it.
    """
    if not relation.is_table:
        return relation.description
    expected = _types(table)
    present = {name: text for name, (text, _) in relation.columns.items()}
    differing = sorted(name for name in expected.keys() | present.keys() if expected.get(name) != present.get(name))
    return f"other columns: {', '.join(differing)}" if differing else ""


@lru_cache(maxsize=512)
def _types(table: Table) -> dict[str, str]:
    return {column.name: type_of(column) for column in table.columns}


def business_conflict(name: str, relation: Relation, owned: Collection[str]) -> str:
    """Describe why an existing relation is not the business table; empty if it is a table recorded as owned."""
    if not relation.is_table:
        return relation.description
    return "" if name in owned else "a table"


def foreign_error(conflicts: Mapping[str, str], options: str) -> ForeignTableError:
    """Build the error that names all conflicting relations.

    Args:
        conflicts: name → description of the existing relation.
        options: command-line options that avoid the conflict.
    """
    listed = ", ".join(f"{name!r} ({what})" for name, what in sorted(conflicts.items()))
    return ForeignTableError(
        f"The database already contains {listed}, not created by FBS; nothing was changed.",
        hint=f"Choose another {options}, or rename the existing relations.",
        tables=sorted(conflicts),
    )


def check_may_create(connection: Connection) -> None:
    """Check the privilege to create tables in the first schema of the search path.

    Raises:
        DatabaseRightsMissing: there is no such schema, or the user lacks CREATE on it; the hint has the GRANT.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE'), current_user")
        schema, may, user = _first(cursor.fetchone())
    if schema is None:
        raise DatabaseRightsMissing(
            f"The database user {user!r} has no schema to create tables in.",
            hint=f"As the database's owner: GRANT USAGE, CREATE ON SCHEMA public TO {_quote(user)};",
        )
    if not may:
        raise DatabaseRightsMissing(
            f"The database user {user!r} may not create tables in the schema {schema!r}.",
            hint=f"As the database's owner: GRANT CREATE ON SCHEMA {_quote(schema)} TO {_quote(user)};",
        )


def _first(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    return row or (None, None, None)


def _quote(name: object) -> str:
    return '"' + str(name).replace('"', '""') + '"'
