"""The shape of tables: columns with type, NOT NULL and default, and keys. Pure.

One notation for what is wanted (SQLAlchemy's tables), what FBS made (JSON in the solution's own row) and what a
database has. Types are as PostgreSQL's format_type() writes them. Two texts of one expression are compared in a
canonical form, because PostgreSQL writes expressions in its own way: `NOW()` becomes `now()`, `'{}'` becomes
`'{}'::jsonb`, `a > 0` becomes `(a > (0)::numeric)`.
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
"""The default of a column that counts by a sequence of its own."""

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
        type: as format_type() writes it, e.g. `character varying(50)`.
        not_null: it is NOT NULL.
        default: its default as SQL; SERIAL where it counts by itself; None where it has none.
    """

    type: str
    not_null: bool = False
    default: str | None = None

    def has_same_default(self, other: ColumnSchema) -> bool:
        """Whether both have the same default, as far as the texts tell."""
        return canonical(self.default) == canonical(other.default)

    def equals(self, other: ColumnSchema) -> bool:
        """Whether both are the same."""
        return self.type == other.type and self.not_null == other.not_null and self.has_same_default(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySchema:
    """A key, an index or a check of a table.

    Attributes:
        kind: `p` primary key, `u` unique, `f` foreign key, `i` index, `c` check.
        columns: in their order; none for a check.
        target: of a foreign key: the other table and its columns.
        detail: what else belongs to it, as SQL: a foreign key's actions (`ON DELETE CASCADE`), a check's expression, of
            an index that is more than a list of columns everything after the table's name, `UNIQUE` before it.
        name: what it is or should be called; empty for whatever PostgreSQL chooses. It does not tell keys apart.
    """

    kind: str
    columns: tuple[str, ...] = ()
    target: tuple[str, tuple[str, ...]] | None = None
    detail: str = ""
    name: str = field(default="", compare=False)

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it apart from other keys of its table, however it is written."""
        return (self.kind, self.columns, self.target, canonical(self.detail))

    @property
    def is_unique(self) -> bool:
        """No two rows may have the same values."""
        return self.kind in {PRIMARY, UNIQUE} or (self.kind == INDEX and self.detail.startswith("UNIQUE"))

    def label(self) -> str:
        """What it is, for a person, e.g. `foreign key (tenant_id) to r_tenant`."""
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
        columns: by name, in the order in which they are made.
        keys: its keys, indexes and checks.
    """

    columns: Mapping[str, ColumnSchema]
    keys: tuple[KeySchema, ...] = ()

    @cached_property
    def identities(self) -> frozenset[tuple[object, ...]]:
        """What its keys are told apart by."""
        return frozenset(key.identity for key in self.keys)


Schema = Mapping[str, TableSchema]
"""Tables by name."""


def schema_of(tables: Iterable[Table]) -> dict[str, TableSchema]:
    """The shape that tables are to have.

    Args:
        tables: SQLAlchemy's, foreign keys resolved.
    """
    return {str(table.name): _table(table) for table in tables}


def to_json(schema: Schema) -> dict[str, Any]:
    """JSON-ready.

    Returns:
        Table → `columns` (name → `[type, not_null, default]`) and `keys` (each `[kind, columns, target]`, and its
        `detail` where it has one).
    """
    return {name: _table_json(table) for name, table in sorted(schema.items())}


def from_json(data: Mapping[str, Any]) -> dict[str, TableSchema]:
    """What `to_json` wrote.

    Raises:
        DatabaseError: somebody changed it.
    """
    try:
        return {str(name): _table_from_json(table) for name, table in data.items()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
        raise DatabaseError(
            "The record of what FBS made for the solution is damaged: `shape` in its row is not what FBS keeps there.",
            hint="Take `shape` out of schema_definition in that row; then what is found there counts as made by FBS.",
        ) from exc


@lru_cache(maxsize=4096)
def canonical(expression: str | None) -> str | None:
    """A form in which two ways to write an expression are equal, most of the time; for comparing alone."""
    if expression is None or expression == SERIAL:
        return expression and "nextval()"  # which no expression has: brackets are taken off
    # outside of literals: no casts, blanks, brackets and quotes around names, lower case; a literal as its contents
    parts = [
        literal[1]
        if (literal := _LITERAL.fullmatch(part.removeprefix("E")))
        else _NOISE.sub("", _CAST.sub("", part)).lower()
        for part in _PARTS.split(expression)
    ]
    return "".join(parts).replace("usingbtree", "")


@lru_cache(maxsize=1024)
def is_volatile(default: str) -> bool:
    """Whether a default may be another one for each row: whatever is not known to be the same all through a statement.

    A column with a default that is the same for all rows is added without a rewrite (PostgreSQL's documentation of
    ALTER TABLE, notes).
    """
    return default == SERIAL or _CONSTANT.fullmatch(_CAST.sub("", default)) is None


def renamed(schema: Schema, renames: Mapping[tuple[str, str], str]) -> dict[str, TableSchema]:
    """A shape with columns called otherwise, foreign keys that refer to them included.

    Args:
        shape: what it was.
        renames: table and column → the column's new name.
    """
    if not renames:
        return dict(schema)
    return {name: _renamed(name, table, renames) for name, table in schema.items()}


def renamed_key(table: str, key: KeySchema, renames: Mapping[tuple[str, str], str]) -> KeySchema:
    """A key with columns called otherwise; arguments as for `renamed`."""
    columns = tuple(renames.get((table, name), name) for name in key.columns)
    target = key.target
    if target is not None:
        target = (target[0], tuple(renames.get((target[0], name), name) for name in target[1]))
    return replace(key, columns=columns, target=target)


def _renamed(name: str, table: TableSchema, renames: Mapping[tuple[str, str], str]) -> TableSchema:
    columns = {renames.get((name, column), column): facts for column, facts in table.columns.items()}
    return TableSchema(columns=columns, keys=tuple(renamed_key(name, key, renames) for key in table.keys))


# ------------------------------------------------------------------------------------------------- from SQLAlchemy


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
    """A foreign key's actions as SQL; what is the default is left out.

    Args:
        on_delete: e.g. `CASCADE`; empty or `NO ACTION` for the default.
        on_update: the same.
        deferrable: it may be checked at the end of a transaction.
        deferred: it is, unless told otherwise.
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


# ------------------------------------------------------------------------------------------------------------- JSON


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
