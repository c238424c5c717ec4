"""Archive removed values in tables `<table_prefix>retired_…`.

A column's values are copied together with the primary key of their rows. A whole table is not copied but renamed, with
its indexes and sequences: their names are free again, and an undo restores it unchanged.

Values of a large table are copied before it is locked. Under the lock only the rows written since are copied: a row's
system column `xmin` is the transaction that wrote it (PostgreSQL's documentation, system columns), and all transactions
below the `xmin` of a snapshot had ended when it was taken (functions of pg_snapshot).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.errors import DatabaseError
from fbs_worker.core.identifiers import quoted
from fbs_worker.migration.model.archive import Archive, archive_names, join_condition, list_archives, write_comment
from fbs_worker.migration.model.plan import ArchiveTarget
from fbs_worker.schema.inspector import inspect_tables, table_exists
from fbs_worker.schema.model import FOREIGN
from fbs_worker.schema.naming import derived_name

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
class Precopy:
    """A copy of a column's values made before the table is locked.

    Attributes:
        archive: the archive table.
        since: the oldest transaction whose rows may be missing.
    """

    archive: Archive
    since: str


def drop_incomplete(cursor: Cursor, table_prefix: str, solution: str) -> None:
    """Drop incomplete archives of migrations that were not applied; their values are still in the original table.

    Args:
        cursor: cursor of an open transaction.
        table_prefix: prefix of the solution's system tables.
        solution: the solution's name; the caller holds its lock.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    for archive in list_archives(cursor, table_prefix, solution=solution):
        if not archive.complete:
            cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(archive.name)))


def precopy_column(cursor: Cursor, target: ArchiveTarget, solution: str) -> Precopy | None:
    """Copy a column's values before the table is locked.

    Args:
        cursor: cursor of an open transaction without a short statement timeout.
        target: the column to archive.
        solution: the solution's name.

    Returns:
        The copy; None for a table without a primary key, for which it cannot be completed later.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    archive = _describe(cursor, target, solution)
    if not archive.key:
        return None
    cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text")
    row = cursor.fetchone()
    _copy(cursor, archive)
    write_comment(cursor, replace(archive, complete=False))
    return Precopy(archive=archive, since=row[0] if row else "0")


def archive_column(cursor: Cursor, target: ArchiveTarget, solution: str, precopy: Precopy | None) -> Archive:
    """Archive a column's values before the statement that removes them.

    Args:
        cursor: cursor of that statement's transaction, which holds an ACCESS EXCLUSIVE lock on the table.
        target: the column to archive.
        solution: the solution's name.
        precopy: a copy made before the lock, to be completed; None to copy all rows.

    Raises:
        DatabaseError: the column's type or the primary key changed since the copy.
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if precopy is None:
        archive = _describe(cursor, target, solution)
        _copy(cursor, archive)
    else:
        archive = replace(_describe(cursor, target, solution), name=precopy.archive.name)
        if (archive.key, archive.type) != (precopy.archive.key, precopy.archive.type):
            raise DatabaseError(
                f"The type or the primary key of {archive.label} changed while its values were copied.",
                hint="Run the migration again.",
            )
        _copy_changed_rows(cursor, archive, precopy.since)
    write_comment(cursor, archive)
    return archive


def record_converted_values(cursor: Cursor, archive: Archive) -> Archive:
    """After a type change: store the converted values beside the archived ones, and drop rows with equal ones.

    Args:
        cursor: cursor of the statement's transaction.
        archive: the archive written before the statement.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if archive.column is None or not archive.key:
        return archive
    table = inspect_tables(cursor.connection, [archive.table], keys=False).tables.get(archive.table)
    if table is None or archive.column not in table.columns:  # it was dropped
        return archive
    became = f"{archive.column[:40]}_became"
    while became in (*archive.key, archive.column):
        became += "_"
    names = {"became": sql.Identifier(became), **archive_names(archive)}
    cursor.execute(
        sql.SQL("ALTER TABLE {keep} ADD COLUMN {became} {type}").format(
            type=sql.SQL(table.columns[archive.column].type), **names
        )
    )
    cursor.execute(
        sql.SQL("UPDATE {keep} k SET {became} = t.{column} FROM {table} t WHERE {same}").format(
            same=join_condition(archive), **names
        )
    )
    cursor.execute(
        sql.SQL("DELETE FROM {keep} WHERE {became}::text IS NOT DISTINCT FROM {column}::text").format(**names)
    )
    changed = replace(archive, became=became)
    write_comment(cursor, changed)
    return changed


def drop_if_empty(cursor: Cursor, archive: Archive) -> bool:
    """Drop an archive table without rows.

    Args:
        cursor: cursor of the transaction that created it.
        archive: the archive.

    Returns:
        Whether it was empty.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(archive.name)))
    row = cursor.fetchone()
    if row and row[0]:
        return False
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(archive.name)))
    return True


