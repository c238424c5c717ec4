"""Table schemas: columns with type, collation, NOT NULL, default and comment, keys, indexes and checks. Pure.

One notation for the desired schema (SQLAlchemy tables), the last applied one (JSON in the solution's manifest) and the
inspected one (PostgreSQL's catalogue): PostgreSQL's own, by format_type(), pg_get_expr(), pg_get_constraintdef() and
pg_get_indexdef(). What a table is written in where it is desired may differ from it; `read_back` asks PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    Constraint,
    DefaultClause,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy import literal as literal_value
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.elements import ClauseElement

from fbs_worker.core.errors import DatabaseError
from fbs_worker.schema.columns import DIALECT, expression_of, type_of

SERIAL: Final = "SERIAL"
"""The default of a column with a sequence of its own."""

PRIMARY: Final = "p"
UNIQUE: Final = "u"
FOREIGN: Final = "f"
INDEX: Final = "i"
CHECK: Final = "c"
EXCLUDE: Final = "x"
KINDS: Final = (PRIMARY, UNIQUE, EXCLUDE, FOREIGN, INDEX, CHECK)

_EXACT_TYPE: Final = re.compile(
    r"(smallint|integer|bigint|real|double precision|numeric(\(\d+,\d+\))?|boolean|text|character varying(\(\d+\))?"
    r"|character\(\d+\)|date|interval|(time|timestamp)(\(\d\))? with(out)? time zone|bytea|jsonb?|uuid)(\[\])?"
)
_EXACT_DEFAULT: Final = re.compile(
    r"SERIAL|now\(\)|true|false|0|[1-9]\d{0,8}|'(?:[^'\\]|'')*'::(text|character varying)|'(\{\}|\[\])'::jsonb"
)
"""Types and defaults that PostgreSQL prints as they are written here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSchema:
    """A column.

    Attributes:
        type: as written by format_type(), e.g. `character varying(50)`.
        not_null: whether it is NOT NULL.
        default: the default as SQL; SERIAL for a column with a sequence of its own; `GENERATED …` for an identity or
            a generated column; None without a default.
        collation: quoted; empty for that of the type.
        comment: empty without one.
        written: the default as its author wrote it, where PostgreSQL prints it otherwise; empty else. Not compared:
            what PostgreSQL prints is not always what it would print again of that.
    """

    type: str
    not_null: bool = False
    default: str | None = None
    collation: str = ""
    comment: str = ""
    written: str = field(default="", compare=False)

    @property
    def full_type(self) -> str:
        """The type with the collation, as SQL."""
        return f"{self.type} COLLATE {self.collation}" if self.collation else self.type

    @property
    def source(self) -> str | None:
        """The default as SQL to run."""
        return self.written or self.default

    @property
    def expression(self) -> str | None:
        """The default as an SQL expression; None for a column with a sequence or a generated one."""
        return None if self.default == SERIAL or (self.default or "").startswith("GENERATED") else self.default

    @property
    def is_exact(self) -> bool:
        """Whether PostgreSQL is known to print type and default as they are written."""
        default = self.default is None or _EXACT_DEFAULT.fullmatch(self.default) is not None
        return default and not self.collation and _EXACT_TYPE.fullmatch(self.type) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexParts:
    """What an index is made of, in PostgreSQL's notation.

    Attributes:
        detail: as that of an index's `KeySchema`.
        parts: columns and expressions of its key.
        predicate: of a partial index; empty for one of all rows.
        equal_nulls: NULLS NOT DISTINCT.
    """

    detail: str
    parts: tuple[str, ...]
    predicate: str = ""
    equal_nulls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySchema:
    """A key, an index or a check of a table.

    Attributes:
        kind: `p` primary key, `u` unique, `f` foreign key, `i` index, `c` check, `x` exclusion.
        columns: in key order; empty for a check and an exclusion.
        target: of a foreign key: the referenced table and its columns.
        detail: further SQL: the actions of a foreign key (`ON DELETE CASCADE`), the expression of a check; for a key
            or an index that is more than a list of columns, its whole definition: what follows the name of a
            constraint, or the table of an index, prefixed with `UNIQUE`.
        name: actual or desired name; empty for a name chosen by PostgreSQL. Not part of the identity.
        written: `detail` as its author wrote it, where PostgreSQL prints it otherwise. Not part of the identity.
        index: of an inspected index, primary or unique key: what it is made of. Not part of the identity.
        deferral: of an inspected primary or unique key: `DEFERRABLE …`. Not part of the identity.
        enforced: False for a foreign key or a check that is NOT ENFORCED (since PostgreSQL 18): it states a link, and
            has no effect, its actions neither.
    """

    kind: str
    columns: tuple[str, ...] = ()
    target: tuple[str, tuple[str, ...]] | None = None
    detail: str = ""
    name: str = field(default="", compare=False)
    written: str = field(default="", compare=False)
    index: IndexParts | None = field(default=None, compare=False, repr=False)
    deferral: str = field(default="", compare=False)
    enforced: bool = True

    @property
    def identity(self) -> tuple[object, ...]:
        """Identity within the table, independent of name and notation."""
        return (self.kind, self.columns, self.target, self.detail, self.enforced)

    @property
    def source(self) -> str:
        """The detail as SQL to run."""
        return self.written or self.detail

    @property
    def is_exact(self) -> bool:
        """Whether PostgreSQL is known to print it as it is written."""
        return self.kind == FOREIGN or not self.detail

    @property
    def is_unique(self) -> bool:
        """Whether it forbids duplicate values."""
        return self.kind in {PRIMARY, UNIQUE} or (self.kind == INDEX and self.detail.startswith("UNIQUE"))

    def difference(self, before: KeySchema) -> str:
        """Return how a key differs from the one that it replaces, e.g. `ON DELETE NO ACTION → CASCADE`."""
        if self.enforced != before.enforced:
            return "ENFORCED → NOT ENFORCED" if before.enforced else "NOT ENFORCED → ENFORCED"
        if self.kind != FOREIGN or (self.columns, self.target) != (before.columns, before.target):
            return f"{before.label()} → {self.label()}"
        was, now = (_actions(key.detail) for key in (before, self))
        return ", ".join(f"{part} {was[part]} → {now[part]}".strip() for part in now if was[part] != now[part])

    def label(self) -> str:
        """Return a readable label, e.g. `foreign key (tenant_id) to r_tenant`."""
        return self._label() if self.enforced else f"{self._label()} NOT ENFORCED"

    def _label(self) -> str:
        words = {PRIMARY: "primary key", UNIQUE: "unique key", FOREIGN: "foreign key", INDEX: "index on"}
        if self.kind == CHECK:
            return f"check {self.detail if self.detail.startswith('(') else f'({self.detail})'}"
        if self.kind == EXCLUDE:
            return f"exclusion {self.detail.removeprefix('EXCLUDE ')}"
        if self.kind == INDEX and not self.columns:
            return f"index {self.name or self.detail}"  # on expressions
        text = f"{words[self.kind]} ({', '.join(self.columns)})"
        if self.target is not None:
            text += f" to {self.target[0]}"
        return text


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """A table.

    Attributes:
        columns: by name, in creation order.
        keys: keys, indexes and checks.
        comment: empty without one.
    """

    columns: Mapping[str, ColumnSchema]
    keys: tuple[KeySchema, ...] = ()
    comment: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether PostgreSQL is known to print all of it as it is written."""
        return all(column.is_exact for column in self.columns.values()) and all(key.is_exact for key in self.keys)

    @property
    def comments(self) -> dict[str, str]:
        """Column → comment, where there is one; the key of the table's own is empty."""
        columns = {name: column.comment for name, column in self.columns.items()}
        return {name: comment for name, comment in {"": self.comment, **columns}.items() if comment}

    @cached_property
    def identities(self) -> frozenset[tuple[object, ...]]:
        """Identities of its keys."""
        return frozenset(key.identity for key in self.keys)


