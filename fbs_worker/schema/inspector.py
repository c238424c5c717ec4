"""Inspect existing relations, tables, keys and privileges in PostgreSQL's catalogue. Read-only.

A constant number of queries serves all tables. Names are resolved by the session's search path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from psycopg2 import sql

from fbs_worker.core.advisory_locks import ALL_ROWS
from fbs_worker.core.collector import many_objects
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
SELECT c.oid, c.relname, c.relkind::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.attidentity::text, a.attgenerated::text, a.attcollation,
    CASE WHEN a.attcollation <> (SELECT typcollation FROM pg_type WHERE pg_type.oid = a.atttypid)
        THEN a.attcollation::regcollation::text ELSE '' END
FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relname = ANY(%(names)s) AND c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
ORDER BY c.oid, a.attnum
"""
"""What else there is to know of these tables is asked part by part, and put together here: to plan one query that joins
so many catalogues took PostgreSQL longer than to run it."""

_DEFAULTS: Final = """
SELECT json_build_array(adrelid::int8, adnum, pg_get_expr(adbin, adrelid))
FROM pg_attrdef WHERE adrelid = ANY(%(oids)s::oid[])
"""

_COMMENTS: Final = """
SELECT json_build_array(objoid::int8, objsubid, description) FROM pg_description
WHERE classoid = 'pg_class'::regclass AND objoid = ANY(%(oids)s::oid[])
"""

_DEPENDENTS: Final = """
SELECT json_build_array(refobjid::int8, refobjsubid, objid::int8,
    deptype = 'a' AND (SELECT relkind = 'S' FROM pg_class WHERE pg_class.oid = objid)) FROM pg_depend
WHERE refclassid = 'pg_class'::regclass AND refobjid = ANY(%(oids)s::oid[]) AND refobjsubid > 0
    AND classid = 'pg_class'::regclass
"""
"""Sequences and indexes, the columns they depend on, and which go with their column."""

_CONSTRAINTS: Final = """
SELECT json_build_array(conrelid::int8, oid::int8, contype::text, conname, conkey, convalidated, condeferrable,
    condeferred, confdeltype::text, confupdtype::text,
    (SELECT relname FROM pg_class WHERE pg_class.oid = confrelid AND pg_table_is_visible(pg_class.oid)),
    CASE contype WHEN 'f' THEN ARRAY(
        SELECT attname FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY(confkey)
        ORDER BY array_position(confkey, attnum)
    ) END,
    CASE contype WHEN 'c' THEN pg_get_expr(conbin, conrelid) END, pg_get_constraintdef(oid),
    CASE WHEN contype IN ('p', 'u', 'x') THEN conindid::int8 END)
FROM pg_constraint WHERE conrelid = ANY(%(oids)s::oid[]) AND contype IN ('p', 'u', 'f', 'c', 'x')
ORDER BY conrelid, oid
"""

_INDEXES: Final = """
SELECT json_build_array(i.indrelid::int8, i.indexrelid::int8, c.relname, i.indkey::int2[], i.indnkeyatts,
    i.indisunique, i.indisvalid, c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree'),
    i.indpred IS NOT NULL OR i.indexprs IS NOT NULL, 0 = ALL (i.indoption::int2[]),
    c.reloptions IS NULL AND i.indclass::oid[] <@ ARRAY(SELECT oid FROM pg_opclass WHERE opcdefault),
    i.indcollation::oid[]::int8[], pg_get_indexdef(i.indexrelid),
    ARRAY(SELECT pg_get_indexdef(i.indexrelid, part, FALSE) FROM generate_series(1, i.indnkeyatts) part),
    coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
    {equal_nulls}, i.indisexclusion)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = ANY(%(oids)s::oid[])
ORDER BY i.indrelid, i.indexrelid
"""
"""`WITHOUT OVERLAPS` (a key with `indisexclusion`) and `NOT ENFORCED` (the end of the definition) came with 18."""

_EQUAL_NULLS_SINCE: Final = 150000

_AS_JSON: Final = sql.SQL("(SELECT json_agg(found) FROM ({}) AS part (found))")

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


