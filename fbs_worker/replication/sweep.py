"""Compare ids and write dates with Odoo's, and decide whether what is gone may be deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.postgres import errors_translated
from fbs_worker.replication.source import Dates
from fbs_worker.replication.values import NULL
from fbs_worker.replication.writer import copy_lines

IDS_PER_RANGE: Final = 60_000
"""Records of one call: 200,000 are four calls of 2 MB, two of which are in memory."""
FEW: Final = 100
SHARE: Final = 0.05
"""More deletions than `FEW` and than this share of the rows are not believed."""

_DATES: Final = sql.Identifier("pg_temp", "fbs_dates")
_CREATE: Final = (
    "DROP TABLE IF EXISTS pg_temp.fbs_dates;"
    " CREATE TEMP TABLE fbs_dates (odoo_id INTEGER, written TIMESTAMP) ON COMMIT DROP"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Ids of a range.

    Attributes:
        stale: those that we do not have, or with another date.
        absent: those that only we have.
    """

    stale: list[int]
    absent: list[int]


def bounds(cursor: Cursor, table: str) -> list[int]:
    """Return ids that divide a table into ranges of `IDS_PER_RANGE` rows; the last range has no end."""
    statement = sql.SQL(
        "SELECT odoo_id FROM (SELECT odoo_id, row_number() OVER (ORDER BY odoo_id) AS number FROM {}) AS numbered"
        " WHERE number %% %s = 0 ORDER BY odoo_id"
    ).format(sql.Identifier(table))
    with errors_translated(cursor.connection):
        cursor.execute(statement, (IDS_PER_RANGE,))
        return [row[0] for row in cursor.fetchall()]


def compare(
    cursor: Cursor,
    table: str,
    dates: Dates,
    *,
    rejected: str,
) -> Differences:
    """Compare a range of ids and dates with a table.

    Args:
        cursor: in the caller's transaction.
        table: the table, with `odoo_id` and `write_date`.
        dates: Odoo's.
        rejected: the table of rejected records: they are read again when they change, not by each sweep.
    """
    facts = {"table": sql.Identifier(table), "dates": _DATES}
    within = sql.SQL("t.odoo_id > %s" + ("" if dates.up_to is None else " AND t.odoo_id <= %s"))
    values = (dates.after,) if dates.up_to is None else (dates.after, dates.up_to)
    with errors_translated(cursor.connection):
        cursor.execute(_CREATE)
        pairs = zip(dates.ids, dates.written, strict=True)
        copy_lines(cursor, _DATES, [f"{number}\t{date or NULL}" for number, date in pairs])
        cursor.execute("ANALYZE pg_temp.fbs_dates")
        cursor.execute(
            sql.SQL(
                "SELECT p.odoo_id FROM {dates} AS p LEFT JOIN {table} AS t ON t.odoo_id = p.odoo_id"
                " WHERE (t.odoo_id IS NULL"
                " OR date_trunc('second', t.write_date) IS DISTINCT FROM date_trunc('second', p.written))"
                " AND NOT EXISTS (SELECT FROM {rejected} AS r WHERE r.table_name = %s AND r.odoo_id = p.odoo_id)"
                " ORDER BY 1"
            ).format(rejected=sql.Identifier(rejected), **facts),
            (table,),
        )
        stale = [row[0] for row in cursor.fetchall()]
        _forget(cursor, table, rejected, within, values)
        cursor.execute(
            sql.SQL(
                "SELECT t.odoo_id FROM {table} AS t WHERE {within}"
                " AND NOT EXISTS (SELECT FROM {dates} AS p WHERE p.odoo_id = t.odoo_id) ORDER BY 1"
            ).format(within=within, **facts),
            values,
        )
        return Differences(stale=stale, absent=[row[0] for row in cursor.fetchall()])


def not_among(cursor: Cursor, table: str, ids: Collection[int], *, rejected: str) -> list[int]:
    """Return the ids of a table that are not among others, which are all that Odoo has.

    Args:
        cursor: in the caller's transaction.
        table: the table.
        ids: Odoo's.
        rejected: the table of rejected records: those that are not among them either are forgotten.
    """
    with errors_translated(cursor.connection):
        cursor.execute(_CREATE)
        copy_lines(cursor, _DATES, [f"{number}\t{NULL}" for number in ids])
        cursor.execute("ANALYZE pg_temp.fbs_dates")
        _forget(cursor, table, rejected, sql.SQL("TRUE"), ())
        cursor.execute(
            sql.SQL(
                "SELECT t.odoo_id FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} AS p WHERE p.odoo_id = t.odoo_id)"
                " ORDER BY 1"
            ).format(sql.Identifier(table), _DATES)
        )
        return [row[0] for row in cursor.fetchall()]


def _forget(cursor: Cursor, table: str, rejected: str, within: sql.Composable, values: Sequence[int]) -> None:
    """Forget rejected records of a range that Odoo has no more."""
    statement = sql.SQL(
        "DELETE FROM {} AS t WHERE {} AND t.table_name = %s"
        " AND NOT EXISTS (SELECT FROM {} AS p WHERE p.odoo_id = t.odoo_id)"
    ).format(sql.Identifier(rejected), within, _DATES)
    cursor.execute(statement, (*values, table))


def why_review(
    *, gone: int, rows: int, found: int, allowed: int, reader_changed: bool, is_guarded: bool, solution: str
) -> str:
    """Why records that are not found must not be deleted without a person; empty if they may. Pure.

    Args:
        gone: the number of records that Odoo does not find any more.
        rows: the number of rows.
        found: the number of records that Odoo has.
        allowed: the number of deletions that a person allowed.
        reader_changed: the rights of the Odoo user are others than before.
        is_guarded: many deletions are suspicious; those of a view are not.
        solution: the solution's name, for what to do.
    """
    if not gone or gone <= allowed:
        return ""
    ask = f"If they are deleted, fbs sync {solution} --allow-delete {gone} takes them out."
    if reader_changed:
        return f"The rights of the Odoo user changed, and {gone:,} of {rows:,} records are not found any more. {ask}"
    if not is_guarded:
        return ""
    if not found:
        return f"Odoo finds none of {rows:,} records any more, as where the user lost a right. {ask}"
    if gone > max(FEW, SHARE * rows):
        return f"{gone:,} of {rows:,} records are not found any more: too many to believe it. {ask}"
    return ""