NOT_ENFORCED_SINCE: Final = 180000
"""Version of PostgreSQL, as reported by libpq."""

_ACTIONS: Final = ("CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT")
_DEFERRALS: Final = ("DEFERRABLE INITIALLY DEFERRED", "DEFERRABLE")

_SCHEMA: Final = "fbs-worker schema"
"""Key of a table's `TableSchema` in its `info`."""

Schema = Mapping[str, TableSchema]
"""Tables by name."""


def schema_of(tables: Iterable[Table]) -> dict[str, TableSchema]:
    """Build the schema of SQLAlchemy tables, once for each.

    Args:
        tables: SQLAlchemy tables with resolved foreign keys, which are not modified any more.
    """
    return {
        str(table.name): table.info.get(_SCHEMA) or table.info.setdefault(_SCHEMA, _table(table)) for table in tables
    }


def possible_schema(schema: Schema, server_version: int) -> Schema:
    """Leave out what a server does not know: keys that are NOT ENFORCED.

    Args:
        schema: the tables.
        server_version: as reported by libpq.
    """
    if server_version >= NOT_ENFORCED_SINCE or all(key.enforced for table in schema.values() for key in table.keys):
        return schema
    return {
        name: replace(table, keys=tuple(key for key in table.keys if key.enforced)) for name, table in schema.items()
    }


