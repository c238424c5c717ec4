"""Write records into their table and link tables: by COPY into a temporary table, then only what differs.

A row that does not fit is put aside in `rejected_records` with the reason, and the rest is saved: what Python can see
is found beforehand; a page that PostgreSQL refuses is written once more row by row, by a block on the server.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.postgres import errors_translated
from fbs_worker.replication.source import Record, Unreadable
from fbs_worker.replication.target import LinkTable, Target
from fbs_worker.replication.values import converter, lines, link_lines, rejected, to_json_text

PAGE: Final = sql.Identifier("pg_temp", "fbs_page")
"""The temporary table of the records of a page."""
LINKS: Final = sql.Identifier("pg_temp", "fbs_links")
"""The temporary table of the links of a page."""

# a page has few rows, and is joined by the index of odoo_id: never by a scan of the whole table
_PLANNER: Final = """
SELECT set_config('enable_hashjoin', 'off', TRUE), set_config('enable_mergejoin', 'off', TRUE),
    set_config('enable_seqscan', 'off', TRUE), set_config('jit', 'off', TRUE)
"""
_MAX_REASON: Final = 500


@dataclass(slots=True, kw_only=True)
class Counts:
    """What was done: numbers of records.

    Attributes:
        read: answered by Odoo.
        inserted: new in the table.
        updated: of which a value differed.
        deleted: removed from the table.
        rejected: put aside.
    """

    read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    rejected: int = 0

    def add(self, other: Counts) -> None:
        """Add the numbers of another one."""
        for name, number in asdict(other).items():
            setattr(self, name, getattr(self, name) + number)


class TableWriter:
    """Writes records of one model.

    Args:
        target: the table, its columns and link tables; all of them exist.
        table_prefix: of the system tables.
        solution: the solution's name.
        inserts: whether new records are inserted; else only existing rows are changed.
    """

    def __init__(self, target: Target, *, table_prefix: str, solution: str, inserts: bool = True) -> None:
        self.target = target
        self._solution = solution
        self._rejected = sql.Identifier(f"{table_prefix}rejected_records")
        self._checksums = sql.Identifier(f"{table_prefix}file_checksums")
        self._deleted = sql.Identifier(f"{table_prefix}deleted_records")
        self._table = sql.Identifier(target.table)
        self._names = [sql.Identifier(column.column) for column in target.columns]
        self._inserts = inserts

    def write(self, cursor: Cursor, records: Sequence[Record], unreadable: Sequence[Unreadable] = ()) -> Counts:
        """Write records in the caller's transaction.

        Args:
            cursor: in the transaction.
            records: the records, each with all fields of the target.
            unreadable: records that Odoo could not answer.

        Raises:
            DatabaseError, DatabaseUnreachable: a statement failed otherwise than by the values.
        """
        counts = Counts(read=len(records) + len(unreadable))
        with errors_translated(cursor.connection):
            for each in unreadable:
                self._reject(cursor, each.id, "", each.reason, None)
            counts.rejected += len(unreadable)
            if records:
                cursor.execute(_PLANNER)
                self.load(cursor, ())
                self._write(cursor, records, counts)
        return counts

    def load(self, cursor: Cursor, texts: Sequence[str]) -> None:
        """Make the temporary table of a page, with lines of `values.lines`."""
        cursor.execute(
            sql.SQL(
                "DROP TABLE IF EXISTS {}; CREATE TEMP TABLE fbs_page ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA"
            ).format(PAGE, sql.SQL(", ").join([sql.Identifier("odoo_id"), *self._names]), self._table)
        )
        copy_lines(cursor, PAGE, texts)

    def delete(self, cursor: Cursor, ids: Sequence[int], *, incoming: Iterable[LinkTable], keep: bool) -> int:
        """Delete records that are gone from Odoo, with their links, and note who went when.

        Args:
            cursor: in the caller's transaction.
            ids: the records.
            incoming: link tables of other models that lead here.
            keep: whether the rows are kept in `deleted_records`.

        Returns:
            The number of rows that were deleted.

        Raises:
            DatabaseError, DatabaseUnreachable: a statement failed.
        """
        values = {"solution": self._solution, "table": self.target.table, "ids": list(ids)}
        record = sql.SQL("to_jsonb(gone)" if keep else "NULL::jsonb")
        statements: list[sql.Composable] = [
            sql.SQL("DELETE FROM {} WHERE {} = ANY(%(ids)s)").format(sql.Identifier(link.table), sql.Identifier(end))
            for end, links in (("from_id", self.target.links), ("to_id", incoming))
            for link in links
        ]
        statements += [
            *(
                sql.SQL("DELETE FROM {} WHERE table_name = %(table)s AND odoo_id = ANY(%(ids)s)").format(notes)
                for notes in (self._rejected, self._checksums)
            ),
            sql.SQL(
                "WITH gone AS (DELETE FROM {} WHERE odoo_id = ANY(%(ids)s) RETURNING *)"
                " INSERT INTO {} (solution_name, table_name, odoo_id, record)"
                " SELECT %(solution)s, %(table)s, odoo_id, {} FROM gone"
            ).format(self._table, self._deleted, record),
        ]
        with errors_translated(cursor.connection):
            for statement in statements:
                cursor.execute(statement, values)
        return max(0, cursor.rowcount)

    def _write(self, cursor: Cursor, records: Sequence[Record], counts: Counts) -> None:
        try:
            texts = lines(records, self.target)
            links = [(link, link_lines(records, link)) for link in self.target.links]
            "".join(texts).encode()
        except (ValueError, KeyError):
            if bad := [record for record in records if self._put_aside(cursor, record)]:
                counts.rejected += len(bad)
                known = {id(record) for record in bad}
                records = [record for record in records if id(record) not in known]
                if records:
                    self._write(cursor, records, counts)
                return
            raise
        cursor.execute("SAVEPOINT fbs_page")
        try:
            counts.add(self._store(cursor, texts))
        except (psycopg2.DataError, psycopg2.IntegrityError):
            cursor.execute("ROLLBACK TO SAVEPOINT fbs_page")
            counts.add(self._store_each(cursor, texts))
        cursor.execute("RELEASE SAVEPOINT fbs_page")
        aside = self._accepted(cursor, [record["id"] for record in records])
        for link, pairs in links:
            kept = [pair for pair in pairs if int(pair.partition("\t")[0]) not in aside] if aside else pairs
            self._link(cursor, link, [record["id"] for record in records if record["id"] not in aside], kept)

    def _store(self, cursor: Cursor, texts: Sequence[str]) -> Counts:
        cursor.execute(sql.SQL("TRUNCATE {}").format(PAGE))
        copy_lines(cursor, PAGE, texts)
        counts = Counts()
        if self._inserts:
            cursor.execute(self._insert)
            counts.inserted = max(0, cursor.rowcount)
        if self._names and counts.inserted < len(texts):
            cursor.execute(self._update)
            counts.updated = max(0, cursor.rowcount)
        return counts

    def _store_each(self, cursor: Cursor, texts: Sequence[str]) -> Counts:
        """Write rows one by one, each in a subtransaction; those that do not fit are noted in `pg_temp.fbs_aside`."""
        plain = sql.SQL(", ").join(sql.SQL("{} TEXT").format(name) for name in self._names)
        json = [column.column for column in self.target.columns if converter(column.type) is to_json_text]
        values = sql.SQL(", ").join(
            sql.SQL("(page.{})::jsonb" if column.column in json else "typed.{}").format(sql.Identifier(column.column))
            for column in self.target.columns
        )
        names = sql.SQL(", ").join(self._names)
        block = sql.SQL(
            """
