"""Rehearse changes of columns on empty copies of their tables: what is rewritten, and what PostgreSQL refuses.

Whether ALTER TABLE writes a table anew depends on types, casts, functions and the server's version; the copy's
`pg_relation_filenode` before and after shows it (PostgreSQL's documentation of ALTER TABLE, notes).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.identifiers import quoted
from fbs_worker.core.postgres import Connection
from fbs_worker.schema.ddl import key_statement
from fbs_worker.schema.inspector import InspectedTable, inspect_tables
from fbs_worker.schema.model import CHECK, EXCLUDE, INDEX, KeySchema, renamed_key
from fbs_worker.schema.read_back import rolled_back


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """A change of a column to rehearse.

    Attributes:
        table: the table.
        column: the column, by its new name.
        actions: what follows ALTER TABLE and the table's name.
    """

    table: str
    column: str
    actions: str


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What the copies showed.

    Attributes:
        rewrites: table and column of each alteration that writes the table anew.
        refused: table and column → PostgreSQL's message, of those that it rejects whatever the rows are.
        differing: table → identities of its keys that are not the same after all of its alterations.
    """

    rewrites: frozenset[tuple[str, str]] = frozenset()
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    differing: Mapping[str, Collection[tuple[object, ...]]] = field(default_factory=dict)


def rehearse(
    connection: Connection,
    alterations: Sequence[Alteration],
    *,
    tables: Mapping[str, InspectedTable],
    renames: Mapping[tuple[str, str], str],
) -> Rehearsal:
    """Run alterations on empty copies, which have the keys of the altered columns, and roll back.

    Args:
        connection: connection whose transaction is used; what is made in it is rolled back to a savepoint.
        alterations: in the order in which they are to run.
        tables: the altered ones, with the keys, indexes and checks that they have then, and the new names of columns.
        renames: table and old column name → new name; applied before.

    Raises:
        psycopg2.Error: a copy cannot be made; the caller translates it.
    """
    if not alterations:
        return Rehearsal()
    columns: dict[str, set[str]] = {}
    for one in alterations:
        columns.setdefault(one.table, set()).add(one.column)
    keys = {name: _touched_keys(tables[name], altered) for name, altered in columns.items()}
    copies = {name: f"fbs_copy_{number}" for number, name in enumerate(sorted(columns))}
    rewrites: set[tuple[str, str]] = set()
    refused: dict[tuple[str, str], str] = {}
    with rolled_back(connection) as cursor:
        nodes = {name: _copy(cursor, name, copy, keys[name], renames) for name, copy in copies.items()}
        for one in alterations:
            copy = copies[one.table]
            outcome = _try(cursor, copy, one.actions)
            if isinstance(outcome, str):  # what would be made anew for the new type is dropped before
                _drop_expressions(cursor, copy, keys[one.table])
                outcome = _try(cursor, copy, one.actions)
            if isinstance(outcome, str):
                refused[one.table, one.column] = outcome
            elif outcome != nodes[one.table]:
                rewrites.add((one.table, one.column))
                nodes[one.table] = outcome
        with_keys = {name: copy for name, copy in copies.items() if keys[name]}
        after = inspect_tables(connection, with_keys.values()).tables
    differing = {
        name: {key.identity for key in keys[name]} - after[copy].schema.identities for name, copy in with_keys.items()
    }
    return Rehearsal(rewrites=frozenset(rewrites), refused=refused, differing=differing)


def _touched_keys(table: InspectedTable, columns: Collection[str]) -> list[KeySchema]:
    """Keys, indexes and checks of these columns, and those of the whole row."""
    return [key.schema for key in table.keys if not key.uses or not key.uses.isdisjoint(columns)]


def _copy(
    cursor: Cursor, table: str, copy: str, keys: Sequence[KeySchema], renames: Mapping[tuple[str, str], str]
) -> int:
    """Make a copy; return its file node. Keys are made before columns are renamed: expressions have the old names."""
    what = "INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS EXCLUDING COMMENTS"
    own = {old: new for (of, old), new in renames.items() if of == table}
    back = {(table, new): old for old, new in own.items()}
    statements = [
        f"CREATE TEMPORARY TABLE {quoted(copy)} (LIKE {quoted(table)} {what})",
        *(key_statement(copy, renamed_key(table, key, back), _key_name(copy, place)) for place, key in enumerate(keys)),
        *(f"ALTER TABLE {quoted(copy)} RENAME COLUMN {quoted(old)} TO {quoted(new)}" for old, new in own.items()),
    ]
    return _filenode(cursor, copy, statements)


def _try(cursor: Cursor, copy: str, actions: str) -> int | str:
    """Alter a copy; return its file node, or PostgreSQL's message if it refuses."""
    cursor.execute("SAVEPOINT fbs_alteration")
    try:
        return _filenode(cursor, copy, [f"ALTER TABLE {quoted(copy)} {actions}"])
    except psycopg2.Error as exc:
        if cursor.connection.closed:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT fbs_alteration")
        return str(exc.diag.message_primary or exc).strip()


def _drop_expressions(cursor: Cursor, copy: str, keys: Sequence[KeySchema]) -> None:
    for place, key in enumerate(keys):
        name = quoted(_key_name(copy, place))
        if key.kind == INDEX and key.detail:
            cursor.execute(f"DROP INDEX IF EXISTS pg_temp.{name}")
        elif key.kind in {CHECK, EXCLUDE}:
            cursor.execute(f"ALTER TABLE {quoted(copy)} DROP CONSTRAINT IF EXISTS {name}")


def _key_name(copy: str, place: int) -> str:
    return f"{copy}_key_{place}"


def _filenode(cursor: Cursor, table: str, statements: Sequence[str]) -> int:
    """Return a table's file node after statements, all in one message."""
    asked = sql.SQL("SELECT pg_relation_filenode(to_regclass({}))").format(sql.Literal(quoted(table)))
    cursor.execute(sql.SQL("; ").join([*map(sql.SQL, statements), asked]))
    row = cursor.fetchone()
    return int(row[0]) if row else 0