def to_json(schema: Schema, *, exactly: bool = False) -> dict[str, Any]:
    """Return the JSON-ready form.

    Args:
        schema: the tables.
        exactly: with the order of columns and the names of keys: columns are a list of pairs then, and a key has a
            `name`.

    Returns:
        Table → `columns` (name → `[type, not_null, default]`, and an object with `collation`, `comment` and `written`
        as far as there is one), `keys` (each `[kind, columns, target]`, `detail` and `written` where not empty, and
        an object with a `name` and `enforced` where there is one, or it is false), and a `comment`.
    """
    return {name: _table_json(table, exactly=exactly) for name, table in sorted(schema.items())}


def from_json(data: Mapping[str, Any]) -> dict[str, TableSchema]:
    """Parse the form written by `to_json`.

    Raises:
        DatabaseError: the data does not have that form.
    """
    try:
        return {str(name): _table_from_json(table) for name, table in data.items()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
        raise DatabaseError(
            "The solution's manifest is damaged: `shape` in its schema_definition is not a table schema.",
            hint="Remove `shape` from schema_definition in that row: the next plan takes the tables as they are.",
        ) from exc


def renamed(schema: Schema, renames: Mapping[tuple[str, str], str]) -> dict[str, TableSchema]:
    """Rename columns in a schema and in the foreign keys that reference them.

    Args:
        schema: the schema before.
        renames: table and column → the column's new name.
    """
    if not renames:
        return dict(schema)
    return {name: _renamed(name, table, renames) for name, table in schema.items()}


def renamed_key(table: str, key: KeySchema, renames: Mapping[tuple[str, str], str]) -> KeySchema:
    """Rename columns in a key; arguments as for `renamed`."""
    columns = tuple(renames.get((table, name), name) for name in key.columns)
    target = key.target
    if target is not None:
        target = (target[0], tuple(renames.get((target[0], name), name) for name in target[1]))
    return replace(key, columns=columns, target=target)


def _renamed(name: str, table: TableSchema, renames: Mapping[tuple[str, str], str]) -> TableSchema:
    columns = {renames.get((name, column), column): facts for column, facts in table.columns.items()}
    return replace(table, columns=columns, keys=tuple(renamed_key(name, key, renames) for key in table.keys))


def _table(table: Table) -> TableSchema:
    columns = {str(column.name): _column(table, column) for column in table.columns}
    keys = [_index(table, index) for index in table.indexes]
    for constraint in table.constraints:
        name = _name(constraint)
        match constraint:
            case ForeignKeyConstraint():
                keys.append(foreign_key(constraint))
            case PrimaryKeyConstraint() | UniqueConstraint() if constraint.columns:
                kind = PRIMARY if isinstance(constraint, PrimaryKeyConstraint) else UNIQUE
                named = tuple(str(column.name) for column in constraint.columns)
                keys.append(KeySchema(kind=kind, columns=named, detail=_options(constraint), name=name))
            case ExcludeConstraint():
                keys.append(KeySchema(kind=EXCLUDE, detail=_definition(constraint), name=name))
            case CheckConstraint():
                keys.append(KeySchema(kind=CHECK, detail=expression_of(constraint.sqltext), name=name))
    return TableSchema(columns=columns, keys=tuple(sorted(keys, key=_order)), comment=table.comment or "")


def _column(table: Table, column: Column[Any]) -> ColumnSchema:
    comment, written = column.comment or "", type_of(column)
    if column is table.autoincrement_column and column.server_default is None:
        return ColumnSchema(type=written, not_null=True, default=SERIAL, comment=comment)
    default = None
    if isinstance(column.server_default, DefaultClause):
        value = column.server_default.arg
        default = _printed(expression_of(literal_value(value, String()) if isinstance(value, str) else value), written)
    return ColumnSchema(type=written, not_null=not column.nullable, default=default, comment=comment)


def _printed(default: str, type_: str) -> str:
    """The commonest defaults as PostgreSQL prints them; others as they are written."""
    if default.lower() in {"now()", "true", "false"}:
        return default.lower()
    printed = f"{default}::{type_.partition('(')[0]}"
    return printed if _EXACT_DEFAULT.fullmatch(printed) else default


def _options(constraint: PrimaryKeyConstraint | UniqueConstraint) -> str:
    """The whole definition of a key with options; empty for one without."""
    given = [value for known in constraint.dialect_options.values() for value in dict(known).values()]
    return _definition(constraint) if any(given) or constraint.deferrable or constraint.initially else ""


def _definition(constraint: Constraint) -> str:
    """What follows the name of a constraint, as SQL."""
    compiler = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    written = str(compiler.process(constraint))
    name = DIALECT.identifier_preparer.format_constraint(constraint) if _name(constraint) else ""
    return written.removeprefix(f"CONSTRAINT {name} ").strip()


def foreign_key(constraint: ForeignKeyConstraint) -> KeySchema:
    """Return the schema of a foreign key of an SQLAlchemy table."""
    columns = tuple(str(element.parent.name) for element in constraint.elements)
    referred = tuple(str(element.column.name) for element in constraint.elements)
    return KeySchema(
        kind=FOREIGN,
        columns=columns,
        target=(str(constraint.referred_table.name), referred),
        detail=actions(
            constraint.ondelete or "",
            constraint.onupdate or "",
            deferrable=bool(constraint.deferrable),
            deferred=(constraint.initially or "").upper() == "DEFERRED",
        ),
        name=_name(constraint),
        enforced=is_enforced(constraint),
    )


def is_enforced(constraint: Constraint) -> bool:
    """Return whether a constraint is not marked as NOT ENFORCED by `enforced` in its `info`; SQLAlchemy has no word."""
    return bool(constraint.info.get("enforced", True))


def actions(on_delete: str, on_update: str, *, deferrable: bool, deferred: bool) -> str:
    """Render the actions of a foreign key as SQL, defaults omitted.

    Args:
        on_delete: e.g. `CASCADE`; empty or `NO ACTION` for the default.
        on_update: the same.
        deferrable: DEFERRABLE.
        deferred: INITIALLY DEFERRED.
    """
    parts = [
        f"{event} {action.upper()}"
        for event, action in (("ON DELETE", on_delete), ("ON UPDATE", on_update))
        if action and action.upper() != "NO ACTION"
    ]
    if deferrable or deferred:
        parts.append("DEFERRABLE INITIALLY DEFERRED" if deferred else "DEFERRABLE")
    return " ".join(parts)


def _actions(detail: str) -> dict[str, str]:
    """The parts of the actions of a foreign key, defaults included; the reverse of `actions`."""
    rest, found = detail, {}
    for part in ("ON DELETE", "ON UPDATE"):
        action = next((one for one in _ACTIONS if f"{part} {one}" in rest), "NO ACTION")
        found[part] = action
    found[""] = next((words for words in _DEFERRALS if rest.endswith(words)), "NOT DEFERRABLE")
    return found


def _index(table: Table, index: Index) -> KeySchema:
    columns = tuple(str(column.name) for column in index.columns)
    options = [value for known in index.dialect_options.values() for value in dict(known).values()]
    special = any(isinstance(value, ClauseElement) or value for value in options)  # a clause is neither true nor false
    special |= not all(isinstance(expression, Column) for expression in index.expressions)
    detail = ""
    if special:
        written = str(CreateIndex(index).compile(dialect=DIALECT))
        detail = written.partition(f" ON {DIALECT.identifier_preparer.format_table(table)} ")[2]
    elif index.unique:
        detail = f"({', '.join(map(DIALECT.identifier_preparer.quote, columns))})"
    detail = f"UNIQUE {detail}" if index.unique else detail
    return KeySchema(kind=INDEX, columns=columns, detail=detail, name=_name(index))


def _name(named: Constraint | Index) -> str:
    """Its own name; empty where PostgreSQL chooses one."""
    return str(named.name) if isinstance(named.name, str) else ""


def _order(key: KeySchema) -> tuple[int, tuple[str, ...], str]:
    return (KINDS.index(key.kind), key.columns, key.detail)


def _table_json(table: TableSchema, *, exactly: bool) -> dict[str, Any]:
    columns = {name: _column_json(column) for name, column in table.columns.items()}
    return {
        "columns": list(map(list, columns.items())) if exactly else columns,
        "keys": [_key_json(key, exactly=exactly) for key in table.keys],
        **({"comment": table.comment} if table.comment else {}),
    }


def _column_json(column: ColumnSchema) -> list[Any]:
    more = {"collation": column.collation, "comment": column.comment, "written": column.written}
    given = {key: value for key, value in more.items() if value}
    return [column.type, column.not_null, column.default, *([given] if given else [])]


def _key_json(key: KeySchema, *, exactly: bool) -> list[Any]:
    target = None if key.target is None else [key.target[0], list(key.target[1])]
    data: list[Any] = [key.kind, list(key.columns), target]
    more = {**({"name": key.name} if exactly else {}), **({} if key.enforced else {"enforced": False})}
    return [*data, *filter(None, (key.detail, key.written, more))]


def _table_from_json(data: Mapping[str, Any]) -> TableSchema:
    columns = {str(name): _column_from_json(*column) for name, column in dict(data["columns"]).items()}
    keys = tuple(map(_key_from_json, data["keys"]))
    return TableSchema(columns=columns, keys=keys, comment=_text(data.get("comment", "")))


def _column_from_json(type_: Any, not_null: Any, default: Any, more: Mapping[str, Any] | None = None) -> ColumnSchema:
    return ColumnSchema(
        type=_text(type_),
        not_null=bool(not_null),
        default=None if default is None else _text(default),
        **{key: _text(value) for key, value in (more or {}).items()},
    )


def _key_from_json(data: Sequence[Any]) -> KeySchema:
    kind, columns, target, *rest = data
    if kind not in KINDS:
        raise ValueError(kind)
    more = rest.pop() if rest and isinstance(rest[-1], Mapping) else {}
    return KeySchema(
        kind=kind,
        columns=tuple(map(_text, columns)),
        target=None if target is None else (_text(target[0]), tuple(map(_text, target[1]))),
        detail=_text(rest[0]) if rest else "",
        written=_text(rest[1]) if len(rest) > 1 else "",
        name=_text(more.get("name", "")),
        enforced=bool(more.get("enforced", True)),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
