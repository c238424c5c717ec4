"""Whether mirrored tables equal Odoo: row by row and value by value, against SQL on Odoo's own database.

Each side is asked for the id and a hash of the row, ordered by id; where the hashes differ, both rows are read and the
fields named. Both sides bring each value into one form:

- NULL is 0 of numbers and false of booleans, which RPC cannot tell apart; NULL and '' are two things.
- A float or monetary value is the shortest number that reads as Odoo's double; ours must be that number, unrounded.
- Odoo's timestamps are cut to whole seconds, as RPC does.
- A company-dependent value is that of the reader's company, else the default of `ir.default`; a translated text is that
  of the language, else of `en_US`.
- Properties are compared by name and value, as far as they have a value.
- A binary value is compared by its SHA-1, which Odoo keeps of attachments, if that is asked for.

    python -m bench.records_equal "TARGET'S DSN" [TABLE_PREFIX]  # with the Odoo of FBS_LIVE_…
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 -- a class in all but spelling

from bench.records_odoo import sql_dsn
from fbs_worker.schema.naming import derived_name

_AT_ONCE: Final = 20_000
_NUMBERS: Final = frozenset(("float", "monetary"))
_INTEGERS: Final = frozenset(("integer", "many2one_reference"))
_JSON: Final = frozenset(("json", "serialized"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is not equal: `field` is empty where a whole row, or link, is on one side only."""

    table: str
    odoo_id: Any
    field: str = ""
    odoo: str | None = None
    ours: str | None = None


