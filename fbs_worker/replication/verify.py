"""Compare records with their rows, value by value, and write nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.postgres import errors_translated
from fbs_worker.replication.source import Page, Record
from fbs_worker.replication.target import Target
from fbs_worker.replication.values import lines, link_lines, rejected, shown
from fbs_worker.replication.writer import LINKS, PAGE, TableWriter, load_links


class Comparison:
    """Compares a table with pages of all records.

    Args:
        target: the table.
        table_prefix: of the system tables.
        solution: the solution's name.

    Attributes:
        suspects: ids of records that differ from their row, that have none, or that only have a row.
        difference: the first of them in words; empty while there is none.
    """

    def __init__(self, target: Target, *, table_prefix: str, solution: str) -> None:
        self.suspects: list[int] = []
        self.difference = ""
        self._target = target
        self._writer = TableWriter(target, table_prefix=table_prefix, solution=solution)
        self._table = sql.Identifier(target.table)

    def again(self) -> None:
        """Forget what differed; `some` looks again."""
        self.suspects, self.difference = [], ""

    def page(self, cursor: Cursor, page: Page, *, after: int) -> None:
        """Compare a page, and the rows of its range of ids.

        Args:
            cursor: in a transaction.
            page: the records.
            after: the last id of the page before.
        """
        within = sql.SQL("t.odoo_id > {}" + ("" if page.is_last else " AND t.odoo_id <= {}"))
        ends = [sql.Literal(after), sql.Literal(page.last_id)]
        self._compare(cursor, page.records, within.format(*ends), {each.id for each in page.unreadable})

    def some(self, cursor: Cursor, records: Sequence[Record], ids: Sequence[int]) -> None:
        """Compare some records, of which those that are not found must have no row."""
        within = sql.SQL("t.odoo_id = ANY({})").format(sql.Literal(list(ids)))
        self._compare(cursor, records, within, frozenset())

    def _compare(
        self, cursor: Cursor, records: Sequence[Record], within: sql.Composable, skipped: Collection[int]
    ) -> None:
        with errors_translated(cursor.connection):
            aside = self._writer.rejected_among(cursor, [record["id"] for record in records])
            fitting = [
                record for record in records if record["id"] not in aside and rejected(record, self._target) is None
            ]
            known = {record["id"] for record in fitting}
            aside = {record["id"] for record in records} - known
            self._writer.load(cursor, lines(fitting, self._target))
            cursor.execute(
                sql.SQL(
                    "SELECT coalesce(t.odoo_id, p.odoo_id), t.odoo_id IS NULL, p.odoo_id IS NULL FROM {page} AS p"
                    " FULL JOIN (SELECT * FROM {table} AS t WHERE {within}) AS t ON t.odoo_id = p.odoo_id"
                    " WHERE t.odoo_id IS NULL OR p.odoo_id IS NULL OR {differs} ORDER BY 1"
                ).format(page=PAGE, table=self._table, within=within, differs=self._writer.differs)
            )
            for number, is_missing, is_extra in cursor.fetchall():
                if is_extra and (number in skipped or number in aside):
                    continue
                what = "has no row" if is_missing else "is not in Odoo" if is_extra else self._field(cursor, number)
                self._note(number, what)
            for link in self._target.links:
                load_links(cursor, link_lines(fitting, link))
                self._compare_links(cursor, link.field, link.table, sorted(known))

    def _compare_links(self, cursor: Cursor, field: str, table: str, ids: Sequence[int]) -> None:
        facts = {"table": sql.Identifier(table), "links": LINKS}
        cursor.execute(
            sql.SQL(
                "SELECT coalesce(t.from_id, p.from_id), coalesce(t.to_id, p.to_id), t.from_id IS NULL FROM {links} AS p"
                " FULL JOIN (SELECT * FROM {table} WHERE from_id = ANY(%s)) AS t"
                " ON t.from_id = p.from_id AND t.to_id = p.to_id WHERE t.from_id IS NULL OR p.from_id IS NULL"
                " ORDER BY 1, 2"
            ).format(**facts),
            (list(ids),),
        )
        for number, to, is_missing in cursor.fetchall():
            self._note(number, f"field {field}: the link to {to} is {'missing' if is_missing else 'not in Odoo'}")

    def _note(self, number: int, what: str) -> None:
        if not self.suspects or self.suspects[-1] != number:
            self.suspects.append(number)
        self.difference = self.difference or f"record {number} {what}"

    def _field(self, cursor: Cursor, number: int) -> str:
        """The first field of a record that differs, with both values."""
        for column in self._target.columns:
            name = sql.Identifier(column.column)
            cursor.execute(
                sql.SQL(
                    "SELECT to_jsonb(p.{name}), to_jsonb(t.{name}) FROM {page} AS p JOIN {table} AS t"
                    " ON t.odoo_id = p.odoo_id WHERE p.odoo_id = %s AND p.{name} IS DISTINCT FROM t.{name}"
                ).format(name=name, page=PAGE, table=self._table),
                (number,),
            )
            row: tuple[Any, ...] | None = cursor.fetchone()
            if row is not None:
                return f"field {column.field}: {shown(row[0])} in Odoo, {shown(row[1])} in the table"
        return "differs"
