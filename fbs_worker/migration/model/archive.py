"""The tables that keep what migrations took away, `<table_prefix>retired_…`: each says in its comment what it keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

_ARCHIVES: Final = """
SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c
WHERE starts_with(c.relname, %s) AND c.relkind = 'r' AND pg_table_is_visible(c.oid)
    AND obj_description(c.oid, 'pg_class') LIKE '{"fbs": "retired", %%'
ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A table that keeps what was taken away.

    Attributes:
        name: its name.
        solution: whose it was.
        table: the table that it was taken from.
        column: the column; None for the whole table.
        key: the columns by which its rows are found again; empty where there is no way: it has whole rows then.
        type: of a column: as format_type() writes it.
        not_null: of a column: whether it was.
        default: of a column: as an expression; None where there was none.
        became: of a column that was narrowed: the column here that says what each value became.
        lost: what went with it and has to be made again: kind (`p`, `u`, `f`, `c`, `i`), name and definition of each;
            that of a unique key is its index's.
        renamed: of a table: its indexes and sequences, kind (`i`, `S`), name here and name before of each.
        complete: False for a copy that was made ahead of a migration which has not come about.
    """

    name: str
    solution: str
    table: str
    column: str | None
    key: tuple[str, ...] = ()
    type: str = ""
    not_null: bool = False
    default: str | None = None
    became: str | None = None
    lost: tuple[tuple[str, str, str], ...] = ()
    renamed: tuple[tuple[str, str, str], ...] = ()
    complete: bool = True

    @property
    def label(self) -> str:
        """What it keeps, for a person."""
        return f"{self.table}.{self.column}" if self.column else self.table


def list_archives(cursor: Cursor, table_prefix: str, *, solution: str | None = None) -> list[Archive]:
    """The tables that keep something, in the order of their names.

    Args:
        cursor: in a transaction.
        table_prefix: the solution's.
        solution: its name; None for all of that prefix.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(_ARCHIVES, (f"{table_prefix}retired_",))
    archives = [_read(name, comment) for name, comment in cursor.fetchall()]
    return [archive for archive in archives if archive is not None and solution in {None, archive.solution}]


def archive_names(archive: Archive) -> dict[str, sql.Identifier]:
    """The names for statements about it: `keep`, `table`, `column`."""
    return {
        "keep": sql.Identifier(archive.name),
        "table": sql.Identifier(archive.table),
        "column": sql.Identifier(str(archive.column)),
    }


def join_condition(archive: Archive) -> sql.Composed:
    """The condition that a row `k` of it speaks of a row `t` of the other table."""
    return sql.SQL(" AND ").join(sql.SQL("k.{0} = t.{0}").format(sql.Identifier(name)) for name in archive.key)


def write_comment(cursor: Cursor, archive: Archive) -> None:
    """Say in the comment of a table what it keeps."""
    facts: Mapping[str, Any] = {key: value for key, value in asdict(archive).items() if key != "name"}
    statement = sql.SQL("COMMENT ON TABLE {} IS {}").format(
        sql.Identifier(archive.name), sql.Literal(json.dumps({"fbs": "retired", **facts}))
    )
    cursor.execute(statement)


def _read(name: str, comment: str) -> Archive | None:
    """None for a comment that is not ours after all."""
    try:
        facts = json.loads(comment)
        del facts["fbs"]
        lists = {key: tuple(map(tuple, facts[key])) for key in ("lost", "renamed")}
        return Archive(**{**facts, **lists, "name": name, "key": tuple(facts["key"])})
    except (ValueError, TypeError, KeyError):
        return None