DECLARE
    page RECORD;
    why TEXT;
    whose TEXT;
    inserted INTEGER := 0;
    updated INTEGER := 0;
    number INTEGER;
BEGIN
    FOR page IN SELECT * FROM pg_temp.fbs_texts LOOP
        BEGIN
            WITH p AS MATERIALIZED (
                SELECT typed.odoo_id{values} FROM jsonb_populate_record(NULL::{table}, to_jsonb(page) - {json}) AS typed
            ) UPDATE {table} AS t SET updated_at = NOW(){changes} FROM p WHERE t.odoo_id = p.odoo_id AND {differs};
            GET DIAGNOSTICS number = ROW_COUNT;
            updated := updated + number;
            IF {inserts} AND NOT EXISTS (SELECT FROM {table} AS t WHERE t.odoo_id = page.odoo_id) THEN
                INSERT INTO {table} (odoo_id{names}) SELECT typed.odoo_id{values}
                    FROM jsonb_populate_record(NULL::{table}, to_jsonb(page) - {json}) AS typed;
                inserted := inserted + 1;
            END IF;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
            GET STACKED DIAGNOSTICS why = MESSAGE_TEXT, whose = COLUMN_NAME;
            INSERT INTO pg_temp.fbs_aside VALUES (page.odoo_id, whose, why);
        END;
    END LOOP;
    PERFORM set_config('fbs.page', inserted || ' ' || updated, TRUE);
