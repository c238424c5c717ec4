"""What a migration takes away is kept in a table of ours: `<table_prefix>retired_…`.

A column's values are copied beside the primary key of their rows. A whole table is not copied but renamed, with its
indexes and sequences, so that their names are free and an undo has it back as it was.

A big table's values are copied before anything is locked. Under the lock only those rows follow that were written
since: each row's system column `xmin` is the transaction that wrote it (PostgreSQL's documentation, system columns),
and all transactions below a snapshot's own `xmin` had ended when it was taken (functions of pg_snapshot).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.errors import DatabaseError
from fbs_worker.migration.inspect.snapshot import keys_of
from fbs_worker.migration.model.archive import Kept, kept_tables, names_of, same_rows, write_comment
from fbs_worker.migration.model.plan import Retired
from fbs_worker.schema.inspector import table_exists
from fbs_worker.schema.naming import derived_name

_COLUMN: Final = """
SELECT format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(%s) AND a.attname = %s AND NOT a.attisdropped
"""

_KEY: Final = """
SELECT a.attname FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS part(number, n)
JOIN pg_attribute a ON a.attnum = part.number
WHERE i.indrelid = to_regclass(%s) AND i.indisprimary AND a.attrelid = i.indrelid ORDER BY n
"""

_GOES_WITH_COLUMN: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
WHERE i.indrelid = to_regclass(%(table)s) AND a.attname = %(column)s
UNION ALL
SELECT k.conname FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
WHERE k.conrelid = to_regclass(%(table)s) AND a.attname = %(column)s
"""
"""What PostgreSQL drops with a column (documentation of ALTER TABLE, DROP COLUMN)."""

_GOES_WITH_TABLE: Final = """
SELECT k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k
WHERE k.conrelid = to_regclass(%s) AND k.contype = 'f' ORDER BY 1
"""

_NAMED_WITH_TABLE: Final = """
SELECT c.relname, c.relkind::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%(table)s)
UNION ALL
SELECT c.relname, 'S' FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = to_regclass(%(table)s) AND d.deptype IN ('a', 'i')
ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A copy of a column's values that was made before anything is locked.

    Attributes:
        kept: the table that has it.
        since: the oldest transaction whose rows it may lack.
    """

    kept: Kept
    since: str


def throw_away_unfinished(cursor: Cursor, table_prefix: str, solution: str) -> None:
    """Drop copies that were made ahead of a migration which did not come about: the values are still in their table.

    Args:
        cursor: in a transaction.
        table_prefix: the solution's.
        solution: its name; the caller has its lock, so nobody else makes one just now.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    for kept in kept_tables(cursor, table_prefix, solution=solution):
        if not kept.complete:
            cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(kept.name)))


def copy_ahead(cursor: Cursor, retired: Retired, solution: str) -> Ahead | None:
    """Copy a column's values before anything is locked.

    Args:
        cursor: in a transaction; it takes as long as it takes.
        retired: what is going to be taken away.
        solution: whose it is.

    Returns:
        The copy; None where it cannot be completed later on, without a primary key.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    kept = _describe(cursor, retired, solution)
    if not kept.key:
        return None
    cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text")
    found = cursor.fetchone()
    _copy(cursor, kept)
    write_comment(cursor, replace(kept, complete=False))
    return Ahead(kept=kept, since=found[0] if found else "0")


def keep_column(cursor: Cursor, retired: Retired, solution: str, ahead: Ahead | None) -> Kept:
    """Keep a column's values, before the statement that takes them away.

    Args:
        cursor: in the transaction of that statement, which has the table to itself.
        retired: what is taken away.
        solution: whose it is.
        ahead: a copy that was made before.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    if ahead is None:
        kept = _describe(cursor, retired, solution)
        _copy(cursor, kept)
    else:
        # what goes with the column may have changed since
        kept = replace(_describe(cursor, retired, solution), name=ahead.kept.name)
        if (kept.key, kept.type) != (ahead.kept.key, ahead.kept.type):
            raise DatabaseError(
                f"Somebody changed {kept.told} while its values were copied.", hint="Run the migration again."
            )
        _catch_up(cursor, kept, ahead.since)
    write_comment(cursor, kept)
    return kept


def keep_what_became(cursor: Cursor, kept: Kept) -> Kept:
    """After a column's type was narrowed: remember what each value became, and forget those that stayed the same.

    Args:
        cursor: in the transaction of the statement.
        kept: what was kept before it.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    if kept.column is None or not kept.key:
        return kept
    cursor.execute(_COLUMN, (_regclass(cursor, kept.table), kept.column))
    found = cursor.fetchone()
    if found is None:  # it was dropped
        return kept
    became = f"{kept.column[:40]}_became"
    while became in (*kept.key, kept.column):
        became += "_"
    names = {"became": sql.Identifier(became), **names_of(kept)}
    cursor.execute(sql.SQL("ALTER TABLE {keep} ADD COLUMN {became} {type}").format(type=sql.SQL(found[0]), **names))
    cursor.execute(
        sql.SQL("UPDATE {keep} k SET {became} = t.{column} FROM {table} t WHERE {same}").format(
            same=same_rows(kept), **names
        )
    )
    cursor.execute(
        sql.SQL("DELETE FROM {keep} WHERE {became}::text IS NOT DISTINCT FROM {column}::text").format(**names)
    )
    changed = replace(kept, became=became)
    write_comment(cursor, changed)
    return changed


