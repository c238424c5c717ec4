"""Copy files and images: those that Odoo keeps as attachments, read only where their checksum is another one.

A file is read for itself, by its size: the list of attachments says which there are (`ir.attachment` with `res_field`,
`checksum` and `file_size`), and `<table_prefix>file_checksums` which of them the table has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.postgres import Connection
from fbs_worker.replication.source import Record, RecordSource
from fbs_worker.replication.target import Target
from fbs_worker.replication.values import converter
from fbs_worker.replication.writer import Counts, TableWriter, copy_lines

ATTACHMENTS: Final = "ir.attachment"
BYTES_PER_CALL: Final = 4_000_000
"""Files of one call, before base64."""
LARGEST: Final = 60_000_000
"""A larger file is left out: its answer would be larger than any that is accepted by default."""

_LISTED: Final = sql.Identifier("pg_temp", "fbs_files")
File = tuple[int, str, str, int]
"""Record, field, checksum and size in bytes."""


class FileCopy:
    """Copies the files of one model.

    Args:
        source: reads the records.
        connection: outside of a transaction.
        target: the table; its `files` are the columns.
        table_prefix: of the system tables.
        solution: the solution's name.
    """

    def __init__(
        self, source: RecordSource, connection: Connection, target: Target, *, table_prefix: str, solution: str
    ) -> None:
        self._source = source
        self._connection = connection
        self._target = target
        self._prefix = table_prefix
        self._solution = solution
        self._known = sql.Identifier(f"{table_prefix}file_checksums")
        self.left_out = 0

    def run(self) -> Counts:
        """Read the files that are new or differ, and empty the columns of those that are gone; a transaction a call.

        Raises:
            FBSError: a call or a statement failed; what was read is saved.
        """
        counts = Counts()
        seen: dict[str, set[int]] = {column.field: set() for column in self._target.files}
        domain = [("res_model", "=", self._target.model), ("res_field", "in", sorted(seen))]
        fields = ["res_id", "res_field", "checksum", "file_size"]
        for page in self._source.pages(ATTACHMENTS, fields, domain=domain, ahead=False):
            listed = [_file(record) for record in page.records if record.get("res_id")]
            for number, name, _, _ in listed:
                seen[name].add(number)
            with transaction(self._connection) as cursor:
                differing = self._differing(cursor, listed)
            for chunk in _chunks(file for file in differing if self._fits(file)):
                counts.add(self._copy(chunk))
        for name, ids in seen.items():
            counts.updated += self._empty(name, ids)
        return counts

    def _fits(self, file: File) -> bool:
        fits = file[3] <= LARGEST
        self.left_out += not fits
        return fits

    def _differing(self, cursor: Cursor, files: Sequence[File]) -> list[File]:
        cursor.execute(
            "DROP TABLE IF EXISTS pg_temp.fbs_files; CREATE TEMP TABLE fbs_files"
            " (odoo_id INTEGER, field TEXT, checksum TEXT, size BIGINT) ON COMMIT DROP"
        )
        text = converter("char")
        copy_lines(cursor, _LISTED, [f"{file[0]}\t{text(file[1])}\t{text(file[2])}\t{file[3]}" for file in files])
        cursor.execute(
            sql.SQL(
                "SELECT p.odoo_id, p.field, p.checksum, p.size FROM {listed} AS p"
                " JOIN {table} AS t ON t.odoo_id = p.odoo_id"
                " LEFT JOIN {known} AS k ON k.table_name = %s AND k.odoo_id = p.odoo_id AND k.field = p.field"
                " WHERE k.checksum IS DISTINCT FROM p.checksum ORDER BY p.field, p.odoo_id"
            ).format(listed=_LISTED, table=sql.Identifier(self._target.table), known=self._known),
            (self._target.table,),
        )
        return cursor.fetchall()

    def _copy(self, files: Sequence[File]) -> Counts:
        """Read files of one field, and write them with their checksums."""
        name = files[0][1]
        column = next(each for each in self._target.files if each.field == name)
        target = replace(self._target, columns=(column,), links=())
        writer = TableWriter(target, table_prefix=self._prefix, solution=self._solution, inserts=False)
        counts = Counts()
        checksums = {number: checksum for number, _, checksum, _ in files}
        for page in self._source.pages(target.model, [name], domain=[("id", "in", list(checksums))], ahead=False):
            if name in page.left_out:
                break
            with transaction(self._connection) as cursor:
                counts.add(writer.write(cursor, page.records, page.unreadable))
                for record in page.records:
                    self._know(cursor, int(record["id"]), name, checksums[int(record["id"])])
        return counts

    def _know(self, cursor: Cursor, number: int, name: str, checksum: str) -> None:
        cursor.execute(
            sql.SQL(
                "INSERT INTO {} (solution_name, table_name, odoo_id, field, checksum) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT (table_name, odoo_id, field) DO UPDATE SET checksum = EXCLUDED.checksum"
            ).format(self._known),
            (self._solution, self._target.table, number, name, checksum),
        )

    def _empty(self, name: str, ids: set[int]) -> int:
        """Empty the column of records that have no such file any more."""
        column = next(sql.Identifier(each.column) for each in self._target.files if each.field == name)
        with transaction(self._connection) as cursor:
            cursor.execute(
                sql.SQL("SELECT odoo_id FROM {} WHERE table_name = %s AND field = %s").format(self._known),
                (self._target.table, name),
            )
            gone = [row[0] for row in cursor.fetchall() if row[0] not in ids]
            if not gone:
                return 0
            cursor.execute(
                sql.SQL("UPDATE {} SET {} = NULL, updated_at = NOW() WHERE odoo_id = ANY(%s)").format(
                    sql.Identifier(self._target.table), column
                ),
                (gone,),
            )
            emptied = cursor.rowcount
            cursor.execute(
                sql.SQL("DELETE FROM {} WHERE table_name = %s AND field = %s AND odoo_id = ANY(%s)").format(
                    self._known
                ),
                (self._target.table, name, gone),
            )
        return emptied


def _file(record: Record) -> File:
    return (
        int(record["res_id"]),
        str(record["res_field"]),
        str(record["checksum"] or ""),
        int(record["file_size"] or 0),
    )


def _chunks(files: Iterator[File]) -> Iterator[list[File]]:
    """Split files, which are ordered by field, into those of one call."""
    chunk: list[File] = []
    size = 0
    for file in files:
        if chunk and (file[1] != chunk[0][1] or size + file[3] > BYTES_PER_CALL):
            yield chunk
            chunk, size = [], 0
        chunk.append(file)
        size += file[3]
    if chunk:
        yield chunk
