"""Inspect existing relations, tables, keys and privileges in PostgreSQL's catalogue. Read-only.

A constant number of queries serves all tables. Names are resolved by the session's search path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psycopg2 import sql

from fbs_worker.core.advisory_locks import ALL_ROWS
from fbs_worker.core.errors import DatabaseRightsMissing
from fbs_worker.core.identifiers import quoted
from fbs_worker.core.postgres import Connection
from fbs_worker.schema.model import (
    CHECK,
    EXCLUDE,
    FOREIGN,
    INDEX,
    PRIMARY,
    SERIAL,
    UNIQUE,
    ColumnSchema,
    IndexParts,
    KeySchema,
    TableSchema,
    actions,
    renamed_key,
)

LOCK_TABLES: Final = "SELECT pg_advisory_xact_lock(hashtextextended('fbs:tables', 0))"
"""Held until the end of the transaction: serialises creation and deletion of FBS's tables in a database."""

BACKFILL_COMMENT: Final = "fbs: being filled"
"""Comment on a column that a migration has added and not backfilled completely."""

_RELATIONS: Final = """
SELECT relname, relkind::text FROM pg_class WHERE relname = ANY(%(names)s) AND pg_table_is_visible(oid)
UNION ALL
SELECT t.typname, 'type' FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typname = ANY(%(names)s) AND n.nspname = current_schema() AND t.typtype IN ('b', 'd', 'e', 'm', 'r')
    AND t.typcategory <> 'A'
"""
"""CREATE TABLE creates a type of the table's name, so an existing type conflicts as well (documentation of CREATE
TABLE); array types do not, PostgreSQL renames them."""

_TABLE: Final = "a table"
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

_COLUMNS: Final = """
SELECT c.oid, c.relname, c.relkind::text, whole.description, a.attnum, a.attname,
    format_type(a.atttypid, a.atttypmod), a.attnotnull,
    CASE WHEN a.attidentity <> '' THEN
            'GENERATED ' || CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END || ' AS IDENTITY'
        WHEN a.attgenerated <> '' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') '
            || CASE a.attgenerated WHEN 'v' THEN 'VIRTUAL' ELSE 'STORED' END
        WHEN pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%%'
            AND EXISTS (SELECT FROM pg_depend s WHERE s.classid = 'pg_class'::regclass AND s.deptype = 'a'
            AND s.refclassid = 'pg_class'::regclass AND s.refobjid = c.oid AND s.refobjsubid = a.attnum)
            THEN %(serial)s
        ELSE pg_get_expr(d.adbin, d.adrelid) END,
    CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text ELSE '' END,
    part.description
FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum AND a.atthasdef
LEFT JOIN pg_description whole ON whole.objoid = c.oid AND whole.classoid = 'pg_class'::regclass AND whole.objsubid = 0
LEFT JOIN pg_description part ON part.objoid = c.oid AND part.classoid = 'pg_class'::regclass
    AND part.objsubid = a.attnum
WHERE c.relname = ANY(%(names)s) AND c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
ORDER BY c.oid, a.attnum
"""
"""Comments are joined: `col_description` runs a query for each column, most of the time of the whole."""

_CONSTRAINTS: Final = """
SELECT k.conrelid, k.oid, k.contype::text, k.conname, k.conkey, k.convalidated, k.condeferrable, k.condeferred,
    k.confdeltype::text, k.confupdtype::text, t.relname,
    CASE k.contype WHEN 'f' THEN ARRAY(
        SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS part(number, place)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = part.number ORDER BY place
    ) END,
    CASE k.contype WHEN 'c' THEN pg_get_expr(k.conbin, k.conrelid) END, pg_get_constraintdef(k.oid),
    k.condeferrable OR i.indnatts > i.indnkeyatts OR i.indisexclusion
        OR (k.contype = 'u' AND to_jsonb(i) -> 'indnullsnotdistinct' = 'true')
FROM pg_constraint k LEFT JOIN pg_class t ON t.oid = k.confrelid AND pg_table_is_visible(t.oid)
LEFT JOIN pg_index i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u')
WHERE k.conrelid = ANY(%(oids)s::oid[]) AND k.contype IN ('p', 'u', 'f', 'c', 'x')
ORDER BY k.conrelid, k.oid
"""
"""`indnullsnotdistinct` came with PostgreSQL 15, `WITHOUT OVERLAPS` (a key with `indisexclusion`) and
`NOT ENFORCED` (the end of the definition) with 18."""

