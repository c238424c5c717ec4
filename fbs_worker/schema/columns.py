"""Columns that every kind of table here uses, and PostgreSQL's way to write types. Pure."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import Column, DateTime, Integer, text
from sqlalchemy.dialects import postgresql

from fbs_worker.schema.naming import checked_name

DIALECT: Final = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
"""Writes DDL as text. With psycopg2's own parameter style it would write a `%` in a name twice."""

_TYPE_WORDS: Final = {
    "bigserial": "bigint",
    "char": "character",
    "decimal": "numeric",
    "float": "double precision",
    "serial": "integer",
    "varchar": "character varying",
}

_REAL_BITS: Final = 24
"""FLOAT(n) with at most so many bits is REAL (PostgreSQL's documentation, 8.1.3)."""


def column(name: str, *args: object, **options: object) -> Column[object]:
    """A column whose name is always quoted.

    Raises:
        UsageError: that cannot be a column's name.
    """
    return Column(checked_name(name, "column"), *args, **options)  # type: ignore[arg-type]


def id_column() -> Column[object]:
    """`id SERIAL PRIMARY KEY`."""
    return column("id", Integer, primary_key=True)


def time_column(name: str) -> Column[object]:
    """`<name> TIMESTAMP DEFAULT NOW()`."""
    return column(name, DateTime, server_default=text("NOW()"))


def type_of(column_: Column[object]) -> str:
    """The column's type as PostgreSQL's format_type() writes it, e.g. `character varying(50)`, `numeric(10,2)`."""
    written = column_.type.compile(dialect=DIALECT).lower().replace(", ", ",")
    written = re.sub(r"^float\((\d+)\)", lambda found: "real" if int(found[1]) <= _REAL_BITS else "float", written)
    written = re.sub(r"^(numeric|decimal)\((\d+)\)", r"\1(\2,0)", written)
    return re.sub(r"^[a-z]+(?! precision)\b", lambda found: _TYPE_WORDS.get(found[0], found[0]), written)
