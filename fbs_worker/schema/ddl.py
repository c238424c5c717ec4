"""Render DDL: tables in dependency order, foreign keys of cycles at the end; temporary ones of a schema. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import ForeignKeyConstraint, Index, Table
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, sort_tables_and_constraints

from fbs_worker.core.identifiers import quoted
from fbs_worker.schema.columns import DIALECT
from fbs_worker.schema.model import (
    FOREIGN,
    INDEX,
    NOT_ENFORCED_SINCE,
    PRIMARY,
    SERIAL,
    ColumnSchema,
    KeySchema,
    TableSchema,
    foreign_key,
    is_enforced,
)

_SERIALS: Final = {"smallint": "SMALLSERIAL", "bigint": "BIGSERIAL"}


def creation_order(tables: Iterable[Table]) -> list[Table]:
    """Sort tables by their foreign keys, referenced ones first; the order within a cycle is arbitrary."""
    return [table for table, _ in _sorted(tables) if table is not None]


def render(
    tables: Iterable[Table], *, only: Collection[str] | None = None, server_version: int = NOT_ENFORCED_SINCE
) -> list[str]:
    """Render the statements that create tables, their indexes and foreign keys.

    Foreign keys of a cycle, and those that are not enforced, are added by ALTER TABLE after all tables.

    Args:
        tables: all tables of a definition.
        only: names of the tables to create; None for all.
        server_version: as reported by libpq: below 18 there is no key that is not enforced.
    """
    statements: list[str] = []
    for table, constraints in _sorted(tables):
        if table is None:
            added = sorted((key for key in constraints if only is None or key.table.name in only), key=_place)
            statements.extend(
                str(AddConstraint(key).compile(dialect=DIALECT))
                if is_enforced(key)
                else key_statement(key.table.name, foreign_key(key), key.name)
                for key in added
                if is_enforced(key) or server_version >= NOT_ENFORCED_SINCE
            )
        elif only is None or table.name in only:
            statement = CreateTable(table, include_foreign_key_constraints=list(constraints))
            statements.append(str(statement.compile(dialect=DIALECT)).strip())
            indexes = sorted(table.indexes, key=lambda index: (str(index.name), list(map(str, index.columns))))
            statements.extend(map(_index, indexes))
            statements.extend(comment_statements(table.name, _comments(table)))
    return statements


def comment_statements(table: str, comments: Mapping[str, str]) -> list[str]:
    """Render COMMENT statements.

    Args:
        table: the table's name.
        comments: column → comment, empty to remove it; the key of the table's own is empty.
    """
    return [
        f"COMMENT ON {f'COLUMN {quoted(table)}.{quoted(name)}' if name else f'TABLE {quoted(table)}'}"
        f" IS {_literal(comment) if comment else 'NULL'}"
        for name, comment in comments.items()
    ]


def _literal(text: str) -> str:
    """A literal; escape syntax reads the same whatever standard_conforming_strings is."""
    doubled = text.replace("'", "''")
    return f"E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{doubled}'"


def _comments(table: Table) -> dict[str, str]:
    columns = {str(column.name): column.comment for column in table.columns}
    return {name: comment for name, comment in {"": table.comment, **columns}.items() if comment}


def _index(index: Index) -> str:
    """Render CREATE INDEX; PostgreSQL chooses the name of an unnamed index."""
    if index.name is not None:
        return str(CreateIndex(index).compile(dialect=DIALECT))
    quote = DIALECT.identifier_preparer.quote
    columns = ", ".join(quote(column.name) for column in index.columns)
    return f"CREATE INDEX ON {quote(index.table.name)} ({columns})"  # type: ignore[union-attr]


def _sorted(tables: Iterable[Table]) -> list[tuple[Any, Any]]:
    """Return each table with its inline foreign keys; last, None with those that close a cycle or are not enforced."""
    return list(sort_tables_and_constraints(list(tables), filter_fn=_is_apart))  # type: ignore[no-untyped-call]


def _place(key: ForeignKeyConstraint) -> tuple[str, str]:
    return str(key.table.name), str(key.name)


def _is_apart(key: ForeignKeyConstraint) -> bool | None:
    """Whether a foreign key is added after all tables; None leaves that to SQLAlchemy."""
    return None if is_enforced(key) else True


def quoted_list(names: Iterable[str]) -> str:
    """Quote identifiers, as a list in parentheses."""
    return f"({', '.join(map(quoted, names))})"


def declaration(column: ColumnSchema) -> str:
    """Type, default and NOT NULL of a column, as SQL."""
    if column.default == SERIAL:
        return f"{_SERIALS.get(column.type, 'SERIAL')} NOT NULL"
    default = column.source or ""
    if default and not default.startswith("GENERATED"):
        default = f"DEFAULT {default}"
    return " ".join(filter(None, (column.full_type, default, "NOT NULL" if column.not_null else "")))


def definition(key: KeySchema) -> str:
    """What follows a constraint's name: of a primary key, unique key, check, exclusion or foreign key."""
    return _definition(key) if key.enforced else f"{_definition(key)} NOT ENFORCED"


def _definition(key: KeySchema) -> str:
    match key.kind:
        case "p" | "u" if not key.detail:
            return f"{'PRIMARY KEY' if key.kind == PRIMARY else 'UNIQUE'} {quoted_list(key.columns)}"
        case "c":
            return f"CHECK ({key.source})"
        case "f" if key.target is not None:
            table, columns = key.target
            words = f"FOREIGN KEY {quoted_list(key.columns)} REFERENCES {quoted(table)} {quoted_list(columns)}"
            return f"{words} {key.detail}".rstrip()
    return key.source


def create_table(name: str, table: TableSchema, *, temporary: bool = False) -> str:
    """Render CREATE TABLE with columns, keys and checks, without foreign keys and indexes.

    Args:
        name: the table's name.
        table: its schema; PostgreSQL chooses the name of an unnamed key.
        temporary: TEMPORARY.
    """
    inside = [f"{quoted(column)} {declaration(facts)}" for column, facts in table.columns.items()]
    inside += [
        f"{f'CONSTRAINT {quoted(key.name)} ' if key.name else ''}{definition(key)}"
        for key in table.keys
        if key.kind not in {INDEX, FOREIGN}
    ]
    columns = ",\n\t".join(inside)
    return f"CREATE {'TEMPORARY ' if temporary else ''}TABLE {quoted(name)} (\n\t{columns}\n)"


def key_statement(table: str, key: KeySchema, name: str, *, concurrently: bool = False) -> str:
    """Render the statement that adds a key, an index or a check to a table, at once.

    Args:
        table: the table's name.
        key: the key.
        name: its name.
        concurrently: of an index: build it so.
    """
    if key.kind != INDEX:
        return f"ALTER TABLE {quoted(table)} ADD CONSTRAINT {quoted(name)} {definition(key)}"
    tail = key.source.removeprefix("UNIQUE ") or quoted_list(key.columns)
    what = f"{'UNIQUE ' if key.is_unique else ''}INDEX {'CONCURRENTLY ' if concurrently else ''}"
    return f"CREATE {what}{quoted(name)} ON {quoted(table)} {tail}"