@many_objects()
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
    has_equal_nulls = connection.info.server_version >= _EQUAL_NULLS_SINCE
    indexes_query = _INDEXES.format(equal_nulls="i.indnullsnotdistinct" if has_equal_nulls else "FALSE")
    parts = (_DEFAULTS, _COMMENTS, _DEPENDENTS, *((_CONSTRAINTS, indexes_query) if keys else ()))
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, {"names": requested})
        tables = _tables(cursor.fetchall())
        if tables:
            together = sql.SQL(", ").join(_AS_JSON.format(sql.SQL(part)) for part in parts)
            cursor.execute(sql.SQL("SELECT {}").format(together), {"oids": list(tables)})
            defaults, comments, dependents, *of_keys = (found or () for found in cursor.fetchall()[0])
            for oid, number, expression in defaults:
                tables[oid].defaults[number] = expression
            for oid, number, comment in comments:
                tables[oid].comments[number] = comment
            for oid, number, dependent, is_owned_sequence in dependents:
                tables[oid].dependents[dependent].add(number)
                if is_owned_sequence:
                    tables[oid].serial.add(number)
            constraints, indexes = of_keys or ((), ())
            for oid, *row in constraints:
                tables[oid].constraints.append(_Constraint(*row))
            for oid, *row in indexes:
                tables[oid].indexes[row[0]] = _Index(*row)
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


class _Column(NamedTuple):
    """A row of `_COLUMNS`, without its table and number."""

    name: str
    type: str
    not_null: bool
    identity: str
    generated: str
    collation: int
    other_collation: str

    def default(self, expression: str | None, *, owns_sequence: bool) -> str | None:
        """What follows the type: an expression, or what PostgreSQL keeps apart from those."""
        if self.identity:
            return f"GENERATED {'ALWAYS' if self.identity == 'a' else 'BY DEFAULT'} AS IDENTITY"
        if self.generated:
            return f"GENERATED ALWAYS AS ({expression}) {'VIRTUAL' if self.generated == 'v' else 'STORED'}"
        if owns_sequence and expression and expression.startswith("nextval("):
            return SERIAL
        return expression


class _Constraint(NamedTuple):
    """A row of `_CONSTRAINTS`, without its table."""

    oid: int
    kind: str
    name: str
    columns: list[int] | None
    valid: bool
    deferrable: bool
    deferred: bool
    on_delete: str
    on_update: str
    target: str | None
    referred: list[str] | None
    check: str | None
    definition: str
    backing_index: int | None


class _Index(NamedTuple):
    """A row of `_INDEXES`, without its table."""

    oid: int
    name: str
    columns: list[int]
    key_columns: int
    unique: bool
    valid: bool
    is_btree: bool
    partial: bool
    ascending: bool
    usual: bool
    collations: list[int]
    definition: str
    parts: list[str]
    predicate: str
    equal_nulls: bool
    exclusion: bool

    @property
    def includes(self) -> bool:
        """Whether it has columns that are no part of its key."""
        return len(self.columns) > self.key_columns

    @property
    def is_more_than_columns(self) -> bool:
        """Whether a key with this index is more than a list of columns."""
        return self.includes or self.exclusion or self.equal_nulls

    @property
    def written(self) -> IndexParts:
        """What it is made of."""
        unique = "UNIQUE " if self.unique else ""
        detail = f"{unique}USING{self.definition.partition(' USING')[2]}"
        return IndexParts(
            detail=detail,
            parts=tuple(self.parts),
            predicate=self.predicate,
            equal_nulls=self.unique and self.equal_nulls,
        )


