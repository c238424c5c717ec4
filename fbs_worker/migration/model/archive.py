"""Archive tables `<table_prefix>retired_…`: values removed by migrations, described as JSON in the table's comment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.identifiers import quoted

_ARCHIVES: Final = """
SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c
WHERE starts_with(c.relname, %s) AND c.relkind = 'r' AND pg_table_is_visible(c.oid)
    AND obj_description(c.oid, 'pg_class') LIKE '{"fbs": "retired", %%'
ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive table.

    The attributes apart from `name` are the stored JSON.

    Attributes:
        name: the archive table's name.
        solution: the solution's name.
        table: the table of origin.
        column: the archived column; None for a whole table.
        key: primary key columns that identify its rows; empty without a primary key: whole rows are archived then.
        type: of a column: type as written by format_type().
        became: of a narrowed column: the column of this table that holds the converted values.
        renamed: of a table: kind (`i`, `S`), archived name and original name of its indexes and sequences.
        complete: False for a copy made ahead of a migration that was not applied.
    """

    name: str
    solution: str
    table: str
    column: str | None
    key: tuple[str, ...] = ()
    type: str = ""
    became: str | None = None
    renamed: tuple[tuple[str, str, str], ...] = ()
    complete: bool = True

    @property
    def label(self) -> str:
        """The archived table or column, e.g. `r_lease.note`."""
        return f"{self.table}.{self.column}" if self.column else self.table

    def rename_statements(self, *, back: bool = False) -> list[str]:
        """Return the statements that rename an archived table with its indexes and sequences, or rename them back."""
        pairs = [("TABLE", self.table, self.name)]
        pairs += [("SEQUENCE" if kind == "S" else "INDEX", before, now) for kind, now, before in self.renamed]
        return [
            f"ALTER {what} {quoted(now if back else before)} RENAME TO {quoted(before if back else now)}"
            for what, before, now in pairs
        ]


def list_archives(cursor: Cursor, table_prefix: str, *, solution: str | None = None) -> list[Archive]:
    """List archive tables, ordered by name.

    Args:
        cursor: cursor of an open transaction.
        table_prefix: prefix of the solution's system tables.
        solution: the solution's name; None for all solutions of that prefix.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    cursor.execute(_ARCHIVES, (f"{table_prefix}retired_",))
    archives = [_read(name, comment) for name, comment in cursor.fetchall()]
    return [archive for archive in archives if archive is not None and solution in {None, archive.solution}]


def archive_names(archive: Archive) -> dict[str, sql.Identifier]:
    """Return the identifiers for statements: `keep` (the archive table), `table`, `column`."""
    return {
        "keep": sql.Identifier(archive.name),
        "table": sql.Identifier(archive.table),
        "column": sql.Identifier(str(archive.column)),
    }


def join_condition(archive: Archive) -> sql.Composed:
    """Return the condition that joins the archive `k` with its table of origin `t`."""
    return sql.SQL(" AND ").join(sql.SQL("k.{0} = t.{0}").format(sql.Identifier(name)) for name in archive.key)


def write_comment(cursor: Cursor, archive: Archive) -> None:
    """Store an archive's description as the comment of its table."""
    facts: Mapping[str, Any] = {key: value for key, value in asdict(archive).items() if key != "name"}
    statement = sql.SQL("COMMENT ON TABLE {} IS {}").format(
        sql.Identifier(archive.name), sql.Literal(json.dumps({"fbs": "retired", **facts}))
    )
    cursor.execute(statement)


def _read(name: str, comment: str) -> Archive | None:
    """Return None for a comment of another application; earlier versions wrote more."""
    try:
        facts = json.loads(comment)
        renamed = tuple(map(tuple, facts["renamed"]))
        known = {one.name: facts[one.name] for one in fields(Archive) if one.name in facts}
        return Archive(**{**known, "key": tuple(facts["key"]), "renamed": renamed, "name": name})
    except (ValueError, TypeError, KeyError):
        return None