def throw_away_empty(cursor: Cursor, kept: Kept) -> bool:
    """Drop a table that keeps no row.

    Args:
        cursor: in the transaction that made it.
        kept: the table.

    Returns:
        Whether it was empty.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(kept.name)))
    found = cursor.fetchone()
    if found and found[0]:
        return False
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(kept.name)))
    return True


def keep_table(cursor: Cursor, retired: Retired, solution: str, drop: str) -> tuple[Kept, list[str]]:
    """Put a whole table by, in the place of dropping it.

    Args:
        cursor: in a transaction, which has the table to itself.
        retired: what is taken away.
        solution: whose it is.
        drop: the statement that would drop it: what stands in its way is in the way here, too.

    Returns:
        The table that keeps it, and the statements that ran.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute("SAVEPOINT fbs_drop")
    cursor.execute(drop)
    cursor.execute("ROLLBACK TO SAVEPOINT fbs_drop")
    cursor.execute(_GOES_WITH_TABLE, (_regclass(cursor, retired.table),))
    lost = tuple(("f", name, definition) for name, definition in cursor.fetchall())
    cursor.execute(_NAMED_WITH_TABLE, {"table": _regclass(cursor, retired.table)})
    named = cursor.fetchall()
    name = _free_name(cursor, retired.keep_in)
    renamed = tuple(
        (kind, str(derived_name(f"{name}_{number}", "_seq" if kind == "S" else "_idx")), before)
        for number, (before, kind) in enumerate(named)
    )
    table, keep = sql.Identifier(retired.table), sql.Identifier(name)
    statements = [
        *(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, sql.Identifier(constraint))
            for _, constraint, _ in lost  # nobody who deletes what it refers to should stumble over what is put by
        ),
        sql.SQL("ALTER TABLE {} RENAME TO {}").format(table, keep),
        *(_rename(kind, before, now) for kind, now, before in renamed),
    ]
    written = [statement.as_string(cursor) for statement in statements]
    for statement in written:
        cursor.execute(statement)
    kept = Kept(name=name, solution=solution, table=retired.table, column=None, lost=lost, renamed=renamed)
    write_comment(cursor, kept)
    return kept, written


def _rename(kind: str, before: str, now: str) -> sql.Composed:
    what = sql.SQL("SEQUENCE" if kind == "S" else "INDEX")
    return sql.SQL("ALTER {} {} RENAME TO {}").format(what, sql.Identifier(before), sql.Identifier(now))


def _describe(cursor: Cursor, retired: Retired, solution: str) -> Kept:
    table, column = _regclass(cursor, retired.table), retired.column
    cursor.execute(_COLUMN, (table, column))
    found = cursor.fetchone()
    if found is None or column is None:
        raise DatabaseError(f"{retired.table}.{column} is not there any more.", hint="Plan the migration again.")
    cursor.execute(_KEY, (table,))
    key = tuple(name for (name,) in cursor.fetchall())
    cursor.execute(_GOES_WITH_COLUMN, {"table": table, "column": column})
    going = {name for (name,) in cursor.fetchall()}
    lost = tuple(key for key in keys_of(cursor, retired.table) if key[1] in going)
    return Kept(
        name=_free_name(cursor, retired.keep_in),
        solution=solution,
        table=retired.table,
        column=column,
        key=key if column not in key else (),
        type=found[0],
        not_null=found[1],
        default=found[2],
        lost=lost,
    )


def _copy(cursor: Cursor, kept: Kept) -> None:
    """Rows without a value are left out; without a key whole rows are kept."""
    names = names_of(kept)
    columns = sql.SQL(", ").join(map(sql.Identifier, (*kept.key, str(kept.column)))) if kept.key else sql.SQL("*")
    cursor.execute(
        sql.SQL("CREATE TABLE {keep} AS SELECT {columns} FROM {table} WHERE {column} IS NOT NULL").format(
            columns=columns, **names
        )
    )
    if kept.key:
        key = sql.SQL(", ").join(map(sql.Identifier, kept.key))
        cursor.execute(sql.SQL("ALTER TABLE {keep} ADD PRIMARY KEY ({key})").format(keep=names["keep"], key=key))


def _catch_up(cursor: Cursor, kept: Kept, since: str) -> None:
    """Take over rows that were written since a copy; rows deleted since are of no use to anyone."""
    columns = sql.SQL(", ").join(map(sql.Identifier, (*kept.key, str(kept.column))))
    key = sql.SQL(", ").join(map(sql.Identifier, kept.key))
    cursor.execute(
        sql.SQL(
            "INSERT INTO {keep} ({columns}) SELECT {columns} FROM {table} WHERE age(xmin) <= age({since}::xid)"
            " ON CONFLICT ({key}) DO UPDATE SET {column} = EXCLUDED.{column}"
        ).format(columns=columns, key=key, since=sql.Literal(since), **names_of(kept))
    )


def _free_name(cursor: Cursor, name: str) -> str:
    """The name, or with a number behind it where something has it: an earlier migration kept something there."""
    free, number = name, 1
    while table_exists(cursor.connection, free):
        number += 1
        free = str(derived_name(name, f"_{number}"))
    return free


def _regclass(cursor: Cursor, table: str) -> str:
    return sql.Identifier(table).as_string(cursor)
