"""Table schemas: columns with type, NOT NULL and default, keys, indexes and checks. Pure.

One notation for the desired schema (SQLAlchemy tables), the last applied one (JSON in the solution's manifest) and the
inspected one (PostgreSQL's catalogue). Types are written as by PostgreSQL's format_type(). Expressions are compared in
a canonical form, because PostgreSQL rewrites them: `NOW()` becomes `now()`, `'{}'` becomes `'{}'::jsonb`, `a > 0`
becomes `(a > (0)::numeric)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    DefaultClause,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy import literal as literal_value
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.elements import ClauseElement

from fbs_worker.core.errors import DatabaseError
from fbs_worker.schema.columns import DIALECT, type_of

SERIAL: Final = "SERIAL"
"""The default of a column with a sequence of its own."""

PRIMARY: Final = "p"
UNIQUE: Final = "u"
FOREIGN: Final = "f"
INDEX: Final = "i"
CHECK: Final = "c"
KINDS: Final = (PRIMARY, UNIQUE, FOREIGN, INDEX, CHECK)

_CAST: Final = re.compile(
    r"""::\s*("[^"]+"|[a-z_][\w.]*)(\s+(varying|precision|with(out)?\s+time\s+zone))*(\s*\([\d,\s]+\))?(\[\])*""",
    re.IGNORECASE,
)
_PARTS: Final = re.compile(r"(E?'(?:[^']|'')*')")
_LITERAL: Final = re.compile(r"'((?:[^']|'')*)'")
_CONSTANT: Final = re.compile(
    r"[-+\s(]*(E?'(?:[^']|'')*'|[\d.]+(?:e[-+]?\d+)?|true|false|null|now\(\)|(?:current|local)_\w+|localtime(?:stamp)?)[\s)]*",
    re.IGNORECASE,
)
_NOISE: Final = re.compile(r'[\s()"]+')


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSchema:
    """A column.

    Attributes:
        type: as written by format_type(), e.g. `character varying(50)`.
        not_null: whether it is NOT NULL.
        default: the default as SQL; SERIAL for a column with a sequence of its own; None without a default.
    """

    type: str
    not_null: bool = False
    default: str | None = None

    @property
    def expression(self) -> str | None:
        """The default as an SQL expression; None for a column with a sequence or a generated one."""
        return None if self.default == SERIAL or (self.default or "").startswith("GENERATED") else self.default

    def has_same_default(self, other: ColumnSchema) -> bool:
        """Compare the canonical forms of both defaults."""
        return canonical(self.default) == canonical(other.default)

    def equals(self, other: ColumnSchema) -> bool:
        """Compare type, NOT NULL and default."""
        return self.type == other.type and self.not_null == other.not_null and self.has_same_default(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySchema:
    """A key, an index or a check of a table.

    Attributes:
        kind: `p` primary key, `u` unique, `f` foreign key, `i` index, `c` check.
        columns: in key order; empty for a check.
        target: of a foreign key: the referenced table and its columns.
        detail: further SQL: the actions of a foreign key (`ON DELETE CASCADE`), the expression of a check; for an
            index that is more than a list of columns, everything after the table's name, prefixed with `UNIQUE`.
        name: actual or desired name; empty for a name chosen by PostgreSQL. Not part of the identity.
    """

    kind: str
    columns: tuple[str, ...] = ()
    target: tuple[str, tuple[str, ...]] | None = None
    detail: str = ""
    name: str = field(default="", compare=False)

    @property
    def identity(self) -> tuple[object, ...]:
        """Identity within the table, independent of name and notation."""
        return (self.kind, self.columns, self.target, canonical(self.detail))

    @property
    def is_unique(self) -> bool:
        """Whether it forbids duplicate values."""
        return self.kind in {PRIMARY, UNIQUE} or (self.kind == INDEX and self.detail.startswith("UNIQUE"))

    def label(self) -> str:
        """Return a readable label, e.g. `foreign key (tenant_id) to r_tenant`."""
        words = {PRIMARY: "primary key", UNIQUE: "unique key", FOREIGN: "foreign key", INDEX: "index on"}
        if self.kind == CHECK:
            return f"check ({self.detail})"
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
    """

    columns: Mapping[str, ColumnSchema]
    keys: tuple[KeySchema, ...] = ()

    @cached_property
    def identities(self) -> frozenset[tuple[object, ...]]:
        """Identities of its keys."""
        return frozenset(key.identity for key in self.keys)


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


def to_json(schema: Schema) -> dict[str, Any]:
    """Return the JSON-ready form.

    Returns:
        Table → `columns` (name → `[type, not_null, default]`) and `keys` (each `[kind, columns, target]`, and `detail`
        where not empty).
    """
    return {name: _table_json(table) for name, table in sorted(schema.items())}


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


@lru_cache(maxsize=4096)
def canonical(expression: str | None) -> str | None:
    """Return a form of an expression that is equal for most notations of it; for comparison only."""
    if expression is None or expression == SERIAL:
        return expression and "nextval()"  # unambiguous: brackets are removed from all others
    # outside of literals: no casts, blanks, brackets and quotes, lower case; a literal is replaced by its contents
    parts = [
        literal[1]
        if (literal := _LITERAL.fullmatch(part.removeprefix("E")))
        else _NOISE.sub("", _CAST.sub("", part)).lower()
        for part in _PARTS.split(expression)
    ]
    return "".join(parts).replace("usingbtree", "")


@lru_cache(maxsize=1024)
def is_volatile(default: str) -> bool:
    """Return whether a default may differ from row to row: true unless it is known to be constant in a statement.

    A column with a constant default is added without a rewrite (PostgreSQL's documentation of ALTER TABLE, notes).
    """
    return default == SERIAL or _CONSTANT.fullmatch(_CAST.sub("", default)) is None


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
    return TableSchema(columns=columns, keys=tuple(renamed_key(name, key, renames) for key in table.keys))


def _table(table: Table) -> TableSchema:
    columns = {str(column.name): _column(table, column) for column in table.columns}
    keys: list[KeySchema] = []
    if table.primary_key:
        named = tuple(str(column.name) for column in table.primary_key)
        keys.append(KeySchema(kind=PRIMARY, columns=named, name=str(table.primary_key.name or "")))
    for constraint in table.constraints:
        match constraint:
            case ForeignKeyConstraint():
                keys.append(_foreign(constraint))
            case UniqueConstraint():
                named = tuple(str(column.name) for column in constraint.columns)
                keys.append(KeySchema(kind=UNIQUE, columns=named, name=str(constraint.name or "")))
            case CheckConstraint():
                keys.append(
                    KeySchema(kind=CHECK, detail=_expression(constraint.sqltext), name=str(constraint.name or ""))
                )
    keys += [_index(table, index) for index in table.indexes]
    return TableSchema(columns=columns, keys=tuple(sorted(keys, key=_order)))


def _column(table: Table, column: Column[Any]) -> ColumnSchema:
    if column is table.autoincrement_column and column.server_default is None:
        return ColumnSchema(type=type_of(column), not_null=True, default=SERIAL)
    default = None
    if isinstance(column.server_default, DefaultClause):
        value = column.server_default.arg
        default = _expression(literal_value(value, String()) if isinstance(value, str) else value)
    return ColumnSchema(type=type_of(column), not_null=not column.nullable, default=default)


def _expression(clause: ClauseElement) -> str:
    """An expression as SQL, with literal values and bare names of columns."""
    return str(clause.compile(dialect=DIALECT, compile_kwargs={"include_table": False, "literal_binds": True}))


def _foreign(constraint: ForeignKeyConstraint) -> KeySchema:
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
        name=str(constraint.name or ""),
    )


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


def _index(table: Table, index: Index) -> KeySchema:
    columns = tuple(str(column.name) for column in index.columns)
    options = [value for known in index.dialect_options.values() for value in dict(known).values()]
    special = any(isinstance(value, ClauseElement) or value for value in options)  # a clause is neither true nor false
    detail = ""
    if special:
        written = str(CreateIndex(index).compile(dialect=DIALECT))
        detail = written.partition(f" ON {DIALECT.identifier_preparer.format_table(table)} ")[2]
    elif index.unique:
        detail = f"({', '.join(map(DIALECT.identifier_preparer.quote, columns))})"
    detail = f"UNIQUE {detail}" if index.unique else detail
    return KeySchema(kind=INDEX, columns=columns, detail=detail, name=str(index.name or ""))


def _order(key: KeySchema) -> tuple[int, tuple[str, ...], str]:
    return (KINDS.index(key.kind), key.columns, key.detail)


def _table_json(table: TableSchema) -> dict[str, Any]:
    return {
        "columns": {name: [column.type, column.not_null, column.default] for name, column in table.columns.items()},
        "keys": [_key_json(key) for key in table.keys],
    }


def _key_json(key: KeySchema) -> list[Any]:
    target = None if key.target is None else [key.target[0], list(key.target[1])]
    data: list[Any] = [key.kind, list(key.columns), target]
    return [*data, key.detail] if key.detail else data


def _table_from_json(data: Mapping[str, Any]) -> TableSchema:
    columns = {
        str(name): ColumnSchema(type=_text(kind), not_null=bool(not_null), default=default and _text(default))
        for name, (kind, not_null, default) in data["columns"].items()
    }
    return TableSchema(columns=columns, keys=tuple(map(_key_from_json, data["keys"])))


def _key_from_json(data: Sequence[Any]) -> KeySchema:
    kind, columns, target, *rest = data
    if kind not in KINDS:
        raise ValueError(kind)
    return KeySchema(
        kind=kind,
        columns=tuple(map(_text, columns)),
        target=None if target is None else (_text(target[0]), tuple(map(_text, target[1]))),
        detail=_text(rest[0]) if rest else "",
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