@dataclass(kw_only=True)
class _Table:
    """Builder of an `InspectedTable`; a column is known by its number, 0 is the table itself.

    Attributes:
        dependents: sequences and indexes, by OID → the columns that they depend on.
        serial: columns that own a sequence.
    """

    name: str
    partitioned: bool
    columns: dict[int, _Column] = field(default_factory=dict)
    defaults: dict[int, str] = field(default_factory=dict)
    comments: dict[int, str] = field(default_factory=dict)
    dependents: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    serial: set[int] = field(default_factory=set)
    constraints: list[_Constraint] = field(default_factory=list)
    indexes: dict[int, _Index] = field(default_factory=dict)

    def build(self) -> InspectedTable:
        """All of it together."""
        backing = {constraint.backing_index for constraint in self.constraints}
        indexes = (self._index(index, backing=index.oid in backing) for index in self.indexes.values())
        backfilling = (number for number, comment in self.comments.items() if comment == BACKFILL_COMMENT)
        return InspectedTable(
            columns={column.name: self._column(number, column) for number, column in self.columns.items()},
            keys=(*map(self._constraint, self.constraints), *indexes),
            backfilling=frozenset(self._named(backfilling)),
            partitioned=self.partitioned,
            comment=self.comments.get(0, ""),
        )

    def _named(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """The names of columns; 0 (an expression) is omitted."""
        return tuple(self.columns[number].name for number in numbers if number in self.columns)

    def _column(self, number: int, column: _Column) -> ColumnSchema:
        return ColumnSchema(
            type=column.type,
            not_null=column.not_null,
            default=column.default(self.defaults.get(number), owns_sequence=number in self.serial),
            collation=column.other_collation,
            comment=self.comments.get(number, ""),
        )

    def _constraint(self, given: _Constraint) -> InspectedKey:
        enforced = not given.definition.endswith(" NOT ENFORCED")
        uses = columns = self._named(given.columns or ())
        index = self.indexes.get(given.backing_index or 0)
        deferral = actions("", "", deferrable=given.deferrable, deferred=given.deferred)
        detail = target = None
        if given.kind == FOREIGN:
            changes = (_ACTIONS.get(given.on_delete, ""), _ACTIONS.get(given.on_update, ""))
            detail = actions(*changes, deferrable=given.deferrable, deferred=given.deferred)
            target = (given.target or _HIDDEN, tuple(given.referred or ()))
        elif given.kind == CHECK:
            columns, detail = (), given.check
        elif given.kind == EXCLUDE:
            columns, detail = (), given.definition
        elif given.deferrable or (index and index.is_more_than_columns):
            detail = given.definition
        schema = KeySchema(
            kind=given.kind,
            columns=columns,
            target=target,
            detail=detail or "",
            name=given.name,
            index=index and index.written,
            deferral=deferral if given.kind in {PRIMARY, UNIQUE} else "",
            enforced=enforced,
        )
        return InspectedKey(
            schema=schema,
            oid=given.oid,
            definition=given.definition,
            uses=frozenset((*uses, *(self._used(index) if index else ()))),
            valid=given.valid or not enforced,  # which cannot be validated
        )

    def _index(self, given: _Index, *, backing: bool) -> InspectedKey:
        other_collations = any(
            collation not in {0, self.columns[number].collation}
            for collation, number in zip(given.collations, given.columns, strict=False)
            if number in self.columns
        )
        plain = given.is_btree and given.ascending and not given.partial
        special = not plain or given.unique or other_collations or not given.usual or given.includes
        written = given.written
        schema = KeySchema(
            kind=INDEX,
            columns=self._named(given.columns[: given.key_columns]),
            detail=written.detail if special else "",
            name=given.name,
            index=written,
        )
        return InspectedKey(
            schema=schema,
            oid=given.oid,
            definition=given.definition,
            uses=frozenset(self._used(given)),
            valid=given.valid,
            plain=plain,
            backing=backing,
        )

    def _used(self, index: _Index) -> tuple[str, ...]:
        """All columns that an index depends on: expressions and predicate name more than it lists."""
        return self._named((*index.columns, *(self.dependents[index.oid] if index.partial else ())))


def _tables(rows: Iterable[tuple[Any, ...]]) -> dict[int, _Table]:
    tables: dict[int, _Table] = {}
    for oid, name, kind, number, *column in rows:
        table = tables.setdefault(oid, _Table(name=name, partitioned=kind == "p"))
        if number is not None:
            table.columns[number] = _Column(*column)
    return tables


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