_INDEXES: Final = """
SELECT i.indrelid, i.indexrelid, c.relname, i.indkey::int2[], i.indnkeyatts, i.indisunique, i.indisvalid,
    am.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL AND 0 = ALL (i.indoption::int2[]),
    i.indisunique OR am.amname <> 'btree' OR i.indpred IS NOT NULL OR i.indexprs IS NOT NULL
        OR i.indnatts > i.indnkeyatts OR 0 <> ANY (i.indoption::int2[])
        OR NOT i.indclass::oid[] <@ ARRAY(SELECT oid FROM pg_opclass WHERE opcdefault) OR c.reloptions IS NOT NULL
        OR EXISTS (SELECT FROM unnest(i.indcollation::oid[], i.indkey::int2[]) used(collation_, number)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = number WHERE collation_ <> a.attcollation
                AND collation_ <> 0),
    pg_get_indexdef(i.indexrelid),
    ARRAY(SELECT DISTINCT refobjsubid::int2 FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = i.indexrelid
        AND refclassid = 'pg_class'::regclass AND refobjid = i.indrelid AND refobjsubid > 0
        AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)),
    ARRAY(SELECT pg_get_indexdef(i.indexrelid, part, FALSE) FROM generate_series(1, i.indnkeyatts) part),
    coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
    i.indisunique AND coalesce(to_jsonb(i) -> 'indnullsnotdistinct' = 'true', FALSE),
    k.oid IS NOT NULL
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE i.indrelid = ANY(%(oids)s::oid[])
ORDER BY i.indrelid, i.indexrelid
"""

_ACTIONS: Final = {"r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

_HIDDEN: Final = "?"
"""Stands for a referenced table outside of the search path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedKey:
    """An existing key, index or check.

    Attributes:
        schema: its definition and name.
        oid: OID of the constraint or index.
        definition: SQL that recreates it: of a constraint what follows its name, of an index CREATE INDEX.
        uses: all columns that it depends on, those of a check, of INCLUDE, of expressions and predicates too.
        valid: False for a NOT VALID constraint that is enforced, and for an index whose build was interrupted.
        plain: a B-tree index without expressions, predicate and DESC, usable for its leading columns.
        backing: the index of a primary key, a unique key or an exclusion constraint.
    """

    schema: KeySchema
    oid: int
    definition: str = ""
    uses: frozenset[str] = frozenset()
    valid: bool = True
    plain: bool = False
    backing: bool = False


@dataclass(frozen=True, kw_only=True)
class InspectedTable:
    """An existing table.

    Attributes:
        columns: by name.
        keys: keys, indexes and checks, as far as inspected.
        backfilling: columns whose backfill was interrupted.
        partitioned: whether it is a partitioned table.
        comment: empty without one.
    """

    columns: Mapping[str, ColumnSchema]
    keys: tuple[InspectedKey, ...] = ()
    backfilling: frozenset[str] = frozenset()
    partitioned: bool = False
    comment: str = ""

    @property
    def schema(self) -> TableSchema:
        """What it is, as far as it can be desired; an index of a key is no index of its own."""
        own = tuple(key.schema for key in self.keys if not key.backing)
        return TableSchema(columns=self.columns, keys=own, comment=self.comment)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Columns of the primary key; empty without one."""
        return next((key.schema.columns for key in self.keys if key.schema.kind == PRIMARY), ())


@dataclass(frozen=True, kw_only=True)
class InspectedSchema:
    """Existing relations of the requested names.

    Attributes:
        tables: the tables.
        others: other relations of these names → readable kind: `a view`, `a type` and so on.
    """

    tables: Mapping[str, InspectedTable] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    def renamed(self, renames: Mapping[tuple[str, str], str]) -> InspectedSchema:
        """Rename columns; see `model.renamed`."""
        if not renames:
            return self
        return replace(
            self, tables={name: _rename_columns(name, table, renames) for name, table in self.tables.items()}
        )


def relations(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    """Return the relations and types of these names: name → readable kind, e.g. `a table`.

    Args:
        connection: connection whose transaction reads.
        names: unquoted names.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS, {"names": list(map(str, names))})
        # a table and its type have one name: the first row is the table's
        return {name: _KINDS.get(kind, _TABLE) for name, kind in reversed(cursor.fetchall())}


def existing_tables(connection: Connection, names: Iterable[str]) -> list[str]:
    """Return those names that are tables on the session's search path, in the input order.

    Args:
        connection: connection whose transaction reads.
        names: unquoted names.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    requested = list(dict.fromkeys(names))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s::name[]) AND relkind IN ('r', 'p')"
            " AND pg_table_is_visible(oid)",
            (requested,),
        )
        tables = {name for (name,) in cursor.fetchall()}
    return [name for name in requested if name in tables]


