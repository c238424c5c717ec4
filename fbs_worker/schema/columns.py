"""Common columns, and types in PostgreSQL's notation. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from sqlalchemy import Column, DateTime, Integer, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ClauseElement

from fbs_worker.schema.naming import checked_name

DIALECT: Final = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
"""Renders DDL as text. With psycopg2's parameter style it would double each `%` in a name."""

_TYPE_WORDS: Final = {
    "bigserial": "bigint",
    "char": "character",
    "decimal": "numeric",
    "float": "double precision",
    "serial": "integer",
    "varchar": "character varying",
}

_REAL_BITS: Final = 24
"""FLOAT(n) with n up to this number of bits is REAL (PostgreSQL's documentation, 8.1.3)."""


def column(name: str, *args: object, **options: object) -> Column[object]:
    """Build a column with a quoted name; arguments as for SQLAlchemy's `Column`.

    Raises:
        UsageError: the name is not a valid identifier of PostgreSQL.
    """
    return Column(checked_name(name, "column"), *args, **options)  # type: ignore[arg-type]


def id_column() -> Column[object]:
    """Build `id SERIAL PRIMARY KEY`."""
    return column("id", Integer, primary_key=True)


def time_column(name: str) -> Column[object]:
    """Build `<name> TIMESTAMP DEFAULT NOW()`."""
    return column(name, DateTime, server_default=text("NOW()"))


def type_of(source: Column[object]) -> str:
    """Return a column's type as written by PostgreSQL's format_type(), e.g. `numeric(10,2)`.

    One that PostgreSQL has to be asked for (a collation, a type of the database's own) is returned as it is declared.
    """
    return _printed(str(source.type.compile(dialect=DIALECT)))


@lru_cache
def _printed(declared: str) -> str:
    if '"' in declared:
        return declared
    written = declared.lower().replace(", ", ",")
    written = re.sub(r"^float\((\d+)\)", lambda found: "real" if int(found[1]) <= _REAL_BITS else "float", written)
    written = re.sub(r"^(numeric|decimal)\((\d+)\)", r"\1(\2,0)", written)
    return re.sub(r"^[a-z]+(?! precision)\b", lambda found: _TYPE_WORDS.get(found[0], found[0]), written)


def expression_of(clause: ClauseElement) -> str:
    """Return an expression as SQL, with literal values and without the name of its table."""
    return str(clause.compile(dialect=DIALECT, compile_kwargs={"include_table": False, "literal_binds": True}))
