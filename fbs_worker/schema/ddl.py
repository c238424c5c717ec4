"""Render DDL: tables in dependency order, foreign keys of cycles at the end. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Index, Table
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, sort_tables_and_constraints

from fbs_worker.schema.columns import DIALECT


def creation_order(tables: Iterable[Table]) -> list[Table]:
    """Sort tables by their foreign keys, referenced ones first; the order within a cycle is arbitrary."""
    return [table for table, _ in _sorted(tables) if table is not None]


def render(tables: Iterable[Table], *, only: Collection[str] | None = None) -> list[str]:
    """Render the statements that create tables, their indexes and foreign keys.

    Foreign keys of a cycle are added by ALTER TABLE after all its tables.

    Args:
        tables: all tables of a definition.
        only: names of the tables to create; None for all.
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
    """Render CREATE INDEX; PostgreSQL chooses the name of an unnamed index."""
    if index.name is not None:
        return str(CreateIndex(index).compile(dialect=DIALECT))
    quote = DIALECT.identifier_preparer.quote
    columns = ", ".join(quote(column.name) for column in index.columns)
    return f"CREATE INDEX ON {quote(index.table.name)} ({columns})"  # type: ignore[union-attr]


def _sorted(tables: Iterable[Table]) -> list[tuple[Any, Any]]:
    """Return each table with its inline foreign keys; last, None with those that close a cycle."""
    return list(sort_tables_and_constraints(list(tables)))  # type: ignore[no-untyped-call]