def table_exists(connection: Connection, name: str) -> bool:
    """Return whether a relation of that name exists on the session's search path."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (sql.Identifier(name).as_string(connection),))
        row = cursor.fetchone()
    return bool(row and row[0])


def inspect_tables(connection: Connection, names: Iterable[str], *, keys: bool = True) -> InspectedSchema:
    """Inspect the relations of these names.

    Args:
        connection: connection whose transaction reads.
        names: unquoted names.
        keys: whether keys, indexes and checks are inspected as well as columns.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    requested = list(map(str, names))
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, {"names": requested, "serial": SERIAL})
        tables = _tables(cursor.fetchall())
        for query, build in ((_CONSTRAINTS, _constraint), (_INDEXES, _index)) if keys and tables else ():
            cursor.execute(query, {"oids": list(tables)})
            for row in cursor.fetchall():
                tables[row[0]].keys.append(build(tables[row[0]], row))
    tables_by_name = {table.name: table.build() for table in tables.values()}
    missing = [name for name in requested if name not in tables_by_name]
    found = relations(connection, missing) if missing else {}
    # a table that another session committed after the first statement is no other relation: it will be found next time
    others = {name: kind for name, kind in found.items() if kind != _TABLE}
    return InspectedSchema(tables=tables_by_name, others=others)


def populated_tables(connection: Connection, tables: Collection[str]) -> frozenset[str]:
    """Return the tables that contain rows, in one round trip.

    Args:
        connection: connection whose transaction reads.
        tables: unquoted names of existing tables.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if not tables:
        return frozenset()
    one = sql.SQL("SELECT {literal} WHERE EXISTS (SELECT FROM {table})")
    queries = [one.format(literal=sql.Literal(name), table=sql.Identifier(name)) for name in sorted(tables)]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(f"SELECT {ALL_ROWS}; ") + sql.SQL(" UNION ALL ").join(queries))  # also in autocommit
        return frozenset(name for (name,) in cursor.fetchall())


def estimated_sizes(connection: Connection, tables: Collection[str]) -> dict[str, tuple[int | None, int]]:
    """Return the estimated number of rows and the size in bytes, with indexes, of existing tables.

    Args:
        connection: connection whose transaction reads.
        tables: unquoted names.

    Returns:
        Table → rows as of the last VACUUM or ANALYZE (None before the first one), and bytes.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if not tables:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, nullif(reltuples, -1)::bigint, pg_total_relation_size(oid) FROM pg_class"
            " WHERE relname = ANY(%s::name[]) AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)",
            (list(tables),),
        )
        return {name: (rows, size) for name, rows, size in cursor.fetchall()}