END
"""
        ).format(
            table=self._table,
            values=sql.SQL(", ") + values if self._names else sql.SQL(""),
            names=sql.SQL(", ") + names if self._names else sql.SQL(""),
            changes=sql.SQL("").join(sql.SQL(", {0} = p.{0}").format(name) for name in self._names),
            differs=self.differs,
            json=sql.SQL("{}::text[]").format(sql.Literal(json)),
            inserts=sql.SQL("TRUE" if self._inserts else "FALSE"),
        )
        cursor.execute(
            sql.SQL(
                "DROP TABLE IF EXISTS pg_temp.fbs_texts, pg_temp.fbs_aside;"
                " CREATE TEMP TABLE fbs_texts (odoo_id INTEGER{}) ON COMMIT DROP;"
                " CREATE TEMP TABLE fbs_aside (odoo_id INTEGER, field TEXT, reason TEXT) ON COMMIT DROP"
            ).format(sql.SQL(", ") + plain if self._names else sql.SQL(""))
        )
        copy_lines(cursor, sql.Identifier("pg_temp", "fbs_texts"), texts)
        cursor.execute(sql.SQL("DO {}").format(sql.Literal(block.as_string(cursor))))
        cursor.execute("SELECT current_setting('fbs.page')")
        row = cursor.fetchone()
        inserted, updated = str(row[0] if row else "0 0").split()
        cursor.execute("SELECT odoo_id, field, reason FROM pg_temp.fbs_aside")
        found = cursor.fetchall()
        for number, field, reason in found:
            self._reject(cursor, number, field, reason, None)
        return Counts(inserted=int(inserted), updated=int(updated), rejected=len(found))

    def _accepted(self, cursor: Cursor, ids: Sequence[int]) -> set[int]:
        """Forget the rejections of records that were written now; those that were rejected now.

        A rejection of this transaction has its time.
        """
        of_table = sql.SQL("SELECT FROM {} WHERE table_name = %s LIMIT 1").format(self._rejected)
        cursor.execute(of_table, (self.target.table,))
        if not cursor.rowcount:
            return set()
        statement = sql.SQL(
            "DELETE FROM {} WHERE table_name = %s AND odoo_id = ANY(%s) AND rejected_at IS DISTINCT FROM NOW()"
        ).format(self._rejected)
        cursor.execute(statement, (self.target.table, list(ids)))
        return self.rejected_among(cursor, ids)

    @property
    def _update(self) -> sql.Composable:
        return sql.SQL(
            "UPDATE {table} AS t SET {changes}, updated_at = NOW() FROM {page} AS p"
            " WHERE t.odoo_id = p.odoo_id AND {differs}"
        ).format(
            table=self._table,
            page=PAGE,
            changes=sql.SQL(", ").join(sql.SQL("{0} = p.{0}").format(name) for name in self._names),
            differs=self.differs,
        )

    @property
    def differs(self) -> sql.Composable:
        """A condition on `t`, the table, and `p`, the page: a value of the row differs."""
        row = sql.SQL(", ")
        ours = row.join(sql.SQL("t.{}").format(name) for name in self._names)
        theirs = row.join(sql.SQL("p.{}").format(name) for name in self._names)
        return sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(ours, theirs)

    @property
    def _insert(self) -> sql.Composable:
        names = sql.SQL(", ").join([sql.Identifier("odoo_id"), *self._names])
        return sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {names} FROM {page} AS p"
            " WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.odoo_id = p.odoo_id)"
            " ON CONFLICT (odoo_id) DO NOTHING"
        ).format(table=self._table, page=PAGE, names=names)

    def _link(self, cursor: Cursor, link: LinkTable, ids: Sequence[int], pairs: Sequence[str]) -> None:
        """Make the links of some records equal to pairs."""
        load_links(cursor, pairs)
        facts = {"table": sql.Identifier(link.table), "links": LINKS}
        cursor.execute(
            sql.SQL(
                "DELETE FROM {table} AS t WHERE t.from_id = ANY(%s) AND NOT EXISTS"
                " (SELECT FROM {links} AS p WHERE p.from_id = t.from_id AND p.to_id = t.to_id)"
            ).format(**facts),
            (list(ids),),
        )
        if pairs:
            cursor.execute(
                sql.SQL(
                    "INSERT INTO {table} (from_id, to_id) SELECT from_id, to_id FROM {links} ON CONFLICT DO NOTHING"
                ).format(**facts)
            )

    def rejected_among(self, cursor: Cursor, ids: Sequence[int]) -> set[int]:
        """Which of some records are among the rejected ones."""
        statement = sql.SQL("SELECT odoo_id FROM {} WHERE table_name = %s AND odoo_id = ANY(%s)").format(self._rejected)
        cursor.execute(statement, (self.target.table, list(ids)))
        return {row[0] for row in cursor.fetchall()}

    def _put_aside(self, cursor: Cursor, record: Record) -> bool:
        """Reject a record whose values do not fit; whether it was."""
        reason = rejected(record, self.target)
        if reason is None:
            return False
        self._reject(cursor, int(record["id"]), reason.field, reason.reason, reason.value)
        return True

    def _reject(self, cursor: Cursor, number: int, field: str, reason: str, value: str | None) -> None:
        statement = sql.SQL(
            "INSERT INTO {} (solution_name, table_name, odoo_id, field, reason, value) VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (table_name, odoo_id) DO UPDATE SET field = EXCLUDED.field, reason = EXCLUDED.reason,"
            " value = EXCLUDED.value, rejected_at = NOW()"
        ).format(self._rejected)
        cursor.execute(statement, (self._solution, self.target.table, number, field, reason[:_MAX_REASON], value))


def load_links(cursor: Cursor, pairs: Sequence[str]) -> None:
    """Make the temporary table of links, with lines of `values.link_lines`."""
    cursor.execute(
        "DROP TABLE IF EXISTS pg_temp.fbs_links;"
        " CREATE TEMP TABLE fbs_links (from_id INTEGER, to_id INTEGER, PRIMARY KEY (from_id, to_id)) ON COMMIT DROP"
    )
    copy_lines(cursor, LINKS, pairs)


def count_rows(cursor: Cursor, table: str) -> int:
    """Count the rows of a table."""
    cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def is_empty(cursor: Cursor, table: str) -> bool:
    """Whether a table has no rows."""
    cursor.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table)))
    return cursor.rowcount == 0


def copy_lines(cursor: Cursor, table: sql.Identifier, texts: Sequence[str]) -> None:
    """Copy lines of COPY's text format into a table."""
    if not texts:
        return
    content = ("\n".join(texts) + "\n").encode()
    cursor.copy_expert(sql.SQL("COPY {} FROM STDIN").format(table), io.BytesIO(content))
