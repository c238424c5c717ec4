"""DDL as text: tables in an order in which each can be made, cycles closed at the end. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Index, Table
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, sort_tables_and_constraints

from fbs_worker.schema.columns import DIALECT


def creation_order(tables: Iterable[Table]) -> list[Table]:
    """The tables, each after those that it refers to, as far as they do not refer to each other."""
    return [table for table, _ in _sorted(tables) if table is not None]


def render(tables: Iterable[Table], *, only: Collection[str] | None = None) -> list[str]:
    """The statements that make tables, their indexes and their foreign keys.

    A foreign key between two tables that refer to each other is added by ALTER TABLE once both are there.

    Args:
        tables: all tables of a definition.
        only: the names of those to be made; the others are there already.
    """
    statements: list[str] = []
    for table, constraints in _sorted(tables):
        if table is None:
            added = [key for key in constraints if only is None or key.table.name in only]
            statements.extend(str(AddConstraint(key).compile(dialect=DIALECT)) for key in added)
        elif only is None or table.name in only:
            statement = CreateTable(table, include_foreign_key_constraints=list(constraints))
            statements.append(str(statement.compile(dialect=DIALECT)).strip())
            indexes = sorted(table.indexes, key=lambda index: (str(index.name), list(map(str, index.columns))))
            statements.extend(map(_index, indexes))
    return statements


def _index(index: Index) -> str:
    """Without a name of its own an index gets one from PostgreSQL, which picks one that is free and short enough."""
    if index.name is not None:
        return str(CreateIndex(index).compile(dialect=DIALECT))
    quote = DIALECT.identifier_preparer.quote
    columns = ", ".join(quote(column.name) for column in index.columns)
    return f"CREATE INDEX ON {quote(index.table.name)} ({columns})"  # type: ignore[union-attr]


def _sorted(tables: Iterable[Table]) -> list[tuple[Any, Any]]:
    """Each table with the foreign keys that it can be made with; at the end None with those that close a cycle."""
    return list(sort_tables_and_constraints(list(tables)))  # type: ignore[no-untyped-call]
