"""Steps that make keys, indexes and NOT NULL again beside those who use the table, as a plan makes them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.migration.inspect.snapshot import Key
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Step
from fbs_worker.migration.plan.context import quoted
from fbs_worker.schema.naming import derived_name

BATCH: Final = 2_000
"""Rows of one batch: some ten milliseconds."""

_INDEX: Final = re.compile(r"CREATE (?P<unique>UNIQUE )?INDEX (CONCURRENTLY )?(IF NOT EXISTS )?")

_CONSTRAINTS: Final = "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s)"

_TYPE: Final = """
SELECT format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped
"""


def concurrently(like: Step, statement: str, name: str) -> Step:
    """Build an index.

    Args:
        like: has the table, the reason, and whether the table has rows.
        statement: `CREATE INDEX …`.
        name: the index's name.
    """
    return replace(
        like,
        sql=_INDEX.sub(
            lambda found: f"CREATE {found['unique'] or ''}INDEX CONCURRENTLY IF NOT EXISTS ", statement, count=1
        ),
        kind="undo_drop_index",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        hazards=frozenset({Hazard.INDEX_BUILD}) if like.has_rows else frozenset(),
        mode=Mode.ALONE,
        cleanup=f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}",
    )


def unique(like: Step, *, name: str, index: str, words: str) -> Iterator[Step]:
    """Make a unique or a primary key: first its index.

    Args:
        like: see `concurrently`.
        name: the key's name.
        index: `CREATE UNIQUE INDEX …` of that name.
        words: `UNIQUE` or `PRIMARY KEY`.
    """
    yield concurrently(like, index, name)
    statement = f"ALTER TABLE {quoted(like.table)} ADD CONSTRAINT {quoted(name)} {words} USING INDEX {quoted(name)}"
    yield replace(like, sql=statement, kind="undo_drop_key")


def checked(like: Step, *, name: str, definition: str, there: bool) -> Iterator[Step]:
    """Make a foreign key or a check: first it counts for what is written from now on, then it is proved.

    Args:
        like: see `concurrently`.
        name: its name.
        definition: as pg_get_constraintdef() writes it.
        there: an earlier try was cut off in between.
    """
    if not there:
        yield unchecked(like, name, definition)
    yield validation(like, name)


def unchecked(like: Step, name: str, definition: str) -> Step:
    """Add a foreign key or a check that counts for what is written from now on.

    Args:
        like: see `concurrently`.
        name: its name.
        definition: as pg_get_constraintdef() writes it.
    """
    definition = definition.removesuffix(" NOT VALID")
    statement = f"ALTER TABLE {quoted(like.table)} ADD CONSTRAINT {quoted(name)} {definition} NOT VALID"
    return replace(like, sql=statement, kind="undo_drop_key")


def validation(like: Step, name: str) -> Step:
    """See that it holds for what is there, too.

    Args:
        like: see `concurrently`.
        name: the constraint's name.
    """
    return replace(
        like,
        sql=f"ALTER TABLE {quoted(like.table)} VALIDATE CONSTRAINT {quoted(name)}",
        kind="undo_validate",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
    )


def keys_again(like: Step, keys: Iterable[Key], *, there: Collection[str] = ()) -> Iterator[Step]:
    """Make keys again that went with a column; a primary key is left out.

    Args:
        like: see `concurrently`.
        keys: as `watched.keys_of` told them.
        there: the names of those that an earlier try, which was cut off, has made in part.
    """
    for kind, name, definition in keys:
        match kind:
            case "u":
                yield from unique(like, name=name, index=definition, words="UNIQUE")
            case "i":
                yield concurrently(like, definition, name)
            case "f" | "c":
                yield from checked(like, name=name, definition=definition, there=name in there)


def required(cursor: Cursor, *, like: Step, column: str) -> Iterator[Step]:
    """Make a column NOT NULL: a check that is proved first, so that SET NOT NULL need not look at the rows.

    Args:
        cursor: in a transaction; where an earlier try was cut off, the check is there.
        like: see `concurrently`.
        column: its unquoted name.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    alter, name = f"ALTER TABLE {quoted(like.table)}", str(derived_name(f"{like.table}_{column}", "_not_null_check"))
    check = f"CHECK ({quoted(column)} IS NOT NULL)"
    if name not in constraints(cursor, like.table):
        yield replace(like, sql=f"{alter} ADD CONSTRAINT {quoted(name)} {check} NOT VALID", kind="undo_add_check")
    yield validation(like, name)
    yield replace(like, sql=f"{alter} ALTER COLUMN {quoted(column)} SET NOT NULL", kind="undo_set_not_null")
    yield replace(like, sql=f"{alter} DROP CONSTRAINT {quoted(name)}", kind="undo_drop_check")


def constraints(cursor: Cursor, table: str) -> set[str]:
    """The names of a table's constraints."""
    cursor.execute(_CONSTRAINTS, (quoted(table),))
    return {name for (name,) in cursor.fetchall()}


def has_rows(cursor: Cursor, table: str) -> bool:
    """Whether a table that is there holds any."""
    cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table)))
    found = cursor.fetchone()
    return bool(found and found[0])


def evaluates(cursor: Cursor, table: str, expression: str) -> bool:
    """Whether an expression has a value for each row of a table: PostgreSQL is asked, which stops at one that has none.

    Args:
        cursor: in a transaction.
        table: its unquoted name.
        expression: in SQL.

    Raises:
        psycopg2.Error: the connection is lost; to be translated by the caller.
    """
    statement = sql.SQL("SELECT count({expression}) FROM {table}")
    cursor.execute("SAVEPOINT fbs_evaluates")
    try:
        cursor.execute(statement.format(expression=sql.SQL(expression), table=sql.Identifier(table)))
    except (psycopg2.DataError, psycopg2.ProgrammingError):
        cursor.execute("ROLLBACK TO SAVEPOINT fbs_evaluates")
        return False
    cursor.execute("RELEASE SAVEPOINT fbs_evaluates")
    return True


def type_of_column(cursor: Cursor, table: str, column: str) -> str | None:
    """The type of a column, as format_type() writes it; None where there is none.

    Args:
        cursor: in a transaction.
        table: its unquoted name.
        column: the same.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(_TYPE, (quoted(table), column))
    found = cursor.fetchone()
    return str(found[0]) if found else None
