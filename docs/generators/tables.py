"""The tables, from SQLAlchemy's metadata: system tables, and those that a domain brings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import DefaultClause

from docs.generators import markdown
from fbs_worker.domains import load_domain
from fbs_worker.schema.definition import define
from fbs_worker.schema.system_tables import HOME_TABLES, SYSTEM_TABLES

PREFIX: Final = "fbs_"

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


def system() -> str:
    """Each system table, with the default prefix."""
    parts: list[str] = []
    for factory in dict.fromkeys((*SYSTEM_TABLES, *HOME_TABLES)):
        about = (factory.__doc__ or "").strip().split("\n")[0].partition(": ")[2]
        parts += _table(factory(PREFIX, None), about, level=2)
    return "\n".join(parts)


def business(domain: str) -> str:
    """The business tables of a domain, without prefix.

    Args:
        domain: its name.
    """
    definition = define(load_domain(domain), table_prefix=PREFIX, business_prefix="")
    tables = sorted(definition.tables, key=lambda table: table.name)
    return "\n".join(part for table in tables for part in _table(table, "", level=3))


def _table(table: Table, about: str, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {markdown.code(table.name)}\n"
    if about:
        yield f"{markdown.sentence(about)}\n"
    yield markdown.table(["column", "type", "constraints"], [_column(column) for column in table.columns])
    unique = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    for columns in sorted([column.name for column in each.columns] for each in unique if len(each.columns) > 1):
        yield f"Unique: {', '.join(map(markdown.code, columns))}.\n"
    indexed = sorted(
        ", ".join(column.name for column in index.columns) or "names, titles, fields and labels (search)"
        for index in table.indexes
    )
    if indexed:
        yield f"Indexes: {', '.join(indexed)}.\n"
    checks = [constraint for constraint in table.constraints if isinstance(constraint, CheckConstraint)]
    if checks:
        yield f"Checks: {', '.join(markdown.code(check.sqltext) for check in checks)}.\n"


def _column(column: Column[object]) -> list[str]:
    kind = column.type.compile(dialect=_DIALECT)
    if column.primary_key and kind == "INTEGER":
        kind = "SERIAL"
    return [markdown.code(column.name), markdown.code(kind), ", ".join(_constraints(column))]


def _constraints(column: Column[object]) -> Iterator[str]:
    if column.primary_key:
        yield "primary key"
    elif not column.nullable:
        yield "not null"
    for constraint in column.table.constraints:
        single = isinstance(constraint, UniqueConstraint) and list(constraint.columns) == [column]
        if single and not isinstance(constraint, PrimaryKeyConstraint):
            yield "unique"
        if isinstance(constraint, ForeignKeyConstraint) and column in list(constraint.columns):
            yield from (f"references {markdown.code(key.target_fullname.split('.')[0])}" for key in constraint.elements)
    if isinstance(column.server_default, DefaultClause):
        default = column.server_default.arg
        yield f"default {markdown.code(repr(default) if isinstance(default, str) else default)}"