def archive_whole_table(cursor: Cursor, target: ArchiveTarget, solution: str, drop: str) -> tuple[Archive, list[str]]:
    """Rename a whole table to an archive table instead of dropping it.

    Args:
        cursor: cursor of a transaction that holds an ACCESS EXCLUSIVE lock on the table.
        target: the table to archive.
        solution: the solution's name.
        drop: the DROP TABLE statement; it runs and is rolled back, to detect dependent objects.

    Returns:
        The archive, and the statements that ran.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    cursor.execute("SAVEPOINT fbs_drop")
    cursor.execute(drop)
    cursor.execute("ROLLBACK TO SAVEPOINT fbs_drop")
    inspected = inspect_tables(cursor.connection, [target.table]).tables[target.table]
    cursor.execute(_NAMED_WITH_TABLE, {"table": sql.Identifier(target.table).as_string(cursor)})
    named = cursor.fetchall()
    name = _free_name(cursor, target.archive_table)
    renamed = tuple(
        (kind, str(derived_name(f"{name}_{number}", "_seq" if kind == "S" else "_idx")), before)
        for number, (before, kind) in enumerate(named)
    )
    archive = Archive(name=name, solution=solution, table=target.table, column=None, renamed=renamed)
    statements = [
        *(
            f"ALTER TABLE {quoted(target.table)} DROP CONSTRAINT {quoted(key.schema.name)}"
            for key in inspected.keys
            if key.schema.kind == FOREIGN  # archived rows must not block deletes in referenced tables
        ),
        *archive.rename_statements(),
    ]
    for statement in statements:
        cursor.execute(statement)
    write_comment(cursor, archive)
    return archive, statements


def _describe(cursor: Cursor, target: ArchiveTarget, solution: str) -> Archive:
    table = inspect_tables(cursor.connection, [target.table]).tables.get(target.table)
    column = table.columns.get(str(target.column)) if table else None
    if table is None or column is None:
        raise DatabaseError(f"{target.table}.{target.column} no longer exists.", hint="Plan the migration again.")
    return Archive(
        name=_free_name(cursor, target.archive_table),
        solution=solution,
        table=target.table,
        column=target.column,
        key=table.primary_key if target.column not in table.primary_key else (),
        type=column.type,
    )


def _copy(cursor: Cursor, archive: Archive) -> None:
    """Copy rows with a value: key and column, or whole rows without a key."""
    names = archive_names(archive)
    columns = (
        sql.SQL(", ").join(map(sql.Identifier, (*archive.key, str(archive.column)))) if archive.key else sql.SQL("*")
    )
    cursor.execute(
        sql.SQL("CREATE TABLE {keep} AS SELECT {columns} FROM {table} WHERE {column} IS NOT NULL").format(
            columns=columns, **names
        )
    )
    if archive.key:
        key = sql.SQL(", ").join(map(sql.Identifier, archive.key))
        cursor.execute(sql.SQL("ALTER TABLE {keep} ADD PRIMARY KEY ({key})").format(keep=names["keep"], key=key))


def _copy_changed_rows(cursor: Cursor, archive: Archive, since: str) -> None:
    """Copy rows written since the copy; rows deleted since may remain in the archive."""
    columns = sql.SQL(", ").join(map(sql.Identifier, (*archive.key, str(archive.column))))
    key = sql.SQL(", ").join(map(sql.Identifier, archive.key))
    cursor.execute(
        sql.SQL(
            "INSERT INTO {keep} ({columns}) SELECT {columns} FROM {table} WHERE age(xmin) <= age({since}::xid)"
            " ON CONFLICT ({key}) DO UPDATE SET {column} = EXCLUDED.{column}"
        ).format(columns=columns, key=key, since=sql.Literal(since), **archive_names(archive))
    )


def _free_name(cursor: Cursor, name: str) -> str:
    """Append a number to a name that an earlier archive uses."""
    free, number = name, 1
    while table_exists(cursor.connection, free):
        number += 1
        free = str(derived_name(name, f"_{number}"))
    return free