@dataclass(slots=True, kw_only=True)
class Compared:
    """The comparison of a table, or of a link table.

    Attributes:
        table: our table.
        rows: rows in Odoo.
        values: values that were compared.
        rejected: rows that are in `rejected_records`; they are not compared.
        skipped: columns that nothing in Odoo's database corresponds to.
        differing: how many rows differ, are missing, or are too many.
        first: the first differences.
    """

    table: str
    rows: int = 0
    values: int = 0
    rejected: int = 0
    skipped: list[str] = field(default_factory=list)
    differing: int = 0
    first: list[Difference] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A field: the two expressions whose texts must be equal."""

    name: str
    odoo: str
    ours: str


class Comparison:
    """Compares tables of one solution with Odoo's database.

    Args:
        odoo: Odoo's own database.
        ours: the solution's database.
        table_prefix: the solution's.
        company: the reader's first company.
        language: the reader's language.
        binary: whether files and images were copied as well.
        most: how many differences of a table to report.
    """

    def __init__(
        self,
        odoo: Connection,
        ours: Connection,
        *,
        table_prefix: str = "fbs_",
        company: int = 1,
        language: str = "en_US",
        binary: bool = False,
        most: int = 10,
    ) -> None:
        self._odoo, self._ours = odoo, ours
        self._prefix, self._company, self._language = table_prefix, company, language
        self._binary, self._most = binary, most

    def tables(self, solution: str = "") -> dict[str, str]:
        """Return model → table as `replication` has them, of one solution or of all with this prefix."""
        rows = _rows(
            self._ours,
            f"SELECT model, table_name FROM {self._prefix}replication WHERE %s IN ('', solution_name) ORDER BY model",
            solution,
        )
        return dict(rows)

    def compare(self, tables: Mapping[str, str]) -> list[Compared]:
        """Compare tables and their link tables.

        Args:
            tables: model → table.
        """
        try:
            return [found for model, table in tables.items() for found in self._model(model, table)]
        finally:
            self._odoo.rollback()
            self._ours.rollback()

    def _model(self, model: str, table: str) -> Iterator[Compared]:
        theirs = model.replace(".", "_")
        fields = {
            row[0]: row[1:]
            for row in _rows(
                self._odoo,
                "SELECT name, ttype, company_dependent, translate IS NOT NULL, relation_table, column1, column2, id"
                " FROM ir_model_fields WHERE model = %s AND store AND name <> 'id'",
                model,
            )
        }
        rejected = self._rejected(table)
        columns, odoo_columns = _columns(self._ours, table), _columns(self._odoo, theirs)
        found = Compared(table=table, rejected=len(rejected))
        pairs, files = [], []
        for column in sorted(columns.keys() - {"id", "odoo_id", "created_at", "updated_at"}):
            name = column if column in fields else column.removeprefix("odoo_")
            if name in fields and name in odoo_columns:
                kind, per_company, translated, *_, number = fields[name]
                is_json = odoo_columns[name] == "jsonb"
                pair = self._pair(name, column, kind, per_company and is_json, translated and is_json, number)
                pairs.append(pair)
            elif self._binary and name in fields and fields[name][0] in ("binary", "image"):
                files.append((name, column))
            else:
                found.skipped.append(column)
        self._rows_of(found, theirs, pairs, rejected)
        for name, column in files:
            self._files_of(found, model, name, column, rejected)
        yield found
        for name, (kind, _, _, relation, from_column, to_column, _) in sorted(fields.items()):
            link = str(derived_name(f"{table}__{name}"))
            if kind == "many2many" and relation and _columns(self._ours, link):
                yield self._links_of(link, relation, from_column, to_column, rejected)

    def _rejected(self, table: str) -> set[int]:
        name = f"{self._prefix}rejected_records"
        if not _columns(self._ours, name):
            return set()
        return {row[0] for row in _rows(self._ours, f"SELECT odoo_id FROM {name} WHERE table_name = %s", table)}

    def _pair(self, name: str, column: str, kind: str, per_company: bool, translated: bool, number: int) -> _Pair:
        odoo, ours = f'"{name}"', f'"{column}"'
        if per_company:
            default = self._default(number)
            odoo = f"""(COALESCE({odoo} -> '{self._company}', {default}) #>> '{{}}')"""
        elif translated:
            odoo = f"COALESCE({odoo} ->> '{self._language}', {odoo} ->> 'en_US')"
        if kind in _NUMBERS:
            odoo = f"COALESCE(trim_scale({odoo}::float8::text::numeric), 0)"
            ours = f"COALESCE(trim_scale({ours}::numeric), 0)"
        elif kind in _INTEGERS:
            odoo, ours = f"COALESCE({odoo}::int, 0)", f"COALESCE({ours}, 0)"
        elif kind == "many2one":
            odoo = f"{odoo}::int"
        elif kind == "boolean":
            odoo, ours = f"COALESCE({odoo}::boolean, FALSE)", f"COALESCE({ours}, FALSE)"
        elif kind == "datetime":
            odoo = f"date_trunc('second', {odoo}::timestamp)"
        elif kind in _JSON:
            odoo, ours = (f"jsonb_hash_extended(NULLIF({side}, 'false'), 0)" for side in (odoo, ours))
        elif kind == "properties_definition":
            odoo, ours = (f"NULLIF(NULLIF({side}, 'false'), '[]')" for side in (odoo, ours))
        elif kind == "properties":
            odoo = f"""(SELECT jsonb_object_agg(key, value) FROM jsonb_each(NULLIF({odoo}, 'false'))
                WHERE value NOT IN ('false', 'null'))"""
            ours = f"""(SELECT jsonb_object_agg(p ->> 'name', CASE p ->> 'type' WHEN 'many2one' THEN p -> 'value' -> 0
                ELSE p -> 'value' END) FROM jsonb_array_elements(NULLIF({ours}, 'false')) p
                WHERE p -> 'value' NOT IN ('false', 'null'))"""
        return _Pair(name=name, odoo=odoo, ours=ours)

    def _default(self, number: int) -> str:
        rows = _rows(
            self._odoo,
            "SELECT json_value FROM ir_default WHERE field_id = %s AND user_id IS NULL AND condition IS NULL"
            " AND COALESCE(company_id, %s) = %s ORDER BY company_id NULLS LAST LIMIT 1",
            number,
            self._company,
            self._company,
        )
        return sql.Literal(rows[0][0]).as_string(self._odoo) + "::jsonb" if rows else "NULL"

    def _rows_of(self, found: Compared, theirs: str, pairs: Sequence[_Pair], rejected: set[int]) -> None:
        odoo_row = ", ".join(pair.odoo for pair in pairs)
        our_row = ", ".join(pair.ours for pair in pairs)
        differing: list[int] = []
        streams = (
            _stream(self._odoo, f"SELECT id, md5(ROW({odoo_row})::text) FROM {theirs} ORDER BY id"),
            _stream(self._ours, f"SELECT odoo_id, md5(ROW({our_row})::text) FROM {found.table} ORDER BY odoo_id"),
        )
        for key, odoo, ours in _merged(*streams):
            found.rows += odoo is not None
            if key in rejected or odoo == ours:
                continue
            found.differing += 1
            if odoo is None or ours is None:
                self._report(found, Difference(table=found.table, odoo_id=key, odoo=_there(odoo), ours=_there(ours)))
            else:
                differing.append(key)
        found.values = found.rows * len(pairs)
        for key in differing[: self._most]:
            (odoo_values,) = _rows(
                self._odoo, f"SELECT {_texts(pair.odoo for pair in pairs)} FROM {theirs} WHERE id = {key}"
            )
            (our_values,) = _rows(
                self._ours, f"SELECT {_texts(pair.ours for pair in pairs)} FROM {found.table} WHERE odoo_id = {key}"
            )
            for pair, odoo, ours in zip(pairs, odoo_values[0], our_values[0], strict=True):
                if odoo != ours:
                    difference = Difference(table=found.table, odoo_id=key, field=pair.name, odoo=odoo, ours=ours)
                    self._report(found, difference)

    def _files_of(self, found: Compared, model: str, name: str, column: str, rejected: set[int]) -> None:
        streams = (
            _stream(
                self._odoo,
                "SELECT res_id, checksum FROM ir_attachment WHERE res_model = %s AND res_field = %s AND res_id > 0"
                " ORDER BY res_id, id",
                model,
                name,
            ),
            (
                (key, hashlib.sha1(content).hexdigest())
                for key, content in _stream(
                    self._ours,
                    f'SELECT odoo_id, "{column}" FROM {found.table} WHERE "{column}" IS NOT NULL ORDER BY odoo_id',
                    at_once=200,
                )
            ),
        )
        for key, odoo, ours in _merged(*streams):
            found.values += 1
            if odoo != ours and key not in rejected:
                found.differing += 1
                self._report(found, Difference(table=found.table, odoo_id=key, field=name, odoo=odoo, ours=ours))

    def _links_of(self, link: str, relation: str, one: str, other: str, rejected: set[int]) -> Compared:
        found = Compared(table=link)
        streams = (
            _stream(self._odoo, f'SELECT DISTINCT "{one}", "{other}" FROM {relation} ORDER BY 1, 2'),
            _stream(self._ours, f"SELECT from_id, to_id FROM {link} ORDER BY 1, 2"),
        )
        for key, odoo, ours in _merged(*((((*row,), "there") for row in stream) for stream in streams)):
            found.rows += odoo is not None
            found.values += 1
            if odoo != ours and key[0] not in rejected:
                found.differing += 1
                self._report(found, Difference(table=link, odoo_id=key, odoo=odoo, ours=ours))
        return found

    def _report(self, found: Compared, difference: Difference) -> None:
        if len(found.first) < self._most:
            found.first.append(difference)


def _texts(expressions: Iterable[str]) -> str:
    """The values of a row as an array of texts."""
    return f"ARRAY[{', '.join(f'({each})::text' for each in expressions)}]"


def _merged(one: Iterator[tuple[Any, Any]], other: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, Any]]:
    """Join two streams that are ordered by key; None where a side has nothing."""
    left, right = next(one, None), next(other, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield left[0], left[1], None
            left = next(one, None)
        elif left is None or right[0] < left[0]:
            yield right[0], None, right[1]
            right = next(other, None)
        else:
            yield left[0], left[1], right[1]
            left, right = next(one, None), next(other, None)


def _there(hashed: str | None) -> str | None:
    return None if hashed is None else "there"


def _rows(connection: Connection, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


_cursor_names = itertools.count()


def _stream(connection: Connection, statement: str, *values: Any, at_once: int = _AT_ONCE) -> Iterator[tuple[Any, ...]]:
    with connection.cursor(f"stream_{next(_cursor_names)}") as cursor:
        cursor.itersize = at_once
        cursor.execute(statement, values or None)
        yield from cursor


def _columns(connection: Connection, table: str) -> dict[str, str]:
    """Column → type; nothing where there is no such table."""
    return dict(
        _rows(
            connection,
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            table,
        )
    )


def report(compared: Sequence[Compared]) -> str:
    """Return lines to print: what was compared, and what differs."""
    lines = []
    for found in compared:
        rejected = f", {found.rejected} rejected" if found.rejected else ""
        lines.append(f"{found.table}: {found.rows:,} rows, {found.values:,} values, {found.differing} differ{rejected}")
        lines += [f"  {each.odoo_id} {each.field}: {each.odoo!r} in Odoo, {each.ours!r} here" for each in found.first]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Compare all tables that `replication` names."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    with closing(psycopg2.connect(sql_dsn())) as odoo, closing(psycopg2.connect(arguments[0])) as ours:
        comparison = Comparison(odoo, ours, table_prefix=(arguments[1:] or ["fbs_"])[0])
        compared = comparison.compare(comparison.tables())
    print(report(compared))
    return int(any(found.differing for found in compared))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
