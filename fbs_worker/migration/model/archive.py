"""The tables that keep what migrations took away, `<table_prefix>retired_…`: each says in its comment what it keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

_KEPT: Final = """
SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c
WHERE starts_with(c.relname, %s) AND c.relkind = 'r' AND pg_table_is_visible(c.oid)
    AND obj_description(c.oid, 'pg_class') LIKE '{"fbs": "retired", %%'
ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
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
    def told(self) -> str:
        """What it keeps, for a person."""
        return f"{self.table}.{self.column}" if self.column else self.table


def kept_tables(cursor: Cursor, table_prefix: str, *, solution: str | None = None) -> list[Kept]:
    """The tables that keep something, in the order of their names.

    Args:
        cursor: in a transaction.
        table_prefix: the solution's.
        solution: its name; None for all of that prefix.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(_KEPT, (f"{table_prefix}retired_",))
    found = [_read(name, comment) for name, comment in cursor.fetchall()]
    return [kept for kept in found if kept is not None and solution in {None, kept.solution}]


def names_of(kept: Kept) -> dict[str, sql.Identifier]:
    """The names for statements about it: `keep`, `table`, `column`."""
    return {
        "keep": sql.Identifier(kept.name),
        "table": sql.Identifier(kept.table),
        "column": sql.Identifier(str(kept.column)),
    }


def same_rows(kept: Kept) -> sql.Composed:
    """The condition that a row `k` of it speaks of a row `t` of the other table."""
    return sql.SQL(" AND ").join(sql.SQL("k.{0} = t.{0}").format(sql.Identifier(name)) for name in kept.key)


def write_comment(cursor: Cursor, kept: Kept) -> None:
    """Say in the comment of a table what it keeps."""
    told: Mapping[str, Any] = {key: value for key, value in asdict(kept).items() if key != "name"}
    statement = sql.SQL("COMMENT ON TABLE {} IS {}").format(
        sql.Identifier(kept.name), sql.Literal(json.dumps({"fbs": "retired", **told}))
    )
    cursor.execute(statement)


def _read(name: str, comment: str) -> Kept | None:
    """None for a comment that is not ours after all."""
    try:
        told = json.loads(comment)
        del told["fbs"]
        lists = {key: tuple(map(tuple, told[key])) for key in ("lost", "renamed")}
        return Kept(**{**told, **lists, "name": name, "key": tuple(told["key"])})
    except (ValueError, TypeError, KeyError):
        return None