def used_names(connection: Connection) -> frozenset[str]:
    """Return the names of all relations (tables, indexes, sequences, …) in the schemas of the search path.

    Args:
        connection: connection whose transaction reads.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = ANY(current_schemas(false)::regnamespace[])")
        return frozenset(name for (name,) in cursor.fetchall())


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
            hint=f"As the database's owner: GRANT USAGE, CREATE ON SCHEMA public TO {quoted(user)};",
        )
    if not may:
        raise DatabaseRightsMissing(
            f"The database user {user!r} may not create tables in the schema {schema!r}.",
            hint=f"As the database's owner: GRANT CREATE ON SCHEMA {quoted(schema)} TO {quoted(user)};",
        )


@dataclass(kw_only=True)
class _Table:
    """Builder of an `InspectedTable`."""

    name: str
    partitioned: bool
    comment: str
    names: dict[int, str] = field(default_factory=dict)
    columns: dict[str, ColumnSchema] = field(default_factory=dict)
    backfilling: set[str] = field(default_factory=set)
    keys: list[InspectedKey] = field(default_factory=list)

    def columns_at(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """Return column names by attribute number; 0 (an expression) is omitted."""
        return tuple(self.names[number] for number in numbers if number in self.names)

    def build(self) -> InspectedTable:
        indexes = {key.schema.name: key for key in self.keys if key.backing}
        return InspectedTable(
            columns=self.columns,
            keys=tuple(_with_index(key, indexes) for key in self.keys),
            backfilling=frozenset(self.backfilling),
            partitioned=self.partitioned,
            comment=self.comment,
        )


def _tables(rows: Iterable[tuple[Any, ...]]) -> dict[int, _Table]:
    tables: dict[int, _Table] = {}
    for oid, name, kind, of_table, number, column, written, not_null, default, collation, comment in rows:
        table = tables.get(oid)
        if table is None:
            table = tables[oid] = _Table(name=name, partitioned=kind == "p", comment=of_table or "")
        if column is None:
            continue
        table.names[number] = column
        if comment == BACKFILL_COMMENT:
            table.backfilling.add(column)
        table.columns[column] = ColumnSchema(
            type=written, not_null=not_null, default=default, collation=collation, comment=comment or ""
        )
    return tables


def _constraint(table: _Table, row: tuple[Any, ...]) -> InspectedKey:
    _, oid, kind, name, numbers, valid, deferrable, deferred, on_delete, on_update, target, *rest = row
    referred, check, whole, special = rest
    enforced = not whole.endswith(" NOT ENFORCED")
    uses = columns = table.columns_at(numbers or ())
    detail = whole if special else ""
    if kind == FOREIGN:
        deletes, updates = _ACTIONS.get(on_delete, ""), _ACTIONS.get(on_update, "")
        detail = actions(deletes, updates, deferrable=deferrable, deferred=deferred)
    elif kind == CHECK:
        columns, detail = (), check
    elif kind == EXCLUDE:
        columns, detail = (), whole
    schema = KeySchema(
        kind=kind,
        columns=columns,
        target=(target or _HIDDEN, tuple(referred)) if kind == FOREIGN else None,
        detail=detail,
        name=name,
        deferral=actions("", "", deferrable=deferrable, deferred=deferred) if kind in {PRIMARY, UNIQUE} else "",
        enforced=enforced,
    )
    valid = valid or not enforced  # which cannot be validated
    return InspectedKey(schema=schema, oid=oid, definition=whole, uses=frozenset(uses), valid=valid)


def _index(table: _Table, row: tuple[Any, ...]) -> InspectedKey:
    _, oid, name, numbers, count, unique, valid, plain, special, definition, *rest = row
    used, parts, predicate, equal, backing = rest
    written = "USING" + definition.partition(" USING")[2]
    written = f"UNIQUE {written}" if unique else written
    schema = KeySchema(
        kind=INDEX,
        columns=table.columns_at(numbers[:count]),
        detail=written if special else "",
        name=name,
        index=IndexParts(detail=written, parts=tuple(parts), predicate=predicate, equal_nulls=equal),
    )
    uses = frozenset(table.columns_at((*numbers, *used)))
    return InspectedKey(
        schema=schema, oid=oid, definition=definition, uses=uses, valid=valid, plain=plain, backing=backing
    )


def _with_index(key: InspectedKey, indexes: Mapping[str, InspectedKey]) -> InspectedKey:
    """A constraint with the facts of its index."""
    index = indexes.get(key.schema.name)
    if index is None or key.schema.kind not in {PRIMARY, UNIQUE, EXCLUDE}:
        return key
    return replace(key, schema=replace(key.schema, index=index.schema.index), uses=key.uses | index.uses)


def _rename_columns(name: str, table: InspectedTable, renames: Mapping[tuple[str, str], str]) -> InspectedTable:
    return replace(
        table,
        columns={renames.get((name, column), column): facts for column, facts in table.columns.items()},
        keys=tuple(
            replace(
                key,
                schema=renamed_key(name, key.schema, renames),
                uses=frozenset(renames.get((name, column), column) for column in key.uses),
            )
            for key in table.keys
        ),
        backfilling=frozenset(renames.get((name, column), column) for column in table.backfilling),
    )


def _first(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    return row or (None, None, None)
